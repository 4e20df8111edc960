"""DBRX's architecture in PyTorch, for training from scratch: the same arithmetic as
inference/forward.c, in an order that trains well on a CPU and on a GPU.

Weights are fp32 masters; products run in bf16 (`compute`). Experts are grouped: rows are sorted by
expert, each expert is three products over its own rows. With `fake_int8` every product sees its
weights as the engine will: codes of -127..127 with one scale per row along k, straight through."""

import math
from dataclasses import dataclass, asdict

import torch
import torch.nn.functional as F


@dataclass
class Shape:
    vocab_size: int = 4096
    d_model: int = 256
    n_layers: int = 4
    n_heads: int = 4
    kv_n_heads: int = 2
    ffn_hidden_size: int = 128
    moe_num_experts: int = 16
    moe_top_k: int = 4
    max_seq_len: int = 2048
    rope_theta: float = 500000.0
    clip_qkv: float = 8.0

    @property
    def head_dim(self):
        return self.d_model // self.n_heads

    def config(self):
        """config.json of this shape."""
        return {
            "architectures": ["DbrxForCausalLM"],
            "model_type": "dbrx",
            "d_model": self.d_model,
            "n_heads": self.n_heads,
            "n_layers": self.n_layers,
            "max_seq_len": self.max_seq_len,
            "vocab_size": self.vocab_size,
            "tie_word_embeddings": False,
            "torch_dtype": "bfloat16",
            "attn_config": {
                "clip_qkv": self.clip_qkv,
                "kv_n_heads": self.kv_n_heads,
                "rope_theta": self.rope_theta,
            },
            "ffn_config": {
                "ffn_hidden_size": self.ffn_hidden_size,
                "moe_num_experts": self.moe_num_experts,
                "moe_top_k": self.moe_top_k,
            },
            "dbrx_ls": {"demo": True},
        }

    def as_dict(self):
        return asdict(self)


class Spread(torch.autograd.Function):
    """x[token] for rows in order of expert; `inverse` says where token t's k-th row went."""

    @staticmethod
    def forward(ctx, x, token, inverse):
        ctx.save_for_backward(inverse)
        return x.index_select(0, token)

    @staticmethod
    def backward(ctx, grad):
        (inverse,) = ctx.saved_tensors
        n, k = inverse.shape
        return grad.index_select(0, inverse.reshape(-1)).view(n, k, -1).sum(1), None, None


class Gather(torch.autograd.Function):
    """Rows back in order of token: y[inverse] as [tokens * k, d]."""

    @staticmethod
    def forward(ctx, y, order, inverse):
        ctx.save_for_backward(order)
        return y.index_select(0, inverse.reshape(-1))

    @staticmethod
    def backward(ctx, grad):
        (order,) = ctx.saved_tensors
        return grad.index_select(0, order), None, None


class FakeInt8(torch.autograd.Function):
    """INT8_ROW of inference/FORMATS.md along the last dimension; the gradient passes."""

    @staticmethod
    def forward(ctx, w):
        scale = w.abs().amax(-1, keepdim=True).clamp_min(1e-12) / 127
        return torch.round(w / scale).clamp_(-127, 127) * scale

    @staticmethod
    def backward(ctx, grad):
        return grad


class CrossEntropy(torch.autograd.Function):
    """Sum of w times the cross-entropy of each row in nats. The gradient is made at once, from the
    same exponentials: three times as fast on a CPU as log_softmax and its backward."""

    @staticmethod
    def forward(ctx, logits, targets, w):
        p = logits.float()
        p.sub_(p.amax(-1, keepdim=True))
        right = p.gather(1, targets[:, None])[:, 0]
        total = p.exp_().sum(-1)
        each = total.log() - right
        p.mul_((w / total)[:, None]).scatter_add_(1, targets[:, None], -w[:, None])
        ctx.save_for_backward(p.to(logits.dtype))
        return (each * w).sum()

    @staticmethod
    def backward(ctx, grad):
        (p,) = ctx.saved_tensors
        return p * grad.to(p.dtype), None, None


