"""One training step: ours beside the same maths written by hand, and memory against the length.

    python tests/benchmarks/speed.py [--device cuda] [--rounds 15] [--threads 1]

Every ratio is the median over rounds of two steps timed one after the other in the same round. Nothing here is
asserted; before anything is timed, each hand-written loss is compared with ours on the same noise in float64.
"""

from __future__ import annotations

import argparse
import copy
import platform
import statistics
import time
from collections.abc import Callable

import pyro
import torch
from pyro.infer import Trace_ELBO, TraceMeanField_ELBO
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, softplus

import pyro_rvae as rv

B, T, X, Z, H = 20, 100, 88, 16, 128


# ------------------------------------------------------------------------------- the same maths, without Pyro
def log_normal(z: Tensor, params: Tensor) -> Tensor:
    loc, raw = params.chunk(2, -1)
    return torch.distributions.Normal(loc, softplus(raw) + 1e-4, validate_args=False).log_prob(z).sum()


def log_standard(z: Tensor) -> Tensor:
    return torch.distributions.Normal(torch.zeros_like(z), torch.ones_like(z), validate_args=False).log_prob(z).sum()


def log_bernoulli(x: Tensor, logits: Tensor) -> Tensor:
    return -binary_cross_entropy_with_logits(logits, x, reduction="sum")


def shifted(x: Tensor, init: Tensor) -> Tensor:
    return torch.cat([init.expand(len(x), 1, -1), x[:, :-1]], 1)


def vrnn_by_hand(m: rv.VRNN, x: Tensor, noise: Tensor) -> Tensor:
    """A VRNN's loss with one loop over time; all that needs no drawn z is batched."""
    features = m.phi_x(x)
    previous = m.phi_x(shifted(x, m.x0))
    weights = m.recurrence.rnn._flat_weights
    zero = x.new_zeros(len(x), m.h_dim)
    state, z_features = (zero, zero), m.phi_z(m.z0.expand(len(x), -1))
    hs, zs, qs = [], [], []
    for x_t, x_prev, eps in zip(features.unbind(1), previous.unbind(1), noise.unbind(1), strict=True):
        state = torch.lstm_cell(torch.cat([x_prev, z_features], -1), state, *weights)
        q = m.posterior.net(torch.cat([state[0], x_t], -1))
        loc, raw = q.chunk(2, -1)
        z = loc + (softplus(raw) + 1e-4) * eps
        z_features = m.phi_z(z)
        hs.append(state[0])
        zs.append(z)
        qs.append(q)
    h, z, q = torch.stack(hs, 1), torch.stack(zs, 1), torch.stack(qs, 1)
    logits = m.likelihood.net(torch.cat([h, m.phi_z(z)], -1))
    elbo = log_bernoulli(x, logits) + log_normal(z, m.prior.net(h)) - log_normal(z, q)
    return -elbo / x.shape[0] / x.shape[1]


def rvae_by_hand(m: rv.RVAE, x: Tensor, z: Tensor) -> Tensor:
    q = m.posterior.net(torch.cat([m.encoder.cells[0].rnn(x)[0], m.encoder.cells[1].rnn(x.flip(1))[0].flip(1)], -1))
    logits = m.likelihood.net(m.recurrence.rnn(z)[0])
    return -(log_bernoulli(x, logits) + log_standard(z) - log_normal(z, q)) / x.shape[0] / x.shape[1]


def storn_by_hand(m: rv.STORN, x: Tensor, z: Tensor) -> Tensor:
    q = m.posterior.net(m.encoder.cells[0].rnn(x)[0])
    logits = m.likelihood.net(m.recurrence.rnn(torch.cat([shifted(x, m.x0), z], -1))[0])
    return -(log_bernoulli(x, logits) + log_standard(z) - log_normal(z, q)) / x.shape[0] / x.shape[1]


def vrae_by_hand(m: rv.VRAE, x: Tensor, z: Tensor) -> Tensor:
    q = m.posterior.net(m.encoder.cells[0].rnn(x)[0][:, -1])
    start = tuple(s.unsqueeze(0).contiguous() for s in m.begin(z).chunk(2, -1))
    logits = m.likelihood.net(m.recurrence.rnn(shifted(x, m.x0), start)[0])
    return -(log_bernoulli(x, logits) + log_standard(z) - log_normal(z, q)) / x.shape[0] / x.shape[1]


def dmm_by_hand(m: rv.DMM, x: Tensor, z: Tensor) -> Tensor:
    a, b, raw = m.posterior.net(m.encoder.cells[0].rnn(x.flip(1))[0].flip(1)).chunk(3, -1)
    loc = torch.sigmoid(a + 1.0) * shifted(z, m.q0) + b
    log_q = torch.distributions.Normal(loc, softplus(raw) + 1e-4, validate_args=False).log_prob(z).sum()
    log_p = log_normal(z, m.transition.net(shifted(z, m.z0))) + log_bernoulli(x, m.likelihood.net(z))
    return -(log_p - log_q) / x.shape[0] / x.shape[1]


