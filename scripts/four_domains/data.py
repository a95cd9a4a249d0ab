"""Writes the data of the experiment from `datasets/` and its generators. Deterministic.

  DOMAIN/train.jsonl         prompts to train on; those of dialogue without a reference, those of code with two tests
  DOMAIN/sft.jsonl           demonstrations of the warm-up
  DOMAIN/good.jsonl          the chosen replies of the preferences, as demonstrations
  DOMAIN/preferences.jsonl   pairs for the reward model of the domain; the tenth of the prompts in evidence.jsonl is left out
  DOMAIN/heldout-preferences.jsonl
  preferences.jsonl          all pairs of all domains, those of the evidence included, for the general reward model
  heldout-preferences.jsonl
  evidence.jsonl             pairs that the reward models of the domains have not seen, for learned weights
  pilot.jsonl, final.jsonl   held-out prompts: to choose the best static arm, and to measure; longer operands in the final ones
"""

import json
import random
from pathlib import Path

from four_domains.generators import ARITHMETIC, CODE, DIALOGUE
from four_domains.truth import DOMAINS, all_tests, functions

DATASETS = Path(__file__).resolve().parent.parent.parent / "datasets"
FOLDERS = dict(math="arithmetic", code="code", translation="translation", dialogue="dialogue")
SEED = 2603
PAIRS = dict(math=3000, code=2000)
HELDOUT_PAIRS = 160
LONGER = 100
PILOT_SHARE = 0.25
# What is wrong with the bad replies of the generated preferences; what is hard to recognise occurs more often.
MATH_FAULTS = (
    "ones", "ones", "ones", "tens", "tens", "slip", "slip", "slip", "operation", "operation", "other", "other",
    "unfinished", "both", "again", "echo", "empty", "junk",
)
CODE_FAULTS = ("wrong",) * 10 + ("other", "other", "other", "unfinished", "again", "echo", "prose", "empty", "junk")


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def rows(domain, part):
    return read(DATASETS / FOLDERS[domain] / f"{part}.jsonl")


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in content))


def operands(row):
    """The two numbers of an arithmetic prompt and its operation."""
    return *map(int, ARITHMETIC.digits(row)), "+" if row["kind"].endswith("add") else "-"


def result(a, b, op):
    return a + b if op == "+" else a - b


def spoilt_number(row, shown, others, draw):
    """Bad replies to an arithmetic prompt in the style of a good one, by the name of what is wrong with them."""
    a, b, op = operands(row)
    answer = result(a, b, op)
    style = lambda number: f"{shown.rsplit('; ', 1)[0]}; {number}" if ";" in shown else str(number)
    opposite = "-" if op == "+" else "+"
    slip = (a + draw.choice((-1, 1, 10)), b) if a < 90 else (a - 1, b)
    work = lambda a, b, op: ARITHMETIC.working(a, b, op) if ";" in shown and a >= b else str(result(a, b, op))
    return {
        "ones": style(answer + draw.choice((-2, -1, 1, 2))), "tens": style(answer + draw.choice((-10, 10))),
        "slip": work(*slip, op), "operation": work(a, b, opposite), "other": draw.choice(others)["reference"],
        "unfinished": shown.rsplit("; ", 1)[0] + ";", "both": f"{shown} or {answer + draw.choice((-1, 1))}",
        "again": " ".join([shown] * draw.randint(2, 3)), "echo": row["prompt"], "empty": draw.choice(("", " ", ";", "?")),
        "junk": draw.choice(DIALOGUE.JUNK),
    }


def arithmetic_pairs(prompts, count):
    """Rows with a preference pair each: the right answer, bare or after its working, preferred to a wrong one in its style."""
    draw = random.Random(SEED)
    for row in draw.sample(prompts, len(prompts))[:count]:
        a, b, op = operands(row)
        good = ARITHMETIC.working(a, b, op) if draw.random() < 0.5 else row["reference"]
        bad, fault = good, None
        while bad.rsplit(";", 1)[-1].strip() == row["reference"]:
            fault = draw.choice(MATH_FAULTS)
            bad = spoilt_number(row, good, prompts, draw)[fault]
        yield row, dict(kind=fault, prompt=row["prompt"], chosen=good, rejected=bad)


