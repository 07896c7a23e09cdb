"""Free bits and target rates: every reading against loops over sequences, steps and dimensions; refusals; the log."""

from __future__ import annotations

import itertools
from typing import Any

import pyro
import pyro.poutine as poutine
import pytest
import torch
from laws import forms_agree, loss_and_gradients, same, same_all
from pyro.infer import TraceMeanField_ELBO
from torch import Tensor
from torch.distributions import Normal, kl_divergence
from zoo import LENGTHS, MASK, ZOO, B, T

import pyro_rvae as rv
from pyro_rvae.data import SequenceDataset
from pyro_rvae.infer import linear

MANY = ["VRNN", "DMM-combiner", "VRAE", "VAE", "HRAE", "SRNN", "gaps-DMM", "shared"]


def arguments(name: str) -> tuple[rv.SequenceVAE, Tensor, Tensor | None, dict[str, Tensor]]:
    case = ZOO[name]
    return case.make().eval(), case.x(), None if case.static else MASK, case.extra()


def by_hand(model: Any, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Reconstruction, and the KL ``(B, T, d)`` of a VRNN from the laws' own numbers; the padding is arbitrary."""
    with rv.given_noise(0), pyro.plate("k", 1, dim=-2):
        q = poutine.trace(model.guide).get_trace(x, mask)
        p = poutine.trace(poutine.replay(model.model, q)).get_trace(x, mask)
    laws = []
    for trace in (q, p):
        base = trace.nodes["z"]["fn"]
        while hasattr(base, "base_dist"):
            base = base.base_dist
        laws.append(Normal(base.loc, base.scale))
    p.compute_log_prob()
    return -p.nodes["x"]["log_prob"].sum(), kl_divergence(*laws)[0]


def loops(kl: Tensor, floor: float, dimensions: bool, steps: bool, sequences: bool) -> float:
    """The docstring's sum, subset by subset."""
    subsets: dict[Any, list[float]] = {}
    for n, length in enumerate(LENGTHS.tolist()):
        for t in range(length):
            for d in range(kl.shape[-1]):
                key = (n if sequences else 0, t if steps else 0, d if dimensions else 0)
                subsets.setdefault(key, []).append(kl[n, t, d].item())
    total = 0.0
    for members in subsets.values():
        number = len(members) if dimensions else len(members) // kl.shape[-1]
        total += number * max(floor, sum(members) / number)
    return total


# ------------------------------------------------------------------------------------------- free bits
@pytest.mark.parametrize("switches", list(itertools.product([False, True], repeat=3)), ids=str)
def test_every_reading_of_free_bits_by_loops(switches: tuple[bool, bool, bool]) -> None:
    model, x, mask, _ = arguments("VRNN")
    reconstruction, kl = by_hand(model, x, mask)  # type: ignore[arg-type]
    dimensions, steps, sequences = switches
    found, size = set(), (kl if dimensions else kl.sum(-1))[MASK]
    for floor in (0.0, *size.quantile(torch.tensor([0.3, 0.5, 0.7])).tolist(), 1e3):
        elbo = rv.FreeBits(floor, dimensions=dimensions, steps=steps, sequences=sequences)
        with rv.given_noise(0):
            loss = elbo.loss(model.model, model.guide, x, mask)
        expected = loops(kl, floor, *switches)
        assert loss == pytest.approx(reconstruction.item() + expected, rel=1e-12)
        found.add(round(expected, 6))
    assert len(found) >= 3  # floors below, between and above the KLs
    at_floor = 1e3 * LENGTHS.sum().item() * (kl.shape[-1] if dimensions else 1)
    assert expected == pytest.approx(at_floor)


def test_the_readings_differ() -> None:
    model, x, mask, _ = arguments("VRNN")
    _, kl = by_hand(model, x, mask)  # type: ignore[arg-type]
    floor = kl[MASK].median().item()
    values = {round(loops(kl, floor, *switches), 6) for switches in itertools.product([False, True], repeat=3)}
    assert len(values) >= 5


@pytest.mark.parametrize("name", MANY)
@pytest.mark.parametrize("objective", ["free bits", "target"])
def test_with_no_floor_and_no_target_it_is_the_analytic_elbo(name: str, objective: str) -> None:
    """Loss and every gradient, also where the KL has no formula, for latents of all clocks and with shared ones."""
    model, x, mask, known = arguments(name)
    elbo = rv.FreeBits(0.0, dimensions=False, steps=False) if objective == "free bits" else rv.TargetRate(0.0)
    expected, gradients = loss_and_gradients(model, TraceMeanField_ELBO(), x, mask, **known)
    loss, ours = loss_and_gradients(model, elbo, x, mask, **known)
    same(loss, expected, "loss")
    same_all(ours, gradients, "gradient")


@pytest.mark.parametrize("name", ["DMM-flow", "mixture-prior", "VRNN-low-rank", "KVAE", "DMM-process", "path-prior",
                                  "RVAE-dense"])
def test_laws_that_are_no_products(name: str) -> None:
    """Their dimensions have no KL of their own; their steps do, or their path."""
    model, x, _, known = arguments(name)
    with rv.given_noise(0):
        floor = rv.FreeBits(1e7, dimensions=False).loss(model.model, model.guide, x, **known)
    with rv.given_noise(0):
        none = rv.TargetRate(0.0).loss(model.model, model.guide, x, **known)
    subsets = (floor - none) / 1e7
    assert subsets > 0.9 * (B * T if name != "path-prior" else B)
    if name not in ("DMM-process", "path-prior"):
        with pytest.raises(ValueError, match="are no products over dimensions.*give dimensions=False"):
            rv.FreeBits(0.1).loss(model.model, model.guide, x, **known)


@pytest.mark.parametrize("elbo", [rv.FreeBits(0.2), rv.FreeBits(0.3, steps=False, sequences=True, num_particles=3),
                                  rv.TargetRate(0.7, 3.0, num_particles=2)], ids=repr)
@pytest.mark.parametrize("name", ["VRNN", "DMM-combiner", "HRAE", "VRAE", "shared"])
def test_forms_agree(name: str, elbo: Any) -> None:
    model, x, mask, known = arguments(name)
    forms_agree(model, elbo, x, mask, **known)


def test_a_subset_below_its_floor_gives_no_gradient() -> None:
    model, x, mask, _ = arguments("VRNN")
    reconstruction = -poutine.trace(model.model).get_trace(x, mask).log_prob_sum()
    assert reconstruction.requires_grad
    with rv.given_noise(0):
        loss = rv.FreeBits(50.0).differentiable_loss(model.model, model.guide, x, mask)
    prior = list(model.prior.parameters())
    assert all(g is None or not g.any() for g in torch.autograd.grad(loss, prior, allow_unused=True))


def test_particles_are_averaged_before_the_floor() -> None:
    """With many draws the sampled KL of a flow is near its mean: a floor below it adds nothing."""
    model, x, mask, _ = arguments("STORN-flow")
    elbo = rv.FreeBits(0.0, dimensions=False, sequences=True, num_particles=2000)
    alone = rv.FreeBits(0.0, dimensions=False, sequences=True)
    many, target = elbo.loss(model.model, model.guide, x, mask), rv.TargetRate(0.0, num_particles=2000)
    assert many == pytest.approx(target.loss(model.model, model.guide, x, mask), rel=0.02)
    assert sum(alone.loss(model.model, model.guide, x, mask) for _ in range(50)) / 50 > many  # max of a noisy KL


# ------------------------------------------------------------------------------------------- target rate
@pytest.mark.parametrize("target", [0.1, 30.0])
def test_the_target_by_hand(target: float) -> None:
    model, x, mask, _ = arguments("VRNN")
    reconstruction, kl = by_hand(model, x, mask)  # type: ignore[arg-type]
    frames, total = int(LENGTHS.sum()), kl[MASK].sum()
    with rv.given_noise(0):
        loss = rv.TargetRate(target, weight=5.0).loss(model.model, model.guide, x, mask)
    assert loss == pytest.approx((reconstruction + 5.0 * frames * (total / frames - target).abs()).item(), rel=1e-12)
    assert (total / frames > target) == (target == 0.1)


def test_static_data_have_items_for_frames() -> None:
    model, x, _, _ = arguments("VAE")
    with rv.given_noise(0):
        at_once = rv.TargetRate(1e6).loss(model.model, model.guide, x)
    with rv.given_noise(0):
        none = rv.TargetRate(0.0).loss(model.model, model.guide, x)
    assert at_once == pytest.approx(B * 1e6, rel=1e-3) and none < 1e3


def test_a_rate_that_rises() -> None:
    elbo, model = rv.TargetRate(linear(0.0, 2.0, 10)), arguments("VRNN")[0]
    found = []
    for elbo.step in (0, 5, 10, 99):
        found.append(elbo.target)
    assert found == [0.0, 1.0, 2.0, 2.0]
    steps = []

    class Watch(rv.Callback):
        def on_step(self, state: Any) -> None:
            steps.append(state.elbo.step)

    values = (torch.rand(12, 5) < 0.3).double()
    rv.fit(model, SequenceDataset(values, [6, 6]), epochs=3, batch_size=1, elbo=elbo, callbacks=[Watch()],
           progress=False)
    assert steps == [0, 1, 2, 3, 4, 5]


# ------------------------------------------------------------------------------------------- refusals
def test_refusals() -> None:
    with pytest.raises(ValueError, match="FreeBits: nats must be a finite number of at least 0, got -0.1"):
        rv.FreeBits(-0.1)
    with pytest.raises(ValueError, match="FreeBits: num_particles must be an integer of at least 1, got 0"):
        rv.FreeBits(0.1, num_particles=0)
    with pytest.raises(ValueError, match=r"TargetRate: rate must be a finite number of at least 0, got -1 \(nats"):
        rv.TargetRate(-1)
    with pytest.raises(ValueError, match="TargetRate: weight must be a finite number above 0, got 0.0"):
        rv.TargetRate(1.0, 0.0)
    model, x, mask, _ = arguments("VRNN")
    elbo = rv.TargetRate(lambda step: 1.0 - step)
    elbo.step = 3
    with pytest.raises(ValueError, match="TargetRate.*lambda.*the schedule gave -2.0 for step 3; a rate must be"):
        elbo.loss(model.model, model.guide, x, mask)
    with rv.annealed(0.5), pytest.raises(ValueError, match="TargetRate says itself what the KL weighs.*leave kl_w"):
        rv.TargetRate(1.0).loss(model.model, model.guide, x, mask)
    point, x = ZOO["RAE"].make(), ZOO["RAE"].x()
    with pytest.raises(ValueError, match="FreeBits: the guide draws 'z' from a point mass"):
        rv.FreeBits(0.1).loss(point.model, point.guide, x)
    hmm = rv.NeuralHMM(5, 3, 8)
    with pytest.raises(ValueError, match="FreeBits follows the gradient through each draw, and 's' is drawn from"):
        rv.FreeBits(0.1).loss(hmm.model, hmm.guide, ZOO["VRNN"].x())


def test_free_bits_compose_with_a_kl_weight() -> None:
    """The weight multiplies the floored KL."""
    model, x, mask, _ = arguments("VRNN")
    losses = []
    for beta in (0.0, 0.5, 1.0):
        with rv.given_noise(0), rv.annealed(beta):
            losses.append(rv.FreeBits(0.4).loss(model.model, model.guide, x, mask))
    assert losses[1] == pytest.approx((losses[0] + losses[2]) / 2, rel=1e-12) and losses[2] > losses[0]
