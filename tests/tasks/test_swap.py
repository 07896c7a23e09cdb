"""Exchange of latents: against the equations, and over the zoo."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from lines import Line, again
from zoo import PAPERS, ZOO
from zoo_data import data_of

import pyro_rvae as rv
from pyro_rvae.data import SequenceDataset
from pyro_rvae.tasks import reconstruct, swap

BOTH_KINDS = ("DSAE", "DSAE-factorised", "DSAE-gaps", "DSAE-point", "conditional-DSAE", "VariationalAttention",
              "VariationalAttention-fed", "VariationalAttention-point", "conditional-VariationalAttention", "labels")
LEVELS = {"HRAE": ("z2",), "HRAE-2-3": ("z3", "z2"), "HRAE-point": ("z2",), "HRAE-gaps": ("z2",),
          "conditional-HRAE": ("z3",), "supervised-HRAE": ("z2",), "slow-clock": ("y",), "hierarchical": ("y",)}


@pytest.mark.parametrize("name", sorted({*PAPERS, *BOTH_KINDS, *LEVELS}))
def test_over_the_zoo(name: str) -> None:
    """With itself a sequence is its reconstruction; with another both stay as long; or it says why not."""
    case = ZOO[name]
    model, data = case.make(), data_of(case)
    first, second = data.subset([0]), data.subset([1])
    if name not in (*BOTH_KINDS, *LEVELS):
        with pytest.raises(ValueError, match="swap: .*(no latent|would be all that|there is no static part)"):
            swap(model, first, second)
        return
    if name in LEVELS:
        with pytest.raises(ValueError, match=r"no latent once a sequence, and no sites are named.*name the levels"):
            swap(model, first, second)
    sites = LEVELS.get(name)
    alone = swap(model, first, first, sites)
    assert np.array_equal(alone.swapped[0], alone.reconstructed[0])
    assert np.allclose(alone.reconstructed[0], reconstruct(model, first, mean=True)[0])
    found = swap(model, first, second, sites)
    assert [len(x) for x in (*found.reconstructed, *found.swapped)] == [6, 3, 6, 3]
    assert np.allclose(found.reconstructed[1], reconstruct(model, second, mean=True)[0])
    if name != "hierarchical":  # whose x reads the faster latent alone
        assert any(not np.allclose(x, y) for x, y in zip(found.reconstructed, found.swapped, strict=True))


@pytest.mark.parametrize("feedback", [0.0, 0.5])
def test_the_static_part_is_that_of_the_other(feedback: float) -> None:
    x, y = torch.randn(5, 2), torch.randn(3, 2)
    found = swap(Line(feedback), x, y)
    assert found.sites == {"v": "once a sequence"} and found.kept == {"z": "every frame"}
    for made, row, other in zip(found.swapped, (x, y), (y, x), strict=True):
        assert np.allclose(made, again(row, feedback, v=other.mean(0)))


def test_a_path_is_stretched_to_who_takes_it() -> None:
    x, y = torch.randn(5, 2), torch.randn(3, 2)
    found = swap(Line(), x, y, ("z",))
    z = np.stack([np.interp(np.linspace(0, 1, 5), np.linspace(0, 1, 3), y[:, i] / 2) for i in (0, 1)], -1)
    assert np.allclose(found.swapped[0], again(x, z=z))
    assert [len(made) for made in found.swapped] == [5, 3]


def test_units_labels_and_controls_stay_with_who_keeps_the_rest() -> None:
    model = Line()
    model.transform = rv.data.Affine(torch.tensor([10.0, -5.0]), torch.tensor([2.0, 4.0]))
    rows, controls, labels = [torch.randn(4, 2), torch.randn(3, 2)], [torch.randn(4, 2), torch.randn(3, 2)], [5, 9]
    data = SequenceDataset.from_sequences([model.transform.inverse(row) for row in rows], kind="real",
                                          controls=controls, labels=torch.tensor(labels))
    found = swap(model, data.subset([0]), data.subset([1]))
    for i in (0, 1):
        mine = torch.as_tensor(again(rows[i], v=rows[1 - i].mean(0))) + controls[i] + labels[i]
        assert np.allclose(found.swapped[i], model.transform.inverse(mine))


def test_levels_of_a_hierarchy() -> None:
    """All levels but one taken from the other is that one given to the other."""
    model = ZOO["HRAE-2-3"].make()
    x, y = (torch.rand(6, 5) < 0.5).double(), (torch.rand(6, 5) < 0.5).double()
    slow, rest = swap(model, x, y, ("z3",)), swap(model, x, y, ("z2", "z"))
    assert np.allclose(slow.swapped[0], rest.swapped[1]) and np.allclose(slow.swapped[1], rest.swapped[0])


def test_draws() -> None:
    x, y = torch.randn(400, 2), torch.randn(400, 2)
    found, mean = swap(Line(), x, y, mean=False, seed=1), swap(Line(), x, y)
    assert abs((found.swapped[0] - mean.swapped[0]).std() - 0.1) < 0.01 and found.drawn
    assert np.array_equal(found.swapped[1], swap(Line(), x, y, mean=False, seed=1).swapped[1])


def test_what_it_prints_and_writes() -> None:
    found = swap(Line(), torch.randn(4, 2), torch.randn(4, 2))
    lines = repr(found).splitlines()
    assert "Swap: v (once a sequence) of Line exchanged between 'first' and 'second', z (every frame) kept" in lines[0]
    assert lines[2].split()[:2] == ["first", "0"] and "first with v of second" in lines[4]
    assert [id(x) for x in found.sequences] == [id(x) for x in (*found.reconstructed, *found.swapped)]
    written = json.loads(json.dumps(found.to_dict()))
    assert written["sites"] == {"v": "once a sequence"} and np.shape(written["swapped"]) == (2, 4, 2)


@pytest.mark.parametrize(("sites", "error", "what"), [
    (("w",), ValueError, r"Line has no latent 'w'; it has v \(once a sequence\), z \(every frame\)"),
    (("v", "z"), ValueError, "would be all that Line has.*only change places"),
    ("v", TypeError, r"sites must be a sequence of names.*write \('v',\)"),
    ((), ValueError, "no sites are named"),
])
def test_sites(sites: Any, error: Any, what: str) -> None:
    with pytest.raises(error, match=what):
        swap(Line(), torch.randn(4, 2), torch.randn(4, 2), sites)


@pytest.mark.parametrize(("model", "what"), [
    (lambda: rv.VRAE(5, 2, 4), r"z \(once a sequence\) would be all that VRAE has.*or rv.tasks.interpolate"),
    (lambda: rv.DMM(5, 2, 4), r"DMM draws no latent once a sequence.*there is no static part; take .* rv.DSAE"),
    (lambda: rv.NeuralHMM(5, 2, 4), r"it has s \(discrete, every frame\): there is no static part"),
    (lambda: rv.DeterministicRNN(5, 4), "DeterministicRNN draws no latent of a sequence, so nothing is encoded"),
])
def test_models_of_one_kind_of_latent(model: Any, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        swap(model(), torch.ones(4, 5), torch.ones(3, 5))


def test_one_sequence_each() -> None:
    with pytest.raises(ValueError, match="first must be one sequence.*got 2"):
        swap(Line(), torch.ones(2, 4, 2), torch.ones(4, 2))
