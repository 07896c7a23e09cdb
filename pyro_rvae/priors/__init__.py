"""Priors: callables from a model's inputs to a distribution. A part that needs nothing ignores what it is given.

Which prior fits which model (``prior=...``, or the argument that is named). What does not fit is refused when the model
is built, by an error that says what does. A test builds each pair.

| prior | A | B | C | D | E |
|---|---|---|---|---|---|
| `StandardNormal` | yes | yes | yes | yes |  |
| `Weightless` | yes | yes | yes | yes |  |
| `Normal` | yes | yes | yes | yes |  |
| `Laplace` | yes | yes | yes | yes |  |
| `StudentT` | yes | yes | yes | yes |  |
| `MixtureOfGaussians` | yes | yes | yes | yes |  |
| `FlowPrior` | yes | yes | yes | yes |  |
| `VampPrior` | yes |  |  |  |  |
| `AR1` |  |  |  | yes |  |
| `GatedNormal` |  |  |  | yes |  |
| `GaussianProcess` |  |  | yes | yes |  |
| `LinearGaussian` |  |  | yes | yes |  |

- A: `VAE`, `VRAE`
- B: `MusicVAE`, `DSAE prior_v`, `VariationalAttention prior_v`, `SwitchingLDS transition`
- C: `RVAE`, `STORN`, `ARAE`, `VRNN`, `DSAE`, `HRAE`, `ZForcing`, `VariationalAttention`
- D: `DMM transition`, `SRNN transition`
- E: `SwitchingLDS`, `NeuralHMM`

A draws one latent a sequence (or item) and hands its posterior on; B draws one a sequence, or passes ``z_{t-1}`` behind
a regime; C draws a latent a step, given a state or nothing; D passes ``z_{t-1}`` first; the latents of E are regimes,
and take :class:`~pyro_rvae.distributions.OneHot`. Normal, Laplace and StudentT are families: a learned law in a model
that passes nothing, a network of the state in one that passes it; so are MixtureOfGaussians and FlowPrior. An SRNN
takes a prior without a mean at one step (FlowPrior, and the two laws of paths) with ``posterior=rv.Normal``. What is
drawn once a data set (BayesianLinear, GammaNoise) is declared in a model's ``shared``.
"""

from .ar1 import AR1
from .flow import AffineCoupling, FlowPrior, Spline
from .mixture import GaussianMixture, MixtureOfGaussians
from .process import GaussianProcess, LinearGaussian
from .shared import BayesianLinear, GammaNoise
from .standard import StandardNormal, Weightless
from .vamp import VampPrior

__all__ = [
    "AR1", "AffineCoupling", "BayesianLinear", "FlowPrior", "GammaNoise", "GaussianMixture", "GaussianProcess",
    "LinearGaussian", "MixtureOfGaussians", "Spline", "StandardNormal", "VampPrior", "Weightless",
]
