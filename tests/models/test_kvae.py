"""The Kalman VAE: its bound where frames are missing, its smoother, and the exact evidence of a linear one."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import equations_kvae as eq
import pyro.distributions as dist
import pyro.poutine as poutine
import pytest
import torch
from laws import ELBOS, form, forms_agree, loss_and_gradients, padding_never_matters, per_sequence, same, weights
from torch import Tensor, nn
from torch.distributions import kl_divergence
from zoo import LENGTHS, MASK, ZOO, B, H, T, X, Z, awake

import pyro_rvae as rv
from pyro_rvae.models import Smoothed

A = 2
GAPS = torch.tensor([[1, 0, 0, 1, 1, 1], [0, 1, 1, 0, 0, 0], [1, 1, 0, 0, 1, 1], [0, 1, 1, 1, 1, 1]]) > 0
BOTH = pytest.mark.parametrize("explicit", [False, True], ids=["vectorised", "explicit"])


def kvae(**parts: Any) -> rv.KVAE:
    return awake(rv.KVAE(X, Z, H, **{"a_dim": A, "likelihood": rv.Normal, **parts}))  # type: ignore[return-value]


def data(gaps: Tensor = GAPS) -> Tensor:
    return torch.randn(B, T, X).masked_fill(~gaps.unsqueeze(-1), torch.nan)


def named(a: Tensor, explicit: bool) -> dict[str, Tensor]:
    return {f"a_{t}": v for t, v in enumerate(a.unbind(-2))} if explicit else {"a": a}


def score(program: Any, a: Tensor, explicit: bool, x: Tensor, mask: Tensor | None = None) -> Tensor:
    with form(explicit):
        return per_sequence(poutine.trace(poutine.condition(program, named(a, explicit))).get_trace(x, mask))


# ------------------------------------------------------------------------------------------ missing frames
@BOTH
def test_both_readings_equal_the_dense_gaussian_with_missing_frames(explicit: bool) -> None:
    model, x, a = kvae(), data(), torch.randn(B, T, A)
    p, q = (score(program, a, explicit, x, MASK) for program in (model.model, model.guide))
    for i, n in enumerate(LENGTHS.tolist()):
        log_p, log_q = eq.kvae(model, x[i, :n], {"a": a[i, :n]})
        same(p[i], log_p, f"log joint of sequence {i}")
        same(q[i], log_q, f"log guide of sequence {i}")


@pytest.mark.parametrize("elbo", ELBOS)
@pytest.mark.parametrize("masked", [False, True], ids=["full", "ragged"])
def test_forms_agree_with_missing_frames(elbo: str, masked: bool) -> None:
    forms_agree(kvae(), ELBOS[elbo](), data(), MASK if masked else None)


@BOTH
def test_padding_never_matters_with_missing_frames(explicit: bool) -> None:
    padding_never_matters(kvae(), data(), MASK, explicit=explicit)


@BOTH
def test_what_is_drawn_where_a_frame_is_missing_never_matters(explicit: bool) -> None:
    model, x, a = kvae(), data(), torch.randn(B, T, A)
    other = torch.where(GAPS.unsqueeze(-1), a, torch.randn(B, T, A))
    for program in (model.model, model.guide):
        same(score(program, a, explicit, x), score(program, other, explicit, x), "log density", 0.0)


def test_a_gap_at_the_end_is_a_shorter_sequence() -> None:
    gaps = torch.arange(T).expand(B, T) < T - 2
    model, x = kvae(), data(gaps)
    ours, _ = weights(model, x, particles=2)
    theirs, _ = weights(model, x[:, :-2], particles=2)
    same(ours, theirs, "importance weights")


def test_a_batch_without_any_frame_has_no_cost() -> None:
    loss, gradients = loss_and_gradients(kvae(), ELBOS["Trace"](), torch.full((B, T, X), torch.nan))
    assert loss == 0.0 and all(g.isfinite().all() for g in gradients.values())


def test_a_frame_of_which_some_elements_are_missing_is_observed() -> None:
    model, x, a = kvae(), torch.randn(B, T, X), torch.randn(B, T, A)
    whole = score(model.guide, a, False, x)
    x[:, 2, 1:] = torch.nan
    assert (score(model.guide, a, False, x) != whole).all()
    observed = torch.ones(B, T, 1)
    path = model.dynamics(torch.cat([rv.shift(a, model.a0), observed], -1))
    prior = model.predictive(path, observed).log_prob(a).sum(-1)
    law, there = model.likelihood(a).base_dist, ~x.isnan()
    expected = prior + law.log_prob(x.nan_to_num()).masked_fill(~there, 0.0).sum((-1, -2))
    same(score(model.model, a, False, x), expected, "log joint")


# ------------------------------------------------------------------------------------------ exactness
def linear(scale: float = 0.7) -> tuple[rv.KVAE, nn.Linear]:
    emission = nn.Linear(A, X)
    return kvae(modes=1, likelihood=rv.Conditional(emission, rv.Normal(X, scale=scale))), emission


@BOTH
@pytest.mark.parametrize("gaps", [False, True], ids=["full", "gaps"])
def test_a_linear_emission_has_the_evidence_of_a_dense_gaussian(gaps: bool, explicit: bool) -> None:
    """log p(x, a) - log p(a | x), with the exact posterior of a, is the dense log p(x), whatever a is."""
    model, emission = linear()
    seen = GAPS if gaps else torch.ones_like(GAPS)
    x, a = data(seen), torch.randn(B, T, A)
    joint = score(model.model, a, explicit, x)
    mean, covariance = eq.joint(model.dynamics, torch.ones(T, 1)).a
    scale = model.likelihood.family.split(torch.zeros(X))[1]
    for i in range(B):
        keep, n = seen[i].repeat_interleave(A), int(seen[i].sum())
        m, s, d = mean[keep], covariance[keep][:, keep], torch.block_diag(*[emission.weight] * n)
        expected, spread = emission.bias.repeat(n) + d @ m, d @ s @ d.T + torch.diag(scale.square().repeat(n))
        frames, gain = x[i][seen[i]].flatten(), torch.linalg.solve(spread, d @ s).T
        posterior = dist.MultivariateNormal(m + gain @ (frames - expected), s - gain @ d @ s)
        evidence = dist.MultivariateNormal(expected, spread).log_prob(frames)
        same(joint[i] - posterior.log_prob(a[i].flatten()[keep]), evidence, f"evidence of sequence {i}", 1e-8)


def test_equal_modes_are_one_mode() -> None:
    model, one, x, a = kvae(), kvae(modes=1), data(), torch.randn(B, T, A)
    weights = {k: v for k, v in model.state_dict().items() if k in one.state_dict()}
    for key in ("dynamics.transition", "dynamics.emission"):
        weights[key] = weights[key][:1]
        model.get_parameter(key).data[:] = weights[key]
    one.load_state_dict(weights)
    same(score(model.model, a, False, x), score(one.model, a, False, x), "log joint")


def test_the_kl_is_that_of_two_gaussians_at_the_observed_frames() -> None:
    model, x = kvae(), data()
    with rv.given_noise(0):
        analytic = rv.infer.measure(model, rv.data.Batch(x, MASK), analytic=True)
    with rv.given_noise(0):
        sampled, latents = weights(model, x, MASK)
        terms = rv.infer.measure(model, rv.data.Batch(x, MASK))
    same(terms.elbo, -sampled[0], "minus the ELBO")
    observed = GAPS.unsqueeze(-1).double()
    path = model.dynamics(torch.cat([rv.shift(latents["a"], model.a0), rv.shift(observed, torch.ones(1))], -1))
    loc, scale_tril = model.dynamics.predictive(path)
    q = model.posterior(model.encoder(model.read(x))).base_dist
    kl = kl_divergence(torch.distributions.MultivariateNormal(q.loc, scale_tril=torch.diag_embed(q.scale)),
                       torch.distributions.MultivariateNormal(loc, scale_tril=scale_tril))
    same(analytic.kl, (kl * (MASK & GAPS)).sum(-1), "KL")
    same(analytic.reconstruction, terms.reconstruction, "reconstruction")


# ------------------------------------------------------------------------------------------ smoothing
@pytest.mark.parametrize("modes", [1, 3])
def test_smoothing_equals_a_dense_gaussian(modes: int) -> None:
    model, x, given = kvae(modes=modes), data(), torch.randn(B, T, A)
    a = model.posterior(model.encoder(model.read(x))).mean
    for values, smoothed in ((a, model.smooth(x, MASK)), (given, model.smooth(x, MASK, a=given))):
        assert isinstance(smoothed, Smoothed)
        for i, n in enumerate(LENGTHS.tolist()):
            mine, seen = values[i, :n], GAPS[i, :n]
            joint = eq.joint(model.dynamics, eq.modes(model.dynamics, mine, seen, model.a0))
            mean, covariance = eq.posterior(joint, mine, seen)
            emitted = joint.emission @ mean
            spread = joint.emission @ covariance @ joint.emission.T + torch.diag(joint.noise)
            same(smoothed.z[i, :n].flatten(), mean, "z")
            same(smoothed.a[i, :n].flatten(), emitted, "a")
            for t in range(n):
                here, there = slice(t * Z, (t + 1) * Z), slice(t * A, (t + 1) * A)
                same(smoothed.z_covariance[i, t], covariance[here, here], "covariance of z")
                same(smoothed.a_covariance[i, t], spread[there, there], "covariance of a")


def test_imputation_fills_what_is_missing_and_nothing_else() -> None:
    model, x = kvae(), data()
    x[0, 0, 1:] = torch.nan
    filled, smoothed = model.impute(x, MASK), model.smooth(x, MASK)
    assert torch.equal(filled[~x.isnan()], x[~x.isnan()]) and filled.isfinite().all()
    gone = ~GAPS & MASK
    same(filled[gone], model.likelihood(smoothed.a).mean[gone], "a frame that is missing")
    partly = model.likelihood(model.posterior(model.encoder(model.read(x))).mean).mean
    same(filled[0, 0, 1:], partly[0, 0, 1:], "elements of a frame")


def test_smoothing_reads_controls_and_labels() -> None:
    case = ZOO["conditional-KVAE"]
    model, x, known = case.make(), case.x(), case.extra()
    ours = model.smooth(x, MASK, **known)  # type: ignore[operator]
    known["controls"] = known["controls"] + 1.0
    assert (ours.z - model.smooth(x, MASK, **known).z).abs()[MASK].amax() > 1e-3  # type: ignore[operator]
    with pytest.raises(ValueError, match="the model reads controls"):
        model.smooth(x, MASK)  # type: ignore[operator]


# ------------------------------------------------------------------------------------------ drawing
@BOTH
def test_generation_draws_from_the_state_space_model(explicit: bool) -> None:
    """Mean and covariance of many drawn paths are those of the dense Gaussian, within five standard errors."""
    model, count = kvae(modes=1), 20_000
    with form(explicit), torch.no_grad():
        trace = poutine.trace(model.model).get_trace(size=(count, 3))
    paths = [trace.nodes[f"a_{t}"]["value"] for t in range(3)] if explicit else trace.nodes["a"]["value"].unbind(1)
    drawn = torch.cat(tuple(paths), -1)
    mean, covariance = eq.joint(model.dynamics, torch.ones(3, 1)).a
    variances = covariance.diagonal()
    assert ((drawn.mean(0) - mean).abs() < 5 * (variances / count).sqrt()).all()
    error = ((variances[:, None] * variances + covariance.square()) / count).sqrt()
    assert ((drawn.T.cov() - covariance).abs() < 5 * error).all()


@BOTH
def test_a_forecast_follows_the_observed_frames_of_its_beginning(explicit: bool) -> None:
    """The law of the first frame ahead is the dense Gaussian's, given the frames seen; gaps hold nothing."""
    model, past, a = kvae(modes=1), data()[:, :4], torch.randn(B, 4, A)
    other = torch.where(GAPS[:, :4, None], a, torch.randn(B, 4, A))  # another draw where a frame is missing
    drawn = []
    for prefix in (a, other):
        with form(explicit), rv.given_noise(0), rv.given(a=prefix), torch.no_grad():
            trace = poutine.trace(model.model).get_trace(past, size=(B, T))
        nodes = trace.nodes
        drawn.append(torch.stack([nodes[f"a_{t}"]["value"] for t in (4, 5)], 1) if explicit
                     else nodes["a"]["value"][:, 4:])
    same(drawn[0], drawn[1], "forecasts", 0.0)
    noise = torch.stack([rv.given_noise(0).normal("a", t, torch.Size([B, A])) for t in (4, 5)], 1)
    joint, ahead = eq.joint(model.dynamics, torch.ones(5, 1)), torch.zeros(B, 1) > 0
    seen, padded = torch.cat([GAPS[:, :4], ahead], 1), torch.cat([a, torch.zeros(B, 1, A)], 1)
    for i in range(B):
        mean, covariance = eq.posterior(joint, padded[i], seen[i])
        c = joint.emission[-A:]
        factor = torch.linalg.cholesky(c @ covariance @ c.T + torch.diag(joint.noise[-A:]))
        same(drawn[0][i, 0], c @ mean + factor @ noise[i, 0], f"first frame ahead of sequence {i}")


