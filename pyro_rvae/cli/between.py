"""``pyro-rvae reconstruct`` and ``interpolate``: what is encoded and decoded again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .. import plots, tasks
from ..criticism.progress import progress
from ..criticism.tables import count
from ..data.forms import PianoRoll
from .opened import Opened
from .parser import UsageError
from .telling import check_memory
from .uses import Interpolate, Reconstruct
from .writing import in_one, said, write_sequences

__all__ = ["interpolate", "reconstruct"]


def reconstruct(settings: Reconstruct, run: Opened) -> int:
    """Encode sequences and decode them again."""
    path = run.out_of_sequences(settings, "reconstructed")
    raw, data = run.raw(), run.data()
    with progress("reconstruct", shown=not settings.quiet):
        again = tasks.reconstruct(run.model, data, mean=settings.mean, seed=settings.seed)
    write_sequences(path, run.form, again, data.ids, like=raw, **_played(settings, run, path),
                    picture=lambda: plots.reconstruction_plot(run.model, data, seed=settings.seed))
    return said(path, f"{count(len(again), 'sequence')}, encoded and decoded{in_one(path, run.form, len(again))}")


def interpolate(settings: Interpolate, run: Opened) -> int:
    """Go from one sequence to another, or along one latent; or exchange latents."""
    path = run.out_of_sequences(settings, "interpolated")
    data = run.data()
    check_memory(settings.num, data.x_dim)
    first = data.subset([_number("first", settings.first, data)])
    with progress("interpolate", shown=not settings.quiet):
        if settings.dimension is not None:
            found: Any = tasks.traverse(run.model, first, settings.dimension, _between(settings), site=settings.site,
                                        mean=not settings.drawn, seed=settings.seed)
        else:
            second = data.subset([_number("second", settings.second, data)])
            if settings.swap:
                return _swapped(settings, run, path, first, second)
            found = tasks.interpolate(run.model, first, second, settings.num, path=settings.path,
                                      mean=not settings.drawn, seed=settings.seed)
    if settings.dimension is not None:
        what = f"along dimension {settings.dimension} of the latent of sequence {settings.first}"
        ids = [f"{found.site}[{found.dimension}] {value:+.4g}" for value in found.values]
    else:
        what = f"from sequence {settings.first} to {settings.second}"
        ids = _on_the_way(found)
    write_sequences(path, run.form, list(found.sequences), ids, picture=lambda: plots.between_plot(found),
                    **_played(settings, run, path))
    return said(path, f"{count(len(found), 'sequence')}, {what}{in_one(path, run.form, len(found))}")


def _on_the_way(found: Any) -> list[str]:
    """The ids of both ends, and of what is between how far it is from the first."""
    first, second = found.ids
    middle = [f"{first} to {second} {weight:.3f}" for weight in found.weights]
    return middle if len(middle) < 2 or first == second else [first, *middle[1:-1], second]


def _swapped(settings: Interpolate, run: Opened, path: Path, first: Any, second: Any) -> int:
    sites = None if settings.site is None else (settings.site,)
    found = tasks.swap(run.model, first, second, sites=sites, mean=not settings.drawn, seed=settings.seed)
    (a, b), exchanged = found.ids, " and ".join(found.sites)
    names = [a, b, f"{a} with {exchanged} of {b}", f"{b} with {exchanged} of {a}"]
    write_sequences(path, run.form, [*found.reconstructed, *found.swapped], names if a != b else None,
                    picture=lambda: plots.swap_plot(found), **_played(settings, run, path))
    return said(path, f"sequences {settings.first} and {settings.second}, and both with {exchanged} of the other")


def _between(settings: Interpolate) -> list[float]:
    if not settings.low < settings.high:
        raise UsageError(f"--low must be below --high, got {settings.low} and {settings.high}")
    if settings.num < 2:
        raise UsageError(f"--num must be at least 2 along a dimension, got {settings.num}")
    step = (settings.high - settings.low) / (settings.num - 1)
    return [settings.low + i * step for i in range(settings.num)]


def _number(name: str, i: int, data: Any) -> int:
    if not 0 <= i < len(data):
        raise UsageError(f"--{name} must be the number of a sequence, 0 to {len(data) - 1}, got {i}")
    return i


def _played(settings: Any, run: Opened, path: Path) -> dict[str, Any]:
    """How MIDI is played."""
    is_midi = isinstance(run.form, PianoRoll) and path.suffix.lower() in (*run.form.writes, "")
    return {"tempo": settings.tempo, "program": settings.program} if is_midi else {}
