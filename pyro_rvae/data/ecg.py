"""ECG5000: heartbeats of one patient, most of them normal."""

from __future__ import annotations

import numpy as np

from .datasets import SequenceDataset
from .local import check_copy, digest, local_copy
from .npz import read_npz
from .splits import Splits
from .standard import Origin

__all__ = ["ecg5000"]

CLASSES = ("normal", "R-on-T", "PVC", "SP or EB", "unclassified")  # of the labels 0 to 4
TRAIN = 200  # normal beats
VALID = (14, 27, 2, 3, 0)  # beats of each class: 46 of the 300 others, in proportion
ECG = Origin("timeseries/ecg5000_train500.npz", (), "b3d035e49ddff71803370041db38e214034e464878d197654e7e1af232b3f644")
MADE = ("It is the training part of ECG5000 of the UCR archive as an .npz file with the arrays x (500, 140), float32, "
        "and label (500,), uint8 from 1.")


def ecg5000() -> Splits[SequenceDataset]:
    """500 heartbeats of 140 samples, split for the detection of anomalies: 200 / 46 / 254.

    ``train`` are 200 normal beats, to learn what normal is. The 300 others are split in proportion to their classes:
    ``valid``, to choose settings and a threshold on, has 14 normal beats and 32 that are not (27, 2, 3 and 0 of a
    kind), ``test`` 78 and 176 (150, 8, 16 and 2). Which beats go where was drawn once and for all. ``labels`` are the
    classes, 0 (normal) to 4: R-on-T premature ventricular contraction, premature ventricular contraction,
    supra-ventricular premature or ectopic beat, unclassified.

    The beats of one patient with severe congestive heart failure, cut out and interpolated to equal length; each has
    mean 0 and standard deviation 1. This is the 500 of the archive's training part; ``ids`` are their rows in it.

    Source: Goldberger et al. (2000), "PhysioBank, PhysioToolkit, and PhysioNet", Circulation 101, record chf07; Chen et
    al. (2015), "A General Framework for Never-Ending Learning from Time Series Streams", DMKD 29; UCR archive.

    The file is looked for as ``timeseries/ecg5000_train500.npz`` in the folder that ``PYRO_RVAE_DATA`` names, then in
    the user's cache (see :func:`jsb_chorales`). It is not downloaded; its content must have the known SHA-256.

    :raises ValueError: if there is no such file, or its content is another.
    """
    path = local_copy(ECG, MADE)
    held = read_npz(path)
    arrays = [np.asarray(held[name], dtype=form) for name, form in {"x": "<f4", "label": "u1"}.items() if name in held]
    check_copy(digest(arrays), ECG, path, MADE)
    beats, labels = arrays
    whole = SequenceDataset(beats.reshape(-1, 1), np.full(len(beats), beats.shape[1]), labels=labels.astype(int) - 1,
                            names=["ecg"], ids=[str(row) for row in np.arange(len(beats))], kind="real")
    order = np.random.RandomState(0).permutation(len(beats))
    kinds = [order[labels[order] == label] for label in np.arange(1, len(CLASSES) + 1)]
    train, kinds[0] = kinds[0][:TRAIN], kinds[0][TRAIN:]
    valid = np.concatenate([kind[:share] for kind, share in zip(kinds, VALID, strict=True)])
    test = np.concatenate([kind[share:] for kind, share in zip(kinds, VALID, strict=True)])
    return Splits(*(whole.subset(np.sort(side)) for side in (train, valid, test))).linked()
