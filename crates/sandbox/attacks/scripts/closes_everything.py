# closes and mixes all its descriptors
# separate process
for fd in range(3, 64):
    try:
        os.dup2(1, fd)
    except OSError:
        pass
os.closerange(0, 64)
