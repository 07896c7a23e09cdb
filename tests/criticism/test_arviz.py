from __future__ import annotations

import sys
import tracemalloc
import warnings

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

import pyro_rvae as rv
from pyro_rvae.criticism import (
    Pair,
    _arviz,
    free_running,
    from_netcdf,
    one_step,
    pareto_k,
    predictive_check,
    reconstructed,
    to_arviz,
    to_netcdf,
    without_padding,
)


@pytest.fixture
def labelled():
    torch.manual_seed(2)
    lengths = [4, 2, 5]
    return rv.data.SequenceDataset(
        torch.randn(11, 2),
        lengths,
        labels=torch.tensor([0, 1, 1]),
        controls=torch.randn(11, 3),
        names=["a", "b"],
        ids=["one", "two", "three"],
    )


@pytest.mark.parametrize("max_bytes", [3000, 2**28])
def test_groups_dimensions_and_padding(labelled, max_bytes):
    model = rv.VRNN.for_data(labelled, z_dim=3, h_dim=4)
    result = to_arviz(model, labelled, 4, batch_size=2, max_bytes=max_bytes)
    groups = _arviz.groups_of(result)
    assert set(groups) == {
        "posterior",
        "posterior_predictive",
        "prior",
        "prior_predictive",
        "log_likelihood",
        "sample_stats",
        "observed_data",
        "constant_data",
    }
    sizes = {"chain": 1, "draw": 4, "sequence": 3, "time": 5}
    for kind in ("posterior", "prior"):
        assert groups[kind].z.sizes == sizes | {"z_dim": 3}
        assert groups[f"{kind}_predictive"].x.sizes == sizes | {"feature": 2}
    assert groups["sample_stats"].log_weight.dims == ("chain", "draw", "sequence")
    mask = groups["constant_data"].mask
    assert mask.sum("time").values.tolist() == groups["constant_data"].lengths.values.tolist() == [4, 2, 5]
    for name, group in (("z", "posterior"), ("x", "posterior_predictive"), ("x", "observed_data"), ("z", "prior"),
                        ("x", "prior_predictive")):
        values = groups[group][name]
        known = values.notnull().all([d for d in values.dims if d not in ("sequence", "time")])
        assert (known == mask).all()
    observed = groups["observed_data"].x
    assert observed.feature.values.tolist() == ["a", "b"] and observed.sequence.values.tolist()[2] == "three"
    assert np.allclose(observed.sel(sequence="two").values[:2], labelled[1])
    assert groups["constant_data"].controls.sizes == {"sequence": 3, "time": 5, "control": 3}
    assert groups["constant_data"].labels.values.tolist() == [0, 1, 1]


def test_densities_are_those_of_the_bound(gaussian):
    groups = _arviz.groups_of(to_arviz(gaussian.Model(), gaussian.data, 3))
    weights = groups["sample_stats"].log_weight.values[0]
    assert np.allclose(weights, gaussian.evidence[None], atol=1e-8)
    z, x = groups["posterior"].z, groups["observed_data"].x
    x, z = (torch.tensor(values.fillna(0.0).values) for values in (x, z))
    mask = torch.tensor(groups["constant_data"].mask.values)
    by_hand = (dist.Normal(z, 0.3**0.5).log_prob(x).sum(-1) * mask).sum(-1)
    assert np.allclose(groups["log_likelihood"].x, by_hand, atol=1e-8)


def test_predictive_draws_are_of_the_latents_beside_them(gaussian):
    groups = _arviz.groups_of(to_arviz(gaussian.Model(), gaussian.data, 400, max_bytes=20_000))
    for kind in ("posterior", "prior"):  # x_t ~ N(z_t, 0.3)
        residual = (groups[f"{kind}_predictive"].x.values - groups[kind].z.values)[~np.isnan(groups[kind].z.values)]
        assert residual.std() == pytest.approx(0.3**0.5, rel=0.05) and abs(residual.mean()) < 0.05
    first = groups["prior"].z.values[0, :, :, 0]  # z_1 ~ N(0, 0.5), not of the data
    assert first.std() == pytest.approx(0.5**0.5, rel=0.06)
    assert not np.allclose(groups["posterior"].z.values[0, :, :, 0].std(), 0.5**0.5, rtol=0.2)


