# takes all memory
# memory limit, crashed
def f(text):
    return float(len(bytearray(1 << 36)))
