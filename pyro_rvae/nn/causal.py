"""Causal maps of sequences: all steps at once, or one step at a time.

Time is dim -2, features are dim -1; any leading dims (particles, sequences) broadcast.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .networks import concat, joined_linear, lacks, origin, ragged
from .unfolding import refuse_frames, unfolding

__all__ = ["GRU", "LSTM", "RNN", "Causal", "linear_scan"]


class Causal(nn.Module):
    """A map ``(u_1..u_T) -> (y_1..y_T)`` in which ``y_t`` depends on ``u_1..u_t`` only.

    A subclass implements :meth:`step`; :meth:`forward` folds it over time, and may be replaced by one fused
    call that gives the same numbers (a test holds the two together).

    Attributes:
        out_dim: width of ``y_t``.
        state_dim: width of the vector that :meth:`begin` turns into a state; needed where a model gives one.
        in_dim: width of ``u_t``, if the part tells it: a model then checks it.
    """

    out_dim: int
    state_dim: int

    @classmethod
    def fault(cls, part: Any) -> str:
        """What keeps ``part`` from serving as a causal part, or an empty string; no base class is asked for."""
        missing = lacks(part, "step", "begin", "out_dim")
        if not missing:
            return ""
        if isinstance(part, Causal):
            return f"{origin(part)} does not set {', '.join(missing)} in its constructor"
        own = f"; pass rv.{type(part).__name__}" if isinstance(part, (nn.LSTM, nn.GRU, nn.RNN)) else ""
        return f"expected a Causal part (LSTM, GRU, RNN or your own subclass), got {origin(part)}{own}"

    def step(self, u: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """One step: ``u (..., in_dim)`` and the state (``None`` at the start) to ``(y (..., out_dim), state)``."""
        raise NotImplementedError

    def step_of(self, inputs: Sequence[Tensor], state: Any = None) -> tuple[Tensor, Any]:
        """:meth:`step` of the inputs joined on the last dim; they may differ in their leading dims."""
        return self.step(concat(inputs), state)

    def begin(self, init: Tensor | None) -> Any:
        """The state that stands for the vector ``init (..., state_dim)``; ``None`` means the zero state."""
        return init

    def forward(self, u: Tensor, init: Tensor | None = None) -> Tensor:
        """All steps: ``u (..., T, in_dim) -> y (..., T, out_dim)``."""
        outputs, state = [], self.begin(init)
        for u_t in u.unbind(-2):
            y, state = self.step(u_t, state)
            outputs.append(y)
        return torch.stack(torch.broadcast_tensors(*outputs), -2)

    def __call__(self, u: Tensor, *args: Any, **kwargs: Any) -> Any:
        """:meth:`forward`; where a sequence is read one frame at a time, a step from where the part stood."""
        reading = unfolding()
        if reading is None or u.shape[-2] != 1:  # a sequence along another axis than time
            return super().__call__(u, *args, **kwargs)
        return reading.fold(self, u, *args, **kwargs)


class _Recurrent(Causal):
    """What RNN, LSTM and GRU share: torch's fused module for all steps, its cell for one."""

    gates: int  # tensors of width h_dim in the state of one layer
    rnn: nn.RNNBase

    def __init__(self, rnn: nn.RNNBase) -> None:
        super().__init__()
        self.rnn = rnn
        self.in_dim, self.out_dim = rnn.input_size, rnn.hidden_size
        self.state_dim = rnn.num_layers * self.gates * rnn.hidden_size

    def cell(self, u: Tensor, state: tuple[Tensor, ...], weights: list[Tensor]) -> tuple[Tensor, ...]:
        """One layer's new state; its first tensor is the output."""
        raise NotImplementedError

    def begin(self, init: Tensor | None) -> list[tuple[Tensor, ...]] | None:
        if init is None:
            return None
        if init.shape[-1] != self.state_dim:
            raise ValueError(f"{type(self).__name__}: init must be {self.state_dim} wide "
                             f"(layers * state tensors * h_dim), got {init.shape[-1]}; see `state_dim`.")
        layers = init.chunk(self.rnn.num_layers, -1)
        return [layer.chunk(self.gates, -1) for layer in layers]

    def step(self, u: Tensor, state: list[tuple[Tensor, ...]] | None = None) -> tuple[Tensor, Any]:
        rnn, lead = self.rnn, u.shape[:-1]
        if state is None:
            zero = u.new_zeros(rnn.hidden_size)
            state = [(zero,) * self.gates] * rnn.num_layers
        if state[0][0].shape[:-1] != lead:
            lead = torch.broadcast_shapes(lead, state[0][0].shape[:-1])
            state = [tuple(s.expand(*lead, -1) for s in layer) for layer in state]
            u = u.expand(*lead, -1)
        flat = len(lead) != 1  # torch's cells take one batch dim
        if flat:
            u = u.reshape(-1, u.shape[-1])
            state = [tuple(s.reshape(-1, s.shape[-1]) for s in layer) for layer in state]
        new, per_layer = [], 4 if rnn.bias else 2
        for layer, old in enumerate(state):
            if layer and rnn.dropout:
                u = nn.functional.dropout(u, rnn.dropout, self.training)
            weights: list[Any] = rnn._flat_weights[layer * per_layer:(layer + 1) * per_layer]
            new.append(self.cell(u, old, weights))
            u = new[-1][0]
        if flat:
            new = [tuple(s.reshape(*lead, -1) for s in layer) for layer in new]
        return new[-1][0], new

    def forward(self, u: Tensor, init: Tensor | None = None) -> Tensor:
        lead = u.shape[:-2]
        if init is None:
            return self.rnn(u.reshape(-1, *u.shape[-2:]))[0].reshape(*lead, u.shape[-2], -1)
        lead = torch.broadcast_shapes(lead, init.shape[:-1])
        u = u.expand(*lead, *u.shape[-2:]).reshape(-1, *u.shape[-2:])
        layers = self.begin(init.expand(*lead, -1).reshape(-1, init.shape[-1])) or []
        state = tuple(torch.stack(tensors).contiguous() for tensors in zip(*layers, strict=True))
        out = self.rnn(u, state if self.gates > 1 else state[0])[0]
        return out.reshape(*lead, *out.shape[-2:])


