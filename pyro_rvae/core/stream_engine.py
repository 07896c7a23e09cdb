"""Particle filters of many series that are fed one frame at a time, each series at its own age."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .contexts import evaluating, seeded, unregistered
from .noise import noise_source
from .resampling import Resampling, drawn_indices, effective_size, evened, offspring, reweighed, uniforms
from .stream_probe import like_of, probed
from .stream_state import State, flatten, rebuild
from .streaming import Moment

__all__ = ["Engine", "Seen"]


@dataclass(frozen=True, eq=False)
class Seen:
    """What a frame of B series has told: the parts of a :class:`Filtered` that belong to one step."""

    increments: Tensor  # (B,)
    log_weights: Tensor  # (K, B)
    effective_sizes: Tensor  # (B,)
    drawn: dict[str, Tensor]  # (K, B, d)
    expected: Tensor | None  # (B, x_dim)


class Engine:
    """The state of S series with K particles each, and how a frame moves it on. Everything is in the model's units.

    Arguments: see :class:`~pyro_rvae.tasks.Stream`.

    Attributes:
        state: tensors by name, of a fixed number and size.
        log_weights: ``(K, S)``, normalised.
        ages: frames that each series has seen.
        count: updates so far, which seeds the next one.
        shared: what is drawn once a data set, drawn once.
    """

    def __init__(self, model: Any, num_series: int, num_particles: int, *, seed: int, bootstrap: bool,
                 labels: Tensor | None, control_dim: int, resampling: Resampling, threshold: float,
                 expected: bool) -> None:
        self.model, self.num_series, self.num_particles = model, num_series, num_particles
        self.seed, self.bootstrap, self.labels, self.control_dim = seed, bootstrap, labels, control_dim
        self.resampling, self.threshold, self.expected = resampling, threshold, expected
        self.like = like_of(model)
        self.layout = probed(model, bootstrap, labels, control_dim, seed)
        self.state = self.layout.empty(num_particles, num_series)
        self.log_weights = self._even(num_series)
        self.ages, self.count = [0] * num_series, 0
        with self._running(0):
            self.shared = model._shared(getattr(model, "shared_posterior", None), 1)

    def _even(self, series: int) -> Tensor:
        return self.like.new_full((self.num_particles, series), -math.log(self.num_particles))

    @contextmanager
    def _running(self, number: int) -> Iterator[None]:
        """The model at rest, and random numbers that belong to the call of this number."""
        training = any(module.training for module in self.model.modules())  # to set the modes takes its time
        resting = evaluating(self.model) if training else unregistered()
        with torch.no_grad(), resting, seeded(self.seed, self.like.device, rank=number):
            yield

    # ------------------------------------------------------------------------------------------ a frame
    def advance(self, series: list[int], x: Tensor, controls: Tensor | None = None) -> Seen:
        """Take in the next frame ``x (B, x_dim)`` of each of ``series``. If it fails nothing has changed.

        Raises:
            ValueError: a frame after which a state or a density would not be finite (a density of 0 may be).
        """
        found: list[tuple[list[int], Seen, State]] = []
        with self._running(2 * self.count + 1):
            for where, mine in self._groups(series):
                rows = torch.tensor([series[i] for i in where], device=x.device)
                known = self._known(rows, None if controls is None else controls[mine].unsqueeze(1))
                seen, new = self._read(rows, x[mine].unsqueeze(1), known)
                self._check_finite(rows, x[mine], seen, new)
                found.append((where, seen, new))
        for where, seen, new in found:
            self._keep([series[i] for i in where], seen, new)
        self.count += 1
        return found[0][1] if len(found) == 1 else _joined([(w, s) for w, s, _ in found], len(series))

    def _groups(self, series: list[int]) -> Iterator[tuple[list[int], Any]]:
        """The places in ``series`` of those whose states have one form (with given noise: those of one age)."""
        source, places = noise_source(), {}  # type: ignore[var-annotated]
        for i, number in enumerate(series):
            age = self.ages[number]
            places.setdefault(age if source is not None else self.layout.age(age), []).append(i)
        for where in places.values():
            mine = slice(None) if len(where) == len(series) else torch.tensor(where, device=self.like.device)
            with _noise_of(where, len(series)):
                yield where, mine

    def _known(self, rows: Tensor, controls: Tensor | None) -> dict[str, Any]:
        labels = None if self.labels is None else self.labels[rows]
        return {"controls": controls, "labels": labels, "shared": self.shared}

    def _past(self, rows: Tensor) -> tuple[State | None, Tensor, int]:
        """The state of series of one age before their next frame, weights and age; resampled where that is due."""
        age = self.ages[int(rows[0])]
        every = len(rows) == self.num_series and rows.tolist() == list(range(self.num_series))
        log_weights = self.log_weights if every else self.log_weights[:, rows]
        if not age:
            return None, log_weights, 0
        state = self.state if every else self.layout.picked(self.state, rows)
        return self._resampled(state, log_weights, age) if self.num_particles > 1 else (state, log_weights, age)

    def _resampled(self, state: State, log_weights: Tensor, age: int) -> tuple[State, Tensor, int]:
        due = effective_size(log_weights) < self.threshold * self.num_particles
        if not bool(due.any()):
            return state, log_weights, age
        uniform = uniforms(age - 1, (self.num_particles, len(due)), self.like)
        ancestors = offspring(self.resampling, log_weights, uniform, due)
        return self.layout.survived(state, ancestors), evened(log_weights, due), age

    def _tree(self, state: State | None, age: int) -> Any:
        return None if state is None else rebuild(self.layout.templates[self.layout.age(age) - 1], state)

    def _read(self, rows: Tensor, x: Tensor, known: dict[str, Any]) -> tuple[Seen, State]:
        shape = (self.num_particles, len(rows))
        state, before, age = self._past(rows)
        tree = self._tree(state, age)
        expected = self._expected(shape, tree, age, before, known) if self.expected else None
        moment = Moment(shape, tree, t=age)
        moment.read(self.model, x, bootstrap=self.bootstrap, **known)
        total = sum(moment.factors, before)
        log_weights, increment = reweighed(before, total.expand(shape))
        drawn = {name: value.expand(*shape, -1) for name, value in moment.drawn.items()}
        seen = Seen(increment, log_weights, effective_size(log_weights), drawn, expected)
        return seen, self.layout.spread(flatten(moment.new)[0], *shape)

    def _check_finite(self, rows: Tensor, x: Tensor, seen: Seen, new: State) -> None:
        """Refuse a frame from which a series would not recover; what is missing in it is NaN by right."""
        tensors = {id(v): v for name, v in new.items() if name != "/before/x" and v.is_floating_point()}
        sound = [v.isfinite().all() for v in tensors.values()] + [(seen.increments < torch.inf).all()]
        if bool(torch.stack(sound).all()):
            return
        bad = ~(seen.increments < torch.inf)  # NaN too
        for name, value in new.items():
            if name == "/before/x" or not value.is_floating_point():
                continue
            lost, axes = ~value.isfinite(), self.layout.axes[name]
            bad = bad | (lost.transpose(0, axes - 1).reshape(len(rows), -1).any(1) if axes else lost.any())
        place = int(bad.nonzero()[0])
        largest = x[place][x[place].nan_to_num(0.0).abs().argmax()].item()
        raise ValueError(f"update: the frame of series {int(rows[place])} can't be taken in: after it the state of "
                         f"{type(self.model).__name__} would not be finite. Its largest element is {largest:.4g} in "
                         "the model's units: leave out what can't be right (NaN is missing), or clip it; if it is an "
                         "ordinary frame, look for NaN in the model's parameters.")

    def _expected(self, shape: tuple[int, int], tree: Any, age: int, before: Tensor,
                  known: dict[str, Any]) -> Tensor | None:
        """The mean of the frame to come, from the particles' weights before it has come."""
        if hasattr(self.model.reader, "classes"):
            return None  # codes have none
        moment = Moment(shape, tree, t=age)
        x = moment.imagine(self.model, **known)
        try:
            x = moment.law.mean.expand_as(x)
        except (AttributeError, NotImplementedError):
            pass  # the mean of a law without one in closed form: of its draws
        return (before.exp().unsqueeze(-1) * x).sum(0)

    def _keep(self, series: list[int], seen: Seen, new: State) -> None:
        if series == list(range(self.num_series)):
            self.state, self.log_weights = {**self.state, **new}, seen.log_weights
        else:
            rows = torch.tensor(series, device=self.like.device)
            self.state = self.layout.replaced(self.state, rows, new)
            self.log_weights = self.log_weights.index_copy(1, rows, seen.log_weights)
        for number in series:
            self.ages[number] += 1

    def reset(self, series: list[int], labels: Tensor | None = None) -> None:
        """Start these series anew."""
        rows = torch.tensor(series, device=self.like.device)
        for number in series:
            self.ages[number] = 0
        self.log_weights = self.log_weights.index_copy(1, rows, self._even(len(series)))
        if labels is not None and self.labels is not None:
            self.labels = self.labels.index_copy(0, rows, labels)

    # ------------------------------------------------------------------------------------------ the future
    def ahead(self, series: list[int], horizon: int, num: int, controls: Tensor | None, number: int) -> Tensor:
        """Draws of the frames to come, ``(num, B, horizon, x_dim)``. Nothing changes."""
        out: list[tuple[list[int], Tensor]] = []
        with self._running(-1 - number):
            for where, mine in self._groups(series):
                rows = torch.tensor([series[i] for i in where], device=self.like.device)
                out.append((where, self._ahead(rows, horizon, num, None if controls is None else controls[mine])))
        return out[0][1] if len(out) == 1 else _in_order(out, 1)

    def _ahead(self, rows: Tensor, horizon: int, num: int, controls: Tensor | None) -> Tensor:
        shape, age = (num, len(rows)), self.ages[int(rows[0])]
        tree = None
        if age:
            uniform = uniforms(age - 1, shape, self.like)
            ancestors = drawn_indices(self.log_weights[:, rows], uniform)
            state = self.layout.picked(self.state, rows)
            tree = self._tree(self.layout.survived(state, ancestors), age)
        frames = []
        for t in range(horizon):
            moment = Moment(shape, tree, t=age + t)
            known = self._known(rows, None if controls is None else controls[:, t: t + 1])
            frames.append(moment.imagine(self.model, **known))
            tree = moment.new
        return torch.stack(frames, -2)


@contextmanager
def _noise_of(where: list[int], number: int) -> Iterator[None]:
    """Given noise for some of the sequences of a call: each keeps its own."""
    source = noise_source()
    if source is None or len(where) == number:
        yield
        return
    part, ids = copy.copy(source), source.sequences
    part.sequences = torch.tensor(where, device="cpu") if ids is None else ids[where]
    with part:
        yield


def _in_order(parts: list[tuple[list[int], Tensor]], dim: int) -> Tensor:
    """The rows of the parts, each at its place."""
    order = torch.tensor([i for where, _ in parts for i in where], device="cpu")
    whole = torch.cat([value for _, value in parts], dim)
    return whole.index_select(dim, order.argsort().to(whole.device))


def _joined(parts: list[tuple[list[int], Seen]], number: int) -> Seen:
    def of(get: Any, dim: int) -> Tensor:
        return _in_order([(where, get(seen)) for where, seen in parts], dim)

    first = parts[0][1]
    return Seen(of(lambda s: s.increments, 0), of(lambda s: s.log_weights, 1), of(lambda s: s.effective_sizes, 0),
                {name: of(lambda s, n=name: s.drawn[n], 1) for name in first.drawn},
                None if first.expected is None else of(lambda s: s.expected, 0))
