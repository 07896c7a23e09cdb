"""NeuralHMM and SwitchingLDS against sums over all K^T paths of regimes: values, gradients, every draw of the guide."""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path
from typing import Any

import equations_switching as eq
import pyro
import pyro.poutine as poutine
import pytest
import torch
from laws import collect, form, garbage, per_sequence, same, same_all, still, train
from pyro.infer import Predictive, Trace_ELBO, TraceEnum_ELBO
from pyro.poutine.enum_messenger import EnumMessenger
from torch import Tensor, nn
from zoo import LENGTHS, MASK, B, Case, H, T, X, Z

import pyro_rvae as rv
from pyro_rvae.data import SequenceDataset

K = 3
HMM: dict[str, Case] = {
    "HMM": Case(partial(rv.NeuralHMM, X, K, H)),
    "HMM-gaps": Case(partial(rv.NeuralHMM, X, K, H), "gaps"),
    "HMM-LSTM": Case(partial(rv.NeuralHMM, X, K, H, recurrence=rv.LSTM)),
    "HMM-LSTM-gaps": Case(partial(rv.NeuralHMM, X, K, H, recurrence=rv.LSTM), "gaps"),
}
LDS: dict[str, Case] = {
    "LDS": Case(partial(rv.SwitchingLDS, X, Z, H, modes=K)),
    "LDS-gaps": Case(partial(rv.SwitchingLDS, X, Z, H, modes=K), "gaps"),
}
EQUATIONS = {**dict.fromkeys(HMM, eq.neural_hmm), **dict.fromkeys(LDS, eq.switching)}
CONTEXT = partial(rv.Context, control_dim=2, classes=3, dim=2)


def controlled(model: Any, **parts: Any) -> rv.SequenceVAE:
    return model(X, h_dim=H, modes=K, context=CONTEXT(), **parts)  # type: ignore[no-any-return]


CASES: dict[str, Case] = {
    **HMM, **LDS,
    "HMM-normal": Case(partial(rv.NeuralHMM, X, K, H, likelihood=rv.Normal, recurrence=rv.GRU,
                               reader=partial(rv.Reader, missing=True)), "real gaps"),
    "HMM-codes": Case(partial(rv.NeuralHMM, 2, K, H, likelihood=partial(rv.Categorical, classes=4)), "codes gaps"),
    "HMM-context": Case(partial(controlled, rv.NeuralHMM, recurrence=rv.LSTM), known=("controls", "labels")),
    "LDS-context": Case(partial(controlled, rv.SwitchingLDS, z_dim=Z), known=("controls", "labels")),
    "LDS-nonlinear": Case(partial(rv.SwitchingLDS, X, Z, H, modes=K, transition=rv.Normal, posterior=rv.Normal)),
    "LDS-combiner": Case(partial(rv.SwitchingLDS, X, Z, H, modes=K, likelihood=rv.Normal, layers=0,
                                 posterior=rv.Combiner), "real"),
}
RAGGED = pytest.mark.parametrize("masked", [False, True], ids=["full", "ragged"])
FORMS = pytest.mark.parametrize("explicit", [False, True], ids=["vectorised", "explicit"])


def data(name: str, masked: bool) -> tuple[Tensor, Tensor | None, list[int]]:
    """A batch, with NaN in the padding, and its lengths."""
    x = CASES[name].x()
    return (garbage(x, MASK, torch.nan), MASK, LENGTHS.tolist()) if masked else (x, None, [T] * B)


def one_hot(*lead: int) -> Tensor:
    return torch.eye(K)[torch.randint(K, lead)]


