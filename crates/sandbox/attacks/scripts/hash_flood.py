# fills a dict with keys of one hash
# deadline
d = {}
for i in range(10**7):
    d[i * (2**61 - 1)] = i
