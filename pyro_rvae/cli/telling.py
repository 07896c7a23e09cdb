"""What is said on stderr: one line, in the words of the command line."""

from __future__ import annotations

import math
import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["check_memory", "in_words", "is_of_memory", "out_of_memory", "plain_warnings", "tell"]

# What the functions of the library advise, and what a command line can do instead.
WORDS = (
    (r"needs those of both, so pass a data set with controls, and controls= of the frames to come",
     "needs those of both: give a file with columns control:NAME, and one of the frames to come with --controls"),
    (r"pass controls=, of shape \(N, horizon, control_dim\) = \((\d+), (\d+), (\d+)\)",
     r"give them with --controls FILE: \1 sequences of \2 frames, \3 inputs each"),
    (r"controls must be \(N, horizon, control_dim\) = \((\d+), (\d+), (\d+)\)",
     r"--controls must hold \1 sequences of \2 frames, \3 inputs each"),
    (r"controls must be \(horizon, control_dim\) = \((\d+), (\d+)\) for each",
     r"--controls must hold \1 frames of \2 inputs for each"),
    (r"pass controls=\.\.\.\.?", "give the file columns control:NAME"),
    (r"[Pp]ass labels=\.\.\., with -1 \(NaN, of numbers\) where one is unknown; to predict them use "
     r"rv\.tasks\.predict_labels", "give the file a column label"),
    (r"pass labels=\.\.\.\.?", "give the file a column label"),
    (r"give it labels \(-1, or NaN, where one is unknown\)",
     "give the file a column label, or an .npz an array labels (-1, or NaN, where one is unknown)"),
    (r"pass a data set with labels", "give the file a column label"),
    (r"choose a smaller start, context or horizon", "give longer series, or a smaller --context or --horizon"),
    (r"to generate by label build it with context=rv\.Context\.for_data\(data\) and train it so, or leave them out",
     "train one with --model.context '{partial: Context, init_args: {classes: K}}', or leave --label out"),
    (r"labels were given, and", "--label was given, and"),
    (r"score more validation data, or ask for a lower quantile", "ask for a lower --quantile"),
    (r"cannot be read as Table, which is", "cannot be read as a table of numbers, which is"),
    (r"cannot be read as PianoRoll, which is", "cannot be read as music, which is"),
    (r"cannot be read as (Spectrum|Waveform), which is", "cannot be read as sound, which is"),
    (r"cannot be read as Text, which is", "cannot be read as text, which is"),
    (r"cannot be read as Images, which is", "cannot be read as images, which are"),
    (r"cannot be read as Strokes, which is", "cannot be read as drawings, which are"),
    (r": read files for it with rv\.data\.read\(path, model\)", ""),
    (r"draw with mean=False, and average draws where a mean is needed",
     "draw instead (without --mean, or with --drawn)"),
    (r"mean=True: ", "means: "),
    (r"use by='sequence'", "use --by sequence"),
    (r", or build the data set with the kind= that its values are", ""),
    (r"pass data like those that the model was built for", "give data like those that it was trained on"),
    (r"controls \(B, T, (\d+)\), got none", r"\1 controls a step, and there are none"),
    (r"; with teacher_forced=True its one-step law of each frame says what it makes of x",
     ": `pyro-rvae evaluate` says how well it predicts"),
    (r"and length, which counts them", "and --length, which counts them"),
    (r"pass allow=\('\w+',\), or (--trust \w+) on the command line", r"give \1"),
    (r"^(num|program|tempo|horizon|length) must", r"--\1 must"),
    (r"pass rv\.(?=[A-Z])", "pass pyro_rvae."),
    (r"\brv\.(tasks\.)?(?=[A-Za-z])", ""),
)
TASKS = ("generate", "swap", "traverse", "threshold", "predict_labels")  # which a command calls
MEMORY = ("can't allocate memory", "not enough memory", "Storage size calculation overflowed", "array is too big",
          "Maximum allowed dimension", "out of memory", "larger than the maximum possible size")


def in_words(command: str, message: str) -> str:
    """A message of the library as the command line says it."""
    message = re.sub(rf"^(({'|'.join((command, *TASKS))}): )+", "", " ".join(message.split()))
    for pattern, words in WORDS:
        message = re.sub(pattern, words, message)
    return message


def is_of_memory(error: BaseException) -> bool:
    """Whether an error says that a request is too large to be held."""
    return isinstance(error, MemoryError | OverflowError) or (
        isinstance(error, RuntimeError | ValueError) and any(words in str(error) for words in MEMORY))


def out_of_memory() -> str:
    """What to do about it."""
    return "there is not enough memory for so much: ask for less (a smaller --num, --horizon, --length or " \
           "--num_particles, or a shorter file)"


def check_memory(*counts: int) -> None:
    """Refuse a request whose numbers, the product of ``counts``, this machine cannot hold, before anything is computed.

    Raises:
        MemoryError: it can't.
    """
    try:
        there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not every system tells
        return
    if 4 * math.prod(counts) > there:
        raise MemoryError


def tell(command: str, words: str) -> None:
    """One line on stderr. A bar that stands there is closed first, so that it begins a line."""
    for bar in _bars():
        bar.close()
    print(f"pyro-rvae {command}: {words}", file=sys.stderr)


@contextmanager
def plain_warnings(command: str) -> Iterator[None]:
    """Within it a warning is one line, without the place in the source that raised it; a bar goes on below it."""
    before = warnings.formatwarning

    def told(message: Any, *place: Any, **more: Any) -> str:
        for bar in _bars():
            bar.clear()
        return f"pyro-rvae {command}: warning: {in_words(command, str(message))}\n"

    warnings.formatwarning = told
    try:
        yield
    finally:
        warnings.formatwarning = before


def _bars() -> list[Any]:
    """The bars that stand on stderr now."""
    tqdm = sys.modules.get("tqdm")
    return [] if tqdm is None else list(getattr(tqdm.tqdm, "_instances", ()))
