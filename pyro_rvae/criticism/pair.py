"""A user's own Pyro model and guide, in the shape that everything here takes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pyro
import pyro.poutine as poutine
import torch
from pyro.infer.autoguide import AutoGuide
from torch import Tensor, nn

from ..core.handlers import given, known_values, peek
from ..data import Batch
from .calling import bind, check_padding, check_rows, folded, generated, modules_of
from .chunks import like_of
from .lift import Layout, merged
from .programs import Named, Task, layout_of, named_sites
from .running import run

__all__ = ["Pair"]

Arguments = Callable[[Batch], Any]


class Pair(nn.Module):
    r"""A plain Pyro model and guide, with which every function of ``pyro_rvae.criticism`` works.

    .. math:: p(x, z) \text{ is } \mathtt{model}, \quad q(z \mid x) \text{ is } \mathtt{guide}

    written as Pyro programs with a plate over sequences (or items), by whoever. Nothing is asked of them but that:

    - They take x first, ``(B, T, x_dim)`` padded with zeros, or ``(B, *event_shape)`` of static data. Of
      ``mask (B, T)``, ``lengths (B,)``, ``controls``, ``labels`` and ``size`` they are passed those that they name.
      Others come from ``arguments``.
    - Their plate over sequences has the size of the batch. Its name doesn't matter, nor its dim, nor a subsampling
      scale or a ``poutine.scale`` around it (which no figure counts). They need not know of particles: many draws are
      more rows of the batch (or runs of their own, where something is drawn once a data set).
    - What has one site a step (``z_1``, ``z_2``, ...) is gathered to one site ``z`` with time in front, if there are as
      many as frames and they have one shape; a guide may draw them backwards. The observed site is called ``x``.
    - A latent or an observation in the padding must be masked (``.mask(mask[:, t])`` or ``poutine.mask``), as in Pyro's
      DMM example; else a density of nothing would be counted, so it is refused.

    Modules are found where the functions are bound methods, modules, or name a module; pass others as ``modules``. They
    are in eval mode while they are looked at. Parameters may also stand in Pyro's store only (``pyro.param``), which
    stays as it is. An AutoGuide with a law for each sequence has to be looked at with the data that it was trained on,
    and makes no forecasts, since it has seen what is to be forecast.

    To generate, a model that takes ``size=(B, T)`` is called with ``x=None``, or with the frames to go on from, which
    are fewer than T: it observes these and draws the rest. Any other is called on data of NaN, with its
    observed sites drawn instead. That is right where x enters by ``obs=`` only; where the model reads it elsewhere
    (autoregression), it is refused. It can't be seen to where x is integer codes, so two runs are compared.

    Arguments:
        model, guide: Pyro programs: functions, bound methods, modules, AutoGuides.
        plate: name of the plate over sequences; by default the one plate that has as many rows as there are sequences.
        static: whether the data have no time.
        arguments: ``batch -> tuple`` of positional arguments, or dict of named ones, from a
            :class:`~pyro_rvae.data.Batch` (``x, mask, controls, labels``), for programs with arguments of their own.
        observed: name (stem) of the observed site that x is, if there are several.
        once: stems of numbered sites that are no steps (``"w"`` of ``w_1, w_2``, drawn once a sequence), which
            sequences of as many frames would make look like steps.
        modules: further modules that the programs use.
        x_dim: features of the data; by default those of the first data set that it meets.

    Raises:
        TypeError: model or guide can't be called.
        ValueError: when it is used: no plate over the sequences, or several it could be; arguments that it doesn't
            know; ragged data for a program that takes no mask; a density in the padding; a model that can't generate.

    Source: the layout of sites is that of Pyro's examples (``examples/dmm.py``, ``examples/vae``).

    >>> rv.evaluate(rv.Pair(model, guide), data.test)  # doctest: +SKIP
    """

    transform = None  # data are compared in the units that they come in

    def __init__(self, model: Any, guide: Any, *, plate: str | None = None, static: bool = False,
                 arguments: Arguments | None = None, observed: str | None = None, once: Iterable[str] = (),
                 modules: Iterable[nn.Module] = (), x_dim: int | None = None) -> None:
        super().__init__()
        for what, program in (("model", model), ("guide", guide)):
            if not callable(program):
                raise TypeError(f"Pair: the {what} must be a Pyro program, a function of the data, got "
                                f"{type(program).__name__}.")
        self.programs = {"model": model, "guide": guide}
        self.plate, self.static, self.arguments, self.observed = plate, static, arguments, observed
        self.x_dim, self.codes, self.once = x_dim, False, frozenset(once)
        self.backward: frozenset[str] = frozenset()  # paths that the guide draws from last to first, as was seen
        self.parts = nn.ModuleList([*modules, *modules_of(model), *modules_of(guide)])
        self.unamortised = isinstance(guide, AutoGuide)

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        """Those of the modules; without any, what stands in Pyro's store."""
        own = list(super().parameters(recurse))
        return iter(own or [value.detach() for value in pyro.get_param_store().values()])  # type: ignore[misc]

    def meet(self, data: Any) -> None:
        """Take width and type of frames from a data set, as a generating call has no other way to know them."""
        self.x_dim = data.x_dim if self.x_dim is None else self.x_dim
        self.codes = not data.values.is_floating_point()

    # ------------------------------------------------------------------------------------------ programs
    def model(self, x: Tensor | None = None, mask: Tensor | None = None, *, size: tuple[int, ...] | None = None,
              controls: Tensor | None = None, labels: Tensor | None = None) -> None:
        """The generative program; arguments as for :meth:`SequenceVAE.model <pyro_rvae.SequenceVAE.model>`."""
        self._state("model", *self._batch(x, mask, size, controls, labels))

    def learned_model(self, x: Tensor | None = None, mask: Tensor | None = None, *,
                      size: tuple[int, ...] | None = None, controls: Tensor | None = None,
                      labels: Tensor | None = None) -> None:
        """:meth:`model`, with what is drawn once a data set from the guide instead of its prior."""
        batch, observe = self._batch(x, mask, size, controls, labels)
        blank = replace(batch, x=torch.zeros_like(batch.x))  # what is shared doesn't depend on it
        with given():
            found = self._runs("guide", blank, None)
        shared = {n.name: v for n, at, v, *_ in found if at.plate is None}
        with poutine.condition(data=shared):
            self._state("model", batch, observe)

    def guide(self, x: Tensor, mask: Tensor | None = None, *, size: tuple[int, ...] | None = None,
              controls: Tensor | None = None, labels: Tensor | None = None) -> None:
        """The inference program."""
        if x is None:
            raise ValueError("Pair.guide needs x; to generate, call model(size=(B, T)).")
        self._state("guide", self._batch(x, mask, None, controls, labels)[0], None)

    def _batch(self, x: Tensor | None, mask: Tensor | None, size: Any, controls: Tensor | None,
               labels: Tensor | None) -> tuple[Batch, int | None]:
        """A whole batch, and how many of its frames are observed (None: all)."""
        if mask is None and not self.static:
            shape = x.shape[:2] if x is not None and size is None else size
            mask = None if shape is None else torch.ones(*shape, dtype=torch.bool, device=like_of(self).device)
        if x is not None and (size is None or self.static or size[1] == x.shape[1]):
            return Batch(x, mask, controls, labels), None
        if size is None or (x is None and self.x_dim is None):
            raise ValueError("to generate, a Pair needs size=(B, T), and the width of a frame: Pair(..., x_dim=...).")
        like = like_of(self)
        kind = torch.long if self.codes else like.dtype
        blank = torch.zeros(*size[: 1 if self.static else 2], x.shape[-1] if x is not None else self.x_dim,  # type: ignore[arg-type]
                            dtype=kind, device=like.device)
        blank = blank if self.codes else blank.fill_(torch.nan)
        if x is not None:
            blank[:, : x.shape[1]] = x
        return Batch(blank, mask, controls, labels), 0 if x is None else x.shape[1]

    # ------------------------------------------------------------------------------------------ inside
    def _state(self, which: str, batch: Batch, observe: int | None) -> None:
        """Run a program for all particles, and state its sites to the handlers around."""
        found = self._runs(which, batch, observe)
        for named, at, value, law, infer in found:
            if at.plate is None:
                pyro.sample(named.name, law, obs=value, infer=infer)
        with pyro.plate("batch", len(batch), dim=-1):
            for named, at, value, law, infer in found:
                if at.plate is not None:
                    pyro.sample(named.name, law, obs=value, infer=infer)

    def _runs(self, which: str, batch: Batch, observe: int | None) -> list[tuple[Named, Layout, Tensor, Any, Any]]:
        around = peek("_").batch_shape
        if len(around) > 2:
            raise RuntimeError(f"a Pair stands in one plate of particles, dim=-2; around it are {tuple(around)}.")
        total = around.numel()
        owned = frozenset(p.data_ptr() for p in super().parameters())
        task = partial(Task, sequences=len(batch), length=None if self.static else batch.x.shape[1], plate=self.plate,
                       total=total, lead=bool(around), owned=owned, once=self.once,
                       begun={} if observe is None else dict(known_values()),
                       backward=self.backward if which == "guide" else frozenset())
        together = not self.unamortised
        if which == "guide" and self.unamortised:
            check_rows(self.programs["guide"], len(batch), self.plate)
        while True:
            parts = [range(total)] if together else [range(i, i + 1) for i in range(total)]
            runs = [self._run(which, task, part, batch, observe) for part in parts]
            first = task(particles=parts[0], call=_nothing, observe=None)
            shared = any(layout_of(site, first, timed=False).plate is None for site in runs[0].values())
            if not (shared and together and total > 1):
                if which == "guide" and self.unamortised:
                    runs = [folded(found, self.programs["guide"]) for found in runs]
                lifted = self._lifted(which, batch, first, runs, observe)
                new = frozenset(named.name for named, *_ in lifted if named.backward) - self.backward
                self.backward |= new
                return self._runs(which, batch, observe) if new else lifted  # again, with the noise of later runs
            together = False  # what is drawn once a data set is drawn once for each particle

    def _run(self, which: str, task: Any, particles: range, batch: Batch, observe: int | None) -> dict[str, Any]:
        def one(batch: Batch, observe: int | None) -> Task:
            call = partial(self._call, which, batch, len(particles), observe)
            return task(particles=particles, call=call, observe=None if self._sized(which) else observe)  # type: ignore[no-any-return]

        if observe is not None and not self._sized(which):
            other = replace(batch, x=batch.x.clone()) if self.codes else None
            if other is not None:
                other.x[:, observe:] = 1
            twin = None if other is None else one(other, observe)
            return generated(one(batch, observe), twin, which)
        total = task.keywords["total"]
        rows = {name: value.expand(total, *value.shape[-3:])[particles.start : particles.stop].flatten(0, 1)
                for name, value in known_values().items()}
        with given(**rows):  # a SequenceVAE's own program reads them
            return run(one(batch, observe))

    def _sized(self, which: str) -> bool:
        """Whether a program generates by itself."""
        return self.arguments is None and "size" in inspect.signature(self.programs[which]).parameters

    def _call(self, which: str, batch: Batch, particles: int, observe: int | None) -> Any:
        if particles > 1:
            tensors = {name: value for name, value in vars(batch).items() if isinstance(value, Tensor)}
            tiled: dict[str, Any] = {name: t.repeat(particles, *(1,) * (t.dim() - 1)) for name, t in tensors.items()}
            batch = replace(batch, **tiled)
        size = None
        if observe is not None and self._sized(which):
            size = tuple(batch.x.shape[: 1 if self.static else 2])
            batch = replace(batch, x=batch.x[:, :observe] if observe else None)  # type: ignore[arg-type]
        return bind(self.programs[which], self.programs["model"], batch, size, self.arguments,
                    unamortised=self.unamortised)()

    def _lifted(self, which: str, batch: Batch, task: Task, runs: list[dict[str, Any]],
                observe: int | None) -> list[tuple[Named, Layout, Tensor, Any, Any]]:
        """The sites of all runs under our names, with their values and laws."""
        found = []
        sized = self._sized(which)
        for named in named_sites(runs[0], task, which, self.observed, sized=sized, behind=sized and bool(observe)):
            table = [[sites[name] for name in named.steps] for sites in runs]
            at = layout_of(table[0][0], task, timed=named.timed)
            value = at.join([[s["value"].expand(s["fn"].shape()) for s in steps] for steps in table])
            law = merged([[_masked(s) for s in steps] for steps in table], at)
            law = law.to_event(len(at.inner)) if at.inner and at.plate is not None else law
            infer = {**table[0][0]["infer"], "is_observed": all(s["is_observed"] for s in table[0])}
            if named.timed:
                if batch.mask is not None and not bool(batch.mask.all()):
                    if observe is None:
                        check_padding(which, named.steps[0], law, value, batch.mask, unamortised=self.unamortised)
                    law = law.mask(batch.mask)
                law, infer = law.to_event(1), infer | {"exact": False, "every": 1}
            found.append((named, at, value, law, infer))
        return found


def _nothing() -> None:
    """Stands for a program where only its layout is asked for."""


def _masked(site: Any) -> Any:
    return site["fn"] if site["mask"] is None else site["fn"].mask(site["mask"])
