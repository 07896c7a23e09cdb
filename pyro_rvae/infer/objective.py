"""What our own objectives share: traces with particles in parallel, and the interface of Pyro's ELBOs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pyro
import pyro.poutine as poutine
import torch
from pyro.infer import ELBO
from pyro.poutine import Trace
from torch import Tensor

from ..core.checks import check_count
from ..core.handlers import trust
from ..core.traces import check_latents, in_batch, is_point, sites
from .elbo import is_drawn_with_gradient

__all__ = ["Objective", "Pair", "Program", "particle_plate"]

Program = Callable[..., Any]


class Objective(ELBO):
    """An objective in the place of one of Pyro's ELBOs, for ``pyro.infer.SVI``, ``rv.Loss`` and ``rv.fit``.

    A subclass writes ``differentiable_loss``: nats summed over the sequences of a batch, as a tensor whose gradient is
    to be followed. Particles are drawn in parallel. What is drawn once a data set is drawn once for all of them: a
    bound with a draw for each particle would be none.

    Arguments:
        num_particles: K, at least 1.
    """

    analytic = False  # whether the KL is taken in closed form where there is one; the log then does the same

    def __init__(self, num_particles: int) -> None:
        check_count(f"{type(self).__name__}: num_particles", num_particles)
        super().__init__(num_particles=num_particles, vectorize_particles=True, max_plate_nesting=1)

    def differentiable_loss(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> Tensor:
        """The loss as a tensor: nats summed over the sequences."""
        raise NotImplementedError

    @torch.no_grad()
    def loss(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> float:
        """The loss as a number."""
        return float(self.differentiable_loss(model, guide, *args, **kwargs))

    def loss_and_grads(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> float:
        """The loss as a number; its gradients are added to those of the parameters."""
        loss = self.differentiable_loss(model, guide, *args, **kwargs)
        if loss.requires_grad:
            loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    def _get_trace(self, model: Program, guide: Program, args: Any, kwargs: Any) -> tuple[Trace, Trace]:
        pair = self.draw(model, guide, args, kwargs)
        return pair.program, pair.drawn

    # ------------------------------------------------------------------------------------------ for a subclass
    def draw(self, model: Program, guide: Program, args: Any, kwargs: Any) -> Pair:
        """The guide's trace of all particles, and the model's on its values."""
        drawn = self.trace(guide, args, kwargs)
        pair = Pair(drawn, self.trace(poutine.replay(model, trace=drawn), args, kwargs))
        if trust() is None:
            pair.check(type(self).__name__)
        return pair

    def trace(self, program: Program, args: Any, kwargs: Any) -> Trace:
        """The trace of a program within the plate of particles, with its log-densities."""
        with particle_plate(self.num_particles):
            trace = poutine.trace(program).get_trace(*args, **kwargs)
        trace.compute_log_prob()
        return trace


class Pair(NamedTuple):
    """Traces of guide and model at the same values. Log-densities carry the scales of handlers (the KL weight)."""

    drawn: Trace
    program: Trace

    def check(self, name: str) -> None:
        """Refuse a pair that has no bound, or whose sequences can't be told apart."""
        check_latents(name, self.latents, sites(self.program, observed=False))
        if not any(in_batch(site) for site in sites(self.program).values()):
            raise ValueError(f"{name} needs to know the sequences apart: a model whose sites stand within "
                             "pyro.plate('batch', ..., dim=-1), as those of every SequenceVAE do.")

    @property
    def latents(self) -> dict[str, Any]:
        """What the guide draws."""
        return sites(self.drawn, observed=False)

    @property
    def own(self) -> dict[str, Any]:
        """What the guide draws for a sequence."""
        return {name: site for name, site in self.latents.items() if in_batch(site)}

    @property
    def log_p(self) -> Tensor:
        """``(K, B)``: log p(x, z) of each particle and sequence."""
        return self._sum(site for site in sites(self.program).values() if in_batch(site))

    @property
    def log_q(self) -> Tensor:
        """``(K, B)``: log q(z | x)."""
        return self._sum(self.own.values())

    @property
    def shared(self) -> Tensor:
        """``log p(s) - log q(s)`` of what is drawn once a data set."""
        return self.shared_p - self.shared_q

    @property
    def shared_p(self) -> Tensor:
        stated = sites(self.program).values()
        return sum((site["log_prob"].sum() for site in stated if not in_batch(site)), self._zero)

    @property
    def shared_q(self) -> Tensor:
        return sum((site["log_prob"].sum() for site in self.latents.values() if not in_batch(site)), self._zero)

    @property
    def auxiliary(self) -> Tensor:
        """The guide's auxiliary costs (:meth:`~pyro_rvae.Steps.auxiliary`), their mean over particles."""
        costs = (site["log_prob"] for site in sites(self.drawn, observed=True).values())
        return sum(((cost.mean(0) if cost.dim() == 2 else cost).sum() for cost in costs), self._zero)

    @property
    def shape(self) -> torch.Size:
        """``(K, B)``."""
        frames = {frame.name: frame.size for site in sites(self.program).values() for frame in site["cond_indep_stack"]}
        return torch.Size([frames["particles"], frames["batch"]])

    @property
    def _zero(self) -> Tensor:
        return next(iter(sites(self.program).values()))["log_prob"].new_zeros(())

    def _sum(self, chosen: Any) -> Tensor:
        return sum((site["log_prob"] for site in chosen), self._zero).expand(self.shape)  # type: ignore[no-any-return]

    def refuse_scores(self, name: str) -> None:
        """Refuse draws whose gradient is not that of their value, and points, for which there is no density."""
        for site, message in self.latents.items():
            if in_batch(message) and is_point(message):
                raise ValueError(f"{name}: the guide draws {site!r} from a point mass, so there is no KL and no "
                                 "density: train a deterministic autoencoder with Trace_ELBO.")
            if not is_drawn_with_gradient(message):
                raise ValueError(f"{name} follows the gradient through each draw, and {site!r} is drawn from "
                                 f"{_law(message)}, which has none (discrete, or not reparametrised): use Trace_ELBO, "
                                 "IWAE or FIVO, which take its score function.")


def _law(site: Any) -> str:
    fn = site["fn"]
    while hasattr(fn, "base_dist"):
        fn = fn.base_dist
    return type(fn).__name__


class _Plate(pyro.plate):
    """A plate for what belongs to a sequence: what is drawn once a data set stays one draw."""

    def _process_message(self, msg: Any) -> None:
        if in_batch(msg):  # the plate of sequences is an inner one, so it has had its turn
            super()._process_message(msg)


@contextmanager
def particle_plate(number: int) -> Iterator[None]:
    """Within it each site of a sequence has ``number`` particles, ``(K, B)``."""
    with _Plate("particles", number, dim=-2):
        yield
