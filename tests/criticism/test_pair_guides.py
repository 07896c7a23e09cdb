"""What a guide of a user's own must be for forecasts, and what is said where it isn't."""

from __future__ import annotations

import numpy as np
import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO
from pyro.infer.autoguide import AutoNormal

import pyro_rvae as rv
from pyro_rvae.criticism import (
    Pair,
    evaluate,
    free_running,
    from_prefix,
    mutual_information,
    one_step,
    predictive_scores,
    prequential_pit,
    reconstructed,
    sbc,
)

Q, R, C = 0.5, 0.3, 0.9


def walk(x, mask=None):
    """z_t ~ N(C z_{t-1}, Q), x_t ~ N(z_t, R)."""
    with pyro.plate("data", len(x)), poutine.mask(mask=True):
        z = torch.zeros(len(x), 1)
        for t in range(x.shape[1]):
            with poutine.mask(mask=True if mask is None else mask[:, t]):
                z = pyro.sample(f"z_{t}", dist.Normal(C * z, Q**0.5).to_event(1))
                pyro.sample(f"x_{t}", dist.Normal(z, R**0.5).to_event(1), obs=x[:, t])


def filtered(x):
    """Moments of p(z_t | x_{<=t}), by the Kalman recursion."""
    mean, variance, found = torch.zeros(len(x), 1), torch.tensor(0.0), []
    for t in range(x.shape[1]):
        mean, variance = C * mean, C * C * variance + Q
        gain = variance / (variance + R)
        mean, variance = mean + gain * (x[:, t] - mean), (1 - gain) * variance
        found.append((mean, variance))
    return found


def smoother(x):
    """The exact posterior, drawn from the last step to the first."""
    moments, z = filtered(x), None
    with pyro.plate("data", len(x)):
        for t in reversed(range(x.shape[1])):
            mean, variance = moments[t]
            if z is not None:
                gain = C * variance / (C * C * variance + Q)
                mean, variance = mean + gain * (z - C * mean), variance - gain * C * variance
            z = pyro.sample(f"z_{t}", dist.Normal(mean, variance.sqrt()).to_event(1))


@pytest.fixture
def even():
    return rv.data.SequenceDataset(torch.randn(12, 1), [4, 4, 4])


@pytest.fixture
def automatic(even):
    guide = AutoNormal(walk)
    svi = SVI(walk, guide, pyro.optim.Adam({"lr": 0.05}), Trace_ELBO())
    for _ in range(20):
        svi.step(even.padded().x)
    return Pair(walk, guide)


# ------------------------------------------------------------------------------- guides that know the future
def test_an_autoguide_makes_no_forecasts(automatic, even):
    """Its law of z_t has seen the x that is to be forecast."""
    for name, draw in {
        "one_step": lambda: one_step(automatic, even, 2),
        "from_prefix": lambda: from_prefix(automatic, even, 2, prefix=1),
        "one_step needs": lambda: prequential_pit(automatic, even, 9),
        "one_step needs an": lambda: predictive_scores(automatic, even, num=2, draw=one_step),
    }.items():
        with pytest.raises(ValueError, match=f"{name}.*AutoNormal has a law for each row .*or draw with free_running"):
            draw()
    for draw in (free_running, reconstructed):
        assert draw(automatic, even, 2).values.shape == (2, 12, 1)


def test_an_autoguide_and_other_data(automatic, even):
    for other in (even.subset([0, 1]), rv.data.SequenceDataset(torch.randn(20, 1), [4] * 5)):
        with pytest.raises(ValueError, match=f"this AutoNormal has a law for each of 3 rows, got {len(other)}: look "
                                             "at it with the whole data set"):
            evaluate(automatic, other, num_particles=2)


def test_an_autoguide_and_ragged_data():
    """It masks nothing, and batch_size=1 is not for it: neither is advised."""
    ragged = rv.data.SequenceDataset(torch.randn(5, 1), [3, 2])

    def unmasked(x):
        walk(x)

    for model, match in ((walk, "'z_0' and its like of the guide have a density in the padding, which would be counted"
                                ": take sequences of one length, or a guide that reads x"),
                         (unmasked, "takes no mask, .* let it take mask .* or take sequences of one length, or a")):
        guide = AutoNormal(model)
        batch = ragged.padded()
        guide(*((batch.x, batch.mask) if model is walk else (batch.x,)))
        with pytest.raises(ValueError, match=match) as caught:
            evaluate(Pair(model, guide), ragged, num_particles=2)
        assert "batch_size" not in str(caught.value)


# ------------------------------------------------------------------------------- guides without the model's latents
def empty(x):
    with pyro.plate("data", len(x)):
        pass


