"""`python -m rlar …` is the program `rlar`."""

import os
import sys

from rlar.server import binary

if __name__ == "__main__":
    path = binary()
    os.execv(path, [path, *sys.argv[1:]])
