"""Laws at a temperature: sharper below 1, flatter above."""

from __future__ import annotations

from functools import singledispatch
from typing import Any, Self

import pyro.distributions as dist
import torch
import torch.distributions as td
from torch import Tensor

from .audio import LevelMixture
from .autoregressive import MaskedBernoulli
from .strokes import StrokeMixture

__all__ = ["CountsAtTemperature", "tempered"]

WIDTH = 12.0  # standard deviations (and tail lengths) on either side of the mean among which a count is drawn
AT_ONCE = 2**22  # numbers of a block of candidates


@singledispatch
def tempered(fn: Any, temperature: float) -> Any:
    r"""The law to draw from at a temperature :math:`\tau`; 1 leaves it as it is, towards 0 it is a point.

    - Bernoulli, categorical and one-hot laws, and the continuous Bernoulli: logits divided by it. A frame whose
      elements are drawn one after the other (AutoregressiveBernoulli, NADE): so at each element.
    - Poisson, negative binomial: :math:`p(k)^{1/\tau}`, normalised.
    - Normal, Laplace, StudentT, Cauchy: the scale times it. MultivariateNormal, low rank: the covariance times its
      square. Laws that are sent from one of those (flows, log-normal): their noise times it.
    - Mixtures (of Gaussians, of discretised logistics, zero-inflated): logits of the weights divided by it, and each
      component at the temperature. Pen strokes: so too, but scales times :math:`\sqrt\tau`.
    - Beta: both concentrations divided by its square, which keeps the mean and, where they are large, multiplies the
      standard deviation by it.
    - A point mass stays one.

    So the limit of 0 is the mode (of a mixture that of its likeliest component; of a Beta, or of what a transform
    sends from a Gaussian, the mean, or where the Gaussian's goes).

    Arguments:
        fn: a distribution.
        temperature: a positive number.

    Raises:
        ValueError: a law of which none of this can be said. Register a function for one of your own:
            ``rv.distributions.tempered.register(MyLaw)(function)``, from ``(fn, temperature)`` to the law to draw from.

    Sources: logits as in every language model (Ackley, Hinton & Sejnowski 1985, "A Learning Algorithm for Boltzmann
    Machines"); a Gaussian's scale as in Kingma & Dhariwal (2018), "Glow", arXiv:1807.03039, and Vahdat & Kautz (2020),
    "NVAE", arXiv:2007.03898; pen strokes as in Ha & Eck (2017), arXiv:1704.03477. (The power 1/tau of a Gaussian
    density has sqrt(tau) times the scale: the literature of drawings reads it so, that of flows does not.)

    >>> tempered(dist.Normal(0.0, 2.0), 0.5).scale  # doctest: +SKIP
    tensor(1.)
    """
    if hasattr(fn, "from_noise"):
        return _ScaledNoise(fn, temperature)
    raise ValueError(f"no temperature is known for {type(fn).__name__}: draw its site at temperature 1 (name others, "
                     "temperature={'x': ...}), or register what it is at one, "
                     f"rv.distributions.tempered.register({type(fn).__name__})(function).")


# ------------------------------------------------------------------------------------------------ logits
@tempered.register(td.Categorical)
@tempered.register(td.OneHotCategorical)
def _categorical(fn: Any, temperature: float) -> Any:
    logits = fn.logits - fn.logits.amax(-1, keepdim=True)  # so that what overflows is minus infinity
    return type(fn)(logits=logits / temperature, validate_args=False)


@tempered.register(td.Bernoulli)
@tempered.register(td.ContinuousBernoulli)
def _bernoulli(fn: Any, temperature: float) -> Any:
    return type(fn)(logits=fn.logits / temperature, validate_args=False)


@tempered.register(MaskedBernoulli)
def _elements(fn: MaskedBernoulli, temperature: float) -> MaskedBernoulli:
    return MaskedBernoulli(fn.family, fn.params, fn.temperature * temperature)


# ------------------------------------------------------------------------------------------------ scales
@tempered.register(td.Normal)
@tempered.register(td.Laplace)
@tempered.register(td.Cauchy)
def _location_scale(fn: Any, temperature: float) -> Any:
    return type(fn)(fn.loc, fn.scale * temperature, validate_args=False)


@tempered.register(td.StudentT)
def _student(fn: Any, temperature: float) -> Any:
    return type(fn)(fn.df, fn.loc, fn.scale * temperature, validate_args=False)


@tempered.register(td.MultivariateNormal)
def _gaussian(fn: Any, temperature: float) -> Any:
    return type(fn)(fn.loc, scale_tril=fn.scale_tril * temperature, validate_args=False)


@tempered.register(td.LowRankMultivariateNormal)
def _low_rank(fn: Any, temperature: float) -> Any:
    return type(fn)(fn.loc, fn.cov_factor * temperature, fn.cov_diag * temperature**2, validate_args=False)


@tempered.register(td.Beta)
def _beta(fn: Any, temperature: float) -> Any:
    return type(fn)(fn.concentration1 / temperature**2, fn.concentration0 / temperature**2, validate_args=False)


