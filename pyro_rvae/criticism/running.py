"""One run of a user's own Pyro program, on its own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pyro
import pyro.poutine as poutine
import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor

from ..core.handlers import Question, peek, secluded
from ..core.noise import MeanPath, mean_path, noise_source, rsample_from
from ..core.traces import sites
from .noise import ParticleNoise, is_reparametrised
from .programs import Task, frame_of, layout_of, stem

__all__ = ["run"]


class _Fix(Messenger):
    """Within the program: values that the handlers around have fixed, and draws where no data are."""

    def __init__(self, task: Task, outside: Callable[[], Any]) -> None:
        super().__init__()
        self.task, self.outside = task, outside
        self.asked: dict[str, Tensor | None] = {}
        self.given: dict[tuple[str, int | None], Tensor] = {}
        self.seen: dict[str, int] = defaultdict(int)

    def _pyro_sample(self, msg: Any) -> None:
        if type(msg["fn"]).__name__ == "_Subsample" or msg["infer"].get("_deterministic"):
            return
        name, root = msg["name"], stem(msg["name"])
        step, self.seen[root] = self.seen[root], self.seen[root] + 1
        if root in self.task.backward and self.task.length is not None:
            step = self.task.length - 1 - step
        if msg["is_observed"] and not self._released(msg, step):
            return
        value = self._fixed(msg, step if root != name else None)
        if value is not None:
            msg["value"], msg["done"] = value, False
        elif isinstance(noise := noise_source(), _Rows) and not isinstance(msg["fn"], Question):
            noise.fill(msg, root, -1 if root == name else step)

    def _released(self, msg: Any, step: int) -> bool:
        """Whether there are no data for a site that observes them: then it is drawn."""
        length, observe = self.task.length, self.task.observe
        if observe is None or type(msg["fn"]).__name__ == "Unit":
            return False
        whole = length is None or stem(msg["name"]) == msg["name"]
        if whole and length is not None and 0 < observe < length:
            raise ValueError(f"site {msg['name']!r} observes all steps at once, so the program can't go on from the "
                             "beginning of a sequence: write one site a step, or draw with free_running.")
        if observe > (0 if whole else step):
            return False
        msg["is_observed"], msg["value"], msg["done"] = False, None, False
        msg["infer"]["was_data"] = True
        return True

    def _fixed(self, msg: Any, step: int | None) -> Tensor | None:
        """The value of a site, whole or of one step, that a handler around has fixed."""
        name = msg["name"]
        whole = isinstance(msg["fn"], Question) or "every" in msg["infer"] and "step" not in msg["infer"]
        step = None if whole else step
        beginning = None if step is None else self.task.begun.get(stem(name))
        if beginning is not None:
            return self._part(msg, beginning, step) if step < beginning.shape[-2] else None  # type: ignore[operator]
        for asked, at in ((name, None), *(() if step is None else ((stem(name), step),))):
            if asked not in self.asked:
                with self.outside():
                    self.asked[asked] = peek(asked).value
            value = self.asked[asked]
            if value is not None:
                if (name, at) not in self.given:
                    self.given[name, at] = self._part(msg, value, at)
                return self.given[name, at]
        return None

    def _part(self, msg: Any, value: Tensor, step: int | None) -> Tensor:
        task = self.task
        if isinstance(msg["fn"], Question):  # of a SequenceVAE, which asks before it draws
            some = value.expand(task.total, *value.shape[1:]) if task.lead else value[None]
            return some[task.particles.start : task.particles.stop].flatten(0, 1)
        layout = layout_of(msg, task, timed=step is not None)
        shape = (*layout.inner, *msg["fn"].event_shape)
        if value.shape[value.dim() - len(shape) :] != shape:
            raise ValueError(f"Pair: an event of site {msg['name']!r} has shape {shape}, which the value "
                             f"{tuple(value.shape)} doesn't end in that the guide or a handler gives it: give the "
                             "site the same event shape in model and guide.")
        return layout.piece(value, task.particles, step or 0, msg["fn"].event_dim)


class _Rows(ParticleNoise):
    """The noise of :class:`ParticleNoise` where particles and sequences are rows of one plate."""

    def __init__(self, source: ParticleNoise, task: Task) -> None:
        start = source.chunk.particles.start
        numbers = range(start + task.particles.start, start + task.particles.stop)
        super().__init__(source.seed, source.chunk, source.like)
        self.numbers, self.task = numbers, task

    def stream(self, name: str, size: tuple[int, ...], step: int = -1, *, shared: bool = False) -> Tensor:
        found = self.draws(self.numbers, name, size, step, shared=shared)
        return found[0, 0] if shared else found.flatten(0, 1)

    def path(self, name: str, length: int, shape: torch.Size) -> Tensor:
        return self.stream(name, (length, *shape[1:]))

    def normal(self, name: str, step: int | None, shape: torch.Size, dim: int = -2) -> Tensor:
        return self.stream(name, tuple(shape[1:]), -1 if step is None else step)

    def _pyro_sample(self, msg: Any) -> None:
        """Nothing: the program's sites are filled by _Fix, which knows what is fixed already."""

    def fill(self, msg: Any, name: str, step: int) -> None:
        fn = msg["fn"]
        if msg["value"] is not None or not is_reparametrised(fn):
            return
        frame = frame_of(msg, self.task.plate, self.task.rows)
        batch, event = tuple(fn.batch_shape), tuple(fn.event_shape)
        if frame is None:
            noise = self.stream(name, (*batch, *event), step, shared=True)
        else:
            at = len(batch) + frame.dim
            inner = batch[:at] + batch[at + 1 :]
            noise = self.stream(name, (*inner, *event), step).movedim(0, at)
        msg["value"] = rsample_from(fn, noise)


def _noise(task: Task) -> Any:
    source = noise_source()
    if isinstance(source, ParticleNoise):
        return _Rows(source, task)
    return mean_path(source.device) if isinstance(source, MeanPath) else nullcontext()


def run(task: Task) -> dict[str, Any]:
    """The sample sites of one run, by the program's names."""
    with secluded() as outside, _store(task.owned), _noise(task), poutine.trace() as tracer, _Fix(task, outside):
        task.call()
    found = sites(tracer.trace)
    return {name: site for name, site in found.items() if not site["infer"].get("_deterministic")}


@contextmanager
def _store(owned: frozenset[int]) -> Iterator[None]:
    """Pyro's parameter store stays as it was; what isn't in it must be a module's."""
    store = pyro.get_param_store()
    before = set(store.keys())
    fresh: list[str] = []
    try:
        yield
    finally:
        for name in set(store.keys()) - before:
            if "$$$" not in name and store._params[name].data_ptr() not in owned:  # else a module holds it
                fresh.append(name)
            del store[name]
    if fresh:
        raise ValueError(f"the pair's parameters {sorted(fresh)} are not in Pyro's store, so the program made new "
                         "ones: train it first, call it once, or load the store (pyro.get_param_store().load).")