def fixed(model: rv.SequenceVAE, explicit: bool) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Random values of the latents, whole and as a form names them."""
    values = {"s": one_hot(B, T)} | ({"z": torch.randn(B, T, Z)} if hasattr(model, "z0") else {})
    named = {f"{n}_{t}": v[:, t] for n, v in values.items() for t in range(T)} if explicit else values
    return values, named


def draw(model: rv.SequenceVAE, x: Tensor, mask: Tensor | None, known: dict[str, Tensor] | None = None,
         **fixed: Tensor) -> tuple[Any, Any]:
    """The guide's trace, and the model's against it."""
    known = known or {}
    q = poutine.trace(poutine.condition(model.guide, fixed)).get_trace(x, mask, **known)
    return q, poutine.trace(poutine.replay(poutine.condition(model.model, fixed), q)).get_trace(x, mask, **known)


# ------------------------------------------------------------------------------------------------ equations
@FORMS
@RAGGED
@pytest.mark.parametrize("name", EQUATIONS)
def test_both_readings_equal_the_papers_equations(name: str, masked: bool, explicit: bool) -> None:
    """Joint and guide at random latents; the guide's regimes are p(s | x[, z]) by the sum over all paths."""
    model, (x, mask, lengths) = CASES[name].make(), data(name, masked)
    values, named = fixed(model, explicit)
    with form(explicit):
        p = poutine.trace(poutine.condition(model.model, named)).get_trace(x, mask)
        q = poutine.trace(poutine.condition(model.guide, named)).get_trace(x, mask)
    for i, length in enumerate(lengths):
        log_p, log_q = EQUATIONS[name](model, x[i, :length], {n: v[i, :length] for n, v in values.items()})
        same(per_sequence(p)[i], log_p, f"{name}: log joint of sequence {i}")
        same(per_sequence(q)[i], log_q, f"{name}: log guide of sequence {i}")


@FORMS
@RAGGED
@pytest.mark.parametrize("name", HMM)
def test_every_draw_of_the_regimes_gives_the_log_evidence(name: str, masked: bool, explicit: bool) -> None:
    model, (x, mask, lengths) = CASES[name].make(), data(name, masked)
    evidence = torch.stack([eq.neural_hmm(model, x[i, :n], {"s": one_hot(n)}, summed=True)[1]
                            for i, n in enumerate(lengths)])
    paths = []
    for _ in range(3):
        with form(explicit):
            q, p = draw(model, x, mask)
        same(per_sequence(p) - per_sequence(q), evidence, "log p(x, s) - log q(s | x)")
        paths.append(torch.stack([q.nodes[f"s_{t}"]["value"] for t in range(T)], 1) if explicit
                     else q.nodes["s"]["value"])
    assert not torch.equal(paths[0], paths[1]) or not torch.equal(paths[0], paths[2]), "the draws do differ"


@RAGGED
def test_every_draw_of_the_regimes_gives_the_density_of_the_path(masked: bool) -> None:
    """Given z, log p(x, z, s) - log q(s | z) is log p(x, z), for particles too."""
    model, (x, mask, lengths) = CASES["LDS"].make(), data("LDS", masked)
    z = torch.randn(B, T, Z)
    expected = torch.stack([torch.stack(eq.switching(model, x[i, :n], {"s": one_hot(n), "z": z[i, :n]}, summed=True))
                            for i, n in enumerate(lengths)]).T
    for _ in range(2):
        q, p = draw(model, x, mask, z=z)
        same(per_sequence(p) - per_sequence(q), expected[0] - expected[1], "log p(x, z, s) - log q(z, s)")


# ------------------------------------------------------------------------------------------------ TraceEnum_ELBO
def brute(name: str, model: rv.SequenceVAE, x: Tensor, lengths: list[int], z: Tensor | None) -> Tensor:
    """The negative ELBO with the regimes summed over all paths, differentiable."""
    total = torch.zeros(())
    for i, n in enumerate(lengths):
        values = {"s": one_hot(n)} | ({} if z is None else {"z": z[i, :n]})
        a, b = EQUATIONS[name](model, x[i, :n], values, summed=True)
        total = total - (b if z is None else a - b)
    return total


def drawn_path(model: rv.SequenceVAE, x: Tensor, mask: Tensor | None, **known: Tensor) -> Tensor | None:
    """The path z that given noise gives, with its gradient to the guide's parameters."""
    if not hasattr(model, "z0"):
        return None
    with rv.explicit(), rv.given_noise(0), EnumMessenger(first_available_dim=-3):  # so it does not draw the regimes
        q = poutine.trace(model.guide).get_trace(x, mask, **known)
    return torch.stack([q.nodes[f"z_{t}"]["value"] for t in range(T)], -2)


