#!/usr/bin/env python3
"""Measures `rlar fetch-rewards` with a real language model on four public data sets, and prints tables in Markdown.

    just chat-python && scripts/fetch-qwen-coder.sh
    cargo build --release
    RLAR_ORACLES=FOLDER scripts/agents-real.py [--local] [--domains] [--smollm2] [--skip-held-out]

The data are GSM8K, MBPP, Multi30k and DialogSum (scripts/public_tasks.py), 40 rows of each, without a column that names the task.
llama.cpp's server runs the model on the CPU (scripts/chat-server.py); with `--local`, rlar runs it itself, without a server, and
llama.cpp only samples the replies to held-out rows. The tables:

- how many rows got the right task label;
- per task, what became of the rules that the model listed, with seconds and tokens;
- how the admitted verifiers do on 20 other rows per task: the AUC of known good and bad replies, beside the AUC at admission, and
  Spearman's rank correlation with the usual metric on replies that the model samples;
- how often the tools that the model chooses for these rows rank the replies as well as the best tool of the library does, beside
  the choice of rlar's fixed rules, on the rows where tools differ.

The folder of `--out` keeps config, library, log and replies, and `report.json` with all numbers. A measurement that was stopped
is continued by the same command: a finished `fetch-rewards` is not repeated, and no reply is sampled twice.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import config_files
from public_tasks import HELD_OUT, TASKS, draw, is_right, known_replies, lines, task_of
from score_statistics import auc, interval, spearman

ROOT = Path(__file__).resolve().parent.parent
SLOTS = 2  # chats at once
SAMPLING = dict(temperature=0.8, max_tokens=200)
PATIENCE = 600  # seconds until a slow server's first token, or until its whole sampled reply
NOT_RECORDED = "not recorded"


class Server:
    """A language model behind the OpenAI API: that of `--url`, or scripts/chat-server.py, which is started when it is needed."""

    def __init__(self, options):
        self.options, self.address, self.process = options, options.url, None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process:
            # The server ends when its standard input does.
            self.process.stdin.close()
            try:
                self.process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def url(self):
        if self.address:
            return self.address
        options = self.options
        log = options.out / "server.log"
        command = [options.python, ROOT / "scripts/chat-server.py", options.model, "--slots", SLOTS, "--context", options.context,
                   "--until-eof"]
        try:
            with log.open("a") as errors:
                self.process = subprocess.Popen([str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                                stderr=errors, text=True)
        except OSError as error:
            sys.exit(f"--python {options.python}: {error}; `just chat-python` makes an environment with xllamacpp")
        self.address = self.process.stdout.readline().strip()
        if not self.address:
            sys.exit(f"the server did not start, see {log}; `just chat-python` makes an environment with xllamacpp, whose Python "
                     "--python names")
        return self.address

    def ask(self, path, content=None):
        """The server's answer to a request, which is a GET without `content`."""
        headers = {"Content-Type": "application/json"}
        if os.environ.get("OPENAI_API_KEY"):
            headers["Authorization"] = f"Bearer {os.environ['OPENAI_API_KEY']}"
        body = None if content is None else json.dumps(content).encode()
        request = urllib.request.Request(f"{self.url().rstrip('/')}/{path}", body, headers)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return json.load(answer)
        except (OSError, ValueError) as error:
            sys.exit(f"{request.full_url}: {error}; run the same command again to continue")

    def model(self):
        """The name of the model on the server."""
        return self.ask("models")["data"][0]["id"]


