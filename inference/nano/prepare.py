#!/usr/bin/env python3
"""From the corpus to tokens: what train.py reads, in one file that travels.

DIR/tokens.npz.xz holds `plain` (files one after another, each ended by endoftext), and two sets of
rows, `layout` (the server's own prompts for completions, with the right answers) and `tasks` (its
prompts for commit messages and for doc comments): ids, where each row begins, and which ids are the
answer (the others are context)."""

import argparse
import collections
import io
import json
import lzma
import os
import random
import shutil

import numpy as np

import tasks
import vocabulary
from gaps import Project, rolled_back

BUDGETS = (640, 860, 1250, 1750)
BUDGET_WEIGHTS = (35, 35, 15, 15)
ROW_TOKENS_MAX = 2049


def rows_read(corpus, name):
    with lzma.open(os.path.join(corpus, name + ".jsonl.xz"), "rt", encoding="utf-8") as f:
        return [json.loads(line) for line in f]


def plain_tokens(rows, encoder, rng):
    rng.shuffle(rows)
    parts = []
    for at in range(0, len(rows), 256):
        for ids in encoder.encode_many([row["text"] for row in rows[at : at + 256]]):
            parts.append(np.array(ids + [encoder.ids["<|endoftext|>"]], dtype=np.uint16))
    return np.concatenate(parts)


class Rows:
    def __init__(self):
        self.ids, self.answers, self.starts = [], [], [0]

    def add(self, context, answer):
        if len(context) + len(answer) > ROW_TOKENS_MAX:
            return
        self.ids += context + answer
        self.answers += [False] * len(context) + [True] * len(answer)
        self.starts.append(len(self.ids))

    def arrays(self, name):
        return {
            name + "_ids": np.array(self.ids, np.uint16),
            name + "_answers": np.array(self.answers, bool),
            name + "_starts": np.array(self.starts, np.int64),
        }


def layout_rows(rows, encoder, options, rng):
    """Prompts of every training project, in turns, until there are enough."""
    by_project = collections.defaultdict(list)
    for row in rows:
        by_project[row["project"]].append(row)
    out, kinds, wrong = Rows(), collections.Counter(), 0
    share = options.prompts / sum(len(r) ** 0.7 for r in by_project.values())
    for name, mine in sorted(by_project.items()):
        folder = os.path.join(options.work, name.replace("/", "+"))
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        rng.shuffle(mine)
        project = Project(folder, mine[:1200], options.program, options.tokenizer)
        left = max(8, int(share * len(mine) ** 0.7))
        while left > 0:
            gaps = project.gaps(min(left, 60), rng)
            left -= max(len(gaps), 1)
            alone = ["--file-alone"] if rng.random() < 0.2 else []
            budget = rng.choices(BUDGETS, BUDGET_WEIGHTS)[0]
            for _, (before, gap, _, kind), prompt, n in project.prompts(gaps, budget, *alone):
                context = encoder.encode_prompt(prompt)
                rolled = rolled_back(before, prompt)
                if len(context) != n or rolled is None:
                    wrong += 1
                    continue
                out.add(
                    context, encoder.encode(rolled + gap + "\n```") + [encoder.ids["<|im_end|>"]]
                )
                kinds[kind] += 1
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(folder + ".cache", ignore_errors=True)
        print(name, dict(kinds), "left out", wrong, flush=True)
        if options.max_layout_tokens and len(out.ids) > options.max_layout_tokens:
            break
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--corpus", default="build/nano/corpus")
    parser.add_argument("--out", default="build/nano")
    parser.add_argument(
        "--work", default="build/nano/projects", help="where projects are laid out, one at a time"
    )
    parser.add_argument("--program", default=os.path.abspath("build/dbrx-ls"))
    parser.add_argument("--vocab", type=int, default=4096)
    parser.add_argument("--prompts", type=int, default=6000)
    parser.add_argument("--messages", type=int, default=3000)
    parser.add_argument("--documents", type=int, default=3000)
    parser.add_argument("--git", metavar="PATTERN", help="bare clones, as for corpus.py")
    parser.add_argument("--max-layout-tokens", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--parts", default="plain,layout,tasks")
    options = parser.parse_args()
    if "tasks" in options.parts and not options.git:
        parser.error("--git says where the commits are (or leave out tasks: --parts plain,layout)")
    options.tokenizer = os.path.abspath(os.path.join(options.out, "tokenizer"))
    options.work = os.path.abspath(options.work)
    vocabulary.write(options.tokenizer, options.vocab)
    with open(os.path.join(options.tokenizer, "config.json"), "w", encoding="utf-8") as f:
        json.dump(
            {
                "architectures": ["DbrxForCausalLM"],
                "model_type": "dbrx",
                "vocab_size": options.vocab,
            },
            f,
        )
    encoder, rng = vocabulary.Encoder(options.vocab), random.Random(options.seed)
    train, arrays = rows_read(options.corpus, "train"), {}
    if "plain" in options.parts:
        arrays["plain"] = plain_tokens(list(train), encoder, rng)
        held = rows_read(options.corpus, "heldout")
        arrays["heldout"] = plain_tokens(held, encoder, rng)
        arrays["heldout_bytes"] = np.array(sum(len(row["text"].encode()) for row in held))
        print("plain", len(arrays["plain"]), "tokens", flush=True)
    if "tasks" in options.parts:
        out = Rows()
        tasks.message_rows(out, rows_read(options.corpus, "commits"), encoder, options, rng)
        tasks.document_rows(out, train, encoder, options, rng)
        arrays.update(out.arrays("tasks"))
        print("tasks", len(out.ids), "tokens in", len(out.starts) - 1, "rows", flush=True)
    if "layout" in options.parts:
        layout = layout_rows(train, encoder, options, rng)
        arrays.update(layout.arrays("layout"))
        print("layout", len(layout.ids), "tokens in", len(layout.starts) - 1, "rows", flush=True)
    raw = io.BytesIO()
    np.savez(raw, **arrays)
    with lzma.open(os.path.join(options.out, "tokens.npz.xz"), "wb", preset=1) as f:
        f.write(raw.getvalue())


if __name__ == "__main__":
    main()
