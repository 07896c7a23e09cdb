"""The scikit-learn transformer."""

from __future__ import annotations

import builtins
import collections
import pickle
import sys
import warnings
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import zoo

import pyro_rvae as rv

sklearn = pytest.importorskip("sklearn")

from sklearn.base import clone  # noqa: E402
from sklearn.cluster import KMeans  # noqa: E402
from sklearn.exceptions import NotFittedError  # noqa: E402
from sklearn.linear_model import LogisticRegression, Ridge  # noqa: E402
from sklearn.model_selection import GridSearchCV  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402
from sklearn.utils.estimator_checks import check_estimator  # noqa: E402

from pyro_rvae.tasks import Embedder, embed  # noqa: E402

TINY: dict[str, Any] = {"z_dim": 2, "parts": {"h_dim": 4}, "epochs": 1, "num_particles": 2, "batch_size": 40}


def waves(number: int = 24, seed: int = 0) -> tuple[list[np.ndarray], np.ndarray]:
    """Two kinds of ragged series of two features, in units of their own: which rises first is the label."""
    random = np.random.default_rng(seed)
    labels = np.arange(number) % 2
    x = [np.stack([np.sin(t), np.sin(t + 3 * label)], -1) * [100, 0.1] + [500, 1]
         for label, n in zip(labels, random.integers(5, 9, number), strict=True) for t in [np.arange(n) / 2]]
    return [one + random.normal(size=one.shape) * [5, 0.005] for one in x], labels


