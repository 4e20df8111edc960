#!/usr/bin/env python3
"""Real changes to type again: one added piece of code each, from this repository's own history.

Prints the JSON of tests/fixtures/commits.json: [{"commit", "path", "before", "typed", "after"}, ...],
where before + typed + after is the file as that commit left it: typed on a line of its own. Takes the newest commits that fit, of
each file one, so that running it again gives other ones.

usage: make_typing_commits.py > tests/fixtures/commits.json
"""
import json
import subprocess
import sys

LINES = (4, 24)  # of the added piece
FILE_MAX = 9000
OF_EACH = {".c": 11, ".h": 3, ".js": 3, ".py": 2, ".lua": 1}  # at most


def suffix_of(path):
    return "." + path.rpartition(".")[2]


def git(*args):
    return subprocess.run(("git",) + args, capture_output=True, text=True, check=True).stdout


def pieces(commit, path):
    """Runs of added lines, as (first line from 0, number of lines)."""
    for line in git("show", "--unified=0", "--format=", commit, "--", path).splitlines():
        if not line.startswith("@@ "):
            continue
        old, new = line.split()[1:3]
        start, _, count = new[1:].partition(",")
        if old.partition(",")[2] == "0":
            yield int(start) - 1, int(count or 1)


def candidates():
    for commit in git("log", "--no-merges", "--format=%h").split():
        for line in git("show", "--name-status", "--format=", commit).splitlines():
            state, _, path = line.partition("\t")
            if state != "M" or suffix_of(path) not in OF_EACH or "/generated/" in path:
                continue
            text = git("show", f"{commit}:{path}")
            if len(text) > FILE_MAX or not text.isascii():
                continue
            lines = text.splitlines(keepends=True)
            for start, count in pieces(commit, path):
                piece = "".join(lines[start:start + count])
                if LINES[0] <= count <= LINES[1] and piece.strip() and not lines[start].isspace():
                    yield {"commit": commit, "path": path, "before": "".join(lines[:start]),
                           "typed": piece[:-1], "after": "\n" + "".join(lines[start + count:])}
                    break


def main():
    found, paths, left = [], set(), dict(OF_EACH)
    for one in candidates():
        suffix = suffix_of(one["path"])
        if one["path"] in paths or left[suffix] == 0:
            continue
        paths.add(one["path"])
        left[suffix] -= 1
        found.append(one)
        if not any(left.values()):
            break
    json.dump(found, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
