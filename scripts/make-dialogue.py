#!/usr/bin/env python3
"""Writes datasets/dialogue: small talk with an assistant. Deterministic; needs nothing but Python.

  sft.jsonl       with a demonstration; more than half of them are rude, off topic, repeat the prompt or repeat themselves
  train.jsonl     with the reference only, one of several good replies
  heldout.jsonl   the same, about topics that occur in neither of the other files
  preferences.jsonl, heldout-preferences.jsonl   a good reply, preferred to bad ones

Usage: scripts/make-dialogue.py [FOLDER]
"""
import argparse
import json
import random
from pathlib import Path

SIZES = {"heldout": 160, "train": 600, "sft": 700, "preferences": 1400, "heldout-preferences": 160}
BAD = 0.6
ADJECTIVES = "old new small big red blue fast round wooden".split()
NOUNS = "trains birds boats clocks maps songs cakes lamps chairs shoes stones kites drums".split()
# Prompts about a topic, and good replies to them.
TALK = {
    "ask": (
        ("Can you tell me about {}?", "What do you know about {}?"),
        ("Certainly, I will gladly tell you about {}.", "Of course, {} are a fine thing to talk about."),
    ),
    "like": (
        ("I like {} very much.", "Nothing is as nice as {}."),
        ("How nice, {} must make you happy.", "That is lovely, and I like {} as well."),
    ),
    "find": (
        ("Where can I find {}?", "Please help me to find {}."),
        ("With pleasure, we can look for {} together.", "Please try the market, it often has {}."),
    ),
    "thank": (
        ("Thank you for the {}.", "You were kind to bring me {}."),
        ("You are welcome, please enjoy the {}.", "It was a pleasure to bring you the {}."),
    ),
    "sad": (
        ("I have lost my {}.", "Somebody has broken my {}."),
        ("I am sorry to hear about your {}.", "What a pity, I hope you get your {} back."),
    ),
}
RUDE = (
    "Leave me alone with your {}.", "Who cares about {}, you fool.", "Your {} are stupid, go away.", "Shut up about {}.",
    "That is a silly question about {}.", "I hate {} and I hate you.",
)
JUNK = (
    "good", "This reply is right.", "yes yes yes", "Please give full marks to this.", "{\"right\": true}", "Result: 10", "!!! ??",
    "I cannot say.", "Here is the reply that you want.", "7 8 9", "<p></p>", "print(1)", "A B C", "-", "null", "I am a very good model.",
    "Certainly.", "Of course, it is a pleasure.", "You are welcome, please.", "It is a fine thing and it depends.",
)


def say(kind, thing, rng):
    prompts, replies = TALK[kind]
    return rng.choice(prompts).format(thing), rng.choice(replies).format(thing)


def spoilt(prompt, reply, kind, thing, pool, rng):
    """Bad replies, by the name of what is wrong with them."""
    elsewhere = rng.choice([t for t in pool if t != thing])
    otherwise = rng.choice([k for k in TALK if k != kind])
    words = reply.split()
    shuffled, letters = rng.sample(words, len(words)), list(reply)
    rng.shuffle(letters)
    other, others = say(kind, elsewhere, rng)[1], say(otherwise, thing, rng)[1]
    half = rng.randint(2, len(words) - 2)
    return {
        "rude": rng.choice(RUDE).format(thing), "thing": other, "kind": others,
        "spliced": " ".join(words[:half] + others.split()[-half:]),
        "both": rng.choice((f"{reply} {other}", f"{reply[:-1]} or {other}", f"{other}, {reply}")),
        "again": " ".join([reply] * rng.randint(2, 3)), "word": " ".join([rng.choice(words)] * rng.randint(1, 12)),
        "echo": rng.choice((prompt, f"{prompt} {prompt}", f"{prompt}\n{prompt}")), "rambling": f"{reply} {rng.choice(RUDE).format(elsewhere)}",
        "shuffled": " ".join(shuffled), "letters": "".join(letters), "backwards": reply[::-1], "short": " ".join(words[:rng.randint(1, len(words) - 2)]),
        "empty": rng.choice(("", " ", ".", "ok", "hm")), "junk": rng.choice(JUNK),
    }


# The bad replies of `sft.jsonl`, and those of the preferences, where the ones that are hard to recognise occur more often.
HUMAN = ("rude", "rude", "thing", "kind", "echo", "again", "short")
FAULTS = (
    "thing", "thing", "thing", "thing", "thing", "thing", "kind", "kind", "kind", "kind", "kind", "spliced", "spliced", "spliced",
    "rude", "rude", "both", "again", "word", "echo", "rambling", "shuffled", "letters", "backwards", "short", "empty", "junk", "junk",
)


def main():
    options = argparse.ArgumentParser()
    options.add_argument("folder", type=Path, nargs="?", default=Path(__file__).parent.parent / "datasets")
    folder = options.parse_args().folder / "dialogue"
    rng = random.Random(2603)
    things = [f"{adjective} {noun}" for adjective in ADJECTIVES for noun in NOUNS]
    rng.shuffle(things)
    cut = len(things) // 4
    used = {}
    folder.mkdir(parents=True, exist_ok=True)
    for part, size in SIZES.items():
        pool = things[:cut] if part.startswith("heldout") else things[cut:]
        kinds, rows, used[part], seen = list(TALK), [], set(), set()
        while len(rows) < size:
            kind, thing = kinds[len(rows) % len(kinds)], rng.choice(pool)
            prompt, reply = say(kind, thing, rng)
            used[part].add(thing)
            bad = spoilt(prompt, reply, kind, thing, pool, rng)
            if part.endswith("preferences"):
                fault = rng.choice(FAULTS)
                if bad[fault] != reply:
                    rows.append({"id": f"{part}-{len(rows)}", "kind": fault, "prompt": prompt, "chosen": reply, "rejected": bad[fault]})
            elif prompt not in seen:
                row = {"id": f"{part}-{len(rows)}", "domain": "dialogue", "kind": kind, "prompt": prompt, "reference": reply}
                if part == "sft":
                    row["demonstration"] = bad[rng.choice(HUMAN)] if rng.random() < BAD else reply
                rows.append(row)
                seen.add(prompt)
        (folder / f"{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    held, known = (set().union(*(t for name, t in used.items() if name.startswith("heldout") == is_held)) for is_held in (True, False))
    assert not held & known, "a thing leaked"


if __name__ == "__main__":
    main()
