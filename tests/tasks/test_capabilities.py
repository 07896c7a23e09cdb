"""The table of what each model can be used for is what each model can be used for."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

import pyro_rvae as rv
from pyro_rvae.tasks.capabilities import MODELS, USES, capabilities, capabilities_table


def build(spelling: str) -> Any:
    name, arguments = spelling.split("(", 1)
    x_dim = 784 if "Conv" in name else 1 if "Categorical" in spelling else 5
    small = {"ConvVAE": "", "DeterministicRNN": "h_dim=6, ", "NeuralHMM": "h_dim=6, "}.get(name, "z_dim=2, h_dim=6, ")
    torch.manual_seed(0)
    return eval(f"rv.{name}({x_dim}, {small}{arguments}", {"rv": rv, "partial": partial})


@pytest.mark.parametrize("spelling", MODELS)
def test_the_table_says_what_a_model_can_do(spelling: str) -> None:
    found = capabilities(build(spelling))
    assert found.row == MODELS[spelling], found


def test_every_model_of_the_library_has_a_row() -> None:
    parts = {"GatedNormal", "Smoothed", "Supervised"}  # of a model, or around one
    assert set(rv.models.__all__) - parts == {spelling.split("(")[0] for spelling in MODELS}
    assert all(len(words.split()) == len(USES) for words in MODELS.values())
    printed = capabilities_table().splitlines()
    assert printed[0].split() == ["model", *USES] and len(printed) == len(MODELS) + 5


class Ahead(rv.SequenceVAE):
    """A user's own, whose guide looks one frame ahead."""

    def __init__(self) -> None:
        super().__init__()
        self.prior, self.likelihood = rv.StandardNormal(0, 2), rv.Conditional(nn.Linear(2, 3), rv.Bernoulli(3))
        self.posterior = rv.Conditional(nn.Linear(3, 4), rv.Normal(2))

    def generative(self, steps: Any) -> None:
        for t in steps:
            t.sample("x", self.likelihood, t.sample("z", self.prior))

    def inference(self, steps: Any, x: Any) -> None:
        later = torch.cat([x[..., 1:, :], x[..., -1:, :]], -2)
        for t in steps:
            t.sample("z", self.posterior, t.at(later))


def test_a_model_of_the_users_own_and_its_reasons() -> None:
    found = capabilities(Ahead())
    assert found["stream"] == "prior" and found["generate"] == "yes" and not found["swap"]
    assert "once a sequence" in repr(found) and found.to_dict()["uses"]["stream"] == "prior"
    with pytest.raises(TypeError, match="needs a SequenceVAE"):
        capabilities(nn.Linear(1, 1))  # type: ignore[arg-type]


def test_controls_labels_and_data_of_ones_own() -> None:
    model = rv.VRNN(3, 2, 4, context=rv.Context(control_dim=2, classes=3))
    assert capabilities(model)["forecast"] == "yes"
    data = rv.data.SequenceDataset(torch.randn(8, 3), [4, 4])
    assert capabilities(rv.VRNN.for_data(data, z_dim=2, h_dim=4), data)["impute"] == "yes"
