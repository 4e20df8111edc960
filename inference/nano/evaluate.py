#!/usr/bin/env python3
"""How good the embedded model is on projects it never saw: `make bench-nano`; protocol: README.md.

Bits per byte come from the checkpoint's weights read back into PyTorch; everything about
completions comes from the program itself: prompts from `dbrx-ls prompt`, answers from `dbrx-ls
serve`, trimmed ones from `dbrx-ls complete`."""

import argparse
import base64
import collections
import gzip
import http.client
import json
import lzma
import math
import os
import random
import shutil
import socket
import subprocess
import tempfile
import time

import vocabulary
from gaps import Project, rolled_back

PROMPT_TOKENS, ANSWER_TOKENS = 1536, 256
GRAMMARS = {
    ".py": "python",
    ".c": "c",
    ".h": "c",
    ".js": "javascript",
    ".go": "go",
    ".rs": "rust",
    ".java": "java",
    ".sh": "bash",
    ".bash": "bash",
    ".bats": "bash",
    ".cc": "cpp",
    ".ts": "typescript",
}


def held_out(corpus):
    projects = collections.defaultdict(list)
    with lzma.open(os.path.join(corpus, "heldout.jsonl.xz"), "rt", encoding="utf-8") as f:
        for line in f:
            row = json.loads(line)
            projects[row["project"]].append(row)
    return dict(sorted(projects.items()))


