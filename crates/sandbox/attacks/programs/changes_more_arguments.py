# says that it changed arguments that are not there
# forged
import os, struct
def add(a, b):
    body = b'{"id": 1, "value": 0, "changed": {"7": [1]}}'
    os.write(3, struct.pack("<I", len(body)) + body)
    while True:
        pass