@RAGGED
@pytest.mark.parametrize("name", EQUATIONS)
def test_enumeration_equals_the_sum_over_all_paths(name: str, masked: bool) -> None:
    """Loss and every gradient; a padded frame must not add log K."""
    model, (x, mask, lengths) = CASES[name].make(), data(name, masked)
    expected = brute(name, model, x, lengths, drawn_path(model, x, mask))
    expected.backward()
    by_hand = collect(model)
    model.zero_grad()
    with rv.explicit(), rv.given_noise(0):
        loss = TraceEnum_ELBO(max_plate_nesting=1).loss_and_grads(model.model, model.guide, x, mask)
    same(loss, expected.detach(), f"{name}: loss")
    same_all(collect(model), by_hand, f"{name}: gradient")


@pytest.mark.parametrize("name", ["HMM-LSTM", "HMM-context", "LDS", "LDS-context"])
def test_enumeration_with_particles_and_context(name: str) -> None:
    """The enumeration of two particles at once is the mean of what any draw of the regimes gives at their paths."""
    case, model = CASES[name], CASES[name].make()
    x, known, particles = case.x(), case.extra(), pyro.plate("particles", 2, dim=-2)
    with particles:
        z = drawn_path(model, x, MASK, **known)
        q, p = draw(model, x, MASK, known, **({} if z is None else {"z": z}))
    elbo = TraceEnum_ELBO(max_plate_nesting=1, num_particles=2, vectorize_particles=True)
    with rv.explicit(), rv.given_noise(0):
        loss = elbo.loss(model.model, model.guide, x, MASK, **known)
    same(loss, (q.log_prob_sum() - p.log_prob_sum()).detach() / 2, name)


@RAGGED
@pytest.mark.parametrize("name", ["HMM-LSTM", "HMM-gaps"])
def test_the_gradient_over_all_draws_is_that_of_the_enumeration(name: str, masked: bool) -> None:
    """Fisher's identity: the posterior's mean of the gradient of log p(x, s) is that of log p(x)."""
    case = CASES[name]
    model, x, mask = case.make(), case.x()[:1, :4], torch.arange(4)[None] < 3 if masked else None
    with rv.explicit():
        TraceEnum_ELBO(max_plate_nesting=1).loss_and_grads(model.model, model.guide, x, mask)
    exact = collect(model)
    model.zero_grad()
    for path in eq.every_path(K, 3 if masked else 4):
        s = torch.eye(K)[torch.nn.functional.pad(path, (0, 4 - len(path)))].unsqueeze(0)
        q = poutine.trace(poutine.condition(model.guide, {"s": s})).get_trace(x, mask)
        p = poutine.trace(poutine.condition(model.model, {"s": s})).get_trace(x, mask)
        q.compute_log_prob()
        density = q.nodes["s"]["log_prob"].sum()
        assert not density.requires_grad, "no score function has a gradient"
        (-density.exp() * p.log_prob_sum()).backward()
    same_all(collect(model), exact, name)


@pytest.mark.parametrize("name", ["HMM-LSTM", "LDS"])
def test_trace_elbo_follows_the_gradient_of_the_joint_at_its_draw(name: str) -> None:
    model, x = CASES[name].make(), CASES[name].x()
    torch.manual_seed(3)
    Trace_ELBO().loss_and_grads(model.model, model.guide, x, MASK)
    ours = collect(model)
    model.zero_grad()
    torch.manual_seed(3)
    q, p = draw(model, x, MASK)
    (q.log_prob_sum() - p.log_prob_sum()).backward()
    same_all(ours, collect(model), name)


