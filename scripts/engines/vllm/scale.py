#!/usr/bin/env python3
"""Measures what docs/results/engines.md says of vLLM servers, with real servers of vLLM 0.32.0 on this machine's CPU and a tiny Llama that
rlar has warmed up, and prints one Markdown table. The parts:

  learning   the same GRPO runs with replies by vLLM and by this process, over several seeds
  killed     two servers, of which one is killed after step 5 and started again
  cache      all weights reloaded: with the cache of keys and values kept behind rlar's back, cleared, and with tied embeddings
  faults     two servers behind proxies that delay, cut and drop at random
  started    a server that rlar starts: killed during the run; and left by an rlar that is killed

    cargo build --release && scripts/engines/vllm/scale.py [--python PYTHON] [--only PART …]

Without --python, target/vllm-python is made first (see server.sh). All files stay in --out. About half an hour on two cores.
"""

import argparse
import atexit
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "scripts/engines"))

from proxy import Proxy

SERVER = ROOT / "scripts/engines/vllm/server.sh"
PARTS = ["learning", "killed", "cache", "faults", "started"]
GENERATE = "/inference/v1/generate"
LORA = {"rank": 8, "alpha": 16, "targets": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]}
START_LIMIT, RUN_LIMIT = 600, 3600  # seconds


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rlar", default=ROOT / "target/release/rlar", type=pathlib.Path)
    parser.add_argument("--python", help="a Python with vLLM")
    parser.add_argument("--out", default=ROOT / "target/vllm-scale", type=pathlib.Path)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds of `learning`")
    parser.add_argument("--steps", type=int, default=200, help="steps of a run of `learning`")
    parser.add_argument("--weights", choices=["lora", "reload"], default="lora", help="how `learning` publishes weights")
    return parser.parse_args()


def wait_until(is_done, limit, what):
    """Looks every 50 ms; ends the program after `limit` seconds."""
    end = time.monotonic() + limit
    while not (done := is_done()):
        if time.monotonic() > end:
            raise SystemExit(f"{what}: not within {limit} s")
        time.sleep(0.05)
    return done


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


