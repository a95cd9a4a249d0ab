#!/usr/bin/env python3
"""Checks the documentation, and exits with 1 when something is wrong:

- every link in a Markdown file leads to a file of the repository, and its #anchor to a heading (by GitHub's rules);
- every path `docs/….md` in code, scripts and configs exists;
- every `rlar` command in a block of shell commands, or in code within a sentence, names a command and options of
  docs/reference/commands.md.

With `--run RLAR` it also runs commands, those of each page in an empty folder of its own, one after the other. What is run is
marked by a comment above a block:

    <!-- run -->                      the block is run as it is
    <!-- run: TEXT => OTHER -->       the same with OTHER in place of TEXT, for a shorter run; several pairs are separated by `;`
    <!-- file: NAME -->               the block is written to the file NAME; pairs as above may follow after a `;`

Blocks without a comment need a network, a GPU, other packages or more time; their commands are only compared with
docs/reference/commands.md.

    scripts/check-docs.py [--run RLAR] [PAGE …]
"""

import argparse
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parent.parent
COMMANDS = "docs/reference/commands.md"
FOLDERS = (".ci", "configs", "crates", "datasets", "docs", "scripts")
LINK = re.compile(r"\]\(<?([^()\s>]*(?:\([^()\s]*\)[^()\s]*)*)>?(?:\s+\"[^\"]*\")?\)")
MENTION = re.compile(r"docs/[\w./-]+\.md\b")
MARK = re.compile(r"^<!--\s*(run|file)(?::\s*(.*?))?\s*-->$")
LONGEST_PAGE = 300  # seconds


class Block:
    """A fenced block: its language, text, the line it starts on, and the comment above it."""

    def __init__(self, language, line, mark):
        self.language, self.line, self.mark, self.lines = language, line, mark, []

    @property
    def text(self):
        return "\n".join(self.lines) + "\n"


class Page:
    """A Markdown file: its lines outside of fenced blocks, its blocks, and the anchors of its headings."""

    def __init__(self, path):
        self.path, self.prose, self.blocks, self.anchors = path, [], [], set()
        block = fence = mark = None
        for number, line in enumerate((ROOT / path).read_text().split("\n"), 1):
            opening = re.match(r"\s*(`{3,}|~{3,})\s*([\w-]*)", line)
            if block:
                if line.strip() == fence:
                    block = None
                else:
                    block.lines.append(line)
            elif opening:
                fence = opening[1]
                block = Block(opening[2], number, mark)
                self.blocks.append(block)
                mark = None
            else:
                self.prose.append((number, line))
                if line.strip():
                    mark = MARK.match(line.strip())
        seen = {}
        for _, line in self.prose:
            self.anchors.update(re.findall(r"<a (?:name|id)=\"([^\"]+)\"", line))
            heading = re.match(r"#{1,6}\s+(.*?)\s*#*$", line)
            if heading:
                anchor = slug(heading[1])
                seen[anchor] = seen.get(anchor, -1) + 1
                self.anchors.add(f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor)


def slug(heading):
    """The anchor that GitHub gives a heading: words in lower case, joined by hyphens, without punctuation."""
    heading = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def sources():
    """The repository's own files, relative to its root; no outputs of builds and runs."""
    paths = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*")] + list(ROOT.glob("*"))
    names = [path.relative_to(ROOT).as_posix() for path in paths if path.is_file()]
    return sorted(name for name in names if "__pycache__" not in name)


def broken_links(page, pages):
    """Links of a page that lead nowhere, each as a line of text."""
    text = "\n".join(line for _, line in page.prose)
    text = re.sub(r"`[^`\n]*`", lambda code: "`" * len(code[0]), text)
    numbers = [number for number, _ in page.prose]
    for match in LINK.finditer(text):
        target = urllib.parse.unquote(match[1])
        if re.match(r"[a-z][a-z0-9+.-]*:", target):
            continue
        where = f"{page.path}:{numbers[text.count(chr(10), 0, match.start())]}"
        name, _, anchor = target.partition("#")
        path = os.path.normpath(os.path.join(os.path.dirname(page.path), name)) if name else page.path
        if not (ROOT / path).exists():
            yield f"{where}: there is no {path}"
        elif anchor and path in pages and anchor not in pages[path].anchors:
            yield f"{where}: {path} has no heading #{anchor}"


def broken_mentions(names):
    """Paths of pages in other files that do not exist."""
    for name in names:
        if name.endswith((".md", ".png", ".csv", ".safetensors", ".gguf")) or name == "scripts/check-docs.py":
            continue
        try:
            text = (ROOT / name).read_text()
        except UnicodeDecodeError:
            continue
        for match in MENTION.finditer(text):
            is_ours = not re.search(r"[\w.]/$", text[max(0, match.start() - 2):match.start()])
            if is_ours and not (ROOT / match[0]).is_file():
                yield f"{name}:{text.count(chr(10), 0, match.start()) + 1}: there is no {match[0]}"


