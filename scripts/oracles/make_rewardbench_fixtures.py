#!/usr/bin/env python3
"""Records the prompts, parsed replies and result files of PyPI's rewardbench 0.1.4, for the tests of crates/eval.

    pip install --no-deps rewardbench==0.1.4 && pip install pyarrow
    scripts/oracles/make_rewardbench_fixtures.py crates/eval/tests/fixtures

Its modules import many packages, so the functions are extracted from the sources and run alone.
"""

import ast
import json
import os
import re
import sys
import tempfile
from importlib.metadata import distribution
from pathlib import Path
from typing import Dict, List, Union

import pyarrow as pa
import pyarrow.parquet as pq


def load(module, names, **given):
    """Functions and constants of a module of the package, without its imports."""
    source = Path(distribution("rewardbench").locate_file(module)).read_text()
    space = {"re": re, "os": os, "json": json, "Dict": Dict, "List": List, "Union": Union, **given}
    for node in ast.parse(source).body:
        targets = [t.id for t in getattr(node, "targets", []) if isinstance(t, ast.Name)]
        if getattr(node, "name", None) in names or set(targets) & set(names):
            exec(compile(ast.Module([node], []), module, "exec"), space)
    return space


judge = load(
    "rewardbench/generative_v2.py",
    "prompt_v2 prompt_v2_gemini MTBENCH_V2 format_judge_answers process_judgement ratings_prompt "
    "ratings_prompt_ties _get_single_rating API_ERROR_OUTPUT".split(),
    OPENAI_MODEL_LIST=("model",), ANTHROPIC_MODEL_LIST=(), GEMINI_MODEL_LIST=(), TOGETHER_MODEL_LIST=(),
)
save = load("rewardbench/utils.py", ["save_to_hub"])


def four(question, answers, place, modifier=None):
    shown = list(answers)
    shown[0], shown[place] = shown[place], shown[0]
    turns = [[{"content": question}, {"content": a}] for a in shown]
    system, user = judge["format_judge_answers"](question, *turns, model_modifier=modifier)
    return {"place": place, "bare": modifier is not None, "system": system, "user": user}


def rating(reply):
    judge["chat_completion"] = lambda **_: reply
    return judge["_get_single_rating"]("q", "a", "model")[0]


def saved(results, name):
    here = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        save["save_to_hub"](results, name, "eval-set/", local_only=True)
        text = Path(f"results/eval-set/{name}.json").read_text()
        os.chdir(here)
    return text


QUESTION = "Is {answer_a} more than {question}? \u00e9 {}"
ANSWERS = ["right {answer_b}", "wrong\n[[B]]", "{completion}", "\U0001f600"]
REPLIES = """good 9|good\n\n10|10|7/10|8.5|-3|0|11|100|010|**9**|9.|Rating: 4  \n|no number||x9|_9|\u00e99|5 of 10
|1|ten|3\t|score=6|\u0662|9 \u2003|2\u00bd|10/10|1 0""".split("|")
VERDICTS = ["[[A]]", "A", "[[D]] no, [[B]]", "so: [[C]].", "[[E]]", "[A]", "", "[[ A ]]", "[[B]][[A]]"]

rows = [
    {"id": "7", "subset": "Math", "prompt": "2+2? \u2264", "chosen": ["4"], "rejected": ["5", "6", "\u00e9\U0001f600"]},
    {"id": "ref:1", "subset": "Ties", "prompt": "A colour?", "chosen": ["Red"], "rejected": ["Dog"]},
    {"id": "tied:1", "subset": "Ties", "prompt": "A \"colour\"?\t\x7f", "chosen": ["Red", "Blue"], "rejected": ["Dog", "Cat"]},
]
scores = [[1.0, 1.0, -3.5, 1e-05], [0.25, 1e16], [12345.678, 2.0, 1.5e-07, 1e22]]


def results(scores):
    return [1 / row.count(max(row)) if row[0] == max(row) else 0.0 for row in scores]


def turn(row, text):
    return [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": text}]


classifier = {
    "id": [r["id"] for r in rows],
    "subset": [r["subset"] for r in rows],
    "num_correct": [len(r["chosen"]) for r in rows],
    "text": [[turn(r, t) for t in r["chosen"] + r["rejected"]] for r in rows],
    "scores": scores,
    "results": results(scores),
    "model": "org/name",
    "model_type": "Seq. Classifier",
    "chat_template": "tokenizer",
}
generative = {
    "id": classifier["id"],
    "subset": classifier["subset"],
    "num_correct": classifier["num_correct"],
    "texts_chosen": [[turn(r, t) for t in r["chosen"]] for r in rows],
    "texts_rejected": [[turn(r, t) for t in r["rejected"]] for r in rows],
    "scores": [None] + scores[1:],
    "results": [results(scores)[0], None, None],
    "model": "org/name",
    "model_type": "Generative RM",
}
summary = {"model": "org/name", "model_type": "Seq. Classifier", "chat_template": None, "Math": 0.5}

if __name__ == "__main__":
    out = Path(sys.argv[1])
    fixture = {
        "question": QUESTION,
        "answers": ANSWERS,
        "four": [four(QUESTION, ANSWERS, p, m) for p in range(4) for m in (None, "gemini")],
        "verdicts": [[v, judge["process_judgement"](v, None)] for v in VERDICTS],
        "ratings": judge["ratings_prompt"].format(prompt=QUESTION, completion=ANSWERS[2]),
        "ratings_ties": judge["ratings_prompt_ties"].format(prompt=QUESTION, completion=ANSWERS[2]),
        "replies": [[r, rating(r)] for r in REPLIES],
        "rows": rows,
        "scores": scores,
        "eval_set": saved(summary, "org/name"),
        "eval_set_scores": saved(classifier, "org/name"),
        "eval_set_scores_generative": saved(generative, "org/name"),
    }
    (out / "rewardbench.json").write_text(json.dumps(fixture, indent=1) + "\n")
    counted = [
        {**r, "num_correct": len(r["chosen"]), "num_incorrect": len(r["rejected"]),
         "total_completions": len(r["chosen"]) + len(r["rejected"]), "models": ["m"],
         "additional_metadata": {"valid": 1.0, "category": None}}
        for r in rows
    ]
    pq.write_table(pa.Table.from_pylist(counted), out / "rewardbench2.parquet", compression="snappy")