def run(rlar, *arguments):
    """The standard output of rlar; `None` if it fails, after a message."""
    process = subprocess.run([str(word) for word in (rlar, *arguments)], text=True, capture_output=True)
    if process.returncode != 0:
        words = " ".join(map(str, arguments))
        print(f"`rlar {words}` ended with exit code {process.returncode}: {process.stderr.strip()}", file=sys.stderr)
        return None
    return process.stdout


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def prepare(options):
    """Draws the rows and writes those of the config; returns the held-out ones by data set."""
    chosen = dict(rows=options.rows, domains=options.domains, model=options.url or options.model.name, local=options.local)
    path = options.out / "options.json"
    if path.exists() and json.loads(path.read_text()) != chosen:
        sys.exit(f"{options.out} holds a measurement with other options, {path.read_text().strip()}; name another folder with "
                 "--out")
    (options.out / "data").mkdir(parents=True, exist_ok=True)
    held_out = {}
    for task in TASKS:
        try:
            rows, held_out[task] = draw(options.data, task, options.rows)
        except OSError as error:
            sys.exit(f"{error.filename} is missing; --data, or RLAR_ORACLES with its folder data/, must hold the four data sets")
        except ValueError as error:
            sys.exit(f"--rows {options.rows}: {error}")
        domain = dict(domain=TASKS[task].domain) if options.domains else {}
        write_lines(options.out / f"data/{task}.jsonl", [dict(row, **domain) for row in rows])
    path.write_text(json.dumps(chosen) + "\n")
    return held_out


def write_config(options, server):
    """Writes the config of `fetch-rewards`, and returns its path."""
    llm = dict(concurrency=SLOTS, first_token=PATIENCE, next_token=120, deadline=3600)
    if options.local:
        llm.update(local=str(options.model), context=options.context)
    else:
        llm.update(url=server.url(), model=server.model())
    config = dict(
        version=1,
        run=dict(folder=str(options.out / "run")),
        # A config must name a policy, which `fetch-rewards` does not read.
        model=dict(path=str(options.model)),
        data=dict(
            mixture=[dict(train=str(options.out / f"data/{task}.jsonl")) for task in TASKS],
            # With a template, nothing is looked for within the references.
            columns=dict(reference="{{ reference }}"),
        ),
        rewards=dict(library=str(options.out / "library"), agent="llm", llm=llm),
    )
    path = options.out / "config.yaml"
    config_files.write(path, config)
    return path


def fetch(options, server):
    """Runs `fetch-rewards` unless it has finished; returns its events, those of earlier calls included. Each has the time `at`, in
    seconds since 1970; a call is between the events `call` and `returned`, which this script adds."""
    path = options.out / "events.jsonl"
    events = lines(path) if path.exists() else []
    if events and events[-1].get("exit_code") == 0:
        return events
    config = write_config(options, server)
    command = [str(options.rlar), "fetch-rewards", "--config", str(config), "--json"]
    with path.open("a", encoding="utf-8") as log:

        def record(event):
            event["at"] = time.time()
            events.append(event)
            print(json.dumps(event, ensure_ascii=False), file=log, flush=True)

        record(dict(event="call"))
        with (options.out / "fetch-rewards.log").open("a") as errors:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        for line in process.stdout:
            event = json.loads(line)
            record(event)
            if "message" in event:
                print(event["message"], file=sys.stderr, flush=True)
        record(dict(event="returned", exit_code=process.wait()))
    if process.returncode == 2:
        sys.exit(f"`rlar fetch-rewards` refused {config}, see {path}")
    if process.returncode != 0:
        print(f"`rlar fetch-rewards` ended with exit code {process.returncode}, so the library may be incomplete", file=sys.stderr)
    return events


def seconds(events):
    """Seconds that all calls took; one that was killed lasted until its last event."""
    starts = [i for i, event in enumerate(events) if event["event"] == "call"]
    return sum(events[end - 1]["at"] - events[start]["at"] for start, end in zip(starts, starts[1:] + [len(events)]))


class Synthesis:
    """What `fetch-rewards` did for one task label."""

    def __init__(self):
        self.prompts = self.requests = self.tokens = 0
        self.seconds = 0.0
        self.rules = {}  # by name: what it measures
        self.drafts = {}  # by name: what became of each draft, in order; empty where the model wrote no program

    def count(self, is_such):
        return sum(map(is_such, self.drafts.values()))


def runs(verdict):
    """Whether a draft of a verifier ran, by the message on what became of it."""
    given_up = "given up: "
    verdict = verdict[len(given_up):] if verdict.startswith(given_up) else verdict
    return not (verdict.startswith(("It does not start", "It cannot be examined")) or "must show that it runs:" in verdict)


