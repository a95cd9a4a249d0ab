# writes one byte at a time, forever
# deadline
import time
while True:
    os.write(1, b".")
    time.sleep(0.01)
