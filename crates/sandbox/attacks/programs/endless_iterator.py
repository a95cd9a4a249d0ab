# returns an iterator without an end
# unsupported, time limit, memory limit
def add(a, b):
    while True:
        yield a + b
