#!/usr/bin/env bash
# Drives the page of `rlar view` in headless Chromium: from a curve to a reply and the reason of its reward, with the keyboard
# alone, over two runs, one of which grows, and with markup in names; axe looks for what people cannot read or reach. Prints
# how long the page takes. Needs npm and a Chromium (Debian's package `chromium`).
#
#     scripts/browser-test.sh                 trains two small runs with target/release/rlar and shows them
#     scripts/browser-test.sh --screenshots FOLDER   writes a picture of every page, light and dark, to the folder
#     scripts/browser-test.sh --big FOLDER           measures the page on a run of 10,000 steps with a million replies
set -euo pipefail
cd "$(dirname "$0")/.."

tools=target/browser-test
mkdir -p "$tools"
# npm installs into the nearest folder with a package.json.
[ -f "$tools/package.json" ] || echo '{ "private": true }' >"$tools/package.json"
npm install --prefix "$tools" --no-audit --no-fund --silent playwright-core@1.65.1 axe-core@4.14.1
NODE_PATH="$PWD/$tools/node_modules" exec node scripts/browser-test.cjs "$@"