def test_the_mean_gradient_of_a_switching_model_is_that_of_the_enumeration() -> None:
    """Given the path: the posterior's mean over all s of the gradient, also to the guide's parameters through z."""
    case = CASES["LDS"]
    model, x = case.make(), case.x()[:1, :3]
    with rv.explicit(), rv.given_noise(0):
        TraceEnum_ELBO(max_plate_nesting=1).loss_and_grads(model.model, model.guide, x)
    exact = collect(model)
    model.zero_grad()
    for path in eq.every_path(K, 3):
        s = torch.eye(K)[path].unsqueeze(0)
        with rv.given_noise(0):
            q = poutine.trace(poutine.condition(model.guide, {"s": s})).get_trace(x)
        fixed = {"s": s, "z": q.nodes["z"]["value"]}
        p = poutine.trace(poutine.condition(model.model, fixed)).get_trace(x)
        q.compute_log_prob()
        weight = q.nodes["s"]["log_prob"].sum().exp()
        assert not weight.requires_grad
        (weight * (q.log_prob_sum() - p.log_prob_sum())).backward()
    same_all(collect(model), exact, "LDS")


# ------------------------------------------------------------------------------------------------ laws
@pytest.mark.parametrize("name", CASES)
def test_the_laws_of_every_model(name: str) -> None:
    """Forms at equal values, padding, gradients, one sequence, one frame, generation."""
    case = CASES[name]
    rv.testing.check_model(case.make(), case.x(), MASK, **case.extra())


@pytest.mark.parametrize("name", CASES)
def test_every_parameter_moves_and_a_copy_is_independent(name: str) -> None:
    case, model = CASES[name], CASES[name].make()
    twin, before = copy.deepcopy(model), copy.deepcopy(dict(model.named_parameters()))
    losses = train(model, case.x(), MASK, steps=4, **case.extra())
    assert not still(model, before) and all(loss == loss for loss in losses)
    assert all(torch.equal(p, before[key]) for key, p in twin.named_parameters())
    twin.load_state_dict(model.state_dict())
    assert all(torch.equal(p, q) for p, q in zip(twin.parameters(), model.parameters(), strict=True))


@pytest.mark.parametrize("name", CASES)
def test_float32_and_no_tensor_on_the_default_device(name: str) -> None:
    case, model = CASES[name], CASES[name].make()
    x, known = case.x(), case.extra()
    torch.manual_seed(0)
    expected = Trace_ELBO().loss(model.model, model.guide, x, MASK, **known)
    torch.set_default_device("meta")
    try:
        for explicit in (False, True):
            with form(explicit):
                value = rv.Loss(model)(x, MASK, **known)
            assert value.device.type == "cpu" and value.isfinite()
        assert poutine.trace(model.model).get_trace(size=(B, T), **known).nodes["x"]["value"].device.type == "cpu"
    finally:
        torch.set_default_device(None)
    if name.startswith("HMM"):  # every draw gives the same number
        torch.set_default_dtype(torch.float32)
        known = {k: v.float() if v.is_floating_point() else v for k, v in known.items()}
        x = x.float() if x.is_floating_point() else x
        assert abs(Trace_ELBO().loss(model.float().model, model.guide, x, MASK, **known) - expected) < 1e-4 * expected


def test_a_deterministic_path_leaves_the_regimes_their_prior() -> None:
    """With a weightless transition and a point posterior nothing tells of the regimes: the cost is reconstruction."""
    case = Case(partial(rv.SwitchingLDS, X, Z, H, modes=K, transition=rv.Weightless, posterior=rv.Delta))
    model, x = case.make(), case.x()
    q, p = draw(model, x, MASK)
    p.compute_log_prob()
    same(per_sequence(p) - per_sequence(q), p.nodes["x"]["log_prob"], "minus the reconstruction cost")


def test_dropout_leaves_the_guide_a_law() -> None:
    """In training mode its table is that of another dropout mask: still a law, and every parameter still moves."""
    model, x = rv.NeuralHMM(X, K, H, recurrence=rv.LSTM, dropout=0.5), CASES["HMM"].x()
    q = poutine.trace(model.guide).get_trace(x, MASK)
    rows = q.nodes["s"]["fn"].base_dist.base_dist.logits.logsumexp(-1)
    same(rows, torch.zeros(B, T), "each row of the drawn law sums to one")
    before = copy.deepcopy(dict(model.named_parameters()))
    train(model, x, MASK, steps=4)
    assert not still(model, before)


