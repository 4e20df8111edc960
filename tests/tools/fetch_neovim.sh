#!/bin/sh
# Unpacks the Neovim of a later Debian suite beside the system: nothing is installed.
# usage: fetch_neovim.sh SUITE DIRECTORY; prints the path of the program, exits 1 with a reason.
set -eu
suite=$1
mkdir -p "$2"
to=$(cd "$2" && pwd)
program=$to/nvim

if [ -x "$program" ] && "$program" --version >/dev/null 2>&1; then
    echo "$program"
    exit 0
fi
fail() { echo "$*" >&2; exit 1; }
sh "$(dirname "$0")/fetch_debian.sh" "$suite" "$to" neovim patchelf

# Bound to its own C library; it starts itself again, so calling it through the loader is not enough.
lib=$to/root/usr/lib/x86_64-linux-gnu
real=$to/root/usr/bin/nvim
loader=$lib/ld-linux-x86-64.so.2
"$loader" --library-path "$lib" "$to/root/usr/bin/patchelf" --set-interpreter "$loader" \
    --set-rpath "$lib" --force-rpath "$real" || fail "cannot bind neovim to its own C library"
cat >"$program" <<EOF
#!/bin/sh
VIMRUNTIME='$to/root/usr/share/nvim/runtime' exec '$real' "\$@"
EOF
chmod +x "$program"
"$program" --version >/dev/null 2>&1 || fail "the neovim of $suite does not run here"
echo "$program"
