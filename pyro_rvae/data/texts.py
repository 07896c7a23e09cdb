"""Two small standard sets of text, as characters."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from .datasets import SequenceDataset
from .download import download
from .forms import Text
from .forms.text import pieces_of
from .splits import Splits
from .standard import VARIABLE, Origin, cache, users
from .text import Vocabulary

__all__ = ["names", "tinyshakespeare"]

KARPATHY = "https://raw.githubusercontent.com/karpathy"
SUMS = (
    "0a30b5557f192f32ab962680889aac5f6fda0f4cecf40a6d0b5694f58ea8cc4d",
    "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
)
NAMES = Origin("text/names.txt", ((f"{KARPATHY}/makemore/master/names.txt", SUMS[0]),), SUMS[0])
SHAKESPEARE = Origin(
    "text/tinyshakespeare.txt",
    ((f"{KARPATHY}/char-rnn/master/data/tinyshakespeare/input.txt", SUMS[1]),),
    SUMS[1],
)


def names() -> tuple[Splits[SequenceDataset], Vocabulary]:
    """32,033 first names of 2 to 15 letters, 25,626 / 3,203 / 3,204 of them, and their vocabulary.

    From Karpathy's makemore (MIT). The split is random, always the same one. 29,494 of the names differ, so that
    some of the held-out ones (417 of test) stand in train too. The file is ``text/names.txt``, looked
    for and downloaded as by :func:`jsb_chorales`, which also says what is raised.
    """
    lines = _read(NAMES).split()
    order = np.random.RandomState(0).permutation(len(lines))
    cuts = [0, int(0.8 * len(lines)), int(0.9 * len(lines)), len(lines)]
    sides = [[lines[i] for i in order[a:b]] for a, b in zip(cuts, cuts[1:], strict=False)]
    vocabulary = Vocabulary.from_texts(sides[0])
    form = Text(vocabulary)
    return Splits(*map(form.encode, sides)).linked(), vocabulary


def tinyshakespeare(length: int = 128) -> tuple[Splits[SequenceDataset], Vocabulary]:
    """1,115,394 characters of Shakespeare's plays, and their vocabulary: the first 90%, the next 5%, the last 5%.

    From Karpathy's char-rnn (MIT; the text is in the public domain). Each side is cut into pieces of ``length``
    characters (the last may be shorter), without end symbols. The file is ``text/tinyshakespeare.txt``, looked
    for and downloaded as by :func:`jsb_chorales`, which also says what is raised.

    :param length: characters in a piece.
    """
    if isinstance(length, bool) or not isinstance(length, int) or length < 1:
        raise ValueError(f"tinyshakespeare: length must be an integer of at least 1, got {length!r}")
    text = _read(SHAKESPEARE)
    cuts = [0, int(0.9 * len(text)), int(0.95 * len(text)), len(text)]
    sides = [text[a:b] for a, b in zip(cuts, cuts[1:], strict=False)]
    vocabulary = Vocabulary.from_texts(sides[:1])
    form = Text(vocabulary, length)
    return Splits(*(form.encode(pieces_of(side, length)) for side in sides)).linked(), vocabulary


def _read(origin: Origin) -> str:
    """The text of a set, from the user's folder, the cache, or its origin."""
    path = users(origin)
    if path is not None:
        return _checked(path, origin)
    target = cache() / origin.path
    if not target.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            download(*origin.sources[0], target)
        except ConnectionError as error:
            raise ConnectionError(
                f"{error}; or put the file {origin.path} into a folder that {VARIABLE} names"
            ) from error
    return target.read_text(encoding="utf-8")


def _checked(path: Path, origin: Origin) -> str:
    """A user's own copy is the standard set (a download was checked as it came)."""
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != origin.content:
        raise ValueError(
            f"{path} does not hold the standard set: got content {found}, expected {origin.content} (SHA-256); "
            "remove it to have the set downloaded"
        )
    return content.decode()
