"""Two pictures of what a latent has learned, on data where the answer can be seen.

    python tests/benchmarks/pictures.py [dsae] [hierarchy] [--out FOLDER] [--seed 0] [--threads 1]

dsae: coloured shapes in motion. A DSAE has one static latent v and a dynamic one a frame; with v exchanged between two
sequences, each keeps its motion and takes the other's shape and colour.

hierarchy: a curve made of a level that holds for 32 frames, a figure of 8 frames, and a jitter that its four gauges
share. An HRAE has latents every 32, every 8 and every frame; with the faster ones drawn anew from the prior, the curve
keeps what the slower ones have decided. Training is in three stages: the slow levels' KL nearly free and the fast one's
dear, then the fast one's nearly free, then the bound. Trained on the bound alone the fast level says everything.

Each takes one to two minutes on one thread that it has for itself. Nothing here is a benchmark of bounds.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyro.poutine as poutine
import torch
from numpy.typing import NDArray
from pyro.poutine.messenger import Messenger
from torch import Tensor

import pyro_rvae as rv
from pyro_rvae.core.contexts import evaluating, seeded
from pyro_rvae.data import SequenceDataset
from pyro_rvae.infer import cosine, linear, warmup
from pyro_rvae.plots import DATA, GREY, INK, MODEL, PALE, PAPER, save

Array = NDArray[Any]

# ------------------------------------------------------------------------------------------------- coloured shapes
SIDE, FRAMES = 16, 8
COLOURS = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1), "yellow": (1, 1, 0), "cyan": (0, 1, 1),
           "magenta": (1, 0, 1)}
MOTIONS = ("clockwise", "counterclockwise", "sideways", "up and down", "diagonal")


def shape_masks() -> dict[str, Array]:
    """Shapes of 7 by 7 pixels."""
    v, u = np.mgrid[-3:4, -3:4]
    return {"disc": u**2 + v**2 <= 10, "ring": (u**2 + v**2 <= 10) & (u**2 + v**2 >= 5),
            "plus": np.minimum(abs(u), abs(v)) == 0, "saltire": abs(u) == abs(v), "bar": abs(v) <= 1}


SHAPES = shape_masks()


def corners(motion: str, phase: int) -> NDArray[np.int64]:
    """Upper left corners (FRAMES, 2), row and column, in one turn of a motion that starts at frame ``phase``."""
    a = 2 * math.pi * (phase + np.arange(FRAMES)) / FRAMES
    across, down = {"clockwise": (np.cos(a), np.sin(a)), "counterclockwise": (np.cos(a), -np.sin(a)),
                    "sideways": (np.cos(a), 0 * a), "up and down": (0 * a, np.cos(a)),
                    "diagonal": (np.cos(a), np.cos(a))}[motion]
    middle = (SIDE - 7) / 2
    return np.rint(middle + (middle - 0.01) * np.stack([down, across], -1)).astype(np.int64)


def sequence(shape: str, colour: str, motion: str, phase: int) -> Array:
    """Frames ``(FRAMES, 3 SIDE SIDE)`` of zeros and ones: red, green and blue."""
    frames = np.zeros((FRAMES, 3, SIDE, SIDE), dtype=np.float32)
    for frame, (row, column) in zip(frames, corners(motion, phase), strict=True):
        frame[:, row : row + 7, column : column + 7] = SHAPES[shape] * np.array(COLOURS[colour])[:, None, None]
    return frames.reshape(FRAMES, -1)


# The two sequences of the picture; neither they nor their exchange are among the data.
SHOWN = (("saltire", "yellow", "clockwise", 1), ("ring", "cyan", "up and down", 0))
HELD_OUT = {(*one[:2], other[2]) for one in SHOWN for other in SHOWN}


def moving_shapes(number: int, seed: int) -> SequenceDataset:
    random, made = np.random.default_rng(seed), []
    while len(made) < number:
        what = tuple(kinds[random.integers(len(kinds))] for kinds in map(list, (SHAPES, COLOURS, MOTIONS)))
        if what not in HELD_OUT:
            made.append(sequence(*what, int(random.integers(FRAMES))))
    return SequenceDataset.from_sequences(made, kind="binary")


def swapped(model: rv.DSAE, x: Tensor) -> tuple[Array, Array]:
    """Reconstructions of two sequences, and what each becomes with the other's v: means of x, ``(2, T, d)``."""
    found = rv.tasks.swap(model, x[0], x[1])
    return np.stack(found.reconstructed), np.stack(found.swapped)


