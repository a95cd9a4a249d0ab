"""The tables of scripts/bench.py as Markdown, and the block of a page that holds them."""

import sys

BEGIN, END = "<!-- tables of `just bench`: begin -->", "<!-- tables of `just bench`: end -->"


def figure(value):
    """A number with about three digits that count."""
    size = abs(value)
    if size >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if size >= 10 else f"{value:.2f}" if size >= 1 else f"{value:.3g}"


def wish(goal):
    """A goal, and whether it is reached."""
    shown = (lambda number: f"{number:.0%}") if goal["of"] == "share" else figure
    bounds = [f"{sign} {shown(goal[key])}" for key, sign in (("at_least", "≥"), ("at_most", "≤")) if key in goal]
    of = "ratio " if goal["of"] == "ratio" else ""
    behind = " of the limit" if goal["of"] == "share" else ""
    return f"{of}{' and '.join(bounds)}{behind}" + {True: ": reached", False: ": **not reached**", None: ""}[goal["reached"]]


def cells(row):
    """A row of the page's tables."""
    beside, limit = row["beside"], row["limit"]
    unit = f" {row['unit']}" if row["unit"] else ""
    limited = ""
    if limit:
        share = f", {row['share']:.0%} of it reached" if row["share"] is not None else ""
        limited = f"{figure(limit['value'])}{unit} ({limit['of']}{share})"
    wanted = "; ".join(map(wish, row["goals"]))
    return [row["row"], row["metric"], f"{figure(row['value'])}{unit}",
            f"{beside['name']}: {figure(beside['value'])}{unit}" if beside else "",
            figure(row["ratio"]) if row["ratio"] is not None else "", limited, wanted]


def line(words):
    return f"| {' | '.join(word.replace('|', chr(92) + '|') for word in words)} |"


def short(commits):
    """Commits by their first digits."""
    return ", ".join("-".join([commit[:10], *commit.split("-")[1:]]) for commit in (commits or "unknown").split(", "))


def page(result):
    """The tables as Markdown."""
    computer, packages = result["machine"], ", ".join(f"{name} {version}" for name, version in result["peers"].items())
    said = [f"Measured until {result['date'][:10]} at commit {short(result['commit'])} in {result['seconds'] / 60:.0f} minutes: "
            f"{computer['cpu']}, {computer['cores']} cores, {computer['memory_gb']} GB, {computer['system'].split('-')[0]}; "
            f"{', '.join(computer['instruction_sets'])}. " +
            ("Without other programs (`--alone`)." if result["alone"] else f"Beside {packages}." if packages else "Of rlar alone."),
            "*Ratio*: how many times better rlar is; in tables of growth and of estimates, rlar's figure divided by the other."]
    if result["smallest"]:
        said.insert(0, "**In the smallest form (`--smallest`): these figures mean little.**")
    if result["left_out"]:
        said.append("Left out: " + "; ".join(f"{what} ({why})" for what, why in result["left_out"].items()) + ".")
    titles = dict.fromkeys(row["table"] for table in result["tables"] for row in table["rows"])
    head = ["what", "measured", "rlar", "beside", "ratio", "limit", "goal"]
    for title in titles:
        of_title = [(table, row) for table in result["tables"] for row in table["rows"] if row["table"] == title]
        rows = [cells(row) for _, row in of_title]
        said.append(f"**{title[0].upper()}{title[1:]}**")
        said.append("\n".join(map(line, (head, ["---"] * len(head), *rows))))
        commands = {}
        for table, row in of_title:
            load = table["load_average"]
            commands[row["command"]] = f"`{row['command']}` (load {load['before'][0]:.1f}, then {load['after'][0]:.1f})"
        said.append("Commands: " + "; ".join(commands.values()) + ".")
    return "\n\n".join(said) + "\n"


def with_block(text, block):
    """The text of a page with a block between its two comments, in place of what was there."""
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        sys.exit(f"the page needs the comments {BEGIN} and {END}, once each and in this order")
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n\n{block}\n{END}{rest.split(END)[1]}"
