"""ARAE and VariationalAttention: what their decoders see, their deterministic forms, data, forecasts, bad input."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pyro.poutine as poutine
import pytest
import torch
from laws import form, same
from pyro.infer import Trace_ELBO
from torch import Tensor, nn
from zoo import CLASSES, LENGTHS, MASK, POINT, ZOO, B, H, T, X, Z, make_data

import pyro_rvae as rv
from pyro_rvae.data import SequenceDataset

MODELS = pytest.mark.parametrize("model", [rv.ARAE, rv.VariationalAttention], ids=lambda m: m.__name__)
BOTH = pytest.mark.parametrize("explicit", [False, True], ids=["vectorised", "explicit"])


def data_set(kind: str, name: str) -> SequenceDataset:
    x = torch.cat([s[:n] for s, n in zip(make_data(name, 0, (B, T)), LENGTHS.tolist(), strict=True)])
    return SequenceDataset(x, LENGTHS, kind=kind, **({"classes": CLASSES} if kind == "categories" else {}))


def frame_densities(model: Any, x: Tensor, **latents: Tensor) -> Tensor:
    """log p(x_t | what comes before, the latents), (B, T)."""
    trace = poutine.trace(poutine.condition(model.model, latents)).get_trace(x)
    return trace.nodes["x"]["fn"].base_dist.log_prob(x)  # type: ignore[no-any-return]


# ------------------------------------------------------------------------------------------------ what is seen
def test_every_frame_of_an_arae_sees_the_whole_path() -> None:
    model, x, z = ZOO["ARAE"].make(), ZOO["ARAE"].x(), torch.randn(B, T, Z, requires_grad=True)
    for t in range(T):
        (grad,) = torch.autograd.grad(frame_densities(model, x, z=z)[:, t].sum(), z)
        assert (grad.abs().sum((0, 2)) > 0).all(), f"frame {t} does not see all latents"


@pytest.mark.parametrize("memory", [None, rv.Bidirectional])
def test_the_paths_order_is_seen_through_a_memory_encoder_only(memory: Any) -> None:
    model = rv.ARAE(X, Z, H, memory=memory)
    x, z = ZOO["ARAE"].x(), torch.randn(B, T, Z)
    ahead, back = frame_densities(model, x, z=z), frame_densities(model, x, z=z.flip(1))
    assert torch.allclose(ahead, back, rtol=0, atol=1e-12) is (memory is None)


@BOTH
def test_the_padding_of_the_path_is_not_seen(explicit: bool) -> None:
    model, x, z = ZOO["ARAE"].make(), ZOO["ARAE"].x(), torch.randn(B, T, Z)
    totals = []
    for fill in (0.0, 1e3):
        path = z.masked_fill(~MASK[..., None], fill)
        values = {f"z_{t}": path[:, t] for t in range(T)} if explicit else {"z": path}
        with form(explicit):
            totals.append(poutine.trace(poutine.condition(model.model, values)).get_trace(x, MASK).log_prob_sum())
    same(totals[0], totals[1], "density", 1e-12)


@pytest.mark.parametrize("fed", [False, True])
def test_input_feeding_shows_the_decoder_the_attention_of_the_step_before(fed: bool) -> None:
    model = rv.VariationalAttention(X, Z, H, input_feeding=fed)
    x, a, v = ZOO["ARAE"].x(), torch.randn(B, T, Z, requires_grad=True), torch.randn(B, Z)
    (grad,) = torch.autograd.grad(frame_densities(model, x, a=a, v=v)[:, 3].sum(), a)
    seen = grad.abs().sum((0, 2)) > 0
    assert seen.tolist() == ([True] * 4 if fed else [False] * 3 + [True]) + [False] * 2


def test_without_input_feeding_the_guide_draws_all_steps_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    step = rv.LSTM.step
    monkeypatch.setattr(rv.LSTM, "step", lambda *args: calls.append(1) or step(*args))
    counts = []
    for fed in (False, True):
        model = rv.VariationalAttention(X, Z, H, input_feeding=fed)
        calls.clear()
        poutine.trace(model.guide).get_trace(ZOO["ARAE"].x())
        counts.append(len(calls))
    assert counts == [1, 1 + T]  # the probe of the first step; then a rollout


@MODELS
def test_a_blind_decoder_reads_no_data(model: Any) -> None:
    built = model(X, Z, H, feedback=partial(rv.WordDropout, p=1.0))
    x, other = ZOO["ARAE"].x(), ZOO["ARAE"].x(seed=1)
    latents = {"z": torch.randn(B, T, Z)} if isinstance(built, rv.ARAE) else \
        {"a": torch.randn(B, T, Z), "v": torch.randn(B, Z)}
    laws = [poutine.trace(poutine.condition(built.model, latents)).get_trace(d).nodes["x"]["fn"].base_dist
            for d in (x, other)]
    assert torch.equal(laws[0].mean, laws[1].mean) and not built.x0.requires_grad


@pytest.mark.parametrize("program", ["model", "guide"])
@pytest.mark.parametrize("name", ["conditional-ARAE", "conditional-VariationalAttention"])
def test_controls_and_labels_reach_model_and_guide(name: str, program: str) -> None:
    """At given latents, each frame's controls move the density, and so does another label."""
    case = ZOO[name]
    model, x, known = case.make(), case.x(), case.extra()
    q = poutine.trace(model.guide).get_trace(x, **known)
    values = {n: s["value"].detach() for n, s in q.iter_stochastic_nodes() if n != "batch"}
    conditioned = poutine.condition(getattr(model, program), values)
    controls = known["controls"].requires_grad_()
    density = poutine.trace(conditioned).get_trace(x, controls=controls, labels=known["labels"]).log_prob_sum()
    (grad,) = torch.autograd.grad(density, controls)
    assert (grad.abs().sum((0, 2)) > 0).all()
    other = poutine.trace(conditioned).get_trace(x, controls=controls, labels=(known["labels"] + 1) % 3)
    assert other.log_prob_sum() != density


