# nests data until the interpreter overflows
# separate process, memory limit, deadline
sys.setrecursionlimit(10**8)
x = []
for _ in range(10**7):
    x = [x]
repr(x)
