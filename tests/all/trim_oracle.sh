#!/bin/sh
# The oracle model at 5,000 places of 20 real files in ten languages: this repository's, and what is
# installed beside it. TRIM_ORACLE_PLACES for another number.
set -u
cd "$(dirname "$0")/../.."
BUILD=${BUILD:-build}
grammars=$BUILD/npm/grammars/node_modules
standard=$(python3 -c 'import argparse, os; print(os.path.dirname(argparse.__file__))')
runtime=/usr/share/nvim/runtime/lua/vim
set -- context/trim.c context/index.c base/utf.c inference/scheduler.c \
    "$grammars/tree-sitter-rust/bindings/node/binding.cc" \
    tests/check/structure.py "$standard/argparse.py" "$standard/json/decoder.py" \
    "$grammars/tree-sitter-go/grammar.js" "$grammars/tree-sitter-c-sharp/grammar.js" \
    tests/demo/demo.js editors/vscode/src/extension.ts tests/fixtures/shapes.ts \
    tests/fixtures/matrix.go tests/fixtures/words.rs tests/fixtures/Account.java \
    "$runtime/shared.lua" "$runtime/lsp/util.lua" tests/setup.sh tests/all/fuzz.sh
for file; do
    [ -f "$file" ] || { echo "not ok trim_oracle - $file is missing"; exit 1; }
done
exec nice "$BUILD/tools/trim_oracle" "${TRIM_ORACLE_PLACES:-5000}" "$@"
