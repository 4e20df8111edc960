"""Rows of the server's other prompts: commits with what was said of them, functions with the comment
that was taken away. The C program writes the prompts (`dbrx-ls prompt --task`), git's plumbing sets
the stage."""

import collections
import json
import os
import re
import shutil
import subprocess

from gaps import Project

MESSAGE_BUDGET, DOCUMENT_BUDGET = 1536, 1024
COMMENT_LINES = (1, 14)
CODE = re.compile(r"\s*[A-Za-z_@&*(\[<][^;]*$|.*[({]\s*$")  # how what is documented begins
PIECE = re.compile(r"The piece, lines (\d+) to (\d+):\n(`{3,})")


class Asker:
    """`dbrx-ls prompt --task NAME --batch`, asked line by line."""

    def __init__(self, program, model, task, budget, folder, *options):
        command = [program, "prompt", "--task", task, "--batch", "--model", model]
        command += ["--budget", str(budget), *options]
        environment = dict(os.environ, XDG_CACHE_HOME=os.path.abspath(folder) + ".cache")
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def ask(self, place):
        """The prompts, [] where there is none."""
        self.process.stdin.write(place + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline() or "{}").get("prompts", [])

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def git(folder, *words):
    return subprocess.run(
        ["git", *words], cwd=folder, capture_output=True, text=True, check=False
    ).returncode


class Stage:
    """A repository in which any commit of another can be what is staged."""

    def __init__(self, folder, bare):
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        self.folder = folder
        git(folder, "init", "-q", "-b", "main", ".")
        with open(os.path.join(folder, ".git/objects/info/alternates"), "w", encoding="utf-8") as f:
            f.write(os.path.join(os.path.abspath(bare), "objects") + "\n")

    def put(self, commit):
        return (
            git(self.folder, "update-ref", "refs/heads/main", commit + "^") == 0
            and git(self.folder, "read-tree", commit) == 0
        )


def message_rows(out, commits, encoder, options, rng):
    """Adds rows; each project gives the same number where it has so many."""
    by_project = collections.defaultdict(list)
    for row in commits:
        by_project[row["project"]].append(row)
    wanted = options.messages // max(1, len(by_project)) + 1
    for name, rows in sorted(by_project.items()):
        owner, short = name.split("/")
        folder = os.path.join(options.work, "stage+" + name.replace("/", "+"))
        stage = Stage(folder, options.git.format(owner=owner, name=short))
        asker = Asker(options.program, options.tokenizer, "commit-message", MESSAGE_BUDGET, folder)
        rng.shuffle(rows)
        n = 0
        for row in rows[: 2 * wanted]:
            prompts = asker.ask(folder) if n < wanted and stage.put(row["commit"]) else []
            if len(prompts) != 1:
                continue
            context = encoder.encode_prompt(prompts[0]["text"])
            if len(context) == prompts[0]["tokens"]:
                answer = encoder.encode(row["message"]) + [encoder.ids["<|im_end|>"]]
                out.add(context, answer)
                n += 1
        asker.close()
        shutil.rmtree(folder, ignore_errors=True)
        print("messages", name, n, flush=True)


def comment_at(lines, i):
    """Where the comment that begins at line i ends (behind it), or None: one that stands alone."""
    line = lines[i].strip()
    if line.startswith("/*"):
        for end in range(i, min(len(lines), i + COMMENT_LINES[1])):
            if lines[end].rstrip().endswith("*/"):
                return end + 1
    elif line.startswith(('"""', 'r"""')) and i > 0 and lines[i - 1].rstrip().endswith(":"):
        if line.count('"""') == 2 and line.endswith('"""'):
            return i + 1
        for end in range(i + 1, min(len(lines), i + COMMENT_LINES[1])):
            if lines[end].rstrip().endswith('"""'):
                return end + 1
    elif line.startswith(("//", "# ")):
        mark, end = line[:2], i
        while end < len(lines) and lines[end].strip().startswith(mark):
            end += 1
        return end if end - i <= COMMENT_LINES[1] else None
    return None


def comments(text):
    """(first line, line behind, line of what it documents), from 0."""
    lines, found, i = text.split("\n"), [], 0
    while i < len(lines):
        end = comment_at(lines, i)
        if end is None:
            i += 1
            continue
        inside = lines[i].strip().startswith(('"""', 'r"""'))
        about = i - 1 if inside else end
        words = sum(len(line) for line in lines[i:end])
        alone = inside or i == 0 or not lines[i - 1].strip() or lines[i - 1].rstrip()[-1:] in "{:"
        if words >= 24 and alone and about < len(lines) and CODE.match(lines[about]):
            found.append((i, end, about if inside else i))
        i = end
    return lines, found


def document_answer(lines, begin, end, prompt):
    """The piece with its comment as the open turn has it go on, or None where the piece is not just
    what the comment was about."""
    shown = PIECE.search(prompt["text"])
    if not shown:
        return None
    first, last = int(shown[1]) - 1, int(shown[2])  # of the file without the comment
    if not (first == begin or first < begin < last) or last - first > 60:
        return None
    answer = "\n".join(lines[first : last + end - begin])
    opened = prompt["text"][prompt["text"].rindex("<|im_start|>assistant\n") :]
    opened = (opened + prompt["must_start_with"]).split("\n", 2)
    if len(opened) != 3 or not answer.startswith(opened[2]):
        return None
    return prompt["must_start_with"] + answer[len(opened[2]) :] + "\n" + shown[3]


def document_rows(out, rows, encoder, options, rng):
    by_project = collections.defaultdict(list)
    for row in rows:
        by_project[row["project"]].append(row)
    share = options.documents / sum(len(r) ** 0.7 for r in by_project.values())
    for name, mine in sorted(by_project.items()):
        folder = os.path.join(options.work, name.replace("/", "+"))
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        rng.shuffle(mine)
        project = Project(folder, mine[:400], options.program, options.tokenizer)
        asker = Asker(
            options.program, options.tokenizer, "document", DOCUMENT_BUDGET, folder, "--file-alone"
        )
        n, wanted = 0, max(4, int(share * len(mine) ** 0.7))
        for path, text in project.texts.items():
            lines, found = comments(text)
            for begin, end, about in rng.sample(found, min(3, len(found))):
                if n >= wanted:
                    break
                project.put(path, "\n".join(lines[:begin] + lines[end:]))
                for prompt in asker.ask(f"{path}:{about + 1}"):
                    context = encoder.encode_prompt(prompt["text"])
                    answer = document_answer(lines, begin, end, prompt)
                    if answer and len(context) == prompt["tokens"]:
                        out.add(context, encoder.encode(answer) + [encoder.ids["<|im_end|>"]])
                        n += 1
            project.put(path, text)
        asker.close()
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(folder + ".cache", ignore_errors=True)
        print("documents", name, n, flush=True)
