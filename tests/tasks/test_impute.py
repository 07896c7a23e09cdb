"""Imputation against the dense Gaussian, and over all models."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyro
import pytest
import torch
from linear_gaussian import LENGTH, C, LinearGaussian, Q, R
from torch import Tensor
from zoo import CLASSES, ZOO, B

import pyro_rvae as rv
from pyro_rvae.data import SequenceDataset, StaticDataset
from pyro_rvae.tasks import Imputation, impute

RAGGED = torch.tensor([6, 3, 5, 1])


# ------------------------------------------------------------------------------------------- exact answers
class Gappy(LinearGaussian):
    """The linear-Gaussian model, whose exact guide reads flags: a missing frame tells nothing of its latent."""

    def __init__(self, smooth: bool = True) -> None:
        super().__init__(smooth)
        self.reader = rv.Reader(1, missing=True)

    def information(self, x: Tensor) -> Tensor:
        lam = eta = torch.zeros_like(x[..., 0, :1])
        out = []
        for x_t, there in reversed([u.split(1, -1) for u in x.unbind(-2)]):
            lam, eta = lam + there / R, eta + x_t / R
            out.append(torch.cat([lam, eta], -1))
            k = 1 / (1 + Q * lam)
            lam, eta = C * C * lam * k, C * eta * k
        return torch.stack(out[::-1], -2)

    def inference(self, steps: rv.Steps, x: Tensor) -> None:
        x = x * steps.mask.unsqueeze(-1)  # the padding is no observation
        x_t, there = x.split(1, -1)
        info = self.information(x) if self.smooth else torch.cat([there / R, x_t / R], -1)
        for t in steps:
            t.sample("z", self.posterior, t.prev("z", torch.zeros(1)), t.at(info))


def given_the_rest(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and covariance of the missing elements of ``x (T,)`` given the others, from the joint Gaussian."""
    length = len(x)
    inverse = torch.linalg.inv(torch.eye(length) - C * torch.diag(torch.ones(length - 1), -1))
    s = Q * inverse @ inverse.T + R * torch.eye(length)
    m, o = x.isnan(), ~x.isnan()
    gain = s[m][:, o] @ torch.linalg.inv(s[o][:, o])
    return gain @ x[o], s[m][:, m] - gain @ s[o][:, m]


def gaps() -> SequenceDataset:
    """A gap of three frames, a single one and an end; one that is missing wholly; one that is not."""
    x = torch.randn(4, LENGTH, 1, generator=torch.Generator().manual_seed(3))
    x[0, [1, 3, 4, 5]], x[1, 5:], x[2] = torch.nan, torch.nan, torch.nan
    return SequenceDataset.from_sequences([x[0], x[1], x[2, :3], x[3, :5]])


def off(found: Imputation, data: SequenceDataset) -> tuple[float, float]:
    """Largest error of mean and covariance, over the sequences with gaps."""
    means, covariances = [0.0], [0.0]
    for n, x in enumerate(data):
        drawn = torch.from_numpy(found.draws[:, found.sequences == n])
        if drawn.shape[1]:
            mean, covariance = given_the_rest(x[:, 0])
            means.append(float((drawn.mean(0) - mean).abs().max()))
            covariances.append(float((drawn.T.cov() - covariance).abs().max()))
    return max(means), max(covariances)


def test_an_exact_guide_gives_the_moments_of_the_dense_gaussian() -> None:
    data = gaps()
    mean, covariance = off(impute(Gappy(), data, 3_000), data)
    assert mean < 0.08 and covariance < 0.15


def test_importance_resampling_mends_a_guide_that_does_not_see_the_future() -> None:
    data = gaps()
    plain, better = (off(impute(Gappy(smooth=False), data, 400, num_particles=k), data) for k in (1, 20))
    assert plain[0] > 0.25 and better[0] < 0.15 and plain[1] > 0.6 and better[1] < 0.35


def test_without_flags_sweeps_are_a_gibbs_sampler() -> None:
    """The guide is exact for what is complete, and reads a gap as 0: a first draw is wrong, a chain's end is right."""
    data = SequenceDataset(gaps()[0], [LENGTH])
    once = off(impute(LinearGaussian(), data, 500, sweeps=0), data)
    chain = off(impute(LinearGaussian(), data, 500, sweeps=12), data)
    assert once[0] > 0.35 and once[1] > 0.35 and chain[0] < 0.15 and chain[1] < 0.2


