#!/usr/bin/env python3
"""Checks the rules of CONTRIBUTING.md that no compiler checks, and exits with 1 when one is broken:

- no type name is defined twice in one crate, and fewer than 25 names in more than one crate;
- no source file has more than 450 lines, no function more than 80.

An import under another name (`use X as Y`) counts as a definition of `Y` where `Y` is also a type of the workspace.
Types that stand for others on systems without Linux (`other_systems.rs`) do not count.

    scripts/check-house.py            prints what breaks a rule
    scripts/check-house.py --list     prints every name that more than one crate defines
"""

import collections
import pathlib
import re
import sys

NAMES, LINES, FUNCTION = 25, 450, 80
ROOT = pathlib.Path(__file__).resolve().parent.parent
DEFINITION = re.compile(r"^\s*(?:pub(?:\([^)]*\))?\s+)?(?:struct|enum|trait|union)\s+([A-Z]\w*)")
ALIAS_TYPE = re.compile(r"^(?:pub(?:\([^)]*\))?\s+)?type\s+([A-Z]\w*)")
ALIAS_IMPORT = re.compile(r"\b[A-Z]\w* as ([A-Z]\w*)\b")
FUNCTION_START = re.compile(r"^(\s*)(?:pub(?:\([^)]*\))?\s+)?(?:const\s+|unsafe\s+|async\s+)*fn\s+(\w+)")


def imports(text):
    """The `use` declarations of a file, with the line that each starts on."""
    for match in re.finditer(r"^\s*(?:pub(?:\([^)]*\))?\s+)?use\s[^;]*;", text, re.MULTILINE):
        yield text.count("\n", 0, match.start()) + 1, match[0]


def functions(lines):
    """Name, first line and length of every function that has a body."""
    for i, line in enumerate(lines):
        start = FUNCTION_START.match(line)
        if start:
            end = next((j for j in range(i, len(lines)) if lines[j].rstrip() == start[1] + "}"), i)
            yield start[2], i + 1, end - i + 1


def main():
    defined = collections.defaultdict(list)
    aliases = []
    broken = []
    for path in sorted(ROOT.glob("crates/*/src/**/*.rs")):
        name = path.relative_to(ROOT)
        crate = name.parts[1]
        text = path.read_text()
        lines = text.split("\n")
        if len(lines) - 1 > LINES:
            broken.append(f"{name}: {len(lines) - 1} lines, more than {LINES}")
        for function, line, length in functions(lines):
            if length > FUNCTION:
                broken.append(f"{name}:{line}: `{function}` has {length} lines, more than {FUNCTION}")
        if path.name == "other_systems.rs":
            continue
        for i, line in enumerate(lines, 1):
            match = DEFINITION.match(line) or ALIAS_TYPE.match(line)
            if match:
                defined[match[1]].append((crate, f"{name}:{i}"))
        for line, declaration in imports(text):
            aliases += [(alias, crate, f"{name}:{line}") for alias in ALIAS_IMPORT.findall(declaration)]
    for alias, crate, place in aliases:
        if alias in defined:
            defined[alias].append((crate, f"{place} (import)"))
    shared = {}
    for name, places in sorted(defined.items()):
        crates = [crate for crate, _ in places]
        where = ", ".join(place for _, place in places)
        if len(set(crates)) < len(crates):
            broken.append(f"`{name}` is defined twice in one crate: {where}")
        if len(set(crates)) > 1:
            shared[name] = where
    if len(shared) >= NAMES:
        broken.append(f"{len(shared)} type names are defined in more than one crate; fewer than {NAMES} are allowed")
    if "--list" in sys.argv:
        for name, where in shared.items():
            print(f"{name}: {where}")
    for line in broken:
        print(line)
    print(f"{len(shared)} type names are defined in more than one crate, {len(broken)} rules are broken")
    sys.exit(1 if broken else 0)


main()
