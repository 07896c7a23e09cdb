"""The variational mixture of posteriors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from .mixture import check_components

__all__ = ["VampPrior"]

_INSIDE = 0.05  # how far from 0 and 1 a pseudo-input of binary data starts: at the ends a sigmoid has no gradient


class VampPrior(nn.Module):
    r"""``p(z) = sum_k w_k q(z | u_k)``: the model's own posterior at K learned pseudo-inputs.

    A pseudo-input is an item (VAE) or a sequence of ``length`` frames (VRAE), in the space of what the model's networks
    read. So codes need no relaxation of their own: a pseudo-input stands among their embeddings. For binary data it is
    held within 0 and 1 by a sigmoid. ``for_data`` starts it at sequences (or items) of the training data.

    The prior holds no network. A model that has ``q(z | x)`` of one latent hands it over at each call, first among the
    inputs, to a prior that has ``reads_posterior``; so a copy of the model, or loaded weights, never meet the old q.

    Source: Tomczak & Welling (2018), "VAE with a VampPrior", arXiv:1705.07120, equation 9. We differ: a sigmoid where
    they clip (hardtanh), so that every pseudo-input has a gradient; sequences; and weights ``w_k`` that may be learned.

    Arguments:
        in_dim: 0: this prior reads no state and no context.
        dim: ignored: the posterior has its own width.
        width: of a frame as the model's networks read it. The model tells it.
        components: number K of pseudo-inputs.
        length: frames of a pseudo-input, of a model of sequences; no longer than the longest of the data.
        bounded: whether pseudo-inputs are held within 0 and 1. The model tells it of binary data.
        weighted: whether the weights ``w_k`` are learned, instead of 1/K each.

    Raises:
        ValueError: a model that passes a state or a context; zero components or length.
        TypeError: a model that does not hand over its posterior (all but VAE and VRAE), or no ``length`` for sequences.

    >>> rv.VRAE.for_data(data.train, prior=partial(rv.VampPrior, components=50, length=40))  # doctest: +SKIP
    """

    reads_posterior = True

    def __init__(self, in_dim: int, dim: int, *, width: int | None = None, components: int = 50,
                 length: int | None = None, bounded: bool = False, weighted: bool = False) -> None:
        super().__init__()
        check_components("VampPrior", components)
        if length is not None and length < 1:
            raise ValueError(f"VampPrior: length must be at least 1 frame, got {length}.")
        if in_dim:
            raise ValueError(f"VampPrior reads the model's own posterior and nothing else; the model passes {in_dim} "
                             "numbers (a state, or a context). It suits a VAE or a VRAE without context.")
        if width is None:
            raise TypeError("VampPrior needs the model's own q(z | x) of one latent, which this model does not hand "
                            "over: it suits a VAE or a VRAE.")
        self.in_dim, self.dim, self.width, self.components = in_dim, dim, width, components
        self.length, self.bounded, self.weighted = length, bounded, weighted
        self.raw = nn.Parameter(0.5 * torch.randn(components, *(() if length is None else (length,)), width))
        self.logits: Tensor
        if weighted:
            self.logits = nn.Parameter(torch.zeros(components))
        else:
            self.register_buffer("logits", torch.zeros(components), persistent=False)

    @property
    def pseudo_inputs(self) -> Tensor:
        """``(K, width)``, or ``(K, length, width)``, as the model's networks read them."""
        return torch.sigmoid(self.raw) if self.bounded else self.raw

    def forward(self, posterior: Callable[[Tensor], Any] | None = None, *inputs: Any) -> dist.TorchDistribution:
        if isinstance(posterior, Tensor) or not callable(posterior):
            raise TypeError("VampPrior must be called with the model's posterior, a callable from pseudo-inputs to "
                            f"q(z | u), got {type(posterior).__name__}: it suits a VAE or a VRAE.")
        weights = dist.Categorical(logits=self.logits, validate_args=False)
        return dist.MixtureSameFamily(weights, posterior(self.pseudo_inputs), validate_args=False)

    @torch.no_grad()
    def start_from(self, sequences: list[Tensor], read: Callable[[Tensor], Tensor]) -> None:
        """Start at K of ``sequences``, spread evenly over them (an item, or the first ``length`` frames).

        Arguments:
            sequences: items ``(x_dim,)`` or sequences ``(T, x_dim)`` in the model's units.
            read: from those to what the model's networks read.

        Raises:
            ValueError: no sequence has ``length`` frames.
        """
        long = [x for x in sequences if self.length is None or len(x) >= self.length]
        if not long:
            raise ValueError(f"VampPrior: length={self.length}, and the longest sequence has {max(map(len, sequences))}"
                             " frames; give a shorter length.")
        chosen = [long[i] for i in (torch.arange(self.components) * len(long) // self.components).tolist()]
        value = read(torch.stack([x if self.length is None else x[: self.length] for x in chosen])).to(self.raw)
        self.raw.copy_(torch.logit(value.clamp(_INSIDE, 1 - _INSIDE)) if self.bounded else value)

    def extra_repr(self) -> str:
        return f"components={self.components}, length={self.length}, bounded={self.bounded}"
