"""What a call's arguments must be: shapes, types, values, and the messages that say so."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pyro.poutine as poutine
import pytest
import torch
from laws import form
from pyro.infer import Trace_ELBO
from torch import Tensor
from zoo import MASK, ZOO, B, H, T, X, Z

import pyro_rvae as rv
from pyro_rvae.core.checks import check_count, check_seed, check_weight

BOTH = pytest.mark.parametrize("explicit", [False, True], ids=["vectorised", "explicit"])


def test_seeds() -> None:
    for seed in (0, 2**63 - 1, np.int32(7), np.uint64(9)):
        assert check_seed("generate", seed) == int(seed) and type(check_seed("generate", seed)) is int
    for wrong in (None, 1.5, np.float64(2), True, np.bool_(1), "0"):
        with pytest.raises(TypeError, match="generate: seed must be an integer of at least 0, got"):
            check_seed("generate", wrong)
    for wrong in (-1, np.int64(-3), 2**63):
        with pytest.raises(ValueError, match=r"generate: seed must be from 0 to 2\*\*63 - 1, got"):
            check_seed("generate", wrong)


def test_numpys_numbers_count() -> None:
    check_count("num", np.int64(3))
    check_weight("weight", np.float32(0.5))
    with pytest.raises(ValueError, match="num must be an integer of at least 1"):
        check_count("num", np.int64(0))
    with pytest.raises(ValueError, match="num must be an integer of at least 1"):
        check_count("num", np.float64(1))


@pytest.mark.parametrize("value", [0, -1, 1.0, True, "2", None])
def test_counts(value: Any) -> None:
    check_count("num", 1)
    with pytest.raises(ValueError, match=f"num must be an integer of at least 1 or None, got {value!r}"):
        check_count("num", value, hint=" or None")


class Image(rv.SequenceVAE):
    """A static model of events of any shape."""

    static = True


def vrnn() -> rv.VRNN:
    return rv.VRNN(X, Z, H)


def zeros(*shape: int) -> Tensor:
    return torch.zeros(*(shape or (B, T, X)))


@pytest.mark.parametrize(("x", "given", "message"), [
    (zeros(B, T), {}, r"VRNN: expected x as a tensor \(B, T, x_dim\), got \(4, 6\)"),
    (zeros(1, B, T, X), {}, r"expected x as a tensor \(B, T, x_dim\), got \(1, 4, 6, 5\)"),
    ([[0.0]], {}, "expected x as a tensor.*got list"),
    (zeros(B, T, X + 1), {}, r"built for frames of x_dim=5, got x \(4, 6, 6\)"),
    (zeros(), {"mask": MASK[:, 1:]}, r"mask must start with \(B, T\) = \(4, 6\), got \(4, 5\)"),
    (zeros(), {"mask": MASK.double()}, "mask must be boolean"),
    (zeros(), {"mask": MASK.flip(1)}, "each row of mask must be True, then False.*row 1 is not"),
    (zeros(), {"mask": torch.zeros(B, T, dtype=torch.bool)}, "at least one frame.*row 0"),
    (zeros(), {"controls": zeros(B, T + 1, 2)}, r"controls must start with \(B, T\) = \(4, 6\), got \(4, 7, 2\)"),
    (zeros(), {"labels": torch.zeros(3)}, r"labels must have one row a sequence, 4; got \(3,\)"),
    (zeros(), {"size": (B, T - 1)}, "must have x's batch size and at least its length"),
    (zeros(), {"size": (B + 1, T)}, "must have x's batch size and at least its length"),
    (zeros().fill_(torch.inf), {}, r"x is infinite at \(0, 0, 0\).*a missing element is NaN"),
    (zeros(0, T, X), {}, r"x is empty, \(0, 6, 5\); at least one sequence of one frame"),
    (zeros(B, 0, X), {}, r"x is empty, \(4, 0, 5\)"),
    (zeros().bool(), {}, "expected x of floating point, got torch.bool; pass x.to"),
    (zeros(), {"mask": [True]}, "mask must be a tensor, got list"),
    (zeros(), {"labels": torch.tensor(1)}, r"labels must have one row a sequence, 4; got \(\)"),
    (None, {"size": (B, 0)}, r"size must be \(B, T\), positive integers; got \(4, 0\)"),
    (None, {"size": (B,)}, r"size must be \(B, T\), positive integers; got \(4,\)"),
    (None, {"size": B}, r"size must be \(B, T\), positive integers; got 4"),
    (None, {}, r"VRNN.model needs data x \(B, T, x_dim\), or size=\(B, T\)"),
])
def test_wrong_arguments(x: Any, given: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        vrnn().model(x, **given)
    if x is not None and "size" not in given:
        with pytest.raises(ValueError, match=message):
            vrnn().guide(x, **given)


def test_the_guide_needs_data() -> None:
    with pytest.raises(ValueError, match=r"VRNN.guide needs x; to generate, call model\(size=\(B, T\)\)"):
        vrnn().guide(None)


def test_static_models_say_their_own_shape() -> None:
    vae = rv.VAE(X, Z, H)
    for shape in ((X,), (B, T, X)):
        with pytest.raises(ValueError, match=r"VAE: expected x as a tensor \(B, x_dim\), got \("):
            vae.model(zeros(*shape))
    with pytest.raises(ValueError, match="static data have no time, so mask must be None"):
        vae.model(zeros(B, X), torch.ones(B, X, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"size must be \(B,\)"):
        vae.model(size=(0,))
    with pytest.raises(ValueError, match=r"Image: expected x as a tensor \(B, \*event_shape\), got \(5,\)"):
        Image().model(zeros(X))


@pytest.mark.parametrize(("bad", "message"), [
    (4, r"VRNN: x holds 4 at \(1, 2, 0\) \(sequence, step, element\); its codes are 0..3, and -1"),
    (-2, "x holds -2 at"),
])
def test_codes_that_an_embedding_does_not_have(bad: int, message: str) -> None:
    model = rv.VRNN(2, Z, H, likelihood=partial(rv.Categorical, classes=4))
    x = torch.zeros(B, T, 2, dtype=torch.long)
    x[1, 2, 0] = bad
    for program in (model.model, model.guide):
        with pytest.raises(ValueError, match=message):
            program(x)
        with pytest.raises(ValueError, match="categories are integer codes, torch.long .*got x of torch.float64"):
            program(x.double())


@BOTH
def test_integers_for_a_bernoulli(explicit: bool) -> None:
    with form(explicit), pytest.raises(ValueError, match="x is torch.int64, and a Bernoulli takes 0.0 and 1.0"):
        vrnn().model(zeros().long())


@BOTH
def test_a_known_path_that_no_loop_samples(explicit: bool) -> None:
    with form(explicit), rv.given(z=torch.zeros(B, 2, Z)), pytest.raises(ValueError, match="values are given for 'z'"):
        rv.VRAE(X, Z, H).model(size=(B, T))


@pytest.mark.parametrize("part", [rv.GaussianChain, rv.Combiner])
def test_a_part_that_needs_features(part: Any) -> None:
    with pytest.raises(ValueError, match=f"{part.__name__} reads the previous latent, 3 wide, and features beside it"):
        rv.DMM(X, Z, H, transition=part)

@pytest.mark.parametrize(("likelihood", "x_dim", "bad", "message"), [
    (rv.Bernoulli, X, 0.5, r"x holds 0.5 at \(1, 2, 0\).*outside the support of its likelihood Bernoulli"),
    (rv.Bernoulli, X, 2.0, "x holds 2.0"),
    (rv.Poisson, X, -1.0, "x holds -1.0.*Poisson"),
    (rv.Poisson, X, 0.5, "x holds 0.5.*Poisson"),
    (partial(rv.AutoregressiveBernoulli, hidden=10), X, 0.5, "x holds 0.5.*outside the support"),
])
@BOTH
def test_data_outside_the_support(likelihood: Any, x_dim: int, bad: float, message: str, explicit: bool) -> None:
    model = rv.RVAE(x_dim, Z, H, likelihood=likelihood)
    x = torch.zeros(B, T, x_dim, dtype=torch.long if isinstance(bad, int) else torch.float64)
    x[1, 2, 0] = bad
    with form(explicit), pytest.raises(ValueError, match=message):
        model.model(x)


@BOTH
def test_data_outside_the_support_are_welcome_in_the_padding(explicit: bool) -> None:
    x = zeros()
    x[~MASK] = 0.5
    with form(explicit):
        assert Trace_ELBO().loss(vrnn().model, vrnn().guide, x, MASK) > 0


def test_trusted_data_are_not_checked() -> None:
    x = zeros().fill_(0.5)
    with rv.trusted(missing=False):
        assert torch.isfinite(poutine.trace(ZOO["VRNN"].make().model).get_trace(x).log_prob_sum())
