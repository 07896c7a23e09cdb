"""The models that every law is tested on, all tiny, each with data that suit it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from pyro.contrib.gp.kernels import Matern32
from pyro.infer.autoguide import AutoNormal
from small_models import (
    BayesianDecoder,
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
from torch import Tensor, nn

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
    labels: str = "codes"  # codes (B,), "codes gaps" with some unknown, or "real gaps" (B, 2)

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
        if self.labels == "codes gaps":
            given["labels"][1::2] = -1
        elif self.labels == "real gaps":
            given["labels"] = torch.randn(*shape[:1], 2, generator=generator)
            given["labels"][1::3], given["labels"][2::3, 0] = torch.nan, torch.nan
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
        "static image": lambda: (torch.rand(*full, 16, generator=g) < 0.4).double(),
        "static unit": lambda: torch.rand(*full, X, generator=g),
        "unit": lambda: torch.rand(*full, X, generator=g),
        "unit gaps": lambda: torch.rand(*full, X, generator=g).masked_fill(absent, torch.nan),
        "static gaps": lambda: binary.masked_fill(absent, torch.nan),
        "gaps": lambda: binary.masked_fill(absent, torch.nan),
        "real": lambda: torch.randn(*full, X, generator=g),
        "real gaps": lambda: torch.randn(*full, X, generator=g).masked_fill(absent, torch.nan),
        "frame gaps": lambda: torch.randn(*full, X, generator=g).masked_fill(absent | absent[..., :1], torch.nan),
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


def conditional(model: Any, **parts: Any) -> Case:
    """A model given labels, and controls where it has time."""
    control_dim = 0 if model.static else 2

    def build() -> rv.SequenceVAE:
        context = rv.Context(control_dim=control_dim, classes=3, dim=4)
        return model(X, Z, H, context=context, **parts)  # type: ignore[no-any-return]

    return Case(build, "static" if model.static else "binary", known=("labels", "controls")[: 1 + (control_dim > 0)])


codes = partial(rv.Categorical, classes=CLASSES)
POINT = {"prior": rv.Weightless, "posterior": rv.Delta}  # a deterministic autoencoder



def _supervised(base: Callable[[], rv.SequenceVAE], head: Any, data: str = "binary", labels: str = "codes gaps",
                **parts: Any) -> Case:
    return Case(lambda: rv.Supervised(base(), head, hidden=(H,), **parts), data, ("labels",), labels)

_deep: dict[str, Any] = {"features": (H,) * 3, "layers": 2}  # Chung et al. (2015)
_IMAGE: dict[str, Any] = {"shape": (1, 4, 4), "channels": (4, 6)}
_both: dict[str, Any] = {"recurrence": rv.Bidirectional}  # RVAE's non-causal decoder
_residual = partial(rv.ResidualNormal, hidden=(H,))
_zforcing = partial(rv.ZForcing, X, Z, H)

PAPERS: dict[str, Case] = {
    "VRNN": Case(_vrnn()),
    "RVAE": Case(partial(rv.RVAE, X, Z, H)),
    "STORN": Case(partial(rv.STORN, X, Z, H)),
    "VRAE": Case(partial(rv.VRAE, X, Z, H)),
    "DMM": Case(_dmm()),
    "VAE": Case(partial(rv.VAE, X, Z, H), "static"),
    "SRNN": Case(partial(rv.SRNN, X, Z, H)),
    "DSAE": Case(partial(rv.DSAE, X, Z, H)),
    "ZForcing": Case(_zforcing),
    "ARAE": Case(partial(rv.ARAE, X, Z, H)),
    "VariationalAttention": Case(partial(rv.VariationalAttention, X, Z, H)),
    "HRAE": Case(partial(rv.HRAE, X, Z, H)),
    "KVAE": Case(partial(rv.KVAE, X, Z, H)),
}

ZOO: dict[str, Case] = {
    **PAPERS,
    "VRNN-GRU": Case(_vrnn(recurrence=rv.GRU)),
    "VRNN-RNN-2": Case(_vrnn(recurrence=partial(rv.RNN, layers=2))),
    "VRAE-GRU-2": Case(partial(rv.VRAE, X, Z, H, recurrence=partial(rv.GRU, layers=2))),
    "DMM-combiner": Case(_dmm(posterior=partial(rv.Combiner, hidden=H))),
    "DMM-combiner-both": Case(_dmm(posterior=partial(rv.Combiner, hidden=H), encoder=rv.Bidirectional)),
    "SRNN-filter": Case(partial(rv.SRNN, X, Z, H, smoothing=False)),
    "SRNN-plain": Case(partial(rv.SRNN, X, Z, H, posterior=rv.Normal)),
    "SRNN-gaps": Case(partial(rv.SRNN, X, Z, H, likelihood=rv.Normal, reader=_gaps(), recurrence=rv.GRU), "real gaps"),
    "SRNN-mixture": Case(partial(rv.SRNN, X, Z, H, transition=MixturePrior)),
    "SRNN-chain": Case(partial(rv.SRNN, X, Z, H, posterior=rv.GaussianChain)),
    "SRNN-point": Case(partial(rv.SRNN, X, Z, H, transition=rv.Weightless, posterior=rv.Delta)),
    "conditional-SRNN": conditional(rv.SRNN),
    "DSAE-factorised": Case(partial(rv.DSAE, X, Z, H, v_dim=2, full=False)),
    "DSAE-gaps": Case(partial(rv.DSAE, X, Z, H, reader=_gaps()), "gaps"),
    "DSAE-point": Case(partial(rv.DSAE, X, Z, H, prior_v=rv.Weightless, posterior_v=rv.Delta, **POINT)),
    "conditional-DSAE": conditional(rv.DSAE),
    "ZForcing-reverse": Case(partial(_zforcing, auxiliary=0.3, reverse=0.2, recurrence=rv.GRU)),
    "ZForcing-plain": Case(partial(_zforcing, auxiliary=0.0)),
    "ZForcing-codes": Case(partial(rv.ZForcing, CHANNELS, Z, H, likelihood=codes, reverse=0.5), "codes gaps"),
    "ZForcing-point": Case(partial(_zforcing, **POINT)),
    "conditional-ZForcing": conditional(rv.ZForcing),
    "VRNN-deep": Case(_vrnn(**_deep)),
    "RVAE-noncausal": Case(partial(rv.RVAE, X, Z, H, **_both)),
    "RVAE-feedback": Case(partial(rv.RVAE, X, Z, H, feedback=rv.LSTM, encoder=rv.Backward)),
    "RVAE-noncausal-feedback": Case(partial(rv.RVAE, X, Z, H, feedback=rv.LSTM, **_both)),
    "DMM-ST-L": Case(partial(rv.DMM, X, Z, H, posterior=partial(rv.Combiner, hidden=H), encoder=rv.Forward)),
    "DMM-MF-L": Case(partial(rv.DMM, X, Z, H, posterior=rv.MeanField, encoder=rv.Forward)),
    "DMM-MF-LR": Case(partial(rv.DMM, X, Z, H, posterior=rv.MeanField, encoder=rv.Bidirectional)),
    "KVAE-2": Case(partial(rv.KVAE, X, Z, H, a_dim=2, modes=2)),
    "KVAE-linear": Case(partial(rv.KVAE, X, Z, H, a_dim=2, modes=1)),
    "KVAE-gaps": Case(partial(rv.KVAE, X, Z, H, likelihood=rv.Normal, reader=_gaps()), "frame gaps"),
    "KVAE-smoother": Case(partial(rv.KVAE, X, Z, H, recurrence=rv.GRU, encoder=rv.Bidirectional)),
    "KVAE-point": Case(partial(rv.KVAE, X, Z, H, posterior=rv.Delta)),
    "conditional-KVAE": conditional(rv.KVAE),
    "DMM-filter": Case(_dmm(posterior=rv.Normal, encoder=partial(rv.Forward, cell=rv.GRU))),
    "DMM-skip": Case(_dmm(skip_edges=True)),
    "DMM-skip-combiner": Case(_dmm(skip_edges=True, posterior=partial(rv.Combiner, hidden=H))),
    "DMM-full": Case(_dmm(posterior=rv.FullNormal)),
    "DMM-flow": Case(_dmm(posterior=partial(rv.Combiner, hidden=H, family=partial(rv.InverseAutoregressive, flows=2)))),
    "DMM-residual": Case(_dmm(skip_edges=True, posterior=_residual)),
    "VRNN-residual": Case(_vrnn(posterior=_residual)),
    "VRNN-low-rank": Case(_vrnn(posterior=rv.LowRankNormal)),
    "STORN-flow": Case(partial(rv.STORN, X, Z, H, posterior=rv.InverseAutoregressive)),
    "gaps-low-rank": Case(partial(rv.STORN, X, Z, H, likelihood=rv.LowRankNormal, reader=_gaps()), "real gaps"),
    "RVAE-pointwise": Case(partial(rv.RVAE, X, Z, H, encoder=rv.Pointwise, recurrence=rv.RNN)),
    "normal": Case(_vrnn(likelihood=rv.Normal), "real"),
    "normal-fixed": Case(partial(rv.RVAE, X, Z, H, likelihood=partial(rv.Normal, scale=0.7)), "real"),
    "normal-learned": Case(_dmm(likelihood=partial(rv.Normal, scale=0.7, learned=True)), "real"),
    "student": Case(partial(rv.STORN, X, Z, H, likelihood=rv.StudentT), "real"),
    "student-fixed": Case(partial(rv.VRAE, X, Z, H, likelihood=partial(rv.StudentT, df=3.0)), "real"),
    "poisson": Case(_vrnn(likelihood=rv.Poisson), "counts"),
    "categorical": Case(_vrnn(x_dim=CHANNELS, likelihood=codes), "codes"),
    "autoregressive": Case(_dmm(likelihood=partial(rv.AutoregressiveBernoulli, hidden=10), skip_edges=True)),
    "nade": Case(_vrnn(likelihood=partial(rv.NADE, hidden=10, order=range(X - 1, -1, -1)))),
    "nade-previous": Case(partial(rv.DMM, X, Z, H, skip_edges=True, skip=nn.Identity, skip_dim=X, likelihood=partial(
        rv.PreviousNADE, layers=(6,), hidden=10, channels=8, width=2))),
    "gaps-VRNN": Case(_vrnn(likelihood=rv.Normal, reader=_gaps()), "real gaps"),
    "gaps-DMM": Case(_dmm(skip_edges=True, reader=_gaps()), "gaps"),
    "gaps-STORN": Case(partial(rv.STORN, X, Z, H, likelihood=rv.Poisson), "counts gaps"),
    "gaps-codes": Case(_vrnn(x_dim=CHANNELS, likelihood=codes), "codes gaps"),
    "gaps-VAE": Case(partial(rv.VAE, X, Z, H, reader=_gaps()), "static gaps"),
    "gaps-full": Case(_dmm(likelihood=FullNormal), "real gaps"),
    "mixture-prior": Case(_vrnn(prior=MixturePrior)),
    "mixture-chain": Case(_dmm(transition=MixturePrior)),
    "student-prior": Case(partial(rv.STORN, X, Z, H, prior=StudentPrior())),
    "conditional-VRNN": conditional(rv.VRNN),
    "conditional-RVAE": conditional(rv.RVAE, prior=rv.Normal),
    "conditional-STORN": conditional(rv.STORN, prior=rv.Normal),
    "conditional-VRAE": conditional(rv.VRAE),
    "conditional-DMM": conditional(rv.DMM, skip_edges=True, skip_dim=H),
    "conditional-VAE": conditional(rv.VAE),
    "AE": Case(partial(rv.VAE, X, Z, H, hidden=(7, 6, 4), **POINT), "static"),
    "AE-tied": Case(partial(rv.VAE, X, Z, H, hidden=(7, 6), tied=True, **POINT), "static"),
    "VAE-tied": Case(partial(rv.VAE, X, Z, H, tied=True, likelihood=rv.ContinuousBernoulli), "static unit"),
    "ConvVAE": Case(partial(rv.VAE, 16, Z, H, encoder=partial(rv.ConvEncoder, **_IMAGE),
                            likelihood=partial(rv.ConvDecoder, **_IMAGE)), "static image"),
    "continuous-Bernoulli": Case(_vrnn(likelihood=rv.ContinuousBernoulli), "unit"),
    "gaps-continuous-Bernoulli": Case(partial(rv.VRAE, X, Z, H, likelihood=rv.ContinuousBernoulli), "unit gaps"),
    "RAE": Case(partial(rv.VRAE, X, Z, H, **POINT)),
    "RAE-steps": Case(partial(rv.RVAE, X, Z, H, **POINT)),
    "word-dropout": Case(partial(rv.VRAE, CHANNELS, Z, H, likelihood=codes,
                                 feedback=partial(rv.WordDropout, p=1.0)), "codes"),
    "frame-dropout-VRNN": Case(_vrnn(feedback=partial(rv.FrameDropout, p=1.0))),
    "frame-dropout-STORN": Case(partial(rv.STORN, X, Z, H, feedback=partial(rv.FrameDropout, p=1.0))),
    "frame-dropout-SRNN": Case(partial(rv.SRNN, X, Z, H, feedback=partial(rv.FrameDropout, p=1.0))),
    "ARAE-GRU": Case(partial(rv.ARAE, X, Z, H, recurrence=rv.GRU, memory=rv.Bidirectional,
                             attention=partial(rv.Attention, heads=3), encoder=partial(rv.SelfAttention, heads=2))),
    "ARAE-additive": Case(partial(rv.ARAE, X, Z, H, attention=partial(rv.AdditiveAttention, heads=2),
                                  encoder=partial(rv.SelfAttention, heads=4))),
    "ARAE-point": Case(partial(rv.ARAE, X, Z, H, attention=rv.AdditiveAttention, **POINT)),
    "ARAE-codes": Case(partial(rv.ARAE, CHANNELS, Z, H, likelihood=codes,
                               feedback=partial(rv.WordDropout, p=1.0)), "codes gaps"),
    "conditional-ARAE": conditional(rv.ARAE, prior=rv.Normal),
    "VariationalAttention-fed": Case(partial(rv.VariationalAttention, X, Z, H, prior=rv.Normal, input_feeding=True)),
    "VariationalAttention-point": Case(partial(rv.VariationalAttention, X, Z, H, **POINT, prior_v=rv.Weightless,
                                               posterior_v=rv.Delta)),
    "conditional-VariationalAttention": conditional(rv.VariationalAttention),
    "HRAE-2-3": Case(partial(rv.HRAE, X, Z, H, every=(2, 3))),
    "HRAE-point": Case(partial(rv.HRAE, X, Z, H, every=(2, 3), **POINT)),
    "HRAE-gaps": Case(partial(rv.HRAE, X, Z, H, every=5, recurrence=rv.GRU, likelihood=rv.Normal, reader=_gaps()),
                      "real gaps"),
    "conditional-HRAE": conditional(rv.HRAE, every=(2, 4)),
    "MusicVAE": Case(partial(rv.MusicVAE, X, Z, H, every=4)),
    "MusicVAE-point": Case(partial(rv.MusicVAE, X, Z, H, every=2, **POINT)),
    "conditional-MusicVAE": conditional(rv.MusicVAE, every=2, conductor=rv.GRU, recurrence=rv.GRU),
    "standard-VRNN": Case(_vrnn(prior=StandardNormal)),
    "vamp-VAE": Case(partial(rv.VAE, X, Z, H, prior=partial(rv.VampPrior, components=3, weighted=True)), "static"),
    "vamp-VRAE": Case(partial(rv.VRAE, X, Z, H, prior=partial(rv.VampPrior, components=3, length=2))),
    "mixture-VRAE": Case(partial(rv.VRAE, X, Z, H, prior=partial(rv.MixtureOfGaussians, components=3))),
    "flow-VRNN": Case(_vrnn(prior=partial(rv.FlowPrior, layers=2))),
    "AR1-DMM": Case(_dmm(transition=rv.AR1)),
    "shared": Case(SharedScale, "real"),
    "bayesian": Case(partial(BayesianDecoder, guide=AutoNormal), "real"),
    "controls": Case(Controlled, known=("controls",)),
    "chain-prior": Case(ChainPrior, known=("controls",)),
    "DMM-process": Case(_dmm(transition=partial(rv.GaussianProcess, lengthscale=(2.0, 3.0, 4.0)))),
    "DMM-full-chain": Case(_dmm(posterior=rv.FullGaussianChain, transition=rv.LinearGaussian)),
    "RVAE-dense": Case(partial(rv.RVAE, X, Z, H, posterior=partial(rv.DenseGaussian, longest=T + 2),
                               prior=partial(rv.GaussianProcess, kernel=Matern32, jitter=0.01))),
    "conditional-STORN-linear-Gaussian": conditional(rv.STORN, prior=rv.LinearGaussian),
    "labels": Case(Labelled, known=("labels",)),
    "two-loops": Case(TwoLoops),
    "slow-clock": Case(SlowClock),
    "supervised-VRNN": _supervised(_vrnn(), partial(rv.Categorical, classes=3)),
    "supervised-VRAE": _supervised(partial(rv.VRAE, X, Z, H), rv.Normal, labels="real gaps", label_dim=2),
    "supervised-VAE": _supervised(partial(rv.VAE, X, Z, H), partial(rv.Categorical, classes=3), "static"),
    "supervised-summary": _supervised(partial(rv.RVAE, X, Z, H), partial(rv.Categorical, classes=3),
                                      summary=rv.Bidirectional),
    "supervised-HRAE": _supervised(partial(rv.HRAE, X, Z, H, every=2), partial(rv.Categorical, classes=3)),
    "hierarchical": Case(Hierarchical),
    "path-prior": Case(PathPrior),
    "deterministic": Case(partial(rv.DeterministicRNN, X, H)),
    "deterministic-gaps": Case(partial(rv.DeterministicRNN, X, H, likelihood=rv.Normal, reader=_gaps()), "real gaps"),
    "deterministic-context": Case(lambda: rv.DeterministicRNN(X, H, context=rv.Context(control_dim=2)),
                                  known=("controls",)),
}

SEQUENCES = {name: case for name, case in ZOO.items() if not case.static}
