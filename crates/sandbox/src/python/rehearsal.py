# A rehearsal in the fork server of what its processes do. From Python 3.11 on, the interpreter rewrites code that has run a few
# times. What is rewritten here no longer has to be in each process, which would first copy the memory page that holds the code.
VERIFIER = """
import re

def score(prompt, reply, reference):
    return float(bool(re.search("(?:%d|a)+[b-d]{1,2}$", reply.strip().lower())) or len(reply.split()) > 3)
"""
CANDIDATE = "def double(x):\n    return [2 * x, str(x)]\n"


def rehearse():
    with open(os.devnull, "wb", buffering=0) as nowhere:
        for i in range(10):
            rehearsal(score_calls, nowhere, {"source": VERIFIER % i, "blocks": None, "function": "score"},
                      [["What is 1 + 1?", "It is 2.", "2"]] * 2)
            rehearsal(answer_calls, nowhere, {"source": CANDIDATE},
                      *({"id": i, "target": "double", "arguments": [i], "keywords": {}} for i in range(2)))
    re.purge()
    del sys.modules["__verifier__"], sys.modules["__candidate__"]


def rehearsal(serve, nowhere, start, *messages):
    "Serves these messages; the replies go nowhere."
    reader, writer = os.pipe()
    stdout = sys.stdout
    wire = Wire(-1, out=writer)
    for message in messages:
        wire.send(message)
    os.close(writer)
    try:
        serve(Wire(reader, out=nowhere.fileno()), start)
    except Closed:
        pass
    finally:
        os.close(reader)
        sys.stdout = stdout