def test_a_model_that_never_read_a_gap_sweeps_by_itself() -> None:
    data = gaps()
    assert ", 30 sweeps" in impute(LinearGaussian(), data, 2).source
    assert "sweep" not in impute(Gappy(), data, 2).source
    model = rv.RVAE.for_data(SequenceDataset(torch.randn(9, 2), [9]), z_dim=2, h_dim=3)
    assert not model.data_card.missing and "30 sweeps" in impute(model, [torch.tensor([[0.1, torch.nan]])], 2).source
    model = rv.RVAE.for_data(data, z_dim=2, h_dim=3)
    assert model.data_card.missing and "sweep" not in impute(model, data, 2).source


def test_elements_of_a_frame_depend_on_each_other() -> None:
    """A model without memory whose frames are N(0, S): a missing element is drawn given the others of its frame."""
    class Frames(rv.SequenceVAE):
        x_dim = 3

        def generative(self, steps: rv.Steps) -> None:
            for t in steps:
                z = t.sample("z", lambda: pyro.distributions.Normal(torch.zeros(1), 1.0).to_event(1))
                t.sample("x", lambda z: self.law.expand(z.shape[:-1]), z)

        def inference(self, steps: rv.Steps, x: Tensor) -> None:
            for t in steps:
                t.sample("z", lambda: pyro.distributions.Normal(torch.zeros(1), 1.0).to_event(1))

    root = torch.tensor([[1.0, 0, 0], [0.9, 0.3, 0], [-0.5, 0.5, 0.4]])
    model, x = Frames(), torch.tensor([[1.5, torch.nan, 0.2]])
    model.law = pyro.distributions.MultivariateNormal(torch.zeros(3), scale_tril=root)
    found = impute(model, [x], 5_000, sweeps=0)
    s, o = root @ root.T, [0, 2]
    gain = s[1, o] @ torch.linalg.inv(s[o][:, o])
    assert abs(found.draws.mean() - float(gain @ x[0, o])) < 0.02
    assert abs(found.draws.var() - float(s[1, 1] - gain @ s[o][:, [1]])) < 0.005


# ------------------------------------------------------------------------------------------- what it returns
@pytest.fixture(scope="module")
def found() -> tuple[rv.SequenceVAE, SequenceDataset, Imputation]:
    """A model of data in other units, with padding, names, controls and times."""
    g = torch.Generator().manual_seed(0)
    values = 100 + 20 * torch.randn(15, 5, generator=g)
    values[torch.rand(15, 5, generator=g) < 0.3] = torch.nan
    data = SequenceDataset(values, RAGGED, names=list("abcde"), ids=list("wxyz"), controls=torch.randn(15, 2),
                           times=torch.arange(15.0), labels=[0, 1, 0, 1])
    data = data.transformed(rv.data.Affine.standardize(values))
    torch.manual_seed(0)
    model = rv.VRNN.for_data(data, z_dim=2, h_dim=4)
    return model, data, impute(model, data, 30)


def test_observed_elements_are_returned_as_they_are(found: Any) -> None:
    _, data, made = found
    raw = data.transform.inverse(data.values).numpy()
    known = ~np.isnan(raw)
    for full in (made.mean, made.median, made.quantile(0.1), *made.interval(0.5), made.filled(3).values.numpy()):
        assert full.shape == (15, 5) and (full[known] == raw[known]).all() and np.isfinite(full).all()
    assert (made.mean[~known] == made.draws.mean(0)).all() and 50 < made.mean[~known].mean() < 150, "raw units"


def test_the_filled_data_set_is_like_the_given_one(found: Any) -> None:
    _, data, made = found
    filled = made.filled()
    assert not filled.missing and filled.transform is None and data.missing
    assert (filled.lengths == data.lengths).all() and filled.names == data.names and filled.ids == data.ids
    assert torch.equal(filled.controls, data.controls) and torch.equal(filled.labels, data.labels)
    assert torch.equal(filled.transformed(data.transform).values[~data.values.isnan()],
                       data.transform(data.transform.inverse(data.values))[~data.values.isnan()])
    one = made.filled(4).values.numpy()
    assert (one[made.frames, made.features] == made.draws[4]).all()


