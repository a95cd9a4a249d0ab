#!/usr/bin/env python3
"""Records the language model of `just results four-domains`: what it replies when it fills the library and chooses tools, on the
very prompts of the experiment. Trains the reward models of the domains first, unless they are there.

    scripts/fetch-qwen-coder.sh
    cargo build --release
    scripts/record-four-domains.py [--local MODEL | --url URL --model NAME] [--rlar PATH] [--runs FOLDER] [--smallest]

Writes configs/exchanges/four-domains.yaml and four-domains-no-synthesis.yaml, which the arms `rlar` and `rlar-no-synthesis`
replay (with `--smallest` into the folder of runs). An interrupted recording is continued by the same command; to ask the model
again, delete the folder of runs or name another one.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import config_files
from four_domains import arms
from four_domains.experiment import Experiment
from four_domains.truth import DOMAINS
from learning_runs import ROOT, Runs

PROMPTS = 8
TITLE = "What {model} replied when it\n{did}\n(docs/results/four-domains.md), recorded by scripts/record-four-domains.py."


def choose(experiment, library, llm):
    """Lets the language model choose the tools of some prompts of every domain; the library keeps the exchanges."""
    rows = [row for domain in DOMAINS for row in (experiment.data / domain / "train.jsonl").read_text().splitlines()[:PROMPTS]]
    prompts, path = experiment.folder / "choose.jsonl", experiment.folder / "choose.yaml"
    prompts.write_text("".join(row + "\n" for row in rows))
    config_files.write(path, dict(experiment.base(0), rewards=experiment.agents_choose(library, llm)))
    print(experiment.runs.command("rewards", "choose", "--config", path, "--agent", "llm", "--data", prompts))


def save(name, title, library, folder):
    """Writes the exchanges of a library as a file to replay."""
    script = ROOT / "scripts/record-exchanges.py"
    exchanges = library / "exchanges.jsonl"
    # Where one tool suits every domain, nothing was asked.
    exchanges.touch()
    command = [sys.executable, script, title, exchanges]
    (folder / f"{name}.yaml").write_text(subprocess.run(command, text=True, stdout=subprocess.PIPE, check=True).stdout)
    print(folder / f"{name}.yaml")


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--local", type=Path, default=ROOT / "models/qwen2.5-coder-1.5b-instruct-q4_k_m.gguf")
    options.add_argument("--url", help="an OpenAI-compatible server instead of a local model")
    options.add_argument("--model", help="the name of the model on the server")
    options.add_argument("--replay", type=Path, help="recorded exchanges instead of a model, to try the script")
    options.add_argument("--rlar", type=Path, default=ROOT / "target/release/rlar")
    options.add_argument("--runs", type=Path, default=ROOT / "runs/record")
    options.add_argument("--smallest", action="store_true")
    options = options.parse_args()
    if options.replay:
        llm = dict(replay=str(options.replay.resolve()))
    elif options.url:
        llm = dict(url=options.url, model=options.model)
    else:
        llm = dict(local=str(options.local.resolve()))
    experiment = Experiment(Runs(options.rlar.resolve(), options.runs.resolve(), options.smallest))
    library = experiment.library(llm)
    print((experiment.folder / "fetch.txt").read_text())
    choose(experiment, library, llm)
    no_synthesis = arms.without_synthesis(library, experiment.folder / "library-rlar-no-synthesis")
    choose(experiment, no_synthesis, llm)
    model = options.model or options.local.stem
    folder = experiment.folder if options.smallest else ROOT / "configs/exchanges"
    filled = "filled a library for four domains and chose tools from it"
    chose = "chose tools from a library without its verifiers"
    save("four-domains", TITLE.format(model=model, did=filled), library, folder)
    save("four-domains-no-synthesis", TITLE.format(model=model, did=chose), no_synthesis, folder)


if __name__ == "__main__":
    main()
