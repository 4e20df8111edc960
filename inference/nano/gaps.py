"""Gaps in files, as typing leaves them, and the prompts the C program writes for them.

A gap is a piece cut out of a real file: what stands there is the right answer. The file is written
without it, `dbrx-ls prompt --batch` lays out the prompt for the place with whatever the rest of the
project offers, and the file is put back."""

import json
import os
import subprocess

KINDS = ("line", "lines", "middle", "end")
KIND_WEIGHTS = (40, 30, 15, 15)
LINES_MAX = 6


def code_lines(lines):
    """Numbers of lines that have at least three visible characters."""
    return [i for i, line in enumerate(lines) if sum(not c.isspace() for c in line) >= 3]


def column_in(line, rng):
    """A column with at least three visible characters behind it, uniform over those there are."""
    visible = [i for i, c in enumerate(line) if not c.isspace()]
    indent = visible[0]
    return rng.randint(indent, visible[-3])


def indent_of(line):
    return len(line) - len(line.lstrip()) if line.strip() else 10**6


def block_end(lines, first, rng):
    """The last line of a piece that begins at `first`: it does not leave the block it is in."""
    last, most = first, rng.randint(1, LINES_MAX)
    while last + 1 < len(lines) and last - first + 1 < most:
        if not lines[last + 1].strip() or indent_of(lines[last + 1]) < indent_of(lines[first]):
            break
        last += 1
    return last


def cut(text, rng, kind=None):
    """(before, gap, after, kind), or None where the file offers no place."""
    lines = text.split("\n")
    places = code_lines(lines)
    if len(places) < 8:
        return None
    kind = kind or rng.choices(KINDS, KIND_WEIGHTS)[0]
    i = rng.choice(places)
    line = lines[i]
    start = sum(len(one) + 1 for one in lines[:i])
    column = column_in(line, rng)
    if kind == "next":  # the whole line, behind its indentation
        column, end = indent_of(line), start + len(line)
    elif kind in ("lines", "end"):
        column = indent_of(line)
        if rng.random() < 0.3:
            column = column_in(line, rng)
        last = block_end(lines, i, rng)
        end = start + sum(len(one) + 1 for one in lines[i : last + 1]) - 1
    elif kind == "line":
        end = start + len(line)
    else:
        end = start + rng.randint(column + 1, len(line))
    before, gap, after = text[: start + column], text[start + column : end], text[end:]
    return before, gap, "" if kind == "end" else after, kind


def rolled_back(before, prompt):
    """What of the text before the gap is left to the answer's first tokens: the prompt ends
    with a tail that begins at a line's start and stops where no continuation can move a token."""
    opening = prompt[prompt.rindex("<|im_start|>assistant\n```") :].split("\n", 2)
    if len(opening) < 3:  # the line end behind the fence is left to the answer, too
        return "\n" + before[before.rfind("\n") + 1 :]
    tail = opening[2]
    if not tail:
        return before[before.rfind("\n") + 1 :]
    for size in range(min(len(before), 400)):
        kept = before[: len(before) - size]
        if kept.endswith(tail) and kept[: len(kept) - len(tail)][-1:] in ("\n", ""):
            return before[len(before) - size :]
    return None


class Project:
    """A project's files on disk, in a folder of its own."""

    def __init__(self, folder, rows, program, model):
        self.folder, self.program, self.model = folder, program, model
        self.texts = {row["path"]: row["text"] for row in rows}
        for path, text in self.texts.items():
            self.put(path, text)
        subprocess.run("git init -q . && git add -A", shell=True, cwd=folder, check=True)

    def put(self, path, text):
        full = os.path.join(self.folder, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "w", encoding="utf-8", newline="") as f:
            f.write(text)

    def prompts(self, gaps, budget, *options):
        """One gap a file, {path: (before, gap, after, kind)}; (path, cut, text, tokens) of those
        that got a prompt."""
        places = []
        for path, (before, _, after, _) in gaps.items():
            self.put(path, before + after)
            line = before.count("\n") + 1
            places.append(f"{path}:{line}:{len(before) - before.rfind(chr(10))}")
        command = [
            self.program,
            "prompt",
            "--batch",
            "--model",
            self.model,
            "--budget",
            str(budget),
            *options,
        ]
        environment = dict(os.environ, XDG_CACHE_HOME=self.folder + ".cache")
        done = subprocess.run(
            command,
            input="\n".join(places) + "\n",
            cwd=self.folder,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        for path in gaps:
            self.put(path, self.texts[path])
        for (path, one), answer in zip(gaps.items(), done.stdout.splitlines()):
            answer = json.loads(answer)
            if "text" in answer:
                yield path, one, answer["text"], answer["tokens"]

    def gaps(self, n, rng, kind=None):
        """At most n files with a gap each."""
        paths = sorted(self.texts)
        rng.shuffle(paths)
        found = {}
        for path in paths:
            one = cut(self.texts[path], rng, kind) if len(found) < n else None
            if one:
                found[path] = one
        return found
