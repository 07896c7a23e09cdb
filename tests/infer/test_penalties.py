"""The contractive penalty against closed forms and autodiff; a penalty in Loss, fit, the log and a checkpoint."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyro.poutine as poutine
import pytest
import torch
from laws import garbage, same
from pyro.infer import Trace_ELBO, TraceMeanField_ELBO
from torch import Tensor, nn
from zoo import LENGTHS, MASK, ZOO, B, H, X, Z

import pyro_rvae as rv
from pyro_rvae.core.handlers import weighted_auxiliaries
from pyro_rvae.core.noise import mean_path
from pyro_rvae.data import Batch, SequenceDataset, StaticDataset
from pyro_rvae.infer import measure
from pyro_rvae.infer.penalties import squared_norm

quiet = partial(rv.fit, progress=False, device="cpu")


class Sigmoid(nn.Linear):
    """An encoder of one sigmoid layer."""

    def __init__(self, in_dim: int, h_dim: int) -> None:
        super().__init__(in_dim, h_dim)
        self.out_dim = h_dim

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(super().forward(x))


def jacobian(model: Any, x: Tensor, mask: Tensor | None = None, **known: Any) -> Tensor:
    """||dc / dx||_F^2, summed, of the codes of real frames by real elements: one sequence alone at a time."""
    total = torch.zeros(())
    for i in range(len(x)):
        length = x.shape[1] if mask is None else int(mask[i].sum())
        one = x[i: i + 1] if model.static else x[i: i + 1, :length]
        mine = {k: v[i: i + 1, :length] if k == "controls" else v[i: i + 1] for k, v in known.items()}

        def codes(frames: Tensor, one: Tensor = one, mine: Any = mine) -> Tensor:
            with mean_path():
                trace = poutine.trace(model.guide).get_trace(torch.where(one.isnan(), one, frames), **mine)
            plate = [s["value"] for s in trace.nodes.values() if s["type"] == "sample" and not s["is_observed"]
                     and any(f.name == "batch" for f in s["cond_indep_stack"]) and s["value"].is_floating_point()]
            return torch.cat([v.flatten() for v in plate])

        whole = torch.autograd.functional.jacobian(codes, one.nan_to_num())
        total = total + whole.square().sum()
    return total


def test_a_sigmoid_layer_has_the_closed_form_of_the_paper() -> None:
    """Rifai et al. (2011), eq. 7: sum_i (h_i (1 - h_i))^2 sum_j W_ij^2."""
    point = rv.Conditional(nn.Identity(), rv.Delta(H))
    model = rv.AE(X, H, H, encoder=Sigmoid, posterior=point)
    x = torch.rand(B, X)
    h, w = model.encoder(x), model.encoder.weight
    expected = ((h * (1 - h)).square() * w.square().sum(1)).sum()
    penalty = rv.Contractive(0.7)(model, x)
    torch.testing.assert_close(penalty, 0.7 * expected)
    for mine, theirs in zip(torch.autograd.grad(penalty, [w, model.encoder.bias]),
                            torch.autograd.grad(0.7 * expected, [w, model.encoder.bias]), strict=True):
        torch.testing.assert_close(mine, theirs)


CASES = ["VAE", "AE-tied", "ConvVAE", "VRAE", "RAE", "RAE-steps", "VRNN", "RVAE", "STORN", "DMM", "DMM-combiner",
         "DSAE", "RVAE-feedback", "slow-clock", "HRAE", "two-loops", "shared", "conditional-VRNN", "gaps-VRNN",
         "gaps-STORN"]


@pytest.mark.parametrize("explicit", [False, True], ids=["vectorised", "explicit"])
@pytest.mark.parametrize("name", CASES)
def test_it_is_the_squared_jacobian_of_the_mean_path(name: str, explicit: bool) -> None:
    """In both forms, in a padded batch with garbage under the mask, with gaps."""
    case, model = ZOO[name], ZOO[name].make()
    x, mask, known = case.x(), None if case.static else MASK, case.extra()
    expected = jacobian(model, x, mask, **known)
    padded = x if mask is None else garbage(x, mask, torch.nan)
    if explicit:
        with rv.explicit():
            found = rv.Contractive(1.0)(model, padded, mask, **known)
    else:
        found = rv.Contractive(1.0)(model, padded, mask, **known)
    same(found.detach(), expected.detach(), name)
    assert found > 0


@pytest.mark.parametrize("name", ["VRNN", "DMM", "VRAE-GRU-2", "RVAE"])
def test_its_gradient_is_that_of_finite_differences(name: str) -> None:
    case, model = ZOO[name], ZOO[name].make()
    penalty, x = rv.Contractive(1.0), case.x()
    penalty(model, x, MASK).backward()
    used = [p for p in model.parameters() if p.grad is not None and p.grad.abs().max() > 1e-3]
    assert used
    for parameter in used[:3]:
        direction = torch.randn_like(parameter)
        slope, values = (parameter.grad * direction).sum(), []
        for step in (1e-5, -2e-5):
            parameter.data += step * direction
            values.append(penalty(model, x, MASK).detach())
        parameter.data += 1e-5 * direction
        torch.testing.assert_close(slope, (values[0] - values[1]) / 2e-5, rtol=1e-5, atol=1e-7)


def test_orthonormal_probes_give_the_norm_itself() -> None:
    model, x = ZOO["RVAE"].make(), ZOO["RVAE"].x()
    frames, code = rv.Contractive(1.0).code(model, x, MASK)
    size = code.shape[1]
    turned = torch.linalg.qr(torch.randn(size, size)).Q
    total = sum(squared_norm(frames, code, v.expand(B, -1)) for v in turned)
    same(total.detach(), rv.Contractive(1.0)(model, x, MASK).detach(), "trace")


def test_random_probes_are_unbiased() -> None:
    model, x = ZOO["RVAE"].make(), ZOO["RVAE"].x()
    exact = rv.Contractive(1.0)(model, x, MASK).item()
    with torch.no_grad():
        draws = torch.stack([rv.Contractive(1.0, probes=2)(model, x, MASK) for _ in range(300)])
    error = draws.std().item() / 300**0.5
    assert 0 < error < 0.1 * exact and abs(draws.mean().item() - exact) < 4 * error


def test_a_large_code_is_probed() -> None:
    """Exactly up to 64 numbers a sequence: 16 of width 4; a longer one takes one probe, so it is random."""
    model = rv.RVAE(X, 4, H)
    values = []
    for length in (16, 17):
        x = torch.rand(2, length, X)
        values.append([rv.Contractive(1.0)(model, x).item() for _ in range(2)])
    assert values[0][0] == values[0][1] and values[1][0] != values[1][1]


def test_missing_elements_contribute_nothing() -> None:
    """The derivative by x of the filled frames: what is missing has no derivative."""
    model, x = ZOO["gaps-VAE"].make(), ZOO["gaps-VAE"].x()
    frames, code = rv.Contractive(1.0).code(model, x)
    slope, = torch.autograd.grad(code.sum(), frames)
    assert not slope[x.isnan()].any() and slope[~x.isnan()].all()


def test_float32_fused_cells_are_differentiated_twice() -> None:
    for cell in (rv.LSTM, rv.GRU):
        model = rv.VRAE(X, Z, H, recurrence=cell, encoder=partial(rv.Bidirectional, cell=cell))
        x = torch.rand(2, 4, X)
        expected = torch.autograd.grad(rv.Contractive(1.0)(model, x), model.encoder.parameters())
        found = torch.autograd.grad(rv.Contractive(1.0)(model.float(), x.float()), model.encoder.parameters())
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a.double(), b, rtol=1e-3, atol=1e-5)


def test_the_caller_is_left_as_it_was() -> None:
    import pyro

    model, x = ZOO["VRNN"].make(), ZOO["VRNN"].x().requires_grad_()
    state, cudnn = torch.get_rng_state(), torch.backends.cudnn.enabled
    rv.Contractive(1.0)(model, x, MASK).backward()
    assert x.grad is None and torch.equal(state, torch.get_rng_state())
    assert torch.backends.cudnn.enabled == cudnn and not dict(pyro.get_param_store().items())
    with torch.no_grad():
        assert not rv.Contractive(1.0)(model, x, MASK).requires_grad


class Blind(rv.SequenceVAE):
    """x_t ~ p(x): a model without latents."""

    def __init__(self) -> None:
        super().__init__()
        self.likelihood = rv.distributions.conditional(rv.Bernoulli, 0, X)

    def generative(self, steps: Any) -> None:
        for t in steps:
            t.sample("x", self.likelihood)

    def inference(self, steps: Any, x: Tensor) -> None:
        return None


def test_errors() -> None:
    x = ZOO["VRNN"].x()
    with pytest.raises(ValueError, match="Contractive: Blind draws no continuous latent for a sequence"):
        rv.Contractive(1.0)(Blind(), x)
    with pytest.raises(TypeError, match=r"a derivative by x, and x holds integer codes \(torch.int64\)"):
        rv.Contractive(1.0)(ZOO["categorical"].make(), ZOO["categorical"].x())
    for weight in (-1.0, float("nan"), "1"):
        with pytest.raises(ValueError, match="weight must be a finite number of at least 0, got"):
            rv.Contractive(weight)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="probes must be an integer of at least 1, or None"):
        rv.Contractive(1.0, probes=0)
    for penalty, got in ((rv.Contractive, "the class Contractive"), (0.1, "float")):
        with pytest.raises(TypeError, match=f"Loss: penalty must be a function of .*got {got}"):
            rv.Loss(ZOO["VRNN"].make(), penalty=penalty)  # type: ignore[arg-type]


def test_discrete_draws_stand_at_their_mode() -> None:
    import pyro.distributions as dist

    with mean_path():
        drawn = poutine.trace(lambda: __import__("pyro").sample("k", dist.Categorical(torch.tensor([0.2, 0.5, 0.3]))))
        assert drawn.get_trace().nodes["k"]["value"] == 1


# ------------------------------------------------------------------------------------------------ in the loss
@pytest.mark.parametrize("name", ["VRNN", "AE"])
def test_loss_adds_it_per_frame_in_training_mode(name: str) -> None:
    case, model = ZOO[name], ZOO[name].make()
    x, mask = case.x(), None if case.static else MASK
    frames = B if case.static else int(LENGTHS.sum())
    plain, with_it = rv.Loss(model), rv.Loss(model, penalty=rv.Contractive(0.3))
    expected = rv.Contractive(0.3)(model, x, mask) / frames
    with rv.given_noise(0):
        torch.testing.assert_close(with_it(x, mask) - plain(x, mask), expected)
        with weighted_auxiliaries(2.0):
            torch.testing.assert_close(with_it(x, mask) - plain(x, mask), 2 * expected)
    model.eval()
    with rv.given_noise(0):
        assert with_it(x, mask) == plain(x, mask)


@pytest.mark.parametrize("elbo", [Trace_ELBO, TraceMeanField_ELBO])
@pytest.mark.parametrize("weight", [0.3, 1.0])
def test_the_log_does_not_contain_it(data: SequenceDataset, elbo: Any, weight: float) -> None:
    """One batch an epoch, exact rows (no random number): the log's bound is that of the same draws."""
    torch.manual_seed(0)
    model = rv.RVAE(5, 2, 4)
    batch = data.padded(data.batches(8, seed=4).order[0])
    torch.manual_seed(4)
    terms = measure(model, batch, analytic=elbo is TraceMeanField_ELBO)
    row = quiet(model, data, epochs=1, batch_size=8, seed=4, elbo=elbo(), penalty=rv.Contractive(3.0),
                kl_weight=rv.infer.constant(weight)).rows[0]
    found = [row.elbo, row.reconstruction, row.kl]
    np.testing.assert_allclose(found, [term.sum().item() / data.num_frames for term in terms], rtol=1e-9)