@pytest.mark.parametrize("use", [
    lambda *pair: one_step(*pair, 2), lambda *pair: from_prefix(*pair, 2, prefix=1), lambda *pair: sbc(*pair, 20, 9),
    lambda *pair: mutual_information(*pair), lambda *pair: prequential_pit(*pair, 9)])
def test_a_guide_that_draws_no_latent(use, even):
    message = r"only the model has \['z'\], only the guide none: sample every latent of the model in the guide, under"
    with pytest.raises(ValueError, match="model and guide of Pair must draw the same latents; " + message):
        use(Pair(walk, empty), even)


def test_a_guide_of_another_name(even):
    def guide(x):
        with pyro.plate("data", len(x)):
            for t in range(x.shape[1]):
                pyro.sample(f"w_{t}", dist.Normal(x[:, t], 1.0).to_event(1))

    pair = Pair(walk, guide)
    for draw in (lambda: one_step(pair, even, 2), lambda: from_prefix(pair, even, 2, prefix=1)):
        with pytest.raises(ValueError, match=r"only the model has \['z'\], only the guide \['w'\]"):
            draw()


def test_the_first_frame_asks_no_guide():
    single = rv.data.SequenceDataset(torch.randn(2, 1), [1, 1])
    assert one_step(Pair(walk, empty), single, 2).values.shape == (2, 2, 1)


def test_a_model_of_ours_whose_guide_lacks_a_latent(even):
    class Lacking(rv.RVAE):
        def inference(self, steps, x):
            pass

    model = Lacking.for_data(even, z_dim=2, h_dim=4)
    for use in (lambda: one_step(model, even, 2), lambda: sbc(model, even, 20, 9)):
        with pytest.raises(ValueError, match=r"of Lacking must draw the same latents; only the model has \['z'\]"):
            use()


