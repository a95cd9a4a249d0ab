# answers with NUL and broken UTF-8
# forged
import os, struct
def add(a, b):
    body = b'{"id": 1, "value": "\0\xff\xfe"}'
    os.write(3, struct.pack("<I", len(body)) + body)
    while True:
        pass
