#!/usr/bin/env python3
"""The corpus of the embedded model: source files under permissive licences, and what stays of them.

Reads sources.txt, writes DIR/train.jsonl.xz and DIR/heldout.jsonl.xz (one file a line: project,
path, language, text), DIR/commits.jsonl.xz (commit and message) and, beside this program,
manifest.json: which version of what, under which licence. The corpus itself is never committed.

A file stays when its project's licence is known and permissive, it names no other licence, it is
written by hand, and no file before it is nearly the same. Held-out projects are read first, so what
resembles them is dropped from training. Needs git and the standard library only."""

import argparse
import collections
import importlib.metadata
import json
import lzma
import os
import re
import subprocess
import sys
import sysconfig
import zlib

HERE = os.path.dirname(os.path.abspath(__file__))

LANGUAGES = {
    ".c": "c",
    ".h": "c",
    ".cc": "cpp",
    ".cpp": "cpp",
    ".hpp": "cpp",
    ".cxx": "cpp",
    ".py": "python",
    ".js": "javascript",
    ".mjs": "javascript",
    ".cjs": "javascript",
    ".jsx": "javascript",
    ".ts": "typescript",
    ".tsx": "typescript",
    ".go": "go",
    ".rs": "rust",
    ".java": "java",
    ".sh": "shell",
    ".bash": "shell",
    ".zsh": "shell",
    ".bats": "shell",
}

# The words only this licence has. What stands first in a text counts.
LICENCES = [
    ("Apache-2.0", r"Apache License,?\s+Version 2\.0"),
    ("PSF-2.0", r"PYTHON SOFTWARE FOUNDATION LICENSE"),
    ("MIT", r"Permission is hereby granted, free of charge, to any\s+person"),
    ("BSD", r"Redistributions? (and|of) .{0,40}(source|use)"),
    ("zlib", r"This software is provided 'as-is', without any express or\s+implied"),
    (
        "ISC",
        r"Permission to use, copy, modify, and(/or)? distribute this software "
        r"(and its documentation )?for any"
        r"\s+purpose with or without\s+fee",
    ),
    ("public domain", r"free and unencumbered software released into the public domain"),
]
# A file that speaks of these is not ours to take, whatever its project says.
FOREIGN = re.compile(
    r"GNU (Lesser |Library |Affero )?General Public|\bGPL\b|\bLGPL\b|Mozilla Public|Eclipse Public|"
    r"SPDX-License-Identifier:(?! *(MIT|BSD|Apache|ISC|Zlib|Unlicense|0BSD|PSF|curl|CC0))"
)
GENERATED = re.compile(
    r"DO NOT EDIT|@generated|[Gg]enerated (by|from|code|automatically)|[Aa]utogenerated|"
    r"automatically generated|auto-generated",
    re.I,
)
SKIPPED = re.compile(
    r"(^|/)(node_modules|vendor|third_party|thirdparty|dist|build|\.git|generated|testdata|"
    r"fixtures?|snapshots?|__snapshots__|locale|locales|corpus|bindings|_vendor)(/|$)|"
    r"(\.min\.js|\.pb\.go|_pb2\.py|\.d\.ts|lock\.js|\.generated\..*)$"
)
FILE_BYTES = (200, 160_000)
PROJECT_BYTES = 9_000_000
COMMITS_PER_PROJECT = 400


def licence_of(text):
    flat = re.sub(r"[\s*#/]+", " ", text)
    found = [
        (match.start(), name)
        for name, words in LICENCES
        for match in [re.search(words, flat)]
        if match
    ]
    return min(found)[1] if found else None


def header_end(text, at):
    """Where the comment that begins at `at` ends, or `at` where none begins."""
    if text.startswith("/*", at):
        end = text.find("*/", at)
        return at if end < 0 else end + 2
    for mark in ("//", "#"):
        if not text.startswith(mark, at) or text.startswith(
            ("#include", "#if", "#define", "#pragma"), at
        ):
            continue
        end = at
        while text.startswith(mark, end):
            line = text.find("\n", end)
            end = len(text) if line < 0 else line + 1
        return end
    return at


def without_header(text):
    """The text without the comments at its top that speak of licence or copyright."""
    start = 0
    if text.startswith("#!"):
        start = text.find("\n") + 1
    kept = text[:start]
    for _ in range(4):
        at = start
        while at < len(text) and text[at] in " \t\r\n":
            at += 1
        end = header_end(text, at)
        if end == at or not re.search(r"copyright|licen[cs]e|SPDX|\(c\)", text[at:end], re.I):
            break
        start = end
    return kept + text[start:].lstrip("\r\n") if start > len(kept) else text


def by_hand(text):
    """Whether people write like this: nothing minified, no tables of numbers, nothing generated."""
    lines = text.split("\n")
    if GENERATED.search(text[:3000]) or "\0" in text:
        return False
    if max(map(len, lines)) > 400 or len(text) / len(lines) > 70:
        return False
    digits = sum(c.isdigit() for c in text)
    return digits < 0.15 * len(text) and sum(c.isascii() for c in text) > 0.95 * len(text)