def test_draws_depend_on_the_seed_and_not_on_the_batches(found: Any) -> None:
    model, data, made = found
    for how in ({"batch_size": 1}, {"batch_size": 3, "max_bytes": 1}):
        assert np.allclose(impute(model, data, 30, **how).draws, made.draws, rtol=1e-9)
    assert not np.allclose(impute(model, data, 30, seed=1).draws, made.draws)
    first = impute(model, data, 30, num_particles=3, sweeps=2)
    for how in ({"batch_size": 1}, {"max_bytes": 1}):
        assert np.allclose(first.draws, impute(model, data, 30, num_particles=3, sweeps=2, **how).draws)
    alone = impute(model, data.subset([0]), 30)
    assert np.allclose(alone.draws, made.draws[:, made.sequences == 0]), "padding and neighbours tell nothing"


def test_nothing_around_is_touched(found: Any) -> None:
    model, data, _ = found
    state, values = torch.get_rng_state(), data.values.clone()
    model.train()
    impute(model, data, 2, num_particles=2, sweeps=1)
    assert model.training and torch.equal(torch.get_rng_state(), state)
    assert not dict(pyro.get_param_store()) and torch.equal(values.nan_to_num(9.0), data.values.nan_to_num(9.0))


def test_raw_arrays_give_the_same_as_the_data_set(found: Any) -> None:
    model, data, made = found
    raw = SequenceDataset(data.transform.inverse(data.values), RAGGED, controls=data.controls)
    assert np.allclose(impute(model, raw, 30).draws, made.draws)


def test_of_nothing_missing_a_draw_is_the_data() -> None:
    data = SequenceDataset(torch.randn(6, 2), [4, 2])
    made = impute(rv.RVAE(2, 2, 3, likelihood=rv.Normal), data, 5)
    assert made.draws.shape == (5, 0) and torch.equal(made.filled().values, data.values) and made.rows() == []
    assert repr(made) == "Imputation of 0 missing elements of 2 sequences, 5 draws by RVAE, 30 sweeps."
    assert torch.equal(made.filled(0).values, data.values) and (made.mean == data.values.numpy()).all()


def test_table_rows_and_summary(found: Any) -> None:
    _, data, made = found
    text = repr(made)
    count = (data.values.isnan()).sum(0)
    assert f"Imputation of {len(made)} missing elements of 4 sequences, 30 draws by VRNN, in raw units" in text
    for name, number in zip("abcde", count.tolist(), strict=True):
        assert f"  {name} " in text and f" {number} " in text
    rows = made.rows()
    assert len(rows) == len(made) and list(rows[0]) == ["sequence", "step", "feature", "mean", "q0.1", "q0.5", "q0.9"]
    for k in (0, len(rows) - 1):
        frame = made.frames[k]
        assert rows[k]["sequence"] == "wxyz"[np.searchsorted(np.cumsum(RAGGED.numpy()), frame, side="right")]
        assert rows[k]["step"] == float(frame) and rows[k]["feature"] == "abcde"[made.features[k]]
        assert rows[k]["q0.1"] < rows[k]["q0.5"] < rows[k]["q0.9"] and rows[k]["mean"] == made.draws[:, k].mean()
    assert made.to_dict()["features"][0]["missing"] == int(count[0])
    assert (made.steps + (np.cumsum(RAGGED.numpy()) - RAGGED.numpy())[made.sequences] == made.frames).all()


def test_codes_have_probabilities_and_no_mean() -> None:
    x = ZOO["gaps-codes"].x()
    data = SequenceDataset(x.flatten(0, 1), [x.shape[1]] * B, kind="categories", classes=CLASSES)
    made = impute(ZOO["gaps-codes"].make(), data, 50, sweeps=0)
    probs = made.probabilities
    assert probs.shape == (len(made), CLASSES) and np.allclose(probs.sum(-1), 1)
    assert (made.filled().values.numpy()[made.frames, made.features] == probs.argmax(-1)).all()
    assert made.filled().values.dtype == torch.long and "mean probability of the commonest" in repr(made)
    assert list(made.rows()[0]) == ["sequence", "step", "feature", "code", "probability"]
    for ask in (lambda: made.mean, lambda: made.quantile(0.5), lambda: made.interval(0.5)):
        with pytest.raises(ValueError, match="codes have no .* use probabilities"):
            ask()


def test_of_zeros_and_ones_quantiles_were_drawn() -> None:
    x = ZOO["gaps-DMM"].x()
    data = SequenceDataset(x.flatten(0, 1), [x.shape[1]] * B)
    made = impute(ZOO["gaps-DMM"].make(), data, 10)
    assert set(np.unique(made.median)) <= {0.0, 1.0} and set(made.filled().values.unique().tolist()) <= {0.0, 1.0}
    assert np.allclose(made.probabilities[:, 1], made.draws.mean(0)) and made.filled().kind == "binary"
    with pytest.raises(ValueError, match="'median', or a draw.*|the mean of binary is none of them"):
        made.filled("mean")


