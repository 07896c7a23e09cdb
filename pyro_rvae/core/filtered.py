"""What a particle filter found."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

__all__ = ["Filtered", "Unfiltered"]


class Unfiltered(ValueError):
    """The particle reading does not take a model: its message says why, and what to use instead."""


@dataclass(frozen=True, eq=False, repr=False)
class Filtered:
    r"""What a particle filter found, for K particles of B sequences of T steps.

    Attributes:
        increments: ``(T + 1, B)``, :math:`\log \hat p(x_t \mid x_{<t})`; the last row is what the model scores after
            its loop (a label, say), else 0. Their sum is ``log_evidence``.
        log_weights: ``(K, B)``, normalised, of the particles at the end.
        effective_sizes: ``(T, B)``, before resampling.
        resampled: ``(T - 1, B)``, whether a sequence's particles were resampled after a step.
        score: ``(B,)``, the surrogate whose gradient is what the draws without a gradient of their own (resampling, if
            asked for, and latents that are not reparametrised) add to that of ``log_evidence``.
        paths: by latent site, ``(K, B, T, d)``: the paths of the particles at the end.
        filtering: by latent site, ``(K, B, T, d)``: the particles after each step, weighted by ``step_weights``: draws
            of :math:`p(z_t \mid x_{\le t})`.
        step_weights: ``(T, K, B)``, normalised log-weights after each step, before resampling.
        shared: ``log p(s) - log q(s)`` of what is drawn once a data set, with its scale B/N; 0 if nothing is.
        auxiliary: rewards that a guide adds in training mode (``steps.auxiliary``), the mean over particles summed over
            sequences: no part of the estimate.
    """

    increments: Tensor
    log_weights: Tensor
    effective_sizes: Tensor
    resampled: Tensor
    score: Tensor
    paths: dict[str, Tensor]
    filtering: dict[str, Tensor]
    step_weights: Tensor
    shared: Tensor
    auxiliary: Tensor

    @property
    def log_evidence(self) -> Tensor:
        r"""``(B,)``: :math:`\log \hat Z`, with :math:`E \hat Z = p(x)`."""
        return self.increments.sum(0)
