#!/usr/bin/python3
"""What `dbrx-ls compare` prints, made again in double precision with numpy: two forward passes by
dbrx_forward.py, the second also with the first one's routes.

usage: divergence.py SOURCE CANDIDATE WINDOW < ids > JSON"""
import json
import re
import sys

import numpy as np

sys.dont_write_bytecode = True
from dbrx_forward import forward_routed  # noqa: E402
from quantized import read_widened  # noqa: E402


def log_softmax(x):
    x = x - x.max(axis=1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=1, keepdims=True))


def summary(values, same):
    rank = int(np.ceil(0.99 * len(values)))
    return {"mean": np.mean(values), "p99": np.sort(values)[rank - 1], "max": np.max(values),
            "same_first": np.mean(same)}


def main():
    source, candidate = read_widened(sys.argv[1]), read_widened(sys.argv[2])
    window = int(sys.argv[3])
    ids = [int(i) for i in re.findall(r"\d+", sys.stdin.read())]
    found = {"forced": ([], []), "free": ([], [])}
    experts, order, losses = [], [], []
    for at in range(0, len(ids), window):
        part = ids[at : at + window]
        logits, routes = forward_routed(*source, part)
        p = log_softmax(logits)
        for name, forced in (("forced", routes), ("free", None)):
            logits, own = forward_routed(*candidate, part, forced)
            q = log_softmax(logits)
            values, same = found[name]
            values.extend((np.exp(p) * (p - q)).sum(axis=1))
            same.extend(p.argmax(axis=1) == q.argmax(axis=1))
        for a, b in zip(routes, own):
            experts.extend((np.sort(a) == np.sort(b)).all(axis=1))
            order.extend((a == b).all(axis=1))
        for i, following in enumerate(ids[at + 1 : at + len(part) + 1]):
            losses.append((-p[i, following], -q[i, following]))
    loss = np.mean(losses, axis=0)
    print(json.dumps({"routes_of_source": summary(*found["forced"]),
                      "own_routes": summary(*found["free"]),
                      "same_experts": np.mean(experts), "same_order": np.mean(order),
                      "source_loss": loss[0], "candidate_loss": loss[1]}))


main()
