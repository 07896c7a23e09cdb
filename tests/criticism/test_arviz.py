from __future__ import annotations

import sys

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

import pyro_rvae as rv
from pyro_rvae.criticism import (
    _arviz,
    free_running,
    from_netcdf,
    one_step,
    predictive_check,
    to_arviz,
    to_netcdf,
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


def test_groups_dimensions_and_padding(labelled):
    model = rv.VRNN.for_data(labelled, z_dim=3, h_dim=4)
    result = to_arviz(model, labelled, 4, batch_size=2, max_bytes=3000)
    groups = _arviz.groups_of(result)
    assert set(groups) == {
        "posterior",
        "posterior_predictive",
        "log_likelihood",
        "sample_stats",
        "observed_data",
        "constant_data",
    }
    sizes = {"chain": 1, "draw": 4, "sequence": 3, "time": 5}
    assert groups["posterior"].z.sizes == sizes | {"z_dim": 3}
    assert groups["posterior_predictive"].x.sizes == sizes | {"feature": 2}
    assert groups["sample_stats"].log_weight.dims == ("chain", "draw", "sequence")
    mask = groups["constant_data"].mask
    assert mask.sum("time").values.tolist() == groups["constant_data"].lengths.values.tolist() == [4, 2, 5]
    for name, group in (("z", "posterior"), ("x", "posterior_predictive"), ("x", "observed_data")):
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


def test_they_are_marked_as_variational(rolls):
    model = rv.RVAE.for_data(rolls.train, z_dim=2, h_dim=4)
    result = to_arviz(model, rolls.test, 2, predictive=one_step)
    groups = _arviz.groups_of(result)
    for attrs in (result.attrs, *(group.attrs for group in groups.values())):
        assert (
            attrs["inference_library"] == "pyro_rvae"
            and attrs["draws"] == "variational"
            and attrs["model"] == "RVAE"
        )
    assert groups["posterior_predictive"].attrs["drawn_by"] == "one_step"
    assert len(pyro.get_param_store()) == 0


def test_the_draws_of_a_check_are_taken(rolls):
    model = rv.VRNN.for_data(rolls.train, z_dim=2, h_dim=4)
    check = predictive_check(model, rolls.test, {"one": np.sum}, num=3)
    x = _arviz.groups_of(to_arviz(model, rolls.test, 2, replicates=check.replicates))[
        "posterior_predictive"
    ].x
    assert np.array_equal(x.values[0, 1, 0, :5], check.replicates.sequences(1)[0])
    with pytest.raises(ValueError, match="4 draws need as many replicates, got 3"):
        to_arviz(model, rolls.test, 4, replicates=check.replicates)
    with pytest.raises(ValueError, match="replicates must be of this data set"):
        to_arviz(model, rolls.train, 2, replicates=check.replicates)


def test_once_a_sequence_once_a_data_set_and_static():
    data = rv.data.SequenceDataset((torch.rand(9, 3) < 0.5).double(), [4, 5])
    z = _arviz.groups_of(to_arviz(rv.VRAE.for_data(data, z_dim=2, h_dim=4), data, 3))["posterior"].z
    assert z.sizes == {"chain": 1, "draw": 3, "sequence": 2, "z_dim": 2}
    rows = rv.data.StaticDataset(data.values)
    groups = _arviz.groups_of(to_arviz(rv.VAE.for_data(rows, z_dim=2, h_dim=4), rows, 3))
    assert groups["posterior_predictive"].x.sizes == {"chain": 1, "draw": 3, "sequence": 9, "feature": 3}
    assert "constant_data" not in groups

    class Shared(rv.RVAE):
        def shared(self):
            pyro.sample("scale", dist.Gamma(2.0, 1.0))

    posterior = _arviz.groups_of(to_arviz(Shared.for_data(data, z_dim=2, h_dim=4), data, 3, batch_size=1))[
        "posterior"
    ]
    assert posterior.scale.sizes == {"chain": 1, "draw": 3} and posterior.scale.notnull().all()


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


def test_round_trip_through_netcdf(labelled, tmp_path):
    result = to_arviz(rv.VRNN.for_data(labelled, z_dim=3, h_dim=4), labelled, 2)
    to_netcdf(result, tmp_path / "draws.nc")
    back = from_netcdf(tmp_path / "draws.nc")
    assert type(back) is type(result) and dict(back.attrs) == dict(result.attrs)
    written, read = _arviz.groups_of(result), _arviz.groups_of(back)
    assert written.keys() == read.keys()
    for name in written:
        assert written[name].equals(read[name]), name
        assert written[name].attrs == read[name].attrs
    assert [p.name for p in tmp_path.iterdir()] == ["draws.nc"]


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


@pytest.mark.parametrize("version", ["0.11.4", "2.0.0"])
def test_an_arviz_outside_the_supported_lines(version, rolls, monkeypatch):
    monkeypatch.setattr(
        sys.modules["arviz"] if "arviz" in sys.modules else _arviz._arviz()[0], "__version__", version
    )
    with pytest.raises(RuntimeError, match=f"0.20 to 0.23 and 1.x, found {version}"):
        to_arviz(rv.VRNN.for_data(rolls.train, z_dim=2, h_dim=4), rolls.test, 1)
