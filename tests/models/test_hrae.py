"""HRAE and MusicVAE: what each level sees and when, blocks that are cut short, deterministic forms, bad strides."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pyro.poutine as poutine
import pytest
import torch
from laws import form, forms_agree, padding_never_matters, same
from pyro.infer import Trace_ELBO
from torch import Tensor
from zoo import CLASSES, LENGTHS, MASK, ZOO, B, H, T, X, Z, awake, make_data

import pyro_rvae as rv
from pyro_rvae.data import SequenceDataset

BOTH = pytest.mark.parametrize("explicit", [False, True], ids=["vectorised", "explicit"])
MODELS = pytest.mark.parametrize("model", [partial(rv.HRAE, every=(2, 3)), partial(rv.MusicVAE, every=2)],
                                 ids=["HRAE", "MusicVAE"])


def data_set(kind: str, name: str) -> SequenceDataset:
    x = torch.cat([s[:n] for s, n in zip(make_data(name, 0, (B, T)), LENGTHS.tolist(), strict=True)])
    return SequenceDataset(x, LENGTHS, kind=kind, **({"classes": CLASSES} if kind == "categories" else {}))


def latents(model: Any, x: Tensor, mask: Tensor | None = None, **known: Tensor) -> dict[str, Tensor]:
    trace = poutine.trace(model.guide).get_trace(x, mask, **known)
    return {n: s["value"].detach() for n, s in trace.iter_stochastic_nodes() if n != "batch"}


# ------------------------------------------------------------------------------------------------ the levels
@BOTH
def test_a_level_has_one_latent_a_block_whatever_the_length(explicit: bool) -> None:
    model, x = rv.HRAE(X, Z, H, every=(2, 5)), ZOO["HRAE"].x()
    with form(explicit):
        drawn = latents(model, x)
    if explicit:
        counts = {n: sum(key.rpartition("_")[0] == n for key in drawn) for n in ("z", "z2", "z3")}
        assert counts == {"z": T, "z2": 3, "z3": 2}
    else:
        assert {n: v.shape for n, v in drawn.items()} == {"z": (B, T, Z), "z2": (B, 3, Z), "z3": (B, 2, Z)}


def seen_by(model: Any, x: Tensor, frame: int, name: str) -> list[bool]:
    """Which latents of a level reach p(x_t | ...), given all the others."""
    values = latents(model, x)
    values[name] = values[name].requires_grad_()
    trace = poutine.trace(poutine.condition(model.model, values)).get_trace(x)
    density = trace.nodes["x"]["fn"].base_dist.log_prob(x)[:, frame].sum()
    (grad,) = torch.autograd.grad(density, values[name], allow_unused=True)
    return [False] * values[name].shape[1] if grad is None else (grad.abs().sum((0, 2)) > 0).tolist()  # type: ignore[no-any-return]


def test_a_frame_sees_the_blocks_up_to_its_own() -> None:
    model, x = awake(rv.HRAE(X, Z, H, every=(2, 5))), ZOO["HRAE"].x()
    for frame in range(T):
        assert seen_by(model, x, frame, "z") == [t <= frame for t in range(T)]
        assert seen_by(model, x, frame, "z2") == [2 * j <= frame for j in range(3)]
        begins = frame // 2 * 2  # of the frame's block of z2, whose state has read z3
        assert seen_by(model, x, frame, "z3") == [5 * j <= begins for j in range(2)]


def test_a_slow_latent_is_drawn_from_the_level_above_at_its_first_frame() -> None:
    """p(z2_j | ...), blocks of 2 frames, under z3 with blocks of 5: blocks 0, 1, 2 start in blocks 0, 0, 0 of z3."""
    model, x = awake(rv.HRAE(X, Z, H, every=(2, 5))), make_data("binary", 0, (B, 9))
    values = latents(model, x)
    values["z3"] = values["z3"].requires_grad_()
    law = poutine.trace(poutine.condition(model.model, values)).get_trace(x).nodes["z2"]["fn"].base_dist
    seen = []
    for j in range(5):
        (grad,) = torch.autograd.grad(law.mean[:, j].sum(), values["z3"], retain_graph=True)
        seen.append((grad.abs().sum((0, 2)) > 0).tolist())
    assert seen == [[True, False]] * 3 + [[True, True]] * 2  # frames 0, 2, 4; then 6, 8


def test_the_guide_reads_all_of_x_at_every_level() -> None:
    model, x = awake(rv.HRAE(X, Z, H, every=4)), ZOO["HRAE"].x()
    other = x.clone()
    other[:, -1] = 1 - other[:, -1]
    with rv.given_noise(0):
        ours = latents(model, x)
    with rv.given_noise(0):
        theirs = latents(model, other)
    assert all((ours[n][:, 0] != theirs[n][:, 0]).all() for n in ("z", "z2"))


@pytest.mark.parametrize("every", [7, 100])
def test_a_batch_shorter_than_a_block_is_one_block(every: int) -> None:
    """As a short sequence in a long batch is: it is the same model."""
    for model in (awake(rv.HRAE(X, Z, H, every=every)), awake(rv.MusicVAE(X, Z, H, every=every))):
        x = make_data("binary", 0, (B, 8))
        forms_agree(model, Trace_ELBO(), x[:, :3])
        padding_never_matters(model, x, torch.arange(8) < torch.tensor([8, 3, 7, 1])[:, None])


def test_the_conductor_holds_for_a_block() -> None:
    """c changes at every k-th frame: with a decoder that forgets, frames of one block have one law."""
    model = awake(rv.MusicVAE(X, Z, H, every=4, feedback=partial(rv.WordDropout, p=1.0), recurrence=Memoryless))
    law = poutine.trace(model.model).get_trace(ZOO["HRAE"].x()).nodes["x"]["fn"].base_dist.mean
    assert torch.allclose(law[:, :4], law[:, :1].expand(-1, 4, -1)) and torch.allclose(law[:, 4], law[:, 5])
    assert (law[:, 3] != law[:, 4]).all()


class Memoryless(rv.Causal):
    def __init__(self, in_dim: int, h_dim: int) -> None:
        super().__init__()
        self.net, self.out_dim, self.in_dim = torch.nn.Linear(in_dim, h_dim), h_dim, in_dim

    def step(self, u: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        return torch.tanh(self.net(u)), None


@pytest.mark.parametrize("program", ["model", "guide"])
@pytest.mark.parametrize("name", ["conditional-HRAE", "conditional-MusicVAE"])
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


def test_a_slow_level_reads_the_context_of_its_blocks_first_frame() -> None:
    model = awake(rv.HRAE(X, Z, H, every=4, context=rv.Context(control_dim=2)))
    x, controls = ZOO["HRAE"].x(), torch.randn(B, T, 2)
    values = latents(model, x, controls=controls)
    controls.requires_grad_()
    law = poutine.trace(poutine.condition(model.model, values)).get_trace(x, controls=controls).nodes["z2"]["fn"]
    (grad,) = torch.autograd.grad(law.base_dist.mean.sum(), controls)
    assert (grad.abs().sum((0, 2)) > 0).tolist() == [True, False, False, False, True, False]


# ------------------------------------------------------------------------------------------------ deterministic
@pytest.mark.parametrize("name", ["HRAE-point", "MusicVAE-point"])
def test_the_deterministic_form_pays_for_reconstruction_alone(name: str) -> None:
    model, x = ZOO[name].make(), ZOO[name].x()
    codes = latents(model, x, MASK)
    p = poutine.trace(poutine.condition(model.model, codes)).get_trace(x, MASK)
    same(Trace_ELBO().loss(model.model, model.guide, x, MASK), -p.nodes["x"]["fn"].log_prob(x).sum(), "loss")
    assert all(torch.equal(v, codes[n]) for n, v in latents(model, x, MASK).items())  # no noise


# ------------------------------------------------------------------------------------------------ data
@pytest.mark.parametrize(("kind", "name"), [("binary", "binary"), ("real", "real gaps"), ("counts", "counts gaps"),
                                            ("categories", "codes gaps")])
@MODELS
def test_for_data_then_evaluate_save_and_generate(model: Any, kind: str, name: str, tmp_path: Path) -> None:
    data = data_set(kind, name)
    built = model.func.for_data(data, z_dim=Z, h_dim=H, **model.keywords)
    torch.testing.assert_close(built.likelihood.net[-1].bias, built.likelihood.family.bias(data.values))
    found = rv.evaluate(built, data, num_particles=2, seed=3)
    assert found.kl and found.elbo == pytest.approx(found.reconstruction + found.kl)
    rv.save_pretrained(built, tmp_path)
    again = rv.from_pretrained(tmp_path)
    assert again.every == built.every and rv.evaluate(again, data, num_particles=2, seed=3).elbo == found.elbo
    assert rv.generate(again, 3, 9, seed=0).shape == (3, 9, data.x_dim)
    assert rv.generate(again, 3, 1, seed=0).shape == (3, 1, data.x_dim)


def test_a_prefix_is_continued_alike_in_both_forms() -> None:
    """T = 6 frames known, 3 and 2 slow latents with them; 9 frames take 5 and 3."""
    model, x = rv.HRAE(X, Z, H, every=(2, 4), likelihood=rv.Normal), make_data("real", 0, (B, T))
    past, drawn = latents(model, x), []
    for explicit in (False, True):
        with form(explicit), rv.given_noise(4), rv.given(**past):
            trace = poutine.trace(model.model).get_trace(x, size=(B, 9))
        paths = {n: torch.stack([trace.nodes[f"{n}_{j}"]["value"] for j in range(count)], 1) if explicit
                 else trace.nodes[n]["value"] for n, count in (("x", 9), ("z", 9), ("z2", 5), ("z3", 3))}
        assert all(torch.equal(paths[n][:, : v.shape[1]], v) for n, v in {"x": x, **past}.items())
        drawn.append([*paths.values(), trace.log_prob_sum()])
    for ours, theirs in zip(*drawn, strict=True):
        same(ours, theirs, "forecast")


# ------------------------------------------------------------------------------------------------ bad input
@pytest.mark.parametrize("every", [0, 1, -4, 2.5, True, "four", (4, 0), (2.0, 4)])
def test_a_stride_that_cannot_be(every: Any) -> None:
    with pytest.raises(ValueError, match=r"HRAE: every must be an integer of at least 2 \(frames from one step"):
        rv.HRAE(X, Z, H, every=every)
    if not isinstance(every, tuple):
        with pytest.raises(ValueError, match="MusicVAE: every must be an integer of at least 2"):
            rv.MusicVAE(X, Z, H, every=every)


@pytest.mark.parametrize("every", [(16, 4), (4, 4), (), []])
def test_strides_that_do_not_ascend(every: Any) -> None:
    with pytest.raises(ValueError, match=r"HRAE: every must name the slower levels' strides in ascending order.*4, 16"):
        rv.HRAE(X, Z, H, every=every)


@pytest.mark.parametrize(("model", "every"), [(rv.HRAE, (2, T + 1)), (rv.HRAE, 7), (rv.MusicVAE, 7)])
def test_a_stride_beyond_the_longest_sequence_of_the_data(model: Any, every: Any) -> None:
    data = data_set("binary", "binary")
    with pytest.raises(ValueError, match=f"{model.__name__}: every is 7, and the longest sequence has 6 frames.*<= 6"):
        model.for_data(data, z_dim=Z, h_dim=H, every=every)
    with pytest.raises(ValueError, match="longest sequence has 6 frames"):
        rv.fit(model(X, Z, H, every=every), data, progress=False)
    assert model.for_data(data, z_dim=Z, h_dim=H, every=T).every in (T, (T,))


def test_a_part_already_built_cannot_serve_every_level() -> None:
    for name, part in (("recurrence", rv.LSTM(2 * Z, H)), ("prior", rv.Conditional(torch.nn.Linear(H, 2 * Z),
                                                                                   rv.Normal(Z)))):
        with pytest.raises(TypeError, match=f"{name}: HRAE builds one for each level; pass the class"):
            rv.HRAE(X, Z, H, **{name: part})
    assert rv.HRAE(X, Z, H, posterior=rv.Normal(Z), recurrence=partial(rv.LSTM, layers=2)).levels[0].prior


def test_parts_of_the_wrong_kind() -> None:
    for argument, given in (("prior", "the level's state"), ("posterior", "the level's state and g")):
        with pytest.raises(ValueError, match=f"HRAE's {argument} is given {given}"):
            rv.HRAE(X, Z, H, **{argument: rv.GaussianChain})
    with pytest.raises(TypeError, match="conductor: expected a Causal part"):
        rv.MusicVAE(X, Z, H, conductor=rv.Bidirectional)
    with pytest.raises(TypeError, match="recurrence: expected a Causal part"):
        rv.HRAE(X, Z, H, recurrence=rv.Bidirectional)


def test_a_body_of_ones_own_is_told_what_to_do_with_a_short_batch() -> None:
    class Mine(rv.HRAE):
        """z_t ~ p(z_t)."""

        def inference(self, steps: rv.Steps, x: Tensor) -> None:
            steps.every(10)

    with pytest.raises(ValueError, match=r"from 1 to the number of steps, 6; got 10.*every\(min\(k, steps.length\)\)"):
        Mine(X, Z, H).guide(ZOO["HRAE"].x())