@MODELS
def test_dropout_is_on_in_training_only(model: Any) -> None:
    built, x, losses = model(X, Z, H, dropout=0.5), make_data("binary", 0, (B, T)), []
    for training in (True, True, False, False):
        built.train(training)
        with rv.given_noise(0):
            losses.append(Trace_ELBO().loss(built.model, built.guide, x))
    assert losses[0] != losses[1] and losses[2] == losses[3]


# ------------------------------------------------------------------------------------------------ deterministic
@pytest.mark.parametrize("name", ["ARAE-point", "VariationalAttention-point"])
def test_the_deterministic_form_pays_for_reconstruction_alone(name: str) -> None:
    model, x = ZOO[name].make(), ZOO[name].x()
    q = poutine.trace(model.guide).get_trace(x, MASK)
    codes = {n: s["value"] for n, s in q.iter_stochastic_nodes() if n != "batch"}
    p = poutine.trace(poutine.condition(model.model, codes)).get_trace(x, MASK)
    same(Trace_ELBO().loss(model.model, model.guide, x, MASK), -p.nodes["x"]["fn"].log_prob(x).sum(), "loss")
    again = poutine.trace(model.guide).get_trace(x, MASK)
    assert all(torch.equal(again.nodes[n]["value"], v) for n, v in codes.items())  # no noise


@pytest.mark.parametrize("kind", [rv.ARAE, partial(rv.VariationalAttention, prior_v=rv.Weightless,
                                                   posterior_v=rv.Delta)], ids=["ARAE", "VariationalAttention"])
def test_a_deterministic_autoencoder_learns_to_copy(kind: Any) -> None:
    model, x = kind(X, 8, 16, **POINT, feedback=partial(rv.WordDropout, p=1.0)), make_data("binary", 0, (2, T))
    optimizer, loss = torch.optim.Adam(model.parameters(), lr=0.02), rv.Loss(model)
    for _ in range(90):
        optimizer.zero_grad()
        cost = loss(x)
        cost.backward()
        optimizer.step()
    assert cost.item() < 1.0  # of 5 elements; a blind decoder without codes stays near 3


