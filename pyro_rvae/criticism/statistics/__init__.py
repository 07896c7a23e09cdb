"""Test statistics: plain functions of one sequence, ``(T, x_dim)`` as a NumPy array, to a number or a vector.

Any function of that form will do in :func:`~pyro_rvae.criticism.predictive_check`; these are those at hand.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from .codes import category_shares, changes, distinct, entropy, for_classes, transitions
from .general import (
    Statistic,
    autocorrelation,
    autocorrelations,
    average_autocorrelation,
    average_mean,
    average_scale,
    beside_gaps,
    excursion,
    largest,
    longest_run,
    maximum,
    mean,
    minimum,
    missing,
    present,
    run_length,
    run_lengths,
    scale,
    shares,
    smallest,
    spectrum,
    spread,
    zeros,
)
from .music import (
    MUSIC,
    consonance,
    held_notes,
    intervals,
    melodic_intervals,
    melodic_motion,
    note_length,
    notes_per_frame,
    pitch_classes,
    silence,
)

__all__ = [
    "BINARY", "COUNTS", "GAPS", "MUSIC", "REAL", "STATIC", "Statistic", "autocorrelation", "autocorrelations",
    "average_autocorrelation", "average_mean", "average_scale", "beside_gaps", "category_shares", "changes",
    "consonance", "distinct", "entropy", "excursion", "for_classes", "held_notes", "intervals", "largest",
    "longest_run", "maximum", "mean", "melodic_intervals", "melodic_motion", "minimum", "missing", "note_length",
    "notes_per_frame", "pitch_classes", "present", "run_length", "run_lengths", "scale", "shares", "silence",
    "smallest", "spectrum", "spread", "statistics_for", "transitions", "zeros",
]

REAL: dict[str, Statistic] = {
    "average mean": average_mean,
    "average scale": average_scale,
    "smallest": smallest,
    "largest": largest,
    "average autocorrelation": average_autocorrelation,
    "stay above the mean": excursion,
    "mean": mean,
    "scale": scale,
    "autocorrelations": autocorrelations,
    "spectrum": spectrum,
}
BINARY: dict[str, Statistic] = {
    "share of ones": average_mean,
    "average autocorrelation": average_autocorrelation,
    "run of ones": partial(run_length, above=0.0),
    "longest run": longest_run,
    "mean": mean,
    "autocorrelations": autocorrelations,
    "runs of ones": partial(run_lengths, above=0.0),
}
COUNTS: dict[str, Statistic] = {
    "average mean": average_mean,
    "average scale": average_scale,
    "share of zeros": zeros,
    "largest": largest,
    "average autocorrelation": average_autocorrelation,
    "mean": mean,
    "scale": scale,
    "autocorrelations": autocorrelations,
    "spectrum": spectrum,
}
STATIC: dict[str, Statistic] = {
    "average": average_mean,
    "spread": spread,
    "smallest": smallest,
    "largest": largest,
    "element": mean,
}
GAPS: dict[str, Statistic] = {"missing share": missing, "beside gaps": beside_gaps}


def statistics_for(data: Any) -> dict[str, Statistic]:
    """What to look at by default, by the kind of the data.

    Music for sequences of 88 binary keys, otherwise those of binary data, counts, real numbers, or categories;
    of static data those that need no time; and what tells of gaps, where there are any.
    """
    if data.kind == "categories":
        return for_classes(data.classes)
    if not hasattr(data, "lengths"):
        return dict(STATIC)
    music = data.kind == "binary" and data.x_dim == 88
    found = MUSIC if music else {"binary": BINARY, "counts": COUNTS, "real": REAL}[data.kind]
    return {**found, **GAPS} if data.missing else dict(found)
