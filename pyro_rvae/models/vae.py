"""The variational autoencoder of static data."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import pyro
from torch import Tensor

from ..core import SequenceVAE, Steps
from ..distributions import Bernoulli, Normal, conditional
from ..nn import MLP, Causal, Encoder, Pointwise, build
from ..nn.networks import lacks, origin
from ..priors import StandardNormal
from .parts import check_widths, reader_for, without_previous

__all__ = ["VAE"]


class _ItemEncoder:
    """What encodes items without time."""

    @classmethod
    def fault(cls, part: Any) -> str:
        """What keeps ``part`` from serving here, or an empty string."""
        over_time = isinstance(part, Causal) or (isinstance(part, Encoder) and not isinstance(part, Pointwise))
        if callable(part) and not lacks(part, "out_dim") and not over_time:
            return ""
        return ("an Encoder of items is needed: a module from an item to its features, with out_dim (rv.MLP, or your "
                f"own), got {origin(part)}" + ", which reads sequences" * over_time)


class VAE(SequenceVAE):
    """z ~ N(0, I);  x ~ p(x | z);  q(z | x). Static: x is (B, x_dim), without time.

    Source: Kingma & Welling (2014), "Auto-Encoding Variational Bayes", arXiv:1312.6114, appendix C.

    Arguments:
        x_dim: width of an item.
        z_dim: width of the latent.
        h_dim: width of the hidden layers.
        prior, likelihood, posterior: a whole conditional, a class built with ``(in_dim, dim)``, or a Family.
        encoder: module from an item as networks read it to ``(B, out_dim)`` features, with ``out_dim``, or its class
            built with ``(in_dim, h_dim)``; default: an MLP.
        reader: part through which networks read x.
        hidden: widths of the hidden layers of encoder and decoder (default: two of ``h_dim``).
        dropout: on the hidden layers of the likelihood.
    """

    static = True

    def __init__(self, x_dim: int, z_dim: int = 16, h_dim: int = 128, *, prior: Any = StandardNormal,
                 likelihood: Any = Bernoulli, posterior: Any = Normal, encoder: Any = None, reader: Any = None,
                 hidden: Sequence[int] | None = None, dropout: float = 0.0) -> None:
        check_widths(self, x_dim=x_dim, z_dim=z_dim, h_dim=h_dim)
        super().__init__()
        self.x_dim, self.z_dim, self.h_dim = x_dim, z_dim, h_dim
        hidden = tuple(hidden) if hidden is not None else (h_dim, h_dim)
        self.reader = reader_for(reader, likelihood, x_dim)
        self.prior = conditional(without_previous(self, "prior", prior, "nothing"), 0, z_dim)
        self.likelihood = conditional(likelihood, z_dim, x_dim, hidden=hidden[::-1], dropout=dropout)
        encoder = partial(MLP, hidden=hidden[:-1], output=False) if encoder is None else encoder
        self.encoder = build(encoder, self.reader.out_dim, h_dim, kind=_ItemEncoder, what="encoder")
        posterior = without_previous(self, "posterior", posterior, "the encoder's features")
        self.posterior = conditional(posterior, self.encoder.out_dim, z_dim, hidden=())

    def generative(self, steps: Steps) -> None:
        z = pyro.sample("z", self.prior())
        steps.observe("x", self.likelihood, z)

    def inference(self, steps: Steps, x: Tensor) -> None:
        pyro.sample("z", self.posterior(self.encoder(x)))
