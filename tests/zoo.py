"""The models that every law is tested on, all tiny, each with data that suit it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

import pyro_rvae as rv
from pyro_rvae.priors import StandardNormal

B, T, X, Z, H = 4, 6, 5, 3, 8
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


# ------------------------------------------------------------------------------------------- a user's own parts
class MixturePrior(nn.Module):
    """A user's own prior: a mixture of Gaussians. No base class, no registration."""

    def __init__(self, in_dim: int, dim: int, k: int = 2) -> None:
        super().__init__()
        self.net, self.k, self.dim = nn.Linear(in_dim, k * (1 + dim)), k, dim

    def forward(self, *inputs: Tensor) -> Any:
        out = self.net(rv.concat(inputs))
        loc = out[..., self.k:].unflatten(-1, (self.k, self.dim))
        return dist.MixtureSameFamily(dist.Categorical(logits=out[..., : self.k]), dist.Normal(loc, 1.0).to_event(1))


class StudentPrior(nn.Module):
    """A prior that needs nothing ignores what it is given."""

    def forward(self, *inputs: Tensor) -> Any:
        return dist.StudentT(4.0, torch.zeros(Z), 1.0).to_event(1)


class FullNormal(nn.Module):
    """A likelihood with a full covariance: missing elements are marginalised."""

    def __init__(self, in_dim: int, dim: int) -> None:
        super().__init__()
        self.net, self.dim = nn.Linear(in_dim, dim), dim
        self.raw = nn.Parameter(torch.zeros(dim, dim))

    def forward(self, *inputs: Tensor) -> Any:
        tril = self.raw.tril(-1) + torch.diag_embed(nn.functional.softplus(self.raw.diagonal()) + 0.1)
        return dist.MultivariateNormal(self.net(rv.concat(inputs)), scale_tril=tril)


