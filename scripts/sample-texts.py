#!/usr/bin/env python3
"""Draws doc comments and messages of the sources at random, for a reader who judges whether they are understood at once.

    scripts/sample-texts.py [--seed 0] [--count 60]

Prints each text with its file and, for a doc comment, the line that it documents. A text counts once, however long it is.
Doc comments are `///` and `//!`; messages are the texts of errors and warnings and the help of the command line.
"""

import argparse
import pathlib
import random
import re

ROOT = pathlib.Path(__file__).resolve().parent.parent
STRING = r'"((?:[^"\\]|\\.)*)"'
MESSAGE = re.compile(
    r"(?:#\[error\(|bail!\(|anyhow!\(|bad_request\(|(?:warn|error|info)!\(|\.add(?:_if)?\([^;]*?,\s*|with_context\(\|\| format!\()\s*"
    + STRING,
    re.DOTALL,
)


def doc_comments(lines):
    """Every block of doc comments with its line number and the line below it."""
    i = 0
    while i < len(lines):
        mark = re.match(r"\s*(///|//!)", lines[i])
        if not mark:
            i += 1
            continue
        start = i
        while i < len(lines) and re.match(r"\s*" + mark[1], lines[i]):
            i += 1
        text = "\n".join(re.sub(r"^\s*(///|//!) ?", "", line) for line in lines[start:i])
        below = next((l.strip() for l in lines[i:] if l.strip() and not l.strip().startswith("#[")), "")
        yield start + 1, text, "the module" if mark[1] == "//!" else below


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=60)
    arguments = parser.parse_args()
    texts = []
    for path in sorted(ROOT.glob("crates/*/src/**/*.rs")):
        name = path.relative_to(ROOT)
        source = path.read_text()
        for line, text, item in doc_comments(source.split("\n")):
            texts.append((f"{name}:{line}", item, text))
        for match in MESSAGE.finditer(source):
            message = re.sub(r"\\\n\s*", "", match[1])
            if len(message.split()) > 2:
                texts.append((f"{name}:{source.count(chr(10), 0, match.start()) + 1}", "a message", message))
    drawn = random.Random(arguments.seed).sample(texts, arguments.count)
    print(f"{arguments.count} of {len(texts)} texts, seed {arguments.seed}")
    for number, (place, item, text) in enumerate(drawn, 1):
        print(f"\n{number}. {place}: {item}\n{text}")


main()
