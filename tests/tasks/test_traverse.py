"""Along one latent: against the equations, and over the zoo."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from lines import B, Line, again
from zoo import PAPERS, ZOO
from zoo_data import data_of

import pyro_rvae as rv
from pyro_rvae.tasks import reconstruct, traverse

NO_LATENT = ("deterministic", "deterministic-gaps", "deterministic-context")
OTHERS = (*NO_LATENT, "nade", "conditional-DSAE", "conditional-VAE", "categorical", "gaps-STORN", "MusicVAE", "shared",
          "bayesian", "KVAE-2", "slow-clock", "path-prior", "supervised-HRAE", "controls", "labels", "RAE", "vamp-VRAE")
NO_MEAN = ("autoregressive", "nade", "nade-previous")


@pytest.mark.parametrize("name", [*PAPERS, *OTHERS])
def test_over_the_zoo(name: str) -> None:
    """A shift of 0 gives the reconstruction; every other keeps the shape."""
    case = ZOO[name]
    model, some = case.make(), data_of(case).subset([2])
    if name in NO_LATENT:
        with pytest.raises(ValueError, match="traverse: DeterministicRNN draws no latent of a sequence"):
            traverse(model, some)
        return
    found = traverse(model, some, values=[-2.0, 0.0, 2.0], shift=True, mean=name not in NO_MEAN)
    assert all(x.shape == tuple(some[0].shape) and np.isfinite(x).all() for x in found.sequences)
    if name not in NO_MEAN:
        assert np.allclose(found.sequences[1], reconstruct(model, some, mean=True)[0])


@pytest.mark.parametrize("shift", [False, True])
@pytest.mark.parametrize("site", ["v", "z"])
def test_values_are_those_of_the_equations(site: str, shift: bool) -> None:
    x = torch.randn(4, 2)
    own = {"v": x.mean(0), "z": x / 2}
    found = traverse(Line(0.5), x, 1, [-1.0, 2.0], site=site, shift=shift)
    for value, made in zip((-1.0, 2.0), found.sequences, strict=True):
        moved = own | {site: own[site].clone()}
        moved[site][..., 1] = value + shift * own[site][..., 1]
        assert np.allclose(made, again(x, 0.5, **moved))
    assert np.allclose(found.posterior, own[site][..., 1]) and found.kind in ("once a sequence", "every frame")


def test_by_default_it_goes_along_what_is_drawn_once_a_sequence() -> None:
    x = torch.randn(4, 2)
    found = traverse(Line(), x)
    assert (found.site, found.dimension) == ("v", 0) and found.values.tolist() == [-3, -2, -1, 0, 1, 2, 3]
    assert np.allclose(np.diff([made[:, 0] for made in found.sequences], axis=0), B[0, 0])
    assert traverse(ZOO["HRAE"].make(), torch.ones(6, 5)).site == "z2"
    assert traverse(rv.SwitchingLDS(5, 2, 4), torch.ones(6, 5)).site == "z"


def test_a_latent_without_dims() -> None:
    class Scalar(Line):
        """v ~ N(0, 1) once, a number."""

        def generative(self, steps: rv.Steps) -> None:
            import pyro

            v = pyro.sample("v", pyro.distributions.Normal(self.loc[0], 1.0))
            for t in steps:
                t.sample("x", lambda v: self.normal(v.expand(*v.shape[:-1], 2), 0.1), t.hold(v.unsqueeze(-1)))

        def inference(self, steps: rv.Steps, x: torch.Tensor) -> None:
            import pyro

            pyro.sample("v", pyro.distributions.Normal(x[..., 0, 0] + self.loc[0], 0.1))

    found = traverse(Scalar(), torch.randn(3, 2), 0, [5.0])
    assert np.allclose(found.sequences[0], 5.0)
    with pytest.raises(ValueError, match=r"'v' has 1 dimension, 0 to 0, got 1"):
        traverse(Scalar(), torch.randn(3, 2), 1)


def test_raw_units_labels_and_controls() -> None:
    model = Line()
    model.transform = rv.data.Affine(torch.tensor([10.0, -5.0]), torch.tensor([2.0, 4.0]))
    x, controls = torch.randn(3, 2), torch.randn(3, 2)
    found = traverse(model, model.transform.inverse(x), 0, [1.0], site="z", labels=7, controls=controls)
    z = x / 2
    z[:, 0] = 1.0
    assert np.allclose(found.sequences[0], model.transform.inverse(torch.as_tensor(again(x, z=z)) + controls + 7))


def test_draws_differ_by_the_seed_alone() -> None:
    x, model = torch.ones(6, 5), ZOO["DMM"].make()
    one, same, other = (traverse(model, x, mean=False, seed=seed).sequences for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))
    assert any(not np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_what_it_prints_and_writes() -> None:
    found = traverse(Line(), torch.randn(4, 2), 1, [-1.0, 0.5])
    lines = repr(found).splitlines()
    assert "Traversal: 2 sequences of Line along v[1] (once a sequence; the posterior mean of 'sequence' is" in lines[0]
    assert lines[2].split() == ["-1.00", "-"] and lines[3].split() == ["+0.50", f"{3 / np.sqrt(2):.3g}"]
    assert json.loads(json.dumps(found.to_dict()))["values"] == [-1.0, 0.5]


@pytest.mark.parametrize(("given", "what"), [
    ({"dimension": 2}, "'v' has 2 dimensions, 0 to 1, got 2"),
    ({"dimension": -1}, "dimension must be an integer of at least 0, got -1"),
    ({"site": "w"}, r"site must be a continuous latent of Line \(v, z\), got 'w'"),
    ({"values": []}, "values must be a list of finite numbers"),
    ({"values": [float("nan")]}, "values must be a list of finite numbers"),
    ({"values": 3.0}, "values must be a list of finite numbers"),
    ({"sequence": [torch.zeros(2, 2)] * 3}, "sequence must be one sequence.*got 3"),
])
def test_arguments(given: dict[str, Any], what: str) -> None:
    with pytest.raises(ValueError, match=what):
        traverse(Line(), **{"sequence": torch.zeros(3, 2), **given})


def test_regimes_have_no_between() -> None:
    with pytest.raises(ValueError, match=r"traverse: the latents of NeuralHMM \(s\) are discrete"):
        traverse(rv.NeuralHMM(5, 3, 4), torch.ones(6, 5))
    with pytest.raises(ValueError, match=r"site must be a continuous latent of SwitchingLDS \(z\), got 's'"):
        traverse(rv.SwitchingLDS(5, 2, 4), torch.ones(6, 5), site="s")
