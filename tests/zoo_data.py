"""Data sets for the members of the zoo."""

from __future__ import annotations

from typing import Any

from zoo import CLASSES, LENGTHS, Case

import pyro_rvae as rv

KINDS = {"codes": "categories", "counts": "counts", "real": "real", "unit": "real", "frame": "real"}


def data_of(case: Case) -> Any:
    """Four ragged sequences (or items) such as the case takes, with its controls and labels."""
    x, extra = case.x(), case.extra()
    kind = next((kind for word, kind in KINDS.items() if word in case.data.split()), "binary")
    given: dict[str, Any] = {"kind": kind, "classes": CLASSES if kind == "categories" else None,
                             "labels": extra.get("labels")}
    if case.static:
        return rv.data.StaticDataset(x, **given)

    def cut(values: Any) -> list[Any]:
        return [row[:length] for row, length in zip(values, LENGTHS.tolist(), strict=True)]

    controls = cut(extra["controls"]) if "controls" in extra else None
    return rv.data.SequenceDataset.from_sequences(cut(x), controls=controls, **given)
