"""Standard sets of pen strokes."""

from __future__ import annotations

import numpy as np
import torch

from .datasets import SequenceDataset
from .forms import Strokes
from .local import check_copy, digest, local_copy
from .npz import read_npz
from .splits import Splits
from .standard import SIDES, Origin
from .transforms import Affine

__all__ = ["omniglot_strokes", "pen_digits"]

OMNIGLOT = Origin("strokes/omniglot_stroke3.npz", (),
                  "1700d2360871698464571522a5dfbb61b3c332ea0850b2ae7efc9c1ff4d43683")
OMNIGLOT_MADE = ("It is the Omniglot set of github.com/hardmaru/sketch-rnn-datasets (MIT) as an .npz file without "
                 "Python objects: train_values, valid_values, test_values (sum T, 3), all drawings one behind the "
                 "other, and train_lengths, valid_lengths, test_lengths (N,).")
PEN = Origin("strokes/pendigits.npz", (), "4625a3b10ef2ea03cc322b3e00ecbb06619e4ba98e08705e5d8957bbc913b031")
PEN_MADE = ("It is UCI's Pen-Based Recognition of Handwritten Digits as an .npz file with the arrays train_xy (7494, "
            "8, 2), test_xy (3498, 8, 2), and train_label, test_label (N,).")
NAMES = ("dx", "dy", "pen")
CENTRE = 50  # of the pen digits' square, 0 to 100
VALID = 748  # pen digits held out of training


def omniglot_strokes() -> Splits[SequenceDataset]:
    """Omniglot's characters of 50 alphabets as moves of a pen ``(dx, dy, pen)``: 30,000 / 1,000 / 1,000, T 2 to 157.

    The form is that of :class:`Strokes`, y growing downwards. Moves are divided by the deviation of all moves of the
    training side, as sketch-rnn does (Ha & Eck 2017, arXiv:1704.03477), which is the sides' ``transform``; the pen is
    left as it is. So they go with :class:`~pyro_rvae.PenStrokes`.

    Source: Lake, Salakhutdinov & Tenenbaum (2015), "Human-level concept learning through probabilistic program
    induction"; made into strokes, and split, by D. Ha (github.com/hardmaru/sketch-rnn-datasets).

    The file is looked for as ``strokes/omniglot_stroke3.npz`` in the folder that ``PYRO_RVAE_DATA`` names, then in the
    user's cache (see :func:`jsb_chorales`). It is not downloaded; its content must have the known SHA-256.

    :raises ValueError: if there is no such file, or its content is another.
    """
    names = {f"{side}_{what}": kind for side in SIDES for what, kind in (("values", "<i2"), ("lengths", "<i8"))}
    held = _arrays(OMNIGLOT, OMNIGLOT_MADE, names)
    sides = [SequenceDataset(held[f"{side}_values"].astype(float), held[f"{side}_lengths"], names=NAMES, kind="real")
             for side in SIDES]
    return _scaled(sides, Strokes())


def pen_digits() -> Splits[SequenceDataset]:
    """10,992 handwritten digits as 8 points each of one stroke: 6,746 / 748 / 3,498, with labels.

    Made into moves ``(dx, dy, pen)`` from the middle of the square; y grows upwards, and ``pen`` is 1 at the last
    point. (The 8 points stand at equal distances along the whole track of the pen, on the paper or not.) The test side
    is that of the set, by 14 other writers; of the training digits a tenth, drawn at random and always the same, is for
    validation. Moves are scaled as by :func:`omniglot_strokes`.

    Source: Alimoglu & Alpaydin (1996), "Methods of Combining Multiple Classifiers Based on Different Representations
    for Pen-based Handwritten Digit Recognition"; UCI Machine Learning Repository.

    The file is looked for as ``strokes/pendigits.npz``, else as :func:`omniglot_strokes`.

    :raises ValueError: if there is no such file, or its content is another.
    """
    held = _arrays(PEN, PEN_MADE, {"train_xy": "<i8", "train_label": "<i8", "test_xy": "<i8", "test_label": "<i8"})
    train, test = (_moves(held[f"{side}_xy"], held[f"{side}_label"]) for side in ("train", "test"))
    order = np.random.RandomState(0).permutation(len(train))
    sides = [train.subset(np.sort(order[VALID:])), train.subset(np.sort(order[:VALID])), test]
    return _scaled(sides, Strokes(up=True))


def _moves(points: np.ndarray, labels: np.ndarray) -> SequenceDataset:
    """Points ``(N, 8, 2)`` as moves from the middle of the square."""
    moves = np.diff(points, axis=1, prepend=CENTRE)
    pen = np.zeros((*moves.shape[:2], 1))
    pen[:, -1] = 1
    values = np.concatenate([moves, pen], -1).reshape(-1, 3)
    return SequenceDataset(values, np.full(len(points), points.shape[1]), labels=labels, names=NAMES, kind="real")


def _scaled(sides: list[SequenceDataset], form: Strokes) -> Splits[SequenceDataset]:
    """Moves divided by their deviation on the training side (of dx and dy together, so that shapes are kept)."""
    scale = float(sides[0].values[:, :2].std(correction=0))
    like = sides[0].values
    units = Affine(torch.zeros(3, dtype=like.dtype), torch.tensor([scale, scale, 1.0], dtype=like.dtype))
    for side in sides:
        side.form = form
    return Splits(*(side.transformed(units) for side in sides)).linked()


def _arrays(origin: Origin, made: str, kinds: dict[str, str]) -> dict[str, np.ndarray]:
    """The arrays of those names, in those types, if they are the known ones."""
    path = local_copy(origin, made)
    held = read_npz(path)
    lacking = [name for name in kinds if name not in held]
    arrays = {name: held[name].astype(kind) for name, kind in kinds.items() if name in held}
    check_copy(f"without {', '.join(lacking)}" if lacking else digest(arrays.values()), origin, path, made)
    return arrays
