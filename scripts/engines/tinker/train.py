#!/usr/bin/env python3
"""Compares `rlar train` on SkyRL's Tinker server with the same LoRA training in this process, and prints a table.

    scripts/engines/tinker/train.py [--rlar target/release/rlar] [--steps 40] [--port 8000] [--out target/tinker-run]
                                      [--skyrl 0.3.0|0.4.0] [--processes 2 [--ray]] [--no-kills] [--no-faults]

1. `rlar sft` teaches a small policy from random weights to count letters (datasets/letters), of which it gets a third right.
2. scripts/engines/tinker/server.sh serves it, in the given number of processes and on Ray if asked for, and `rlar train` trains an
   adapter there. rlar is killed once with SIGKILL and resumed; then the server is killed with SIGKILL, rlar ends with an error, the server is started again, and rlar is resumed.
   --no-kills leaves this out.
3. The same run without kills, on the same server.
4. The same run through a proxy that delays, cuts and drops requests and answers at random (scripts/engines/proxy.py). SkyRL 0.3.0
   does not recognise repeated requests, so rlar ends when it cannot know whether a pass or a step was done, and is resumed; SkyRL 0.4.0
   does. --no-faults leaves this out.
5. The same steps with rlar's own LoRA.
6. The adapter of 2, or of 3, is measured by `rlar eval` in this process, and by transformers and PEFT.

Needs the Python environment that server.sh makes (TINKER_PYTHON names another folder). About half an hour on two cores.
"""

import argparse
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "scripts/engines"))

from proxy import Proxy

RANK, ALPHA = 8, 32
# What rlar says when it cannot know whether the server did what it was asked for.
UNSURE = "Create a new model from the last checkpoint and repeat the step"
SKIPPED = 2  # steps at the start, in which things are compiled, that are left out of the times

WARM = """version: 1
model:
  scratch: {{ vocab_size: 300, hidden_size: 64, intermediate_size: 192, layers: 3, heads: 4, kv_heads: 4, positions: 128 }}
data: {{ demonstrations: {root}/datasets/letters/sft.jsonl, format: plain }}
train: {{ steps: 700, batch: 32 }}
optimizer: {{ learning_rate: 3.0e-3, decay: linear }}
"""

JOB = """version: 1
run: {{ checkpoint_every: 5, rollouts_every: 10 }}
model: {{ path: {model}{lora} }}
data: {{ train: {root}/datasets/letters/train.jsonl, heldout: {root}/datasets/letters/heldout.jsonl, format: plain }}
sampling: {{ max_tokens: 24, batch: 128 }}
train: {{ steps: {steps}, prompts: 16, group_size: 8{tinker} }}
optimizer: {{ learning_rate: 1.0e-3, warmup_steps: 2, max_norm: 0 }}
eval: {{ samples: 2 }}
"""


class Server:
    """The Tinker server, in a process group of its own."""

    def __init__(self, port, model, out, options):
        self.port, self.model, self.options, self.log, self.process = port, model, options, out / "server.log", None

    def start(self):
        command = [ROOT / "scripts/engines/tinker/server.sh", *self.options, str(self.port), self.model]
        self.process = subprocess.Popen(command, stdout=self.log.open("a"), stderr=subprocess.STDOUT, start_new_session=True)
        began = time.monotonic()
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() - began > 600:
                sys.exit(f"the server does not start; see {self.log}")
            time.sleep(0.5)
        print(f"the server is up after {time.monotonic() - began:.0f} s", flush=True)

    def answers(self):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/healthz", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    def kill(self):
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


class Run:
    """A run of `rlar train` in its folder."""

    def __init__(self, rlar, config, folder):
        self.rlar, self.config, self.folder = rlar, config, folder

    def start(self):
        command = [self.rlar, "train", "--config", self.config, "--run", self.folder, "--resume", "auto", "--quiet"]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def steps(self):
        metrics = self.folder / "metrics.jsonl"
        return metrics.read_text().count("\n") if metrics.exists() else 0

    def wait_for(self, process, steps):
        """Waits until this number of steps is done, while rlar runs."""
        while self.steps() < steps:
            if process.poll() is not None:
                sys.exit(f"rlar ended early:\n{process.communicate()[1]}")
            time.sleep(0.05)

    def finish(self, process):
        out, err = process.communicate()
        if process.returncode != 0:
            sys.exit(f"rlar failed:\n{err}")
        return out

    def traffic(self):
        record = json.loads((self.folder / "tinker.json").read_text())
        return record["sent_bytes"] + record["received_bytes"]

    def records(self):
        return [json.loads(line) for line in (self.folder / "metrics.jsonl").read_text().splitlines()]

    def accuracies(self):
        before, after = json.loads((self.folder / "report.json").read_text())["measured"]
        percent = lambda kinds: 100 * kinds["all"]["right"] / kinds["all"]["answers"]
        return [(percent(e["sampled"]), percent(e["greedy"])) for e in (before, after)]


