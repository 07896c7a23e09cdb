"""Families, conditionals, and the distributions that Pyro lacks."""

from .audio import DiscretizedLogistics, LevelMixture, LevelReader
from .autoregressive import AutoregressiveBernoulli, MaskedBernoulli
from .conditional import Combiner, Conditional, GaussianChain, MeanField, conditional
from .conditioned import complete, draw_missing
from .continuous_bernoulli import ContinuousBernoulli
from .convolution import ConvDecoder
from .counts import ExactNegativeBinomial, NegativeBinomial, ZeroInflated
from .families import Bernoulli, Categorical, Delta, Family, Normal, Poisson, StudentT, family_for
from .fit import LIKELIHOODS, check_fit, family_class, kinds_of, likelihood_table, reader_with_flags
from .flows import FlowNormal, InverseAutoregressive
from .gaussians import FullGaussian, FullNormal, LowRankGaussian, LowRankNormal
from .missing import observe_elements
from .nade import NADE, PreviousNADE
from .paths import DenseGaussian, FullGaussianChain, PathLaw
from .real import Beta, Laplace, OpenBeta
from .regimes import OneHot, RegimePosterior, SwitchingNormal
from .residual import ResidualNormal, mean_of
from .strokes import PenStrokes, StrokeMixture
from .temperature import tempered

__all__ = [
    "LIKELIHOODS", "NADE", "AutoregressiveBernoulli", "Bernoulli", "Beta", "Categorical", "Combiner",
    "Conditional", "ContinuousBernoulli", "ConvDecoder", "Delta", "DenseGaussian", "DiscretizedLogistics",
    "ExactNegativeBinomial", "Family", "FlowNormal", "FullGaussian", "FullGaussianChain", "FullNormal",
    "GaussianChain", "InverseAutoregressive", "Laplace", "LevelMixture", "LevelReader", "LowRankGaussian",
    "LowRankNormal", "MaskedBernoulli", "MeanField", "NegativeBinomial", "Normal", "OneHot", "OpenBeta",
    "PathLaw", "PenStrokes", "Poisson", "PreviousNADE", "RegimePosterior", "ResidualNormal", "StrokeMixture",
    "StudentT", "SwitchingNormal", "ZeroInflated", "check_fit", "complete", "conditional", "draw_missing",
    "family_class", "family_for", "kinds_of", "likelihood_table", "mean_of", "observe_elements", "reader_with_flags",
    "tempered",
]
