#!/bin/sh
# Faults put into the source one at a time: each must be caught by a test.
set -u
cd "$(dirname "$0")/../.."
BUILD=${BUILD:-build}
export BUILD
exec python3 tests/mutations.py "$@"
