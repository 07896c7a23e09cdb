"""Between two sequences: against the arc and the equations, and over the zoo."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pytest
import torch
from lines import Line, again
from zoo import ZOO, Case
from zoo_data import data_of

import pyro_rvae as rv
from pyro_rvae.data import SequenceDataset
from pyro_rvae.tasks import interpolate, reconstruct
from pyro_rvae.tasks.interpolate import slerp
from pyro_rvae.tasks.points import resampled

NO_LATENT = ("deterministic", "deterministic-gaps", "deterministic-context")
NO_MEAN = ("autoregressive", "nade", "nade-previous")


def ends_of(case: Case, second: int = 1) -> tuple[Any, Any, dict[str, Any]]:
    """Two sequences of the zoo's data, and the controls of the longer one."""
    data = data_of(case)
    known = {"controls": data.padded([0]).controls[0]} if "controls" in case.known else {}
    return data.subset([0]), data.subset([second]), known


# ------------------------------------------------------------------------------------------ the zoo
@pytest.mark.parametrize("name", sorted(set(ZOO) - {"path-prior"}))
def test_over_the_zoo(name: str) -> None:
    """Each model interpolates, and the ends are the reconstructions of both; or it says why not."""
    case = ZOO[name]
    model, (first, second, known) = case.make(), ends_of(case)
    if name in NO_LATENT:
        with pytest.raises(ValueError, match="interpolate: DeterministicRNN draws no latent of a sequence"):
            interpolate(model, first, second, **known)
        return
    found = interpolate(model, first, second, 4, mean=name not in NO_MEAN, **known)
    lengths = [None] * 4 if case.static else [6, 5, 4, 3]
    for x, length in zip(found.sequences, lengths, strict=True):
        assert x.shape == ((length, first.x_dim) if length else tuple(first.event_shape))
        assert np.isfinite(x).all()
    if name not in NO_MEAN:
        for x, end in ((found.sequences[0], first), (found.sequences[-1], second)):
            if not known or end is first:  # the second end has controls of its own
                assert np.allclose(x, reconstruct(model, end, mean=True)[0])
        again = interpolate(model, first, second, 4, batch_size=1, **known).sequences
        assert all(np.allclose(x, y) for x, y in zip(found.sequences, again, strict=True))


def test_a_path_that_no_loop_samples() -> None:
    model, (first, second, _) = ZOO["path-prior"].make(), ends_of(ZOO["path-prior"])
    with pytest.raises(ValueError, match=r"site 'z' has shape \(3, 6\) for one.*isn't sampled in a loop over time"):
        interpolate(model, first, second)
    assert len(interpolate(model, first, first, 3)) == 3


def test_regimes() -> None:
    x, y = (torch.rand(6, 5) < 0.5).double(), (torch.rand(4, 5) < 0.5).double()
    with pytest.raises(ValueError, match=r"interpolate: the latents of NeuralHMM \(s\) are discrete, and nothing lies"):
        interpolate(rv.NeuralHMM(5, 3, 4), x, y)
    found = interpolate(rv.SwitchingLDS(5, 2, 4), x, y, 5)
    assert found.sites == {"z": "every frame", "s": "discrete, every frame"}
    assert all(set(np.unique(s)) <= {0.0, 1.0} and (s.sum(-1) == 1).all() for s in found.latents["s"])


# ------------------------------------------------------------------------------------------ the equations
@pytest.mark.parametrize("feedback", [0.0, 0.5])
@pytest.mark.parametrize("units", [False, True])
def test_points_are_those_of_the_equations(feedback: float, units: bool) -> None:
    """The latents' means are known: v the mean of x, z = x / 2."""
    model, x, y = Line(feedback), torch.randn(5, 2), torch.randn(5, 2)
    scale = rv.data.Affine(torch.tensor([10.0, -5.0]), torch.tensor([2.0, 4.0]))
    model.transform = scale if units else None
    given = [scale.inverse(row) if units else row for row in (x, y)]
    found = interpolate(model, *given, 5, path="linear")
    for w, point in zip((0.0, 0.25, 0.5, 0.75, 1.0), found.sequences, strict=True):
        v, z = (1 - w) * x.mean(0) + w * y.mean(0), (1 - w) * x / 2 + w * y / 2
        mine = torch.as_tensor(again(x, feedback, v=v, z=z))
        assert np.allclose(point, scale.inverse(mine) if units else mine)
    assert np.allclose(found.latents["v"][2], (x.mean(0) + y.mean(0)) / 2) and found.path == "linear"