# ------------------------------------------------------------------------------------------------ data
@pytest.mark.parametrize(("kind", "name"), [("binary", "binary"), ("real", "real gaps"), ("counts", "counts gaps"),
                                            ("categories", "codes gaps")])
@MODELS
def test_for_data_then_evaluate_save_and_generate(model: Any, kind: str, name: str, tmp_path: Path) -> None:
    data = data_set(kind, name)
    built = model.for_data(data, z_dim=Z, h_dim=H, encoder=partial(rv.SelfAttention, heads=2))
    torch.testing.assert_close(built.likelihood.net[-1].bias, built.likelihood.family.bias(data.values))
    found = rv.evaluate(built, data, num_particles=2)
    assert 0 < found.kl and found.elbo == pytest.approx(found.reconstruction + found.kl)
    rv.save_pretrained(built, tmp_path)
    again = rv.from_pretrained(tmp_path)
    assert rv.evaluate(again, data, num_particles=2, seed=3).elbo == rv.evaluate(built, data, num_particles=2,
                                                                                 seed=3).elbo
    assert rv.generate(again, 3, 9, seed=0).shape == (3, 9, data.x_dim)


@pytest.mark.parametrize("build", [partial(rv.ARAE, memory=rv.Bidirectional),
                                   partial(rv.VariationalAttention, input_feeding=True)], ids=["ARAE", "fed"])
def test_a_prefix_is_continued_alike_in_both_forms(build: Any) -> None:
    model, x = build(X, Z, H, likelihood=rv.Normal), make_data("real", 0, (B, T))
    q = poutine.trace(model.guide).get_trace(x)
    site = "z" if isinstance(model, rv.ARAE) else "a"
    once = {n: q.nodes[n]["value"] for n in ("v",) if n in q.nodes}
    past, drawn = q.nodes[site]["value"], []
    for explicit in (False, True):
        with form(explicit), rv.given_noise(4), rv.given(**{site: past}):
            trace = poutine.trace(poutine.condition(model.model, once)).get_trace(x, size=(B, T + 2))
        paths = [torch.stack([trace.nodes[f"{n}_{t}"]["value"] for t in range(T + 2)], 1) if explicit
                 else trace.nodes[n]["value"] for n in ("x", site)]
        assert torch.equal(paths[0][:, :T], x) and torch.equal(paths[1][:, :T], past)
        drawn.append([*paths, trace.log_prob_sum()])
    for ours, theirs in zip(*drawn, strict=True):
        same(ours, theirs, "forecast")


# ------------------------------------------------------------------------------------------------ bad input
@MODELS
def test_what_is_no_attention_part(model: Any) -> None:
    with pytest.raises(TypeError, match=r"attention: expected an attention part .*got MultiheadAttention of torch.nn"):
        model(X, Z, H, attention=nn.MultiheadAttention(H, 2))
    with pytest.raises(ValueError, match="attention: this Attention was built to read vectors 4 wide"):
        model(X, Z, H, attention=rv.Attention(4, Z, H))


@MODELS
def test_what_reads_the_previous_latent(model: Any) -> None:
    for argument in ("prior", "posterior"):
        with pytest.raises(ValueError, match=f"reads the previous latent; {model.__name__}'s {argument} is given"):
            model(X, Z, H, **{argument: rv.GaussianChain})


def test_parts_of_the_wrong_kind() -> None:
    with pytest.raises(TypeError, match="memory: expected an Encoder"):
        rv.ARAE(X, Z, H, memory=rv.LSTM)
    with pytest.raises(TypeError, match="recurrence: expected a Causal part"):
        rv.ARAE(X, Z, H, recurrence=rv.Bidirectional)
    with pytest.raises(TypeError, match=r"encoder: VariationalAttention reads summary.* and Bare has none"):
        rv.VariationalAttention(X, Z, H, encoder=Bare())
    with pytest.raises(ValueError, match="h_dim must be an integer of at least 1, got 0"):
        rv.ARAE(X, Z, 0)


class Bare(nn.Module):
    out_dim = X

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return x
