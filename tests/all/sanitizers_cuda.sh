#!/bin/sh
# GPU kernels under ThreadSanitizer, all tests of them, and their barriers taken out one by one. TAP.
exec "$(dirname "$0")/sanitizers.sh" kernels