def reference(page):
    """The options of every command, by its name: those that the reference lists for it and for the commands above it."""
    options = {}
    command = None
    for _, line in page.prose:
        heading = re.match(r"## (rlar(?: [\w-]+)*)$", line)
        if heading:
            command = heading[1]
            options[command] = set(options.get(command.rpartition(" ")[0], {"-h", "--help", "-V", "--version"}))
        row = re.match(r"\| `((?:[^`\\]|\\.)*)` \|", line)
        if row and command:
            options[command].update(re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*", row[1]))
    return options


def unknown_words(text, options):
    """Commands and options of rlar in shell commands that the reference does not have, each as a line of text."""
    text = re.sub(r"\\\n", lambda _: "  ", text)
    for line in text.split("\n"):
        for part in re.split(r"\s(?:\||&&|;|&|\$\()\s?|\$\(", line):
            try:
                words = shlex.split(part.replace("…", ""), comments=True)
            except ValueError:
                continue
            while words and re.match(r"\w+=|(?:nice|exec|time|if|do|then)$", words[0]):
                words = words[1:]
            if words[:4] == ["cargo", "run", "--release", "--"]:
                words = ["rlar", *words[4:]]
            if not words or words[0] != "rlar" or len(words) == 1:
                continue
            name, rest = "rlar", words[1:]
            while rest and f"{name} {rest[0]}" in options:
                name, rest = f"{name} {rest[0]}", rest[1:]
            if name == "rlar" and not rest[0].startswith("-"):
                yield f"`rlar {rest[0]}` is no command"
            for word in rest:
                option = re.match(r"(--?[a-zA-Z][\w-]*)", word)
                if option and option[1] not in options[name]:
                    yield f"`{name}` has no option {option[1]}"


def run(page, rlar):
    """Runs the marked blocks of a page in an empty folder; the output if a command fails, else None."""
    script = ["set -euo pipefail"]
    for block in page.blocks:
        if not block.mark:
            continue
        pairs = [part.strip() for part in (block.mark[2] or "").split(";") if part.strip()]
        name = shlex.quote(pairs.pop(0)) if block.mark[1] == "file" else None
        text = block.text
        for pair in pairs:
            old, new = (side.strip() for side in pair.split("=>"))
            if old not in text:
                return f"{page.path}:{block.line}: the block does not contain `{old}`"
            text = text.replace(old, new)
        if name:
            script.append(f"mkdir -p \"$(dirname {name})\"\ncat >{name} <<'END_OF_FILE'\n{text}END_OF_FILE")
        else:
            script.append(f"echo '== {page.path}:{block.line}'\n{text}")
    if len(script) == 1:
        return None
    with tempfile.TemporaryDirectory() as folder:
        os.symlink(rlar, os.path.join(folder, "rlar"))
        work = os.path.join(folder, "work")
        os.mkdir(work)
        environment = dict(os.environ, PATH=folder + os.pathsep + os.environ["PATH"], NO_COLOR="1")
        with tempfile.TemporaryFile("w+") as output:
            process = subprocess.Popen(["bash", "-c", "\n".join(script)], cwd=work, env=environment, stdin=subprocess.DEVNULL,
                                       stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
            try:
                code = process.wait(timeout=LONGEST_PAGE)
                why = f"exit code {code}"
            except subprocess.TimeoutExpired:
                code, why = 1, f"not done after {LONGEST_PAGE} s"
            # Servers that the page started in the background, and a page that took too long.
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()
            output.seek(0)
            shown = output.read()
    return f"{shown}{page.path}: {why}" if code else None


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--run", metavar="RLAR", type=pathlib.Path, help="run the marked commands with this binary")
    options.add_argument("page", nargs="*", help="check these pages only")
    options = options.parse_args()
    names = sources()
    pages = {name: Page(name) for name in names if name.endswith(".md")}
    commands = reference(pages[COMMANDS])
    chosen = [pages[name] for name in (options.page or pages)]
    wrong = [] if options.page else list(broken_mentions(names))
    for page in chosen:
        wrong += broken_links(page, pages)
        for block in page.blocks:
            if block.language in ("sh", "bash", "console"):
                wrong += [f"{page.path}:{block.line}: {what}" for what in unknown_words(block.text, commands)]
        for number, line in page.prose:
            for code in re.findall(r"`(rlar [a-z][^`]*)`", line):
                wrong += [f"{page.path}:{number}: {what}" for what in unknown_words(code.replace("\\|", " "), commands)]
    ran = 0
    if options.run:
        for page in chosen:
            if any(block.mark for block in page.blocks):
                ran += 1
                failed = run(page, options.run.resolve())
                wrong += [failed] if failed else []
    for line in wrong:
        print(line)
    print(f"{len(chosen)} pages, {ran} with commands that were run, {len(wrong)} faults")
    sys.exit(1 if wrong else 0)


main()
