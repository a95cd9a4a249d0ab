"""Reads and writes configs without a YAML package.

The reader supports what most files under `configs/` are made of: nested mappings by indentation, and scalars or lists on one line
as JSON writes them. It refuses anything else. What is written is JSON, which is YAML as well.
"""

import json
from pathlib import Path


def read(path):
    """A config as nested dictionaries."""
    root = {}
    open_mappings = [(-1, root)]  # indentation and mapping, the innermost last
    for number, line in enumerate(Path(path).read_text().splitlines(), 1):
        content = line.strip()
        if not content or content.startswith("#"):
            continue
        key, colon, text = content.partition(":")
        if not colon or content.startswith("-"):
            raise ValueError(f"{path}:{number}: not `key: value`, the only form that this reader supports: {content}")
        indentation = len(line) - len(line.lstrip())
        while open_mappings[-1][0] >= indentation:
            open_mappings.pop()
        value = scalar(text.strip()) if text.strip() else {}
        open_mappings[-1][1][key] = value
        if not text.strip():
            open_mappings.append((indentation, value))
    return root


def scalar(text):
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def write(path, config):
    Path(path).write_text(json.dumps(config, indent=1) + "\n")


def without(mapping, *keys):
    """A copy of a mapping without some of its keys."""
    return {key: value for key, value in mapping.items() if key not in keys}