# ------------------------------------------------------------------------------------------ check_estimator
def checked(estimator: Any) -> dict[str, str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they are of the checks' own making
        found = check_estimator(estimator, on_fail=None)
    return {result["check_name"]: result["status"] for result in found}


def test_check_estimator() -> None:
    found = checked(Embedder(**TINY))
    counts = collections.Counter(found.values())
    assert set(counts) <= {"passed", "skipped"}, {name: status for name, status in found.items() if status == "failed"}
    assert counts["passed"] >= 40
    assert {name for name, status in found.items() if status == "skipped"} <= {"check_array_api_input"}


def test_check_estimator_in_single_precision() -> None:
    """Rows in another batch differ by rounding, 1e-7 of their size; that check wants less."""
    torch.set_default_dtype(torch.float32)
    failed = {name for name, status in checked(Embedder(**TINY)).items() if status == "failed"}
    assert failed <= {"check_methods_subset_invariance", "check_methods_sample_order_invariance"}


# ------------------------------------------------------------------------------------------ in scikit-learn's hands
def test_it_classifies_in_a_pipeline() -> None:
    x, labels = waves()
    parts = {"h_dim": 8, "feedback": partial(rv.FrameDropout, p=1.0)}  # z says all
    settings = TINY | {"parts": parts, "epochs": 60, "lr": 0.01, "batch_size": 8, "kl_weight": 0.1}
    pipeline = make_pipeline(Embedder(**settings), StandardScaler(), LogisticRegression())
    assert pipeline.fit(x, labels).score(*waves(seed=1)) > 0.9
    assert pipeline[:-1].transform(x).shape == (24, 2)
    assert pipeline[:-1].get_feature_names_out().tolist() == ["z_0", "z_1"]


def test_regression_clustering_and_search() -> None:
    x, labels = waves(12)
    long = [len(one) for one in x]
    assert make_pipeline(Embedder(**TINY), Ridge()).fit(x, long).predict(x).shape == (12,)
    groups = make_pipeline(Embedder(**TINY), KMeans(2, n_init=1, random_state=0)).fit_predict(x)
    assert groups.shape == (12,)
    search = GridSearchCV(Embedder(**TINY), {"z_dim": [1, 2]}, cv=2).fit(x)
    assert search.best_params_["z_dim"] in (1, 2) and np.isfinite(search.best_score_)
    both = make_pipeline(Embedder(**TINY), LogisticRegression())
    assert GridSearchCV(both, {"embedder__z_dim": [1, 2]}, cv=2).fit(x, labels).predict(x).shape == (12,)


def test_parameters_and_copies() -> None:
    made = Embedder(rv.DMM, **TINY)
    again = clone(made.set_params(pool="last", lr=0.1))
    assert again.get_params()["model"] is rv.DMM and again.pool == "last" and again.lr == 0.1
    x, _ = waves(6)
    state = torch.get_rng_state()
    one, two = (Embedder(**TINY).fit_transform(x) for _ in (0, 1))
    assert np.array_equal(one, two) and torch.equal(torch.get_rng_state(), state), "a function of random_state alone"
    other = Embedder(**TINY, random_state=1).fit_transform(x)
    drawn = Embedder(**TINY, random_state=np.random.RandomState(0)).fit_transform(x)
    assert not np.allclose(one, other) and not np.allclose(one, drawn - 1)
    fitted = Embedder(**TINY).fit(x)
    assert np.allclose(pickle.loads(pickle.dumps(fitted)).transform(x), one)


# ------------------------------------------------------------------------------------------ what X may be
def test_kinds_of_input() -> None:
    x, _ = waves(8)
    cube = np.stack([one[:5] for one in x])
    with_gaps = cube.copy()
    with_gaps[0, 1, 0] = np.nan
    for X, features, model in ((x, 2, rv.VRAE), (cube, 2, rv.VRAE), (torch.from_numpy(cube), 2, rv.VRAE),
                               (with_gaps, 2, rv.VRAE), (cube[..., 0], 5, rv.VAE),
                               ([one[:, 0] for one in x], 1, rv.VRAE),
                               (rv.data.SequenceDataset.from_sequences(x), 2, rv.VRAE)):
        made = Embedder(**TINY).fit(X)
        assert made.n_features_in_ == features and type(made.model_) is model and len(made.history_) == 1
        vectors = made.transform(X)
        assert vectors.shape == (8, 2) and vectors.dtype == np.float64 and np.isfinite(vectors).all()
        assert np.isfinite(made.score(X))
    series = Embedder(rv.VRAE, **TINY).fit(cube[..., 0])
    assert series.n_features_in_ == 5 and series.model_.x_dim == 1, "rows of a sequence model are series"
    assert np.allclose(series.transform(cube[..., 0]), embed(series.model_, cube[..., :1]).values)
    codes = np.array([[[0.0], [1], [2]], [[2], [np.nan], [1]]])
    made = Embedder(kind="categories", classes=3, **TINY).fit(codes)
    assert made.model_.reader.classes == 3 and made.transform(codes).shape == (2, 2)


def test_other_features_are_refused() -> None:
    x, _ = waves(6)
    made = Embedder(**TINY).fit(x)
    with pytest.raises(ValueError, match="x_dim=2, the data set has 1 features"):
        made.transform([one[:, :1] for one in x])
    rows = Embedder(**TINY).fit(np.zeros((5, 3)))
    with pytest.raises(ValueError, match="X has 2 features, but Embedder is expecting 3"):
        rows.transform(np.zeros((5, 2)))
    with pytest.raises(ValueError, match="whole numbers, the codes"):
        Embedder(kind="categories", classes=3, **TINY).fit(np.full((2, 3, 1), 0.5))
    with pytest.raises(TypeError, match="model must be a class of models such as rv.VRAE.*got 'VRAE'"):
        Embedder("VRAE", **TINY).fit(x)
    for call in ("transform", "score", "inverse_transform"):
        with pytest.raises(NotFittedError, match="not fitted yet"):
            getattr(Embedder(), call)(x)


# ------------------------------------------------------------------------------------------ scores and decoding
def test_the_score_is_the_bound_in_raw_units() -> None:
    x, _ = waves(6)
    made = Embedder(**TINY).fit(x)
    scaled = rv.data.SequenceDataset.from_sequences(x).transformed(made.model_.transform)
    found = rv.evaluate(made.model_, scaled, num_particles=2)
    frames, volume = sum(map(len, x)), float(made.model_.transform.scale.log().sum())
    assert made.score(x) == pytest.approx((-found.iwae * frames - frames * volume) / 6)
    raw = Embedder(standardize=False, **TINY).fit(x)
    assert raw.model_.transform is None
    gaps = [one.copy() for one in x]
    gaps[0][2, 0] = np.nan
    less = float(made.model_.transform.scale[0].log())
    scaled = rv.data.SequenceDataset.from_sequences(gaps).transformed(made.model_.transform)
    found = rv.evaluate(made.model_, scaled, num_particles=2)
    assert made.score(gaps) == pytest.approx((-found.iwae * frames - frames * volume + less) / 6)
    code = Embedder(rv.RAE, **TINY).fit(x)
    scaled = rv.data.SequenceDataset.from_sequences(x).transformed(code.model_.transform)
    cost = rv.evaluate(code.model_, scaled, num_particles=2).reconstruction
    assert code.score(x) == pytest.approx((-cost * frames - frames * volume) / 6)


def test_rows_are_decoded() -> None:
    x = np.random.default_rng(0).normal(size=(7, 3)) * 10 + 100
    made = Embedder(**TINY).fit(x)
    z = made.transform(x)
    with torch.no_grad():
        wanted = made.model_.transform.inverse(made.model_.likelihood(torch.from_numpy(z)).mean)
    assert np.allclose(made.inverse_transform(z), wanted)
    with pytest.raises(ValueError, match="Z must have 2 columns, as transform gives them, got 3"):
        made.inverse_transform(x)
    with pytest.raises(ValueError, match="lengths are frames of sequences"):
        made.inverse_transform(z, 3)


def test_sequences_are_decoded() -> None:
    x, _ = waves(5)
    blind = {"h_dim": 4, "feedback": partial(rv.FrameDropout, p=1.0)}
    made = Embedder(**TINY | {"parts": blind}).fit(x)
    z = made.transform(x)
    typical = int(np.median([len(one) for one in x]))
    found = made.inverse_transform(z)
    assert found.shape == (5, typical, 2)
    ragged = made.inverse_transform(z, [3, 1, 2, 4, 9])
    assert [one.shape for one in ragged] == [(3, 2), (1, 2), (2, 2), (4, 2), (9, 2)]
    assert np.allclose(ragged[4][:typical], found[4]) and np.allclose(made.inverse_transform(z, 3)[0], ragged[0])
    assert abs(found[..., 0].mean() - 500) < 100, "in the units of x"
    series = np.stack([one[:5, 0] for one in x])
    assert Embedder(rv.VRAE, **TINY).fit(series).inverse_transform(z).shape == (5, 5), "a row is a series again"
    with pytest.raises(ValueError, match="lengths must be whole numbers of at least 1"):
        made.inverse_transform(z, [1, 2])
    with pytest.raises(ValueError, match="STORN draws z by step, and a pooled path can't be undone"):
        Embedder(rv.STORN, **TINY).fit(x).inverse_transform(z)


# ------------------------------------------------------------------------------------------ a trained model
def test_a_trained_model_needs_no_fit() -> None:
    case = zoo.ZOO["slow-clock"]
    model, x = case.make(), case.x().numpy()
    made = Embedder.from_model(model, pool="both", num_particles=3)
    vectors = made.transform(x)
    assert np.allclose(vectors, embed(model, x, pool="both", num_particles=3).values)
    names = made.get_feature_names_out()
    assert names.tolist() == list(embed(model, x, pool="both").names) and vectors.shape[1] == len(names)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    piped = make_pipeline(made, LogisticRegression()).fit(x, [0, 1, 0, 1])
    assert piped.predict(x).shape == (4,)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items()), "it was not trained"
    assert np.allclose(clone(made).transform(x), vectors)
    with pytest.raises(TypeError, match="takes a trained model, got <class.*give a class as Embedder"):
        Embedder.from_model(rv.VRAE)