def test_x_is_in_raw_units():
    raw = rv.data.SequenceDataset(1000 + torch.randn(9, 1), [5, 4])
    data = rv.data.Splits(raw, raw, raw).standardize().test
    groups = _arviz.groups_of(to_arviz(rv.VRNN.for_data(data, z_dim=2, h_dim=4), data, 3))
    assert np.allclose(groups["observed_data"].x.values[0, :, 0], raw[0][:, 0])
    for name in ("posterior_predictive", "prior_predictive"):
        assert abs(float(groups[name].x.mean()) - 1000) < 5


def test_predictive_draws_are_those_of_their_functions(rolls):
    model = rv.VRNN.for_data(rolls.train, z_dim=2, h_dim=4)
    groups = _arviz.groups_of(to_arviz(model, rolls.test, 3, seed=5))
    for group, draws in (("prior_predictive", free_running(model, rolls.test, 3, seed=5)),
                         ("posterior_predictive", reconstructed(model, rolls.test, 3, seed=5))):
        assert groups[group].attrs["drawn_by"] == draws.drawn_by
        x = groups[group].x.values[0]
        if draws.drawn_by == "free_running":
            assert np.array_equal(x[2, 1, :3], draws.sequences(2)[1])
        assert abs(np.nanmean(x) - draws.values.mean()) < 0.2


def test_statistics_of_the_weights(gaussian):
    model = gaussian.Model(spread=1.3)
    stats = _arviz.groups_of(to_arviz(model, gaussian.data, 40))["sample_stats"]
    weights = stats.log_weight.values[0].T
    assert np.allclose(weights, (stats.log_p - stats.log_q).values[0].T)
    assert np.allclose(weights, rv.evaluate(model, gaussian.data, num_particles=40).log_weights)
    assert stats.pareto_k.dims == ("sequence",)
    assert np.allclose(stats.pareto_k, pareto_k(weights), equal_nan=True) and np.isfinite(stats.pareto_k).all()


def test_they_are_marked_as_variational(rolls):
    model = rv.RVAE.for_data(rolls.train, z_dim=2, h_dim=4)
    result = to_arviz(model, rolls.test, 2, replicates=one_step(model, rolls.test, 2))
    groups = _arviz.groups_of(result)
    for attrs in (result.attrs, *(group.attrs for group in groups.values())):
        assert (
            attrs["inference_library"] == "pyro_rvae"
            and attrs["draws"] == "variational"
            and attrs["model"] == "RVAE"
        )
    assert groups["posterior_predictive"].attrs["drawn_by"] == "one_step"
    assert groups["prior_predictive"].attrs["drawn_by"] == "free_running"
    assert len(pyro.get_param_store()) == 0


def test_the_draws_of_a_check_are_taken(rolls):
    model = rv.VRNN.for_data(rolls.train, z_dim=2, h_dim=4)
    check = predictive_check(model, rolls.test, {"one": np.sum}, num=3)
    ahead = one_step(model, rolls.test, 2)
    groups = _arviz.groups_of(to_arviz(model, rolls.test, 2, replicates=[check.replicates, ahead]))
    assert np.array_equal(groups["prior_predictive"].x.values[0, 1, 0, :5], check.replicates.sequences(1)[0])
    assert np.array_equal(groups["posterior_predictive"].x.values[0, 1, 0, :5], ahead.sequences(1)[0])
    with pytest.raises(ValueError, match="4 draws need as many replicates, got 3"):
        to_arviz(model, rolls.test, 4, replicates=check.replicates)
    with pytest.raises(ValueError, match="replicates must be of this data set"):
        to_arviz(model, rolls.train, 2, replicates=check.replicates)
    with pytest.raises(ValueError, match="one_step and reconstructed are both the posterior_predictive: give one"):
        to_arviz(model, rolls.test, 2, replicates=[ahead, reconstructed(model, rolls.test, 2)])


