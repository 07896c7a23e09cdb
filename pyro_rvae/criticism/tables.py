"""How results print: aligned columns, the words for floors, and the table of an evaluation."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

__all__ = ["FLOORS", "beside", "bounds_table", "count", "included", "plain", "table"]

FLOORS = {"independent": "independent", "markov": "Markov"}


def table(rows: Sequence[Sequence[str]], notes: Sequence[str] = ()) -> str:
    """Rows of cells in columns, the first to the left and the others to the right; a row may be shorter.

    ``notes``: what stands behind the cells of each row, in no column; for the first rows, if they are fewer.
    """
    columns = range(max(map(len, rows)))
    widths = [max(len(row[i]) for row in rows if i < len(row)) for i in columns]
    lines = []
    for i, (first, *others) in enumerate(rows):
        cells = [first.ljust(widths[0]), *(c.rjust(w) for c, w in zip(others, widths[1:], strict=False))]
        lines.append("  ".join(cells + [note for note in notes[i : i + 1] if note]))
    return "\n".join("  " + line.rstrip() for line in lines)


def beside(floor: float, cost: float) -> str:
    """Where a cost stands: ``"0.450 below"`` a floor, or above it."""
    return f"{abs(floor - cost):.3f} {'below' if cost <= floor else 'above'}"


def count(number: int, what: str = "particle", shown: str = "") -> str:
    """``"1 particle"``, ``"2000 particles"``; ``shown``: the number as it is to be written."""
    return f"{shown or number} {what}" + "s" * bool(number != 1)


def plain(value: Any) -> Any:
    """As strict JSON takes it: arrays and tuples as lists, NumPy's numbers as Python's, None for what is not finite."""
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def included(observed: Iterable[str], data: Any) -> str:
    """What a bound on the density of all that is observed includes beside x, in words; nothing, if that is x alone."""
    others = sorted(set(observed) - {"x"})
    if not others:
        return ""
    return "the labels " * (len(others) == 1 and data.labels is not None) + " and ".join(others)


def bounds_table(found: Any, more: Sequence[tuple[str, str, str]] = ()) -> str:
    """What an :class:`Evaluation` prints; a column that would say nothing is left out.

    ``more``: rows to follow: label, figure, and what it means.
    """
    frames, number = found.unit == "frame", len(found.lengths)
    size = count(number, "sequence" if frames else "item", f"{number:,}")
    head = f"{found.name}: {size}" + f", {found.num_frames:,} frames" * frames
    units = ", in the units of the transformed data" * found.transformed
    units += f", including {found.includes}" * bool(found.includes)
    each = count(found.num_particles)
    rows = _bounds(found)
    rows.append([f"reconstruction ({each})", f"{found.reconstruction:.3f}"])
    if found.includes:
        rows += [[f"  of {name}", f"{cost.sum() / found.num_frames:.3f}"] for name, cost in found.likelihoods.items()]
    rows.append([f"KL ({each})", f"{found.kl:.3f}"])
    notes = [""] * len(rows)
    for floor, cost in found.floors.items():
        rows.append([f"{FLOORS[floor]} floor", f"{cost:.3f}"])
        said = f"of x, without {found.includes}" if found.includes else f"the ELBO is {beside(cost, found.elbo)} it"
        notes.append("" if found.point else said)
    if found.shared_kl:
        rows.append([f"KL of what is shared ({each})", f"{found.shared_kl:.3f}"])
        notes.append("nats in all, in no figure above")
    for label, figure, meaning in more:
        rows.append([label, figure])
        notes.append(meaning)
    return f"{head}. Nats per {found.unit}{units}; lower is better.\n" + table(rows, notes)


def _bounds(found: Any) -> list[list[str]]:
    """The columns' names, and a row for each bound."""
    ragged, bits, own = len(set(found.lengths.tolist())) > 1, found.bits_per_dim, found.mean_over_sequences
    rows = [["", f"nats/{found.unit}", "95% interval", *["by sequence"] * ragged, *["bits/dim"] * bool(bits)]]
    for name, k in found.printed.items():
        low, high = found.interval(k)
        row = [name, f"{found.bound(k):.3f}", "-" if math.isnan(low) else f"{low:.3f} to {high:.3f}"]
        rows.append(row + [f"{own[name]:.3f}"] * ragged + [f"{bits.get(name, 0):.4f}"] * bool(bits))
    return rows