class LSTM(_Recurrent):
    """Long short-term memory (Hochreiter & Schmidhuber 1997), torch's gates and order (i, f, g, o).

    ``forward(u)`` is one fused call; ``step`` is one cell a layer. ``init`` holds ``h, c`` of each layer.

    Arguments:
        in_dim: width of ``u_t``.
        h_dim: width of the output and of each state tensor.
        layers: stacked layers.
        dropout: on the outputs of every layer but the last, fresh at every step, in training mode only.
    """

    gates = 2

    def __init__(self, in_dim: int, h_dim: int, *, layers: int = 1, dropout: float = 0.0) -> None:
        super().__init__(nn.LSTM(in_dim, h_dim, layers, batch_first=True, dropout=dropout))

    def cell(self, u: Tensor, state: tuple[Tensor, ...], weights: list[Tensor]) -> tuple[Tensor, ...]:
        return torch.lstm_cell(u, state, *weights)

    def step_of(self, inputs: Sequence[Tensor], state: list[tuple[Tensor, ...]] | None = None) -> tuple[Tensor, Any]:
        if self.rnn.num_layers > 1 or not ragged(inputs):
            return super().step_of(inputs, state)
        weights: list[Any] = self.rnn._flat_weights
        w, u, *biases = weights
        # what particles share goes through its columns of w once for all of them
        gates = joined_linear(inputs, w, biases[0] + biases[1] if biases else None)
        h, c = state[0] if state is not None else (gates.new_zeros(self.out_dim),) * 2
        i, f, g, o = (gates + nn.functional.linear(h, u)).chunk(4, -1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        return h, [(h, c)]


class GRU(_Recurrent):
    """Gated recurrent unit (Cho et al. 2014, arXiv:1406.1078), in torch's form (reset gate after the product).

    On a CPU :class:`LSTM` is the faster cell for batches up to about 20; arguments as there.
    """

    gates = 1

    def __init__(self, in_dim: int, h_dim: int, *, layers: int = 1, dropout: float = 0.0) -> None:
        super().__init__(nn.GRU(in_dim, h_dim, layers, batch_first=True, dropout=dropout))

    def cell(self, u: Tensor, state: tuple[Tensor, ...], weights: list[Tensor]) -> tuple[Tensor, ...]:
        return (torch.gru_cell(u, state[0], *weights),)


class RNN(_Recurrent):
    """Elman network ``h_t = s(W u_t + U h_{t-1} + b)``, ``s`` tanh or, with ``relu=True``, the rectifier."""

    gates = 1

    def __init__(self, in_dim: int, h_dim: int, *, layers: int = 1, dropout: float = 0.0,
                 relu: bool = False) -> None:
        super().__init__(nn.RNN(in_dim, h_dim, layers, nonlinearity="relu" if relu else "tanh",
                                batch_first=True, dropout=dropout))
        self._cell = torch.rnn_relu_cell if relu else torch.rnn_tanh_cell

    def cell(self, u: Tensor, state: tuple[Tensor, ...], weights: list[Tensor]) -> tuple[Tensor, ...]:
        return (self._cell(u, state[0], *weights),)


def linear_scan(a: Tensor, b: Tensor, init: Tensor | None = None) -> Tensor:
    """``h_t = a_t * h_{t-1} + b_t`` over dim -2, elementwise, with ``h_0 = init`` (zero if not given).

    Odd-even recursion in about ``2 log2 T`` batched operations; the backward pass is the same scan run in
    reverse. It never passes through logarithms, so ``a`` may have any sign and size.

    Arguments:
        a, b: ``(..., T, d)``, broadcast against each other.
        init: ``(..., d)``.

    Returns ``h (..., T, d)``. Source: Blelloch (1990), "Prefix sums and their applications".

    >>> linear_scan(torch.full((3, 1), 2.0), torch.ones(3, 1)).squeeze(-1)
    tensor([1., 3., 7.])
    """
    refuse_frames("linear_scan runs over a whole path (a subclass of rv.Causal takes a step)")
    if init is not None:
        first = a[..., :1, :] * init.unsqueeze(-2) + b[..., :1, :]
        b = torch.cat([first, b[..., 1:, :].expand(*first.shape[:-2], -1, -1)], -2)
    a, b = torch.broadcast_tensors(a, b)
    return _LinearScan.apply(a, b)  # type: ignore[no-any-return]


class _LinearScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        h = _odd_even(a, b)
        ctx.save_for_backward(a, h)
        return h

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        a, h = ctx.saved_tensors
        # G_t = g_t + a_{t+1} G_{t+1}: the scan itself, reversed. Through `apply`, so it differentiates again.
        later = torch.cat([a[..., 1:, :], torch.zeros_like(a[..., :1, :])], -2)
        total = _LinearScan.apply(later.flip(-2), grads[0].flip(-2)).flip(-2)
        before = torch.cat([torch.zeros_like(h[..., :1, :]), h[..., :-1, :]], -2)
        return total * before, total


def _odd_even(a: Tensor, b: Tensor) -> Tensor:
    """The scan of pairs of steps gives every second value; one more batched operation gives the others."""
    if b.shape[-2] == 1:
        return b.clone()
    pairs = b.shape[-2] // 2
    a_odd, b_odd = a[..., 1::2, :], b[..., 1::2, :]
    odd = _odd_even(a_odd * a[..., : 2 * pairs: 2, :], torch.addcmul(b_odd, a_odd, b[..., : 2 * pairs: 2, :]))
    h = torch.empty_like(b, memory_format=torch.contiguous_format)
    h[..., 0, :], h[..., 1::2, :] = b[..., 0, :], odd
    rest = b[..., 2::2, :]
    h[..., 2::2, :] = torch.addcmul(rest, a[..., 2::2, :], odd[..., : rest.shape[-2], :])
    return h
