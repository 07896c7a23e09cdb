"""Handwritten digits with their labels."""

from __future__ import annotations

import gzip
import hashlib
from typing import Any

import numpy as np

from .datasets import SequenceDataset
from .forms import Images
from .local import check_copy, local_copy
from .splits import Splits
from .standard import Origin
from .static import StaticDataset

__all__ = ["mnist_digits"]

PIXELS = Origin("mnist/t10k-images-idx3-ubyte.gz", (),
                "ba05d2d6e06f59dd97d2d5378250478bb5c9b64296a5c2681700569121e3a2d7")
LABELS = Origin("mnist/t10k-labels-idx1-ubyte.gz", (),
                "94088eab8a64f51a9b34cc9716f54b6548ef8b2fd16ada6d1575091b933dbf4b")
MADE = "It is a file of the MNIST database of handwritten digits (LeCun, Cortes & Burges), of its test set."
CUTS = (8000, 9000)


def mnist_digits(*, rows: bool = True) -> Splits[Any]:
    """The 10,000 test digits of MNIST with their labels, binarized: 8,000 / 1,000 / 1,000 in the file's order.

    A pixel above half of full white is 1. It is a small set for models with labels; :func:`binarized_mnist`, the
    literature's, has none, and its figures don't compare.

    Source: LeCun, Bottou, Bengio & Haffner (1998), "Gradient-based learning applied to document recognition".

    The files are looked for as ``mnist/t10k-images-idx3-ubyte.gz`` and ``mnist/t10k-labels-idx1-ubyte.gz`` in the
    folder that ``PYRO_RVAE_DATA`` names, then in the user's cache (see :func:`jsb_chorales`). They are not downloaded;
    they must have the known SHA-256.

    :param rows: as for :func:`binarized_mnist`.
    :raises ValueError: if there is no such file, or its content is another.
    """
    pixels = _bytes(PIXELS)[16:].reshape(-1, 28, 28) > 127
    labels = _bytes(LABELS)[8:].astype(int)
    form = Images(28, 28, rows=rows)
    whole: Any
    if rows:
        whole = SequenceDataset(pixels.reshape(-1, 28), np.full(len(pixels), 28), labels=labels, kind="binary")
    else:
        whole = StaticDataset(pixels.reshape(-1, 784), labels=labels, kind="binary")
    whole.form = form
    first, second = CUTS
    sides = (range(first), range(first, second), range(second, len(pixels)))
    return Splits(*(whole.subset(side) for side in sides)).linked()


def _bytes(origin: Origin) -> np.ndarray:
    path = local_copy(origin, MADE)
    packed = path.read_bytes()
    check_copy(hashlib.sha256(packed).hexdigest(), origin, path, MADE)
    return np.frombuffer(gzip.decompress(packed), dtype=np.uint8)