@BOTH
def test_a_forecast_from_modes_that_are_chosen_is_the_same_in_both_forms(explicit: bool) -> None:
    model, past, a = kvae(), data()[:, :4], torch.randn(B, 4, A)
    with rv.given_noise(0), rv.given(a=a), torch.no_grad():
        expected = poutine.trace(model.model).get_trace(past, size=(B, T)).nodes["a"]["value"]
        with form(explicit):
            nodes = poutine.trace(model.model).get_trace(past, size=(B, T)).nodes
    got = torch.stack([nodes[f"a_{t}"]["value"] for t in range(T)], 1) if explicit else nodes["a"]["value"]
    same(got, expected, "path")


def test_for_data_generate_save_and_load(tmp_path: Path) -> None:
    values = torch.randn(40, 3, dtype=torch.float32)
    values[5:8] = torch.nan
    torch.set_default_dtype(torch.float32)
    dataset = rv.data.SequenceDataset(values, [25, 15])
    model = rv.KVAE.for_data(dataset, z_dim=2, h_dim=4, modes=2)
    assert model.reader.missing and isinstance(model.likelihood.family, rv.Normal)
    rv.fit(model, dataset, epochs=1, progress=False)
    assert rv.generate(model, 2, 7, seed=0).shape == (2, 7, 3)
    found = rv.evaluate(model, dataset, num_particles=3)
    assert abs(found.elbo - found.reconstruction - found.kl) < 1e-4
    rv.save_pretrained(model, tmp_path)
    again = rv.from_pretrained(tmp_path)
    assert isinstance(again, rv.KVAE)
    x = dataset.padded([0]).x
    assert torch.equal(model.eval().smooth(x).z, again.smooth(x).z)