def syntheses(events, requests):
    """What `fetch-rewards` did, by task label, from its events and from the log of requests to the language model."""
    tasks, spans, current = {}, [], None
    for event in events:
        message = event.get("message", "") if event["event"] == "note" else ""
        begins = re.fullmatch(r"(.+): (\d+) prompts", message)
        if begins or event["event"] in ("call", "returned"):
            # A call that was killed ended with its last event.
            if current is not None and event["event"] != "call":
                spans[-1]["end"] = event["at"]
            current = begins and begins[1]
            if begins:
                tasks.setdefault(current, Synthesis()).prompts = int(begins[2])
                spans.append(dict(task=current, start=event["at"], end=event["at"]))
        if current is None:
            continue
        spans[-1]["end"] = event["at"]
        rule = re.fullmatch(r"(.+?): rule (\w+): (.*)", message, re.DOTALL)
        draft = re.fullmatch(r"(.+?): (\w+), draft (\d+): (.*)", message, re.DOTALL)
        unwritten = re.fullmatch(r"(.+?): (\w+): not written: .*", message, re.DOTALL)
        if rule and rule[1] == current:
            tasks[current].rules[rule[2]] = rule[3]
        elif unwritten and unwritten[1] == current:
            tasks[current].drafts.setdefault(unwritten[2], [])
        elif draft and draft[1] == current:
            # A draft of an earlier call may come again, from the cache.
            drafts = tasks[current].drafts
            drafts[draft[2]] = drafts.get(draft[2], [])[:int(draft[3]) - 1] + [draft[4]]
    for span in spans:
        tasks[span["task"]].seconds += span["end"] - span["start"]
    for request in requests:
        at = datetime.fromisoformat(request["time"].replace("Z", "+00:00")).timestamp()
        within = next((span["task"] for span in spans if span["start"] <= at <= span["end"]), None)
        # The request for the rules bears the label of its task.
        task = tasks.get(request["task"] if request["task"] in tasks else within)
        if task and request["role"] == "synthesise":
            task.requests += 1
            task.tokens += tokens(request)
    return tasks


def tokens(request):
    reply = request.get("reply") or {}
    return reply.get("prompt_tokens", 0) + reply.get("completion_tokens", 0)


def table(title, head, rows):
    print(f"\n{title}\n")
    for row in (head, ["---"] * len(head), *rows):
        print("| " + " | ".join("" if cell is None else str(cell) for cell in row) + " |")


def number(value, digits=3):
    return "" if value is None else f"{value:.{digits}f}"


def label_table(options, tasks_file):
    """Prints how many rows got the right label; returns the counts of labels by data set, `None` where they are not recorded."""
    labels = {str(row["id"]): row["label"] for row in tasks_file.get("rows", [])}
    counts, rows = {}, []
    for task in TASKS:
        of_task = [labels[row["id"]] for row in lines(options.out / f"data/{task}.jsonl") if row["id"] in labels]
        counts[task] = dict(Counter(of_task).most_common()) or None
        right = sum(is_right(task, label) for label in of_task)
        share = f"{right} of {len(of_task)} ({100 * right / len(of_task):.0f} %)" if of_task else NOT_RECORDED
        rows.append([TASKS[task].title, share, ", ".join(f"{label} ({n})" for label, n in (counts[task] or {}).items())])
    table("Rows with the right task label", ["data set", "right", "labels"], rows)
    answers = lambda group: ", ".join(f"{label} ({n})" for label, n in sorted(group["answers"].items(), key=lambda a: -a[1]))
    groups = [[group["group"], group["examples"], answers(group), group["label"]] for group in tasks_file.get("groups", [])]
    if groups:
        title = "The answers of the language model, for groups of rows that look alike"
        table(title, ["group", "rows", "answers", "label"], groups)
    return counts


def data_set_of(label, counts):
    """The data set that a task label stands for: by its meaning, else the one most of whose rows got it; `None` for none."""
    of_rows = {task: labels[label] for task, labels in counts.items() if labels and label in labels}
    return task_of(label) or max(of_rows, key=of_rows.get, default=None)