def test_some_groups_only(rolls):
    model = rv.VRNN.for_data(rolls.train, z_dim=2, h_dim=4)
    assert set(_arviz.groups_of(to_arviz(model, rolls.test, 2, groups=["prior"]))) == {"prior"}
    found = _arviz.groups_of(to_arviz(model, rolls.test, 2, groups=("posterior", "observed_data")))
    assert set(found) == {"posterior", "observed_data"}
    with pytest.raises(ValueError, match=r"groups must be some of posterior, .*; got \['priors'\]"):
        to_arviz(model, rolls.test, 2, groups=["priors"])


def images(x):
    with pyro.plate("batch", len(x)):
        pyro.sample("x", dist.Normal(torch.zeros(len(x), 2, 3), 1.0).to_event(2), obs=x)


def test_once_a_sequence_once_a_data_set_and_static():
    data = rv.data.SequenceDataset((torch.rand(9, 3) < 0.5).double(), [4, 5])
    z = _arviz.groups_of(to_arviz(rv.VRAE.for_data(data, z_dim=2, h_dim=4), data, 3))["posterior"].z
    assert z.sizes == {"chain": 1, "draw": 3, "sequence": 2, "z_dim": 2}
    rows = rv.data.StaticDataset(data.values)
    groups = _arviz.groups_of(to_arviz(rv.VAE.for_data(rows, z_dim=2, h_dim=4), rows, 3))
    assert groups["posterior_predictive"].x.sizes == {"chain": 1, "draw": 3, "sequence": 9, "feature": 3}
    assert "constant_data" not in groups
    grid = rv.data.StaticDataset(torch.rand(5, 2, 3), names=["a", "b", "c"])
    groups = _arviz.groups_of(to_arviz(Pair(images, lambda x: None, static=True), grid, 2))
    assert groups["posterior_predictive"].x.sizes == {"chain": 1, "draw": 2, "sequence": 5, "x_dim_0": 2, "feature": 3}
    assert np.array_equal(groups["observed_data"].x.sel(feature="b"), grid.values[..., 1])

    class Shared(rv.RVAE):
        def shared(self):
            pyro.sample("scale", dist.Gamma(2.0, 1.0))

    posterior = _arviz.groups_of(to_arviz(Shared.for_data(data, z_dim=2, h_dim=4), data, 3, batch_size=1))[
        "posterior"
    ]
    assert posterior.scale.sizes == {"chain": 1, "draw": 3} and posterior.scale.notnull().all()


def test_the_prior_group_has_draws_of_the_prior_of_what_is_shared():
    class Shared(rv.SequenceVAE):
        static = True

        def __init__(self):
            super().__init__()
            self.shared_posterior = self.learned

        def shared(self):
            pyro.sample("s", dist.Normal(9.0, 0.1))
            pyro.sample("k", dist.Categorical(torch.tensor([0.0, 0.0, 1.0])))

        def learned(self):
            pyro.sample("s", dist.Normal(-9.0, 0.1))
            pyro.sample("k", dist.Categorical(torch.tensor([0.0, 1.0, 0.0])))

        def generative(self, steps):
            steps.observe("x", lambda s: dist.Normal(s, 0.1).to_event(1), steps.shared["s"])

        def inference(self, steps, x):
            pass

    rows, ours = rv.data.StaticDataset(torch.randn(3, 1)), Shared()
    for model in (ours, Pair(ours.model, ours.guide, static=True)):
        groups = _arviz.groups_of(to_arviz(model, rows, 40, batch_size=2, max_bytes=200))
        for group, s, k in (("prior", 9, 2), ("posterior", -9, 1)):
            assert groups[group].s.sizes == groups[group].k.sizes == {"chain": 1, "draw": 40}
            assert np.allclose(groups[group].s, s, atol=0.5) and len(np.unique(groups[group].s)) == 40
            assert (groups[group].k == k).all()
        assert np.allclose(groups["prior_predictive"].x, -9, atol=1)  # of a trained model


