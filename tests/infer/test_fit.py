"""`fit` against a loop written by hand, its log against terms measured independently, and what it must leave alone."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import numpy as np
import pyro
import pytest
import torch
from pyro.distributions.testing.fakes import NonreparameterizedNormal
from pyro.infer import TraceMeanField_ELBO
from torch import Tensor, nn
from zoo import ZOO, B, T

import pyro_rvae as rv
from pyro_rvae.data import SequenceDataset, StaticDataset
from pyro_rvae.infer import Callback, constant, cosine, fit, linear, measure
from pyro_rvae.infer.validation import validate
from pyro_rvae.nn import concat

quiet = partial(fit, progress=False)


def vrnn(**parts: Any) -> rv.VRNN:
    torch.manual_seed(0)
    return rv.VRNN(5, 2, 4, **parts)


def flat(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


# ------------------------------------------------------------------------------------------- what it computes
@pytest.mark.parametrize("clip", [0.01, None])
def test_is_the_loop_that_one_would_write(data: SequenceDataset, clip: float | None) -> None:
    model, twin = vrnn(), vrnn()
    history = quiet(model, data, epochs=3, batch_size=3, lr=0.02, weight_decay=0.1, clip=clip, seed=7,
                    schedule=cosine(0.1), kl_weight=linear(0.2, 1.0, 5))
    loss, step = rv.Loss(twin), 0
    optimizer = torch.optim.Adam(twin.parameters(), lr=0.02, weight_decay=0.1)
    torch.manual_seed(7)
    for epoch in range(3):
        for batch in data.batches(3, seed=7, epoch=epoch):
            optimizer.param_groups[0]["lr"] = 0.02 * cosine(0.1)(step / 9)
            with rv.annealed(linear(0.2, 1.0, 5)(step)):
                loss(*batch).backward()
            nn.utils.clip_grad_norm_(twin.parameters(), np.inf if clip is None else clip)
            optimizer.step()
            optimizer.zero_grad()
            step += 1
    torch.testing.assert_close(flat(model), flat(twin), rtol=0.0, atol=1e-14)
    assert history["step"].tolist() == [3, 6, 9]
    assert history["lr"].tolist() == [0.02 * cosine(0.1)(s / 9) for s in (2, 5, 8)]
    assert history["kl_weight"].tolist() == [linear(0.2, 1.0, 5)(s) for s in (2, 5, 8)]


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_the_log_is_not_annealed(data: SequenceDataset, weight: float) -> None:
    """One batch an epoch: the row of the first epoch is measured with the same noise, at the first weights."""
    model = vrnn()
    torch.manual_seed(4)
    terms, frames = measure(model, data.padded(next(iter(data.batches(8, seed=4).order)))), data.num_frames
    row = quiet(model, data, epochs=1, batch_size=8, seed=4, kl_weight=constant(weight)).rows[0]
    found = [row.elbo, row.reconstruction, row.kl]
    np.testing.assert_allclose(found, [term.sum().item() / frames for term in terms], rtol=1e-10)
    assert row.kl_weight == weight and np.isnan(row.valid_elbo)


def test_the_rows_pool_ragged_batches_by_frames(data: SequenceDataset) -> None:
    """With the learning rate next to nothing, an epoch's mean is over frames, not over batches."""
    model = vrnn()
    row = quiet(model, data, epochs=1, batch_size=3, seed=1, lr=1e-300).rows[0]
    torch.manual_seed(1)
    total = sum(measure(model, batch).elbo.sum() for batch in data.batches(3, seed=1))
    assert row.elbo == pytest.approx(float(total) / data.num_frames, rel=1e-10)


class ScorePosterior(nn.Module):
    """A posterior without a reparametrised draw."""

    def __init__(self, in_dim: int, dim: int) -> None:
        super().__init__()
        self.net, self.dim = nn.Linear(in_dim, dim), dim

    def forward(self, *inputs: Tensor) -> Any:
        return NonreparameterizedNormal(self.net(concat(inputs)), torch.ones(self.dim)).to_event(1)


