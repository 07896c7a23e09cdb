"""The models that every law is tested on, all tiny, each with data that suit it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from small_models import (
    ChainPrior,
    Controlled,
    FullNormal,
    H,
    Hierarchical,
    Labelled,
    MixturePrior,
    PathPrior,
    SharedScale,
    SlowClock,
    StudentPrior,
    TwoLoops,
    X,
    Z,
)
from torch import Tensor

import pyro_rvae as rv
from pyro_rvae.priors import StandardNormal

B, T = 4, 6
LENGTHS = torch.tensor([6, 3, 5, 1])
MASK = torch.arange(T) < LENGTHS[:, None]
CLASSES, CHANNELS = 4, 2


@dataclass(frozen=True)
class Case:
    """One member of the zoo: how to build it, and which data it takes."""

    build: Callable[[], rv.SequenceVAE]
    data: str = "binary"
    known: tuple[str, ...] = field(default=())

    def make(self, seed: int = 0) -> rv.SequenceVAE:
        """A new model whose every parameter is moved off its start (zeros and identities hide mistakes)."""
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # torch: dropout in a one-layer recurrence
            torch.manual_seed(seed)
            return awake(self.build())

    def x(self, seed: int = 0, shape: tuple[int, int] = (B, T)) -> Tensor:
        return make_data(self.data, seed, shape)

    def extra(self, shape: tuple[int, int] = (B, T)) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(5)
        given = {"controls": torch.randn(*shape, 2, generator=generator),
                 "labels": torch.randint(0, 3, shape[:1], generator=generator)}
        return {name: given[name] for name in self.known}

    @property
    def static(self) -> bool:
        return self.data.startswith("static")

    @property
    def missing(self) -> bool:
        return self.data.endswith("gaps")


def awake(model: rv.SequenceVAE) -> rv.SequenceVAE:
    """Every parameter moved off its start; biases upwards, so that no rectifier of these tiny nets is dead."""
    for name, parameter in model.named_parameters():
        parameter.data += 0.3 * torch.randn_like(parameter) + (0.3 if name.endswith("bias") else 0.0)
    return model


def make_data(kind: str, seed: int, shape: tuple[int, int]) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    full = shape[:1] if kind.startswith("static") else shape
    binary = (torch.rand(*full, X, generator=g) < 0.4).double()
    absent = torch.rand(*full, X, generator=g) < 0.3
    codes = torch.randint(0, CLASSES, (*full, CHANNELS), generator=g)
    return {
        "binary": lambda: binary,
        "static": lambda: binary,
        "static gaps": lambda: binary.masked_fill(absent, torch.nan),
        "gaps": lambda: binary.masked_fill(absent, torch.nan),
        "real": lambda: torch.randn(*full, X, generator=g),
        "real gaps": lambda: torch.randn(*full, X, generator=g).masked_fill(absent, torch.nan),
        "counts": lambda: torch.poisson(torch.full((*full, X), 2.0), generator=g),
        "counts gaps": lambda: torch.poisson(torch.full((*full, X), 2.0), generator=g).masked_fill(absent, torch.nan),
        "codes": lambda: codes,
        "codes gaps": lambda: codes.masked_fill(absent[..., :CHANNELS], -1),
    }[kind]()


def _vrnn(**parts: Any) -> Callable[[], rv.SequenceVAE]:
    return partial(rv.VRNN, parts.pop("x_dim", X), Z, H, **parts)


def _dmm(**parts: Any) -> Callable[[], rv.SequenceVAE]:
    return partial(rv.DMM, parts.pop("x_dim", X), Z, H, skip_dim=H, **parts)


def _gaps() -> rv.Reader:
    return rv.Reader(X, missing=True)


codes = partial(rv.Categorical, classes=CLASSES)

PAPERS: dict[str, Case] = {
    "VRNN": Case(_vrnn()),
    "RVAE": Case(partial(rv.RVAE, X, Z, H)),
    "STORN": Case(partial(rv.STORN, X, Z, H)),
    "VRAE": Case(partial(rv.VRAE, X, Z, H)),
    "DMM": Case(_dmm()),
    "VAE": Case(partial(rv.VAE, X, Z, H), "static"),
}

ZOO: dict[str, Case] = {
    **PAPERS,
    "VRNN-GRU": Case(_vrnn(recurrence=rv.GRU)),
    "VRNN-RNN-2": Case(_vrnn(recurrence=partial(rv.RNN, layers=2))),
    "VRAE-GRU-2": Case(partial(rv.VRAE, X, Z, H, recurrence=partial(rv.GRU, layers=2))),
    "DMM-combiner": Case(_dmm(posterior=partial(rv.Combiner, hidden=H))),
    "DMM-combiner-both": Case(_dmm(posterior=partial(rv.Combiner, hidden=H), encoder=rv.Bidirectional)),
    "DMM-filter": Case(_dmm(posterior=rv.Normal, encoder=partial(rv.Forward, cell=rv.GRU))),
    "DMM-skip": Case(_dmm(skip_edges=True)),
    "DMM-skip-combiner": Case(_dmm(skip_edges=True, posterior=partial(rv.Combiner, hidden=H))),
    "RVAE-pointwise": Case(partial(rv.RVAE, X, Z, H, encoder=rv.Pointwise, recurrence=rv.RNN)),
    "normal": Case(_vrnn(likelihood=rv.Normal), "real"),
    "normal-fixed": Case(partial(rv.RVAE, X, Z, H, likelihood=partial(rv.Normal, scale=0.7)), "real"),
    "normal-learned": Case(_dmm(likelihood=partial(rv.Normal, scale=0.7, learned=True)), "real"),
    "student": Case(partial(rv.STORN, X, Z, H, likelihood=rv.StudentT), "real"),
    "student-fixed": Case(partial(rv.VRAE, X, Z, H, likelihood=partial(rv.StudentT, df=3.0)), "real"),
    "poisson": Case(_vrnn(likelihood=rv.Poisson), "counts"),
    "categorical": Case(_vrnn(x_dim=CHANNELS, likelihood=codes), "codes"),
    "autoregressive": Case(_dmm(likelihood=partial(rv.AutoregressiveBernoulli, hidden=10), skip_edges=True)),
    "gaps-VRNN": Case(_vrnn(likelihood=rv.Normal, reader=_gaps()), "real gaps"),
    "gaps-DMM": Case(_dmm(skip_edges=True, reader=_gaps()), "gaps"),
    "gaps-STORN": Case(partial(rv.STORN, X, Z, H, likelihood=rv.Poisson), "counts gaps"),
    "gaps-codes": Case(_vrnn(x_dim=CHANNELS, likelihood=codes), "codes gaps"),
    "gaps-VAE": Case(partial(rv.VAE, X, Z, H, reader=_gaps()), "static gaps"),
    "gaps-full": Case(_dmm(likelihood=FullNormal), "real gaps"),
    "mixture-prior": Case(_vrnn(prior=MixturePrior)),
    "mixture-chain": Case(_dmm(transition=MixturePrior)),
    "student-prior": Case(partial(rv.STORN, X, Z, H, prior=StudentPrior())),
    "standard-VRNN": Case(_vrnn(prior=StandardNormal)),
    "shared": Case(SharedScale, "real"),
    "controls": Case(Controlled, known=("controls",)),
    "chain-prior": Case(ChainPrior, known=("controls",)),
    "labels": Case(Labelled, known=("labels",)),
    "two-loops": Case(TwoLoops),
    "slow-clock": Case(SlowClock),
    "hierarchical": Case(Hierarchical),
    "path-prior": Case(PathPrior),
}

SEQUENCES = {name: case for name, case in ZOO.items() if not case.static}
