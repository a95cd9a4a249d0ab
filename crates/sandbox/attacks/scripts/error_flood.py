# floods standard error
# output limit
while True:
    os.write(2, b"x" * 65536)