def shingles(text):
    """One of 16 hashes of every six words in a row."""
    words = re.findall(r"\w+", text)
    found = set()
    for i in range(len(words) - 5):
        h = zlib.crc32(" ".join(words[i : i + 6]).encode())
        if h & 15 == 0:
            found.add(h)
    return found


class Similar:
    """Files seen so far, by their shingles."""

    def __init__(self):
        self.sizes, self.owners = [], collections.defaultdict(list)

    def seen(self, text):
        mine = shingles(text)
        shared = collections.Counter(o for h in mine for o in self.owners[h][:50])
        for other, n in shared.most_common(3):
            if n > 0.6 * min(len(mine), self.sizes[other]):
                return True
        if len(mine) >= 4:
            for h in mine:
                self.owners[h].append(len(self.sizes))
            self.sizes.append(len(mine))
        return False


def git(repository, *words, check=True):
    return subprocess.run(
        ["git", "--git-dir", repository, *words],
        check=check,
        stdout=subprocess.PIPE,
        stderr=None if check else subprocess.DEVNULL,
    ).stdout


def git_blobs(repository):
    """(path, bytes) of every file of a language at HEAD, in one run of cat-file."""
    rows = git(repository, "ls-tree", "-r", "-z", "HEAD").decode("utf-8", "replace").split("\0")
    wanted = []
    for row in rows:
        if "\t" not in row:
            continue
        (mode, kind, blob), path = row.split("\t")[0].split(), row.split("\t")[1]
        if kind == "blob" and mode != "120000":
            wanted.append((path, blob))
    wanted = [(p, b) for p, b in wanted if interesting(p)]
    out = subprocess.run(
        ["git", "--git-dir", repository, "cat-file", "--batch"],
        check=True,
        input="".join(b + "\n" for _, b in wanted).encode(),
        stdout=subprocess.PIPE,
    ).stdout
    at = 0
    for path, _ in wanted:
        line = out.index(b"\n", at)
        size = int(out[at:line].split()[2])
        yield path, out[line + 1 : line + 1 + size]
        at = line + 2 + size


def tree_files(root):
    for folder, folders, names in os.walk(root):
        folders.sort()
        for name in sorted(names):
            full = os.path.join(folder, name)
            path = os.path.relpath(full, root)
            if interesting(path) and os.path.isfile(full) and not os.path.islink(full):
                with open(full, "rb") as f:
                    yield path, f.read()


LICENCE_FILE = re.compile(
    r"^(LICEN[CS]E|COPYING|COPYRIGHT|UNLICENSE|LICENSE-[A-Z0-9]+|NOTICE|copyright|README)"
    r"([.-].*)?$",
    re.I,
)


def interesting(path):
    name = os.path.basename(path)
    if LICENCE_FILE.match(name) and os.path.dirname(path) == "":
        return True
    return os.path.splitext(name)[1] in LANGUAGES and not SKIPPED.search(path)


def deb_files(package, debs):
    """Source in a Debian package, unpacked below `debs`; its licence is its copyright file's."""
    root = os.path.join(debs, package)
    if not os.path.isdir(root):
        os.makedirs(root)
        subprocess.run(
            ["apt-get", "download", package], cwd=debs, check=True, stdout=subprocess.DEVNULL
        )
        deb = next(n for n in os.listdir(debs) if n.startswith(package + "_"))
        subprocess.run(["dpkg-deb", "-x", os.path.join(debs, deb), root], check=True)
    deb = next(n for n in os.listdir(debs) if n.startswith(package + "_"))
    with open(os.path.join(root, "usr/share/doc", package, "copyright"), "rb") as f:
        files = [("copyright", f.read())]
    return files + list(tree_files(os.path.join(root, "usr"))), deb.split("_")[1]


def pip_files(name):
    d = importlib.metadata.distribution(name)
    said = " ".join(
        [
            d.metadata.get("License-Expression") or "",
            d.metadata.get("License") or "",
            *d.metadata.get_all("Classifier", []),
        ]
    )
    named = next((n for n in ("Apache", "BSD", "MIT") if n in said), None)
    root = os.path.join(str(d.locate_file("")), name)
    return list(tree_files(root)), d.version, {"Apache": "Apache-2.0"}.get(named, named)


def project_read(kind, name, options):
    """(files, version, licence) of one line of sources.txt."""
    if kind == "git":
        owner, short = name.split("/")
        repository = options.git.format(owner=owner, name=short)
        files = list(git_blobs(repository))
        return files, git(repository, "rev-parse", "HEAD").decode().strip(), None
    if kind == "deb":
        return (*deb_files(name, options.debs), None)
    if kind == "stdlib":
        root = sysconfig.get_paths()["stdlib"]
        files = [(p, b) for p, b in tree_files(root) if not p.startswith("site-packages")]
        return files, sys.version.split()[0], "PSF-2.0"
    if kind == "pip":
        return pip_files(name)
    raise SystemExit(f"sources.txt: kind {kind}, expected git, deb, stdlib or pip")