# ------------------------------------------------------------------------------------------- all models
LACKING = {"autoregressive", "nade", "nade-previous"}  # whose elements are drawn one after the other


@pytest.mark.parametrize("name", ZOO)
def test_every_model_imputes(name: str) -> None:
    case = ZOO[name]
    model, x, extra = case.make(), case.x().clone(), case.extra()
    absent = torch.rand(x.shape, generator=torch.Generator().manual_seed(9)) < 0.3
    if not case.static:
        absent[1] = True  # a frame, and a sequence
        absent[0, 2] = True
    x[absent] = -1 if x.dtype == torch.long else torch.nan
    kind = {"codes": "categories", "counts": "counts", "real": "real", "frame": "real", "unit": "real"}.get(
        case.data.removeprefix("static ").split()[0], "binary")
    known: dict[str, Any] = {"kind": kind, "classes": CLASSES if kind == "categories" else None,
                             "labels": extra.get("labels")}
    if case.static:
        data: Any = StaticDataset(x, **known)
    else:
        controls = [c[:n] for c, n in zip(extra["controls"], RAGGED, strict=True)] if "controls" in extra else None
        data = SequenceDataset.from_sequences([s[:n] for s, n in zip(x, RAGGED, strict=True)], controls=controls,
                                              **known)
    if name in LACKING:
        with pytest.raises(ValueError, match="skip nor marginalise missing elements"):
            impute(model, data, 2)
        return
    made = impute(model, data, 2, sweeps=1)
    assert np.isfinite(made.draws).all() and not made.filled().missing
    assert (made.draws[0] != made.draws[1]).any(), "draws differ"


def test_labels_need_not_be_known_to_a_head() -> None:
    x = torch.randn(6, 2)
    x[2, 1] = torch.nan
    model = rv.Supervised(rv.RVAE(2, 2, 3, likelihood=rv.Normal), rv.Normal, hidden=(3,))
    assert impute(model, SequenceDataset(x, [4, 2]), 3, num_particles=2).draws.shape == (3, 1)


def test_what_is_drawn_once_a_data_set_differs_between_chains() -> None:
    x = ZOO["shared"].x()
    x[0, 0, 0] = torch.nan
    data = SequenceDataset(x.flatten(0, 1), [x.shape[1]] * B)
    scales: list[Tensor] = []
    model = ZOO["shared"].make()
    emission = model.emission
    model.emission = lambda z, s: scales.append(s) or emission(z, s)  # type: ignore[method-assign]
    made, first = impute(model, data, 3, sweeps=1), impute(model, data, 3, sweeps=0)
    assert len({float(s) for s in scales if s.numel() == 1}) == 3
    assert (made.draws != first.draws).all(), "each draw's chain has run"


# ------------------------------------------------------------------------------------------- KVAE
def kvae(modes: int = 1) -> tuple[rv.KVAE, SequenceDataset]:
    torch.manual_seed(2)
    model = rv.KVAE(3, 4, 6, a_dim=2, modes=modes, likelihood=rv.Normal, reader=rv.Reader(3, missing=True))
    x = torch.randn(2, 8, 3)
    x[0, 2:5], x[0, 7], x[1, 0], x[1, 5, 1] = (torch.nan,) * 4
    return model, SequenceDataset.from_sequences([x[0], x[1, :6]])


@pytest.mark.parametrize("modes", [1, 3])
def test_gaps_of_a_kvae_have_its_smoothed_moments(modes: int) -> None:
    """a at wholly missing frames, against the smoother at the same a of the others."""
    model, data = kvae(modes)
    batch = data.padded()
    with torch.no_grad():
        _, mean, observed = model._read(batch.x, batch.mask, None, None)
        a = mean.expand(5_000, -1, -1, -1)
        made = model.draw_gaps({"a": a}, batch, lambda name, width: torch.randn(*a.shape[:3], width))["a"]
        smoothed = model.smooth(*batch, a=mean)
    gap = (observed[..., 0] == 0) & batch.mask
    assert torch.equal(made[:, (observed[..., 0] > 0) & batch.mask], a[:, (observed[..., 0] > 0) & batch.mask])
    assert int(gap.sum()) == 5
    for n, t in gap.nonzero().tolist():
        assert torch.allclose(made[:, n, t].mean(0), smoothed.a[n, t], atol=0.06)
        assert torch.allclose(made[:, n, t].T.cov(), smoothed.a_covariance[n, t], rtol=0.12, atol=0.04)