# ------------------------------------------------------------------------------------------ bad input
def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="KVAE: modes must be an integer of at least 1, got 0"):
        rv.KVAE(X, modes=0)
    with pytest.raises(ValueError, match="KVAE: a_dim must be an integer of at least 1, got 0"):
        rv.KVAE(X, a_dim=0)
    with pytest.raises(ValueError, match="Combiner reads the previous latent"):
        rv.KVAE(X, posterior=rv.Combiner)
    with pytest.raises(TypeError, match="recurrence: expected a Causal part"):
        rv.KVAE(X, recurrence=rv.Forward)
    with pytest.raises(TypeError, match="encoder: expected an Encoder"):
        rv.KVAE(X, encoder=rv.LSTM)
    model = kvae()
    with pytest.raises(ValueError, match=r"a must be \(B, T, a_dim\) = \(4, 6, 2\), got \(4, 6, 3\)"):
        model.smooth(data(), a=torch.zeros(B, T, 3))
    with pytest.raises(ValueError, match="built for frames of x_dim=5"):
        model.smooth(torch.zeros(B, T, X + 1))
    codes = rv.KVAE(2, Z, H, likelihood=partial(rv.Categorical, classes=4))
    with pytest.raises(ValueError, match="codes have no mean"):
        codes.impute(torch.zeros(B, T, 2, dtype=torch.long))