class Attention(rv.Causal):
    """A user's own causal part: y_t is a softmax-weighted mean of u_1..u_t; only `step` is written."""

    def __init__(self, in_dim: int, h_dim: int) -> None:
        super().__init__()
        self.key, self.value, self.out_dim = nn.Linear(in_dim, 1), nn.Linear(in_dim, h_dim), h_dim

    def step(self, u: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        weight = self.key(u).exp()
        top, bottom = weight * self.value(u), weight
        if state is not None:
            top, bottom = top + state[0], bottom + state[1]
        return top / bottom, (top, bottom)


# ------------------------------------------------------------------------------------------- a user's own models
class _Small(rv.SequenceVAE):
    """Parts that the small models below share."""

    def __init__(self, *, inputs: int = Z, features: int = H, likelihood: Any = rv.Bernoulli) -> None:
        super().__init__()
        self.x_dim = X
        self.z0 = nn.Parameter(torch.zeros(Z))
        self.encoder = rv.Backward(X, H, cell=rv.GRU)
        self.prior = rv.conditional(rv.Normal, Z, Z, hidden=())
        self.posterior = rv.conditional(rv.Normal, features, Z, hidden=())
        self.likelihood = rv.conditional(likelihood, inputs, X, hidden=())


class SharedScale(_Small):
    """s ~ Gamma(2, 2) once a data set;  z_t ~ p(z_t | z_{t-1});  x_t ~ N(W z_t + b, s^2)."""

    def __init__(self) -> None:
        super().__init__(features=H)
        self.loc = nn.Linear(Z, X)
        del self.likelihood

    def shared(self) -> None:
        pyro.sample("s", dist.Gamma(2.0, 2.0))

    def emission(self, z: Tensor, s: Tensor) -> Any:
        return dist.Normal(self.loc(z), s).to_event(1)

    def generative(self, steps: rv.Steps) -> None:
        s = steps.shared["s"][..., None]
        for t in steps:
            z = t.sample("z", self.prior, t.prev("z", self.z0))
            t.sample("x", self.emission, z, t.hold(s))

    def inference(self, steps: rv.Steps, x: Tensor) -> None:
        g = self.encoder(x, steps.mask)
        for t in steps:
            t.sample("z", self.posterior, t.at(g))


class Controlled(_Small):
    """z_t ~ p(z_t | z_{t-1});  x_t ~ p(x_t | z_t, u_t), the controls u_t known."""

    def __init__(self) -> None:
        super().__init__(inputs=Z + 2, features=Z + H + 2)
        self.q0 = nn.Parameter(torch.zeros(Z))

    def generative(self, steps: rv.Steps) -> None:
        for t in steps:
            z = t.sample("z", self.prior, t.prev("z", self.z0))
            t.sample("x", self.likelihood, z, t.at(steps.controls))

    def inference(self, steps: rv.Steps, x: Tensor) -> None:
        g = self.encoder(x, steps.mask)
        for t in steps:
            t.sample("z", self.posterior, t.prev("z", self.q0), t.at(g), t.at(steps.controls))


class Labelled(_Small):
    """v ~ N(e(label), I) once a sequence;  z_t ~ p(z_t | z_{t-1});  x_t ~ p(x_t | z_t, v)."""

    def __init__(self) -> None:
        super().__init__(inputs=2 * Z, features=H + Z)
        self.embed, self.posterior_v = nn.Embedding(3, Z), rv.conditional(rv.Normal, H + Z, Z, hidden=())

    def generative(self, steps: rv.Steps) -> None:
        v = pyro.sample("v", dist.Normal(self.embed(steps.labels), 1.0).to_event(1))
        for t in steps:
            z = t.sample("z", self.prior, t.prev("z", self.z0))
            t.sample("x", self.likelihood, z, t.hold(v))

    def inference(self, steps: rv.Steps, x: Tensor) -> None:
        g = self.encoder(x, steps.mask)
        summary = self.encoder.summary(x, steps.mask)
        v = pyro.sample("v", self.posterior_v(summary, self.embed(steps.labels)))
        for t in steps:
            t.sample("z", self.posterior, t.at(g), t.hold(v))


class TwoLoops(_Small):
    """z_t ~ p(z_t | z_{t-1}) in a first loop;  c = smoother(z_1..z_T);  x_t ~ p(x_t | c_t) in a second."""

    def __init__(self) -> None:
        super().__init__(inputs=2 * H)
        self.smoother = rv.Bidirectional(Z, H)

    def generative(self, steps: rv.Steps) -> None:
        for t in steps:
            t.sample("z", self.prior, t.prev("z", self.z0))
        c = self.smoother(steps.path("z"), steps.mask)
        for t in steps:
            t.sample("x", self.likelihood, t.at(c))

    def inference(self, steps: rv.Steps, x: Tensor) -> None:
        g = self.encoder(x, steps.mask)
        for t in steps:
            t.sample("z", self.posterior, t.at(g))


class SlowClock(_Small):
    """y_j ~ p(y_j | y_{j-1}) every 4 frames (T = 6 isn't a multiple);  z_t ~ p(z_t | z_{t-1});  x_t ~ p(x_t | z_t, y)."""

    def __init__(self) -> None:
        super().__init__(inputs=2 * Z, features=H + Z)
        self.y0 = nn.Parameter(torch.zeros(Z))
        self.prior_y = rv.conditional(rv.Normal, Z, Z, hidden=())
        self.posterior_y = rv.conditional(rv.Normal, Z + H, Z, hidden=())

    def generative(self, steps: rv.Steps) -> None:
        slow = steps.every(min(4, steps.length))
        for j in slow:
            j.sample("y", self.prior_y, j.prev("y", self.y0))
        y = slow.path("y")
        for t in steps:
            z = t.sample("z", self.prior, t.prev("z", self.z0))
            t.sample("x", self.likelihood, z, t.at(y))

    def inference(self, steps: rv.Steps, x: Tensor) -> None:
        g = self.encoder(x, steps.mask)
        slow = steps.every(min(4, steps.length))
        for j in slow:
            j.sample("y", self.posterior_y, j.prev("y", self.y0), j.at(g))
        y = slow.path("y")
        for t in steps:
            t.sample("z", self.posterior, t.at(g), t.at(y))


class Hierarchical(_Small):
    """c_t = attention(x_{<t}, z_{<t});  y_t ~ p(y_t | y_{t-1});  z_t ~ p(z_t | z_{t-1}, y_t, c_t);  x_t ~ p(x_t | z_t)."""

    def __init__(self) -> None:
        super().__init__(features=2 * Z + H)
        self.x0, self.y0, self.q0 = (nn.Parameter(torch.zeros(d)) for d in (X, Z, Z))
        self.attention = Attention(X + Z, H)
        self.prior_y, self.prior_z = (rv.conditional(rv.Normal, i, Z, hidden=()) for i in (Z, 2 * Z + H))
        self.posterior_y = rv.conditional(rv.Normal, Z + H, Z, hidden=())
        del self.prior

    def generative(self, steps: rv.Steps) -> None:
        for t in steps:
            c = t.carry("c", self.attention, t.prev("x", self.x0), t.prev("z", self.z0))
            y = t.sample("y", self.prior_y, t.prev("y", self.y0))
            z = t.sample("z", self.prior_z, t.prev("z", self.z0), y, c)
            t.sample("x", self.likelihood, z)

    def inference(self, steps: rv.Steps, x: Tensor) -> None:
        g = self.encoder(x, steps.mask)
        for t in steps:
            y = t.sample("y", self.posterior_y, t.prev("y", self.q0), t.at(g))
            t.sample("z", self.posterior, t.prev("z", self.z0), y, t.at(g))


class PathPrior(_Small):
    """A prior on the whole path: (z_1..z_T) ~ a Gaussian process in time;  x_t ~ p(x_t | z_t)."""

    def __init__(self) -> None:
        super().__init__()
        del self.prior, self.z0

    def kernel(self, length: int) -> Tensor:
        t = torch.arange(length, dtype=torch.float64)
        return torch.exp(-(t[:, None] - t).square() / 8) + 0.1 * torch.eye(length)

    def generative(self, steps: rv.Steps) -> None:
        process = dist.MultivariateNormal(torch.zeros(Z, steps.length), self.kernel(steps.length))
        z = pyro.sample("z", process.to_event(1)).mT
        for t in steps:
            t.sample("x", self.likelihood, t.at(z))

    def inference(self, steps: rv.Steps, x: Tensor) -> None:
        law = self.posterior(self.encoder(x, steps.mask)).base_dist
        pyro.sample("z", dist.Normal(law.loc.mT, law.scale.mT).to_event(2))


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
    "labels": Case(Labelled, known=("labels",)),
    "two-loops": Case(TwoLoops),
    "slow-clock": Case(SlowClock),
    "hierarchical": Case(Hierarchical),
    "path-prior": Case(PathPrior),
}

SEQUENCES = {name: case for name, case in ZOO.items() if not case.static}
