"""How fast math-verify is as TRL calls it: a plain loop in its own process."""

import json
import subprocess
import sys

CODE = """
import json, sys, time
from math_verify import parse, verify

pairs = json.load(sys.stdin)
start = time.perf_counter()
for reference, reply in pairs:
    verify(parse(reference), parse(reply))
print(len(pairs) / (time.perf_counter() - start))
"""


def pairs_per_second(python, pairs):
    """Pairs of a reference and a reply that a Python with math-verify compares per second."""
    done = subprocess.run([str(python), "-c", CODE], input=json.dumps(pairs), capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"math-verify in {python}: {done.stderr[-2000:]}")
    return float(done.stdout)
