#!/usr/bin/env python3
"""Writes datasets/code: prompts for a Python function of one line. Deterministic; needs nothing but Python.

  sft.jsonl       with a program as demonstration; more than half of them are wrong
  train.jsonl     with tests only
  heldout.jsonl   with tests only, for functions that occur in neither of the other files

Usage: scripts/make-code.py [FOLDER]
"""
import argparse
import json
import random
import re
from pathlib import Path

SIZES = {"heldout": 200, "train": 1000, "sft": 1000}
WRONG = 0.6

# Kind, parameter, what to return in words and as an expression, and test inputs; `a` and `b` are constants.
FAMILIES = (
    ("numbers", "x", "x plus {a}", "x + {a}", ("{a}", "3")),
    ("numbers", "x", "{a} times x, minus {b}", "{a} * x - {b}", ("2", "{b}")),
    ("numbers", "x", "the square of x, plus {a}", "x * x + {a}", ("1", "{a}")),
    ("numbers", "x", "{b} times the sum of x and {a}", "(x + {a}) * {b}", ("1", "{a}")),
    ("numbers", "x", "the remainder of x divided by {a}", "x % {a}", ("{a} * 3 + 1", "{a} * 2 - 1")),
    ("strings", "s", "s repeated {a} times", "s * {a}", ("'ab'", "'x'")),
    ("strings", "s", "the first {a} characters of s", "s[:{a}]", ("'abcdefgh' * 5", "'zyxwvu' * 6")),
    ("strings", "s", "s without its first {a} characters", "s[{a}:]", ("'abcdefgh' * 5", "'zyxwvu' * 6")),
    ("strings", "s", "the length of s, plus {a}", "len(s) + {a}", ("'abc'", "''")),
    ("strings", "s", "s in capitals, {a} times", "s.upper() * {a}", ("'ab'", "'x'")),
    ("lists", "v", "the sum of v, minus {a}", "sum(v) - {a}", ("[1, 2, 3]", "[{a}]")),
    ("lists", "v", "the largest number of v, plus {a}", "max(v) + {a}", ("[1, 5, 3]", "[{a}, 2]")),
    ("lists", "v", "the first {a} elements of v", "v[:{a}]", ("list(range(40))", "list(range(50, 0, -1))")),
    ("lists", "v", "every number of v times {a}", "[x * {a} for x in v]", ("[1, 2, 3]", "[{a}]")),
    ("lists", "v", "the numbers of v above {a}", "[x for x in v if x > {a}]", ("[{a}, {a} + 1, 0]", "[{a} + 5, {a} - 1]")),
    ("comparisons", "x", "whether x is above {a}", "x > {a}", ("{a}", "{a} + 1", "{a} - 2")),
    ("comparisons", "x", "whether x is at most {a}", "x <= {a}", ("{a}", "{a} + 1", "{a} - 2")),
    ("comparisons", "x", "whether x is a multiple of {a}", "x % {a} == 0", ("{a} * 2", "{a} * 2 + 1")),
    ("comparisons", "x", "the larger of x and {a}", "max(x, {a})", ("{a} + 3", "{a} - 3")),
    ("comparisons", "x", "the smaller of x and {a}", "min(x, {a})", ("{a} + 3", "{a} - 3")),
)
SLIPS = ((" + ", " - "), (" - ", " + "), (" * ", " + "), (" > ", " >= "), (" <= ", " < "), (" % ", " / "), ("max", "min"), ("min", "max"))


def functions():
    """Yields every function: the index of its family, then the family's parts with the constants filled in."""
    for family, (kind, parameter, text, body, inputs) in enumerate(FAMILIES):
        for a in range(2, 31):
            for b in range(2, 10) if "{b}" in body else [0]:
                text_, body_, *inputs_ = (part.format(a=a, b=b) for part in (text, body, *inputs))
                yield family, kind, parameter, text_, body_, inputs_


def tests(parameter, body, inputs):
    """Assertions about the results of the body. Inputs are evaluated, so that the tests do not show the constants."""
    for value in map(eval, inputs):
        yield f"assert f({value!r}) == {eval(body, {parameter: value})!r}"


def passes(program, asserts):
    try:
        scope = {}
        exec(program, scope)
        for test in asserts:
            exec(test, scope)
        return True
    except Exception:
        return False


def right(parameter, body):
    return f"def f({parameter}): return {body}"


def wrong(parameter, body, rng):
    """A program with a mistake: another constant, another operator, no `return`, no colon."""
    other = re.sub(r"\d+", lambda m: str(int(m.group()) + 1), body, count=1)
    drafts = [f"def f({parameter}): {body}", f"def f({parameter}) return {body}", right(parameter, other)]
    drafts += [right(parameter, body.replace(a, b, 1)) for a, b in SLIPS if a in body] * 2
    return rng.choice(drafts)


def main():
    options = argparse.ArgumentParser()
    options.add_argument("folder", type=Path, nargs="?", default=Path(__file__).parent.parent / "datasets")
    folder = options.parse_args().folder / "code"
    rng = random.Random(2603)
    families = [[] for _ in FAMILIES]
    for family, *function in functions():
        families[family].append(function)
    for family in families:
        rng.shuffle(family)
    cut = SIZES["heldout"] // len(FAMILIES)
    bodies = {}
    folder.mkdir(parents=True, exist_ok=True)
    for part, size in SIZES.items():
        rows, bodies[part] = [], set()
        for i in range(size):
            pool = families[i % len(families)]
            pool = pool[:cut] if part == "heldout" else pool[cut:]
            kind, parameter, text, body, inputs = pool[i // len(families)] if part == "heldout" else rng.choice(pool)
            asserts = list(tests(parameter, body, inputs))
            assert passes(right(parameter, body), asserts), body
            row = {"id": f"{part}-{i}", "domain": "code", "kind": kind, "prompt": f"Write f({parameter}): return {text}.", "tests": asserts}
            if part == "sft":
                draft = right(parameter, body)
                while rng.random() < WRONG and passes(draft, asserts):
                    draft = wrong(parameter, body, rng)
                row = {**row, "demonstration": draft}
            rows.append(row)
            bodies[part].add((parameter, body))
        (folder / f"{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert not bodies["heldout"] & (bodies["train"] | bodies["sft"]), "a function leaked"


if __name__ == "__main__":
    main()
