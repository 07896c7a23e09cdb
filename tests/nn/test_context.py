"""What a conditional model is given."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

import pyro_rvae as rv


def test_controls_and_labels_stand_side_by_side() -> None:
    context = rv.Context(control_dim=2, classes=3, dim=4)
    controls, labels = torch.randn(5, 7, 2), torch.tensor([0, 1, 2, -1, 0])
    c = context(controls, labels, 7)
    assert c.shape == (5, 7, context.out_dim) and torch.equal(c[..., :2], controls)
    weight = context.embedding.weight  # row 0 is that of an unknown label
    assert torch.equal(c[:, 3, 2:], weight[labels + 1]) and torch.equal(c[:, 0, 2:], c[:, 6, 2:])


def test_real_labels_are_read_as_they_are() -> None:
    labels = torch.randn(5)
    assert torch.equal(rv.Context(label_dim=1)(None, labels, None), labels[:, None])
    assert torch.equal(rv.Context(label_dim=2)(None, labels[:4].view(2, 2), 3)[:, 2], labels[:4].view(2, 2))


def test_a_data_set_tells_what_there_is() -> None:
    data = SimpleNamespace(controls=torch.zeros(9, 2), labels=torch.tensor([0, 4, 1]))
    assert rv.Context.for_data(data).classes == 5 and rv.Context.for_data(data, labels=False).classes is None
    data.labels = torch.zeros(3, 2)
    assert rv.Context.for_data(data).label_dim == 2
    data.labels = None
    with pytest.raises(ValueError, match="the data set has no labels"):
        rv.Context.for_data(data)


@pytest.mark.parametrize(("settings", "message"), [
    ({}, "nothing to read"), ({"classes": 1}, "classes 2 or more"), ({"control_dim": -1}, "must be 0 or more"),
    ({"classes": 3, "label_dim": 1}, "are codes")])
def test_a_context_of_nothing_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rv.Context(**settings)


@pytest.mark.parametrize(("controls", "labels", "message"), [
    (None, torch.zeros(2).long(), r"reads controls \(B, T, 2\), got none"),
    (torch.zeros(2, 3, 1), torch.zeros(2).long(), r"got \(2, 3, 1\)"),
    (torch.zeros(2, 3, 2), None, "none were given; pass labels"),
    (torch.zeros(2, 3, 2), torch.zeros(2), "integer codes")])
def test_what_is_missing_or_misshapen_is_named(controls: Any, labels: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rv.Context(control_dim=2, classes=3)(controls, labels, 3)


def test_real_labels_of_another_width_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(B, 2\) of floating point, got \(4, 3\)"):
        rv.Context(label_dim=2)(None, torch.zeros(4, 3), 5)


def test_a_model_for_data_with_controls_reads_them() -> None:
    data = rv.data.SequenceDataset(torch.randn(20, 3), [8, 12], controls=torch.randn(20, 2))
    model = rv.RVAE.for_data(data, z_dim=2, h_dim=4)
    assert model.context.control_dim == 2
    x = torch.randn(1, 5, 3)
    with rv.given_noise(0):
        costs = [model.eval() and rv.infer.measure(model, rv.data.Batch(x, None, controls=c)).elbo
                 for c in (torch.zeros(1, 5, 2), torch.ones(1, 5, 2))]
    assert not torch.allclose(*costs)


def test_controls_that_no_body_reads_are_refused() -> None:
    with pytest.raises(ValueError, match="controls were given, and RVAE reads none"):
        rv.RVAE(3, 2, 4).model(size=(2, 5), controls=torch.zeros(2, 5, 2))
