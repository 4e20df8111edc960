#!/usr/bin/env python3
"""Trains the embedded model from tokens.npz.xz, for a number of minutes.

    python3 train.py --minutes 60 --out RUN                  # CPU: one process per core
    python3 train.py --minutes 12 --out RUN --device cuda ...

The schedule follows the clock (warm-up, constant, then linearly to zero over the last part), so a
run always ends annealed, whatever the machine was doing meanwhile. RUN/log.jsonl says how far it
is; RUN/checkpoint*.pt is written every few minutes and taken up when the same command is given
again; RUN/model.pt is the end.

On a CPU the workers are processes of one thread: they share the weights in memory, each computes
the gradient of its own rows, and then each updates its own part of the weights."""

import argparse
import io
import json
import lzma
import os
import random
import time

import numpy as np
import torch
import torch.multiprocessing as mp

import start
from model import Model, Muon, Shape
from vocabulary import special_ids

PLAIN_TOKENS = 512
TASKS_SHARE = 0.25  # of the prompts
WARM_UP = 0.01
FINAL = 0.02


def arrays_read(path):
    with lzma.open(path) as f:
        arrays = np.load(io.BytesIO(f.read()))
        return {name: arrays[name] for name in arrays.files}


class Rows:
    """Rows of layout or tasks, shuffled again when all were used; short and long ones apart."""

    def __init__(self, arrays, name, rng):
        self.ids, self.answers = arrays[name + "_ids"], arrays[name + "_answers"]
        self.starts, self.rng = arrays[name + "_starts"], rng
        sizes = np.diff(self.starts)
        self.kinds = {False: np.flatnonzero(sizes <= 1025), True: np.flatnonzero(sizes > 1025)}
        self.queues = {False: [], True: []}

    def next(self, long):
        if not self.queues[long]:
            self.queues[long] = list(self.kinds[long])
            self.rng.shuffle(self.queues[long])
        i = self.queues[long].pop()
        part = slice(self.starts[i], self.starts[i + 1])
        return self.ids[part], self.answers[part]


