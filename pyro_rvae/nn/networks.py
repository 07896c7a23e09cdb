"""Feed-forward networks, readers of raw frames, and the rule by which a model builds its parts.

Every network acts on the last dimension.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn

__all__ = ["MLP", "CodeReader", "FrameDropout", "GatedTransition", "Reader", "WordDropout", "build", "concat",
           "is_recipe", "joined_linear", "ragged"]


def concat(inputs: Sequence[Tensor]) -> Tensor:
    """Concatenate on the last dim, after broadcasting the others."""
    if len(inputs) == 1:
        return inputs[0]
    lead = inputs[0].shape[:-1]
    if any(i.shape[:-1] != lead for i in inputs):
        lead = torch.broadcast_shapes(*(i.shape[:-1] for i in inputs))
        inputs = [i.expand(*lead, -1) for i in inputs]
    return torch.cat(list(inputs), -1)


def ragged(inputs: Sequence[Tensor]) -> bool:
    """Whether inputs differ in their leading dims: some belong to a particle, and others to all of them."""
    return any(i.shape[:-1] != inputs[0].shape[:-1] for i in inputs)


def joined_linear(inputs: Sequence[Tensor], weight: Tensor, bias: Tensor | None) -> Tensor:
    """``W [u_1, u_2, ...] + b``, each input mapped by its own columns before it is spread over the others' dims.

    The same numbers as of the joined inputs, to rounding; what many particles share is mapped once for all of them.
    """
    columns = weight.split([i.shape[-1] for i in inputs], -1)
    first, *others = (nn.functional.linear(i, w) for i, w in zip(inputs, columns, strict=True))
    total = first if bias is None else first + bias
    for other in others:
        total = total + other
    return total


def is_recipe(part: Any) -> bool:
    """Whether ``part`` is still to be built: a class, or a ``functools.partial`` of one."""
    while isinstance(part, partial):
        part = part.func
    return isinstance(part, type)


class Kind(Protocol):
    """A class that can say whether something will do as one of its kind, without being an instance of it."""

    @classmethod
    def fault(cls, part: Any) -> str:
        """What was expected and what came; empty if ``part`` will do."""
        ...


def build(part: Any, *widths: int, kind: type[Kind] | None = None, what: str = "part") -> Any:
    """A part as a model uses it: a class (or partial of one) is called with the widths; the rest is taken as is.

    Arguments:
        part: a class, a ``functools.partial`` of one, or the part itself.
        widths: what a class is called with; the first is the width of what the part reads.
        kind: what the part must be (:class:`~pyro_rvae.nn.Causal`, :class:`~pyro_rvae.nn.Encoder`); None: anything.
        what: the argument's name, for messages.

    Raises:
        TypeError: the part is not of that kind.
        ValueError: it is one already built, whose ``in_dim`` is not the first width.

    >>> build(nn.Linear, 3, 4)
    Linear(in_features=3, out_features=4, bias=True)
    """
    built = part(*widths) if is_recipe(part) else part
    if kind is None:
        return built
    fault = kind.fault(built)
    if fault:
        raise TypeError(f"{what}: {fault}.")
    in_dim = getattr(built, "in_dim", None)
    if built is part and in_dim is not None and in_dim != widths[0]:
        raise ValueError(f"{what}: this {type(part).__name__} was built to read vectors {in_dim} wide, the model "
                         f"passes it {widths[0]} numbers; build it with in_dim={widths[0]}, or pass its class.")
    return built


def origin(part: Any) -> str:
    """What something is, for a message: ``"LSTM of torch.nn"``, ``"function"``."""
    name, module = type(part).__name__, type(part).__module__
    return name if module == "builtins" else f"{name} of {'.'.join(module.split('.')[:2])}"


def lacks(part: Any, *names: str) -> list[str]:
    """Those of the attributes that ``part`` does not have."""
    return [name for name in names if not hasattr(part, name)]


class MLP(nn.Sequential):
    """A multilayer perceptron ``in_dim -> hidden... -> out_dim``; the last layer is linear.

    Arguments:
        in_dim, out_dim: widths.
        hidden: widths between; empty for a linear map.
        activation: class of the nonlinearity.
        dropout: probability after each nonlinearity.
        output: whether the last layer is linear (True), or ends with the nonlinearity like the others.
    """

    def __init__(self, in_dim: int, out_dim: int, *, hidden: Sequence[int] = (128,),
                 activation: Callable[[], nn.Module] = nn.ReLU, dropout: float = 0.0, output: bool = True) -> None:
        layers: list[nn.Module] = []
        for width in (*hidden, *(() if output else (out_dim,))):
            layers += [nn.Linear(in_dim, width), activation()] + [nn.Dropout(dropout)] * (dropout > 0)
            in_dim = width
        super().__init__(*layers, *([nn.Linear(in_dim, out_dim)] if output else []))
        self.out_dim = out_dim

    def of(self, *inputs: Tensor) -> Tensor:
        """Of the inputs joined on the last dim, which may differ in their leading dims (:func:`joined_linear`)."""
        first, *rest = self
        if not ragged(inputs) or not isinstance(first, nn.Linear):
            return self(concat(inputs))  # type: ignore[no-any-return]
        x = joined_linear(inputs, first.weight, first.bias)
        for layer in rest:
            x = layer(x)
        return x


class GatedTransition(nn.Module):
    r"""The gated transition of Krishnan et al. (2017), as a network that gives ``(loc, raw scale)``.

    .. math::
        g = \sigma(\mathrm{MLP}_g(u)), \quad r = \mathrm{MLP}_r(u), \quad
        \mathrm{loc} = (1 - g) (W z_{t-1} + b) + g r, \quad \mathrm{raw} = V \mathrm{relu}(r) + c

    where ``u`` is all inputs and its first ``dim`` entries are :math:`z_{t-1}`; :math:`W` starts at the
    identity. Source: Krishnan, Shalit & Sontag (2017), "Structured Inference Networks for Nonlinear State Space
    Models", arXiv:1609.09869, section 5. We differ in that further inputs (skip edges) may stand behind
    :math:`z_{t-1}`, and in dropout.

    Arguments:
        in_dim: width of all inputs.
        dim: width of the latent.
        hidden: width of the two hidden layers.
        dropout: probability on the hidden layers.
    """

    def __init__(self, in_dim: int, dim: int, *, hidden: int = 200, dropout: float = 0.0) -> None:
        super().__init__()
        self.dim = dim
        self.gate = MLP(in_dim, dim, hidden=(hidden,), dropout=dropout)
        self.proposed = MLP(in_dim, dim, hidden=(hidden,), dropout=dropout)
        self.linear, self.scale = nn.Linear(dim, dim), nn.Linear(dim, dim)
        nn.init.eye_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, u: Tensor) -> Tensor:
        proposed = self.proposed(u)
        loc = torch.lerp(self.linear(u[..., : self.dim]), proposed, self.gate(u).sigmoid())
        return torch.cat([loc, self.scale(proposed.relu())], -1)


class Reader(nn.Module):
    """What the networks see of a frame: missing elements (NaN) filled with 0 and, beside them, flags.

    Arguments:
        x_dim: width of a frame.
        missing: whether to append ``x_dim`` flags, 1 where an element is present. Say so when the data set has
            missing elements; without flags a missing element reads as 0.
    """

    def __init__(self, x_dim: int, *, missing: bool = False) -> None:
        super().__init__()
        self.x_dim, self.missing, self.out_dim = x_dim, missing, 2 * x_dim if missing else x_dim

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype != torch.get_default_dtype() and not x.is_floating_point():
            x = x.to(torch.get_default_dtype())
        absent = x.isnan()
        filled = x.masked_fill(absent, 0.0)
        return torch.cat([filled, (~absent).to(x.dtype)], -1) if self.missing else filled

    def extra_repr(self) -> str:
        return f"out_dim={self.out_dim}, missing={self.missing}"


class CodeReader(nn.Module):
    """Embeddings of categorical channels: codes ``(..., C)`` to ``(..., C * dim)``; a missing code (-1) has its own.

    Arguments:
        x_dim: number of channels C.
        classes: number of classes of every channel.
        dim: width of one channel's embedding.
    """

    def __init__(self, x_dim: int, *, classes: int, dim: int = 32) -> None:
        super().__init__()
        self.x_dim, self.classes, self.dim, self.out_dim = x_dim, classes, dim, x_dim * dim
        self.embedding = nn.Embedding(x_dim * (classes + 1), dim)
        self.offset: Tensor
        self.register_buffer("offset", torch.arange(x_dim) * (classes + 1) + 1, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.embedding(x.long() + self.offset).flatten(-2)


class FrameDropout(nn.Module):
    """In training mode each frame ``(..., dim)`` is read as zeros with probability ``p``: as wholly missing.

    It keeps a decoder that reads x_{t-1} from doing without its latent; zeros are what a :class:`~pyro_rvae.Reader`
    makes of a missing frame, its flags too. The other frames are not scaled up. With ``p=1`` the decoder never reads x,
    in evaluation either. Source: Bowman, Vilnis, Vinyals, Dai, Jozefowicz & Bengio (2016), "Generating Sentences from a
    Continuous Space", arXiv:1511.06349, section 3.1, for words.

    Arguments:
        dim: width of a frame as networks read it.
        p: probability, from 0 to 1.
    """

    def __init__(self, dim: int, *, p: float = 0.5) -> None:
        super().__init__()
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"{type(self).__name__}: p must be from 0 to 1, got {p}.")
        self.p = p

    def blank(self, frame: Tensor) -> Tensor:
        """What stands in the place of a frame."""
        return torch.zeros_like(frame)

    def forward(self, frame: Tensor) -> Tensor:
        if self.p == 1.0:
            return self.blank(frame)
        if not self.training or not self.p:
            return frame
        dropped = torch.rand(frame.shape[:-1], device=frame.device).unsqueeze(-1) < self.p
        return torch.where(dropped, self.blank(frame), frame)

    def extra_repr(self) -> str:
        return f"p={self.p}"


class WordDropout(FrameDropout):
    """:class:`FrameDropout` for words: a frame is replaced by one learned vector, the unknown word of Bowman et al."""

    def __init__(self, dim: int, *, p: float = 0.5) -> None:
        super().__init__(dim, p=p)
        self.unknown = nn.Parameter(torch.zeros(dim))

    def blank(self, frame: Tensor) -> Tensor:
        return self.unknown.expand_as(frame)
