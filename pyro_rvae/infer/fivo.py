"""Filtering variational objectives: the evidence's estimate by a particle filter, as a loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from torch import Tensor

from ..core import SequenceVAE
from ..core.filtering import Filtered, particle_filter
from ..core.resampling import Resampling, check_scheme, systematic
from .objective import Objective

__all__ = ["FIVO", "ParticlesDied"]


class ParticlesDied(FloatingPointError):
    """At some step all particles of a sequence had weight zero.

    Attributes:
        sequence: its number in the batch. step: the number of the step, from 0.
    """

    def __init__(self, sequence: int, step: int, num_particles: int) -> None:
        super().__init__(f"all {num_particles} particles of sequence {sequence} of the batch have weight zero at step "
                         f"{step}: the model gives this frame no density at any latent that the guide draws. Is it a "
                         "value outside of what the likelihood can make? More particles, a likelihood with heavier "
                         "tails, or a guide that reads x_t may help.")
        self.sequence, self.step = sequence, step


class FIVO(Objective):
    r"""The filtering variational objective with N particles: minus :math:`E \log \hat p_N(x)`.

    .. math::
        \log \hat p_N(x) = \sum_t \log \sum_k W_{t-1}^k \alpha_t^k, \qquad
        \alpha_t = \frac{p(x_t, z_t \mid x_{<t}, z_{<t})}{q(z_t \mid z_{<t}, x)}

    with the particles resampled where the effective sample size of their weights W falls below ``threshold N``. The
    estimate is unbiased, :math:`E \hat p_N(x) = p(x)`, so its logarithm is a lower bound of the log evidence in
    expectation. With one particle it is the ELBO. It takes the place of ``Trace_ELBO`` in ``pyro.infer.SVI``,
    :class:`~pyro_rvae.Loss` and :func:`~pyro_rvae.fit`, for a :class:`~pyro_rvae.SequenceVAE` that draws a latent at
    each step of the loop that samples x; what it draws once a sequence, or on a slower clock, moves with its particle.

    The gradient is that of the estimate with the ancestors held fixed, as in the paper's experiments: it leaves out
    the dependence of the resampling on the parameters (a bias that the authors found to help). With
    ``resampling_gradient=True`` the score function of the ancestors is added, which makes it unbiased, and noisy.
    Latents that are not reparametrised have their score function always. What is drawn once a data set is drawn once
    for all particles, and its KL counts with B/N. A guide that looks ahead gives intermediate weights that anticipate
    what has yet to come, so resampling by them wastes particles: FIVO belongs to filtering guides.

    Arguments:
        num_particles: N, at least 1; all in parallel.
        resampling: ``rv.infer.systematic`` (default) or ``rv.infer.multinomial``, or a function ``(log_weights (N, B),
            uniform (N, B)) -> ancestors (N, B)``.
        threshold: of the effective sample size, as a share of N. 0 never resamples: then it is the importance-weighted
            bound. Above 1: after every step.
        resampling_gradient: add the score function of the ancestors; they must then be ``multinomial`` draws.
        bootstrap: propose from the model's own prior instead of the guide: the bootstrap particle filter (Gordon et al.
            1993). A bound all the same, and what a guide has to beat; the guide is not trained.

    Raises:
        ValueError: fewer than one particle; a gradient of resampling that is not multinomial; when it is used, a model
            without latents in that loop.
        ParticlesDied: all weights of a sequence are zero at a step.

    Source: Maddison et al. (2017), "Filtering Variational Objectives", arXiv:1705.09279, algorithm 1;
    also Le et al. (2018), arXiv:1705.10306 and Naesseth et al. (2018), arXiv:1705.11140. We differ in systematic
    resampling by default, theirs is multinomial.
    """

    def __init__(self, num_particles: int = 16, *, resampling: Resampling = systematic, threshold: float = 0.5,
                 resampling_gradient: bool = False, bootstrap: bool = False) -> None:
        super().__init__(num_particles)
        check_scheme("FIVO", resampling, threshold, resampling_gradient)
        self.resampling, self.threshold, self.resampling_gradient = resampling, threshold, resampling_gradient
        self.bootstrap = bootstrap

    @property
    def label(self) -> str:
        """The bound's name in tables, with its number of particles."""
        return f"{'bootstrap filter' if self.bootstrap else 'FIVO'}-{self.num_particles}"

    def __repr__(self) -> str:
        name = getattr(self.resampling, "__name__", type(self.resampling).__name__)
        return (f"FIVO({self.num_particles}, resampling={name}, threshold={self.threshold:g}"
                + ", resampling_gradient=True" * self.resampling_gradient + ", bootstrap=True" * self.bootstrap + ")")

    def _get_trace(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError("FIVO has no pair of traces: its two programs are run step by step. FIVO.run gives "
                                  "the particles.")

    def run(self, model: SequenceVAE, *batch: Any, **known: Any) -> Filtered:
        """The particle filter of a batch."""
        return particle_filter(model, *batch, num_particles=self.num_particles, resampling=self.resampling,
                               threshold=self.threshold, resampling_gradient=self.resampling_gradient,
                               bootstrap=self.bootstrap, **known)

    def differentiable_loss(self, model: Callable[..., Any], guide: Callable[..., Any], *batch: Any,
                            **known: Any) -> Tensor:
        """Minus the estimate, summed over the sequences, as a tensor whose gradient is the objective's."""
        found = self.run(_owner(model, guide), *batch, **known)
        _check_alive(found, self.num_particles)
        estimate = found.log_evidence.sum() + found.shared + found.auxiliary
        return -(estimate + (found.score - found.score.detach()).sum())


def _owner(model: Any, guide: Any) -> SequenceVAE:
    """The model to which both programs belong: a filter runs its bodies side by side."""
    owner = getattr(model, "__self__", None)
    if not isinstance(owner, SequenceVAE) or getattr(guide, "__self__", None) is not owner:
        raise TypeError("FIVO takes the two programs of one SequenceVAE, model.model and model.guide, since it takes "
                        f"their steps side by side; got {type(owner or model).__name__} and "
                        f"{type(getattr(guide, '__self__', None) or guide).__name__}.")
    return cast(SequenceVAE, owner)


def _check_alive(found: Filtered, num_particles: int) -> None:
    """Refuse an estimate of zero. Reads the device once."""
    dead = found.increments.detach().isneginf()
    if found.increments.device.type != "meta" and bool(dead.any()):
        step, sequence = dead.nonzero()[0].tolist()
        raise ParticlesDied(sequence, step, num_particles)
