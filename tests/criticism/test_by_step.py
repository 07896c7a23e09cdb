from __future__ import annotations

import json

import numpy as np
import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import pytest
import torch
from zoo import LENGTHS, MASK, SEQUENCES, ZOO, B, T

import pyro_rvae as rv
from pyro_rvae.core.handlers import vectorised
from pyro_rvae.core.traces import guide_trace, replayed, sites
from pyro_rvae.criticism import StepCosts, evaluate
from pyro_rvae.criticism.by_step import log_prob, log_prob_by_step, terms

LIKE = torch.empty(0, dtype=torch.float64)


def data_set(case, shape=(B, T)):
    """The zoo's data as a data set of ragged sequences (or rows)."""
    x, extra = case.x(shape=shape), case.extra(shape)
    kind = case.data.split()[0]
    known = {"codes": {"kind": "categories", "classes": 4}, "counts": {"kind": "counts"}}.get(kind, {})
    if case.static:
        return rv.data.StaticDataset(x, labels=extra.get("labels"), **known)
    inside = MASK[:, : shape[1]]
    controls = extra["controls"][inside] if "controls" in extra else None
    return rv.data.SequenceDataset(x[inside], LENGTHS, labels=extra.get("labels"), controls=controls, **known)


def batch_of(case):
    return rv.data.Batch(case.x(), None if case.static else MASK, **case.extra())


@pytest.mark.parametrize("name", ZOO)
def test_the_steps_of_every_model_sum_to_the_elbo(name):
    case = ZOO[name]
    found = evaluate(case.make(), data_set(case), num_particles=2)
    if case.static:
        assert found.by_step is None
        return
    steps = found.by_step
    assert steps.total == pytest.approx(found.elbo * found.num_frames, rel=1e-10)
    assert steps.reconstruction.shape == steps.kl.shape == (B, T)
    for part in (steps.reconstruction, steps.kl):
        assert (np.isnan(part) == ~MASK.numpy()).all()
    each = np.nansum(steps.reconstruction, 1) + np.nansum(steps.kl, 1) + steps.once
    assert np.allclose(each, -found.sequence_bounds(1))


@pytest.mark.parametrize("name", SEQUENCES)
def test_both_readings_have_the_same_steps(name):
    model, batch, found = SEQUENCES[name].make().eval(), batch_of(SEQUENCES[name]), []
    for reading in (vectorised, rv.explicit):
        with torch.no_grad(), reading(), rv.given_noise(0):
            guide = guide_trace(model, batch)
            program = replayed(model, batch, guide)
        found += [terms(only_batch(trace), LIKE, (1, B, T)) for trace in (guide, program)]
    for ours, oracle in zip(found[:2], found[2:], strict=True):
        assert torch.allclose(ours.steps, oracle.steps, atol=1e-10)
        assert torch.allclose(ours.once, oracle.once, atol=1e-10)


def only_batch(trace):
    return [site for site in sites(trace).values() if any(f.name == "batch" for f in site["cond_indep_stack"])]


def traced(model, batch, particles=3):
    with torch.no_grad(), pyro.plate("particles", particles, dim=-2):
        guide = guide_trace(model, batch)
        return guide, replayed(model, batch, guide)


def test_a_step_is_the_conditional_density_written_out(gaussian):
    batch = gaussian.data.padded()
    guide, program = traced(gaussian.Model(), batch)
    z, found = guide.nodes["z"]["value"], log_prob_by_step(program.nodes["z"])
    before = torch.cat([torch.zeros_like(z[..., :1, :]), z[..., :-1, :]], -2)
    by_hand = dist.Normal(0.9 * before, 0.5**0.5).log_prob(z).squeeze(-1)
    assert found.shape == (3, 5, 7)
    assert torch.allclose(found, torch.where(batch.mask, by_hand, 0.0))
    likelihood = dist.Normal(z, 0.3**0.5).log_prob(batch.x).squeeze(-1)
    assert torch.allclose(log_prob_by_step(program.nodes["x"]), torch.where(batch.mask, likelihood, 0.0))


def test_a_missing_element_is_in_no_step():
    case = ZOO["gaps-STORN"]
    batch = batch_of(case)
    _, program = traced(case.make().eval(), batch)
    site = program.nodes["x"]
    law = site["fn"].base_dist
    while not isinstance(law, dist.Poisson):
        law = law.base_dist
    elements = torch.distributions.Poisson(law.rate).log_prob(batch.x.nan_to_num())
    present = MASK.unsqueeze(-1) & ~batch.x.isnan()
    assert torch.allclose(log_prob_by_step(site), torch.where(present, elements, 0.0).sum(-1))


