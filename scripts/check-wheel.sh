#!/usr/bin/env bash
# Builds the wheel of `pip install rlar`, installs it into a fresh Python environment, and runs the tests of its Python package
# there, with the program that the wheel brings.
#
#   scripts/check-wheel.sh [FOLDER]      # the wheel is left in FOLDER, by default target/wheels
set -euo pipefail
cd "$(dirname "$0")/.."
wheels=${1:-target/wheels}
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT

python3 -m venv "$tools/build"
"$tools/build/bin/pip" install --quiet --disable-pip-version-check maturin==1.16.0
rm -f "$wheels"/rlar-*.whl
# The same profile and features as `cargo build --release`, so that nothing is compiled twice.
"$tools/build/bin/maturin" build --release --locked --quiet --manifest-path crates/rlar/Cargo.toml --out "$wheels"

python3 -m venv "$tools/fresh"
"$tools/fresh/bin/pip" install --quiet --disable-pip-version-check "$wheels"/rlar-*.whl mypy==2.4.1
# Outside the checkout, so that the installed package is what is tested.
tests=$PWD/crates/rlar/python/tests
cd "$tools"
env -u RLAR_BINARY "$tools/fresh/bin/rlar" --version
env -u RLAR_BINARY "$tools/fresh/bin/python" -m unittest discover "$tests"
"$tools/fresh/bin/mypy" --strict --ignore-missing-imports -p rlar
ls -l "$OLDPWD/$wheels"
