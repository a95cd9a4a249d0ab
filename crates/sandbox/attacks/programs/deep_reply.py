# answers with data nested a million deep
# forged, output limit
import os, struct
def add(a, b):
    body = b'{"id": 1, "value": ' + b"[" * 30000 + b"]" * 30000 + b"}"
    os.write(3, struct.pack("<I", len(body)) + body)
    while True:
        pass
