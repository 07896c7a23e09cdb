"""The sites of a user's own Pyro program: which are steps of one, where they stand, and which is the data."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from .lift import Layout

__all__ = ["Named", "Task", "frame_of", "gathered", "layout_of", "named_sites", "stem"]

_STEP = re.compile(r"(.*\D)_?(\d+)")


@dataclass(frozen=True)
class Task:
    """What to run, and on what.

    :param call: the program with its arguments. :param sequences: of the batch. :param length: T, or None of static
        data. :param plate: its plate's name, or None to find it. :param particles: of this run, numbered within
        those of the whole, which are ``total``. :param lead: whether there is a plate of particles around.
    :param observe: how many frames are observed, what follows is drawn; None: the program sees to it.
    :param owned: addresses of the parameters that modules hold. :param once: stems of names that are no steps.
    :param begun: beginnings of paths that the program goes on from, by our names. :param backward: those that it draws
        from the last step to the first.
    """

    call: Callable[[], Any]
    sequences: int
    length: int | None
    plate: str | None
    particles: range
    total: int
    lead: bool
    observe: int | None
    owned: frozenset[int]
    once: frozenset[str]
    begun: dict[str, Tensor]
    backward: frozenset[str]

    @property
    def rows(self) -> int:
        """Sequences that the program sees: those of each particle."""
        return len(self.particles) * self.sequences


@dataclass(frozen=True)
class Named:
    """A name of ours: the one site that bears it, or the sites of all steps, first to last; whether drawn backwards."""

    name: str
    steps: list[str]
    timed: bool
    backward: bool = False


def stem(name: str) -> str:
    """``z`` of ``z_3`` and of ``z3``."""
    found = _STEP.fullmatch(name)
    return found[1].rstrip("_") if found else name


def gathered(found: dict[str, Any], length: int | None, once: frozenset[str], *, behind: bool = False,
             guide: bool = False) -> list[Named]:
    """Sites by our names: those numbered one by one, as many as there are frames, are the steps of one.

    :param behind: whether the program goes on from a beginning, so that only the first steps of one may be observed.
    :param guide: whether it may draw them from the last to the first.
    """
    numbered: dict[str, list[str]] = defaultdict(list)
    for name, site in found.items():
        whole = "every" in site["infer"] and "step" not in site["infer"]  # all steps in one, of a SequenceVAE
        if _STEP.fullmatch(name) and stem(name) not in once and not whole:
            numbered[stem(name)].append(name)
    backward = {s for s, names in numbered.items() if guide and _number(names[0]) > _number(names[-1])}
    steps = {s: names[::-1] if s in backward else names for s, names in numbered.items()}
    series = {s: names for s, names in steps.items() if len(names) == length and _is_series(found, names, behind)}
    both = series.keys() & found.keys()
    if both:
        raise ValueError(f"the program has sites {sorted(both)} beside numbered ones of the same name, such as "
                         f"{series[min(both)][0]!r}: rename one.")
    inside = {name for names in series.values() for name in names}
    alone = [Named(name, [name], False) for name in found if name not in inside]
    return [*(Named(s, names, True, s in backward) for s, names in series.items()), *alone]


def _number(name: str) -> int:
    return int(_STEP.fullmatch(name)[2])  # type: ignore[index]


def _is_series(found: dict[str, Any], names: list[str], behind: bool) -> bool:
    numbers = [_number(name) for name in names]
    shapes = {(found[n]["fn"].batch_shape, found[n]["fn"].event_shape) for n in names}
    data = [is_data(found[n]) for n in names]
    of_one_kind = len(set(data)) == 1 or (behind and data == sorted(data, reverse=True))
    return numbers == list(range(numbers[0], numbers[0] + len(names))) and len(shapes) == 1 and of_one_kind


def is_data(site: Any) -> bool:
    """Whether a program observes a site, or would if there were data."""
    return bool(site["is_observed"]) or "was_data" in site["infer"]


def frame_of(site: Any, plate: str | None, rows: int) -> Any:
    """The frame of the plate over sequences in a site's stack, or None."""
    frames = [frame for frame in site["cond_indep_stack"] if frame.vectorized]
    found = [f for f in frames if (f.size == rows if plate is None else f.name == plate)]
    if len(found) > 1:
        raise ValueError(f"site {site['name']!r} stands in {len(found)} plates of {rows}, "
                         f"{sorted(f.name for f in found)}: say which is over sequences, Pair(..., plate=...).")
    if found and found[0].size != rows:
        raise ValueError(f"the plate {plate!r} has {found[0].size} rows for a batch of {rows} sequences: its size "
                         "must be that of the batch, len(x), without a subsample of its own.")
    return found[0] if found else None


def layout_of(site: Any, task: Task, *, timed: bool) -> Layout:
    """Where a site stands in the program, and where it shall."""
    fn, frame = site["fn"], frame_of(site, task.plate, task.rows)
    batch = fn.batch_shape
    framed = {len(batch) + f.dim for f in site["cond_indep_stack"] if f.vectorized}
    return Layout(batch, None if frame is None else len(batch) + frame.dim, frozenset(framed), len(task.particles),
                  task.sequences, timed, task.lead, scalar=not fn.event_shape)


def named_sites(found: dict[str, Any], task: Task, which: str, observed: str | None, *, sized: bool,
                behind: bool) -> list[Named]:
    """Our names for the sites of a program; that of a model's data is x.

    :param observed: the user's name of the data, if there may be doubt. :param sized: whether the program draws x by
        itself, so that it may observe nothing. :param behind: as of :func:`gathered`.
    """
    for site in found.values():
        at = layout_of(site, task, timed=False)
        if at.plate is None and task.rows in at.batch_shape:
            where = "" if task.plate is None else f" named {task.plate!r}"
            raise ValueError(f"Pair: {site['name']!r} of the {which} stands in no plate of {task.rows} sequences{where}"
                             ": write `with pyro.plate('batch', len(x)):` around what belongs to a sequence.")
    names = gathered(found, task.length, task.once, behind=behind, guide=which == "guide")
    if which == "guide":
        return names
    seen = [n for n in names if is_data(found[n.steps[0]])
            and type(found[n.steps[0]]["fn"]).__name__ != "Unit"]  # that is pyro.factor's
    exact = [n for n in names if n.name == (observed or "x") and (n in seen or sized)]
    chosen = exact or (seen if observed is None else [])
    if len(chosen) != 1:
        raise ValueError(f"Pair: the model observes {sorted(n.name for n in seen) or 'nothing'}: say which is the data"
                         ", Pair(..., observed=...).")
    if behind and not chosen[0].timed and stem(chosen[0].name) != chosen[0].name:
        raise ValueError(f"Pair: given the first frames of x and a longer size, the model observes {chosen[0].name!r} "
                         "alone: let it observe these frames, and draw each later one at a site of its own.")
    if any(n.name == "x" and n is not chosen[0] for n in names):
        raise ValueError("Pair: a site named 'x' isn't the data; rename it, since that is what the data are called.")
    return [replace(n, name="x") if n is chosen[0] else n for n in names]
