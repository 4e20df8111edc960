#!/usr/bin/env python3
"""Registers, shared memory and spills of every kernel, from what ptxas says when it assembles.

usage: resources.py check LOG...            a kernel that spills is an error, and one whose asynchronous
                                             products the compiler makes wait for each other
       resources.py table LOG...            the table of RESOURCES.md
"""
import re
import subprocess
import sys


def names_plain(mangled):
    done = subprocess.run(["c++filt"] + mangled, text=True, capture_output=True, check=True)
    return [re.sub(r"^void |\(anonymous namespace\)::|\(.*$", "", n.replace("(bool)1", "true").replace("(bool)0", "false")
                   .replace("(int)", "")) for n in done.stdout.splitlines()]


def kernels(paths):
    """(architecture, kernel, registers, shared bytes, stack bytes, spill bytes)"""
    found = []
    for path in paths:
        architecture = name = None
        stack = spill = 0
        for line in open(path, encoding="utf-8"):
            match = re.search(r"Compiling entry function '(\w+)' for '(\w+)'", line)
            if match:
                name, architecture = match.groups()
            match = re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", line)
            if match:
                stack, spill = int(match.group(1)), int(match.group(2)) + int(match.group(3))
            match = re.search(r"Used (\d+) registers", line)
            if match and name:
                shared = re.search(r"(\d+) bytes smem", line)
                found.append((architecture, name, int(match.group(1)), int(shared.group(1)) if shared else 0,
                              stack, spill))
                name = None
    plain = names_plain([k[1] for k in found]) if found else []
    return sorted({(k[0], plain[i], *k[2:]) for i, k in enumerate(found)})


def main():
    found = kernels(sys.argv[2:])
    if not found:
        print("resources: the compiler said nothing of kernels", file=sys.stderr)
        return 1
    if sys.argv[1] == "table":
        print("| kernel | for | registers | shared bytes | stack bytes |\n|---|---|---|---|---|")
        for architecture, name, registers, shared, stack, _ in sorted(found, key=lambda k: (k[1], k[0])):
            print(f"| `{name}` | {architecture} | {registers} | {shared} | {stack} |")
        return 0
    spilled = [k for k in found if k[5]]
    for architecture, name, registers, _, _, spill in spilled:
        print(f"resources: {name} for {architecture}: {spill} bytes spilled with {registers} registers", file=sys.stderr)
    waiting = [line for path in sys.argv[2:] for line in open(path, encoding="utf-8") if "serialized due to" in line]
    for line in waiting:
        print(f"resources: {line.strip()}", file=sys.stderr)
    return 1 if spilled or waiting else 0


if __name__ == "__main__":
    sys.exit(main())
