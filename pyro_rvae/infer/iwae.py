"""The importance-weighted bound with many particles, and gradients along the paths of the draws alone."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyro.poutine as poutine
import torch
from pyro.distributions.util import scale_and_mask
from pyro.poutine import Trace
from torch import Tensor

from ..core.contexts import forked
from ..core.handlers import trust
from ..core.traces import in_batch, sites
from .elbo import is_drawn_with_gradient
from .objective import Objective, Pair, Program
from .rng import get_states, set_states

__all__ = ["IWAE", "PathDerivative"]


class _Pathwise(Objective):
    r"""Gradients that leave out the score of the guide's density.

    With draws :math:`z_k(\phi)` and log-weights :math:`\log w_k = \log p_\theta(x, z_k) - \log q_\phi(z_k \mid x)`,

    .. math::
        \theta: \; \sum_k a_k \nabla_\theta \log p_\theta(x, z_k), \qquad
        \phi: \; \sum_k c_k \frac{\partial \log w_k}{\partial z_k} \frac{d z_k}{d \phi}

    The derivative by z is taken at leaves that hold the values, in a second run of the guide, so that it is right for
    guides whose laws depend on earlier draws, and for parameters that guide and model share.
    """

    def path_loss(self, model: Program, guide: Program, args: Any, kwargs: Any) -> Tensor:
        states = get_states(_device())
        drawn = self.trace(guide, args, kwargs)
        leaves = _leaves(drawn)
        with _again(states):
            beside = self.trace(poutine.replay(guide, trace=leaves), args, kwargs)
        pair = Pair(beside, self.trace(poutine.replay(model, trace=leaves), args, kwargs))
        first = Pair(drawn, pair.program)
        if trust() is None:
            pair.check(type(self).__name__)
            pair.refuse_scores(type(self).__name__)
            _check_same(type(self).__name__, first.log_q, pair.log_q)
        log_w = pair.log_p - pair.log_q
        value = -(self.bound(log_w).sum() + pair.shared_p - first.shared_q - first.auxiliary)
        if not torch.is_grad_enabled():
            return value
        return value.detach() + _without_value(self._surrogate(first, pair, log_w))

    def bound(self, log_w: Tensor) -> Tensor:
        """``(B,)`` of log-weights ``(K, B)``."""
        raise NotImplementedError

    def coefficients(self, log_w: Tensor, weight: Any) -> tuple[Tensor, Tensor]:
        """a and c / a, each ``(K, B)``, of log-weights without a graph; ``weight`` is the KL weight."""
        raise NotImplementedError

    def _surrogate(self, first: Pair, pair: Pair, log_w: Tensor) -> Tensor:
        """What has the gradient of the class's docstring, as a loss."""
        a, ratio = self.coefficients(log_w.detach(), _kl_weight(type(self).__name__, pair))
        total = (a * pair.log_p).sum() + pair.shared_p
        names = [name for name, site in pair.latents.items() if site["value"].requires_grad]
        values = [pair.drawn.nodes[name]["value"] for name in names]
        slopes = torch.autograd.grad((a * log_w).sum() + pair.shared_p, values, retain_graph=True, allow_unused=True) \
            if values else ()
        for name, slope in zip(names, slopes, strict=True):
            site = first.drawn.nodes[name]
            if slope is not None and site["value"].requires_grad:
                total = total + (_scaled(slope, site, ratio) * site["value"]).sum()
        return -(total - first.shared_q - first.auxiliary)