MODELS = {"VRNN": (rv.VRNN, vrnn_by_hand), "RVAE": (rv.RVAE, rvae_by_hand), "STORN": (rv.STORN, storn_by_hand),
          "VRAE": (rv.VRAE, vrae_by_hand), "DMM (chain)": (rv.DMM, dmm_by_hand)}


def given_latents(model: rv.SequenceVAE, x: Tensor) -> Tensor:
    """What the hand-written form is handed: a VRNN's standard noise, another model's drawn latents."""
    if isinstance(model, rv.VRNN):
        return rv.given_noise(0).path("z", x.shape[1], torch.Size([len(x), Z])).to(x)
    with rv.given_noise(0), torch.no_grad():
        return pyro.poutine.trace(model.guide).get_trace(x).nodes["z"]["value"].detach()


def compare(name: str) -> float:
    """Difference of our loss and the hand-written one, float64, same noise."""
    torch.manual_seed(0)
    factory, by_hand = MODELS[name]
    model = factory(X, Z, H).double()
    x = torch.bernoulli(torch.full((B, T, X), 0.1, dtype=torch.float64))
    with rv.given_noise(0):
        ours = rv.Loss(model)(x)
    return abs((ours - by_hand(model, x, given_latents(model, x))).item())


# ------------------------------------------------------------------------------------------------- measuring
def seconds(step: Callable[[], None], device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    step()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def rounds(steps: dict[str, Callable[[], None]], device: str, count: int) -> dict[str, list[float]]:
    """Each step once a round, in turn."""
    for step in steps.values():
        for _ in range(2):
            step()
    return {name: list(column) for name, column in zip(
        steps, zip(*([seconds(step, device) for step in steps.values()] for _ in range(count)), strict=True),
        strict=True)}


def ratio(times: dict[str, list[float]], ours: str, other: str) -> float:
    return statistics.median(a / b for a, b in zip(times[ours], times[other], strict=True))


def training_step(loss: Callable[[], Tensor], model: torch.nn.Module) -> Callable[[], None]:
    def step() -> None:
        model.zero_grad(set_to_none=True)
        loss().backward()
    return step


def steps_of(name: str, device: str) -> dict[str, Callable[[], None]]:
    torch.manual_seed(0)
    factory, by_hand = MODELS[name]
    model = factory(X, Z, H).to(device)
    x = torch.bernoulli(torch.full((B, T, X), 0.1)).to(device)
    latents = given_latents(model.cpu(), x.cpu()).to(device)
    model.to(device)
    loss, hand = rv.Loss(model, Trace_ELBO()), copy.deepcopy(model)

    def ours() -> Tensor:
        with rv.trusted(missing=False):
            return loss(x)

    def step_by_step() -> Tensor:
        with rv.explicit():
            return ours()

    fresh = torch.randn_like if name == "VRNN" else (lambda z: z)
    return {"ours": training_step(ours, model),
            "by hand": training_step(lambda: by_hand(hand, x, fresh(latents)), hand),
            "explicit": training_step(step_by_step, model)}


def saved_bytes(loss: Callable[[], Tensor]) -> int:
    """Bytes that autograd keeps for the backward pass, each storage counted once."""
    storages: dict[int, tuple[Tensor, int]] = {}

    def pack(tensor: Tensor) -> Tensor:
        storages[tensor.untyped_storage().data_ptr()] = (tensor, tensor.untyped_storage().nbytes())
        return tensor
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss()
    return sum(size for _, size in storages.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    pyro.enable_validation(False)
    where = torch.cuda.get_device_name() if options.device == "cuda" else f"CPU, {options.threads} thread(s)"
    print(f"{where}; Python {platform.python_version()}, torch {torch.__version__}")
    print(f"B {B}, T {T}, x {X}, z {Z}, h {H}; {options.rounds} rounds, seed 0\n")
    print("| model | difference of the loss | ours, ms | by hand, ms | ours / by hand | explicit / ours |")
    print("|---|---|---|---|---|---|")
    for name in MODELS:
        times = rounds(steps_of(name, options.device), options.device, options.rounds)
        ours, hand = (1e3 * statistics.median(times[key]) for key in ("ours", "by hand"))
        print(f"| {name} | {compare(name):.0e} | {ours:.1f} | {hand:.1f} | {ratio(times, 'ours', 'by hand'):.2f} "
              f"| {ratio(times, 'explicit', 'ours'):.1f} |", flush=True)
    print("\nVRNN: against a hand-written loop that draws. The others: against the same maths, the latents given.\n")
    memory()


def memory() -> None:
    """What one step keeps for its backward pass, against T."""
    lengths = (50, 100, 200, 400)
    print("| kept for the backward pass, MB | " + " | ".join(f"T = {t}" for t in lengths) + " |")
    print("|---|" + "---|" * len(lengths))
    for name, (factory, _) in MODELS.items():
        loss = rv.Loss(factory(X, Z, H), TraceMeanField_ELBO())
        row = [saved_bytes(lambda loss=loss, t=t: loss(torch.zeros(B, t, X))) / 1e6 for t in lengths]  # type: ignore[misc]
        print(f"| {name} | " + " | ".join(f"{size:.0f}" for size in row) + " |")


if __name__ == "__main__":
    main()
