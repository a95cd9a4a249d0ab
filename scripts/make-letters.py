#!/usr/bin/env python3
"""Writes datasets/letters: how often a letter occurs in an invented word. Deterministic; needs nothing but Python.

  sft.jsonl       with a demonstration: most go through the word, a third end with the right number
  train.jsonl     with the reference only
  prompts.jsonl   the same without the reference: only a verifier that counts can judge a reply
  heldout.jsonl   with the reference, for words that occur in neither of the other files

Usage: scripts/make-letters.py [FOLDER]
"""
import argparse
import json
import random
from pathlib import Path

SIZES = {"heldout": 200, "train": 1200, "sft": 1200}
CONSONANTS, VOWELS = "bdlmnr", "aiou"
WORKED, RIGHT = 0.7, 0.35


def word(rng):
    """Three to five different syllables of few letters, so that some occur often: `ro-ri-ra`."""
    consonants, vowels = rng.sample(CONSONANTS, 4), rng.sample(VOWELS, 2)
    return "-".join(rng.sample([c + v for c in consonants for v in vowels], rng.randint(3, 5)))


def working(word, letter):
    """The word syllable by syllable, each followed by the count so far: `ro1 ri2 ra3 = `."""
    syllables = word.split("-")
    parts = [f"{syllable}{''.join(syllables[:i + 1]).count(letter)}" for i, syllable in enumerate(syllables)]
    return " ".join(parts) + " = "


def main():
    options = argparse.ArgumentParser()
    options.add_argument("folder", type=Path, nargs="?", default=Path(__file__).parent.parent / "datasets")
    folder = options.parse_args().folder / "letters"
    rng = random.Random(2603)
    words = {}
    folder.mkdir(parents=True, exist_ok=True)
    for part, size in SIZES.items():
        rows, words[part], seen = [], set(), set()
        while len(rows) < size:
            count = 1 + len(rows) % 4
            made = word(rng)
            letters = [c for c in sorted(set(made) - {"-"}) if made.count(c) == count]
            if not letters or (part != "heldout" and made in words["heldout"]):
                continue
            letter = rng.choice(letters)
            if (made, letter) in seen:
                continue
            seen.add((made, letter))
            words[part].add(made)
            prompt = f"How many times does {letter} occur in {made}?"
            row = {"id": f"{part}-{len(rows)}", "domain": "letters", "kind": "letters", "prompt": prompt, "reference": str(count)}
            if part == "sft":
                guess = rng.choice([n for n in range(1, 5) if n != count])
                answer = count if rng.random() < RIGHT else guess
                row["demonstration"] = f"{working(made, letter) if rng.random() < WORKED else ''}{answer}"
            rows.append(row)
        (folder / f"{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        if part == "train":
            bare = [{key: value for key, value in row.items() if key != "reference"} for row in rows]
            (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in bare))
    assert not words["heldout"] & (words["train"] | words["sft"]), "a word leaked"


if __name__ == "__main__":
    main()
