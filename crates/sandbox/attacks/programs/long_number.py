# answers with a number of fifty thousand digits
# forged, wrong answer
import os, struct
def add(a, b):
    body = b'{"id": 1, "value": ' + b"9" * 50000 + b"}"
    os.write(3, struct.pack("<I", len(body)) + body)
    while True:
        pass
