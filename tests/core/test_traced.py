"""Errors from within a trace: our own sentences stand alone, others keep Pyro's table of shapes."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch

import pyro_rvae as rv
from pyro_rvae.core.checks import check_count
from pyro_rvae.core.traces import traced


def program(fail):
    pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
    fail()


def nested():
    traced(program, lambda: check_count("num", 0))


def test_our_sentence_stands_alone():
    for run in (lambda: traced(program, lambda: check_count("num", 0)), nested, lambda: traced(nested)):
        with pytest.raises(ValueError, match="num must be") as found:
            run()
        assert "Trace Shapes" not in str(found.value) and found.value.__context__ is None


def users_own():
    raise ValueError("mine")


@pytest.mark.parametrize(("fail", "kind", "words"), [
    (lambda: torch.zeros(2) + torch.zeros(3), RuntimeError, "must match"),
    (lambda: dist.Normal(torch.tensor(float("nan")), 1.0), ValueError, "constraint"),
    (users_own, ValueError, "mine"),
])  # fmt: skip
def test_others_keep_the_table(fail, kind, words):
    with pytest.raises(kind, match=words) as found:
        traced(program, fail)
    assert "Trace Shapes:" in str(found.value) and "z dist" in str(found.value)


def test_what_a_pair_is_told():
    def model(x):
        with pyro.plate("rows", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(x.shape[1], 1), 1.0).to_event(2))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(2), obs=x)

    def guide(x):
        with pyro.plate("rows", len(x)):
            pyro.sample("z", dist.Normal(x, 1.0).to_event(2))

    ragged = rv.data.SequenceDataset(torch.randn(9, 1), [2, 4, 3])
    with pytest.raises(ValueError, match="the program takes no mask") as found:
        rv.evaluate(rv.Pair(model, guide), ragged, num_particles=2)
    assert "Trace Shapes" not in str(found.value)
