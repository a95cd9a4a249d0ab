#!/usr/bin/env bash
# Drives the page of `rlar view` in headless Chromium: from a curve to a reply and the reason of its reward, with the keyboard
# alone, over two runs, one of which grows, and with markup in names; axe looks for what people cannot read or reach. Prints
# how long the page takes. Needs npm and a Chromium (Debian's package `chromium`) or Google Chrome.
#
#     scripts/browser-test.sh                 trains two small runs with target/release/rlar and shows them
#     scripts/browser-test.sh --short         the same in one colour scheme, without limits on times, for busy machines
#     scripts/browser-test.sh --if-available --short   installs nothing, and says what is missing instead of failing
#     scripts/browser-test.sh --screenshots FOLDER   writes a picture of every page, light and dark, to the folder
#     scripts/browser-test.sh --big FOLDER           measures the page on a run of 10,000 steps with a million replies
set -euo pipefail
cd "$(dirname "$0")/.."

tools=target/browser-test
packages=(playwright-core@1.65.1 axe-core@4.14.1)
if [ "${1:-}" = --if-available ]; then
    shift
    skipped() { echo "browser test: skipped: $1"; exit 0; }
    command -v chromium chromium-browser google-chrome >/dev/null || skipped "no chromium"
    command -v node >/dev/null || skipped "no node"
    for package in "${packages[@]}"; do
        file=$tools/node_modules/${package%@*}/package.json
        grep -qs "\"version\": \"${package#*@}\"" "$file" || skipped "no npm package $package"
    done
else
    mkdir -p "$tools"
    # npm installs into the nearest folder with a package.json.
    [ -f "$tools/package.json" ] || echo '{ "private": true }' >"$tools/package.json"
    npm install --prefix "$tools" --no-audit --no-fund --silent "${packages[@]}"
fi
browser=$(command -v chromium chromium-browser google-chrome | head -n 1 || true)
NODE_PATH="$PWD/$tools/node_modules" exec node scripts/browser-test.cjs --chromium "${browser:-/usr/bin/chromium}" "$@"
