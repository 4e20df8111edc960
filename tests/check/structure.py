#!/usr/bin/env python3
"""Checks what the house's walls allow: who includes whom, where a library's headers may appear, how
long functions and files may be, what stands at the top, and that no machine's path got in.

usage: structure.py [--list]   (--list prints the longest functions)
"""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent

TOP = {"Makefile", "README.md", "ARCHITECTURE.md", "LICENSE", ".clang-format", ".clang-tidy",
       ".gitignore", ".ci", "base", "tokenizer", "kernels", "inference", "context", "lsp", "editors",
       "tests"}

# Longest prefix wins. A room may always include itself; `None`: anything.
MAY_INCLUDE = {
    "base": [],
    "tokenizer": ["base"],
    "kernels": ["base"],
    "inference": ["kernels", "tokenizer", "base"],
    "inference/service": ["inference", "tokenizer", "base"],
    "inference/simulate": ["inference", "kernels", "tokenizer", "base"],
    "context": ["tokenizer", "base"],
    "lsp/client": ["tokenizer", "base"],
    "lsp/assistant": ["context", "lsp/client", "tokenizer", "base"],
    "lsp/server": ["lsp/assistant", "context", "base"],
    "lsp/cli": None,
    "tests": None,
}

LIBRARIES = {
    r"git2(\.h|/)": ["context"],
    r"tree_sitter/": ["context"],
    r"sqlite3\.h": ["context"],
    r"curl/": ["lsp/client"],
    r"microhttpd\.h": ["inference/service"],
    r"gnutls/": ["inference/service"],
    r"uv\.h": ["lsp", "context"],
    r"jansson\.h": ["tokenizer", "inference", "context", "lsp"],
    r"cuda|cublas": ["kernels/cuda"],
}

FUNCTION_LINES_MAX = 70
KERNEL_LINES_MAX = 100
FILE_LINES_MAX = 800
COMMENT_COLUMNS_MAX = 112  # clang-format leaves them as they are


def tracked():
    names = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, text=True,
                           capture_output=True, check=True).stdout.split("\n")
    return [n for n in names if n and (ROOT / n).is_file()]


def room_of(name):
    rooms = [r for r in MAY_INCLUDE if name == r or name.startswith(r + "/")]
    return max(rooms, key=len, default=None)


def check_includes(name, lines, faults):
    room = room_of(name)
    for number, line in enumerate(lines, 1):
        match = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
        if not match:
            continue
        header = match.group(2)
        for pattern, rooms in LIBRARIES.items():
            owned = any(name.startswith(r + "/") for r in rooms)
            if re.match(pattern, header) and not owned and not name.startswith("tests/"):
                faults.append(f"{name}:{number}: {header} belongs to {', '.join(rooms)}")
        target = room_of(header) if match.group(1) == '"' else None
        allowed = MAY_INCLUDE[room]
        if target and target != room and allowed is not None and target not in allowed:
            faults.append(f"{name}:{number}: {room} may not include {target} ({header})")
        if match.group(1) == '"' and room != "tests" and not (ROOT / header).is_file():
            faults.append(f"{name}:{number}: {header} is not named from the root")


def functions(lines):
    """(first line, number of lines) of each function: its braces stand in the first column."""
    begun = None
    for number, line in enumerate(lines, 1):
        if line.startswith("{"):
            begun = number
        elif line.startswith("}") and begun:
            yield begun, number - begun + 1
            begun = None


def check_lengths(name, lines, faults, longest):
    if "/generated/" in name:
        return
    if len(lines) > FILE_LINES_MAX:
        faults.append(f"{name}: {len(lines)} lines, at most {FILE_LINES_MAX}")
    for number, line in enumerate(lines, 1):
        if len(line.rstrip()) > COMMENT_COLUMNS_MAX and line.lstrip().startswith(("* ", "/* ")):
            faults.append(f"{name}:{number}: a comment of {len(line.rstrip())} columns, at most {COMMENT_COLUMNS_MAX}")
    bound = KERNEL_LINES_MAX if name.endswith((".cu", ".cuh")) else FUNCTION_LINES_MAX
    if not name.endswith((".c", ".h", ".cu", ".cuh")):
        return
    for number, length in functions(lines):
        longest.append((length, f"{name}:{number}"))
        if length > bound:
            faults.append(f"{name}:{number}: a function of {length} lines, at most {bound}")


def check_words(name, lines, faults):
    """No paths of a machine, no registry: the repository is the same everywhere."""
    forbidden = re.compile(r"(?<![\w$}\"])/(home|root|work)/\w+/|registry\.npmjs|deb\.debian\.org|pypi\.org")
    for number, line in enumerate(lines, 1):
        if forbidden.search(line) and "structure.py" not in name:
            faults.append(f"{name}:{number}: a machine's path or a registry's host")


def check_loads(name, lines, faults):
    """Kernels that begin early live while those before them write: nothing is read by way of the read-only cache."""
    read_only = re.compile(r"\bld\.global\S*\.nc\b|\b__ldg\b|\b__restrict__\b")
    for number, line in enumerate(lines, 1):
        if name.startswith("kernels/cuda/") and name.endswith((".cu", ".cuh")) and read_only.search(line):
            faults.append(f"{name}:{number}: a load by way of the read-only cache")


def main():
    faults, longest = [], []
    names = tracked()
    for top in sorted({n.split("/")[0] for n in names} - TOP):
        faults.append(f"{top}: does not belong at the top")
    for name in names:
        if not re.search(r"\.(c|h|S|cu|cuh|py|js|ts|lua|sh|mk|md|json)$|Makefile$", name):
            continue
        lines = (ROOT / name).read_text(errors="replace").split("\n")
        check_words(name, lines, faults)
        check_loads(name, lines, faults)
        if not name.endswith((".json", ".md")):
            check_lengths(name, lines, faults, longest)
        if name.endswith((".c", ".h", ".cu", ".cuh")) and room_of(name):
            check_includes(name, lines, faults)
    if "--list" in sys.argv:
        for length, place in sorted(longest, reverse=True)[:20]:
            print(length, place)
    for fault in faults:
        print(fault)
    print(f"structure: {len(names)} files, {len(longest)} functions, {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