@pytest.mark.parametrize("modes", [1, 2])
def test_one_regime_and_one_of_everything(modes: int) -> None:
    x = torch.ones(2, 3, 1)
    for model in (rv.NeuralHMM(1, modes, 2), rv.SwitchingLDS(1, 1, 2, modes=modes)):
        with rv.explicit():
            assert TraceEnum_ELBO(max_plate_nesting=1).loss(model.model, model.guide, x) > 0
        assert Trace_ELBO().loss(model.model, model.guide, x) > 0


# ------------------------------------------------------------------------------------------------ the surface
def sequences(n: int = 6) -> SequenceDataset:
    lengths = [4, 3, 5, 2, 5, 4][:n]
    return SequenceDataset((torch.rand(sum(lengths), X) < 0.4).double(), lengths, kind="binary")


@pytest.mark.parametrize("model", [rv.NeuralHMM, rv.SwitchingLDS], ids=lambda m: m.__name__)
def test_fit_evaluate_and_look(model: Any) -> None:
    """With Trace_ELBO; and within explicit() with TraceEnum_ELBO, KL weight and validation as always."""
    torch.manual_seed(0)
    train_set, built = sequences(), model.for_data(sequences(), modes=K, h_dim=H)
    before = copy.deepcopy(dict(built.named_parameters()))
    history = rv.fit(built, train_set, valid=train_set, epochs=2, progress=False)
    assert all(torch.isfinite(torch.tensor(history["elbo"]))) and not still(built, before)
    with rv.explicit():
        enumerated = rv.fit(built, train_set, valid=train_set, epochs=2, progress=False,
                            elbo=TraceEnum_ELBO(max_plate_nesting=1))
    assert all(torch.isfinite(torch.tensor(enumerated["elbo"])))
    result = rv.evaluate(built, train_set, num_particles=5)
    assert torch.isfinite(torch.tensor(result.elbo))
    rv.collapse_report(built, train_set)


def test_the_bounds_of_a_hidden_markov_model_are_its_evidence() -> None:
    """ELBO and IWAE bound of ``evaluate`` are the exact cost, whatever is drawn."""
    torch.manual_seed(0)
    built, test = rv.NeuralHMM.for_data(sequences(), modes=K, h_dim=H, recurrence=rv.LSTM), sequences()
    batch = test.padded()
    exact = sum(eq.neural_hmm(built, batch.x[i, :n], {"s": one_hot(n)}, summed=True)[1].item()
                for i, n in enumerate(batch.mask.sum(1).tolist()))
    result = rv.evaluate(built, test, num_particles=3)
    for bound in (result.elbo, result.iwae):
        assert abs(bound + exact / int(batch.mask.sum())) < 1e-8


@pytest.mark.parametrize("gaps", [False, True], ids=["full", "gaps"])
@pytest.mark.parametrize("kind", ["binary", "real", "counts", "categories"])
@pytest.mark.parametrize("model", [rv.NeuralHMM, rv.SwitchingLDS], ids=lambda m: m.__name__)
def test_for_data(model: Any, kind: str, gaps: bool) -> None:
    x = Case(nn.Identity, {"categories": "codes"}.get(kind, kind)).x()
    if gaps:
        x[0, 1] = -1 if kind == "categories" else torch.nan
    known = {"classes": 4} if kind == "categories" else {}
    d = SequenceDataset(x.flatten(0, 1), [T] * B, kind=kind, controls=torch.randn(B * T, 2), **known)
    built = model.for_data(d, modes=K, h_dim=H)
    torch.testing.assert_close(built.likelihood.net[-1].bias, built.likelihood.family.bias(d.values))
    assert built.context.control_dim == 2
    batch = d.padded()
    assert torch.isfinite(torch.tensor(Trace_ELBO().loss(built.model, built.guide, *batch, **batch.known)))


def test_a_kl_weight_on_a_path_needs_regimes_that_are_drawn() -> None:
    """A weight on p(z | s) within the sum over s is no KL weight: Pyro refuses it."""
    case, model = CASES["LDS"], CASES["LDS"].make()
    with rv.annealed(0.3):
        assert Trace_ELBO().loss(model.model, model.guide, case.x(), MASK) > 0
        with rv.explicit(), pytest.raises(ValueError, match="enumerated sample sites to share a common poutine.scale"):
            TraceEnum_ELBO(max_plate_nesting=1).loss(model.model, model.guide, case.x(), MASK)