QUERIES = 256  # of one product on a CPU: what they cannot see is not computed


def attend(q, k, v):
    """Causal attention, [rows, heads, tokens, head_dim]. On a CPU PyTorch's own takes twice as long."""
    if q.device.type != "cpu":
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    out, t = [], q.shape[2]
    for at in range(0, t, QUERIES):
        end = min(t, at + QUERIES)
        scores = (q[:, :, at:end] @ k[:, :, :end].mT).float() / math.sqrt(q.shape[-1])
        later = torch.full((end - at, end), -torch.inf).triu(1 + at)
        out.append((scores + later).softmax(-1).to(v.dtype) @ v[:, :, :end])
    return torch.cat(out, 2)


def rope_tables(shape, n, device):
    half = shape.head_dim // 2
    theta = shape.rope_theta ** (
        -torch.arange(half, device=device, dtype=torch.float64) * 2 / shape.head_dim
    )
    angle = torch.arange(n, device=device, dtype=torch.float64)[:, None] * theta
    return angle.cos().float(), angle.sin().float()


def rope(x, cos, sin):
    a, b = x.float().chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


class Block(torch.nn.Module):
    def __init__(self, s):
        super().__init__()
        self.s = s
        d, f, e, h = s.d_model, s.ffn_hidden_size, s.moe_num_experts, s.head_dim
        n_qkv = (s.n_heads + 2 * s.kv_n_heads) * h

        def matrix(*size, k):
            return torch.nn.Parameter(torch.randn(*size) / math.sqrt(k))

        self.norm_1 = torch.nn.Parameter(torch.ones(d))
        self.wqkv = matrix(n_qkv, d, k=d)
        self.out_proj = torch.nn.Parameter(torch.zeros(d, d))
        self.norm_2 = torch.nn.Parameter(torch.ones(d))
        self.router = matrix(e, d, k=d * 25)
        self.w1 = matrix(e, f, d, k=d)
        self.v1 = matrix(e, f, d, k=d)
        self.w2 = torch.nn.Parameter(
            torch.zeros(e, d, f)
        )  # the other way round than on disk: k last

    def attention(self, x, cos, sin, cast):
        s = self.s
        n, t, d = x.shape
        a = F.layer_norm(x, (d,), self.norm_1).to(cast.dtype)
        qkv = F.linear(a, cast(self.wqkv)).clamp(-s.clip_qkv, s.clip_qkv)
        q, k, v = (
            qkv.view(n, t, -1, s.head_dim)
            .transpose(1, 2)
            .split([s.n_heads, s.kv_n_heads, s.kv_n_heads], 1)
        )
        q, k = rope(q, cos, sin).to(cast.dtype), rope(k, cos, sin).to(cast.dtype)
        groups = s.n_heads // s.kv_n_heads
        k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
        o = attend(q, k, v)
        return F.linear(o.transpose(1, 2).reshape(n, t, d), cast(self.out_proj)).float()

    def experts(self, x, cast):
        """x: [tokens, d] after norm_2. Returns the chosen experts' sum and what judges balance."""
        s = self.s
        logits = F.linear(x, self.router)
        top, chosen = logits.topk(s.moe_top_k, -1)
        weight = top.softmax(-1)
        order = chosen.reshape(-1).argsort(stable=True)
        inverse = torch.empty_like(order)
        inverse[order] = torch.arange(order.numel(), device=order.device)
        inverse = inverse.view(-1, s.moe_top_k)
        counts = torch.bincount(chosen.reshape(-1), minlength=s.moe_num_experts)
        rows = Spread.apply(x.to(cast.dtype), order // s.moe_top_k, inverse)
        w13, w2 = cast(torch.cat((self.w1, self.v1), 1)), cast(self.w2)
        out = []
        for e, part in enumerate(rows.split(counts.tolist())):
            gate, up = F.linear(part, w13[e]).chunk(2, -1)
            out.append(F.linear(F.silu(gate) * up, w2[e]))
        y = Gather.apply(torch.cat(out), order, inverse).view(*inverse.shape, -1)
        y = torch.bmm(weight.to(y.dtype)[:, None], y)[:, 0].float()
        share = counts.float() / counts.sum()
        balance = s.moe_num_experts * (share * logits.softmax(-1).mean(0)).sum()
        z = logits.logsumexp(-1).square().mean()
        return y, balance, z, share

    def forward(self, x, cos, sin, cast):
        r = x + self.attention(x, cos, sin, cast)
        y = F.layer_norm(r, (r.shape[-1],), self.norm_2)
        f, balance, z, share = self.experts(y.reshape(-1, y.shape[-1]), cast)
        return r + f.view_as(r), balance, z, share


class Cast:
    """What a product sees of a weight: its type, and whether as codes."""

    def __init__(self, dtype, fake_int8):
        self.dtype, self.fake_int8 = dtype, fake_int8

    def __call__(self, w):
        return (FakeInt8.apply(w) if self.fake_int8 else w).to(self.dtype)


class Model(torch.nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        self.wte = torch.nn.Parameter(torch.randn(shape.vocab_size, shape.d_model) * 0.3)
        self.blocks = torch.nn.ModuleList(Block(shape) for _ in range(shape.n_layers))
        self.norm_f = torch.nn.Parameter(torch.ones(shape.d_model))
        self.lm_head = torch.nn.Parameter(torch.randn(shape.vocab_size, shape.d_model) * 0.02)
        self.compute, self.fake_int8 = torch.bfloat16, False

    def hidden(self, ids):
        """[rows, tokens] -> what the head reads, balance and z loss, shares of experts by layer."""
        cast = Cast(self.compute, self.fake_int8)
        cos, sin = rope_tables(self.shape, ids.shape[1], ids.device)
        x = F.embedding(ids, self.wte)
        balance = z = 0.0
        shares = []
        for block in self.blocks:
            x, b, one_z, share = block(x, cos, sin, cast)
            balance, z = balance + b, z + one_z
            shares.append(share.detach())
        n = len(self.blocks)
        return F.layer_norm(x, (x.shape[-1],), self.norm_f), balance / n, z / n, torch.stack(shares)

    def logits(self, ids):
        cast = Cast(self.compute, self.fake_int8)
        return F.linear(self.hidden(ids)[0].to(cast.dtype), cast(self.lm_head)).float()

    def loss(self, ids, targets, weights):
        """Mean cross-entropy in nats by weight, and the auxiliary terms. Rows of weight 0 reach
        no head."""
        cast = Cast(self.compute, self.fake_int8)
        h, balance, z, shares = self.hidden(ids)
        keep = weights.reshape(-1).nonzero()[:, 0]
        h = h.reshape(-1, h.shape[-1]).index_select(0, keep)
        logits = F.linear(h.to(cast.dtype), cast(self.lm_head))
        w = weights.reshape(-1)[keep]
        loss = CrossEntropy.apply(logits, targets.reshape(-1)[keep], w / w.sum())
        return loss, balance, z, shares


def zeropower(g, steps=5):
    """The nearest orthogonal matrix, by Newton and Schulz's iteration (Muon); g: [..., m, n]."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = g.to(torch.bfloat16)
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        y = x @ x.mT
        x = a * x + (b * y + c * y @ y) @ x
    return (x.mT if tall else x).to(g.dtype)


class Muon(torch.optim.Optimizer):
    """Momentum, made orthogonal, for matrices and stacks of them (Jordan et al. 2024)."""

    def __init__(self, params, lr=0.02, momentum=0.95, weight_decay=0.0):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if "m" not in state:
                    state["m"] = torch.zeros_like(p)
                m = state["m"]
                m.lerp_(p.grad, 1 - group["momentum"])
                update = zeropower(p.grad.lerp(m, group["momentum"]))
                scale = max(1.0, p.shape[-2] / p.shape[-1]) ** 0.5
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(update, alpha=-group["lr"] * scale)