def synthesis_table(tasks, result, requests, counts):
    """Prints what became of the rules of every task; returns the same numbers. `result` is the event of that name: its counts are
    those of all tasks in the last call."""
    report, rows = {}, []
    for label, task in sorted(tasks.items()):
        report[label] = r = dict(
            data_set=data_set_of(label, counts), prompts=task.prompts, rules=task.rules, written=len(task.drafts),
            first_runnable=task.count(lambda drafts: any(map(runs, drafts[:1]))),
            runnable=task.count(lambda drafts: any(map(runs, drafts))),
            admitted=task.count(lambda drafts: drafts[-1:] == ["admitted"]),
            seconds=task.seconds, requests=task.requests, tokens=task.tokens, drafts=task.drafts,
        )
        # rlar's own counts, where the last call worked on this task: only they tell wrappers apart.
        r.update(result.get("verifiers_by_task", {}).get(label, {}))
        rows.append([label, r["prompts"], len(r["rules"]), r["written"], r["first_runnable"], r["runnable"], r["admitted"],
                     r.get("wrappers"), f"{r['seconds']:.0f}", r["tokens"]])
    if "verifiers" in result:
        counted = [result["verifiers"].get(key) for key in ("written", "first_runnable", "runnable", "admitted", "wrappers")]
        total = lambda value: sum(map(value, tasks.values()))
        rows.append(["all of the last call, as rlar counts", total(lambda t: t.prompts), total(lambda t: len(t.rules)), *counted,
                     f"{total(lambda t: t.seconds):.0f}", total(lambda t: t.tokens)])
    table("Rules and verifiers", ["task", "prompts", "rules listed", "written", "run at first", "run in the end", "admitted",
                                  "of these wrappers", "seconds", "tokens"], rows)
    if result.get("unfit"):
        print(f"\n{result['unfit']}.")
    roles, rows = {}, []
    for role in sorted({request["role"] for request in requests}):
        of_role = [request for request in requests if request["role"] == role]
        roles[role] = dict(requests=len(of_role), failed=sum("error" in r for r in of_role),
                           tokens=sum(map(tokens, of_role)), seconds=sum(r["seconds"] for r in of_role))
        rows.append([role, roles[role]["requests"], roles[role]["failed"], roles[role]["tokens"], f"{roles[role]['seconds']:.0f}"])
    table("Requests to the language model", ["role", "requests", "failed", "tokens", "seconds"], rows)
    return report, roles


def sampled_replies(options, server, held_out):
    """Replies of the language model to the held-out rows, by id of the reply; those that were sampled before are in a file."""
    path = options.out / "replies.jsonl"
    replies = {line["id"]: line["reply"] for line in lines(path)} if path.exists() else {}
    wanted = [(f"{row['id']}/sample-{k}", row["prompt"], k) for rows in held_out.values() for row in rows for k in range(options.samples)]
    missing = [reply for reply in wanted if reply[0] not in replies]
    if missing:
        print(f"sampling {len(missing)} replies to held-out rows …", file=sys.stderr, flush=True)
        model, lock = server.model(), threading.Lock()

        def sample(reply, log):
            name, prompt, seed = reply
            content = dict(model=model, messages=[dict(role="user", content=prompt)], seed=seed, **SAMPLING)
            text = server.ask("chat/completions", content)["choices"][0]["message"]["content"] or ""
            with lock:
                replies[name] = text
                print(json.dumps(dict(id=name, reply=text), ensure_ascii=False), file=log, flush=True)

        with path.open("a", encoding="utf-8") as log, ThreadPoolExecutor(SLOTS) as pool:
            try:
                for done in [pool.submit(sample, reply, log) for reply in missing]:
                    done.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    return replies


def scores(options, tool, file, *library):
    """The scores that a tool gives to the replies of a file, by id of the reply; `None` for a reply without a score."""
    output = run(options.rlar, "score", "--tool", tool, "--data", file, "--cache", options.out / "scores.sqlite", *library)
    return {line["id"]: line.get("score") for line in map(json.loads, output.splitlines())} if output is not None else {}