@pytest.mark.parametrize(
    ("name", "site", "shape"),
    [
        ("VRNN", "z", (3, B, T)),
        ("DMM-process", "z", (3, B, T)),  # a law over whole paths: by the chain rule
        ("slow-clock", "y", (3, B, 2)),  # a clock of its own
        ("VRAE", "z", None),
        ("labels", "v", None),
        ("supervised-VRNN", "y", None),
        ("path-prior", "z", None),
        ("VAE", "x", None),
    ],
)
def test_which_sites_have_steps(name, site, shape):
    for trace in traced(ZOO[name].make().eval(), batch_of(ZOO[name])):
        if site in trace.nodes:
            parts, whole = log_prob_by_step(trace.nodes[site]), log_prob(trace.nodes[site])
            assert (None if parts is None else tuple(parts.shape)) == shape
            assert parts is None or torch.allclose(parts.sum(-1), whole)


def test_a_site_of_the_explicit_reading_is_itself_a_step():
    with rv.explicit():
        guide, _ = traced(ZOO["VRNN"].make().eval(), batch_of(ZOO["VRNN"]))
    assert log_prob_by_step(guide.nodes["z_2"]) is None
    steps = terms(only_batch(guide), LIKE, (3, B, T)).steps
    assert torch.equal(steps[..., 2], log_prob(guide.nodes["z_2"]))


@pytest.mark.parametrize("mask", [torch.tensor([True, False, True, True]), False])
def test_a_mask_of_a_handler_counts(mask):
    model, batch = ZOO["VRNN"].make().eval(), batch_of(ZOO["VRNN"])
    with poutine.mask(mask=mask):
        guide, _ = traced(model, batch)
    parts = log_prob_by_step(guide.nodes["z"])
    assert torch.equal(parts.abs().sum((0, 2)) > 0, torch.as_tensor(mask).expand(B))


def test_what_is_drawn_once_is_in_once(gaussian, rolls):
    assert not evaluate(gaussian.Model(), gaussian.data, num_particles=2).by_step.once.any()
    found = evaluate(rv.VRAE.for_data(rolls.train, z_dim=2, h_dim=6), rolls.test, num_particles=4)
    assert np.allclose(found.by_step.once, found.kls) and not np.nansum(found.by_step.kl)


@pytest.mark.parametrize("Model", [rv.DMM, rv.VRNN, rv.HRAE])
def test_padding_and_chunks_do_not_matter(Model, rolls):
    model = Model.for_data(rolls.train, z_dim=2, h_dim=6)
    whole = evaluate(model, rolls.train, num_particles=4, seed=2).by_step
    cut = evaluate(model, rolls.train, num_particles=4, seed=2, batch_size=2, max_bytes=3000).by_step
    for name in ("reconstruction", "kl", "once"):
        assert np.allclose(getattr(whole, name), getattr(cut, name), atol=1e-10, equal_nan=True)
    alone = evaluate(model, rolls.train.subset([0]), num_particles=4, seed=2).by_step
    assert alone.kl.shape == (1, 6)
    assert np.allclose(alone.kl[0], whole.kl[0, :6], atol=1e-10)
    assert np.allclose(alone.reconstruction[0], whole.reconstruction[0, :6], atol=1e-10)


@pytest.fixture
def costs():
    gap = np.nan
    return StepCosts(np.array([[1.0, 2.0, 3.0], [3.0, 4.0, gap]]), np.array([[0.5, 0.5, 1.0], [0.5, 1.5, gap]]),
                     np.array([0.25, 0.75]))


def test_the_series_is_the_mean_of_the_sequences_that_have_the_step(costs):
    assert costs.num_sequences.tolist() == [2, 2, 1]
    assert costs.series["reconstruction"].tolist() == [2.0, 3.0, 3.0]
    assert costs.series["kl"].tolist() == [0.5, 1.0, 1.0]
    assert costs.series["elbo"].tolist() == [2.5, 4.0, 4.0]
    assert costs.total == 13 + 4 + 1
    figures = costs.to_dict()
    assert json.loads(json.dumps(figures)) == figures
    assert figures["num_sequences"] == [2, 2, 1] and figures["once"] == 0.5


def test_it_prints_as_a_table(costs):
    assert repr(costs).splitlines() == [
        "Costs by step. Nats per frame; lower is better.",
        "  steps  sequences  reconstruction     KL   ELBO",
        "  1              2           2.000  0.500  2.500",
        "  2              2           3.000  1.000  4.000",
        "  3              1           3.000  1.000  4.000",
        "  once a sequence: 0.500 nats",
    ]
    long = StepCosts(np.ones((2, 100)), np.zeros((2, 100)), np.zeros(2))
    assert len(repr(long).splitlines()) == 14 and "once" not in repr(long)
    assert "  1-9" in repr(long)