def test_a_slower_clock_has_its_own_time():
    class Slow(rv.SequenceVAE):
        def generative(self, steps):
            for t in steps.every(2):
                t.sample("u", lambda: dist.Normal(torch.zeros(1), 1.0).to_event(1))
            u = steps.every(2).path("u")
            for t in steps:
                t.sample("x", lambda u: dist.Normal(u, 1.0).to_event(1), t.at(u))

        def inference(self, steps, x):
            for t in steps.every(2):
                t.sample("u", lambda x: dist.Normal(x, 1.0).to_event(1), t.at(x))

    data = rv.data.SequenceDataset(torch.randn(8, 1), [5, 3])
    u = _arviz.groups_of(to_arviz(Slow(), data, 2, batch_size=1))["posterior"].u
    assert u.sizes == {"chain": 1, "draw": 2, "sequence": 2, "u_time": 3, "u_dim": 1}
    assert u.notnull().sum("u_time").values[0, 0, :, 0].tolist() == [3, 2]


def test_codes_stay_integers_unless_something_is_missing():
    codes = torch.randint(0, 3, (6, 1))
    for lengths, gap, kind in (([3, 3], False, "i"), ([4, 2], False, "f"), ([3, 3], True, "f")):
        values = codes.clone()
        values[1] = -1 if gap else values[1]
        data = rv.data.SequenceDataset(values, lengths, kind="categories", classes=3)
        groups = _arviz.groups_of(to_arviz(rv.VRNN.for_data(data, z_dim=2, h_dim=4), data, 2))
        assert groups["observed_data"].x.dtype.kind == kind
        assert np.isnan(groups["observed_data"].x.values).sum() == gap + (8 - 6) * (lengths[0] == 4)
        assert groups["prior_predictive"].x.dtype.kind == ("f" if lengths[0] == 4 else "i")


def test_times_are_coordinates():
    values = torch.randn(7, 1)
    shared = rv.data.SequenceDataset(values, [4, 3], times=[0.0, 0.5, 2.0, 3.0, 0.0, 0.5, 2.0])
    model = rv.VRNN.for_data(shared, z_dim=2, h_dim=4)
    groups = _arviz.groups_of(to_arviz(model, shared, 2))
    assert groups["posterior"].time.values.tolist() == [0.0, 0.5, 2.0, 3.0]
    own = rv.data.SequenceDataset(values, [4, 3], times=[0.0, 0.5, 2.0, 3.0, 1.0, 5.0, 9.0])
    result = to_arviz(model, own, 2)
    x = _arviz.groups_of(result)["observed_data"].x
    assert x.timestamp.dims == ("sequence", "time") and x.timestamp.values[1, :3].tolist() == [1.0, 5.0, 9.0]
    flat = _arviz.groups_of(without_padding(result))["observed_data"].x
    assert flat.at_timestamp.values.tolist() == [0.0, 0.5, 2.0, 3.0, 1.0, 5.0, 9.0]


def test_no_more_memory_than_the_result_and_a_chunk():
    data = rv.data.SequenceDataset(torch.randn(4000, 10), [400] * 10)
    model = rv.RVAE.for_data(data, z_dim=2, h_dim=4)
    to_arviz(model, data.subset([0]), 1)
    tracemalloc.start()  # NumPy's arrays: torch's own memory isn't counted, and holds one chunk
    result = to_arviz(model, data, 20, max_bytes=2**22)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    size = sum(group.nbytes for group in _arviz.groups_of(result).values())
    assert 5e6 < size < peak < 1.1 * size


