"""Families, conditionals, and the distributions that Pyro lacks."""

from .autoregressive import AutoregressiveBernoulli, MaskedBernoulli
from .conditional import Combiner, Conditional, GaussianChain, MeanField, ResidualNormal, conditional, mean_of
from .continuous_bernoulli import ContinuousBernoulli
from .convolution import ConvDecoder
from .families import Bernoulli, Categorical, Delta, Family, Normal, Poisson, StudentT, family_for
from .missing import observe_elements
from .regimes import OneHot, RegimePosterior, SwitchingNormal

__all__ = [
    "AutoregressiveBernoulli", "Bernoulli", "Categorical", "Combiner", "Conditional", "ContinuousBernoulli",
    "ConvDecoder", "Delta", "Family", "GaussianChain", "MaskedBernoulli", "MeanField", "Normal", "OneHot", "Poisson",
    "RegimePosterior", "ResidualNormal", "StudentT", "SwitchingNormal", "conditional", "family_for", "mean_of",
    "observe_elements",
]
