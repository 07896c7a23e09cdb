"""Families, conditionals, and the distributions that Pyro lacks."""

from .autoregressive import AutoregressiveBernoulli, MaskedBernoulli
from .conditional import Combiner, Conditional, GaussianChain, conditional
from .families import Bernoulli, Categorical, Family, Normal, Poisson, StudentT, family_for
from .missing import observe_elements

__all__ = [
    "AutoregressiveBernoulli", "Bernoulli", "Categorical", "Combiner", "Conditional", "Family", "GaussianChain",
    "MaskedBernoulli", "Normal", "Poisson", "StudentT", "conditional", "family_for", "observe_elements",
]
