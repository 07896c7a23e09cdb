"""A data set that is drawn, not measured: what generated it is known, so its exact cost is too."""

from __future__ import annotations

import numpy as np

from .datasets import SequenceDataset
from .splits import Splits

__all__ = ["synthetic9"]

DRIFT, STEP, GAIN, NOISE = 0.05, 10.0, 0.5, 20.0  # of z, its variance a step, of x from z, its variance
SIZES = ((5000, 25), (500, 25), (500, 50))  # sequences and steps of the three sides


def synthetic9() -> Splits[SequenceDataset]:
    r"""The linear-Gaussian set of the DMM paper: 5000 / 500 / 500 sequences of 25 / 25 / 50 steps, one feature.

    .. math::
        z_1 \sim N(0, 1), \qquad z_t \sim N(z_{t-1} + 0.05,\ 10), \qquad x_t \sim N(0.5\, z_t,\ 20)

    (variances). The exact cost, minus the log-density of a sequence under this law by the Kalman filter, is 3.076313
    (train), 3.074113 (valid) and 3.083731 (test) nats per frame: on average no bound may lie below it. The units are
    raw: after ``standardize()`` every density of a frame is larger by the log of the scale, so add
    ``data.test.transform.scale.log().sum()`` to a cost in nats per frame to compare it.

    Source: Krishnan, Shalit & Sontag (2017), arXiv:1609.09869, section 5.1. Drawn as there, by NumPy's generator of
    seed 1: sides in this order, of each z_1, then the steps of z for all sequences, then x. The caller's random state
    is left alone. We differ in the name of the first latent, their z_0.

    >>> synthetic9().test
    SequenceDataset(500 sequences, 25000 frames, x_dim=1, kind='real', lengths 50-50-50)
    """
    random = np.random.RandomState(1)
    return Splits(*(_side(random, *size) for size in SIZES)).linked()


def _side(random: np.random.RandomState, sequences: int, steps: int) -> SequenceDataset:
    first = random.standard_normal(sequences)
    moves = DRIFT + STEP**0.5 * random.standard_normal((steps - 1, sequences))
    z = np.cumsum([first, *moves], 0).T
    x = GAIN * z + NOISE**0.5 * random.standard_normal((sequences, steps))
    return SequenceDataset(x.reshape(-1, 1), np.full(sequences, steps), kind="real")
