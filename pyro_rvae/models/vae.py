"""The variational autoencoder of static data."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import pyro
from torch import Tensor, nn

from ..core import SequenceVAE, Steps
from ..distributions import Bernoulli, Conditional, Delta, Family, Normal, conditional
from ..nn import MLP, Causal, Encoder, Pointwise, Transposed, build, concat
from ..nn.networks import lacks, origin
from ..priors import StandardNormal
from .parts import check_widths, given_at_each_step, posterior_for, reader_for, told, without_previous

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
    r"""z ~ N(0, I);  x ~ p(x | z);  q(z | x). Static: x is (B, x_dim), without time.

    Source: Kingma & Welling (2014), "Auto-Encoding Variational Bayes", arXiv:1312.6114, appendix C. With
    ``prior=rv.Weightless, posterior=rv.Delta`` it is an autoencoder, stacked as deep as ``hidden`` is long
    (``rv.AE``); with ``encoder=rv.ConvEncoder, likelihood=rv.ConvDecoder`` it reads images, ``images.flatten(1)``.

    Tied, the decoder is the encoder transposed (:class:`~pyro_rvae.nn.Transposed`): of the encoder's layers
    :math:`h_i = s(W_i h_{i-1} + b_i)`, i < L, and the code :math:`z = W_L h_{L-1} + b_L` (the mean, of a Normal
    posterior), it is :math:`g_{i-1} = s(W_i^\top g_i + c_i)` from :math:`g_L = z` down to the likelihood's raw
    parameters :math:`W_1^\top g_1 + c_1`, with one storage of the W and its own c.

    Arguments:
        x_dim: width of an item.
        z_dim: width of the latent.
        h_dim: width of the hidden layers.
        prior, likelihood, posterior: a whole conditional, a class built with ``(in_dim, dim)``, or a Family. A prior
            with ``reads_posterior`` (``rv.VampPrior``) is called with q(z | .) first.
        encoder: module from an item as networks read it to ``(B, out_dim)`` features, with ``out_dim``, or its class
            built with ``(in_dim, h_dim)``; default: an MLP.
        reader: part through which networks read x.
        hidden: widths of the encoder's hidden layers, the decoder's being the same backwards (default: two of
            ``h_dim``). Of an encoder or likelihood of your own they say nothing.
        tied: whether the decoder's weights are the encoder's. It needs an MLP as encoder, one linear layer as
            posterior (Delta or Normal), a likelihood of one raw parameter an element, and neither context nor flags of
            missing elements.
        context: what the model is given at each step (:class:`~pyro_rvae.nn.Context`): controls, labels.
        dropout: on the hidden layers of the likelihood.

    Errors: ValueError or TypeError for parts that don't fit together; a tied model says what it needs.
    """

    static = True

    def __init__(self, x_dim: int, z_dim: int = 16, h_dim: int = 128, *, prior: Any = StandardNormal,
                 likelihood: Any = Bernoulli, posterior: Any = Normal, encoder: Any = None, reader: Any = None,
                 hidden: Sequence[int] | None = None, tied: bool = False, context: Any = None,
                 dropout: float = 0.0) -> None:
        check_widths(self, x_dim=x_dim, z_dim=z_dim, h_dim=h_dim)
        super().__init__()
        self.x_dim, self.z_dim, self.h_dim = x_dim, z_dim, h_dim
        hidden = tuple(hidden) if hidden is not None else (h_dim, h_dim)
        if not hidden:
            raise ValueError(f"{type(self).__name__}: hidden must name the width of one hidden layer at least, got ().")
        self.reader = reader_for(reader, likelihood, x_dim)
        self.context, given = given_at_each_step(context)
        self.prior = conditional(told(self, prior, likelihood), given, z_dim)
        if not tied:
            self.likelihood = conditional(likelihood, z_dim + given, x_dim, hidden=hidden[::-1], dropout=dropout)
        width = h_dim if encoder is not None else hidden[-1]
        encoder = partial(MLP, hidden=hidden[:-1], output=False) if encoder is None else encoder
        self.encoder = build(encoder, self.reader.out_dim + given, width, kind=_ItemEncoder, what="encoder")
        posterior = without_previous(self, "posterior", posterior, "the encoder's features", once=True)
        self.posterior = conditional(posterior, self.encoder.out_dim, z_dim, hidden=())
        if tied:
            self.likelihood = _transposed(self, likelihood, dropout)

    def generative(self, steps: Steps) -> None:
        z = pyro.sample("z", self.prior(*posterior_for(self.prior, self.encoded), *steps.context))
        steps.observe("x", self.likelihood, z, *steps.context)

    def inference(self, steps: Steps, x: Tensor) -> None:
        pyro.sample("z", self.encoded(x, *steps.context))

    def encoded(self, x: Tensor, *context: Tensor) -> Any:
        """q(z | x), of items as networks read them."""
        return self.posterior(self.encoder(concat([x, *context])))


def _transposed(model: VAE, likelihood: Any, dropout: float) -> Conditional:
    """The likelihood whose network is the encoder and the posterior's linear layer, run backwards."""
    family, posterior = _family(likelihood, model.x_dim), model.posterior
    law = getattr(posterior, "family", posterior)
    linears = [part for part in getattr(posterior, "net", nn.Module()).modules() if isinstance(part, nn.Linear)]
    for good, needed, got in (
        (model.context is None, "no context", "one"),
        (isinstance(model.encoder, MLP), "an rv.MLP as encoder", type(model.encoder).__name__),
        (isinstance(law, Delta | Normal) and len(linears) == 1, "a posterior rv.Delta or rv.Normal of one linear layer",
         f"{type(law).__name__} of {len(linears)}"),
        (family is not None and family.num_params == family.dim == model.x_dim,
         f"a likelihood that is a Family of {model.x_dim} raw parameters (rv.Bernoulli, partial(rv.Normal, scale=1.0))",
         likelihood if family is None else f"{type(family).__name__} of {family.num_params}"),
        (model.reader.out_dim == model.x_dim, f"a reader {model.x_dim} wide", model.reader.out_dim),
    ):
        if not good:
            raise ValueError(f"VAE(tied=True) needs {needed}, got {got}; with tied=False it takes other parts.")
    assert family is not None  # as checked
    return Conditional(Transposed([*model.encoder, *linears], dim=model.z_dim, dropout=dropout), family)


def _family(likelihood: Any, dim: int) -> Family | None:
    """A Family, as given or as its class builds it; None if it is no such thing."""
    source = likelihood
    while isinstance(source, partial):
        source = source.func
    if isinstance(source, type) and issubclass(source, Family):
        return likelihood(dim)  # type: ignore[no-any-return]
    return likelihood if isinstance(likelihood, Family) else None