def test_frames_of_a_gap_hang_together() -> None:
    """Of a linear KVAE the draws' covariance between two missing frames is that of the joint Gaussian."""
    model, data = kvae()
    batch = data.subset([0]).padded()
    with torch.no_grad():
        _, mean, _ = model._read(batch.x, batch.mask, None, None)
        a = mean.expand(10_000, -1, -1, -1)
        made = model.draw_gaps({"a": a}, batch, lambda name, width: torch.randn(*a.shape[:3], width))["a"][:, 0]
        joint = a_covariance(model, 8)
    missing, seen = [2, 3, 4, 7], [0, 1, 5, 6]
    m, o = (torch.tensor([2 * t + d for t in steps for d in (0, 1)]) for steps in (missing, seen))
    gain = joint[m][:, o] @ torch.linalg.inv(joint[o][:, o])
    expected = joint[m][:, m] - gain @ joint[o][:, m]
    drawn = made[:, missing].flatten(1)
    assert torch.allclose(drawn.T.cov(), expected, atol=0.04)
    assert expected[:2, 2:4].abs().max() > 0.08, "they do depend on each other"


def a_covariance(model: rv.KVAE, length: int) -> Tensor:
    """Of ``a_1..a_T`` of a linear model, dense: its start has mean 0."""
    k = model.dynamics
    noise = torch.nn.functional.softplus
    a, c = k.transition[0], k.emission[0]
    start, q, r = (torch.diag(noise(raw) + 1e-4) for raw in (k.raw_initial, k.raw_process, k.raw_noise))
    at = [start]
    for _ in range(length - 1):
        at.append(a @ at[-1] @ a.T + q)
    rows = []
    for s in range(length):
        rows.append(torch.cat([(c @ (torch.matrix_power(a, max(s - t, 0)) @ at[min(s, t)]
                                     @ torch.matrix_power(a, max(t - s, 0)).T) @ c.T) + r * (s == t)
                               for t in range(length)], -1))
    return torch.cat(rows, 0)


def test_the_general_function_is_as_good_as_the_kvaes_own(monkeypatch: pytest.MonkeyPatch) -> None:
    model, data = kvae()
    own = model.impute(*data.padded()).detach()
    read: list[Tensor] = []
    draw_gaps = model.draw_gaps
    monkeypatch.setattr(model, "draw_gaps", lambda drawn, batch, noise: read.append(batch.x) or draw_gaps(
        drawn, batch, noise))
    made = impute(model, data, 400, sweeps=1)
    for n in range(2):
        gap = data[n].isnan().all(-1)
        mean = torch.from_numpy(made.mean[int(data.starts[n]):][: len(gap)])[gap]
        assert torch.allclose(mean, own[n, : len(gap)][gap], atol=0.3), "its mean is at the mean of a"
    assert len(read) == 2
    whole = data.padded([1, 0]).x.isnan().all(-1)  # as chunks sort them, by length
    assert (read[1].isnan().all(-1) == whole.repeat(400, 1)).all(), "sweeps leave whole frames to the smoother"
    assert (read[1].isnan().any(-1) == whole.repeat(400, 1)).all(), "and fill single elements"


# ------------------------------------------------------------------------------------------- refusals
def test_what_is_refused(found: Any) -> None:
    model, data, made = found
    for name, value in {"num": 0, "num_particles": 0, "batch_size": 0, "max_bytes": 0}.items():
        with pytest.raises(ValueError, match=f"impute: {name} must be an integer of at least 1"):
            impute(model, data, **{name: value})
    with pytest.raises(ValueError, match="impute: sweeps must be"):
        impute(model, data, sweeps=-1)
    with pytest.raises(TypeError, match="impute needs a data set"):
        impute(model, "data.csv")
    with pytest.raises(TypeError, match="impute needs one data set.*such as data.test"):
        impute(model, rv.data.Splits(data, data, data))
    pair = rv.Pair(lambda x, mask=None: None, lambda x, mask=None: None)
    with pytest.raises(TypeError, match="impute needs a SequenceVAE"):
        impute(pair, data)
    with pytest.raises(ValueError, match="quantile: q must be a number from 0 to 1"):
        made.quantile(1.5)
    with pytest.raises(ValueError, match="interval: level must be a number between 0 and 1"):
        made.interval(95)
    for how in ("middle", 30, -1, True):
        with pytest.raises(ValueError, match="how must be 'median', 'mean', or a draw, 0 to 29"):
            made.filled(how)
    with pytest.raises(ValueError, match="probabilities are of categories or 0/1"):
        _ = made.probabilities


