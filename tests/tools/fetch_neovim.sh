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
[ "$(dpkg --print-architecture 2>/dev/null)" = amd64 ] || fail "only fetched for Debian amd64"

uri=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null |
    sed -nE 's/^(URIs: *|deb (\[[^]]*\] )?)(https?:[^ ]*\/debian)\/?( .*)?$/\3/p' | head -1)
[ -n "$uri" ] || fail "no Debian source in /etc/apt"
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
mkdir -p "$to/apt/lists/partial" "$to/apt/archives/partial" "$to/root"
: >"$to/apt/status"
echo "deb [signed-by=$keyring] $uri $suite main" >"$to/apt/sources.list"

private_apt() { # its own lists, cache and (empty) list of what is installed
    apt-get -qq -o Dir::Etc::sourcelist="$to/apt/sources.list" -o Dir::Etc::sourceparts=- \
        -o Dir::State="$to/apt" -o Dir::State::lists="$to/apt/lists" \
        -o Dir::State::status="$to/apt/status" -o Dir::Cache="$to/apt" \
        -o Dir::Cache::archives="$to/apt/archives" -o APT::Sandbox::User= \
        -o APT::Install-Recommends=false -o Debug::NoLocking=true "$@" >"$to/apt/log" 2>&1
}
private_apt update || fail "apt-get update for $suite: $(tail -1 "$to/apt/log")"
private_apt -y --download-only install neovim || fail "neovim of $suite: $(tail -1 "$to/apt/log")"
for package in "$to"/apt/archives/*.deb; do
    dpkg -x "$package" "$to/root" || fail "cannot unpack $package"
done
rm -rf "$to/apt"

# Run with its own C library, through that library's loader.
lib=$to/root/usr/lib/x86_64-linux-gnu
cat >"$program" <<EOF
#!/bin/sh
VIMRUNTIME='$to/root/usr/share/nvim/runtime' exec '$lib/ld-linux-x86-64.so.2' \\
    --library-path '$lib:$to/root/lib/x86_64-linux-gnu' '$to/root/usr/bin/nvim' "\$@"
EOF
chmod +x "$program"
"$program" --version >/dev/null 2>&1 || fail "the neovim of $suite does not run here"
echo "$program"
