"""Runs of rlar in a folder, of which finished ones are not repeated, and tables of their results."""

import subprocess
import sys
from pathlib import Path

import config_files
from config_files import without

ROOT = Path(__file__).resolve().parent.parent


class Runs:
    """Runs of rlar in a folder, none of them repeated once it is finished."""

    def __init__(self, rlar, folder, smallest, arms=None):
        """`arms`: the arms of the experiment to run, all if None."""
        self.rlar, self.folder, self.smallest, self.arms = rlar, folder, smallest, arms
        self.results = folder if smallest else ROOT / "docs/results"
        folder.mkdir(parents=True, exist_ok=True)

    def command(self, *arguments):
        """Runs rlar and returns its standard output."""
        process = subprocess.run([self.rlar, *map(str, arguments)], cwd=ROOT, text=True, stdout=subprocess.PIPE)
        if process.returncode != 0:
            sys.exit(f"`rlar {' '.join(map(str, arguments))}` ended with exit code {process.returncode}")
        return process.stdout

    def load(self, name):
        """A config of the project, with the numbers of `--smallest` in it."""
        config = config_files.read(ROOT / "configs" / name)
        if self.smallest:
            config["train"]["steps"] = 2
            config["eval"] = dict(samples=1, limit=20)
            if "warmup" in config:
                config["warmup"]["steps"] = 2
        return config

    def train(self, name, config, *more, command="train"):
        """The folder of a finished run of a config, by `train`, `sft` or `train-rm`."""
        path, run = self.folder / f"{name}.yaml", self.folder / name
        if not (run / "report.json").exists():
            config_files.write(path, config)
            print(f"{name} …", file=sys.stderr, flush=True)
            self.command(command, "--config", path, "--run", run, "--resume", "auto", *more)
        return run

    def warm(self, base, seed):
        """The policy after the warm-up with a seed."""
        config = dict(base, seed=seed, train=dict(base["train"], steps=0), data=without(base["data"], "heldout"))
        return self.train(f"warm-{seed}", config) / "final"

    def accuracy(self, name, config, model):
        """Held-out accuracy of a model in percent, sampled and greedy, and the number of answers."""
        output = self.folder / f"{name}.eval.txt"
        if not output.exists():
            path = self.folder / f"{name}.eval.yaml"
            config_files.write(path, config)
            output.write_text(self.command("eval", "--config", path, "--model", model))
        row = next(line for line in output.read_text().splitlines() if line.startswith("all"))
        sampled, answers, greedy, *_ = [word for word in row.split()[1:] if word != "%"]
        return float(sampled), float(greedy), int(answers)


def table(head, rows):
    for row in (head, ["---"] * len(head), *rows):
        print("| " + " | ".join(map(str, row)) + " |")
    print()
