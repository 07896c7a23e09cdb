"""Long series: windows to train on, and the hourly load of an electricity transformer."""

from __future__ import annotations

import csv
import gzip
import hashlib
from collections.abc import Sequence
from datetime import datetime

import numpy as np
import torch

from .datasets import SequenceDataset
from .indexing import take
from .local import check_copy, local_copy
from .splits import Splits
from .standard import Origin

__all__ = ["etth1", "split_in_time", "windows"]

ROWS = {"train": 8640, "valid": 2880, "test": 2880}  # 12, 4 and 4 months of 30 days
CALENDAR = {"hour": 24.0, "week": 168.0, "year": 8766.0}  # hours
BEGIN = datetime(2016, 7, 1)
LEAST = 30  # frames of a series that is split in time
ETTH1 = Origin("timeseries/ETTh1.csv.gz", (), "f18de3ad269cef59bb07b5438d79bb3042d3be49bdeecf01c1cd6d29695ee066")
MADE = ("It is ETT-small/ETTh1.csv of the repository zhouhaoyi/ETDataset (CC BY-ND 4.0), unmodified, packed with gzip.")


def windows(data: SequenceDataset, length: int, stride: int | None = None) -> SequenceDataset:
    """Pieces of ``length`` frames, cut out of long sequences: what a model trains on where whole series are too long.

    They begin ``stride`` frames apart, and one more ends with the sequence where the others leave frames behind them. A
    sequence that is no longer is kept whole. Labels, controls, times and units go along; ids are told apart by the
    first frame, ``"name[24]"``.

    :param length: frames of a window.
    :param stride: frames between the beginnings of two windows (default: ``length``, so that they don't overlap).
    :raises ValueError: if one is no positive integer.
    """
    for name, value in {"length": length, "stride": length if stride is None else stride}.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"windows: {name} must be an integer of at least 1, got {value!r}")
    last = (data.lengths.numpy() - length).clip(min=0)
    begin = [np.union1d(np.arange(0, end + 1, stride or length), [end]) for end in last]
    numbers = np.repeat(np.arange(len(data)), [len(each) for each in begin])
    first, sizes = np.concatenate(begin), data.lengths.numpy()[numbers].clip(max=length)
    ids = None if data.ids is None else [f"{data.ids[n]}[{a}]" for n, a in zip(numbers, first, strict=True)]
    return _pieces(data, numbers, first, sizes, ids)


def split_in_time(data: SequenceDataset) -> Splits[SequenceDataset]:
    """Of each series the first 80% of its frames to train on, the next 10% to validate, the last 10% to test.

    :raises ValueError: if one has fewer than 30 frames.
    """
    lengths, every = data.lengths.numpy(), np.arange(len(data))
    if lengths.min() < LEAST:
        raise ValueError(f"{len(data)} sequences cannot be split into train, valid and test, and {lengths.min()} frames"
                         f" are too few to split one in time: give at least three sequences, or {LEAST} frames")
    ends = [0 * lengths, (0.8 * lengths).astype(int), (0.9 * lengths).astype(int), lengths]
    return Splits(*(_pieces(data, every, a, b - a, data.ids) for a, b in zip(ends, ends[1:], strict=False))).linked()


def _pieces(data: SequenceDataset, numbers: np.ndarray, first: np.ndarray, sizes: np.ndarray,
            ids: Sequence[str] | None) -> SequenceDataset:
    """Of the series ``numbers[i]``, ``sizes[i]`` frames from ``first[i]`` on."""
    starts = data.starts.numpy()[numbers] + first
    rows = torch.from_numpy(np.concatenate([np.arange(a, a + n) for a, n in zip(starts, sizes, strict=True)]))
    made = SequenceDataset(
        data.values[rows], sizes, labels=take(data.labels, torch.from_numpy(numbers)),
        controls=take(data.controls, rows), names=data.names, ids=ids, kind=data.kind, classes=data.classes,
        transform=data.transform, times=take(data.times, rows))
    made.form = data.form
    return made


def etth1(context: int = 0) -> Splits[SequenceDataset]:
    """Two years of an electricity transformer, hour by hour: six loads and the oil's temperature, 8640 / 2880 / 2880.

    Each side is one series: the first 12, the next 4 and the next 4 months of 30 days from 1 July 2016, as the
    literature takes them (3,020 rows that follow are left out). Raw units; the literature's figures are in units of the
    training standard deviations, ``etth1().standardize()``.

    ``controls (sum T, 6)`` are the calendar, known ahead: sine and cosine of the hour of the day, of the hour of the
    week, and of the day of the year. ``times`` are hours since 1 July 2016, 0:00.

    Source: Zhou et al. (2021), "Informer: Beyond Efficient Transformer for Long Sequence Time-Series Forecasting",
    arXiv:2012.07436.

    The file is looked for as ``timeseries/ETTh1.csv.gz`` in the folder that ``PYRO_RVAE_DATA`` names, then in the
    user's cache (see :func:`jsb_chorales`). It is not downloaded; the table in it must have the known SHA-256.

    :param context: hours of the side before that valid and test begin with, so that their first forecast has a past.
    :raises ValueError: if there is no such file, its content is another, or ``context`` is negative or longer than the
        shortest side.
    """
    most = min(ROWS.values())
    if isinstance(context, bool) or not isinstance(context, int) or not 0 <= context <= most:
        raise ValueError(f"etth1: context must be an integer between 0 and {most}, got {context!r}")
    values, hours, names = _table()
    calendar = np.concatenate([[np.sin(2 * np.pi * hours / n), np.cos(2 * np.pi * hours / n)]
                               for n in CALENDAR.values()]).T
    ends = np.cumsum(list(ROWS.values()))
    sides = []
    for (side, rows), end in zip(ROWS.items(), ends.tolist(), strict=True):
        here = slice(end - rows - (context if side != "train" else 0), end)
        size = here.stop - here.start
        sides.append(SequenceDataset(values[here], [size], controls=calendar[here], names=names, ids=["ETTh1"],
                                     kind="real", times=hours[here]))
    return Splits(*sides).linked()


def _table() -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Values ``(T, 7)``, hours since the beginning ``(T,)``, and the names of the columns."""
    path = local_copy(ETTH1, MADE)
    try:
        text = gzip.decompress(path.read_bytes())
    except (OSError, EOFError) as error:
        raise ValueError(f"{path} is no gzip file: {error}. {MADE}") from error
    check_copy(hashlib.sha256(text).hexdigest(), ETTH1, path, MADE)
    (_, *names), *rows = csv.reader(text.decode().splitlines())
    hours = [(datetime.fromisoformat(row[0]) - BEGIN).total_seconds() / 3600 for row in rows]
    return np.array([row[1:] for row in rows], dtype=np.float64), np.array(hours), names
