# raises what is no ordinary exception
# runtime error
def add(a, b):
    raise KeyboardInterrupt
