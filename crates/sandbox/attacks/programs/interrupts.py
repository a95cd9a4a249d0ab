# raises an exception that `except Exception` does not catch
# runtime error
def add(a, b):
    raise KeyboardInterrupt
