# returns a boolean, which only looks like a number
# not a number
def f(text):
    return True
