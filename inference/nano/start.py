"""Where training starts: what counting and a little thought can give before anything is read.

With attention and experts at zero the network is head(LN(embedding)): a factored table of which
token follows which. It is fitted to the corpus's counts directly. On top of it two layers of
attention are laid out by hand for what every text has and a short training does not find: heads
that fetch the one and the two tokens before, and heads that look for the same one or two tokens
earlier in the text and propose what followed them there. All of it is training's to change.

    residual:  bigram | own code | code before | code before that | proposed code | one

A code is a random unit vector of each token. Heads that fetch by distance use the fastest pairs of
RoPE, with a phase that is right at that distance; heads that compare codes use the slowest."""
import math

import numpy as np
import torch
import torch.nn.functional as F

CONTEXTS, STEPS, RATE = 1024, 500, 0.02
CODE, CODE_BEFORE_2 = 40, 24
# Lengths at d_model 256; their squares add up to 256, so that LN leaves them as they are.
BIGRAM, OWN, ONE = 12.0, 8.5, 6.3
FAST_PAIRS = 8
PHASE = 8.0  # length of a pair of q and of k; clip_qkv bounds it
MATCH, MATCH_2 = 12.0, 6.0  # score of an equal code; of each of two
PROPOSED, BOOST = 6.0, 9.0  # length of a proposed code; what it adds to its token's logit


class Fields:
    """Where in the residual what stands."""

    def __init__(self, d):
        n = d - 1 - 3 * CODE - CODE_BEFORE_2
        self.bigram, self.own = range(n), range(n, n + CODE)
        self.before = range(n + CODE, n + 2 * CODE)
        self.before_2 = range(n + 2 * CODE, n + 2 * CODE + CODE_BEFORE_2)
        self.proposed, self.one = range(d - 1 - CODE, d - 1), d - 1


def followers(plain, rows):
    """[rows, rows]: how often the second token follows the first."""
    pairs = plain[:-1].astype(np.int64) * rows + plain[1:]
    return np.bincount(pairs, minlength=rows * rows).reshape(rows, rows).astype(np.float32)


def unit_of(d):
    """By this all lengths grow with d_model."""
    return math.sqrt(d / 256)


def embedding(raw, codes, d):
    """Rows of the embedding, each as long as LN makes it."""
    f, unit, out = Fields(d), unit_of(d), []
    out.append(F.normalize(raw, dim=-1) * BIGRAM * unit)
    out.append(codes * OWN * unit)
    out.append(torch.zeros(raw.shape[0], f.one - f.before.start, device=raw.device))
    out.append(torch.full((raw.shape[0], 1), ONE * unit, device=raw.device))
    return torch.cat(out, 1)


def bigram_fit(model, plain, codes):
    rows, d = model.shape.vocab_size, model.shape.d_model
    counts = torch.from_numpy(followers(plain, rows))
    often = counts.sum(1).to(codes.device)
    wanted = counts / counts.sum(1).clamp_min(1)[:, None]
    raw = torch.nn.Parameter(torch.randn(rows, len(Fields(d).bigram), device=codes.device))
    optimizer = torch.optim.Adam([raw, model.lm_head], lr=RATE, betas=(0.9, 0.95))
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1.0, (step + 1) / 20, 2 * (1 - step / STEPS))
        contexts = torch.multinomial(often, CONTEXTS, replacement=True)
        h = F.layer_norm(embedding(raw[contexts], codes[contexts], d), (d,))
        logits = F.linear(h.to(model.compute), model.lm_head.to(model.compute)).float()
        loss = F.cross_entropy(logits, wanted[contexts.cpu()].to(logits.device))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    with torch.no_grad():
        model.wte.copy_(embedding(raw, codes, d))
    return loss.item()


def fetch(block, s, f, head, distance):
    """Head `head` attends to the token `distance` before; k is KV head 0's."""
    h = s.head_dim
    k, one = s.n_heads * h, ONE * unit_of(s.d_model)
    for i in range(FAST_PAIRS):
        theta = s.rope_theta ** (-2 * i / h)
        for row, phase in ((head * h, math.pi / 4 - distance * theta), (k, math.pi / 4)):
            block.wqkv[row + i, f.one] = PHASE / one * math.cos(phase)
            block.wqkv[row + i + h // 2, f.one] = PHASE / one * math.sin(phase)


def compare(block, s, head, kv_head, pairs, gain):
    """Scores equal codes: `pairs` are (field of q, field of k), on RoPE's slow pairs."""
    h, slot = s.head_dim, 0
    slow = range(h // 4, h // 2)
    per_field = len(slow) // len(pairs)
    for of_q, of_k in pairs:
        for j in range(per_field):
            for half in (0, 1):
                row = slow[slot] + half * h // 2
                block.wqkv[head * h + row, of_q[j + half * per_field]] = gain
                block.wqkv[(s.n_heads + kv_head) * h + row, of_k[j + half * per_field]] = gain
            slot += 1


def carry(block, s, kv_head, own):
    """The value is the own code."""
    v = (s.n_heads + s.kv_n_heads + kv_head) * s.head_dim
    for j, dimension in enumerate(own):
        block.wqkv[v + j, dimension] = 1


def clear(block, s, heads, kv_heads):
    h = s.head_dim
    for part in [*heads, *(s.n_heads + k for k in kv_heads)]:
        block.wqkv[part * h : (part + 1) * h] = 0
    for kv in kv_heads:
        v = (s.n_heads + s.kv_n_heads + kv) * h
        block.wqkv[v : v + h] = 0


def attention_lay_out(model, codes):
    s, f = model.shape, Fields(model.shape.d_model)
    h, groups = s.head_dim, s.n_heads // s.kv_n_heads
    first, second = model.blocks[0], model.blocks[1]
    clear(first, s, (0, 1), (0,))
    fetch(first, s, f, 0, 1)
    fetch(first, s, f, 1, 2)
    carry(first, s, 0, f.own)
    for head, field in ((0, f.before), (1, f.before_2)):
        for j, dimension in enumerate(field):
            first.out_proj[dimension, head * h + j] = 1
    unit = unit_of(s.d_model)
    length = OWN * unit * math.sqrt(256 / (256 + OWN**2 * (1 + CODE_BEFORE_2 / CODE)))  # in LN
    clear(second, s, (0, groups), (0, 1))
    n = h // 2
    compare(second, s, 0, 0, [(f.own, f.before)], gain_of(MATCH, n, length, h))
    pairs = [(f.own, f.before), (f.before, f.before_2)]
    compare(second, s, groups, 1, pairs, gain_of(MATCH_2, n // 2, length, h))
    for kv_head, head in ((0, 0), (1, groups)):
        carry(second, s, kv_head, f.own)
        for j, dimension in enumerate(f.proposed):
            second.out_proj[dimension, head * h + j] = PROPOSED * unit / length / 2
    model.lm_head[:, f.proposed.start : f.proposed.stop] = codes * BOOST / (PROPOSED * unit)


def gain_of(score, n, length, head_dim):
    """So that an equal code's first n numbers give this score."""
    return math.sqrt(score * math.sqrt(head_dim) / (n / CODE)) / length


def fit(model, plain):
    device = model.wte.device
    codes = F.normalize(torch.randn(model.shape.vocab_size, CODE, device=device), dim=-1)
    loss = bigram_fit(model, plain, codes)
    with torch.no_grad():
        attention_lay_out(model, codes)
    return loss