class Server:
    """A vLLM server, in a process group of its own."""

    def __init__(self, model, log, *more):
        self.model, self.log, self.more, self.port, self.starts = model, log, more, free_port(), 0

    def start(self):
        self.starts += 1
        self.path = self.log.with_suffix(f".{self.starts}.log")
        words = [SERVER, self.model, str(self.port), *self.more]
        with open(self.path, "w") as log:
            self.process = subprocess.Popen(words, stdout=log, stderr=log, start_new_session=True)
        return self

    def answers(self):
        if self.process.poll() is not None:
            raise SystemExit(f"vLLM ended: see {self.path}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    def completions(self):
        """The number of completions since its last start, by its access log."""
        return len(re.findall(rf"POST {GENERATE} HTTP/1.1\" 200", self.path.read_text(errors="replace")))

    def kill(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Servers:
    """Servers that are up within a `with` block."""

    def __init__(self, model, folder, count):
        folder.mkdir(parents=True, exist_ok=True)
        self.all = [Server(model, folder / f"server-{index}") for index in range(count)]

    def __enter__(self):
        try:
            for server in self.all:
                server.start()
            for server in self.all:
                wait_until(server.answers, START_LIMIT, f"vLLM, {server.path}")
        except BaseException:
            self.__exit__()
            raise
        return self.all

    def __exit__(self, *_):
        for server in self.all:
            if hasattr(server, "process"):
                server.kill()


class Run:
    """A run of rlar, of which `metrics` grows with its steps."""

    def __init__(self, rlar, folder, config):
        self.folder, self.run = folder, folder / "run"
        folder.mkdir(parents=True, exist_ok=True)
        config = {**config, "run": {"folder": str(self.run), "checkpoint_every": 100_000, "rollouts_every": 100_000}}
        # JSON is YAML.
        (folder / "config.yaml").write_text(json.dumps(config, indent=1))
        self.errors = folder / "errors.log"
        with open(self.errors, "w") as errors:
            words = [rlar, "train", "--config", folder / "config.yaml", "--quiet"]
            self.process = subprocess.Popen(words, cwd=ROOT, stdout=errors, stderr=errors)
        atexit.register(self.process.kill)

    def metrics(self):
        path = self.run / "metrics.jsonl"
        lines = path.read_text().split("\n")[:-1] if path.exists() else []
        return [json.loads(line) for line in lines]

    def has_ended(self):
        return self.process.poll() is not None

    def until(self, step):
        """Waits for a step, or for the end of the run."""
        wait_until(lambda: self.has_ended() or len(self.metrics()) >= step, RUN_LIMIT, self.folder)

    def end(self, should_succeed=True):
        wait_until(self.has_ended, RUN_LIMIT, self.folder)
        if should_succeed and self.process.returncode != 0:
            raise SystemExit(f"rlar ended with {self.process.returncode}: see {self.errors}")
        return self.metrics()

    def stop(self):
        """Ends the run after its current step, as Ctrl-C does."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait()
        if "interrupted after" not in self.text():
            raise SystemExit(f"rlar did not stop in order: see {self.errors}")
        return self.metrics()

    def text(self):
        return self.errors.read_text(errors="replace")


def job(base, seed, steps, prompts=16, lora=True):
    """GRPO on sums of two digits, with an adapter or with all weights."""
    return {
        "version": 1,
        "seed": seed,
        "model": {"path": str(base), **({"lora": LORA} if lora else {})},
        "data": {"train": "datasets/digits/train.jsonl"},
        "sampling": {"max_tokens": 4},
        "train": {"steps": steps, "prompts": prompts, "group_size": 8},
        "algorithm": {"kl": {"estimator": "k3", "weight": 0.001}},
        "optimizer": {"learning_rate": 1.0e-3 if lora else 5.0e-4, "warmup_steps": 0},
    }


def sampled_by(config, **vllm):
    sampling = {**config["sampling"], "engine": "vllm", "vllm": {"canary_gap": 0.0001, **vllm}}
    return {**config, "sampling": sampling}


def warm_model(options):
    """A tiny Llama after 60 steps of supervised training, which solves about a third of the sums."""
    shape = {"vocab_size": 270, "hidden_size": 128, "intermediate_size": 128, "layers": 2, "heads": 2, "kv_heads": 1}
    run = Run(options.rlar, options.out / "base", {
        "version": 1,
        "model": {"scratch": {**shape, "positions": 512}},
        "data": {"train": "datasets/digits/train.jsonl", "demonstrations": "datasets/digits/sft.jsonl"},
        "train": {"method": "sft", "steps": 60, "batch": 32},
        "optimizer": {"learning_rate": 3.0e-3, "warmup_steps": 5},
    })
    run.end()
    return run.run / "final"


def untied(base, folder):
    """The model with its output matrix as a tensor of its own. Of tied embeddings, vLLM on a CPU keeps the packed output matrix
    when weights are reloaded."""
    shutil.copytree(base, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": False}))
    data = (folder / "model.safetensors").read_bytes()
    size = int.from_bytes(data[:8], "little")
    header, tensors = json.loads(data[8:8 + size]), data[8 + size:]
    embedding = header["model.embed_tokens.weight"]
    begin, end = embedding["data_offsets"]
    header["lm_head.weight"] = {**embedding, "data_offsets": [len(tensors), len(tensors) + end - begin]}
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    (folder / "model.safetensors").write_bytes(len(head).to_bytes(8, "little") + head + tensors + tensors[begin:end])
    return folder


def largest_gap(metrics):
    """The largest mean difference of a step between the log-probs of sampler and trainer, in nats."""
    return max(step["sampler_trainer_gap"] for step in metrics)


def seconds(step):
    return sum(step["seconds"].values())


def last_reward(metrics):
    return statistics.mean(step["reward"]["mean"] for step in metrics[-20:])


def spread(values):
    more = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{more}"


def learning(options, base, row):
    runs = {"vllm": [], "local": []}
    is_lora = options.weights == "lora"
    base = base if is_lora else untied(base, options.out / "learning" / "untied")
    with Servers(base, options.out / "learning", 1) as [server]:
        for seed in range(options.seeds):
            config = job(base, seed, options.steps, lora=is_lora)
            by_server = sampled_by(config, servers=[f"http://127.0.0.1:{server.port}"], weights=options.weights)
            for name, config in [("vllm", by_server), ("local", config)]:
                runs[name].append(Run(options.rlar, options.out / "learning" / f"{name}-{seed}", config).end())
    both = [runs["vllm"], runs["local"]]
    what = f"`learning`, {options.seeds} seeds, {options.steps} steps of 128 replies, `weights: {options.weights}`"

    def values(label, function, show):
        row(f"{what}: {label}", *(show([function(metrics) for metrics in all_metrics]) for all_metrics in both))

    values("reward of the first 20 steps", lambda m: statistics.mean(s["reward"]["mean"] for s in m[:20]), spread)
    values("reward of the last 20 steps, mean ± standard deviation over seeds", last_reward, spread)
    values("largest log-prob gap of a step, nats", largest_gap, lambda v: f"{max(v):.1e}")
    tokens = lambda m: m[-1]["tokens_drawn"] / sum(s["seconds"]["sampling"] for s in m)
    values("tokens sampled per second of sampling", tokens, lambda v: f"{statistics.mean(v):,.0f}")
    values("seconds per step", lambda m: statistics.mean(map(seconds, m)), lambda v: f"{statistics.mean(v):.3f}")
    pairs = [last_reward(vllm) - last_reward(local) for vllm, local in zip(*both)]
    error = f" ± {statistics.stdev(pairs) / len(pairs) ** 0.5:.3f}" if len(pairs) > 1 else ""
    row(f"{what}: difference of the last rewards, mean ± standard error over seeds", f"{statistics.mean(pairs):+.3f}{error}", "")


def killed(options, base, row):
    folder = options.out / "killed"
    with Servers(base, folder, 2) as servers:
        urls = [f"http://127.0.0.1:{server.port}" for server in servers]
        # More steps than are taken until the server is back.
        run = Run(options.rlar, folder, sampled_by(job(base, 0, 100_000, prompts=2), servers=urls))
        run.until(5)
        servers[1].kill()
        killed_at, began = len(run.metrics()), time.monotonic()
        servers[1].start()
        wait_until(lambda: run.has_ended() or servers[1].answers(), START_LIMIT, servers[1].path)
        # The canary is its first completion after the start, a reply the second.
        wait_until(lambda: run.has_ended() or servers[1].completions() > 1, START_LIMIT, servers[1].path)
        back_at, away = len(run.metrics()), time.monotonic() - began
        run.until(back_at + 50)
        metrics = run.stop()
        after = servers[1].completions()
    told = len(re.findall("WARN.*" + re.escape(urls[1]), run.text()))
    row("`killed`: two servers, one killed (SIGKILL) and started again: steps of the run", len(metrics), "")
    row("`killed`: step after which it was killed; after which it sampled again", f"{killed_at}; {back_at} ({away:.0f} s)", "")
    row("`killed`: completions by it after its start; warnings about it", f"{after}; {told}", "")
    row("`killed`: largest log-prob gap of a step, nats", f"{largest_gap(metrics):.1e}", "")


def cache(options, base, row):
    folder = options.out / "cache"
    own = untied(base, folder / "untied")
    for model, names in [(own, ["kept", "cleared"]), (base, ["tied"])]:
        with Servers(model, folder / f"{model.name}-server", 1) as [server]:
            for name in names:
                proxy = Proxy(server.port, keeps_cache=name == "kept")
                config = sampled_by(job(model, 0, 10, prompts=2, lora=False), servers=[proxy.url], weights="reload")
                run = Run(options.rlar, folder / name, config)
                metrics = run.end(should_succeed=False)
                gap = re.search(r"log-probs on the canary differ from the trainer's by (\S+) nats", run.text())
                ended = f"the canary differs by {float(gap[1]):.1e} nats" if gap else "all steps done"
                gaps = f"{largest_gap(metrics):.1e}" if metrics else "none"
                what = f"`cache`, {name}: steps of 10; why it ended; largest log-prob gap of these steps, nats"
                row(what, f"{len(metrics)}; {ended}; {gaps}", "")
                if name != "tied" and bool(gap) != (name == "kept"):
                    raise SystemExit(f"the canary does not tell a cache that is cleared from one that is kept: see {run.errors}")


def faults(options, base, row):
    folder, steps = options.out / "faults", 60
    with Servers(base, folder, 2) as servers:
        proxies = [Proxy(server.port, seed) for seed, server in enumerate(servers)]
        urls = [proxy.url for proxy in proxies]
        run = Run(options.rlar, folder, sampled_by(job(base, 0, steps, prompts=4), servers=urls))
        metrics = run.end()
    drawn = ", ".join(f"{sum(proxy.faults[kind] for proxy in proxies)} {kind}" for kind in proxies[0].faults)
    calls = sum(count.calls for proxy in proxies for count in proxy.counts.values())
    row(f"`faults`: two servers behind proxies with faults in {calls:,} calls: steps of {steps}", f"{len(metrics)} ({drawn})", "")
    row("`faults`: servers lost; back", f"{run.text().count('samples nothing until')}; {run.text().count('samples again')}", "")
    row("`faults`: largest log-prob gap of a step, nats", f"{largest_gap(metrics):.1e}", "")
    row("`faults`: seconds per step", f"{statistics.mean(map(seconds, metrics)):.3f}", "")
    for name, is_counted in [("completions", lambda path: path == GENERATE), ("all other calls", lambda path: path != GENERATE)]:
        counts = [count for proxy in proxies for path, count in proxy.counts.items() if is_counted(path)]
        total = lambda key: sum(getattr(count, key) for count in counts) / steps
        sizes = f"{total('sent') / 1e3:.1f} kB sent, {total('received') / 1e3:.1f} kB received"
        row(f"`faults`: {name} per step", f"{total('calls'):.1f}: {sizes}, {total('seconds'):.3f} s of the servers", "")


def descendants(pid):
    """The processes below a process, each as its PID and start time, with its command line."""
    parents, found = {}, {}
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(") ")[2].split()
            words = (stat.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if fields[0] not in "ZX":
            parents[int(stat.parent.name)] = (int(fields[1]), fields[19], words)
    level = {pid}
    while level:
        level = {child for child, (parent, *_) in parents.items() if parent in level}
        found.update({(child, parents[child][1]): parents[child][2] for child in level})
    return found


def alive(processes):
    """Those of these processes that still run."""
    running = set()
    for pid, started in processes:
        try:
            fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
        except OSError:
            continue
        if fields[19] == started and fields[0] not in "ZX":
            running.add((pid, started))
    return running


def started(options, base, row):
    folder = options.out / "started"
    command = [str(SERVER), "{model}", "{port}"]
    run = Run(options.rlar, folder / "killed-server", sampled_by(job(base, 0, 40, prompts=2), start={"command": command}))
    run.until(5)
    below = descendants(run.process.pid)
    vllm = [process for process, words in below.items() if "vllm.entrypoints.cli.main serve" in words]
    if not vllm:
        raise SystemExit(f"rlar has no vLLM server below it: see {run.errors}")
    os.kill(min(vllm)[0], signal.SIGKILL)
    run.until(15)
    below.update(descendants(run.process.pid))
    metrics = run.end()
    again = run.text().count("It is started again")
    left = len(alive(below))
    slowest = max(map(seconds, metrics))
    what = "`started`: a server of rlar's, killed (SIGKILL) after step 5: steps of 40; starts again; processes left at the end"
    row(what, f"{len(metrics)}; {again}; {left}", "")
    row("`started`: largest log-prob gap of a step, nats; longest step", f"{largest_gap(metrics):.1e}; {slowest:.0f} s", "")
    run = Run(options.rlar, folder / "killed-rlar", sampled_by(job(base, 0, 2000, prompts=2), start={"command": command}))
    run.until(2)
    below = descendants(run.process.pid)
    run.process.kill()
    run.process.wait()
    began = time.monotonic()
    wait_until(lambda: not alive(below), 60, "the server of an rlar that was killed")
    what = "`started`: rlar killed (SIGKILL): processes below it; until all had ended"
    row(what, f"{len(below)}; {time.monotonic() - began:.1f} s", "")


def main():
    options = arguments()
    # Servers end with the program.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    options.out = options.out.resolve()
    options.rlar = options.rlar.resolve()
    if options.python:
        os.environ["VLLM_PYTHON"] = os.path.abspath(options.python)
    if options.out.exists() and any(options.out.iterdir()):
        raise SystemExit(f"{options.out} is not empty: remove it, or name another folder with --out")
    options.out.mkdir(parents=True, exist_ok=True)
    base = warm_model(options)
    rows = []

    def row(what, by_vllm, local):
        rows.append((what, str(by_vllm), str(local)))
        print(f"{what}: {by_vllm} {local}".rstrip(), flush=True)

    parts = {"learning": learning, "killed": killed, "cache": cache, "faults": faults, "started": started}
    for name in options.only:
        (options.out / name).mkdir()
        parts[name](options, base, row)
    print("\n| what | sampled by vLLM | by this process |\n| --- | --- | --- |")
    for what, by_vllm, local in rows:
        print(f"| {what} | {by_vllm} | {local} |")


if __name__ == "__main__":
    main()