# ------------------------------------------------------------------------------- without padding
def test_without_padding(labelled):
    result = to_arviz(rv.VRNN.for_data(labelled, z_dim=3, h_dim=4), labelled, 2)
    whole, flat = _arviz.groups_of(result), _arviz.groups_of(without_padding(result))
    assert flat["posterior"].z.sizes == {"chain": 1, "draw": 2, "frame": 11, "z_dim": 3}
    assert np.array_equal(flat["observed_data"].x, labelled.values)
    assert flat["observed_data"].x.of_sequence.values.tolist() == ["one"] * 4 + ["two"] * 2 + ["three"] * 5
    assert flat["observed_data"].x.at_time.values.tolist() == [0, 1, 2, 3, 0, 1, 0, 1, 2, 3, 4]
    assert np.array_equal(flat["prior"].z.values[0, 1, 4:6], whole["prior"].z.values[0, 1, 1, :2])
    assert flat["log_likelihood"].equals(whole["log_likelihood"])
    long = _arviz.groups_of(without_padding(result, elements=True))
    assert np.array_equal(long["observed_data"].x, labelled.values.flatten())
    assert long["prior_predictive"].x.dims == ("chain", "draw", "element")


def test_without_padding_leaves_out_missing_elements():
    values = torch.randn(6, 2)
    values[1, 0] = values[5] = torch.nan
    data = rv.data.SequenceDataset(values, [4, 2])
    flat = _arviz.groups_of(without_padding(to_arviz(rv.VRNN.for_data(data, z_dim=2, h_dim=4), data, 2)))
    assert np.array_equal(flat["observed_data"].x, values[~values.isnan()])
    assert flat["posterior_predictive"].x.sizes == {"chain": 1, "draw": 2, "element": 9}


@pytest.mark.parametrize("kind", ["real", "binary", "counts", "gaps", "static"])
def test_arviz_runs_on_it(kind):
    """A plain call of what a user would call first, on whichever line is installed."""
    pyplot = pytest.importorskip("matplotlib.pyplot")
    values = torch.randn(9, 2)
    values = {"binary": (values > 0).double(), "counts": torch.poisson(values.exp())}.get(kind, values)
    values[3, 0] = torch.nan if kind == "gaps" else values[3, 0]
    given = {"kind": kind} if kind in ("binary", "counts") else {}
    data = rv.data.StaticDataset(values) if kind == "static" else rv.data.SequenceDataset(values, [4, 2, 3], **given)
    model = (rv.VAE if kind == "static" else rv.VRNN).for_data(data, z_dim=1, h_dim=16)
    result = to_arviz(model, data, 40)
    flat, long = without_padding(result), without_padding(result, elements=True)
    arviz, major = _arviz._arviz()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ArviZ's own: of one chain, of Matplotlib's next version
        pyplot.switch_backend("agg")
        assert not arviz.summary(flat)["mean"].isna().any()
        loo = arviz.loo(result)
        assert np.isfinite(float(loo["elpd_loo"] if major == 0 else loo.elpd))
        if major == 0:
            plots = [arviz.plot_ppc(flat), arviz.plot_ppc(flat, group="prior"), arviz.plot_bpv(long)]
        else:
            names = ("plot_ppc_dist", "plot_ppc_tstat", "plot_ppc_pit", "plot_ppc_interval")
            names += ("plot_ppc_rootogram",) if kind == "counts" else ()
            plots = [getattr(arviz, name)(long, backend="matplotlib") for name in names]
            plots += [arviz.plot_ppc_dist(flat, group="prior_predictive", backend="matplotlib")]
        assert all(plot is not None for plot in plots)
        pyplot.close("all")


# ------------------------------------------------------------------------------- files
def test_round_trip_through_netcdf(labelled, tmp_path):
    result = to_arviz(rv.VRNN.for_data(labelled, z_dim=3, h_dim=4), labelled, 2)
    for name, made in (("draws", result), ("flat", without_padding(result))):
        to_netcdf(made, tmp_path / f"{name}.nc")
        back = from_netcdf(tmp_path / f"{name}.nc")
        assert type(back) is type(made) and dict(back.attrs) == dict(made.attrs)
        written, read = _arviz.groups_of(made), _arviz.groups_of(back)
        assert written.keys() == read.keys()
        for group in written:
            assert written[group].equals(read[group]), group
            assert written[group].attrs == read[group].attrs
    assert sorted(p.name for p in tmp_path.iterdir()) == ["draws.nc", "flat.nc"]
    flat = _arviz.groups_of(without_padding(from_netcdf(tmp_path / "draws.nc")))
    assert all(flat[name].equals(group) for name, group in read.items())