def test_the_log_without_reparametrised_draws_is_measured(data: SequenceDataset) -> None:
    """There the derivative by the KL weight is not the KL."""
    torch.manual_seed(0)
    model = rv.RVAE(5, 2, 4, posterior=ScorePosterior)
    batch = data.padded(data.batches(8, seed=4).order[0])
    torch.manual_seed(4)
    rv.Loss(model)(*batch)
    terms = measure(model, batch)
    row = quiet(model, data, epochs=1, batch_size=8, seed=4, kl_weight=constant(0.5)).rows[0]
    np.testing.assert_allclose([row.elbo, row.kl], [terms.elbo.sum() / 33, terms.kl.sum() / 33], rtol=1e-10)


def test_analytic_kl_in_log_and_validation(data: SequenceDataset) -> None:
    model = vrnn()
    batch = data.padded(data.batches(8, seed=4).order[0])
    torch.manual_seed(4)
    kl = measure(model, batch, analytic=True).kl.sum().item() / data.num_frames
    history = quiet(model, data, data, epochs=2, batch_size=8, seed=4, elbo=TraceMeanField_ELBO())
    assert history["kl"][0] == pytest.approx(kl, rel=1e-10)
    assert (history["valid_kl"] > 0).all()
    assert (history["valid_reconstruction"] > 0).all()
    np.testing.assert_allclose(history["valid_elbo"], history["valid_reconstruction"] + history["valid_kl"])


def test_the_average_is_that_of_its_formula(data: SequenceDataset) -> None:
    seen: list[Tensor] = []

    class Keep(Callback):
        def on_fit_start(self, state: Any) -> None:
            seen.append(flat(state.model))

        on_step = on_fit_start

    model = vrnn()
    quiet(model, data, epochs=2, batch_size=3, ema=0.3, lr=0.05, callbacks=[Keep()])
    mean = seen[0]
    for s, weights in enumerate(seen[1:], 1):
        d = min(0.3, (1 + s) / (10 + s))
        mean = d * mean + (1 - d) * weights
    torch.testing.assert_close(flat(model), mean)


# ------------------------------------------------------------------------------------------- validation
def test_the_model_ends_with_the_best_weights(data: SequenceDataset) -> None:
    kept: dict[int, Tensor] = {}

    class Keep(Callback):
        def on_epoch_end(self, state: Any, row: Any) -> None:
            kept[row.epoch] = flat(state.model)

    model = vrnn()
    history = quiet(model, data, data.subset([1, 4]), epochs=12, batch_size=3, lr=0.3, callbacks=[Keep()])
    assert 0 < history.best.epoch < 12
    assert torch.equal(flat(model), kept[history.best.epoch])


def test_validation_is_on_the_average_with_noise_of_its_own(data: SequenceDataset) -> None:
    """It moves nothing: the run with it has the weights of the run without; and it can be repeated afterwards."""
    plain, validated = vrnn(dropout=0.3), vrnn(dropout=0.3)
    quiet(plain, data, epochs=3, batch_size=3, ema=0.5, lr=0.05)
    history = quiet(validated, data, data, epochs=3, batch_size=3, ema=0.5, lr=0.05)
    assert history.best.epoch == 3
    assert torch.equal(flat(plain), flat(validated))
    from lightning_fabric import Fabric

    again = validate(Fabric(accelerator="cpu", devices=1), validated, data, 3, analytic=False, trust=True)
    assert again[0] == history.rows[-1].valid_elbo


def test_patience_stops(data: SequenceDataset) -> None:
    history = quiet(vrnn(), data, data.subset([1, 4]), epochs=200, batch_size=3, lr=0.5, patience=3)
    assert len(history) == history.best.epoch + 3 < 200


def test_valid_every(data: SequenceDataset) -> None:
    history = quiet(vrnn(), data, data, epochs=5, valid_every=2)
    assert np.isnan(history["valid_elbo"]).tolist() == [True, False, True, False, False]


