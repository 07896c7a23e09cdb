"""Named constructors: a model's class with some of its parts chosen. What they build is of that class."""

from __future__ import annotations

from functools import partial
from typing import Any, Self

from ..core import SequenceVAE
from ..distributions import ConvDecoder, Delta
from ..nn import Bidirectional, ConvEncoder, WordDropout
from ..priors import Weightless
from .rvae import RVAE
from .vae import VAE
from .vrae import VRAE

__all__ = ["AE", "BRAE", "RAE", "ConvVAE", "StepRAE", "TextVAE", "constructor"]


class constructor(partial):  # type: ignore[type-arg]
    """A model's class with some of its parts chosen: called, and built for data, like the class itself.

    Arguments:
        name: what it is called, which must be the variable that holds it.
        doc: its documentation.
        model: the class.
        parts: arguments of the class; a caller may still give others.

    >>> type(RAE(5, z_dim=2)).__name__
    'VRAE'
    >>> RAE
    RAE: VRAE(prior=Weightless, posterior=Delta)
    """

    func: type[SequenceVAE]
    __name__: str

    def __new__(cls, name: str, doc: str, model: type[SequenceVAE], /, **parts: Any) -> Self:
        made = super().__new__(cls, model, **parts)
        made.__name__, made.__doc__ = name, doc
        return made

    @property
    def static(self) -> bool:
        return self.func.static

    def for_data(self, data: Any, **parts: Any) -> SequenceVAE:
        """The model for a data set: :meth:`SequenceVAE.for_data` with these parts."""
        return self.func.for_data(data, **{**self.keywords, **parts})

    def __reduce__(self) -> str:  # type: ignore[override]
        return self.__name__

    def __repr__(self) -> str:
        parts = (f"{name}={getattr(part, '__name__', part)}" for name, part in self.keywords.items())
        return f"{self.__name__}: {self.func.__name__}({', '.join(parts)})"


_POINT: dict[str, Any] = {"prior": Weightless, "posterior": Delta}

AE = constructor("AE", """Autoencoder of static data: a code without a density.

    Its cost is that of reconstruction, and no bound. Stacked: ``hidden=(512, 128, 32)``. Tied weights: ``tied=True``.
    Source: Hinton & Salakhutdinov (2006), "Reducing the Dimensionality of Data with Neural Networks", Science 313.
    """, VAE, **_POINT)

ConvVAE = constructor("ConvVAE", """Convolutional VAE of images, flat (``images.flatten(1)``), 28x28 by default.

    Other shapes: ``encoder=partial(rv.ConvEncoder, shape=...), likelihood=partial(rv.ConvDecoder, shape=...)``. Grey
    levels: ``likelihood=partial(rv.ConvDecoder, family=rv.ContinuousBernoulli)``. Without a density:
    ``prior=rv.Weightless, posterior=rv.Delta``.
    Source: Kingma & Welling (2014), arXiv:1312.6114; two strided convolutions and back, as is usual since.
    """, VAE, encoder=ConvEncoder, likelihood=ConvDecoder)

RAE = constructor("RAE", """Recurrent autoencoder: one code a sequence, RNN, LSTM or GRU by ``recurrence`` and encoder.

    Mean squared error is ``likelihood=partial(rv.Normal, scale=1.0)``. The decoder reads x_{t-1};
    ``feedback=partial(rv.WordDropout, p=1.0)`` leaves the code alone to it.
    Source: Srivastava, Mansimov & Salakhutdinov (2015), arXiv:1502.04681.
    """, VRAE, **_POINT)

BRAE = constructor("BRAE", """Recurrent autoencoder with a bidirectional encoder: one code a sequence.

    Source: Schuster & Paliwal (1997), "Bidirectional Recurrent Neural Networks", for the encoder; else as ``RAE``.
    """, VRAE, **_POINT, encoder=Bidirectional)

StepRAE = constructor("StepRAE", """Recurrent autoencoder with a code at each step, from a bidirectional encoder.

    The code has as many steps as the sequence, so ``z_dim`` is what compresses.
    """, RVAE, **_POINT)

TextVAE = constructor("TextVAE", """Sequence VAE for text: embedded codes, and word dropout on what the decoder reads.

    Source: Bowman, Vilnis, Vinyals, Dai, Jozefowicz & Bengio (2016), "Generating Sentences from a Continuous Space",
    arXiv:1511.06349. Text comes from ``rv.data.Vocabulary``, whose end symbol closes each sequence; train with
    ``kl_weight`` rising from 0 as they do.
    """, VRAE, feedback=partial(WordDropout, p=0.5))
