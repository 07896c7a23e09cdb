"""The variational autoencoder of static data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyro
from torch import Tensor

from ..core import SequenceVAE, Steps
from ..distributions import Bernoulli, Normal, conditional
from ..nn import MLP
from ..priors import StandardNormal
from .parts import reader_for

__all__ = ["VAE"]


class VAE(SequenceVAE):
    """z ~ N(0, I);  x ~ p(x | z);  q(z | x). Static: x is (B, x_dim), without time.

    Source: Kingma & Welling (2014), "Auto-Encoding Variational Bayes", arXiv:1312.6114, appendix C.

    Arguments:
        x_dim: width of an item.
        z_dim: width of the latent.
        h_dim: width of the hidden layers.
        prior, likelihood, posterior: a whole conditional, a class built with ``(in_dim, dim)``, or a Family.
        encoder: module from an item as networks read it to ``(B, out_dim)`` features, with ``out_dim``.
        reader: part through which networks read x.
        hidden: widths of the hidden layers of encoder and decoder (default: two of ``h_dim``).
        dropout: on the hidden layers of the likelihood.
    """

    static = True

    def __init__(self, x_dim: int, z_dim: int = 16, h_dim: int = 128, *, prior: Any = StandardNormal,
                 likelihood: Any = Bernoulli, posterior: Any = Normal, encoder: Any = None, reader: Any = None,
                 hidden: Sequence[int] | None = None, dropout: float = 0.0) -> None:
        super().__init__()
        self.x_dim, self.z_dim, self.h_dim = x_dim, z_dim, h_dim
        hidden = tuple(hidden) if hidden is not None else (h_dim, h_dim)
        self.reader = reader_for(reader, likelihood, x_dim)
        self.prior = conditional(prior, 0, z_dim)
        self.likelihood = conditional(likelihood, z_dim, x_dim, hidden=hidden[::-1], dropout=dropout)
        self.encoder = encoder or MLP(self.reader.out_dim, h_dim, hidden=hidden[:-1], output=False)
        self.posterior = conditional(posterior, self.encoder.out_dim, z_dim, hidden=())

    def generative(self, steps: Steps) -> None:
        z = pyro.sample("z", self.prior())
        steps.observe("x", self.likelihood, z)

    def inference(self, steps: Steps, x: Tensor) -> None:
        pyro.sample("z", self.posterior(self.encoder(x)))