# ------------------------------------------------------------------------------------------- what it leaves alone
def test_leaves_the_users_state_alone(data: SequenceDataset) -> None:
    model = vrnn(dropout=0.1)
    model.train()
    model.prior.eval()
    modes = [m.training for m in model.modules()]
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    numbers = np.random.get_state()[1].copy()  # type: ignore[index,union-attr]
    quiet(model, data, data, epochs=2, seed=3)
    assert torch.equal(torch.rand(3), expected)
    assert (np.random.get_state()[1] == numbers).all()  # type: ignore[index]
    assert [m.training for m in model.modules()] == modes
    assert not dict(pyro.get_param_store().items())
    assert pyro.infer.util.is_validation_enabled() and pyro.distributions.is_validation_enabled()
    assert all(p.grad is None for p in model.parameters())


def test_the_seed_decides(data: SequenceDataset) -> None:
    found = {}
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        model = vrnn(dropout=0.1)
        torch.rand(3)  # whatever the user's stream
        quiet(model, data, epochs=2, batch_size=3, seed=seed)
        found[name] = flat(model)
    assert torch.equal(found["a"], found["b"]) and not torch.equal(found["a"], found["c"])


# ------------------------------------------------------------------------------------------- all that it trains
@pytest.mark.parametrize("name", ["VRNN", "DMM", "VRAE", "VAE", "STORN", "RVAE", "shared", "controls", "labels",
                                  "gaps-VRNN", "gaps-codes", "gaps-VAE", "categorical", "autoregressive",
                                  "path-prior"])
def test_trains_the_zoo(name: str) -> None:
    case = ZOO[name]
    model, known = case.make(), case.extra()
    kind = {"real": "real", "code": "categories", "coun": "counts"}.get(case.data[:4], "binary")
    given: dict[str, Any] = {"kind": kind, "classes": 4 if kind == "categories" else None}
    if case.static:
        data: Any = StaticDataset(case.x(), **given)
    else:
        controls = known.pop("controls", None)
        data = SequenceDataset(case.x().flatten(0, 1), torch.full((B,), T), labels=known.get("labels"),
                               controls=None if controls is None else controls.flatten(0, 1), **given)
    before = copy.deepcopy(model.state_dict())
    history = quiet(model, data, data, epochs=2, batch_size=3, lr=1e-3)
    assert np.isfinite(history["elbo"]).all() and np.isfinite(history["valid_elbo"]).all()
    moved = [n for n, p in model.named_parameters() if not torch.equal(before[n], p)]
    assert len(moved) == len(list(model.parameters()))
    assert model.num_sequences == B


def test_it_learns(data: SequenceDataset) -> None:
    """From the start's cost to below that of independent coins (0.61 nats a feature at rate 0.3)."""
    history = quiet(vrnn(), data, epochs=60, batch_size=8, lr=0.03)
    assert history["elbo"][0] > 3.4 and history["elbo"][-5:].mean() < 3.0


def test_bfloat16_is_close(data: SequenceDataset) -> None:
    rows = {}
    for precision in ("32", "bf16"):
        model = vrnn().float()
        history = quiet(model, data, data, epochs=2, batch_size=8, precision=precision)
        rows[precision] = history["elbo"][0], history["valid_elbo"][0]
        assert {p.dtype for p in model.parameters()} == {torch.float32}
    np.testing.assert_allclose(rows["bf16"], rows["32"], atol=0.1)
    assert rows["bf16"] != rows["32"]


def test_bfloat16_is_for_networks_the_data_keep_their_digits() -> None:
    seen = set()

    class Watching(rv.RVAE):
        def inference(self, steps: rv.Steps, x: torch.Tensor) -> None:
            seen.update({x.dtype, steps.values["x"].dtype})
            super().inference(steps, x)

    data = SequenceDataset(torch.randn(40, 3), [10] * 4)
    model = Watching(3, 2, 4, likelihood=partial(rv.Normal, scale=0.01)).float()
    quiet(model, data, data, epochs=1, batch_size=4, precision="bf16")
    assert seen == {torch.float32}


