"""A user's own parts and models, tiny: each uses one thing that the six models of the library don't."""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

import pyro_rvae as rv
from pyro_rvae.distributions import conditional
from pyro_rvae.nn import concat

X, Z, H = 5, 3, 8


# ------------------------------------------------------------------------------------------- a user's own parts
class MixturePrior(nn.Module):
    """A user's own prior: a mixture of Gaussians. No base class, no registration."""

    def __init__(self, in_dim: int, dim: int, k: int = 2) -> None:
        super().__init__()
        self.net, self.k, self.dim = nn.Linear(in_dim, k * (1 + dim)), k, dim

    def forward(self, *inputs: Tensor) -> Any:
        out = self.net(concat(inputs))
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
        return dist.MultivariateNormal(self.net(concat(inputs)), scale_tril=tril)


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
        self.prior = conditional(rv.Normal, Z, Z, hidden=())
        self.posterior = conditional(rv.Normal, features, Z, hidden=())
        self.likelihood = conditional(likelihood, inputs, X, hidden=())


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
        s = steps.shared["s"]
        for t in steps:
            z = t.sample("z", self.prior, t.prev("z", self.z0))
            t.sample("x", self.emission, z, t.hold(s))

    def inference(self, steps: rv.Steps, x: Tensor) -> None:
        g = self.encoder(x, steps.mask)
        for t in steps:
            t.sample("z", self.posterior, t.at(g))


class BayesianDecoder(_Small):
    """W, b ~ N(0, I) once a data set;  z_t ~ p(z_t | z_{t-1});  x_t ~ p(x_t | W z_t + b)."""

    def __init__(self, family: Any = rv.Normal, *, guide: Any = None) -> None:
        super().__init__()
        self.likelihood = rv.BayesianLinear(Z, X, family=family)
        if guide is not None:  # one of pyro.infer.autoguide
            self.shared_posterior = guide(self.shared)

    def shared(self) -> None:
        pyro.sample("w", self.likelihood.shared_law())

    def generative(self, steps: rv.Steps) -> None:
        w = steps.shared["w"]
        for t in steps:
            z = t.sample("z", self.prior, t.prev("z", self.z0))
            t.sample("x", self.likelihood, z, t.hold(w))

    def inference(self, steps: rv.Steps, x: Tensor) -> None:
        g = self.encoder(x, steps.mask)
        for t in steps:
            t.sample("z", self.posterior, t.at(g))


class GammaScale(BayesianDecoder):
    """w ~ Gamma(2, 2) once a data set;  z_t ~ p(z_t | z_{t-1});  x_t ~ N(f(z_t), w^2)."""

    def __init__(self, *, guide: Any = None) -> None:
        super().__init__()
        self.likelihood = rv.GammaNoise(Z, X, hidden=(H,))
        if guide is not None:
            self.shared_posterior = guide(self.shared)


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
        self.embed, self.posterior_v = nn.Embedding(3, Z), conditional(rv.Normal, H + Z, Z, hidden=())

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
    """y_j ~ p(y_j | y_{j-1}) every 4 frames;  z_t ~ p(z_t | z_{t-1});  x_t ~ p(x_t | z_t, y). T = 6 is no multiple."""

    def __init__(self) -> None:
        super().__init__(inputs=2 * Z, features=H + Z)
        self.y0 = nn.Parameter(torch.zeros(Z))
        self.prior_y = conditional(rv.Normal, Z, Z, hidden=())
        self.posterior_y = conditional(rv.Normal, Z + H, Z, hidden=())

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
    """c_t = f(x_{<t}, z_{<t});  y_t ~ p(y_t | y_{t-1});  z_t ~ p(z_t | z_{t-1}, y_t, c_t);  x_t ~ p(x_t | z_t)."""

    def __init__(self) -> None:
        super().__init__(features=2 * Z + H)
        self.x0, self.y0, self.q0 = (nn.Parameter(torch.zeros(d)) for d in (X, Z, Z))
        self.attention = Attention(X + Z, H)
        self.prior_y, self.prior_z = (conditional(rv.Normal, i, Z, hidden=()) for i in (Z, 2 * Z + H))
        self.posterior_y = conditional(rv.Normal, Z + H, Z, hidden=())
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


class ChainPrior(_Small):
    """z_t ~ N(a(u_t) z_{t-1} + b(u_t), s(u_t)^2), u_t the controls;  x_t ~ p(x_t | z_t): a chain as prior too."""

    def __init__(self) -> None:
        super().__init__()
        self.prior, self.posterior = rv.GaussianChain(Z + 2, Z), rv.GaussianChain(Z + H, Z)

    def generative(self, steps: rv.Steps) -> None:
        for t in steps:
            z = t.sample("z", self.prior, t.prev("z", self.z0), t.at(steps.controls))
            t.sample("x", self.likelihood, z)

    def inference(self, steps: rv.Steps, x: Tensor) -> None:
        g = self.encoder(x, steps.mask)
        for t in steps:
            t.sample("z", self.posterior, t.prev("z", self.z0), t.at(g))