def test_arviz_itself_reads_the_file(labelled, tmp_path):
    arviz, _ = _arviz._arviz()
    to_netcdf(to_arviz(rv.VRNN.for_data(labelled, z_dim=3, h_dim=4), labelled, 2), tmp_path / "draws.nc")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        back = arviz.from_netcdf(tmp_path / "draws.nc", engine="h5netcdf")
    assert float(back["observed_data"]["x"].sel(sequence="two", feature="b")[0]) == float(labelled[1][0, 1])


def test_a_failed_write_leaves_what_was_there(labelled, tmp_path, monkeypatch):
    import xarray

    result = to_arviz(rv.VRNN.for_data(labelled, z_dim=3, h_dim=4), labelled, 1)
    path = tmp_path / "draws.nc"
    path.write_bytes(b"old")

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(xarray.Dataset, "to_netcdf", full)
    with pytest.raises(OSError, match="No space left"):
        to_netcdf(result, path)
    assert path.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


def test_refusals(rolls, tmp_path):
    model = rv.VRNN.for_data(rolls.train, z_dim=2, h_dim=4)
    with pytest.raises(ValueError, match="num_draws must be an integer of at least 1, got 0"):
        to_arviz(model, rolls.test, 0)
    with pytest.raises(TypeError, match="expected ArviZ's InferenceData or an xarray DataTree"):
        to_netcdf(free_running(model, rolls.test, 1), tmp_path / "x.nc")
    (tmp_path / "x.nc").write_bytes(b"no netCDF")
    with pytest.raises(ValueError, match="is no netCDF file that can be read"):
        from_netcdf(tmp_path / "x.nc")


def test_a_guide_without_a_models_latent(rolls):
    class Short(rv.VRNN):
        def inference(self, steps, x):
            pass

    model = Short.for_data(rolls.train, z_dim=2, h_dim=4)
    with pytest.raises(ValueError, match=r"Short must draw the same latents; only the model has \['z'\]"):
        to_arviz(model, rolls.test, 2)


def test_data_of_other_features(rolls):
    model = rv.VRNN.for_data(rolls.train, z_dim=2, h_dim=4)
    other = rv.data.SequenceDataset(torch.randn(5, 3), [3, 2], names=["a", "b", "c"])
    with pytest.raises(ValueError, match=r"built for frames of x_dim=4, the data set has 3 features \(a, b, c\)"):
        to_arviz(model, other, 2)
    with pytest.raises(TypeError, match="to_arviz needs one data set"):
        to_arviz(model, other.values, 2)


def test_a_pair_that_cant_generate_says_what_to_leave_out():
    def model(x):
        with pyro.plate("batch", len(x)):
            pyro.sample("x", dist.Normal(x.mean(-1, keepdim=True), 1.0).to_event(1), obs=x)

    rows = rv.data.StaticDataset(torch.randn(3, 1))
    pair = Pair(model, lambda x: None, static=True)
    with pytest.raises(ValueError, match=r"reads x elsewhere .* leave the prior out: to_arviz\(..., groups=\["):
        to_arviz(pair, rows, 2)
    assert "prior" not in _arviz.groups_of(to_arviz(pair, rows, 2, groups=["log_likelihood"]))


@pytest.mark.parametrize("version", ["0.11.4", "0.24.0", "2.0.0", "unknown", "1", ""])
def test_an_arviz_outside_the_supported_lines(version, rolls, monkeypatch):
    monkeypatch.setattr(
        sys.modules["arviz"] if "arviz" in sys.modules else _arviz._arviz()[0], "__version__", version
    )
    with pytest.raises(RuntimeError, match=f"0.20 to 0.23 and 1.x, found {version}"):
        to_arviz(rv.VRNN.for_data(rolls.train, z_dim=2, h_dim=4), rolls.test, 1)


@pytest.mark.parametrize("version", ["0.20.0", "0.23.4", "1.0.0", "1.0rc1", "1.12"])
def test_an_arviz_of_the_supported_lines(version):
    assert _arviz._line(version) == int(version[0])
