#!/usr/bin/env python3
"""Make one large git repository out of real ones, to measure the index on.

    python3 tests/tools/make_large_tree.py --files 100000 --bytes 2000000000 OUT REPO...

Copies the files that git tracks in each REPO (or lists at HEAD, where it is bare) into
OUT/NNN/N/ until both numbers are reached, and commits them. In each copy another quarter
of the long names has a suffix, so that no two files are alike, names cross files as they do in
the original, and every file still parses as it did.
"""
import argparse
import hashlib
import pathlib
import re
import subprocess
import sys

NAME = re.compile(rb"\b[A-Za-z_][A-Za-z0-9_]{7,}\b")


def tracked(repository):
    """Yields (path, bytes) of every regular file at HEAD."""
    listing = subprocess.run(
        ["git", "-C", repository, "ls-tree", "-r", "-z", "HEAD"], check=True, capture_output=True
    ).stdout
    entries = [line.split(b"\t", 1) for line in listing.split(b"\0") if line]
    blobs = [(head.split()[2], path) for head, path in entries if head.startswith(b"100")]
    wanted = b"".join(blob + b"\n" for blob, _ in blobs)
    out = subprocess.run(
        ["git", "-C", repository, "cat-file", "--batch"], input=wanted, check=True, capture_output=True
    ).stdout
    at = 0
    for _, path in blobs:
        end = out.index(b"\n", at)
        if out[at:end].endswith(b" missing"):  # a partial clone
            at = end + 1
            continue
        size = int(out[at:end].split()[2])
        yield path.decode("utf-8", "surrogateescape"), out[end + 1 : end + 1 + size]
        at = end + 1 + size + 1


def renamed(text, copy):
    """text with a suffix at another quarter of its long names in each copy; bytes that are no text stay."""
    if b"\0" in text[:8000]:
        return text + b"%d" % copy

    def one(match):
        name = match.group()
        digest = hashlib.blake2b(name, digest_size=4, salt=b"%d" % copy).digest()
        return name if digest[0] & 3 else name + b"_%d" % copy

    return NAME.sub(one, text)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("repositories", nargs="+")
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--bytes", type=int, default=2_000_000_000)
    options = parser.parse_args()
    options.out.mkdir(parents=True)
    sources = [(str(i), list(tracked(r))) for i, r in enumerate(options.repositories)]
    files = size = copy = 0
    while files < options.files or size < options.bytes:
        copy += 1
        for name, entries in sources:
            for path, text in entries:
                target = options.out / f"{copy:03}" / name / path
                target.parent.mkdir(parents=True, exist_ok=True)
                data = renamed(text, copy)
                target.write_bytes(data)
                files += 1
                size += len(data)
    git = ["git", "-C", str(options.out)]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "-A", "-f"], check=True)
    subprocess.run([*git, "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "all"], check=True)
    print(f"{files} files, {size} bytes, {copy} copies")
    return 0


if __name__ == "__main__":
    sys.exit(main())
