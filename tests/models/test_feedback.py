"""What a model reads of x_{t-1}: frame dropout."""

from __future__ import annotations

from functools import partial
from typing import Any

import pyro.poutine as poutine
import pytest
import torch
from torch import Tensor
from zoo import ZOO, H, X, Z

import pyro_rvae as rv

KINDS = [rv.VRNN, rv.STORN, rv.SRNN, rv.VRAE]
IDS = [kind.__name__ for kind in KINDS]


def test_a_share_p_is_read_as_zeros_in_training_alone() -> None:
    part, frame = rv.FrameDropout(4, p=0.3), torch.randn(100, 200, 4)
    read = part(frame)
    gone = (read == 0).all(-1)
    assert abs(gone.double().mean() - 0.3) < 5 * (0.21 / 20000) ** 0.5
    assert torch.equal(read[~gone], frame[~gone])  # not scaled up
    state = torch.get_rng_state()
    assert torch.equal(part.eval()(frame), frame) and torch.equal(state, torch.get_rng_state())
    assert torch.equal(rv.FrameDropout(4, p=0.0)(frame), frame) and not list(part.parameters())
    assert not rv.FrameDropout(4, p=1.0).eval()(frame).any()
    for p in (-0.1, 1.5):
        with pytest.raises(ValueError, match=f"FrameDropout: p must be from 0 to 1, got {p}"):
            rv.FrameDropout(4, p=p)


def log_joint(model: Any, x: Tensor, z: Any) -> tuple[Tensor, Tensor]:
    """log p(x | ...) of each sequence at latents z, and log q(z | x)."""
    with rv.given_noise(0):
        guide = poutine.trace(model.guide).get_trace(z)
    program = poutine.trace(poutine.replay(model.model, guide)).get_trace(x)
    program.compute_log_prob()
    guide.compute_log_prob()
    return program.nodes["x"]["fn"].base_dist.log_prob(x), guide.nodes["z"]["log_prob"]


@pytest.mark.parametrize("kind", KINDS, ids=IDS)
def test_with_p_1_a_frame_tells_the_likelihood_nothing_of_the_next(kind: Any) -> None:
    """At the same latents, in training and in evaluation; without it the next frames' laws change."""
    x = ZOO["VRNN"].x()
    other = x.clone()
    other[:, 0] = 1 - other[:, 0]
    for feedback, blind in ((partial(rv.FrameDropout, p=1.0), True), (None, False)):
        torch.manual_seed(0)
        model = kind(X, Z, H, feedback=feedback)
        for mode in (True, False):
            model.train(mode)
            before, after = log_joint(model, x, x)[0], log_joint(model, other, x)[0]
            assert torch.equal(before[:, 1:], after[:, 1:]) == blind


@pytest.mark.parametrize("kind", KINDS, ids=IDS)
def test_it_acts_in_training_on_the_model_and_not_on_its_guide(kind: Any) -> None:
    x, found = ZOO["VRNN"].x(), []
    for feedback in (None, partial(rv.FrameDropout, p=0.5)):
        torch.manual_seed(0)
        found.append(kind(X, Z, H, feedback=feedback))
    plain, model = found
    model.load_state_dict(plain.state_dict())
    for mode in (True, False):
        model.train(mode)
        (p, q), (log_p, log_q) = log_joint(plain, x, x), log_joint(model, x, x)
        assert torch.equal(q, log_q) and torch.equal(p, log_p) != mode