def test_enumeration_under_a_kl_weight_is_the_same_evidence() -> None:
    """A regime that is summed out has no KL, so its weight changes nothing."""
    case, model = CASES["HMM"], CASES["HMM"].make()
    with rv.explicit():
        plain = TraceEnum_ELBO(max_plate_nesting=1).loss(model.model, model.guide, case.x(), MASK)
        with rv.annealed(0.3):
            weighed = TraceEnum_ELBO(max_plate_nesting=1).loss(model.model, model.guide, case.x(), MASK)
    same(plain, weighed, "loss")


@pytest.mark.parametrize("name", ["HMM-LSTM", "LDS"])
def test_generate_forecast_and_predict(name: str) -> None:
    model, x = CASES[name].make(), CASES[name].x()
    drawn = poutine.trace(model.model).get_trace(size=(2, 7)).nodes
    assert drawn["x"]["value"].shape == (2, 7, X) and torch.equal(drawn["s"]["value"].sum(-1), torch.ones(2, 7))
    q = poutine.trace(model.guide).get_trace(x).nodes
    past = {n: q[n]["value"] for n in ("s", "z") if n in q}
    for explicit in (False, True):
        with form(explicit), rv.given(**past):
            later = poutine.trace(model.model).get_trace(x, size=(B, T + 2)).nodes
        whole = torch.stack([later[f"x_{t}"]["value"] for t in range(T + 2)], 1) if explicit else later["x"]["value"]
        assert whole.shape == (B, T + 2, X) and torch.equal(whole[:, :T], x)
    samples = Predictive(model.model, guide=model.guide, num_samples=2)(x)
    assert samples["s"].shape == (2, B, T, K)


@pytest.mark.parametrize("name", ["HMM-LSTM", "LDS"])
def test_saved_and_loaded(name: str, tmp_path: Path) -> None:
    model = CASES[name].make()
    rv.save_pretrained(model, tmp_path)
    again = rv.from_pretrained(tmp_path)
    assert type(again) is type(model)
    assert torch.equal(rv.generate(again, 2, 3, seed=1), rv.generate(model, 2, 3, seed=1))


def test_regimes_are_found() -> None:
    """Two regimes that differ, long stays: after a short training the posterior path is the true one up to names."""
    torch.manual_seed(1)
    s = torch.arange(40) // 10 % 2
    x = torch.where(s[:, None] == 1, 2.0, -2.0) + 0.3 * torch.randn(3, 40, 1)
    model = rv.NeuralHMM(1, 2, 4, likelihood=rv.Normal, layers=0)
    optimizer, loss = torch.optim.Adam(model.parameters(), lr=0.1), rv.Loss(model, TraceEnum_ELBO(max_plate_nesting=1))
    for _ in range(25):
        optimizer.zero_grad()
        with rv.explicit():
            loss(x).backward()
        optimizer.step()
    found = poutine.trace(model.guide).get_trace(x).nodes["s"]["value"].argmax(-1)
    agree = (found == s).double().mean()
    assert max(agree, 1 - agree) > 0.98


# ------------------------------------------------------------------------------------------------ errors
@pytest.mark.parametrize("build", [
    lambda: rv.NeuralHMM(X, 0), lambda: rv.NeuralHMM(X, modes=0), lambda: rv.SwitchingLDS(X, modes=0)])
def test_there_is_at_least_one_regime(build: Any) -> None:
    with pytest.raises(ValueError, match="modes must be an integer of at least 1, got 0"):
        build()


def test_parts_that_do_not_fit() -> None:
    with pytest.raises(TypeError, match="recurrence: expected a Causal part"):
        rv.NeuralHMM(X, K, H, recurrence=nn.LSTM(X, H))
    with pytest.raises(ValueError, match="built for 2 elements, the model needs 3"):
        rv.NeuralHMM(X, K, H, prior=rv.OneHot(2))
    model = rv.NeuralHMM(X, K, H, likelihood=rv.AutoregressiveBernoulli)
    with pytest.raises(ValueError, match="can neither skip nor marginalise missing elements"):
        model.guide(torch.full((1, 2, X), torch.nan))