def project_licence(files):
    """Of the licence files at the root the first that is known; for Debian all that are named."""
    for path, data in sorted(files, key=lambda f: f[0].upper().startswith(("README", "NOTICE"))):
        if LICENCE_FILE.match(path):
            found = licence_of(data.decode("utf-8", "replace"))
            if found:
                return found
    return None


def commits(repository, project):
    """Small changes and what was said of them; merges, bots and releases left out."""
    log = git(
        repository,
        "log",
        "--no-merges",
        "-n",
        str(4 * COMMITS_PER_PROJECT),
        "--format=%x01%H%x03%s%n%n%b%x02",
        "-p",
        "-U2",
        "--no-color",
        "HEAD",
        "--",
        *("*" + e for e in LANGUAGES),
        check=False,
    ).decode("utf-8", "replace")
    # A partial clone ends where a blob is missing; what was printed until then counts.
    n = 0
    for entry in log.split("\1")[1:]:
        if "\2" not in entry or n == COMMITS_PER_PROJECT:
            continue
        message, diff = (part.strip("\n") for part in entry.split("\2", 1))
        commit, message = message.split("\3", 1)
        message = re.sub(
            r"(?im)^(signed-off-by|co-authored-by|closes|fixes|ref|reviewed|git-svn|reported|bug|"
            r"pull|"
            r"change-id|piperorigin|copybara)[^\n]*:? .*$",
            "",
            message,
        ).strip()
        subject = message.split("\n")[0]
        if not 8 <= len(subject) <= 90 or len(message) > 600 or not 100 <= len(diff) <= 2500:
            continue
        if re.search(
            r"^(bump|release|v?\d+\.\d+|merge|revert)|dependabot|http", message, re.I | re.M
        ):
            continue
        n += 1
        yield {"project": project, "commit": commit, "message": message}


def files_kept(files, similar, counts):
    total = 0
    for path, data in sorted(files, key=lambda f: zlib.crc32(f[0].encode())):
        language = LANGUAGES.get(os.path.splitext(path)[1])
        if not language or not FILE_BYTES[0] <= len(data) <= FILE_BYTES[1]:
            continue
        try:
            text = data.decode("utf-8").replace("\r\n", "\n")
        except UnicodeDecodeError:
            continue
        if FOREIGN.search(text[:6000]):
            counts["foreign licence"] += 1
        elif not by_hand(text):
            counts["not by hand"] += 1
        elif total + len(text) > PROJECT_BYTES:
            counts["project is large"] += 1
        else:
            text = without_header(text)
            if similar.seen(text):
                counts["nearly the same"] += 1
                continue
            total += len(text)
            yield path, language, text


def sources():
    with open(os.path.join(HERE, "sources.txt"), encoding="utf-8") as f:
        rows = [line.split() for line in f if line.strip() and not line.startswith("#")]
    return sorted(rows, key=lambda r: len(r) < 3)


def build(options):
    os.makedirs(options.out, exist_ok=True)
    os.makedirs(options.debs, exist_ok=True)
    similar, counts, manifest = Similar(), collections.Counter(), []
    out = {
        n: lzma.open(os.path.join(options.out, n + ".jsonl.xz"), "wt", preset=1, encoding="utf-8")
        for n in ("train", "heldout", "commits")
    }
    for kind, name, *held in sources():
        files, version, licence = project_read(kind, name, options)
        licence = licence or project_licence(files)
        if not licence:
            raise SystemExit(f"{kind} {name}: no permissive licence was recognised")
        n, size, by_language = 0, 0, collections.Counter()
        for path, language, text in files_kept(files, similar, counts):
            row = {"project": name, "path": path, "language": language, "text": text}
            out["heldout" if held else "train"].write(json.dumps(row) + "\n")
            n, size = n + 1, size + len(text)
            by_language[language] += len(text)
        if kind == "git" and not held:
            for row in commits(
                options.git.format(owner=name.split("/")[0], name=name.split("/")[1]), name
            ):
                out["commits"].write(json.dumps(row) + "\n")
                counts["commits"] += 1
        manifest.append(
            {
                "kind": kind,
                "name": name,
                "version": version,
                "licence": licence,
                "heldout": bool(held),
                "files": n,
                "bytes": size,
                "languages": dict(by_language.most_common()),
            }
        )
        print(f"{name:40} {licence:12} {n:5} files {size / 1e6:7.2f} MB", flush=True)
    for f in out.values():
        f.close()
    with open(os.path.join(HERE, "manifest.json"), "w", encoding="utf-8") as f:
        f.write("[\n" + ",\n".join(json.dumps(row) for row in manifest) + "\n]\n")
    print(dict(counts))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--git",
        required=True,
        metavar="PATTERN",
        help="where bare clones are, such as /clones/{owner}/{name}.git",
    )
    parser.add_argument(
        "--debs", default="build/nano/debs", help="where Debian packages are unpacked"
    )
    parser.add_argument("--out", default="build/nano/corpus")
    build(parser.parse_args())


if __name__ == "__main__":
    main()
