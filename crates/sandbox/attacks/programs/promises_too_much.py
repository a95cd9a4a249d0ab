# announces four gigabytes
# output limit
import os, time
def add(a, b):
    os.write(3, b"\xff\xff\xff\xff")
    time.sleep(100)
