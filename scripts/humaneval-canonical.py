#!/usr/bin/env python3
"""Writes HumanEval's canonical solutions as the answers of a model, to time how long judging them takes. Needs nothing but
Python.

    scripts/humaneval-canonical.py HumanEval.jsonl.gz samples.jsonl

The first file is that of github.com/openai/human-eval. The second has a row per problem in the form that its
`evaluate_functional_correctness` reads: `task_id` and `completion`, the text that continues the problem's prompt.
"""

import argparse
import gzip
import json
from pathlib import Path


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("problems", type=Path, help="HumanEval.jsonl.gz")
    arguments.add_argument("output", type=Path, help="JSONL to write")
    chosen = arguments.parse_args()
    with gzip.open(chosen.problems, "rt", encoding="utf-8") as lines:
        problems = [json.loads(line) for line in lines if line.strip()]
    rows = [dict(task_id=p["task_id"], completion=p["canonical_solution"]) for p in problems]
    chosen.output.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    print(f"{len(rows)} answers in {chosen.output}")


if __name__ == "__main__":
    main()
