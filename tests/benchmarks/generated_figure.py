"""The picture of generated.py: six panels, each in the form of its data."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyro_rvae.data.forms.strokes import lines_of_pen
from pyro_rvae.plots import DATA, GREY, INK, MODEL, PALE, PAPER
from pyro_rvae.plots.music import _keyboard, _voices

Array = NDArray[Any]
Box = tuple[float, float, float, float]  # left, top, width, height in inches, from the upper left corner

WIDTH, HEIGHT = 12.0, 15.3
LETTERS = {"A": "#3a9188", "C": MODEL, "G": DATA, "T": "#b0483a"}


class Page:
    """A figure that is laid out in inches from its upper left corner."""

    def __init__(self) -> None:
        from matplotlib.figure import Figure

        self.figure = Figure(figsize=(WIDTH, HEIGHT), dpi=100, facecolor=PAPER)

    def axes(self, box: Box, *, bare: bool = True) -> Any:
        left, top, width, height = box
        axes = self.figure.add_axes((left / WIDTH, 1 - (top + height) / HEIGHT, width / WIDTH, height / HEIGHT))
        if bare:
            axes.set_axis_off()
        return axes

    def words(self, left: float, top: float, text: str, **style: Any) -> None:
        given = {"fontsize": 10.5, "color": GREY, "va": "top", "ha": "left"} | style
        self.figure.text(left / WIDTH, 1 - top / HEIGHT, text, **given)

    def head(self, left: float, top: float, title: str, caption: str) -> None:
        self.words(left, top, title, fontsize=13, color=INK, fontweight="bold")
        self.words(left, top + 0.25, caption, fontsize=10)


def figure(drawn: dict[str, Any]) -> Any:
    """All parts, of which each has ``sequences``, ``data`` and perhaps ``labels``."""
    page = Page()
    page.words(0.45, 0.28, "Six small models, and what they make", fontsize=17, color=INK, fontweight="bold")
    page.words(0.45, 0.62, "Each is trained on real data, for minutes on one core, and drawn from once: nothing is "
               "picked.", fontsize=11)
    names(page, (0.45, 1.15, 5.3, 3.6), drawn["names"])
    digits(page, (6.25, 1.15, 5.3, 3.6), drawn["digits"])
    strokes(page, (0.45, 5.1, 5.3, 4.0), drawn["strokes"])
    dna(page, (6.25, 5.1, 5.3, 4.0), drawn["dna"])
    spoken(page, (0.45, 9.45, 11.1, 2.55), drawn["spoken"])
    chorales(page, (0.45, 12.35, 11.1, 2.7), drawn["chorales"])
    return page.figure


# ------------------------------------------------------------------------------------------------- names
def names(page: Page, box: Box, part: dict[str, Any], columns: int = 5, rows: int = 13) -> None:
    left, top, width, height = box
    vocabulary, train = part["data"].train.form.vocabulary, part["data"].train
    known, made = {*vocabulary.decode(train)}, vocabulary.decode(part["sequences"])
    share = np.mean([name not in known for name in made])
    page.head(left, top, "Names", f"VRNN on 25,626 first names; {share:.0%} are none of them (dark)")
    line = (height - 0.7) / rows
    for i, name in enumerate(made[: columns * rows]):
        page.words(left + i % columns * width / columns, top + 0.7 + i // columns * line, name.capitalize(),
                   fontsize=11, family="serif", color="#a9b3bd" if name in known else INK)


# ------------------------------------------------------------------------------------------------- digits
def digits(page: Page, box: Box, part: dict[str, Any]) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    left, top, width, height = box
    images = np.stack([np.asarray(x) for x in part["sequences"]])
    labels = np.asarray(part["labels"])
    number = len(part["data"].train)
    page.head(left, top, "Digits", f"VRAE, row by row, on {number:,} binarized digits; asked for 0 to 9 by label")
    cell = width / 10
    each = min(len(images) // 10, int((height - 0.85) / cell))
    grid = np.zeros((each * 30, 300))
    for digit in range(10):
        for i, image in enumerate(images[labels == digit][:each]):
            grid[i * 30 + 1 : i * 30 + 29, digit * 30 + 1 : digit * 30 + 29] = image
        page.words(left + (digit + 0.5) * cell, top + 0.58, str(digit), color=MODEL, ha="center", fontweight="bold")
    axes = page.axes((left, top + 0.83, 10 * cell, each * cell))
    ink = LinearSegmentedColormap.from_list("ink", [PAPER, INK])
    axes.imshow(grid, cmap=ink, aspect="auto", interpolation="nearest")
    for i in range(1, 10):
        axes.axvline(i * 30 - 0.5, color=PALE, linewidth=0.8)


# ------------------------------------------------------------------------------------------------- strokes
def strokes(page: Page, box: Box, part: dict[str, Any], columns: int = 11, rows: int = 7) -> None:
    left, top, width, height = box
    number, form = len(part["data"].train), part["data"].train.form
    page.head(left, top, "Strokes", f"VRAE with a mixture of Normals, on {number:,} characters of 50 alphabets")
    axes = page.axes((left, top + 0.6, width, height - 0.6))
    axes.set_xlim(0, columns)
    axes.set_ylim(rows, 0)
    axes.set_aspect("equal", anchor="NW")
    drawings = [lines_of_pen(np.asarray(x), up=form.up) for x in part["sequences"]]
    for i, lines in enumerate(drawings[: columns * rows]):
        points = np.concatenate(lines)
        low, high = points.min(0), points.max(0)
        scale = 0.72 / max(float((high - low).max()), 1e-6)
        for j, line in enumerate(lines):
            x, y = ((line - (low + high) / 2) * scale + [i % columns + 0.5, i // columns + 0.5]).T
            axes.plot(x, y, color=(INK, MODEL, DATA, LETTERS["A"], LETTERS["T"])[j % 5], linewidth=1.5,
                      solid_capstyle="round", solid_joinstyle="round")


# ------------------------------------------------------------------------------------------------- DNA
def dna(page: Page, box: Box, part: dict[str, Any]) -> None:
    """Sequence logos of donors and acceptors: data above, model below."""
    left, top, width, height = box
    train, labels = part["data"].train, np.asarray(part["labels"])
    page.head(left, top, "DNA", f"VRAE on {len(train):,} pieces, by label and place: logos (height: information)")
    tall = (height - 0.75) / 4
    shown = slice(18, 46)
    for i, (label, title, signal) in enumerate(((0, "exon | intron", "GT"), (1, "intron | exon", "AG"))):
        ours = np.stack([np.asarray(x)[:, 0] for x, y in zip(part["sequences"], labels, strict=True) if y == label])
        theirs = np.stack([np.asarray(x)[:, 0] for x, y in zip(train, train.labels, strict=True) if y == label])
        at = 30 if label == 0 else 28
        has = np.mean((ours[:, at] == "ACGT".index(signal[0])) & (ours[:, at + 1] == "ACGT".index(signal[1])))
        for j, (codes, colour, what) in enumerate(((theirs, DATA, "data"), (ours, MODEL, f"{signal} in {has:.0%}"))):
            axes = page.axes((left, top + 0.7 + (2 * i + j) * tall, width, tall * 0.88))
            logo(axes, codes[:, shown])
            axes.axvline(30 - shown.start, color=GREY, linewidth=0.9, linestyle=(0, (3, 2)), ymax=0.8)
            axes.text(0.0, 0.98, title if j == 0 else "", fontsize=10, color=INK, va="top", transform=axes.transAxes)
            axes.text(1.0, 0.98, what if j == 0 else f"model: {what}", fontsize=10, color=colour, va="top", ha="right",
                      transform=axes.transAxes)


def logo(axes: Any, codes: Array) -> None:
    """Letters stacked to the height of a column's information (Schneider & Stephens 1990), the commonest on top."""
    from matplotlib.patches import PathPatch
    from matplotlib.textpath import TextPath
    from matplotlib.transforms import Affine2D

    for column in range(codes.shape[1]):
        counts = np.array([(codes[:, column] == code).sum() for code in range(4)])
        share = counts / counts.sum()
        bits = 2 + float((share * np.log2(np.maximum(share, 1e-12))).sum())
        bottom = 0.0
        for code in np.argsort(share):
            path = TextPath((0, 0), "ACGT"[code], size=1, prop={"family": "DejaVu Sans", "weight": "bold"})
            extent, tall = path.get_extents(), float(share[code] * bits)
            place = Affine2D().translate(-extent.x0, -extent.y0).scale(0.92 / extent.width, tall / extent.height)
            path = place.translate(column + 0.04, bottom).transform_path(path)
            axes.add_patch(PathPatch(path, facecolor=LETTERS["ACGT"[code]], linewidth=0))
            bottom += tall
    axes.set_xlim(0, codes.shape[1])
    axes.set_ylim(0, 2.35)
    axes.hlines(0, 0, codes.shape[1], color=PALE, linewidth=1)


