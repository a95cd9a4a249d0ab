"""The generators of `datasets/` as modules: their names have a hyphen, so `import` cannot name them."""

import importlib.util
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent.parent


def load(name):
    spec = importlib.util.spec_from_file_location(f"make_{name}", SCRIPTS / f"make-{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


ARITHMETIC, CODE, TRANSLATION, DIALOGUE = map(load, ("arithmetic", "code", "translation", "dialogue"))