# ------------------------------------------------------------------------------------------ without scikit-learn
def test_it_is_optional(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Embedder" in dir(rv.tasks)
    with pytest.raises(AttributeError, match="has no attribute 'Embeder'"):
        _ = rv.tasks.Embeder
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.partition(".")[0] == "sklearn":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.delitem(sys.modules, "pyro_rvae.tasks.embedder")
    with pytest.raises(ImportError, match=r'needs scikit-learn.*pip install "pyro-rvae\[sklearn\]"'):
        _ = rv.tasks.Embedder


# ------------------------------------------------------------------------------------------ what X is
def test_a_model_of_sequences_reads_sequences() -> None:
    """Arrays (T,) in a list are series to it, of one length or several, in training and afterwards."""
    random = np.random.default_rng(0)
    equal, ragged = [random.normal(size=4) for _ in range(6)], [random.normal(size=n) for n in (3, 4, 5, 4, 4, 3)]
    for model, x in ((rv.VRAE, equal), (rv.VRAE, ragged), (None, ragged)):
        found = Embedder(model, **TINY).fit(x)
        assert isinstance(found.model_, rv.VRAE) and found.n_features_in_ == 1
        one = found.transform([ragged[1]])
        assert found.transform(ragged).shape == (6, 2)
        for same in (ragged[1:2], [ragged[1][:, None]], ragged[1][None], [torch.from_numpy(ragged[1])]):
            assert np.allclose(found.transform(same), one)
    rows = Embedder(**TINY).fit(equal)
    assert rows.model_.static and rows.n_features_in_ == 4 and rows.fit(ragged).n_features_in_ == 1
    two = Embedder(**TINY).fit([np.stack([x, x], -1) for x in ragged])
    with pytest.raises(ValueError, match=r"fitted on sequences of 2 features, and X are rows .* \(T_i, 2\)"):
        two.transform(np.zeros((3, 4)))


def test_data_frames_are_read_by_their_names() -> None:
    pandas = pytest.importorskip("pandas")
    x, _ = waves(6)
    frames = [pandas.DataFrame(one, columns=["a", "b"]) for one in x]
    found = Embedder(**TINY).fit(frames)
    assert found.model_.data_card.names == ("a", "b")
    assert np.allclose(found.transform([frame[["b", "a"]] for frame in frames]), Embedder(**TINY).fit(x).transform(x))
    with pytest.raises(ValueError, match=r"lacks \['b'\] and has \['c'\]"):
        found.transform([frames[0].rename(columns={"b": "c"})])


@pytest.mark.parametrize("X", [[], (), None])
def test_nothing_to_fit(X: Any) -> None:
    with pytest.raises(ValueError, match="Embedder: X must hold at least one sequence or row"):
        Embedder().fit(X)


def test_parts_that_are_no_mapping() -> None:
    with pytest.raises(TypeError, match="Embedder: parts must be a mapping"):
        Embedder(parts=[1]).fit(waves(4)[0])  # type: ignore[arg-type]
