#!/usr/bin/env python3
"""How well weights of reward models judge replies with few labels per category, as CSV and SVG: docs/results/choosing-rewards.*.

    pip install matplotlib                                 for the SVG
    cargo build --release -p rlar-eval --example routing
    RLAR_ORACLES=FOLDER scripts/label-curves.py            FOLDER/data/routing holds the tables of scores
"""

import os
import subprocess
import sys
from pathlib import Path

import curves
from learning_runs import ROOT

TABLES = {"1,280 items, 4 models": "combined-4rm", "RewardMATH": "rewardmath", "LLMBar": "llmbar-419"}
HEADING = "Fitted on few labels per category:"


def label_curves(folder, name):
    """By strategy, numbers of labels per category, each with the share in % of the items that are judged rightly."""
    program = ROOT / "target/release/examples/routing"
    files = [folder / f"{name}.{part}.jsonl" for part in ("items", "scores")]
    output = subprocess.run([program, *files], check=True, text=True, stdout=subprocess.PIPE).stdout
    table = output.split(HEADING)[1].strip().split("\n\n")[0].splitlines()
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in table]
    labels = [int(cell) for cell in cells[0][1:]]
    # A cell is a score, and the interval of what is above the best static tool.
    return {row[0]: list(zip(labels, (float(cell.split()[0]) for cell in row[1:]))) for row in cells[2:]}


def main():
    if "RLAR_ORACLES" not in os.environ:
        sys.exit(__doc__)
    folder = Path(os.environ["RLAR_ORACLES"]) / "data/routing"
    panels = {title: label_curves(folder, name) for title, name in TABLES.items()}
    curves.write(ROOT / "docs/results", "choosing-rewards", panels, x="labels per category", window=1)


if __name__ == "__main__":
    main()