def verifiers(options):
    """The admitted verifiers of the library that the language model wrote, as their cards."""
    output = run(options.rlar, "rewards", "list", "--library", options.out / "library", "--json") or ""
    tools = [json.loads(line) for line in output.splitlines()]
    is_such = lambda t: t["card"]["kind"] == "verifier" and t["card"]["origin"].startswith("written by ")
    return [tool["card"] for tool in tools if is_such(tool) and tool["admission"] in ("admitted", "provisional")]


def admission(options, tool):
    """The report of a tool's admission checks."""
    return json.loads((options.out / "library" / tool / "admission.json").read_text())


def held_out_scores(options, server, held_out, counts):
    """Prints how the admitted verifiers, and the usual metrics, score replies to the held-out rows; returns the same numbers."""
    sampled = sampled_replies(options, server, held_out)
    (options.out / "held-out").mkdir(exist_ok=True)
    report, rows, by_task = [], [], {task: [] for task in TASKS}
    for card in verifiers(options):
        task = next((found for found in (data_set_of(label, counts) for label in card["tasks"]) if found), None)
        if task is None:
            print(f"{card['name']} is for {', '.join(card['tasks'])}, which is the task of no data set", file=sys.stderr)
        else:
            by_task[task].append(card)
    for task, examples in held_out.items():
        known = known_replies(examples)
        replies = {f"{row['id']}/{kind}": (row, text) for row, texts in zip(examples, known) for kind, text in texts.items()}
        names = {row["id"]: [f"{row['id']}/{kind}" for kind in texts] for row, texts in zip(examples, known)}
        samples = [f"{row['id']}/sample-{k}" for row in examples for k in range(options.samples)]
        replies.update({name: (row, sampled[name]) for row in examples for name in samples if name.startswith(f"{row['id']}/")})
        file = options.out / f"held-out/{task}.jsonl"
        write_lines(file, [dict(row, id=name, response=text) for name, (row, text) in replies.items()])
        metric = TASKS[task].metric
        usual = scores(options, metric, file)
        tools = [dict(name=metric, role="usual metric")] + by_task[task]
        for card in tools:
            is_usual = card is tools[0]
            got = usual if is_usual else scores(options, card["name"], file, "--library", options.out / "library")
            groups = []
            for row in examples:
                of_row = {name: got.get(name) for name in names[row["id"]]}
                good = of_row.pop(f"{row['id']}/reference")
                groups.append(([] if good is None else [good], [score for score in of_row.values() if score is not None]))
            both = [name for name in samples if None not in (got.get(name), usual.get(name))]
            entry = dict(
                data_set=task, tool=card["name"], role=card["role"], tasks=card.get("tasks"),
                auc_at_admission=None if is_usual else admission(options, card["name"]).get("auc"),
                auc=auc(groups), auc_interval=interval(groups, auc), metric=metric,
                spearman=None if is_usual else spearman([got[name] for name in both], [usual[name] for name in both]),
                sampled=len(both), replies=len(replies), unscored=sum(got.get(name) is None for name in replies),
            )
            report.append(entry)
            low, high = entry["auc_interval"] or (None, None)
            held = "" if low is None else f"{number(entry['auc'])} ({number(low)} to {number(high)})"
            rows.append([TASKS[task].title, f"`{card['name']}`", card["role"], number(entry["auc_at_admission"]), held,
                         number(entry["spearman"]), f"{entry['unscored']} of {entry['replies']}"])
    title = (f"Held out: {HELD_OUT} rows per data set; AUC with a 95 % bootstrap interval over rows; Spearman with the usual "
             f"metric, on {options.samples} sampled replies per row")
    table(title, ["data set", "tool", "role", "AUC at admission", "AUC held out", "Spearman", "unscored"], rows)
    return report


