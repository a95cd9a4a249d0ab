#!/usr/bin/env python3
"""Writes datasets/arithmetic, datasets/addition and datasets/digits. Deterministic; needs nothing but Python.

arithmetic: addition and subtraction of numbers up to two digits, as expressions and as word problems
  sft.jsonl       prompts with a demonstration that shows its work or gives the answer only
  train.jsonl     prompts with the reference answer only
  heldout.jsonl   prompts whose unordered operand pair occurs in neither of the other files
addition: two-digit additions as plain text after three solved examples, for a pretrained model
  train.jsonl, heldout.jsonl   without a common unordered operand pair
digits: sums of two digits, for fast tests
  sft.jsonl, train.jsonl, heldout.jsonl   as for arithmetic
  preferences.jsonl, heldout-preferences.jsonl   the right sum, preferred to imitations of an answer

Usage: scripts/make-arithmetic.py [FOLDER] [--heldout N]
"""
import argparse
import json
import random
from pathlib import Path

KINDS = ("add", "sub", "word_add", "word_sub")
NAMES = ("Ada", "Ben", "Eva", "Leo", "Mia", "Tom")
THINGS = ("apples", "books", "coins", "cards", "eggs", "pens")
SIZES = {"sft": 4000, "train": 4000, "heldout": 400}


def working(a, b, op):
    """Column arithmetic, ones first: `7+8=15; 4+3+1=8; 85`."""
    (a1, a0), (b1, b0) = divmod(a, 10), divmod(b, 10)
    if op == "+":
        ones = a0 + b0
        carry = "+1" if ones > 9 else ""
        tens = a1 + b1 + (ones > 9)
        return f"{a0}+{b0}={ones}; {a1}+{b1}{carry}={tens}; {a + b}"
    borrow = a0 < b0
    top = a0 + 10 * borrow
    loan = "-1" if borrow else ""
    return f"{top}-{b0}={top - b0}; {a1}-{b1}{loan}={a1 - b1 - borrow}; {a - b}"


def problem(kind, a, b, rng):
    if kind == "add":
        return f"{a} + {b} ="
    if kind == "sub":
        return f"{a} - {b} ="
    name, things = rng.choice(NAMES), rng.choice(THINGS)
    if kind == "word_add":
        return rng.choice((
            f"{name} has {a} {things} and gets {b} more. How many {things} now?",
            f"A box holds {a} {things}, another holds {b}. How many {things} in all?",
        ))
    return rng.choice((
        f"{name} has {a} {things} and gives away {b}. How many {things} are left?",
        f"A box holds {a} {things}. {name} takes {b}. How many {things} remain?",
    ))


def main():
    options = argparse.ArgumentParser()
    options.add_argument("folder", type=Path, nargs="?", default=Path(__file__).parent.parent / "datasets")
    options.add_argument("--heldout", type=int, default=SIZES["heldout"], help="rows of arithmetic/heldout.jsonl")
    options = options.parse_args()
    datasets, SIZES["heldout"] = options.folder, options.heldout
    arithmetic(datasets / "arithmetic")
    addition(datasets / "addition")
    digits_only(datasets / "digits")


SHOTS = ((12, 35), (81, 14), (46, 27))


def addition(folder):
    rng = random.Random(2603)
    pairs = [(a, b) for a in range(10, 100) for b in range(10, a + 1) if (b, a) not in SHOTS and (a, b) not in SHOTS]
    rng.shuffle(pairs)
    shots = "".join(f"{a} + {b} = {a + b}\n" for a, b in SHOTS)
    folder.mkdir(parents=True, exist_ok=True)
    for part, chosen in (("heldout", pairs[:400]), ("train", pairs[400:2400])):
        rows = []
        for a, b in chosen:
            if rng.random() < 0.5:
                a, b = b, a
            rows.append({"id": f"{part}-{len(rows)}", "kind": "addition", "prompt": f"{shots}{a} + {b} =", "reference": str(a + b)})
        (folder / f"{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def digits_only(folder):
    rng = random.Random(2603)
    pairs = [(a, b) for a in range(10) for b in range(a + 1)]
    rng.shuffle(pairs)
    folder.mkdir(parents=True, exist_ok=True)
    for part, chosen in (("heldout", pairs[:10]), ("train", pairs[10:]), ("sft", pairs[10:])):
        both = sorted({(a, b) for a, b in chosen} | {(b, a) for a, b in chosen})
        rows = [{"id": f"{part}-{a}{b}", "kind": "digits", "prompt": f"{a} + {b} =", "reference": str(a + b)} for a, b in both]
        for row in rows if part == "sft" else ():
            row["demonstration"] = row["reference"]
        (folder / f"{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        if part != "sft":
            name = "preferences" if part == "train" else "heldout-preferences"
            pairs = [pair for row in rows for pair in preferences(row)]
            (folder / f"{name}.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))


def preferences(row):
    """The right answer, preferred to the repeated question, to the answer four times, and to no answer."""
    answer = row["reference"]
    for name, rejected in (("echo", row["prompt"]), ("again", " ".join([answer] * 4)), ("none", "I do not know")):
        yield {"id": f"{row['id']}-{name}", "prompt": row["prompt"], "chosen": answer, "rejected": rejected}


def arithmetic(folder):
    rng = random.Random(2603)
    pairs = [(a, b) for a in range(1, 100) for b in range(1, a + 1)]
    rng.shuffle(pairs)
    cut = len(pairs) // 5
    pools = {"heldout": pairs[:cut], "train": pairs[cut:], "sft": pairs[cut:]}
    folder.mkdir(parents=True, exist_ok=True)
    for part, size in SIZES.items():
        rows, seen = [], set()
        while len(rows) < size:
            kind = KINDS[len(rows) % len(KINDS)]
            a, b = rng.choice(pools[part])
            if kind.endswith("add") and rng.random() < 0.5:
                a, b = b, a
            op = "+" if kind.endswith("add") else "-"
            prompt = problem(kind, a, b, rng)
            if prompt in seen:
                continue
            seen.add(prompt)
            answer = str(a + b if op == "+" else a - b)
            row = {"id": f"{part}-{len(rows)}", "domain": "math", "kind": kind, "prompt": prompt, "reference": answer}
            if part == "sft":
                # Half of the demonstrations show their work, half give the answer only.
                row["demonstration"] = working(a, b, op) if rng.random() < 0.5 else row["reference"]
            rows.append(row)
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{part}.jsonl").write_text(text)
    used = {part: {frozenset(map(int, digits(r))) for r in rows_of(folder, part)} for part in SIZES}
    assert not used["heldout"] & (used["train"] | used["sft"]), "an operand pair leaked"


def rows_of(folder, part):
    return [json.loads(line) for line in (folder / f"{part}.jsonl").read_text().splitlines()]


def digits(row):
    return "".join(c if c.isdigit() else " " for c in row["prompt"]).split()


if __name__ == "__main__":
    main()
