"""Whether a guide looks ahead, tried: against what is known of the models of the zoo."""

from __future__ import annotations

import pytest
import torch
from linear_gaussian import LinearGaussian
from zoo import ZOO, Case

import pyro_rvae as rv
from pyro_rvae.tasks.proposals import gaussian_prior, looks_ahead

BACK = ("VRNN", "KVAE", "SRNN-filter", "DMM-ST-L", "gaps-codes", "conditional-VRNN", "student-prior", "nade")
AHEAD = ("DMM", "SRNN", "RVAE", "DMM-combiner", "gaps-DMM", "conditional-DMM", "KVAE-smoother")


def as_dataset(case: Case) -> rv.data.SequenceDataset:
    x, extra = case.x(), case.extra()
    codes = {} if x.is_floating_point() else {"kind": "categories", "classes": 4}
    controls = list(extra["controls"]) if "controls" in extra else None
    return rv.data.SequenceDataset.from_sequences(list(x), controls=controls, labels=extra.get("labels"), **codes)


@pytest.mark.parametrize("name", BACK + AHEAD)
def test_guides_of_the_zoo(name: str) -> None:
    case = ZOO[name]
    model, data = case.make(), as_dataset(case)
    state = torch.get_rng_state()
    assert looks_ahead(model, data) is (name in AHEAD)
    assert torch.equal(torch.get_rng_state(), state)


def test_what_can_not_be_filtered_and_what_has_no_future() -> None:
    for name in ("VRAE", "RVAE-noncausal"):
        assert looks_ahead(ZOO[name].make(), as_dataset(ZOO[name])) is None
    frames = rv.data.SequenceDataset.from_sequences([torch.zeros(1, 1), torch.ones(1, 1)])
    assert looks_ahead(LinearGaussian(), frames) is False
    ragged = rv.data.SequenceDataset.from_sequences([torch.zeros(1, 1), torch.ones(4, 1)])
    assert looks_ahead(LinearGaussian(), ragged) is True and looks_ahead(LinearGaussian(smooth=False), ragged) is False


def test_priors_that_gaussian_noise_makes() -> None:
    assert gaussian_prior(ZOO["DMM"].make(), as_dataset(ZOO["DMM"]))
    assert not gaussian_prior(ZOO["SRNN-mixture"].make(), as_dataset(ZOO["SRNN-mixture"]))
