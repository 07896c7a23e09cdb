"""Pairs whose laws of a latent do not go together are refused, by `fit` and by `evaluate`."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import pyro_rvae as rv
from pyro_rvae.distributions import OneHot


def rolls() -> Any:
    return rv.data.SequenceDataset((torch.rand(20, 5) < 0.4).double(), [8, 12])


@pytest.mark.parametrize(("model", "message"), [
    (lambda: rv.RVAE(5, 2, 4, prior=rv.Weightless), "prior of 'z' carries no weight.*no point"),
    (lambda: rv.VRAE(5, 2, 4, prior=rv.Weightless), "Give it posterior=rv.Delta"),
    (lambda: rv.VRNN(5, 3, 4, prior=OneHot), "of 'z' one of model and guide has a discrete law"),
    (lambda: rv.NeuralHMM(5, 3, 4, prior=rv.Normal), "density of real vectors"),
    (lambda: rv.SwitchingLDS(5, 2, 4, prior=rv.Normal), "density of real vectors"),
])
@pytest.mark.parametrize("use", [lambda m: rv.fit(m, rolls(), epochs=1, progress=False),
                                 lambda m: rv.evaluate(m, rolls(), num_particles=1)], ids=["fit", "evaluate"])
def test_laws_that_do_not_go_together(model: Any, message: str, use: Any) -> None:
    with pytest.raises(ValueError, match=message):
        use(model())


def test_a_kl_weight_leaves_an_exact_posterior_alone() -> None:
    """Else its gradient would be that of another posterior; with it the annealed loss is the loss."""
    torch.manual_seed(0)
    model, x = rv.NeuralHMM(5, 3, 4), torch.ones(2, 4, 5)
    loss = rv.Loss(model)
    with torch.no_grad():
        plain = loss(x)
        for explicit in (False, True):
            with rv.annealed(0.1), rv.explicit() if explicit else rv.annealed(1.0):
                assert torch.allclose(loss(x), plain)


def test_trace_enum_with_a_kl_weight_inside_its_sum() -> None:
    from pyro.infer import TraceEnum_ELBO

    with pytest.raises(ValueError, match="KL weight does not go into that sum"), rv.explicit():
        rv.fit(rv.SwitchingLDS(5, 2, 4), rolls(), elbo=TraceEnum_ELBO(max_plate_nesting=1),
               kl_weight=rv.infer.constant(0.5), progress=False)


def test_verbs_that_read_whole_paths_leave_the_explicit_form() -> None:
    model = rv.VRNN(5, 2, 4)
    with rv.explicit():
        assert rv.generate(model, 2, 3, seed=0).shape == (2, 3, 5)
        assert [x.shape for x in rv.tasks.reconstruct(model, torch.ones(2, 3, 5))] == [(3, 5)] * 2


def test_samples_of_a_deterministic_model_come_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="nothing has fitted"):
        rv.generate(rv.RAE(5, 2, 4), 2, 3, seed=0)


def test_a_clock_on_a_clock() -> None:
    class Nested(rv.RVAE):
        def generative(self, steps: rv.Steps) -> None:
            for t in steps.every(2).every(2):
                t.sample("u", self.prior)
                t.at(steps.every(2).every(2).controls)
            super().generative(steps)

    model = Nested(5, 2, 4, prior=rv.StandardNormal)
    with rv.given(u=torch.zeros(2, 1, 2)):
        model.model(size=(2, 8), controls=torch.zeros(2, 8, 3))


def test_a_label_that_the_context_was_not_built_for() -> None:
    model = rv.VRNN(5, 2, 4, context=rv.Context(classes=3))
    with pytest.raises(ValueError, match=r"labels hold 3 at sequence 1.*codes 0\.\.2"):
        model.guide(torch.ones(2, 4, 5), labels=torch.tensor([0, 3]))


def test_a_context_may_be_a_recipe() -> None:
    from functools import partial

    assert rv.VRNN(5, 2, 4, context=partial(rv.Context, classes=3)).context.classes == 3
    with pytest.raises(TypeError, match="context: expected"):
        rv.VRNN(5, 2, 4, context=7)


def test_grey_images_get_the_family_of_their_kind() -> None:
    images = rv.data.StaticDataset(torch.rand(6, 784), kind="real")
    assert isinstance(rv.ConvVAE.for_data(images).likelihood.family, rv.Normal)


def test_a_reverse_prediction_needs_an_encoder_that_has_not_seen_its_target() -> None:
    with pytest.raises(ValueError, match="b_t is to predict x_{t-1}, which Bidirectional has read"):
        rv.ZForcing(5, 2, 4, reverse=0.1, encoder=rv.Bidirectional)


def test_regimes_are_no_code_to_contract() -> None:
    with pytest.raises(ValueError, match="draws no continuous latent"):
        rv.Contractive(1.0)(rv.NeuralHMM(5), torch.ones(2, 4, 5))
