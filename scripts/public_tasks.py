"""Rows of four public data sets as rlar reads them, and replies to them that are known to be good or bad.

The data sets are GSM8K (train), MBPP (tasks 601 to 974, its train split), Multi30k (validation, English to German) and DialogSum
(validation), as their authors publish them: `gsm8k/train.jsonl`, `mbpp/mbpp.jsonl`, `multi30k/val.en.gz` and `val.de.gz`,
`dialogsum/dialogsum.dev.jsonl` in one folder.
"""

import gzip
import json
import random
import re
from collections import namedtuple

HELD_OUT = 20  # rows of each data set that no reward has seen


# title: the name of the data set; domain: what the column `domain` says of its rows; label: what a right task label contains;
# metric: the builtin tool of rlar that is the usual metric; read: a function of the folder that gives all rows.
Task = namedtuple("Task", "title domain label metric read")


def lines(path):
    """The JSON objects of a JSONL file."""
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]


def gsm8k(folder, part="train"):
    for i, row in enumerate(lines(folder / f"gsm8k/{part}.jsonl")):
        answer = row["answer"].split("####")[-1].strip().replace(",", "")
        yield dict(id=f"gsm8k-{i}", prompt=row["question"], reference=answer)


def mbpp(folder, tasks=range(601, 975)):
    # The prompt is that of configs/suites/mbpp.yaml: without the tests the name of the function would be unknown.
    for row in lines(folder / "mbpp/mbpp.jsonl"):
        if row["task_id"] in tasks:
            tests = "\n".join(row["test_list"])
            prompt = f"{row['text']}\n\nThe code must pass these tests:\n\n{tests}\n\nReply with one block of Python code."
            yield dict(id=f"mbpp-{row['task_id']}", prompt=prompt, reference=row["code"].replace("\r\n", "\n"),
                       test_list=row["test_list"], test_setup_code=row["test_setup_code"])


def multi30k(folder):
    texts = {}
    for language in ("en", "de"):
        with gzip.open(folder / f"multi30k/val.{language}.gz", "rt", encoding="utf-8") as file:
            texts[language] = file.read().splitlines()
    for i, (english, german) in enumerate(zip(texts["en"], texts["de"])):
        yield dict(id=f"multi30k-{i}", prompt=f"Translate into German: {english}", reference=german)


def dialogsum(folder):
    for row in lines(folder / "dialogsum/dialogsum.dev.jsonl"):
        yield dict(id=f"dialogsum-{row['fname']}", prompt=f"Summarise this dialogue.\n{row['dialogue']}", reference=row["summary"])


TASKS = {
    "gsm8k": Task("GSM8K", "maths word problem", r"\bmath|\barithmetic|\bword problem", "math_equivalence", gsm8k),
    "mbpp": Task("MBPP", "python programming", r"\bcod(e|ing)\b|\bprogram|\bpython\b", "code_tests", mbpp),
    "multi30k": Task("Multi30k", "translation", r"\btranslat", "chrf", multi30k),
    "dialogsum": Task("DialogSum", "dialogue summary", r"\bsummar", "rouge_l", dialogsum),
}


def is_right(task, label):
    """Whether a task label means the task of a data set."""
    return re.search(TASKS[task].label, label.lower()) is not None


def task_of(label):
    """The data set whose task a label means; `None` where it means none of them, or more than one."""
    found = [task for task in TASKS if is_right(task, label)]
    return found[0] if len(found) == 1 else None


def draw(folder, task, count, seed=0):
    """`count` rows of a data set, and `HELD_OUT` others, which do not depend on `count`."""
    rows = list(TASKS[task].read(folder))
    if not 1 <= count <= len(rows) - HELD_OUT:
        raise ValueError(f"{TASKS[task].title} has {len(rows)} rows, {HELD_OUT} of them held out; {count} others cannot be drawn")
    random.Random(seed).shuffle(rows)
    return rows[:count], rows[-HELD_OUT:]


def known_replies(rows):
    """A good reply and up to four bad ones to every row: per row a dictionary of texts. The good one is `reference`; `other` is
    the reference of another row, `half` the first half of the reference, `empty` has no text, and `prompt` repeats the prompt."""
    replies = []
    for i, row in enumerate(rows):
        good = row["reference"]
        others = (other["reference"] for other in rows[i + 1:] + rows[:i] if other["reference"] != good)
        candidates = dict(reference=good, other=next(others, ""), empty="", half=good[:len(good) // 2], prompt=row["prompt"])
        # Of equal texts the first counts: half of a single digit is the empty reply.
        unique = {}
        for kind, text in candidates.items():
            unique.setdefault(text, kind)
        replies.append({kind: text for text, kind in unique.items()})
    return replies
