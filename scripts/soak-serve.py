#!/usr/bin/env python3
"""Scores a million different replies with `rlar serve`, without a cache, and checks that its memory does not grow: in the
second half it may grow by 5 %, or by 10 MB. The first half fills caches and pools.

    scripts/soak-serve.py [--items 1000000] [--rlar target/release/rlar] [--load target/release/examples/load]
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PARTS, BATCH, MEGABYTE = 10, 250, 1e6


def items(first, count):
    """Different replies in different domains: sums, formulas, and open questions that no tool fits. One in five is wrong."""
    for i in range(first, first + count):
        domain, wrong = f"domain {i % 100}", int(i % 5 == 0)
        yield (
            dict(prompt=f"{i} + {i % 7} =", reference=str(i + i % 7), response=f"It is {i + i % 7 + wrong}.", domain=domain),
            dict(prompt=f"Half of {i}?", reference=f"\\frac{{{i}}}{{2}}", response=f"$\\boxed{{{i / 2 + wrong}}}$",
                 tools=["math_equivalence"], domain=domain),
            dict(prompt=f"Tell me of island {i}.", response=f"It is {i} miles long."),
        )[i % 3]


def resident(pid):
    """Resident memory of a process in megabytes."""
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS:")) / MEGABYTE


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--items", type=int, default=1_000_000)
    options.add_argument("--rlar", type=Path, default=ROOT / "target/release/rlar")
    options.add_argument("--load", type=Path, default=ROOT / "target/release/examples/load")
    options = options.parse_args()
    requests = max(options.items // PARTS // BATCH, 1)
    command = [options.rlar, "serve", "--port", "0", "--quiet", "--until-eof"]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    address = server.stdout.readline().strip()
    if not address:
        sys.exit("the server did not start")
    memory = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "items.jsonl")
        for part in range(PARTS):
            rows = items(part * requests * BATCH, requests * BATCH)
            file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
            load = [options.load, f"url={address}", f"items={file}", f"batch={BATCH}", "connections=2", f"requests={requests}",
                    "seconds=3600"]
            done = subprocess.run(load, capture_output=True, text=True)
            if done.returncode != 0:
                sys.exit(f"the load generator failed: {done.stderr.strip()}")
            answered = json.loads(done.stdout)
            if answered["statuses"] != {"200": requests}:
                sys.exit(f"not all requests were answered: {answered['statuses']}")
            memory.append(resident(server.pid))
            print(f"{(part + 1) * requests * BATCH} replies, {answered['scored']} of the last {requests * BATCH} scored: "
                  f"{memory[-1]:.0f} MB", flush=True)
    server.stdin.close()
    if server.wait(60) != 0:
        sys.exit("the server did not end well")
    settled = memory[len(memory) // 2]
    growth = memory[-1] - settled
    if growth > max(0.05 * settled, 10):
        sys.exit(f"memory grew by {growth:.0f} MB in the second half")


if __name__ == "__main__":
    main()