class Wordy(rv.VRAE):
    """A VRAE with an auxiliary reward."""

    def inference(self, steps: Any, x: Tensor) -> None:
        super().inference(steps, x)
        steps.auxiliary("aux", -7.0 * self.likelihood(torch.ones(1, self.h_dim)).mean.sum() * torch.ones(x.shape[:2]))


@pytest.mark.parametrize("elbo", [Trace_ELBO, TraceMeanField_ELBO])
def test_the_log_contains_no_auxiliary_cost(data: SequenceDataset, elbo: Any) -> None:
    torch.manual_seed(0)
    model = Wordy(5, 2, 4)
    batch = data.padded(data.batches(8, seed=4).order[0])
    torch.manual_seed(4)
    terms = measure(model.eval(), batch, analytic=elbo is TraceMeanField_ELBO)
    model.train()
    row = quiet(model, data, epochs=1, batch_size=8, seed=4, elbo=elbo(), penalty=rv.Contractive(0.5)).rows[0]
    np.testing.assert_allclose([row.elbo, row.kl], [terms.elbo.sum() / 33, terms.kl.sum() / 33], rtol=1e-9)


@pytest.mark.parametrize("name", ["AE", "RVAE"])
def test_training_with_it_makes_the_jacobian_smaller(name: str, data: SequenceDataset) -> None:
    norms, static = [], ZOO[name].static
    train = StaticDataset(data.values[:20], kind="binary") if static else data
    for penalty in (None, rv.Contractive(5.0)):
        torch.manual_seed(0)
        model = rv.AE(5, 2, 8) if static else rv.RVAE(5, 2, 4)
        history = quiet(model, train, epochs=15, batch_size=8, lr=0.02, penalty=penalty)
        assert np.isfinite(history["elbo"]).all()
        whole = train.padded() if not static else Batch(train.values)
        norms.append(rv.Contractive(1.0)(model, *whole).item())
    assert norms[1] < 0.5 * norms[0]


def test_a_run_is_known_by_its_penalty(data: SequenceDataset, tmp_path: Path) -> None:
    def run(epochs: int, folder: Path | None = None, weight: float | None = 0.5, **how: Any) -> rv.History:
        torch.manual_seed(0)
        penalty = None if weight is None else rv.Contractive(weight, probes=1)
        return quiet(rv.RVAE(5, 2, 4), data, epochs=epochs, batch_size=4, checkpoint=folder, penalty=penalty, **how)

    whole = run(3)
    run(2, tmp_path)
    resumed = run(3, tmp_path, resume=True)
    assert resumed["elbo"].tolist() == whole["elbo"].tolist()
    for other in (0.6, None):
        with pytest.raises(ValueError, match=r"is of another run: penalty was .Contractive\(weight=0.5, probes=1\)."):
            run(4, tmp_path, weight=other, resume=True)