def test_data_of_another_dtype_are_converted(data: SequenceDataset) -> None:
    assert np.isfinite(quiet(vrnn().float(), data, data, epochs=1)["valid_elbo"]).all()


def test_other_optimizers_and_frozen_weights(data: SequenceDataset) -> None:
    model = vrnn()
    model.phi_x.requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    history = quiet(model, data, epochs=2, optimizer=partial(torch.optim.SGD, lr=0.5, momentum=0.9), schedule=cosine())
    assert history["lr"][0] == 0.5
    after = model.state_dict()
    assert all(torch.equal(before[n], after[n]) == n.startswith("phi_x") for n in before)


# ------------------------------------------------------------------------------------------- what a user sees
def test_one_bar_for_the_whole_fit(data: SequenceDataset, capsys: pytest.CaptureFixture[str]) -> None:
    fit(vrnn(), data, data, epochs=2, batch_size=4)
    bar = capsys.readouterr().err
    assert "4/4" in bar and "epoch 2/2" in bar
    assert all(word in bar for word in ("elbo ", "recon ", "kl ", "valid ")) and "elbo -" not in bar
    quiet(vrnn(), data, epochs=1)
    assert capsys.readouterr().err == ""


def test_callbacks_see_the_run_and_can_stop_it(data: SequenceDataset) -> None:
    seen: list[Any] = []

    class Watch(Callback):
        def on_fit_start(self, state: Any) -> None:
            seen.append(("start", state.epoch, state.step))

        def on_step(self, state: Any) -> None:
            seen.append(("step", state.epoch, state.step))
            state.stop = state.step == 5

        def on_epoch_end(self, state: Any, row: Any) -> None:
            seen.append(("epoch", state.epoch, row.epoch, len(state.history)))

        def on_fit_end(self, state: Any) -> None:
            seen.append(("end", state.epoch, state.step))

    history = quiet(vrnn(), data, epochs=9, batch_size=3, callbacks=[Watch()])
    assert seen == [("start", 0, 0), *(("step", 0, s) for s in (1, 2, 3)), ("epoch", 1, 1, 1), ("step", 1, 4),
                    ("step", 1, 5), ("end", 1, 5)]
    assert len(history) == 1


def test_a_trained_model_is_an_ordinary_model(data: SequenceDataset) -> None:
    """It can be copied, trained on, trained by Pyro's SVI, and the explicit reading trains as well."""
    model = vrnn()
    before = set(vars(model))
    quiet(model, data, data, epochs=1)
    assert set(vars(model)) == before and not model._forward_hooks
    twin = copy.deepcopy(model)
    assert torch.equal(flat(twin), flat(model))
    assert len(quiet(model, data, epochs=2)) == 2
    svi = pyro.infer.SVI(twin.model, twin.guide, pyro.optim.Adam({"lr": 0.1}), pyro.infer.Trace_ELBO())
    start = flat(twin)
    for x, mask in data.batches(4):
        svi.step(x, mask)
    assert not torch.equal(start, flat(twin))
    with rv.explicit():
        assert np.isfinite(quiet(vrnn(), data, data, epochs=1)["valid_elbo"]).all()


# ----------------------------------------------------------------------------------- a guide that lacks a latent
class Forgetful(rv.VRNN):
    """A model whose guide draws nothing."""

    def inference(self, steps: rv.Steps, x: Tensor) -> None:
        pass


def test_a_guide_that_lacks_a_latent_is_refused_before_the_first_step(data: SequenceDataset) -> None:
    model = Forgetful(5, 2, 4)
    before = flat(model)
    with pytest.raises(ValueError, match=r"must draw the same latents; only the model has \['z'\]"):
        quiet(model, data, epochs=1)
    assert torch.equal(flat(model), before)