# ------------------------------------------------------------------------------------------------ mixtures
@tempered.register(td.MixtureSameFamily)
def _mixture(fn: Any, temperature: float) -> Any:
    return dist.MixtureSameFamily(tempered(fn.mixture_distribution, temperature),
                                  tempered(fn.component_distribution, temperature), validate_args=False)


@tempered.register(LevelMixture)
def _levels(fn: LevelMixture, temperature: float) -> LevelMixture:
    return LevelMixture(_sharper(fn.logits, temperature), fn.loc, fn.scale * temperature, fn.levels)


@tempered.register(StrokeMixture)
def _strokes(fn: StrokeMixture, temperature: float) -> StrokeMixture:
    return StrokeMixture(_sharper(fn.logits, temperature), fn.loc, fn.scale * temperature**0.5, fn.correlation,
                         fn.pen / temperature, fn.present)


def _sharper(logits: Tensor, temperature: float) -> Tensor:
    return (logits - logits.amax(-1, keepdim=True)) / temperature


@tempered.register(dist.ZeroInflatedDistribution)
def _zero_inflated(fn: Any, temperature: float) -> Any:
    return dist.ZeroInflatedDistribution(tempered(fn.base_dist, temperature),
                                         gate_logits=fn.gate_logits / temperature, validate_args=False)


# ------------------------------------------------------------------------------------------------ laws around a law
@tempered.register(td.Independent)
def _independent(fn: Any, temperature: float) -> Any:
    return dist.Independent(tempered(fn.base_dist, temperature), fn.reinterpreted_batch_ndims, validate_args=False)


@tempered.register(dist.MaskedDistribution)
def _masked(fn: Any, temperature: float) -> Any:
    return tempered(fn.base_dist, temperature).mask(fn._mask)


@tempered.register(td.TransformedDistribution)
def _transformed(fn: Any, temperature: float) -> Any:
    return dist.TransformedDistribution(tempered(fn.base_dist, temperature), fn.transforms, validate_args=False)


@tempered.register(dist.Delta)
def _point(fn: Any, temperature: float) -> Any:
    return fn


class _ScaledNoise(dist.TorchDistribution):
    """A law that is drawn ``from_noise``, its noise made smaller or larger."""

    arg_constraints: dict[str, Any] = {}
    support = dist.constraints.real_vector
    has_rsample = True

    def __init__(self, base: Any, temperature: float) -> None:
        self.base, self.temperature = base, temperature
        super().__init__(base.batch_shape, base.event_shape, validate_args=False)

    def expand(self, batch_shape: torch.Size, _instance: Any = None) -> _ScaledNoise:
        return _ScaledNoise(self.base.expand(batch_shape), self.temperature)

    def from_noise(self, noise: Tensor) -> Tensor:
        return self.base.from_noise(self.temperature * noise)  # type: ignore[no-any-return]

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        like = next(value for value in vars(self.base).values() if isinstance(value, Tensor))
        return self.from_noise(torch.randn(self._extended_shape(sample_shape), dtype=like.dtype, device=like.device))


# ------------------------------------------------------------------------------------------------ counts
class CountsAtTemperature(dist.TorchDistribution):
    r"""``p(k)^(1/tau)``, normalised, of a law of counts with a mean and a variance (a Conway-Maxwell-Poisson law, of a
    Poisson). It is for drawing: by the Gumbel-max trick among all counts near the mean.

    What lies more than 12 standard deviations and 12 times the variance over the mean away from the mean (times tau,
    above 1) is never drawn.
    """

    arg_constraints: dict[str, Any] = {}
    support = dist.constraints.nonnegative_integer

    def __init__(self, base: Any, temperature: float) -> None:
        self.base, self.temperature = base, temperature
        super().__init__(base.batch_shape, validate_args=False)

    def expand(self, batch_shape: torch.Size, _instance: Any = None) -> Self:
        return type(self)(self.base.expand(batch_shape), self.temperature)

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:
        law = self.base.expand(self._extended_shape(sample_shape))
        reach = WIDTH * (law.stddev + law.variance / law.mean) * max(1.0, self.temperature) + WIDTH
        low = (law.mean - reach).floor().clamp_min(0.0)
        candidates = int((law.mean + reach - low).max()) + 1
        best, drawn = torch.full_like(low, -torch.inf), low
        offsets = torch.arange(candidates, dtype=low.dtype, device=low.device)
        for behind in offsets.split(max(1, AT_ONCE // max(1, low.numel()))):
            k = low + behind.view(-1, *[1] * low.dim())
            score, which = (law.log_prob(k) / self.temperature - torch.empty_like(k).exponential_().log()).max(0)
            drawn = torch.where(score > best, k.gather(0, which.unsqueeze(0)).squeeze(0), drawn)
            best = torch.maximum(score, best)
        return drawn


tempered.register(td.Poisson, CountsAtTemperature)
tempered.register(td.NegativeBinomial, CountsAtTemperature)