def test_lengths_and_paths_go_along() -> None:
    """From 5 frames to 2: the paths are stretched to the length of each point, then mixed."""
    x, y = torch.randn(5, 2), torch.randn(2, 2)
    found = interpolate(Line(), x, y, 4, path="linear")
    assert [len(point) for point in found.sequences] == [5, 4, 3, 2]
    at = np.linspace(0, 1, 4)
    stretched = [np.stack([np.interp(at, np.linspace(0, 1, len(row)), row[:, i]) for i in (0, 1)], -1)
                 for row in (x.numpy(), y.numpy())]
    assert np.allclose(found.latents["z"][1], (2 * stretched[0] + stretched[1]) / 6)
    v = (2 * x.mean(0) + y.mean(0)) / 3
    assert np.allclose(found.sequences[1], again(x, v=v, z=found.latents["z"][1]))


def test_controls_and_labels() -> None:
    x, y = torch.randn(3, 2), torch.randn(2, 2)
    controls = torch.randn(3, 2)

    def data(row: Any, label: int, inputs: Any) -> Any:
        return SequenceDataset.from_sequences([row], kind="real", labels=torch.tensor([label]), controls=[inputs])

    first, second = data(x, 10, controls), data(y, 20, controls[:2])
    with pytest.raises(ValueError, match="the two ends have different controls.*pass controls="):
        interpolate(Line(), first, second)
    found = interpolate(Line(), first, second, 4, controls=controls, path="linear")
    plain = interpolate(Line(), x, y, 4, path="linear")
    for w, point, bare in zip((0.0, 1 / 3, 2 / 3, 1.0), found.sequences, plain.sequences, strict=True):
        label = 10 if w < 0.5 else 20  # that of the nearer end
        assert np.allclose(point, bare + controls[: len(point)].numpy() + label)
    found = interpolate(Line(), first, second, 2, controls=controls, labels=30)
    assert np.allclose(found.sequences[1], plain.sequences[-1] + controls[:2].numpy() + 30)
    with pytest.raises(ValueError, match="controls must have a row for each of the 3 frames of the longer end, got 2"):
        interpolate(Line(), first, second, controls=controls[:2])
    arrays = interpolate(Line(), x, y, 2, controls=controls, labels=30)
    assert np.allclose(arrays.sequences[0], plain.sequences[0] + controls.numpy() + 30)
    with pytest.raises(ValueError, match="controls must have a row for each of the 3 frames"):
        interpolate(Line(), x, y, controls=controls[:2])
    same = interpolate(Line(), data(x, 1, controls), data(x, 1, controls), 3)
    assert np.allclose(same.sequences[1], again(x) + controls.numpy() + 1)


def test_draws() -> None:
    """Of p(x | z) at the posterior means, a function of the seed; torch's state stays."""
    x, y = torch.randn(400, 2), torch.randn(400, 2)
    state = torch.get_rng_state()
    found, mean = interpolate(Line(), x, y, 3, mean=False, seed=1), interpolate(Line(), x, y, 3)
    assert torch.equal(state, torch.get_rng_state()) and not list(pyro.get_param_store().keys())
    for point, middle in zip(found.sequences, mean.sequences, strict=True):
        assert abs((point - middle).std() - 0.1) < 0.01
    again = interpolate(Line(), x, y, 3, mean=False, seed=1).sequences
    assert all(np.array_equal(a, b) for a, b in zip(found.sequences, again, strict=True))
    assert not np.array_equal(interpolate(Line(), x, y, 3, mean=False, seed=2).sequences[0], again[0])


# ------------------------------------------------------------------------------------------ the parts
def test_the_arc() -> None:
    """On the circle it is an angle; between vectors of one length it keeps it."""
    a, b = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    for w in (0.0, 0.3, 1.0):
        angle = torch.tensor(w * torch.pi / 2)
        assert torch.allclose(slerp(a, b, w), torch.stack([angle.cos(), angle.sin()]))
    a, b = torch.randn(7, 5), torch.randn(7, 5)
    a, b = a / a.norm(dim=-1, keepdim=True), b / b.norm(dim=-1, keepdim=True)
    found = slerp(a, b, 0.25)
    assert torch.allclose(found.norm(dim=-1), torch.ones(7))
    whole, part = ((a * other).sum(-1).arccos() for other in (b, found))
    assert torch.allclose(part, whole / 4)


