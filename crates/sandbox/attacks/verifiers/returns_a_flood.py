# returns a name as long as a book
# not a number, output limit
def f(text):
    return type("x" * 10**7, (), {})()
