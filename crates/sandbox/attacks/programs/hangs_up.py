# closes the connection and stays
# crashed
import os, time
def add(a, b):
    os.close(3)
    time.sleep(100)
