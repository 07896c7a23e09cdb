"""The Kalman variational autoencoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ..core import SequenceVAE, Steps, shift
from ..core.checks import check_arguments
from ..distributions import Bernoulli, Normal, conditional
from ..nn import LSTM, Encoder, MixtureKalman, Pointwise, build, concat
from ..nn.simulate import draw_emitted, draw_states
from .parts import check_widths, given_at_each_step, reader_for, without_previous

__all__ = ["KVAE", "Smoothed"]


class Smoothed(NamedTuple):
    """Posterior moments at each step, given all observed frames of a sequence."""

    z: Tensor  # (B, T, z_dim), mean of z_t
    z_covariance: Tensor  # (B, T, z_dim, z_dim)
    a: Tensor  # (B, T, a_dim), mean of C_t z_t
    a_covariance: Tensor  # (B, T, a_dim, a_dim), of C_t z_t with the noise R: where a frame is missing, that of a_t


class KVAE(SequenceVAE):
    """z_t = A_t z_{t-1} + B_t c_t + N(0, Q);  a_t = C_t z_t + N(0, R);  x_t ~ p(x_t | a_t);  q(a_t | x_t).

    z is integrated out exactly, so the one latent site is ``a``: a_t ~ p(a_t | a_{<t}), by the Kalman filter. The
    matrices are mixtures of K modes, whose weights an LSTM of a_{<t} gives (:class:`~pyro_rvae.nn.MixtureKalman`).
    Where a whole frame of x is missing, a_t has no density in model and guide and the filter skips its update: the
    bound is one on the observed frames alone. With one mode that is their exact marginal; with more, the mean that the
    filter predicts for a_t stands for it in the choice of the modes. A frame of which some elements are missing is
    observed.

    Source: Fraccaro, Kamronn, Paquet & Winther (2017), "A Disentangled Recognition and Nonlinear Dynamics Model for
    Unsupervised Learning", arXiv:1710.05741. We differ: they draw z from its exact posterior and average
    log p(a, z) - log p(z | a), which is log p(a) for each draw: it is what we take, without the draw. They give the
    reconstruction a weight of 0.3 (here ``rv.annealed``).

    Arguments:
        x_dim: width of a frame.
        z_dim: width of the state z.
        h_dim: width of the LSTM and of the hidden layers.
        a_dim: width of the latent a; ``None``: that of z (the paper has 2, with z_dim 4).
        modes: K (the paper has 3); with 1 the dynamics are linear and the same at each step.
        likelihood: p(x_t | a_t): a whole conditional, a class built with ``(in_dim, dim)``, or a Family.
        posterior: q(a_t | g_t), of the same kinds.
        recurrence: causal part that chooses the modes, or its class built with ``(a_dim, h_dim)``.
        encoder: mask-aware encoder, or its class built with ``(in_dim, h_dim)``; with Pointwise g_t is of x_t alone.
        reader: part through which networks read x.
        context: what the model is given at each step (:class:`~pyro_rvae.nn.Context`): c_t above, which the guide
            reads too.
        dropout: on the hidden layers of the likelihood.
    """

    a0: Tensor

    def __init__(self, x_dim: int, z_dim: int = 16, h_dim: int = 128, *, a_dim: int | None = None, modes: int = 3,
                 likelihood: Any = Bernoulli, posterior: Any = Normal, recurrence: Any = LSTM,
                 encoder: Any = Pointwise, reader: Any = None, context: Any = None, dropout: float = 0.0) -> None:
        a_dim = z_dim if a_dim is None else a_dim
        check_widths(self, x_dim=x_dim, z_dim=z_dim, h_dim=h_dim, a_dim=a_dim, modes=modes)
        super().__init__()
        self.x_dim, self.z_dim, self.h_dim, self.a_dim = x_dim, z_dim, h_dim, a_dim
        self.reader = reader_for(reader, likelihood, x_dim)
        self.context, given = given_at_each_step(context)
        self.dynamics = MixtureKalman(a_dim, z_dim, h_dim, modes=modes, control_dim=given, recurrence=recurrence)
        if modes > 1:
            self.a0 = nn.Parameter(torch.zeros(a_dim))
        else:  # nobody reads it
            self.register_buffer("a0", torch.zeros(a_dim))
        self.likelihood = conditional(likelihood, a_dim, x_dim, hidden=(h_dim,), dropout=dropout)
        self.encoder = build(encoder, self.reader.out_dim + given, h_dim, kind=Encoder, what="encoder")
        posterior = without_previous(self, "posterior", posterior, "g_t", once=True)
        self.posterior = conditional(posterior, self.encoder.out_dim, a_dim, hidden=(h_dim,))

    def generative(self, steps: Steps) -> None:
        observed = steps.observed()
        before = shift(observed, observed.new_ones(1))
        for t in steps:
            p = t.carry("p", self.dynamics, t.prev("a", self.a0), t.at(before), *map(t.at, steps.context))
            a = t.sample("a", self.predictive, p, t.at(observed))
            t.sample("x", self.likelihood, a)

    def inference(self, steps: Steps, x: Tensor) -> None:
        g, observed = self.encoder(concat([x, *steps.context]), steps.mask), steps.observed()
        for t in steps:
            t.sample("a", self.recognition, t.at(g), t.at(observed))

    def predictive(self, p: Tensor, observed: Tensor) -> Any:
        """p(a_t | a_{<t}), of density 1 where no frame was observed."""
        loc, scale_tril = self.dynamics.predictive(p)
        law = dist.MultivariateNormal(loc, scale_tril=scale_tril, validate_args=False)
        return law.mask(observed.squeeze(-1) > 0)

    def recognition(self, g: Tensor, observed: Tensor) -> Any:
        """q(a_t | x), of density 1 where no frame was observed."""
        return self.posterior(g).mask(observed.squeeze(-1) > 0)

    # ------------------------------------------------------------------------------------------ smoothing
    def smooth(self, x: Tensor, mask: Tensor | None = None, *, a: Tensor | None = None,
               controls: Tensor | None = None, labels: Tensor | None = None) -> Smoothed:
        """Posterior moments of z and a at each step, given a at all observed frames: by Rauch, Tung & Striebel.

        What is given in the padding means nothing.

        Arguments:
            x, mask, controls, labels: as for :meth:`model`.
            a: ``(B, T, a_dim)``, the latents to smooth at; ``None``: their means under q(a_t | x).
        """
        steps, mean, observed = self._read(x, mask, controls, labels)
        if a is not None and a.shape != mean.shape:
            raise ValueError(f"{type(self).__name__}.smooth: a must be (B, T, a_dim) = {tuple(mean.shape)}, "
                             f"got {tuple(a.shape)}.")
        a = mean if a is None else a
        before = shift(observed, observed.new_ones(1))
        path = self.dynamics(concat([shift(a, self.a0), before, *steps.context]))
        z, covariance = self.dynamics.smooth(path, a, observed, mask)
        return Smoothed(z, covariance, *self.dynamics.emitted(z, covariance, self.dynamics.belief(path)))

    def impute(self, x: Tensor, mask: Tensor | None = None, *, controls: Tensor | None = None,
               labels: Tensor | None = None) -> Tensor:
        """x with each missing element replaced by its mean under p(x_t | a_t).

        In a frame that is wholly missing a_t is the smoothed mean, in any other the mean of q(a_t | x).
        """
        if not x.is_floating_point():
            raise ValueError(f"{type(self).__name__}.impute: codes have no mean, and x is {x.dtype}; read the "
                             "probabilities from likelihood(smooth(x).a).")
        _, mean, observed = self._read(x, mask, controls, labels)
        smoothed = self.smooth(x, mask, controls=controls, labels=labels)
        law = self.likelihood(torch.where(observed > 0, mean, smoothed.a))
        return torch.where(x.isnan(), law.mean, x)

    def draw_gaps(self, drawn: dict[str, Tensor], batch: Any, noise: Callable[[str, int], Tensor]) -> dict[str, Tensor]:
        """Where a whole frame is missing, ``a_t ~ p(a_t | a at all observed frames)``, jointly over a gap.

        The guide says nothing of these ``a_t`` (model and guide give them no density), so
        :func:`~pyro_rvae.tasks.impute` draws them here: z from the last step to the first given the filter's
        results, then a given z. With one mode they are exact; with more, as exact as the bound is (see the class).

        Arguments:
            drawn: ``{"a": (k, B, T, a_dim)}``, k draws of the guide.
            batch: with ``x`` ``(B, T, x_dim)``, ``mask``, ``controls``, ``labels``.
            noise: from a name and a width to standard normal numbers ``(k, B, T, width)``.
        """
        steps, _, observed = self._read(batch.x, batch.mask, batch.controls, batch.labels)
        a = drawn["a"]
        before = shift(observed, observed.new_ones(1))
        path = self.dynamics(concat([shift(a, self.a0), before, *steps.context]))
        z = draw_states(self.dynamics, path, a, observed, noise("z at gaps", self.z_dim), batch.mask)
        return {"a": torch.where(observed > 0, a, draw_emitted(self.dynamics, path, z, noise("a at gaps", self.a_dim)))}

    def _read(self, x: Tensor, mask: Tensor | None, controls: Tensor | None,
              labels: Tensor | None) -> tuple[Steps, Tensor, Tensor]:
        """The steps of a call, the mean of q(a | x), and which frames are observed."""
        checked, _, length = check_arguments(self, x, mask, None, controls, labels)
        assert checked is not None
        steps = self._steps(length, {"x": checked}, mask, controls, labels, {})
        g = self.encoder(concat([self.read(checked), *steps.context]), mask)
        return steps, self.posterior(g).mean, steps.observed()
