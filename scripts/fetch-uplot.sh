#!/usr/bin/env bash
# Builds crates/view/assets/vendor: uPlot from npm, pinned and checked, as the ES module and the style sheet that the page
# of `rlar view` loads, with its licence. Needs npm.
#
#     scripts/fetch-uplot.sh
set -euo pipefail

version=1.6.32
integrity="sha512-KIMVnG68zvu5XXUbC4LQEPnhwOxBuLyW1AHtpm6IKTXImkbLgkMy+jabjLgSLMasNuGGzQm/ep3tOkyTxpiQIw=="

vendor="$(cd "$(dirname "$0")/.." && pwd)/crates/view/assets/vendor"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cd "$work"
npm pack --silent "uplot@$version" >/dev/null
got="sha512-$(openssl dgst -sha512 -binary "uplot-$version.tgz" | base64 -w0)"
if [ "$got" != "$integrity" ]; then
    echo "uplot-$version.tgz has the hash $got, not $integrity" >&2
    exit 1
fi
tar -xzf "uplot-$version.tgz"
mkdir -p "$vendor"
{
    echo "/* uPlot $version, MIT licence (uPlot.LICENSE); built by scripts/fetch-uplot.sh */"
    cat package/dist/uPlot.iife.min.js
    echo "export default uPlot;"
} >"$vendor/uPlot.js"
cp package/dist/uPlot.min.css "$vendor/uPlot.css"
cp package/LICENSE "$vendor/uPlot.LICENSE"
