"""Particle filtering with a guide as the proposal: what FIVO, its evaluation and filtering draws rest on."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from .checks import check_count
from .filter_run import FilterRun
from .filtered import Filtered, Unfiltered
from .particles import reading
from .resampling import Resampling, check_scheme, systematic

__all__ = ["Filtered", "particle_filter"]


def particle_filter(model: Any, x: Tensor, mask: Tensor | None = None, *, num_particles: int = 16,
                    resampling: Resampling = systematic, threshold: float = 0.5, bootstrap: bool = False,
                    resampling_gradient: bool = False, **known: Any) -> Filtered:
    r"""Filter a batch of sequences with K particles each, proposed by the guide.

    At each step the guide draws ``z_t`` for every particle, which is weighed by

    .. math:: \alpha_t = \frac{p(x_t, z_t \mid x_{<t}, z_{<t})}{q(z_t \mid z_{<t}, x)}, \qquad
              \hat p(x_t \mid x_{<t}) = \sum_k W_{t-1}^k \alpha_t^k

    and where the effective sample size of a sequence's weights falls below ``threshold K``, its particles are
    resampled. What a program draws before the loop that samples x (once a sequence, or on a slower clock) moves with
    its particle, and counts in the first weights. In the padding nothing is weighed or resampled.

    Arguments:
        model: a :class:`~pyro_rvae.SequenceVAE` with latents in the loop that samples x.
        x, mask, known: a batch, as for ``model.guide``.
        num_particles: K.
        resampling: ``systematic``, ``multinomial``, or a function ``(log_weights (K, B), uniform (K, B)) -> (K, B)``.
        threshold: of the effective sample size, as a share of K; 0 never resamples (then it is importance sampling), a
            number above 1 resamples after every step.
        bootstrap: propose from the model's own prior, without the guide (Gordon et al. 1993).
        resampling_gradient: whether ``score`` has the score function of the ancestors (needs ``multinomial``).

    Raises:
        TypeError: ``model`` is no SequenceVAE: a filter runs the bodies of both programs side by side.
        Unfiltered: (a ValueError) no latent in the loop that samples x, or a guide that does not draw those latents in
            one loop.

    Source: Doucet & Johansen (2009), "A tutorial on particle filtering and smoothing"; Maddison et al. (2017),
    arXiv:1705.09279, algorithm 1.
    """
    check_count("num_particles", num_particles)
    check_scheme("particle_filter", resampling, threshold, resampling_gradient)
    if not (hasattr(model, "generative") and hasattr(model, "inference")):
        raise TypeError(f"a particle filter runs the bodies of a SequenceVAE side by side, and {type(model).__name__} "
                        "has none: use the importance-weighted bound.")
    if model.static:
        raise Unfiltered(f"{type(model).__name__} is static: it has no steps between which particles could be "
                         "resampled. Use RenyiELBO(alpha=0, num_particles=K), the importance-weighted bound.")
    run = FilterRun(num_particles, mask, resampling, threshold, resampling_gradient)
    with reading(run):
        return run(model, (x, mask), known, bootstrap)
