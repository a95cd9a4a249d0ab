# answers with what makes the trusted side stumble instead of fail
# forged
import os, struct
def add(a, b):
    body = b'{"id": 1, "value": {"complex": []}}'
    os.write(3, struct.pack("<I", len(body)) + body)
    while True:
        pass