def chosen_tools(options, agent):
    """The tools that an agent (`llm` or `builtin`) chooses for the held-out rows, with weights, by id of the row."""
    path = options.out / f"choices-{agent}.jsonl"
    if not path.exists():
        print(f"the {agent} agent chooses for the held-out rows …", file=sys.stderr, flush=True)
        prompts = options.out / "held-out/prompts.jsonl"
        output = run(options.rlar, "rewards", "--library", options.out / "library", "choose", "--config",
                     options.out / "config.yaml", "--data", prompts, "--agent", agent)
        if output is None:
            sys.exit(f"the choices of the {agent} agent are missing; run the same command again to continue")
        path.write_text(output, encoding="utf-8")
    return {line["id"]: {tool["tool"]: tool["weight"] for tool in line["tools"]} for line in lines(path)}


def item_value(row, replies, truth, tools, got):
    """How well the weighted sum of tools ranks the replies to a row: the share of pairs of a good and a bad reply that are in
    the right order; `None` without such a pair. `truth` says of replies whether they are good."""
    def total(name):
        values = [got[tool].get(name) for tool in tools]
        return None if None in values else sum(weight * value for weight, value in zip(tools.values(), values))

    totals = {name: total(name) for name in replies}
    good, bad = ([totals[name] for name in replies if truth[name] == side and totals[name] is not None] for side in (True, False))
    return auc([(good, bad)])


def choice_table(options, held_out, counts):
    """Prints how good the chosen tools are, beside the best tool of each row; returns the same numbers. Good replies are the
    reference and, where the usual metric is a test (math, code), sampled replies that pass it; others are bad. Sampled replies
    to other tasks are left out."""
    write_lines(options.out / "held-out/prompts.jsonl", [row for rows in held_out.values() for row in rows])
    choices = {agent: chosen_tools(options, agent) for agent in ("llm", "builtin")}
    own = {}
    for card in verifiers(options):
        for task in {data_set_of(label, counts) for label in card["tasks"]} - {None}:
            own.setdefault(task, []).append(card["name"])
    report, rows, all_items = {}, [], []
    for task, examples in held_out.items():
        file, metric = options.out / f"held-out/{task}.jsonl", TASKS[task].metric
        chosen = {tool for agent in choices.values() for row in examples for tool in agent.get(row["id"], {})}
        tools = sorted(chosen | set(own.get(task, [])) | {metric})
        got = {tool: scores(options, tool, file, "--library", options.out / "library") for tool in tools}
        items = []
        for row in examples:
            names = [line["id"] for line in lines(file) if line["id"].startswith(f"{row['id']}/")]
            is_test = metric in ("math_equivalence", "code_tests")
            truth = {}
            for name in names:
                if name.endswith("/reference"):
                    truth[name] = True
                elif "/sample-" not in name:
                    truth[name] = False
                elif is_test and got[metric].get(name) is not None:
                    truth[name] = got[metric][name] >= 0.5
            values = {tool: item_value(row, list(truth), truth, {tool: 1.0}, got) for tool in tools}
            values = {tool: value for tool, value in values.items() if value is not None}
            if not values or max(values.values()) - min(values.values()) < 1e-9:
                continue
            best = max(values.values())
            as_good = {}
            for agent, by_row in choices.items():
                value = item_value(row, list(truth), truth, by_row.get(row["id"], {}), got) if by_row.get(row["id"]) else None
                as_good[agent] = value is not None and value >= best - 1e-9
            items.append(as_good)
        all_items += items
        report[task] = dict(items=len(items), tools=tools, **{agent: sum(i[agent] for i in items) for agent in choices})
        rows.append([TASKS[task].title, len(items), *(f"{report[task][agent]}" for agent in choices), ""])
    share = lambda agent: lambda items: sum(i[agent] for i in items) / len(items) if items else None
    difference = lambda items: share("llm")(items) - share("builtin")(items) if items else None
    low, high = interval(all_items, difference) or (None, None)
    report["all"] = dict(items=len(all_items), difference=difference(all_items), difference_interval=(low, high),
                         **{agent: share(agent)(all_items) for agent in choices})
    shown = f"{difference(all_items):+.3f} ({low:+.3f} to {high:+.3f})" if low is not None else ""
    rows.append(["all", len(all_items), *(number(report["all"][agent]) for agent in choices), shown])
    title = "Rows where tools differ, and how many of them get tools as good as the best one"
    table(title, ["data set", "rows", "chosen by the language model", "by fixed rules", "difference of shares (95 %)"], rows)
    return report