# ------------------------------------------------------------------------------------------------- spoken digits
def spoken(page: Page, box: Box, part: dict[str, Any]) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    left, top, width, height = box
    train, labels = part["data"].train, np.asarray(part["labels"])
    page.head(left, top, "Spoken digits", f"VRAE on {len(train)} clips of six speakers, by label: log spectra in "
              "time, 0 to 4 kHz on the mel scale (made into sound by Griffin and Lim's search)")
    colours = LinearSegmentedColormap.from_list("sound", [PAPER, "#cfe0f2", MODEL, INK])
    wide, tall = (width - 0.55) / 10, (height - 0.85) / 2
    for digit in range(10):
        recorded = next(train.transform.inverse(x) for x, y in zip(train, train.labels, strict=True) if y == digit)
        generated = next(x for x, y in zip(part["sequences"], labels, strict=True) if y == digit)
        longest = max(len(recorded), len(generated))
        for row, x in enumerate((recorded, generated)):
            box = (left + 0.55 + digit * wide, top + 0.85 + row * tall, wide * 0.94, tall * 0.92)
            axes = page.axes(box)
            axes.imshow(np.asarray(x).T, origin="lower", aspect="auto", cmap=colours, vmin=-6.9, vmax=-2.6,
                        interpolation="bilinear", extent=(0, len(x), 0, 1))
            axes.set_xlim(0, longest)
        page.words(left + 0.55 + (digit + 0.47) * wide, top + 0.6, str(digit), color=INK, ha="center",
                   fontweight="bold")
    page.words(left, top + 0.85 + 0.46 * tall, "data", color=DATA, va="center")
    page.words(left, top + 0.85 + 1.46 * tall, "model", color=MODEL, va="center")


# ------------------------------------------------------------------------------------------------- chorales
def chorales(page: Page, box: Box, part: dict[str, Any], shown: int = 2) -> None:
    from matplotlib.collections import PolyCollection

    left, top, width, height = box
    number = len(part["data"].train)
    page.head(left, top, "Chorales", f"DMM with skip edges and chords note by note, on {number} chorales; 16 bars, "
              "the highest voice in orange")
    pieces = [np.asarray(x) > 0 for x in part["sequences"][:shown]]
    used = np.flatnonzero(np.any([piece.any(0) for piece in pieces], 0)) + 21
    wide = (width - 0.3 * shown) / shown
    for i, piece in enumerate(pieces):
        axes = page.axes((left + 0.3 + i * (wide + 0.3), top + 0.6, wide, height - 0.85), bare=False)
        axes.set_facecolor("none")
        axes.set_xlim(0, len(piece))
        _keyboard(axes, int(used[0]) - 2, int(used[-1]) + 2, len(piece), 4, 2)
        for colour, corners in _voices(piece, 21).items():
            axes.add_collection(PolyCollection(corners, facecolors=colour, edgecolors="none", zorder=3))

