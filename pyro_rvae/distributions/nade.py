"""NADE: a Bernoulli frame whose elements depend on each other through one network with shared weights."""

from __future__ import annotations

from collections.abc import Sequence

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ..nn import MLP, concat
from .autoregressive import MaskedBernoulli
from .conditional import Conditional
from .families import Bernoulli, Family

__all__ = ["NADE", "PreviousNADE"]


class NADE(Family):
    r"""Elements of a frame given the ones before them in an order, by one network with shared weights.

    .. math::
        p(x) = \prod_i \mathrm{Bern}\Big(x_i \,\Big|\, \sigma\big(c_i + V_i\, \mathrm{relu}(b + W_{<i} x_{<i})
               + u^\top \mathrm{relu}(M\, \mathrm{relu}(e_i + \textstyle\sum_{k=1}^{w} K_k x_{i-k}) + m)\big)\Big)

    where the conditional's network gives the hidden bias :math:`b`, the output bias :math:`c` and, with
    ``channels``, the bias :math:`e_i` of each element's near features. The last term is left out at ``channels=0``. It
    is the same at every element: what it learns of a step of k keys it knows of all keys.

    Source: Larochelle & Murray (2011), "The Neural Autoregressive Distribution Estimator"; within a sequence model
    RNN-NADE (Boulanger-Lewandowski et al. 2012, arXiv:1206.6392); a convolution beside it as in ConvNADE (Uria et al.
    2016, arXiv:1605.02226). We differ in rectified units in place of sigmoids; ``b`` and ``c`` (and ``e``) come from a
    network; the convolution runs along the order, in one layer.

    The hidden units change at an element only if the one before it is not 0: a frame with k ones takes k + 1 rows of
    hidden units, not ``dim``, so on the CPU the density of a sparse frame costs O(k hidden dim). (On a GPU, where
    asking for k would stall, it costs O(hidden dim^2).) Drawing costs O(hidden dim).

    Arguments:
        dim: elements of a frame.
        hidden: hidden units.
        channels: near features of each element; 0: none. They need the order to have a meaning, as keys have.
        width: elements before i that the near features see.
        order: the order in which elements condition each other, a permutation of 0..dim-1; None: as they stand.
        dropout: probability on the hidden units and the near features, in training mode.

    Errors: ValueError for an order that is no permutation, or widths below 1. Missing elements are refused when the
    likelihood is used: fill them, or choose a family of independent elements.
    """

    kind = "binary"
    order: Tensor
    rank: Tensor

    def __init__(self, dim: int, *, hidden: int = 200, channels: int = 0, width: int = 12,
                 order: Sequence[int] | None = None, dropout: float = 0.0) -> None:
        if hidden < 1 or channels < 0 or width < 1:
            raise ValueError(f"NADE: hidden and width must be at least 1 and channels at least 0, got hidden={hidden}, "
                             f"width={width}, channels={channels}.")
        order = list(range(dim) if order is None else order)
        if sorted(order) != list(range(dim)):
            raise ValueError(f"NADE: order must hold each of 0..{dim - 1} once, got {order}.")
        super().__init__(dim, hidden + dim * (1 + channels))
        self.hidden, self.channels, self.width = hidden, channels, width
        self.register_buffer("order", torch.tensor(order), persistent=False)
        self.register_buffer("rank", torch.tensor(order).argsort(), persistent=False)
        self.read = nn.Linear(dim, hidden, bias=False)
        self.write = nn.Linear(hidden, dim, bias=False)
        self.dropout = nn.Dropout(dropout)
        if channels:
            self.near = nn.Linear(width, channels, bias=False)
            self.head = nn.Sequential(nn.ReLU(), self.dropout, nn.Linear(channels, channels), nn.ReLU(), self.dropout,
                                      nn.Linear(channels, 1))

    def split(self, params: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``(b, c, e)`` of raw parameters: ``(..., hidden)``, ``(..., dim)``, ``(..., dim, channels)``."""
        b, c, e = params.split([self.hidden, self.dim, self.dim * self.channels], -1)
        return b, c, e.unflatten(-1, (self.dim, self.channels))

    def logits(self, x: Tensor, params: Tensor) -> Tensor:
        """Log-odds of every element given the ones before it: ``x (..., dim) -> (..., dim)``."""
        b, c, e = self.split(params)
        rows, row = self._rows(x)
        hidden = torch.relu(b.unsqueeze(-2) + self.read(rows))
        every = self.write(self.dropout(hidden))  # (..., k + 1, dim): each element by each row
        out = c + every.gather(-2, row.expand(*every.shape[:-2], 1, -1)).squeeze(-2)
        if self.channels:
            out = out + self.head(e + self._near(x)).squeeze(-1)
        return out

    def _rows(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Frames cut off behind their 0, 1, ..., k first nonzeros ``(..., k + 1, dim)``; each element's row."""
        on = (x != 0).long()
        count = on[..., self.order].cumsum(-1)[..., self.rank]
        most = int(count.max()) if x.device.type == "cpu" else self.dim  # on a GPU, reading k would wait for it
        cuts = torch.arange(most + 1, device=x.device).unsqueeze(-1)
        return x.unsqueeze(-2) * (count.unsqueeze(-2) <= cuts), (count - on).unsqueeze(-2)

    def _near(self, x: Tensor) -> Tensor:
        """Near features of every element ``(..., dim, channels)``: a convolution over the ones before it."""
        windows = nn.functional.pad(x[..., self.order], (self.width, -1)).unfold(-1, self.width, 1)
        near: Tensor = self.near(windows)
        return near[..., self.rank, :]

    def draw(self, params: Tensor, temperature: float = 1.0) -> Tensor:
        """A frame ``(..., dim)`` for each row of raw parameters, element by element in one pass."""
        b, c, e = self.split(params)
        past = params.new_zeros(*params.shape[:-1], self.width + self.dim)  # in the order, behind `width` zeros
        for place, i in enumerate(self.order.tolist()):
            logit = c[..., i] + self.dropout(torch.relu(b)) @ self.write.weight[i]
            if self.channels:
                logit = logit + self.head(e[..., i, :] + self.near(past[..., place:place + self.width])).squeeze(-1)
            drawn = torch.bernoulli((logit / temperature).sigmoid())
            b = torch.addcmul(b, drawn.unsqueeze(-1), self.read.weight[:, i])
            past[..., self.width + place] = drawn
        return past[..., self.width:][..., self.rank]

    def forward(self, params: Tensor) -> dist.TorchDistribution:
        return MaskedBernoulli(self, params)

    def bias(self, values: Tensor) -> Tensor:
        marginal = Bernoulli(self.dim).bias(values)
        return torch.cat([marginal.new_zeros(self.hidden), marginal, marginal.new_zeros(self.dim * self.channels)])


class PreviousNADE(Conditional):
    r"""p(x_t | u, x_{t-1}): a :class:`NADE` whose near features also see the frame before, on both sides of an element.

    .. math::
        r = \mathrm{MLP}(u, x_{t-1}), \quad (b, c) = A r + a, \quad
        e_i = q_i + S r + \textstyle\sum_{k=-w}^{w} P_k x_{t-1, i+k}

    so a voice that moves by a step is one feature, for all keys. It stands where a model passes x_{t-1} itself as the
    second input: in a DMM with ``skip_edges=True``, ``skip=nn.Identity`` and ``skip_dim=x_dim``.

    Source: the features tied over keys are those of Johnson (2017), "Generating Polyphonic Music Using Tied Parallel
    Networks", and of ConvNADE (:class:`NADE`); we differ from both in that they are summed with a NADE's hidden units.

    Arguments:
        in_dim: width of all inputs; the second of them is x_{t-1}.
        dim: elements of a frame.
        layers: widths of the hidden layers of the MLP.
        feature_dropout: probability on those layers.
        hidden, channels, width, order, dropout: of the :class:`NADE`.

    Errors: ValueError where the second input is no frame, or without channels.
    """

    def __init__(self, in_dim: int, dim: int, *, layers: Sequence[int] = (200,), feature_dropout: float = 0.0,
                 hidden: int = 200, channels: int = 16, width: int = 12, order: Sequence[int] | None = None,
                 dropout: float = 0.0) -> None:
        if in_dim < dim or channels < 1:
            raise ValueError(f"PreviousNADE: it needs x_{{t-1}} ({dim} numbers) among its inputs and channels of at "
                             f"least 1, got inputs {in_dim} wide and channels={channels}.")
        family = NADE(dim, hidden=hidden, channels=channels, width=width, order=order, dropout=dropout)
        super().__init__(_Around(in_dim, family, layers, feature_dropout), family)
        self.dim = dim

    def params(self, *inputs: Tensor) -> Tensor:
        if len(inputs) < 2 or inputs[1].shape[-1] != self.dim:
            raise ValueError(f"PreviousNADE: its second input is x_{{t-1}}, {self.dim} wide, got inputs "
                             f"{[i.shape[-1] for i in inputs]} wide; in a DMM give skip_edges=True, skip=nn.Identity, "
                             f"skip_dim={self.dim}.")
        raw: Tensor = self.net(concat(inputs), inputs[1])
        return raw.float() if raw.dtype in (torch.bfloat16, torch.float16) else raw


class _Around(nn.Module):
    """The network of :class:`PreviousNADE`."""

    def __init__(self, in_dim: int, family: NADE, layers: Sequence[int], dropout: float) -> None:
        super().__init__()
        self.width = family.width
        self.features = MLP(in_dim, layers[-1], hidden=layers[:-1], dropout=dropout, output=False)
        self.whole = nn.Linear(layers[-1], family.hidden + family.dim, bias=False)
        self.tied = nn.Linear(layers[-1], family.channels)
        self.around = nn.Linear(2 * family.width + 1, family.channels, bias=False)
        self.output_bias = nn.Parameter(torch.zeros(family.num_params))

    def forward(self, inputs: Tensor, previous: Tensor) -> Tensor:
        features = self.features(inputs)
        windows = nn.functional.pad(previous, (self.width, self.width)).unfold(-1, 2 * self.width + 1, 1)
        near = self.around(windows) + self.tied(features).unsqueeze(-2)
        return torch.cat([self.whole(features), near.flatten(-2)], -1) + self.output_bias
