#!/usr/bin/env python3
"""Writes the replies of a language model in recorded exchanges as a file that `rewards.llm.replay` reads, without the messages
that were sent: every request with the same role, template, task and attempt then gets the reply.

    scripts/record-exchanges.py "TITLE" EXCHANGES.jsonl … > configs/exchanges/NAME.yaml

EXCHANGES are the files `exchanges.jsonl` of libraries and runs, in the order in which they were written. Only exchanges about data
that may be published should be recorded: replies quote it.
"""

import json
import sys

KEYS = ("role", "template", "task", "attempt")
MAX_BYTES = 200_000


def quoted(text):
    """A YAML scalar: plain where it cannot be misread, else in JSON's form, which YAML reads."""
    plain = text.replace(" ", "").replace("-", "").replace("_", "")
    return text if plain.isalnum() and plain[0].isalpha() and plain not in ("true", "false", "null", "yes", "no") else json.dumps(
        text, ensure_ascii=False)


def block(text, indent):
    """A YAML scalar for a text, as a literal block where it has several lines that a block can hold."""
    lines = text.removesuffix("\n").split("\n")
    # A literal block keeps lines as they are, but not trailing spaces, several line ends at the end, or control characters.
    is_kept = all(line == line.rstrip() and line.isprintable() for line in lines) and lines[-1]
    if len(lines) == 1 or not is_kept or text.startswith((" ", "\n")):
        return json.dumps(text, ensure_ascii=False)
    mark = "|" if text.endswith("\n") else "|-"
    return "\n".join([mark, *(" " * indent + line if line else "" for line in lines)])


def entry(exchange):
    request, reply = exchange["request"], exchange["reply"]
    keys = [f"{key}: {quoted(request[key])}" for key in KEYS[:3]]
    if request.get("attempt"):
        keys.append(f"attempt: {request['attempt']}")
    lines = [f"- request: {{ {', '.join(keys)} }}", "  reply:"]
    if reply.get("text"):
        lines.append(f"    text: {block(reply['text'], 6)}")
    for i, call in enumerate(reply.get("calls") or []):
        if i == 0:
            lines.append("    calls:")
        lines += [f"      - name: {quoted(call['name'])}", f"        arguments: {json.dumps(call['arguments'], ensure_ascii=False)}"]
    if reply.get("finish") not in (None, "stop", "tool_calls"):
        lines.append(f"    finish: {quoted(reply['finish'])}")
    if len(lines) == 2:
        lines.append('    text: ""')
    return "\n".join(lines)


def main():
    title, *paths = sys.argv[1:]
    if not paths:
        sys.exit(__doc__.strip())
    recorded = {}
    for path in paths:
        for line in open(path, encoding="utf-8"):
            exchange = json.loads(line)
            # Of exchanges with the same key the last counts: it is of the latest run.
            recorded[tuple(exchange["request"].get(key, 0) for key in KEYS)] = exchange
    text = "".join(f"# {line}\n" for line in title.split("\n")) + "\n" + "".join(f"{entry(e)}\n" for e in recorded.values())
    if len(text.encode()) > MAX_BYTES:
        sys.exit(f"{len(text.encode())} bytes are recorded; at most {MAX_BYTES} are wanted in the repository")
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