@pytest.mark.parametrize("other", [[2.0, 4.0], [-1.0, -2.0], [0.0, 0.0], [1.0, 2.0]])
def test_parallel_vectors_are_mixed_linearly(other: list[float]) -> None:
    a, b = torch.tensor([1.0, 2.0]), torch.tensor(other)
    assert torch.equal(slerp(a, b, 0.25), 0.75 * a + 0.25 * b)
    assert torch.equal(slerp(a[:1], b[:1], 0.25), 0.75 * a[:1] + 0.25 * b[:1])
    assert slerp(a.float(), b.float(), 0.5).dtype == torch.float32


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 12])
def test_resampled_as_numpy_interpolates(steps: int) -> None:
    path = torch.randn(7, 2)
    found = resampled(path, steps).numpy()
    at = np.linspace(0, 1, steps) if steps > 1 else [0.0]
    assert np.allclose(found, np.stack([np.interp(at, np.linspace(0, 1, 7), path[:, i]) for i in (0, 1)], -1))
    assert resampled(path, 7) is path
    rows = {tuple(row) for row in path.tolist()}
    assert {tuple(row) for row in resampled(path, steps, nearest=True).tolist()} <= rows
    assert torch.equal(resampled(path[:1], steps), path[:1].expand(steps, 2))


# ------------------------------------------------------------------------------------------ the result
def test_what_it_prints_and_writes() -> None:
    x = SequenceDataset.from_sequences([torch.randn(4, 2)], kind="real", names=["a", "b"], ids=["one"])
    found = interpolate(Line(), x, torch.randn(2, 2), 3)
    text = repr(found)
    assert "3 sequences of Line from 'one' to 'second', spherical in v (once a sequence), z (every frame)" in text
    assert "means of p(x | z)" in text and len(text.splitlines()) == 6
    frames = min(len(found.sequences[0]), len(found.sequences[-1]))
    far = np.sqrt(np.mean((found.sequences[0][:frames] - found.sequences[-1][:frames]) ** 2))
    assert text.splitlines()[2].split() == ["0.00", "4", "0", f"{far:.3g}"]
    assert found.names == ("a", "b") and len(found) == 3
    written = json.loads(json.dumps(found.to_dict()))
    assert written["ids"] == ["one", "second"] and np.allclose(written["sequences"][1], found.sequences[1])


def test_music_can_be_heard(tmp_path: Path) -> None:
    first, second = (torch.rand(8, 88) < 0.1).double(), (torch.rand(6, 88) < 0.1).double()
    found = interpolate(rv.VRAE(88, 2, 4), first, second, 3)
    rv.tasks.write_midi(tmp_path / "between.mid", found.sequences)
    rv.tasks.write_midi(tmp_path / "middle.mid", found.sequences[1])
    assert (tmp_path / "between.mid").stat().st_size > (tmp_path / "middle.mid").stat().st_size > 0


def test_of_items() -> None:
    model, data = ZOO["VAE"].make(), data_of(ZOO["VAE"])
    found = interpolate(model, data[0], data[1].numpy(), 3)
    assert found.sequences[1].shape == (5,) and "frames" not in repr(found).splitlines()[1]
    assert np.allclose(found.sequences[0], reconstruct(model, data, mean=True)[0])


def test_a_pair_of_ones_own() -> None:
    line = Line()

    def model(x: Any = None, mask: Any = None, *, size: Any = None) -> None:
        line.model(x, mask, size=size)

    def guide(x: Any, mask: Any = None) -> None:
        line.guide(x, mask)

    first, second = (SequenceDataset.from_sequences([torch.randn(n, 2)], kind="real") for n in (4, 3))
    found = interpolate(rv.Pair(model, guide, modules=[line]), first, second, 3)
    mine = interpolate(line, first, second, 3)
    assert all(np.allclose(x, y) for x, y in zip(found.sequences, mine.sequences, strict=True))


@pytest.mark.parametrize(("given", "what"), [
    ({"num": 1}, r"num must be an integer of at least 2 \(the two ends\), got 1"),
    ({"path": "curved"}, "path must be 'spherical' or 'linear', got 'curved'"),
    ({"batch_size": 0}, "batch_size must be"),
    ({"second": [torch.zeros(3, 2)] * 2}, r"second must be one sequence.*data.test.subset\(\[3\]\); got 2"),
    ({"second": torch.zeros(3, 5)}, "x_dim=2, the data set has 5 features"),
])
def test_arguments(given: dict[str, Any], what: str) -> None:
    with pytest.raises(ValueError, match=what):
        interpolate(Line(), **{"first": torch.zeros(3, 2), "second": torch.ones(3, 2), **given})


def test_what_is_no_sequence() -> None:
    with pytest.raises(TypeError, match="interpolate needs a data set"):
        interpolate(Line(), "a.csv", torch.zeros(3, 2))
    with pytest.raises(TypeError, match="got the class VRNN"):
        interpolate(rv.VRNN, torch.zeros(3, 2), torch.zeros(3, 2))
