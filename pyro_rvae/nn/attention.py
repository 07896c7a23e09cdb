"""Attention: a part that looks at a whole path at every step, and an encoder whose steps look at one another.

The padding of what is looked at has no weight. Plain tensor operations, so that every order of derivative exists and
one query at a time gives the same numbers as all at once.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .causal import Causal
from .encoders import Bidirectional, Encoder
from .networks import build, lacks, origin
from .unfolding import refuse_frames

__all__ = ["AdditiveAttention", "Attention", "Lookup", "SelfAttention"]


class Attention(nn.Module):
    r"""Attention to a memory: ``c = W_o [o_1..o_H]``, each head a weighted mean of the memory's values.

    .. math::
        o_i = \sum_s \alpha_{is} V_i m_s, \qquad
        \alpha_{is} = \mathrm{softmax}_s\big((Q_i u + b_i) \cdot K_i m_s / \sqrt{d}\big)

    for a query :math:`u` and a memory :math:`m_1..m_T`. Used in a loop as a recurrence without a state:
    ``t.carry("c", attention.over(path, mask), h)``. It does not know where in the memory a value stands; what should
    depend on that must be in the memory (the features of a recurrent encoder are).
    Source: Luong, Pham & Manning (2015), "Effective Approaches to Attention-based Neural Machine Translation",
    arXiv:1508.04025, section 3.1, score "general"; heads, scale and output map as in Vaswani et al. (2017),
    "Attention Is All You Need", arXiv:1706.03762, section 3.2. Keys have no bias (the softmax would cancel it).

    Arguments:
        in_dim: width of a query.
        memory_dim: width of the memory's values.
        h_dim: width of the output, and of all heads together.
        heads: number of heads, each ``d = h_dim // heads`` wide.
    """

    def __init__(self, in_dim: int, memory_dim: int, h_dim: int, *, heads: int = 1) -> None:
        super().__init__()
        if isinstance(heads, bool) or not isinstance(heads, int) or not 1 <= heads <= h_dim:
            raise ValueError(f"{type(self).__name__}: heads must be an integer from 1 to h_dim={h_dim}, got {heads!r}.")
        self.in_dim, self.memory_dim, self.out_dim, self.heads = in_dim, memory_dim, h_dim, heads
        inner = heads * (h_dim // heads)
        self.query = nn.Linear(in_dim, inner)
        self.key, self.value = (nn.Linear(memory_dim, inner, bias=False) for _ in "kv")
        self.output = nn.Linear(inner, h_dim)

    @classmethod
    def fault(cls, part: Any) -> str:
        """What keeps ``part`` from serving as an attention part, or an empty string; no base class is asked for."""
        if not lacks(part, "over", "out_dim"):
            return ""
        return (f"expected an attention part (rv.Attention, rv.AdditiveAttention, or a module of your own with out_dim "
                f"and over(memory, mask)), got {origin(part)}")

    def over(self, memory: Tensor, mask: Tensor | None = None) -> Lookup:
        """This part bound to a memory ``(..., B, T, memory_dim)`` whose padding is where ``mask (B, T)`` is False.

        Called before the loop: the keys and values of the memory are computed once.
        """
        refuse_frames(f"{type(self).__name__} attends to a whole sequence")
        if memory.shape[-1] != self.memory_dim:
            raise ValueError(f"{type(self).__name__}: this part reads a memory {self.memory_dim} wide, got "
                             f"{tuple(memory.shape)}.")
        return Lookup(self, memory, mask)

    def split(self, values: Tensor) -> Tensor:
        """One axis of heads: ``(..., n, H d) -> (..., H, n, d)``."""
        return values.unflatten(-1, (self.heads, -1)).transpose(-2, -3)

    def score(self, query: Tensor, keys: Tensor) -> Tensor:
        """How well each query ``(..., H, n, d)`` fits each key ``(..., H, T, d)``: ``(..., H, n, T)``."""
        return query @ keys.mT / query.shape[-1] ** 0.5

    def extra_repr(self) -> str:
        return f"out_dim={self.out_dim}, heads={self.heads}"


class AdditiveAttention(Attention):
    r"""Attention whose score is a small network: ``w_i . tanh(Q_i u + b_i + K_i m_s)``.

    Source: Bahdanau, Cho & Bengio (2015), "Neural Machine Translation by Jointly Learning to Align and Translate",
    arXiv:1409.0473, section 3.1 and appendix A.1.2. Arguments as for :class:`Attention`. It holds all pairs of a query
    and a key at once, so it needs ``h_dim`` times the memory of the product score.
    """

    def __init__(self, in_dim: int, memory_dim: int, h_dim: int, *, heads: int = 1) -> None:
        super().__init__(in_dim, memory_dim, h_dim, heads=heads)
        self.weight = nn.Parameter(torch.randn(heads, h_dim // heads) / (h_dim // heads) ** 0.5)

    def score(self, query: Tensor, keys: Tensor) -> Tensor:
        pairs = torch.tanh(query.unsqueeze(-2) + keys.unsqueeze(-3))
        return (pairs * self.weight[:, None, None]).sum(-1)


class Lookup(Causal):
    """An attention part bound to one memory: its output at a step depends on the query of that step alone.

    It has the methods of a causal part, so that ``t.carry`` can tell one step's query from those of all steps; there
    is no state. Leading dims of queries and memory broadcast.
    """

    def __init__(self, attention: Attention, memory: Tensor, mask: Tensor | None = None) -> None:
        super().__init__()
        self.attention, self.mask = attention, mask
        self.in_dim, self.out_dim, self.state_dim = attention.in_dim, attention.out_dim, 0
        if mask is not None:  # 0 times a NaN is a NaN: no weight is not enough
            memory = torch.where(mask.unsqueeze(-1), memory, 0.0)
        self.keys, self.values = (attention.split(net(memory)) for net in (attention.key, attention.value))

    def begin(self, init: Tensor | None) -> None:
        if init is not None:
            raise ValueError("attention has no state, so it takes no init; give what it should know as a query.")

    def weights(self, u: Tensor) -> Tensor:
        """The weights alpha of queries ``(..., n, in_dim)`` on the memory, ``(..., H, n, T)``; each row sums to one.

        Where all of the memory is padding they are 0.
        """
        score = self.attention.score(self.attention.split(self.attention.query(u)), self.keys)
        if self.mask is None:
            return score.softmax(-1)
        absent = ~self.mask.unsqueeze(-2).unsqueeze(-2)
        lowest = torch.finfo(score.dtype).min  # not -inf: a row of nothing else would be NaN
        return score.masked_fill(absent, lowest).softmax(-1).masked_fill(absent, 0.0)

    def forward(self, u: Tensor, init: Tensor | None = None) -> Tensor:
        """The outputs ``(..., n, out_dim)`` of queries ``(..., n, in_dim)``."""
        self.begin(init)
        heads = self.weights(u) @ self.values
        return self.attention.output(heads.transpose(-2, -3).flatten(-2))  # type: ignore[no-any-return]

    def step(self, u: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        return self(u.unsqueeze(-2)).squeeze(-2), None


class SelfAttention(Encoder):
    r"""``g_t = e_t + attention(e_t; e_1..e_T)``, e a recurrent encoder; the summary asks with e's own summary.

    So a feature sees any other step in one hop, and the recurrence below tells it where it stands. The summary is
    ``s + attention(s; e_1..e_T)``, s that of e: attention pooling whose query depends on the sequence, with the same
    weights as the features.
    Source: the sublayer of Vaswani et al. (2017), arXiv:1706.03762, sections 3.1-3.2. We differ in the encoder
    below in place of positional encodings, and in that no layer normalisation or feed-forward layer follows.

    Arguments:
        in_dim, h_dim: widths of ``x_t`` and of the encoder below (of one direction, if it has two).
        heads: number of attention heads.
        base: the encoder e, or its class built with ``(in_dim, h_dim)``. With Pointwise the order of the steps is
            not seen at all.
    """

    causal = False

    def __init__(self, in_dim: int, h_dim: int, *, heads: int = 1, base: Any = Bidirectional) -> None:
        super().__init__()
        self.base = build(base, in_dim, h_dim, kind=Encoder, what="base")
        self.in_dim, self.out_dim = in_dim, self.base.out_dim
        self.attention = Attention(self.out_dim, self.out_dim, self.out_dim, heads=heads)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        e = self.base(x, mask)
        return e + self.attention.over(e, mask)(e)  # type: ignore[no-any-return]

    def summary(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        if not callable(getattr(self.base, "summary", None)):
            raise TypeError(f"SelfAttention: its summary asks with that of base, and {type(self.base).__name__} has no "
                            "summary(x, mask); write it, or subclass rv.Encoder.")
        s = self.base.summary(x, mask)
        pooled, _ = self.attention.over(self.base(x, mask), mask).step(s)
        return s + pooled  # type: ignore[no-any-return]