def file_nats(model, ids, window):
    """Negative log-likelihood of ids behind endoftext; each window sees half a window before it."""
    import torch

    total, shares = 0.0, []
    for at in range(0, len(ids) - 1, window // 2):
        first = max(0, at - window // 2)
        part = torch.tensor([ids[first : at + window // 2 + 1]], device=model.wte.device)
        weights = torch.zeros(1, part.shape[1] - 1, device=part.device)
        weights[:, at - first :] = 1
        loss, _, _, share = model.loss(part[:, :-1], part[:, 1:], weights)
        total += loss.item() * weights.sum().item()
        shares.append((share.cpu() * part.shape[1], part.shape[1]))
    return total, shares


def measure_bits(model, encoder, projects, options, rng):
    import torch

    report, shares, n = {}, 0, 0
    with torch.no_grad():
        for name, rows in projects.items():
            sums = collections.Counter()
            for row in rng.sample(rows, min(options.files, len(rows))):
                text = row["text"].encode()[: options.bytes].decode("utf-8", "ignore")
                nats, parts = file_nats(
                    model, [encoder.ids["<|endoftext|>"]] + encoder.encode(text), 1024
                )
                raw = text.encode()
                sums.update(
                    bytes=len(raw),
                    bits=nats / math.log(2),
                    gzip=8 * len(gzip.compress(raw, 9, mtime=0)),
                    xz=8 * len(lzma.compress(raw, preset=9 | lzma.PRESET_EXTREME)),
                )
                for share, weight in parts:
                    shares, n = shares + share, n + weight
            report[name] = sums
            print(
                name,
                *(f"{k} {sums[k] / sums['bytes']:.3f}" for k in ("bits", "gzip", "xz")),
                flush=True,
            )
    total = sum(report.values(), collections.Counter())
    shares = shares / n * model.shape.moe_num_experts
    return {
        "bytes": total["bytes"],
        **{k: total[k] / total["bytes"] for k in ("bits", "gzip", "xz")},
        "by_project": {
            p: {k: s[k] / s["bytes"] for k in ("bits", "gzip", "xz")} for p, s in report.items()
        },
        "experts_least": shares.min().item(),
        "experts_most": shares.max().item(),
    }


class Engine:
    """`dbrx-ls serve` on a socket of its own."""

    def __init__(self, program, model, folder):
        self.path = os.path.join(folder, "engine")
        self.process = subprocess.Popen(
            [program, "serve", "--socket", self.path, "--model", model, "--idle", "never"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while self.ask("GET", "/v1/dbrx").get("state") != "ready":
            time.sleep(0.1)

    def ask(self, method, path, body=None):
        connection = http.client.HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX)
        try:
            connection.sock.connect(self.path)
            connection.request(
                method,
                path,
                json.dumps(body) if body else None,
                {"Content-Type": "application/json"},
            )
            return json.loads(connection.getresponse().read())
        except (OSError, http.client.HTTPException):
            if self.process.poll() is not None:
                raise SystemExit("the engine ended") from None
            return {}
        finally:
            connection.close()

    def complete(self, ids, must_start_with):
        body = {
            "prompt": ids,
            "max_tokens": ANSWER_TOKENS,
            "temperature": 0,
            "dbrx": {"must_start_with": base64.b64encode(must_start_with.encode()).decode()},
        }
        choice = self.ask("POST", "/v1/completions", body)["choices"][0]
        return choice["text"][len(must_start_with) :], choice["finish_reason"]

    def close(self):
        self.process.terminate()
        self.process.wait()


def similarity(a, b):
    """1 - edit distance / the longer one's length."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (x != y))
    return 1 - row[-1] / max(len(a), len(b), 1)


def faults(path, text, parsers={}):
    """Nodes that tree-sitter could not make sense of."""
    import importlib
    import tree_sitter

    grammar = GRAMMARS.get(os.path.splitext(path)[1])
    if not grammar:
        return None
    if grammar not in parsers:
        module = importlib.import_module("tree_sitter_" + grammar)
        language = getattr(module, "language_" + grammar, None) or module.language
        parsers[grammar] = tree_sitter.Parser(tree_sitter.Language(language()))
    n, nodes = 0, [parsers[grammar].parse(text.encode()).root_node]
    while nodes:
        node = nodes.pop()
        n += node.is_error or node.is_missing
        nodes += node.children if node.has_error else []
    return n


class Tally:
    def __init__(self):
        self.sums, self.counts = collections.Counter(), collections.Counter()

    def add(self, **values):
        for name, value in values.items():
            if value is not None:
                self.sums[name] += value
                self.counts[name] += 1

    def report(self):
        return {name: self.sums[name] / self.counts[name] for name in self.counts} | {
            "n": max(self.counts.values())
        }


def answered(engine, encoder, project, gaps, options):
    for path, one, prompt, n in project.prompts(gaps, PROMPT_TOKENS, *options):
        ids, rolled = encoder.encode_prompt(prompt), rolled_back(one[0], prompt)
        if len(ids) == n and rolled is not None:
            yield path, one, *engine.complete(ids, rolled)


def first_line(answer):
    return answer.split("\n```")[0].split("\n")[0].rstrip()


def whole(answer):
    return answer.split("\n```")[0].removesuffix("```")


def parses(path, before, piece, after, reference):
    now, then = faults(path, before + piece + after), faults(path, reference)
    return None if now is None else float(now <= then)


def item_text(said, before):
    """What `complete --json` said is shown behind `before`; None: nothing."""
    items = json.loads(said or "{}").get("items", [])
    if not items:
        return None
    column = len(before) - before.rfind("\n") - 1
    start = items[0]["range"]["start"]["character"] if "range" in items[0] else column
    return items[0]["text"][column - start :]


def trimmed(project, model, path, one):
    """What an editor would be shown, asked for by key."""
    before, _, after, _ = one
    project.put(path, before + after)
    place = f"{path}:{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"
    done = subprocess.run(
        [project.program, "complete", place, "--json", "--many", "--model", model],
        cwd=project.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=False,
        env=dict(
            os.environ,
            XDG_CACHE_HOME=project.folder + ".cache",
            XDG_RUNTIME_DIR=project.folder + ".run",
        ),
    )
    project.put(path, project.texts[path])
    return item_text(done.stdout, before)


def measure_completions(engine, encoder, projects, options, rng):
    tallies = collections.defaultdict(Tally)
    for name, rows in projects.items():
        folder = tempfile.mkdtemp(prefix="bench-nano-")
        os.mkdir(folder + ".run", 0o700)
        project = Project(folder, rows, options.program, options.model)
        lines, ahead, many = (
            project.gaps(options.places, rng, kind) for kind in ("line", "next", "lines")
        )
        alone = {path: (b, g, "", k) for path, (b, g, _, k) in lines.items()}
        for title, gaps, flags in (
            ("suffix, repository", lines, []),
            ("suffix, file alone", lines, ["--file-alone"]),
            ("no suffix, repository", alone, []),
            ("no suffix, file alone", alone, ["--file-alone"]),
        ):
            for _, (_, gap, _, _), answer, finish in answered(
                engine, encoder, project, gaps, flags
            ):
                said, right = first_line(answer), gap.rstrip()
                near = similarity(said, right)
                tallies[title].add(
                    exact=float(said == right),
                    similarity=near,
                    near=float(near > 0.8),
                    ends=float(finish == "stop"),
                )
        for _, (_, gap, _, _), answer, _ in answered(engine, encoder, project, ahead, []):
            tallies["next line"].add(
                exact=float(first_line(answer).strip() == gap.strip()),
                similarity=similarity(first_line(answer).strip(), gap.strip()),
            )
        for path, one, answer, finish in answered(engine, encoder, project, many, []):
            before, gap, after, _ = one
            shown = trimmed(project, options.model, path, one)
            tallies["lines"].add(
                raw_parses=parses(path, before, whole(answer), after, before + gap + after),
                shown=float(shown is not None),
                ends=float(finish == "stop"),
                shown_parses=(
                    None
                    if shown is None
                    else parses(path, before, shown, after, before + gap + after)
                ),
            )
        shutil.rmtree(folder, ignore_errors=True)
        for end in (".run", ".cache"):
            shutil.rmtree(folder + end, ignore_errors=True)
        print(
            name,
            {t: round(x.sums["exact"] / max(1, x.counts["exact"]), 3) for t, x in tallies.items()},
            flush=True,
        )
    return {title: tally.report() for title, tally in tallies.items()}


def table(report):
    b = report.get("bits")
    if b:
        print(f"| bits per byte | {b['bits']:.2f} |")
        print(f"| gzip -9, xz -9e, per file | {b['gzip']:.2f}, {b['xz']:.2f} |")
        used = f"{b['experts_least']:.2f}, {b['experts_most']:.2f}"
        print(f"| least and most used expert of a layer, 1 is even | {used} |")
    for title, row in report.get("completions", {}).items():
        print(
            f"| {title} | "
            + " | ".join(f"{k} {v:.3f}" if k != "n" else f"n {v}" for k, v in row.items())
            + " |"
        )


def with_engine(encoder, projects, options):
    folder = tempfile.mkdtemp(prefix="bench-nano-")
    engine = Engine(options.program, options.model, folder)
    try:
        return measure_completions(engine, encoder, projects, options, random.Random(options.seed))
    finally:
        engine.close()
        shutil.rmtree(folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="inference/nano/model")
    parser.add_argument("--corpus", default="build/nano/corpus")
    parser.add_argument("--program", default=os.path.abspath("build/dbrx-ls"))
    parser.add_argument("--out", default="build/nano/bench.json")
    parser.add_argument("--files", type=int, default=25, help="for bits per byte, of each project")
    parser.add_argument("--places", type=int, default=25, help="of each kind, of each project")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--bytes", type=int, default=40000, help="of each of those files")
    parser.add_argument("--parts", default="bits,completions", help="of the measurement")
    parser.add_argument("--device", default="cpu", help="of the bits per byte")
    options = parser.parse_args()
    options.model, options.program = os.path.abspath(options.model), os.path.abspath(
        options.program
    )
    from checkpoint import checkpoint_load  # with PyTorch, which the other programs do not need

    model = checkpoint_load(options.model).to(options.device)
    encoder, projects = vocabulary.Encoder(model.shape.vocab_size), held_out(options.corpus)
    report, rng = {}, random.Random(options.seed)
    if "bits" in options.parts:
        report["bits"] = measure_bits(model, encoder, projects, options, rng)
    if "completions" in options.parts:
        report["completions"] = with_engine(encoder, projects, options)
    with open(options.out, "w", encoding="utf-8") as f:
        json.dump(report, f, indent=1)
    table(report)


if __name__ == "__main__":
    main()