def dsae_figure(x: Array, kept: Array, other: Array, caption: str) -> Any:
    """Rows of frames: two sequences, their reconstructions, and both with the static latent of the other."""
    from matplotlib.figure import Figure

    rows = [("A", x[0], DATA), ("B", x[1], MODEL), ("A, reconstructed", kept[0], DATA),
            ("B, reconstructed", kept[1], MODEL),
            ("motion of A,\nshape and colour of B", other[0], INK),
            ("motion of B,\nshape and colour of A", other[1], INK)]
    heads = {0: "two sequences; neither they nor their exchange were among the training data", 2: "encoded and decoded",
             4: "static latent v exchanged, dynamic latents z kept"}
    figure = Figure(figsize=(12, 9.4), dpi=100, facecolor=PAPER)
    grid = figure.add_gridspec(8, FRAMES, left=0.19, right=0.985, top=0.885, bottom=0.05, wspace=0.07, hspace=0.07,
                               height_ratios=[1, 1, 0.32, 1, 1, 0.32, 1, 1])
    for i, (label, frames, colour) in enumerate(rows):
        for t, frame in enumerate(frames):
            axes = figure.add_subplot(grid[i + i // 2, t])
            axes.imshow(frame.reshape(3, SIDE, SIDE).transpose(1, 2, 0).clip(0, 1), interpolation="nearest")
            axes.set_xticks([])
            axes.set_yticks([])
            for spine in axes.spines.values():
                spine.set_color(PALE)
            if not t:
                axes.set_ylabel(label, rotation=0, ha="right", va="center", labelpad=12, fontsize=11, color=colour)
                if i in heads:
                    axes.set_title(heads[i], loc="left", fontsize=11, color=GREY)
            if i == len(rows) - 1:
                axes.set_xlabel(f"t = {t + 1}", fontsize=9.5, color=GREY)
    figure.text(0.015, 0.955, "DSAE: one swap of the static part between two sequences", fontsize=15, color=INK,
                fontweight="bold")
    figure.text(0.015, 0.925, caption, fontsize=10.5, color=GREY)
    return figure


def dsae(options: argparse.Namespace) -> Any:
    train, valid, test = (moving_shapes(n, options.seed + i) for i, n in enumerate((2000, 200, 200)))
    torch.manual_seed(options.seed)
    likelihood = rv.Conditional(rv.MLP(4 + 8, train.x_dim, hidden=(256, 256)), rv.Bernoulli(train.x_dim))
    model = rv.DSAE.for_data(train, z_dim=4, h_dim=96, v_dim=8, likelihood=likelihood)
    start = time.perf_counter()
    history = rv.fit(model, train, valid, epochs=options.epochs or 60, batch_size=40, lr=3e-3, device="cpu",
                     schedule=warmup(cosine(), 0.05), kl_weight=linear(0.02, 1.0, 500), seed=options.seed,
                     progress=False)
    print(history)
    print(f"dsae: {time.perf_counter() - start:.0f} s; {rv.collapse_report(model, test)}", flush=True)
    x = torch.from_numpy(np.stack([sequence(*shown) for shown in SHOWN]))
    found = rv.evaluate(model, test, num_particles=10)
    caption = (f"v has 8 numbers a sequence, z has 4 a frame; nothing told the model which is which. "
               f"Test ELBO {found.elbo:.1f} nats a frame of {3 * SIDE * SIDE} binary pixels.")
    return dsae_figure(x.numpy(), *swapped(model, x), caption)


# ------------------------------------------------------------------------------------------------- time scales
LENGTH, BLOCK, SECTION = 64, 8, 32
LEVELS = (-6.0, 0.0, 6.0)
FIGURES = (np.linspace(-2, 2, BLOCK), np.linspace(2, -2, BLOCK), 3.6 * np.sin(np.pi * (np.arange(BLOCK) + 0.5) / 8) - 2,
           np.tile([1.2, -1.2], BLOCK // 2))
SITES = {"z3": SECTION, "z2": BLOCK, "z": 1}  # the slowest first


def curves(number: int, seed: int) -> SequenceDataset:
    """Sequences (LENGTH, 4), four gauges of one curve: a level for a section, a figure for a block, and a jitter."""
    random = np.random.default_rng(seed)
    level = random.choice(LEVELS, (number, LENGTH // SECTION)).repeat(SECTION, 1)
    figure = np.stack(FIGURES)[random.integers(len(FIGURES), size=(number, LENGTH // BLOCK))].reshape(number, LENGTH)
    curve = level + figure + 0.6 * random.standard_normal((number, LENGTH))
    x = curve[..., None] + 0.1 * random.standard_normal((number, LENGTH, 4))
    return SequenceDataset.from_sequences(list(x.astype(np.float32)), kind="real")


class Dear(Messenger):
    """Sites whose KL counts at a weight of its own."""

    def __init__(self, weights: dict[str, float]) -> None:
        super().__init__()
        self.weights = weights

    def _pyro_sample(self, msg: Any) -> None:
        if not msg["is_observed"]:
            msg["scale"] = msg["scale"] * self.weights.get(msg["name"], 1.0)


def redrawn(model: rv.HRAE, x: Tensor, number: int, seed: int) -> tuple[dict[str, Array], dict[str, Array]]:
    """How far q's mean stands from the prior's, by site; and curves ``(number, T)`` with the sites down to it kept."""
    with evaluating(model), seeded(seed):
        q = poutine.trace(model.guide).get_trace(x.expand(number, -1, -1))
        made, kept = {}, {}
        for name in ("nothing", *SITES):
            kept |= {} if name == "nothing" else {name: q.nodes[name]["value"]}
            law = poutine.trace(poutine.condition(model.model, dict(kept))).get_trace(size=(number, LENGTH))
            made[name] = law.nodes["x"]["fn"].mean.mean(-1).numpy()
    moved = {name: (q.nodes[name]["fn"].mean - law.nodes[name]["fn"].mean)[0].numpy() for name in SITES}
    return moved, made


def hierarchy_figure(x: Array, moved: dict[str, Array], made: dict[str, Array], kl: dict[str, Array],
                     caption: str) -> Any:
    """On the left what is kept when all below a level is drawn anew; on the right that level's own latent."""
    from matplotlib.figure import Figure

    rows = {"nothing": "all drawn anew", "z3": "z3 kept: the level", "z2": "z3 and z2 kept: level and figures",
            "z": "all kept: the jitter too"}
    figure = Figure(figsize=(12, 9.6), dpi=100, facecolor=PAPER)
    grid = figure.add_gridspec(4, 2, width_ratios=[1.55, 1], left=0.045, right=0.985, top=0.86, bottom=0.055,
                               wspace=0.1, hspace=0.36)
    for i, (name, title) in enumerate(rows.items()):
        axes = figure.add_subplot(grid[i, 0])
        axes.plot(made[name].T, color=MODEL, alpha=0.35, linewidth=1.2)
        axes.plot(x, ".", color=DATA, markersize=5.5, zorder=5)
        axes.set_ylim(-9.3, 11)
        _plain(axes, title, SITES.get(name, 1))
        axes = figure.add_subplot(grid[i, 1])
        if name == "nothing":
            axes.axis("off")
            axes.text(0.0, 0.5, "orange: one test sequence\nblue: 8 draws of the model (means of x)\n"
                      "black: how far the guide moves a level's latent\nfrom its prior (the number of largest KL)",
                      fontsize=11, color=GREY, va="center", linespacing=1.6)
            continue
        path = moved[name][:, kl[name].argmax()].repeat(SITES[name])[:LENGTH]
        axes.step(range(LENGTH), path, where="mid", color=INK, linewidth=1.5)
        every = "every frame" if SITES[name] == 1 else f"every {SITES[name]} frames"
        axes.axhline(0, color=GREY, linewidth=0.8, zorder=0)
        _plain(axes, f"{name}, {every}: {kl[name].sum():.2f} nats each", SITES[name])
    figure.text(0.015, 0.955, "HRAE: what each level of a hierarchy decides", fontsize=15, color=INK, fontweight="bold")
    figure.text(0.015, 0.922, caption, fontsize=10.5, color=GREY)
    return figure


def _plain(axes: Any, title: str, block: int) -> None:
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(GREY)
    axes.tick_params(colors=GREY, length=0, labelsize=9)
    axes.set_xlim(-0.5, LENGTH - 0.5)
    axes.set_xticks(range(0, LENGTH + 1, BLOCK))
    for start in range(0, LENGTH, block) if block > 1 else ():
        axes.axvline(start - 0.5, color=PALE, linewidth=1.2, zorder=0)
    axes.set_title(title, loc="left", fontsize=11, color=INK)


def hierarchy(options: argparse.Namespace) -> Any:
    train, valid, test = (curves(n, options.seed + i) for i, n in enumerate((1000, 200, 200)))
    torch.manual_seed(options.seed)
    model = rv.HRAE.for_data(train, z_dim=3, h_dim=64, every=(BLOCK, SECTION))
    start, epochs = time.perf_counter(), options.epochs or 15
    common: dict[str, Any] = {"batch_size": 50, "lr": 4e-3, "device": "cpu", "seed": options.seed, "progress": False}
    # The slow levels first, then the fast one, then the bound: else the fast one says it all, and no bound minds.
    with Dear({"z": 3.0, "z2": 0.1, "z3": 0.05}):
        rv.fit(model, train, epochs=epochs, **common)
    with Dear({"z": 0.1}):
        rv.fit(model, train, epochs=max(1, epochs // 2), **common)
    print(rv.fit(model, train, valid, epochs=epochs, schedule=warmup(cosine(), 0.05), **common))
    use = rv.collapse_report(model, test)
    print(f"hierarchy: {time.perf_counter() - start:.0f} s; {use}", flush=True)
    x = test.padded([0]).x
    kl = {name: use.kl_by_dim[name] * k for name, k in SITES.items()}
    caption = ("The data: four gauges of a curve, one of 3 levels for 32 frames, one of 4 figures for 8, and a jitter. "
               f"Test ELBO {rv.evaluate(model, test, num_particles=10).elbo:.2f} nats a frame.")
    return hierarchy_figure(x[0].mean(-1).numpy(), *redrawn(model, x, 8, options.seed), kl, caption)


def main() -> None:
    pictures = {"dsae": dsae, "hierarchy": hierarchy}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=" or ".join(pictures))
    parser.add_argument("--out", type=Path, default=Path("."))
    parser.add_argument("--epochs", type=int, help="instead of each picture's own number")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    if unknown := set(options.names) - set(pictures):
        parser.error(f"no picture of the name {', '.join(sorted(unknown))}; there are: {', '.join(pictures)}")
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.names or pictures:
        figure = pictures[name](options)
        save(figure, options.out / f"{name}.png")
        print(f"wrote {options.out / name}.png", flush=True)


if __name__ == "__main__":
    main()