def arguments():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    oracles = os.environ.get("RLAR_ORACLES")
    python = os.environ.get("RLAR_CHAT_PYTHON", ROOT / "target/chat-python/bin/python")
    options.add_argument("--rlar", type=Path, default=ROOT / "target/release/rlar")
    options.add_argument("--data", type=Path, default=oracles and Path(oracles) / "data", help="default: data/ in RLAR_ORACLES")
    options.add_argument("--rows", type=int, default=40, help="rows per data set")
    options.add_argument("--local", action="store_true", help="rlar runs the model itself (`rewards.llm.local`)")
    options.add_argument("--domains", action="store_true", help="give the rows a column `domain` that names their task")
    options.add_argument("--smollm2", action="store_true", help="the model is SmolLM2-135M-Instruct")
    options.add_argument("--model", type=Path, help="a GGUF file; default: Qwen2.5-Coder-1.5B-Instruct in models/")
    options.add_argument("--python", type=Path, default=Path(python),
                         help="a Python with xllamacpp; default: RLAR_CHAT_PYTHON, or that of `just chat-python`")
    options.add_argument("--context", type=int, default=4096, help="tokens of a chat on the server")
    options.add_argument("--url", help="an OpenAI-compatible server to use instead, such as http://localhost:8000/v1")
    options.add_argument("--samples", type=int, default=2, help="sampled replies per held-out row")
    options.add_argument("--skip-held-out", action="store_true", help="only the tables about fetch-rewards")
    options.add_argument("--out", type=Path, help="default: a folder in runs/ for each choice of model and --domains")
    options = options.parse_args()
    small, large = "SmolLM2-135M-Instruct.Q4_1.gguf", "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf"
    options.model = (options.model or ROOT / "models" / (small if options.smollm2 else large)).resolve()
    name = "agents-real" + "-local" * options.local + "-smollm2" * options.smollm2 + "-domains" * options.domains
    options.out = (options.out or ROOT / "runs" / name).resolve()
    options.rlar = options.rlar.resolve()
    if not options.data:
        sys.exit("--data is missing: name the folder with the data sets, or set RLAR_ORACLES")
    if options.local and options.url:
        sys.exit("--local runs the model without a server; leave out --url")
    if not options.url and not options.model.is_file():
        sys.exit(f"{options.model} is missing; scripts/fetch-{'smollm2' if options.smollm2 else 'qwen-coder'}.sh gets the model")
    if not options.rlar.is_file():
        sys.exit(f"{options.rlar} is missing; `cargo build --release` makes it")
    return options


def main():
    options = arguments()
    held_out = prepare(options)
    report = {}
    with Server(options) as server:
        events = fetch(options, server)
        tasks_path, log = options.out / "library/tasks.json", options.out / "library/agents.jsonl"
        tasks_file = json.loads(tasks_path.read_text()) if tasks_path.exists() else {}
        requests = lines(log) if log.exists() else []
        report["seconds"] = seconds(events)
        where = "run by rlar itself" if options.local else "on a server"
        print(f"`rlar fetch-rewards` with {options.url or options.model.name}, {where}: {report['seconds']:.0f} seconds")
        report["labels"] = counts = label_table(options, tasks_file)
        report["result"] = next((event for event in reversed(events) if event["event"] == "result"), {})
        report["tasks"], report["requests"] = synthesis_table(syntheses(events, requests), report["result"], requests, counts)
        if not options.skip_held_out:
            report["held_out"] = held_out_scores(options, server, held_out, counts)
            # The config names the address of the server that ran then.
            write_config(options, server)
            report["choices"] = choice_table(options, held_out, counts)
    path = options.out / "report.json"
    path.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"\nAll numbers are in {path}", file=sys.stderr)


if __name__ == "__main__":
    main()
