#!/bin/sh
# VS Code as a server (npm's code-server, pinned by tests/vscode), without its native modules.
# usage: fetch_vscode.sh NODE DIRECTORY; exits 1 with a reason. 13 s and 630 MB the first time.
set -eu
node=$(cd "$(dirname "$1")" && pwd)
from=$(cd "$(dirname "$0")/../vscode" && pwd)
mkdir -p "$2"
to=$(cd "$2" && pwd)
fail() { echo "$*" >&2; exit 1; }

if [ -f "$to/.done" ] && cmp -s "$from/package-lock.json" "$to/package-lock.json"; then exit 0; fi
rm -f "$to/.done"
cp "$from/package.json" "$from/package-lock.json" "$to/"
PATH=$node:$PATH
export PATH
install() {
    (cd "$1" && npm install --omit=dev --ignore-scripts --no-audit --no-fund --loglevel=error \
        >"$to/npm.log" 2>&1) || fail "npm install of $(basename "$1"): $(head -1 "$to/npm.log")"
}
install "$to"
# What its own postinstall step does, less the modules that would have to be compiled.
install "$to/node_modules/code-server/lib/vscode"
install "$to/node_modules/code-server/lib/vscode/extensions"
touch "$to/.done"