def code_pairs(prompts, count):
    """Rows with a preference pair each: a right program, preferred to one that fails its tests or to a text that is none."""
    draw = random.Random(SEED)
    for i in range(count):
        row = prompts[i % len(prompts)]
        parameter, body, _ = functions()[row["prompt"]]
        good = CODE.right(parameter, body)
        bad, fault = good, None
        while bad.startswith("def ") and CODE.passes(bad, row["tests"]):
            fault = draw.choice(CODE_FAULTS)
            other = draw.choice(prompts)["prompt"]
            bad = {
                "wrong": CODE.wrong(parameter, body, draw), "other": CODE.right(*functions()[other][:2]),
                "unfinished": good.rsplit(" ", 1)[0], "again": f"{good} {good}", "echo": row["prompt"],
                "prose": f"It returns {body}.", "empty": draw.choice(("", " ", "def", ":")), "junk": draw.choice(DIALOGUE.JUNK),
            }[fault]
        yield row, dict(kind=fault, prompt=row["prompt"], chosen=good, rejected=bad)


def pairs(domain, part):
    """Preference pairs of a domain, from prompts to train on or from held-out ones."""
    prefix, prompts = ("", "train") if part == "train" else ("heldout-", "heldout")
    count = PAIRS.get(domain, 0) if part == "train" else HELDOUT_PAIRS
    if domain == "math":
        found = [pair for _, pair in arithmetic_pairs(rows(domain, prompts), count)]
    elif domain == "code":
        found = [pair for _, pair in code_pairs(rows(domain, prompts), count)]
    else:
        found = rows(domain, f"{prefix}preferences")
    return [dict(pair, id=f"{domain}-{prefix}pair-{i}") for i, pair in enumerate(found)]


def split(held):
    """Held-out prompts to choose the best static arm on, and those to measure on."""
    order = random.Random(SEED).sample(held, len(held))
    cut = round(PILOT_SHARE * len(order))
    return order[:cut], order[cut:]


def longer(count):
    """Arithmetic prompts with an operand of three digits, which occur nowhere in training."""
    draw = random.Random(SEED)
    for i in range(count):
        kind = ARITHMETIC.KINDS[i % len(ARITHMETIC.KINDS)]
        a, b = draw.randint(100, 999), draw.randint(10, 99)
        op = "+" if kind.endswith("add") else "-"
        yield dict(id=f"math-longer-{i}", domain="math", kind=kind, prompt=ARITHMETIC.problem(kind, a, b, draw),
                   reference=str(result(a, b, op)))


def measured(row, domain, part):
    """A held-out row as it is measured: with all tests of a program."""
    tests = dict(tests=all_tests(row["prompt"])) if domain == "code" else {}
    return {**row, **tests, "id": f"{domain}-{row['id']}", "part": part}


def demonstration(domain, pair, i):
    """A chosen reply as a demonstration; with the tests of a program."""
    tests = {}
    if domain == "code":
        parameter, body, inputs = functions()[pair["prompt"]]
        tests = dict(tests=list(CODE.tests(parameter, body, inputs)))
    return dict(id=f"{domain}-good-{i}", domain=domain, prompt=pair["prompt"], demonstration=pair["chosen"], **tests)


def build(folder, every=1, change=lambda rows: rows):
    """Writes all files; `final.jsonl` comes last, so that a folder with it is complete. Of the held-out prompts one in `every` is
    taken. `change` takes the rows of the prompts to train on, the demonstrations and the final prompts."""
    union, held_union, evidence, pilot, final = [], [], [], [], []
    for domain in DOMAINS:
        hide = lambda row: {key: row[key] for key in row if domain != "dialogue" or key != "reference"}
        for part in ("train", "sft"):
            found = [dict(hide(row), id=f"{domain}-{row['id']}") for row in rows(domain, part)]
            write(folder / domain / f"{part}.jsonl", change(found))
        found = pairs(domain, "train")
        prompts = list(dict.fromkeys(pair["prompt"] for pair in found))
        kept_back = set(prompts[::10])
        write(folder / domain / "preferences.jsonl", [pair for pair in found if pair["prompt"] not in kept_back])
        write(folder / domain / "heldout-preferences.jsonl", pairs(domain, "heldout"))
        write(folder / domain / "good.jsonl", [demonstration(domain, pair, i) for i, pair in enumerate(found)])
        evidence += [pair for pair in found if pair["prompt"] in kept_back]
        union += found
        held_union += pairs(domain, "heldout")
        first, second = split(rows(domain, "heldout"))
        pilot += [measured(row, domain, "pilot") for row in first]
        final += [measured(row, domain, "final") for row in second]
    final += [dict(row, part="longer") for row in longer(LONGER)]
    write(folder / "preferences.jsonl", union)
    write(folder / "heldout-preferences.jsonl", held_union)
    write(folder / "evidence.jsonl", evidence)
    write(folder / "pilot.jsonl", pilot[::every])
    write(folder / "final.jsonl", change(final[::every]))