def test_a_point_has_no_weights() -> None:
    x = ZOO["RAE-steps"].x()
    x[0, 0, 0] = torch.nan
    data = SequenceDataset(x.flatten(0, 1), [x.shape[1]] * B)
    with pytest.raises(ValueError, match="the guide is a point.*leave num_particles at 1"):
        impute(ZOO["RAE-steps"].make(), data, 2, num_particles=2)


def test_weights_that_are_no_numbers() -> None:
    x = ZOO["gaps-VRNN"].x()
    model = ZOO["gaps-VRNN"].make()
    next(model.likelihood.parameters()).data[:] = torch.nan
    with pytest.raises(ValueError, match="the draws have NaN: look for NaN in the model's parameters"):
        pyro.enable_validation(False)
        impute(model, SequenceDataset(x.flatten(0, 1), [x.shape[1]] * B), 2)


# ------------------------------------------------------------------------------------------- what it is told, and says
def test_intervals_cover_at_their_level() -> None:
    """Of R draws of a law, and one more: the central 80% interval of 9 draws is that of the 1st and the 9th."""
    random = np.random.default_rng(0)
    data = SequenceDataset(torch.full((4000, 1), torch.nan), [4000], kind="real")
    rows = np.arange(4000)
    made = Imputation.of(data, random.normal(size=(9, 4000)), rows, 0 * rows, "normal")
    low, high = made.interval(0.8)
    assert np.array_equal(low[:, 0], made.draws.min(0)) and np.array_equal(high[:, 0], made.draws.max(0))
    hidden = rv.data.HeldOut(rows, 0 * rows, random.normal(size=4000), (4000, 1), 1.0)
    found = rv.tasks.imputation_scores(made, hidden)
    assert found.pooled["coverage"] == pytest.approx(0.8, abs=4.5 * np.sqrt(0.16 / 4000))
    assert found.inside.mean() == ((hidden.values >= low[:, 0]) & (hidden.values <= high[:, 0])).mean()
    assert np.array_equal(made.interval(np.float32(0.8))[0], made.interval(float(np.float32(0.8)))[0])


def test_labels_and_controls_of_raw_numbers() -> None:
    x, u = torch.randn(8, 2), torch.randn(8, 3)
    x[2, 0] = torch.nan
    data = SequenceDataset(x, [5, 3], labels=[0, 1], controls=u)
    model = rv.VRNN.for_data(data, z_dim=2, h_dim=4, context=rv.Context.for_data(data))
    known = {"labels": [0, 1], "controls": [u[:5].numpy(), u[5:].numpy()]}
    assert np.array_equal(impute(model, [x[:5], x[5:]], 3, **known).draws, impute(model, data, 3).draws)
    with pytest.raises(ValueError, match="a data set holds its own controls and labels"):
        impute(model, data, 3, **known)


def test_results_as_json() -> None:
    data = gaps()
    for filling in (impute(LinearGaussian(), data, 3, sweeps=0), rv.tasks.fill(data)):
        json.dumps(filling.to_dict(), allow_nan=False)
    short, hidden = rv.data.hold_out(SequenceDataset(torch.randn(20, 1), [20]), 0.3)
    found = rv.tasks.imputation_scores(rv.tasks.fill(short), hidden).to_dict()
    assert json.loads(json.dumps(found, allow_nan=False))["pooled"]["coverage"] is None


def test_the_default_sweeps_forget_where_they_began() -> None:
    """The chain's mean is the joint Gaussian's within its error; 10 sweeps leave it a twentieth of a deviation off."""
    x = gaps().values[:LENGTH]
    data, (mean, cov) = SequenceDataset(x, [LENGTH]), given_the_rest(x[:, 0])
    found = impute(LinearGaussian(), data, 1500)
    z = (found.draws.mean(0) - mean.numpy()) / cov.diagonal().sqrt().numpy() * np.sqrt(1500)
    assert np.sqrt(np.square(z).mean()) < 1.75