class PathDerivative(_Pathwise):
    r"""The ELBO with the path-derivative gradient ("sticking the landing").

    .. math::
        \nabla_\phi = \frac1K \sum_k \frac{\partial}{\partial z} \big[ \log p(x, z) - \log q_\phi(z \mid x) \big]
        \frac{d z_k}{d \phi}

    The value is that of ``Trace_ELBO``, and so is the mean of its gradient: the score of q that is left out has mean
    zero. Where q is the exact posterior each single gradient of the guide is zero. Parameters of the model keep their
    gradient, and so does what is drawn once a data set. The guide is run twice.

    Arguments:
        num_particles: K, averaged; all in parallel.

    Raises:
        ValueError: when it is used, a latent that is not reparametrised, or a guide that gives another density to its
            own draws when it is run again (dropout between autoregressive draws).

    Source: Roeder, Wu & Duvenaud (2017), "Sticking the Landing: Simple, Lower-Variance Gradient Estimators for
    Variational Inference", arXiv:1703.09194.
    """

    def __init__(self, num_particles: int = 1) -> None:
        super().__init__(num_particles)

    def __repr__(self) -> str:
        return f"PathDerivative({self.num_particles})"

    def bound(self, log_w: Tensor) -> Tensor:
        return log_w.mean(0)

    def coefficients(self, log_w: Tensor, weight: Any) -> tuple[Tensor, Tensor]:
        return torch.full_like(log_w, 1.0 / self.num_particles), torch.ones_like(log_w)

    def differentiable_loss(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> Tensor:
        return self.path_loss(model, guide, args, kwargs)


class IWAE(_Pathwise):
    r"""The importance-weighted bound of each sequence, with K particles.

    .. math::
        \mathcal L_K = \sum_n E \log \frac1K \sum_k w_{nk}, \qquad
        w_{nk} = \frac{p(x_n, z_{nk})}{q(z_{nk} \mid x_n)}, \qquad z_{nk} \sim q

    It is the ELBO for K = 1, and rises to the log evidence with K. What is drawn once a data set is drawn once for all
    particles and its KL counts as in the ELBO, so that the sum over sequences stays a bound
    (``RenyiELBO`` draws it for each particle). A KL weight :math:`\beta` makes the weights
    :math:`p(x \mid z) (p(z) / q(z))^\beta`; then it is no bound.

    The gradient is that of the bound; of latents that are not reparametrised it is the score function, each particle's
    with the others as its control variate. With ``doubly_reparametrized=True`` the guide's is, with the normalised
    weights :math:`\tilde w_k`,

    .. math:: \nabla_\phi = \sum_k \tilde w_k^2 \, \frac{\partial \log w_k}{\partial z_k} \frac{d z_k}{d \phi}

    of the same mean, whose signal does not drown in noise as K grows; with a KL weight the coefficient is
    :math:`(1 - \beta) \tilde w_k + \beta \tilde w_k^2`. The model's gradient is the plain one. The guide is run twice.

    Arguments:
        num_particles: K, at least 1; all in parallel.
        doubly_reparametrized: which gradient.

    Raises:
        ValueError: fewer than one particle; for the doubly reparametrised gradient, what
            :class:`PathDerivative` refuses, and latents with unlike KL weights.

    Source: Burda, Grosse & Salakhutdinov (2016), "Importance Weighted Autoencoders", arXiv:1509.00519;
    Tucker, Lawson, Gu & Maddison (2019), "Doubly Reparameterized Gradient Estimators for Monte Carlo Objectives",
    arXiv:1810.04152; score functions: Mnih & Rezende (2016), "Variational Inference for Monte Carlo
    Objectives", arXiv:1602.06725, with the geometric mean.
    """

    def __init__(self, num_particles: int = 16, *, doubly_reparametrized: bool = False) -> None:
        super().__init__(num_particles)
        self.doubly_reparametrized = doubly_reparametrized

    def __repr__(self) -> str:
        return f"IWAE({self.num_particles}{', doubly_reparametrized=True' * self.doubly_reparametrized})"

    def bound(self, log_w: Tensor) -> Tensor:
        return log_w.logsumexp(0) - math.log(len(log_w))

    def coefficients(self, log_w: Tensor, weight: Any) -> tuple[Tensor, Tensor]:
        w = log_w.softmax(0)
        return w, 1.0 - weight + weight * w

    def differentiable_loss(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> Tensor:
        if self.doubly_reparametrized:
            return self.path_loss(model, guide, args, kwargs)
        pair = self.draw(model, guide, args, kwargs)
        log_w = pair.log_p - pair.log_q
        bound = self.bound(log_w)
        scores = [_density(site) for site in pair.own.values() if not is_drawn_with_gradient(site)]
        if scores and torch.is_grad_enabled():
            signal = bound.detach() - _without_each(log_w.detach())
            bound = bound + _without_value((signal * sum(scores)).sum(0))
        shared = [_density(site).sum() for site in pair.latents.values()
                  if not in_batch(site) and not is_drawn_with_gradient(site)]
        total = bound.sum() + pair.shared
        if shared and torch.is_grad_enabled():  # such a draw is answerable for all sequences
            total = total + _without_value(total.detach() * sum(shared))
        return -(total - pair.auxiliary)


def _density(site: Any) -> Tensor:
    """A draw's log-density without its scale: a KL weight changes what it is worth, not how likely it was."""
    density: Tensor = scale_and_mask(site["fn"].log_prob(site["value"]), 1.0, site["mask"])
    return density


def _without_each(log_w: Tensor) -> Tensor:
    """``(K, B)``: the bound with particle k's weight replaced by the geometric mean of the others'. 0 for one."""
    k = len(log_w)
    if k == 1:
        return torch.zeros_like(log_w)
    others = (log_w.sum(0) - log_w) / (k - 1)
    own = torch.eye(k, dtype=torch.bool, device=log_w.device).unsqueeze(-1)
    return torch.where(own, others.unsqueeze(1), log_w.expand(k, -1, -1)).logsumexp(1) - math.log(k)


def _without_value(surrogate: Tensor) -> Tensor:
    """Zero, with a gradient."""
    return surrogate - surrogate.detach()


def _kl_weight(name: str, pair: Pair) -> Any:
    """The scale of the latents' densities: one for all of them."""
    scales = [site["scale"] for site in pair.own.values()]
    if any(scale is not scales[0] and bool(scale != scales[0]) for scale in scales):
        raise ValueError(f"{name}: the latents {sorted(pair.own)} are weighted by unlike scales, for which this "
                         "gradient has no formula: give all of them one KL weight.")
    return scales[0] if scales else 1.0


def _scaled(slope: Tensor, site: Any, ratio: Tensor) -> Tensor:
    """A slope by a site's value, times ``(K, B)``; of what is drawn once a data set, as it is."""
    return slope * ratio.reshape(*ratio.shape, *[1] * (slope.dim() - 2)) if in_batch(site) else slope


def _leaves(drawn: Trace) -> Trace:
    """The trace with each drawn value cut off from what it was made of."""
    copy = drawn.copy()
    for name, site in sites(drawn, observed=False).items():
        if site["value"].requires_grad:
            copy.nodes[name] = {**site, "value": site["value"].detach().requires_grad_()}
    return copy


# ---------------------------------------------------------------------------------------------- the second run
def _device() -> torch.device:
    """Where a dropout mask may come from, beside the CPU."""
    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_initialized() else torch.device("cpu")


@contextmanager
def _again(states: dict[str, Tensor]) -> Iterator[None]:
    """Within it the guide meets the noise of its first run, so that its dropout masks are the same."""
    with forked(_device()):
        set_states(_device(), states)
        yield


def _check_same(name: str, first: Tensor, second: Tensor) -> None:
    """Refuse a guide whose density at its own draws is another when it is run again."""
    if first.device.type == "meta":
        return
    tolerance = 5e-3 if torch.is_autocast_enabled(first.device.type) else 1e-4  # step by step, and all at once
    if not torch.allclose(first, second, rtol=tolerance, atol=tolerance):
        raise ValueError(f"{name} runs the guide a second time at its draws, and got another density there: dropout "
                         "between draws that depend on one another takes other masks. Leave dropout out of the guide "
                         "(that before its first draw is no trouble), or use Trace_ELBO or IWAE(K).")