def train_with_kills(run, server, steps):
    """Kills rlar after a third of the steps and the server after two thirds. Returns what rlar said of the lost server."""
    process = run.start()
    run.wait_for(process, steps // 3)
    process.kill()
    process.wait()
    print(f"rlar was killed after step {run.steps()}", flush=True)
    process = run.start()
    run.wait_for(process, 2 * steps // 3)
    server.kill()
    _, error = process.communicate()
    print(f"the server was killed after step {run.steps()}; rlar ended with {process.returncode}", flush=True)
    if process.returncode == 0:
        sys.exit("rlar did not notice that the server is gone")
    server.start()
    run.finish(run.start())
    return error


def same_steps(one, other):
    """How many steps of two runs have the same mean reward."""
    same = [a["reward"]["mean"] == b["reward"]["mean"] for a, b in zip(one.records(), other.records())]
    return f"{sum(same)} of {len(same)}"


def train_through(proxy, run, steps):
    """Trains through a proxy with faults, resuming whenever a fault leaves open whether a step was taken. Prints what happened."""
    resumed = 0
    while True:
        before, process = run.steps(), run.start()
        _, error = process.communicate()
        if process.returncode == 0:
            break
        if UNSURE not in " ".join(error.split()):
            sys.exit(f"rlar failed behind the proxy:\n{error}")
        resumed += 1
        print(f"step {run.steps()}: a fault left open whether a request was done, resumed", flush=True)
        if resumed > steps and run.steps() == before:
            sys.exit("rlar does not get on behind the proxy")
    calls = proxy.counts.values()
    faults = ", ".join(f"{count} {kind}" for kind, count in proxy.faults.items())
    print(f"behind the proxy: {sum(c.calls for c in calls)} calls, faults: {faults}; resumed {resumed} times; per step "
          f"{sum(c.sent + c.received for c in calls) / steps:.0f} bytes and {sum(c.seconds for c in calls) / steps:.2f} s of waiting")


def peft_accuracy(base, adapter, python):
    """The greedy accuracy of the adapter on the held-out prompts, by transformers and PEFT, in percent."""
    code = f"""
import json, torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained({str(adapter)!r})
model = AutoModelForCausalLM.from_pretrained({str(base)!r}, dtype=torch.float32)
model = PeftModel.from_pretrained(model, {str(adapter)!r}).eval()
rows = [json.loads(line) for line in open({str(ROOT / "datasets/letters/heldout.jsonl")!r})]
right = 0
for row in rows:
    prompt = tokenizer(row["prompt"], return_tensors="pt")
    with torch.no_grad():
        tokens = model.generate(**prompt, max_new_tokens=24, do_sample=False, eos_token_id=tokenizer.eos_token_id,
                                pad_token_id=tokenizer.eos_token_id)[0, prompt["input_ids"].shape[1]:]
    text = tokenizer.decode(tokens, skip_special_tokens=True)
    right += text.split("=")[-1].strip() == row["reference"]
print(100 * right / len(rows))
"""
    done = subprocess.run([python, "-c", code], capture_output=True, text=True)
    return float(done.stdout.split()[-1]) if done.returncode == 0 else sys.exit(done.stderr)


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rlar", type=pathlib.Path, default=ROOT / "target/release/rlar")
    options.add_argument("--steps", type=int, default=40)
    options.add_argument("--port", type=int, default=8000)
    options.add_argument("--out", type=pathlib.Path, default=ROOT / "target/tinker-run")
    options.add_argument("--skyrl", default="0.3.0", help="the version of SkyRL, 0.3.0 or 0.4.0")
    options.add_argument("--processes", type=int, default=1, help="processes of the server")
    options.add_argument("--ray", action="store_true", help="Ray starts these processes")
    options.add_argument("--kills", action=argparse.BooleanOptionalAction, default=True, help="the run with kills")
    options.add_argument("--faults", action=argparse.BooleanOptionalAction, default=True, help="the run through a proxy")
    options.add_argument("--local", action="store_true", help="only the parts without the server")
    given = options.parse_args()
    rlar, out, steps = given.rlar.resolve(), given.out.resolve(), given.steps
    shutil.rmtree(out, ignore_errors=True)
    shutil.rmtree(ROOT / "target/tinker-model", ignore_errors=True)
    out.mkdir(parents=True)
    os.chdir(out)

    (out / "warm.yaml").write_text(WARM.format(root=ROOT))
    subprocess.run([rlar, "sft", "--config", "warm.yaml", "--run", out / "warm", "--quiet"], check=True, stdout=subprocess.DEVNULL)
    model = out / "warm/final"
    tinker = lambda url: f", engine: tinker, tinker: {{ server: {url}, rank: {RANK} }}"
    direct = tinker(f"http://127.0.0.1:{given.port}")
    lora = f", lora: {{ rank: {RANK}, alpha: {ALPHA} }}"
    for name, changes in [("tinker", {"lora": "", "tinker": direct}), ("local", {"lora": lora, "tinker": ""})]:
        (out / f"{name}.yaml").write_text(JOB.format(root=ROOT, model=model, steps=steps, **changes))

    runs = {"burn in this process": Run(rlar, out / "local.yaml", out / "local")}
    run = runs["burn in this process"]
    run.finish(run.start())
    traffic = {}
    if not given.local:
        form = ["--skyrl", given.skyrl, "--processes", str(given.processes)] + ["--ray"] * given.ray
        server = Server(given.port, model, out, form)
        try:
            server.start()
            if given.kills:
                broken = runs["server, two kills"] = Run(rlar, out / "tinker.yaml", out / "tinker-killed")
                error = train_with_kills(broken, server, steps)
            whole = Run(rlar, out / "tinker.yaml", out / "tinker")
            process = whole.start()
            whole.wait_for(process, 1)
            whole.finish(process)
            runs["server"] = whole
            traffic["server"] = whole.traffic()
            if given.faults:
                proxy = Proxy(given.port, seed=0)
                config = JOB.format(root=ROOT, model=model, steps=steps, lora="", tinker=tinker(proxy.url))
                (out / "faults.yaml").write_text(config)
                hit = runs["server, faults"] = Run(rlar, out / "faults.yaml", out / "tinker-faults")
                train_through(proxy, hit, steps)
        finally:
            server.kill()

    print(f"\n{'':22} sampled before, after   greedy before, after   s/step   sampling   training   largest gap")
    for name, run in runs.items():
        (sampled, greedy), (sampled_after, greedy_after) = run.accuracies()
        records = run.records()[min(SKIPPED, steps - 1):]
        mean = lambda key: sum(r["seconds"][key] for r in records) / len(records)
        total = sum(sum(r["seconds"][key] for key in ("sampling", "scoring", "training", "other")) for r in records) / len(records)
        gap = max(r["sampler_trainer_gap"] for r in records)
        print(f"{name:22} {sampled:6.1f} %  {sampled_after:6.1f} %      {greedy:6.1f} %  {greedy_after:6.1f} %      {total:6.2f}"
              f"     {mean('sampling'):6.2f}     {mean('training'):6.2f}   {gap:.1e}")
    if given.local:
        return
    print(f"\nbytes to and from the server, checks and evaluations included: {traffic['server'] / steps:.0f} per step")
    print(f"checked before the first step: {(whole.folder / 'tinker.json').read_text()}")
    if given.kills:
        print(f"what rlar said of the lost server: {error.strip().splitlines()[-1]}")
        print(f"steps with the same mean reward with and without kills: {same_steps(whole, broken)}")
    if given.faults:
        print(f"steps with the same mean reward with and without faults: {same_steps(whole, hit)}")
    final = (broken if given.kills else whole).folder / "final"
    own = subprocess.run([rlar, "eval", "--config", "local.yaml", "--model", final, "--json"], capture_output=True,
                         text=True)
    print(f"the adapter, measured by rlar in this process: {own.stdout.strip().splitlines()[-1] if own.returncode == 0 else own.stderr}")
    folder = "target/tinker-python" if given.skyrl == "0.3.0" else f"target/tinker-python-{given.skyrl}"
    python = pathlib.Path(os.environ.get("TINKER_PYTHON", ROOT / folder)) / "bin/python"
    print(f"the adapter, greedy, by transformers and PEFT: {peft_accuracy(model, final, python):.1f} %")


if __name__ == "__main__":
    main()
