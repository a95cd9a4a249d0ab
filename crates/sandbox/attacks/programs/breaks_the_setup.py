# answers with values that crash a careless decoder
# forged
import os, struct
def add(a, b):
    body = b'{"id": 1, "value": {"complex": []}}'
    os.write(3, struct.pack("<I", len(body)) + body)
    while True:
        pass
