"""Z-forcing: a latent that is made to tell the future by an auxiliary cost."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..core import SequenceVAE, Step, Steps
from ..core.checks import check_weight
from ..distributions import Bernoulli, Family, Normal, conditional
from ..nn import LSTM, Backward, Causal, Delay, Encoder, Late, build, concat, is_recipe
from .parts import check_widths, given_at_each_step, reader_for, without_previous

__all__ = ["ZForcing"]


class ZForcing(SequenceVAE):
    r"""z_t ~ p(z_t | h_{t-1});  h_t = f(h_{t-1}, x_{t-1}, z_t);  x_t ~ p(x_t | h_t);  q(z_t | h_{t-1}, b_t).

    The guide's ``b_t = g(b_{t+1}, x_t)`` looks back from the end. In training mode an auxiliary reward makes ``z_t``
    tell it; the objective of a sequence is

    .. math::
        \mathrm{ELBO} + \alpha \sum_{t=1}^T \log p_\xi(b_t \mid z_t)
            + \beta \sum_{t=2}^T \log p_\xi(x_{t-1} \mid b_t), \qquad z \sim q

    where no gradient flows from the first sum into ``b_t``; the second, if :math:`\beta > 0`, trains ``b_t`` to
    predict backwards. In evaluation mode neither is there, and the bound is a bound.

    Source: Goyal, Sordoni, Côté, Ke & Bengio (2017), "Z-Forcing: Training Stochastic Recurrent Networks",
    arXiv:1711.05411, and the authors' code; their x_t is our x_{t-1} (the frame that step t predicts is
    ours). We differ in that :math:`p_\xi(b_t | z_t)` is a Normal with a free mean (in their code it goes through tanh),
    in a hidden layer before each density, and in ``x_0``, which is learned.

    Arguments:
        x_dim: width of a frame.
        z_dim: width of a latent.
        h_dim: width of ``h_t``, of the encoder and of hidden layers.
        prior, likelihood, posterior: a whole conditional, a class built with ``(in_dim, dim)``, or a Family.
        recurrence: causal part f, or its class (LSTM, GRU, RNN).
        encoder: mask-aware encoder g, or its class built with ``(in_dim, h_dim)``.
        auxiliary: alpha, 0 or more; with 0 there is no such network. b_t has as many numbers as the encoder's features,
            so a weight near 1 drowns the data: on JSB (``tests/benchmarks/family.py``) 0.005 trains, 0.05 and 1 do not.
            ``rv.weighted_auxiliaries`` changes it in a training run.
        predictor: p(b_t | z_t), as the prior.
        reverse: beta, 0 or more, in units of the likelihood's nats; it needs an encoder that looks at x_t..x_T alone.
        reader: part through which networks read x.
        context: what the model is given at each step (:class:`~pyro_rvae.nn.Context`): controls, labels.
        dropout: on the hidden layers of the likelihood.

    Raises:
        ValueError: a negative weight; ``reverse`` with a likelihood that is not to be built here, or with an encoder
            that may look at x_{t-1}.
    """

    def __init__(self, x_dim: int, z_dim: int = 16, h_dim: int = 128, *, prior: Any = Normal,
                 likelihood: Any = Bernoulli, posterior: Any = Normal, recurrence: Any = LSTM,
                 encoder: Any = Backward, auxiliary: float = 0.005, predictor: Any = Normal, reverse: float = 0.0,
                 reader: Any = None, context: Any = None, dropout: float = 0.0) -> None:
        check_widths(self, x_dim=x_dim, z_dim=z_dim, h_dim=h_dim)
        check_weight("ZForcing: auxiliary", auxiliary)
        check_weight("ZForcing: reverse", reverse)
        super().__init__()
        self.x_dim, self.z_dim, self.h_dim = x_dim, z_dim, h_dim
        self.auxiliary, self.reverse = auxiliary, reverse
        self.reader = reader_for(reader, likelihood, x_dim)
        self.context, given = given_at_each_step(context)
        self.x0 = nn.Parameter(torch.zeros(self.reader.out_dim))
        seen = self.reader.out_dim + given
        self.delay = Delay(seen)
        self.late = Late(build(recurrence, seen + z_dim, h_dim, kind=Causal, what="recurrence"))
        out_dim = self.late.out_dim
        prior = without_previous(self, "prior", prior, "h_{t-1}")
        posterior = without_previous(self, "posterior", posterior, "h_{t-1} and b_t")
        self.prior = conditional(prior, out_dim, z_dim, hidden=(h_dim,))
        self.likelihood = conditional(likelihood, out_dim, x_dim, hidden=(h_dim,), dropout=dropout)
        self.encoder = build(encoder, seen, h_dim, kind=Encoder, what="encoder")
        self.posterior = conditional(posterior, out_dim + self.encoder.out_dim, z_dim, hidden=(h_dim,))
        self.predictor = self.predictor_x = None
        if auxiliary:
            self.predictor = conditional(predictor, z_dim, self.encoder.out_dim, hidden=(h_dim,))
        if reverse:
            if not getattr(self.encoder, "anticausal", False):
                raise ValueError(f"reverse: b_t is to predict x_{{t-1}}, which {type(self.encoder).__name__} has read, "
                                 "or may have; pass rv.Backward, or a module of your own with the attribute anticausal "
                                 "= True, whose b_t looks at x_t..x_T alone.")
            if not (is_recipe(likelihood) or isinstance(likelihood, Family)):
                raise ValueError("reverse: p(x_{t-1} | b_t) is built as the likelihood is, so pass that as a Family or "
                                 f"a class, not as a whole {type(likelihood).__name__}.")
            self.predictor_x = conditional(likelihood, self.encoder.out_dim, x_dim, hidden=(h_dim,))

    @property
    def recurrence(self) -> Any:
        """The causal part f."""
        return self.late.part

    def generative(self, steps: Steps) -> None:
        for t in steps:
            z = t.sample("z", self.prior, self.before(t, steps.context))
            h = t.carry("h", self.recurrence, t.prev("x", self.x0), *map(t.at, steps.context), z)
            t.sample("x", self.likelihood, h)

    def before(self, t: Step, context: tuple[Tensor, ...]) -> Tensor:
        """h_{t-1} = f(h_{t-2}, x_{t-2}, z_{t-1}), which model and guide share; zero at the start."""
        seen = t.carry("seen", self.delay, t.prev("x", self.x0), *map(t.at, context))
        return t.carry("before", self.late, seen, t.prev("z", self.x0.new_zeros(self.z_dim)))

    def inference(self, steps: Steps, x: Tensor) -> None:
        b = self.encoder(concat([x, *steps.context]), steps.mask)
        for t in steps:
            t.sample("z", self.posterior, self.before(t, steps.context), t.at(b))
        if self.predictor is not None:
            law = self.predictor(steps.path("z"))
            steps.auxiliary("auxiliary", self.auxiliary * law.log_prob(b.detach()))
        if self.predictor_x is not None:
            steps.auxiliary("reverse", self.reverse * self.backwards(steps, b))

    def backwards(self, steps: Steps, b: Tensor) -> Tensor:
        """log p(x_{t-1} | b_t) at each step, ``(B, T)``; 0 at the first."""
        x, present = steps.gaps(steps.known("x"))  # type: ignore[arg-type]
        x, present = _held(x), None if present is None else _held(present)
        law = steps.law(self.predictor_x(b), present, None)  # type: ignore[misc]
        return nn.functional.pad(law.log_prob(x)[..., 1:], (1, 0))


def _held(sequence: Tensor) -> Tensor:
    """The sequence one step later; the first value stays where it was, too."""
    return torch.cat([sequence[..., :1, :], sequence[..., :-1, :]], -2)
