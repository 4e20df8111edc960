#!/bin/sh
# Unpacks packages of a later Debian suite, with all they need, beside the system: nothing is installed.
# usage: fetch_debian.sh SUITE DIRECTORY PACKAGE...; files lie in DIRECTORY/root, exits 1 with a reason.
set -eu
suite=$1
mkdir -p "$2"
to=$(cd "$2" && pwd)
shift 2

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
private_apt -y --download-only install "$@" || fail "$1 of $suite: $(tail -1 "$to/apt/log")"
for package in "$to"/apt/archives/*.deb; do
    dpkg -x "$package" "$to/root" || fail "cannot unpack $package"
done
rm -rf "$to/apt"