class Batches:
    """Rows of one worker: ids, targets, weights."""

    def __init__(self, path, options, rank, workers):
        self.arrays = arrays_read(path)
        self.rng = random.Random(options.seed * 1000 + rank + 7 * int(time.time()))
        self.plain, self.options = self.arrays["plain"], options
        self.turn = special_ids(options.vocab_size)["<|im_start|>"]
        self.sets = {
            name: Rows(self.arrays, name, self.rng)
            for name in ("layout", "tasks")
            if name + "_ids" in self.arrays  # files alone do for the first part of a run
        }
        self.places, self.rank, self.workers = [], rank, workers

    def plain_place(self):
        """Where a piece of plain text begins: each place once, in no order, then all over again."""
        if not self.places:
            n = len(self.plain) // (PLAIN_TOKENS + 1)
            order = np.random.default_rng(self.rng.randrange(2**32)).permutation(n - 4)
            self.places = list(order[self.rank :: self.workers] * (PLAIN_TOKENS + 1))
        return self.places.pop()

    def plain_take(self, n):
        at = self.plain_place()
        return self.plain[at : at + n]

    def plain_batch(self, rows):
        ids = np.stack([self.plain_take(PLAIN_TOKENS + 1) for _ in range(rows)]).astype(np.int64)
        return ids, np.ones((rows, PLAIN_TOKENS), np.float32)

    def row(self, size, long):
        """Prompts one after another; what is left of the row is plain text."""
        ids, weights, o = [], [], self.options
        while True:
            name = "tasks" if self.rng.random() < TASKS_SHARE else "layout"
            one, answer = self.sets[name].next(long)
            if sum(map(len, ids)) + len(one) > size + 1:
                break
            ids.append(one)
            weights.append(np.where(answer, o.answer_loss, o.context_loss))
            turns = np.flatnonzero(one == self.turn)
            weights[-1][: turns[-2]] = 0  # system text and examples are the same in every prompt
        rest = size + 1 - sum(map(len, ids))
        if rest > 0:
            ids.append(self.plain_take(rest))
            weights.append(np.ones(rest))
        return np.concatenate(ids).astype(np.int64), np.concatenate(weights).astype(np.float32)[1:]

    def prompt_batch(self, rows):
        long = self.rng.random() < 0.2 and len(self.sets["layout"].kinds[True]) > 0
        size = 2048 if long else 1024
        made = [self.row(size, long) for _ in range(max(1, rows // 2 if long else rows))]
        return np.stack([ids for ids, _ in made]), np.stack([w for _, w in made])


def optimizers(model, options, rank, workers):
    """This worker's part of the weights: matrices by Muon, the rest by AdamW."""
    named = sorted(model.named_parameters(), key=lambda p: -p[1].numel())
    mine = [p for i, p in enumerate(named) if (i if i // workers % 2 else -i - 1) % workers == rank]
    matrices = [
        p for n, p in mine if n.startswith("blocks") and p.ndim >= 2 and not n.endswith("router")
    ]
    rest = [
        {"params": [p for n, p in mine if n.endswith(end)], "lr": lr}
        for end, lr in (
            ("wte", options.lr_embedding),
            ("lm_head", options.lr_head),
            ("router", options.lr_router),
            ("norm_1", options.lr_other),
            ("norm_2", options.lr_other),
            ("norm_f", options.lr_other),
        )
    ]
    rest = [g for g in rest if g["params"]]
    out = []
    if matrices:
        out.append(Muon(matrices, lr=options.lr_matrix, weight_decay=options.weight_decay))
    if rest:
        out.append(torch.optim.AdamW(rest, betas=(0.9, 0.98), eps=1e-10, weight_decay=0.0))
    for o in out:
        for g in o.param_groups:
            g["base_lr"] = g["lr"]
    return out, [p for _, p in mine]


def schedule(done, options):
    """The learning rate's factor when this part of the time is over."""
    if done < WARM_UP:
        return max(0.02, done / WARM_UP)
    left = (1 - done) / options.anneal
    return FINAL + (1 - FINAL) * min(1.0, max(0.0, left))


class Worker:
    def __init__(self, rank, options, model, shared):
        self.rank, self.o, self.model, self.shared = rank, options, model, shared
        self.device = options.device
        self.batches = Batches(options.tokens, options, rank, options.workers)
        self.optimizers, self.mine = optimizers(model, options, rank, options.workers)
        self.elapsed, self.step, self.tokens = 0.0, 0, 0
        paths = [p for p in map(self.checkpoint_path, (rank, 0)) if os.path.exists(p)]
        if paths:
            saved = torch.load(paths[0], map_location=self.device)
            self.elapsed, self.step, self.tokens = saved["elapsed"], saved["step"], saved["tokens"]
            same = saved["workers"] == options.workers  # else each has other weights than before
            for o, state in zip(self.optimizers, saved["optimizers"] if same else []):
                rates = [g["base_lr"] for g in o.param_groups]
                o.load_state_dict(state)
                for g, rate in zip(o.param_groups, rates):
                    g["base_lr"] = rate
        self.offsets, at = {}, 0
        for p in model.parameters():
            self.offsets[p] = slice(at, at + p.numel())
            at += p.numel()

    def checkpoint_path(self, rank):
        return os.path.join(self.o.out, f"checkpoint{rank}.pt")

    def save(self):
        state = {
            "elapsed": self.elapsed,
            "step": self.step,
            "tokens": self.tokens,
            "workers": self.o.workers,
            "optimizers": [o.state_dict() for o in self.optimizers],
        }
        if self.rank == 0:
            state.update(shape=self.model.shape.as_dict(), model=self.model.state_dict())
        path = self.checkpoint_path(self.rank)
        torch.save(state, path + ".new")
        os.replace(path + ".new", path)

    def parts(self, done):
        """(name, share of the loss, rows): prompts come once the language is half known."""
        o = self.o
        if done < o.prompts_from:
            return [("plain", 1.0, self.batches.plain_batch(o.plain_rows + 2 * o.prompt_rows))]
        return [
            ("plain", 1 - o.prompts_share, self.batches.plain_batch(o.plain_rows)),
            ("prompts", o.prompts_share, self.batches.prompt_batch(o.prompt_rows)),
        ]

    def gradients(self, done):
        """Losses of this worker's rows; their gradients stand in p.grad."""
        o, seen = self.o, {}
        for name, share, (ids, weights) in self.parts(done):
            ids, weights = torch.from_numpy(ids).to(self.device), torch.from_numpy(weights).to(
                self.device
            )
            loss, balance, z, shares = self.model.loss(ids[:, :-1], ids[:, 1:], weights)
            (share * (loss + o.balance_loss * balance + o.z_loss * z)).backward()
            self.tokens += weights.numel() * o.workers
            seen[name] = loss.item()
            seen["share_min"], seen["share_max"] = shares.min().item(), shares.max().item()
        return seen

    def exchange(self):
        """Every worker's gradients averaged, in this worker's part."""
        if self.o.workers == 1:
            return
        mine = self.shared["gradients"][self.rank]
        for p in self.model.parameters():
            mine[self.offsets[p]].copy_(p.grad.view(-1))
            p.grad = None
        self.shared["barrier"].wait()
        for p in self.mine:
            p.grad = self.shared["gradients"][:, self.offsets[p]].mean(0).view_as(p)

    def one_step(self, done):
        factor = schedule(done, self.o)
        self.model.fake_int8 = done > 1 - self.o.fake
        seen = self.gradients(done)
        self.exchange()
        for o in self.optimizers:
            for g in o.param_groups:
                g["lr"] = g["base_lr"] * factor
            o.step()
        self.model.zero_grad(set_to_none=True)
        self.step += 1
        return {**seen, "lr": factor}

    def held_out_loss(self):
        held = self.batches.arrays["heldout"]
        rows = len(held) // (PLAIN_TOKENS + 1)
        at = np.linspace(0, rows - 1, 16).astype(int) * (PLAIN_TOKENS + 1)
        ids = torch.from_numpy(
            np.stack([held[a : a + PLAIN_TOKENS + 1] for a in at]).astype(np.int64)
        ).to(self.device)
        with torch.no_grad():
            return self.model.loss(
                ids[:, :-1], ids[:, 1:], torch.ones(ids.shape[0], PLAIN_TOKENS, device=self.device)
            )[0].item()

    def log(self, seen, since, held_out=False):
        row = {
            "step": self.step,
            "minutes": round(self.elapsed / 60, 2),
            "tokens": self.tokens,
            "tokens_per_s": round((self.tokens - since[1]) / max(1e-9, self.elapsed - since[0])),
            **{k: round(v, 4) for k, v in seen.items()},
        }
        if held_out or self.step % self.o.held_every == 0:
            row["heldout"] = round(self.held_out_loss(), 4)
        with open(os.path.join(self.o.out, "log.jsonl"), "a", encoding="utf-8") as f:
            f.write(json.dumps(row) + "\n")

    def run(self):
        """Rank 0's clock decides for all: `shared["done"]` is the part of the time that is over."""
        o, done = self.o, self.shared["done"]
        last, saved, since = time.monotonic(), time.monotonic(), (self.elapsed, self.tokens)
        parent = os.getppid()
        while os.getppid() == parent:  # killed alone, it leaves no worker behind
            if self.rank == 0:
                now = time.monotonic()
                self.elapsed, last = self.elapsed + now - last, now
                done[0] = self.elapsed / (60 * o.minutes)
                done[1] = float(now - saved > 60 * o.save_minutes)
            self.shared["barrier"].wait()
            over, save = float(done[0]), bool(done[1])
            if over >= 1:
                break
            if save:
                saved = time.monotonic()
                self.save()
            seen = self.one_step(over)
            self.shared["barrier"].wait()
            if self.rank == 0 and self.step % o.log_every == 0:
                self.log(seen, since)
                since = (self.elapsed, self.tokens)
        if self.rank == 0 and done[0] >= 1:
            self.log({}, since, True)
            torch.save(
                {"shape": self.model.shape.as_dict(), "model": self.model.state_dict()},
                os.path.join(o.out, "model.pt"),
            )


class NoBarrier:
    def wait(self):
        return 0


def work(rank, options, model, shared):
    torch.set_num_threads(options.threads)
    torch.set_flush_denormal(True)
    Worker(rank, options, model, shared).run()


def model_open(options):
    """From the checkpoint, else from OUT/start.pt, which is made where it is missing."""
    torch.manual_seed(options.seed)
    for name in ("checkpoint0.pt", "start.pt"):
        path = os.path.join(options.out, name)
        if os.path.exists(path):
            saved = torch.load(path, map_location="cpu")
            model = Model(Shape(**saved["shape"]))
            model.load_state_dict(saved["model"])
            return model.to(options.device)
    fields = {name: getattr(options, name) for name in Shape().as_dict() if hasattr(options, name)}
    model = Model(Shape(**fields)).to(options.device)
    start.fit(model, arrays_read(options.tokens)["plain"])
    torch.save({"shape": model.shape.as_dict(), "model": model.state_dict()}, path)
    return model


def options_read():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--tokens", default="build/nano/tokens.npz.xz")
    p.add_argument("--out", default="build/nano/run")
    p.add_argument("--minutes", type=float, required=True)
    p.add_argument("--device", default="cpu")
    p.add_argument(
        "--workers",
        type=int,
        default=0,
        help="processes; default: one per core, one with --device cuda",
    )
    p.add_argument("--threads", type=int, default=1, help="of each worker")
    p.add_argument("--plain-rows", type=int, default=3, help="of 512 tokens, per step and worker")
    p.add_argument(
        "--prompt-rows", type=int, default=1, help="of 1024 tokens (or half as many of 2048)"
    )
    for name, value in Shape().as_dict().items():
        p.add_argument("--" + name.replace("_", "-"), type=type(value), default=value)
    for name, value in (
        ("lr-matrix", 0.012),
        ("lr-embedding", 0.001),
        ("lr-head", 0.0004),
        ("lr-other", 0.001),
        ("lr-router", 0.0003),
        ("weight-decay", 0.02),
        ("balance-loss", 0.05),
        ("z-loss", 0.001),
        ("answer-loss", 3.0),
        ("context-loss", 0.0),
        ("prompts-from", 0.0),
        ("prompts-share", 0.4),
        ("anneal", 0.45),
        ("fake", 0.15),
        ("save-minutes", 4.0),
    ):
        p.add_argument("--" + name, type=float, default=value)
    p.add_argument("--log-every", type=int, default=10)
    p.add_argument("--held-every", type=int, default=50)
    p.add_argument("--seed", type=int, default=1)
    o = p.parse_args()
    o.workers = o.workers or (1 if o.device != "cpu" else os.cpu_count())
    return o


def main():
    options = options_read()
    os.makedirs(options.out, exist_ok=True)
    model = model_open(options)
    if options.workers == 1:
        work(
            0, options, model, {"barrier": NoBarrier(), "done": torch.zeros(2, dtype=torch.float64)}
        )
        return
    model.share_memory()
    n = sum(p.numel() for p in model.parameters())
    shared = {
        "barrier": mp.get_context("spawn").Barrier(options.workers),
        "done": torch.zeros(2, dtype=torch.float64).share_memory_(),
        "gradients": torch.zeros(options.workers, n).share_memory_(),
    }
    mp.spawn(work, (options, model, shared), nprocs=options.workers)


if __name__ == "__main__":
    main()
