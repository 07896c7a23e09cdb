"""Intensive care: irregular measurements of many variables, on an hourly grid."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .datasets import SequenceDataset
from .local import check_copy, digest, local_copy
from .npz import read_npz
from .splits import Splits
from .standard import Origin

__all__ = ["PLAUSIBLE", "physionet2012"]

SET_A = Origin("physionet2012/physionet2012_seta_first1000.npz", (),
               "fcc5355e9c7fce9c193606350cdb61b33eae459921cf02ef4687301dc3451771")
TYPES = {"time_min": "<i2", "var": "u1", "value": "<f4", "offsets": "<i4", "record_id": "<i4", "outcomes": "<i2"}
MADE = ("It is the first 1000 records of PhysioNet's Challenge 2012, set A, as an .npz file: events time_min, var, "
        "value (E,), those of record i in rows offsets[i]:offsets[i + 1]; var_names (37,), record_id (1000,), outcomes "
        "(1000, 5), the last column In-hospital_death")
MINUTES = 2880  # of the first 48 hours of a stay
CUTS = (0, 800, 900, 1000)
DEAD = 4  # column of the outcomes

# What a living patient, and the device, can show: wide limits, from physiology and units alone, not from the records.
PLAUSIBLE: dict[str, tuple[float, float]] = {
    "ALP": (1, 10_000), "ALT": (1, 30_000), "AST": (1, 50_000), "Albumin": (0.5, 10), "BUN": (1, 300),
    "Bilirubin": (0.01, 100), "Cholesterol": (10, 1_500), "Creatinine": (0.05, 50), "DiasABP": (5, 200),
    "FiO2": (0.2, 1), "GCS": (3, 15), "Glucose": (5, 2_500), "HCO3": (1, 80), "HCT": (5, 80), "HR": (10, 300),
    "K": (0.5, 15), "Lactate": (0.05, 50), "MAP": (5, 250), "Mg": (0.1, 15), "NIDiasABP": (5, 200),
    "NIMAP": (5, 250), "NISysABP": (20, 300), "Na": (80, 220), "PaCO2": (5, 250), "PaO2": (10, 700),
    "Platelets": (1, 3_000), "RespRate": (1, 100), "SaO2": (20, 100), "SysABP": (20, 300), "Temp": (25, 45),
    "TroponinI": (0, 500), "TroponinT": (0, 100), "Urine": (0, 6_000), "WBC": (0, 500), "Weight": (20, 400),
    "pH": (6.5, 8.0),
}


def physionet2012(hours: float = 1.0, how: Literal["mean", "last"] = "mean") -> Splits[SequenceDataset]:
    """800 / 100 / 100 stays in intensive care, 36 variables, 48 hours on a grid; what was not measured is NaN.

    Silva, Moody, Scott, Celi & Mark, "Predicting in-hospital mortality of ICU patients: the PhysioNet/Computing in
    Cardiology Challenge 2012", Computing in Cardiology 39 (2012): the first 1000 records of set A, split in the
    order of the records. All stays have ``48 / hours`` frames (a whole one may be missing); the event at 48:00
    counts to the last. Labels are 1 where the patient died in hospital, else 0; ids are the record numbers. Values are
    in the units of the records: ``physionet2012().standardize()``.

    Two rules, fixed beforehand: values outside of :data:`PLAUSIBLE` (a pH of 73, a temperature of -17.8, a blood
    pressure of 0) are errors of entry or artefacts and count as not measured; and MechVent, a mark that is 1 wherever
    it stands, holds nothing to impute and is left out. The statics of admission (age, gender, ...) are not in it.

    The file is looked for as ``physionet2012/physionet2012_seta_first1000.npz`` in the folder that the environment
    variable ``PYRO_RVAE_DATA`` names, then in the user's cache; it is not downloaded.

    :param hours: of one frame, which must divide 48.
    :param how: several values of an hour become their mean, or the last of them.
    :raises ValueError: for hours that don't divide 48, another ``how``, no file, or one that is not the known one.
    """
    size = hours * 60 if isinstance(hours, int | float) and not isinstance(hours, bool) else 0
    if size < 1 or size != int(size) or MINUTES % int(size):
        raise ValueError(f"physionet2012: hours must divide 48 into whole minutes (1, 0.5, 2, ...), got {hours!r}")
    if how not in ("mean", "last"):
        raise ValueError(f"physionet2012: how must be 'mean' or 'last', got {how!r}")
    arrays = _arrays()
    names = [str(name) for name in arrays["var_names"]]
    steps = MINUTES // int(size)
    grid = _grid(arrays, names, steps, int(size), how)[..., [i for i, name in enumerate(names) if name in PLAUSIBLE]]
    return Splits(*(_side(arrays, grid, slice(a, b)) for a, b in zip(CUTS, CUTS[1:], strict=False))).linked()


def _side(arrays: dict[str, NDArray[Any]], grid: NDArray[Any], some: slice) -> SequenceDataset:
    values = grid[some]
    return SequenceDataset(
        values.reshape(-1, values.shape[-1]), np.full(len(values), values.shape[1]),
        labels=arrays["outcomes"][some, DEAD].astype(np.int64), kind="real",
        names=[str(name) for name in arrays["var_names"] if str(name) in PLAUSIBLE],
        ids=[str(number) for number in arrays["record_id"][some]],
    )  # fmt: skip


def _grid(arrays: dict[str, NDArray[Any]], names: list[str], steps: int, size: int, how: str) -> NDArray[Any]:
    """Events to ``(stays, steps, variables)``, NaN where there is none."""
    var, value, offsets = arrays["var"], arrays["value"].astype(np.float64), arrays["offsets"]
    stay = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    low, high = np.array([PLAUSIBLE.get(name, (-np.inf, np.inf)) for name in names]).T
    kept = (value >= low[var]) & (value <= high[var])
    step = np.minimum(arrays["time_min"] // size, steps - 1)
    cell = (stay * steps + step) * len(names) + var
    cell, value, time = cell[kept], value[kept], arrays["time_min"][kept]
    grid = np.full((len(offsets) - 1) * steps * len(names), np.nan)
    if how == "last":
        order = np.lexsort((time, cell))  # of one cell the last in time is written last
        grid[cell[order]] = value[order]
    else:
        count = np.bincount(cell, minlength=grid.size)
        total = np.bincount(cell, value, minlength=grid.size)
        grid[count > 0] = total[count > 0] / count[count > 0]
    return grid.reshape(-1, steps, len(names))


def _arrays() -> dict[str, NDArray[Any]]:
    """The arrays of the file, checked."""
    path = local_copy(SET_A, MADE)
    arrays = read_npz(path)
    whole = TYPES.keys() <= arrays.keys()
    found = digest(arrays[name].astype(kind) for name, kind in TYPES.items()) if whole else f"arrays {sorted(arrays)}"
    check_copy(found, SET_A, path, MADE)
    return arrays
