"""The replies of a run, read through the API of `rlar view`, which reads Parquet where Python would need a package."""

import json
import subprocess
import urllib.parse
import urllib.request

MOST = 500


def read(rlar, run):
    """Steps with their replies: `step`, and `replies` as the API gives them, each with `example`, `group`, text and verdicts."""
    server = subprocess.Popen([rlar, "--quiet", "view", run, "--port", "0", "--no-browser"], stdout=subprocess.PIPE, text=True)
    try:
        address = server.stdout.readline().strip().rstrip("/")
        if not address:
            raise RuntimeError(f"`rlar view {run}` ended with exit code {server.wait()}")

        def ask(path, **question):
            with urllib.request.urlopen(f"{address}/api/{path}?{urllib.parse.urlencode(question)}", timeout=60) as answer:
                return json.load(answer)

        name = ask("runs")["runs"][0]["name"]
        for step in (found["step"] for found in ask("steps", run=name)["steps"]):
            answer = ask("replies", run=name, step=step, limit=MOST)
            if answer["total"] > MOST:
                raise RuntimeError(f"{run}: step {step} has {answer['total']} replies, more than {MOST}")
            # Lists have the beginnings of long texts.
            for reply in answer["replies"]:
                if reply["completion"]["cut"]:
                    alone = ask("reply", run=name, step=step, row=reply["row"])
                    reply["completion"] = alone["replies"][0]["completion"]
            yield dict(step=step, replies=answer["replies"])
    finally:
        server.terminate()
        server.wait()


def believed(reply):
    """The reward of a reply as a share of its tools' weights; `None` if a tool gave no score or none was asked."""
    terms = [verdict for verdict in reply["verdicts"] or [] if verdict["weight"]]
    if not terms or any(verdict["outcome"] == "failed" for verdict in terms):
        return None
    scored = [verdict for verdict in terms if verdict["outcome"] == "scored"]
    weight = sum(verdict["weight"] for verdict in scored)
    return sum(verdict["weight"] * verdict["score"] for verdict in scored) / weight if weight else None