@pytest.mark.parametrize("width", [1, 3])
def test_a_latent_of_another_shape_is_named(width):
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("latent", dist.Normal(torch.zeros(len(x), 2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("latent", dist.Normal(torch.zeros(len(x), width), 1.0).to_event(1))

    rows = rv.data.StaticDataset(torch.randn(5, 2))
    match = rf"'latent' has shape \(2,\), which the value \(2, 5, {width}\) doesn't end in"
    with pytest.raises(ValueError, match=match):
        evaluate(Pair(model, guide, static=True), rows, num_particles=2)


def test_a_latent_without_an_event_is_named():
    """With as many sequences as numbers the value would fit by its size alone."""
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("latent", dist.Normal(torch.zeros(len(x), 2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("latent", dist.Normal(torch.zeros(len(x)), 1.0))

    for rows in (2, 5):
        with pytest.raises(ValueError, match=r"'latent' has shape \(2,\)"):
            evaluate(Pair(model, guide, static=True), rv.data.StaticDataset(torch.randn(rows, 2)), num_particles=2)


# ------------------------------------------------------------------------------- programs that take a size
def sized(x=None, size=None, spread=1e-4, name="x"):
    """z_t ~ N(z_{t-1} + 1, tiny), x_t ~ N(z_t, tiny)."""
    batch, frames = x.shape[:2] if size is None else size
    with pyro.plate("data", batch):
        z = torch.zeros(batch, 1)
        for t in range(frames):
            seen = x[:, t] if x is not None and t < x.shape[1] else None
            z = pyro.sample(f"z_{t}", dist.Normal(z + 1, spread).to_event(1))
            pyro.sample(f"{name}_{t}", dist.Normal(z, spread).to_event(1), obs=seen)


def copying(x, spread=1e-4):
    with pyro.plate("data", len(x)):
        for t in range(x.shape[1]):
            pyro.sample(f"z_{t}", dist.Normal(x[:, t], spread).to_event(1))


def test_a_program_with_a_size_goes_on_from_the_guides_past():
    data = rv.data.SequenceDataset(torch.tensor([3.0, 7, 0, 0, -1, 5, 0, 0])[:, None], [4, 4])
    pair = Pair(sized, copying)
    for prefix, expected in ((1, [3, 4, 5, 6, -1, 0, 1, 2]), (2, [3, 7, 8, 9, -1, 5, 6, 7]),
                             (3, [3, 7, 0, 1, -1, 5, 0, 1])):
        assert np.allclose(from_prefix(pair, data, 3, prefix=prefix).values[..., 0], expected, atol=0.01)
    assert np.allclose(one_step(pair, data, 2).values[..., 0], [1, 4, 8, 1, 1, 0, 6, 1], atol=0.01)
    assert np.allclose(free_running(pair, data, 2).values[..., 0], [1, 2, 3, 4] * 2, atol=0.01)
    assert prequential_pit(pair, data, 9).values.shape == (8, 1)


def test_data_of_another_name_behind_a_prefix():
    def model(x=None, size=None):
        sized(x, size, name="obs")

    data = rv.data.SequenceDataset(torch.tensor([3.0, 7, 0])[:, None], [3])
    made = from_prefix(Pair(model, copying, observed="obs"), data, 2, prefix=2)
    assert np.allclose(made.values[..., 0], [3, 7, 8], atol=0.01)


def test_a_program_with_a_size_that_reads_its_own_past():
    def model(x=None, size=None):
        batch, frames = x.shape[:2] if size is None else size
        with pyro.plate("data", batch):
            before = torch.zeros(batch, 1)
            for t in range(frames):
                seen = x[:, t] if x is not None and t < x.shape[1] else None
                before = pyro.sample(f"x_{t}", dist.Normal(2 * before + 1, 1e-4).to_event(1), obs=seen)

    data = rv.data.SequenceDataset(torch.tensor([3.0, 5, 0, 0])[:, None], [4])
    pair = Pair(model, empty)
    assert np.allclose(one_step(pair, data, 2).values[..., 0], [1, 7, 11, 1], atol=0.01)
    assert np.allclose(from_prefix(pair, data, 2, prefix=2).values[..., 0], [3, 5, 11, 23], atol=0.01)


def test_a_program_that_observes_a_part_of_its_steps_is_refused(even):
    def model(x=None, size=None):
        with pyro.plate("data", len(x)):
            for t in range(x.shape[1]):
                pyro.sample(f"x_{t}", dist.Normal(torch.zeros(1), 1.0).to_event(1), obs=x[:, t] if t < 2 else None)

    with pytest.raises(ValueError, match=r"observes \['x_0', 'x_1'\]: say which is the data"):
        evaluate(Pair(model, empty), even, num_particles=1)

    def late(x=None, size=None):
        """Behind a prefix it observes the frames at the end instead of the beginning."""
        batch, frames = x.shape[:2] if size is None else size
        with pyro.plate("data", batch):
            for t in range(frames):
                seen = None if x is None or t < frames - x.shape[1] else x[:, t - frames]
                pyro.sample(f"x_{t}", dist.Normal(torch.zeros(1), 1.0).to_event(1), obs=seen)

    with pytest.raises(ValueError, match="the first frames of x and a longer size, the model observes 'x_3' alone"):
        from_prefix(Pair(late, empty), even, 2, prefix=1)
    with pytest.raises(ValueError, match=r"observes \['x_2', 'x_3'\]: say which is the data"):
        from_prefix(Pair(late, empty), even, 2, prefix=2)


# ------------------------------------------------------------------------------- guides that go backwards
def evidence(x):
    frames = len(x)
    lower = torch.linalg.inv(torch.eye(frames) - C * torch.diag(torch.ones(frames - 1), -1))
    return dist.MultivariateNormal(torch.zeros(frames), Q * lower @ lower.T + R * torch.eye(frames)).log_prob(x[:, 0])


def test_a_guide_may_draw_backwards(even):
    """Its steps are in order of time: an exact one gives the evidence with each draw, from the first call on."""
    found = evaluate(Pair(walk, smoother), even, num_particles=3)
    assert np.allclose(found.log_weights, np.array([evidence(x) for x in even])[:, None], atol=1e-9)
    num = 3000
    draws = one_step(Pair(walk, smoother), even, num).values[..., 0].reshape(num, 3, 4)
    for t, (mean, variance) in enumerate(filtered(even.padded().x)[:-1], 1):
        error = (float(C * C * variance + Q + R) / num) ** 0.5
        assert (np.abs(draws[:, :, t].mean(0) - C * mean[:, 0].numpy()) < 4.5 * error).all()


def test_backward_and_forward_are_the_same_guide(even):
    def guide(x, backward):
        steps = range(x.shape[1])
        with pyro.plate("data", len(x)):
            for t in reversed(steps) if backward else steps:
                pyro.sample(f"z_{t}", dist.Normal(x[:, t] + t, 0.5).to_event(1))

    pairs = [Pair(walk, lambda x, back=back: guide(x, back)) for back in (False, True)]
    lonely = rv.data.SequenceDataset(torch.randn(9, 1), [1, 4, 4])  # whose first frame tells no direction
    first, again = (evaluate(pairs[1], lonely, num_particles=3, batch_size=1).log_weights for _ in range(2))
    assert np.array_equal(first, again)
    information = [mutual_information(pair, even, num_particles=4).terms for pair in pairs]
    assert np.allclose(*information, atol=1e-9)
    weights = [evaluate(pair, even, num_particles=3).log_weights for pair in pairs]
    assert np.allclose(*weights, atol=1e-12)
