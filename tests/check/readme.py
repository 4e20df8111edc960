#!/usr/bin/env python3
"""README's table of commands is the program's own: compares the two, or with --write renews it."""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TABLE = re.compile(r"(<!-- commands:[^\n]*-->\n).*?(<!-- end -->)", re.S)


def main():
    words = [word for word in sys.argv[1:] if not word.startswith("--")]
    program = ROOT / (words[0] if words else "build") / "dbrx-ls"
    table = subprocess.run([program, "help", "--markdown"], text=True, capture_output=True,
                           check=True).stdout
    readme = ROOT / "README.md"
    before = readme.read_text()
    after = TABLE.sub(lambda m: m.group(1) + table + m.group(2), before)
    if "--write" in sys.argv:
        readme.write_text(after)
    elif before != after or not TABLE.search(before):
        print("README.md: its table of commands is not the program's (readme.py --write)")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
