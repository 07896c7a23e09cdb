from __future__ import annotations

import numpy as np
import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO, config_enumerate
from pyro.infer.autoguide import AutoDiagonalNormal, AutoNormal
from torch import nn
from zoo import ZOO

import pyro_rvae as rv
from pyro_rvae.criticism import Pair, collapse_report, evaluate, free_running, from_prefix, one_step, reconstructed

X, Z = 3, 2


# ------------------------------------------------------------------------------- a DMM as Pyro's example writes it
def reverse(x, lengths):
    """Each sequence backwards, its padding at the end."""
    out = torch.zeros_like(x)
    for b, length in enumerate(lengths.tolist()):
        out[b, :length] = x[b, :length].flip(0)
    return out


class PlainDMM(nn.Module):
    def __init__(self):
        super().__init__()
        self.transition, self.emitter = nn.Linear(Z, 2 * Z), nn.Linear(Z, X)
        self.rnn, self.combiner = nn.RNN(X, 4, batch_first=True), nn.Linear(Z + 4, 2 * Z)
        self.drop = nn.Dropout(0.5)
        self.z_0, self.z_q_0 = nn.Parameter(torch.randn(Z)), nn.Parameter(torch.randn(Z))

    def model(self, mini_batch, mini_batch_reversed, mini_batch_mask, mini_batch_seq_lengths, annealing_factor=0.1):
        pyro.module("dmm", self)
        z = self.z_0.expand(len(mini_batch), Z)
        with pyro.plate("z_minibatch", len(mini_batch)):
            for t in pyro.markov(range(1, mini_batch.size(1) + 1)):
                loc, raw = self.transition(z).chunk(2, -1)
                with poutine.scale(None, annealing_factor):
                    z = pyro.sample(f"z_{t}", dist.Normal(loc, raw.exp())
                                    .mask(mini_batch_mask[:, t - 1 : t]).to_event(1))
                pyro.sample(f"obs_x_{t}", dist.Bernoulli(self.emitter(z).sigmoid())
                            .mask(mini_batch_mask[:, t - 1 : t]).to_event(1), obs=mini_batch[:, t - 1, :])

    def guide(self, mini_batch, mini_batch_reversed, mini_batch_mask, mini_batch_seq_lengths, annealing_factor=0.1):
        pyro.module("dmm", self)
        hidden = self.drop(self.rnn(mini_batch_reversed)[0])
        hidden = reverse(hidden, mini_batch_seq_lengths)
        z = self.z_q_0.expand(len(mini_batch), Z)
        with pyro.plate("z_minibatch", len(mini_batch)):
            for t in pyro.markov(range(1, mini_batch.size(1) + 1)):
                loc, raw = self.combiner(torch.cat([z, hidden[:, t - 1]], -1)).chunk(2, -1)
                with poutine.scale(None, annealing_factor):
                    z = pyro.sample(f"z_{t}", dist.Normal(loc, raw.exp())
                                    .mask(mini_batch_mask[:, t - 1 : t]).to_event(1))


def dmm_arguments(batch):
    lengths = batch.mask.sum(-1)
    return batch.x, reverse(batch.x, lengths), batch.mask, lengths


@pytest.fixture
def ragged():
    return rv.data.SequenceDataset(torch.randn(5, 1), [3, 2])


@pytest.fixture
def binary():
    return rv.data.SequenceDataset((torch.rand(12, X) < 0.4).double(), [5, 2, 4, 1])


@pytest.fixture
def dmm():
    torch.manual_seed(4)
    plain = PlainDMM()
    return plain, Pair(plain.model, plain.guide, arguments=dmm_arguments)


@torch.no_grad()
def by_hand(plain, data, z):
    """``log p(x, z)`` and ``log p(x | z)`` of paths ``(K, N, T, Z)``, in plain torch."""
    joint, likelihood = torch.zeros(2, *z.shape[:2])
    for n, x in enumerate(data):
        before = plain.z_0.expand(len(z), Z)
        for t in range(len(x)):
            loc, raw = plain.transition(before).chunk(2, -1)
            before = z[:, n, t]
            prior = -0.5 * ((before - loc) / raw.exp()) ** 2 - raw - 0.5 * np.log(2 * np.pi)
            p = plain.emitter(before).sigmoid()
            seen = (x[t] * p.log() + (1 - x[t]) * (1 - p).log()).sum(-1)
            joint[:, n] += prior.sum(-1) + seen
            likelihood[:, n] += seen
    return joint, likelihood


def test_the_densities_of_a_plain_dmm(dmm, binary):
    plain, pair = dmm
    groups = rv.criticism._arviz.groups_of(rv.to_arviz(pair, binary, 6))
    z, stats = torch.tensor(groups["posterior"].z.values[0]), groups["sample_stats"]
    assert z.shape == (6, 4, 5, Z)
    assert np.array_equal(~np.isnan(z[0, :, :, 0].numpy()), groups["constant_data"].mask.values)
    joint, likelihood = by_hand(plain, binary, z)
    assert np.allclose(stats.log_p.values[0], joint, atol=1e-10)
    assert np.allclose(groups["log_likelihood"].x.values[0], likelihood, atol=1e-10)


def test_a_figure_is_that_of_the_elbo_and_of_no_cut(dmm, binary):
    plain, pair = dmm
    whole = evaluate(pair, binary, num_particles=100)
    cut = evaluate(pair, binary, num_particles=100, batch_size=1, max_bytes=40_000)
    assert np.allclose(whole.log_weights, cut.log_weights, atol=1e-10)
    assert len(pyro.get_param_store()) == 0 and plain.training and plain.drop.training
    plain.eval()
    batch = binary.padded()
    losses = [Trace_ELBO().loss(plain.model, plain.guide, *dmm_arguments(batch), annealing_factor=1.0)
              for _ in range(100)]
    error = np.hypot(np.std(losses) / 10, whole.errors["elbo"] * whole.num_frames)
    assert abs(np.mean(losses) - whole.elbo * whole.num_frames) < 4 * error


def test_everything_works_on_a_plain_dmm(dmm, binary):
    plain, pair = dmm
    report = collapse_report(pair, binary, num_particles=3)
    assert report.num_units == Z and report.kl_by_dim["z"].shape == (Z,)
    assert report.kl_by_dim["z"].sum() == pytest.approx(report.kl, rel=0.5)
    for draws in (free_running(pair, binary, 3), reconstructed(pair, binary, 3), one_step(pair, binary, 3),
                  from_prefix(pair, binary, 3, prefix=2)):
        assert draws.values.shape == (3, 12, X) and set(np.unique(draws.values)) <= {0.0, 1.0}
    assert np.array_equal(draws.values[:, :2], np.broadcast_to(binary[0][:2], (3, 2, X)))
    assert np.isfinite(rv.predictive_check(pair, binary, {"mean": np.mean}, num=3).p_value("mean")[0])


def test_free_running_draws_are_the_models_own(dmm):
    plain, pair = dmm
    data = rv.data.SequenceDataset(torch.zeros(6, X), [3, 3], kind="binary")
    drawn = free_running(pair, data, 4000).values.reshape(-1, 3, X)
    with torch.no_grad():
        z, means = plain.z_0.expand(8000, Z), []
        for _ in range(3):
            loc, raw = plain.transition(z).chunk(2, -1)
            z = loc + raw.exp() * torch.randn_like(loc)
            means.append(plain.emitter(z).sigmoid().mean(0))
    assert np.allclose(drawn.mean(0), torch.stack(means), atol=0.03)


def test_a_continuation_follows_from_the_guides_past():
    def model(x):
        with pyro.plate("batch", len(x)):
            z = torch.zeros(len(x), 1)
            for t in range(x.shape[1]):
                z = pyro.sample(f"z_{t}", dist.Normal(z + 1, 1e-4).to_event(1))
                pyro.sample(f"x_{t}", dist.Normal(z, 1e-4).to_event(1), obs=x[:, t])

    def guide(x):
        with pyro.plate("batch", len(x)):
            for t in range(x.shape[1]):
                pyro.sample(f"z_{t}", dist.Normal(x[:, t], 1e-4).to_event(1))

    data = rv.data.SequenceDataset(torch.tensor([3.0, 7, 0, 0, -1, 5, 0, 0])[:, None], [4, 4])
    found = from_prefix(Pair(model, guide), data, 2, prefix=2).values[..., 0]
    assert np.allclose(found, [3, 7, 8, 9, -1, 5, 6, 7], atol=0.01)
    assert np.allclose(one_step(Pair(model, guide), data, 2).values[..., 0], [1, 4, 8, 1, 1, 0, 6, 1], atol=0.01)


# ------------------------------------------------------------------------------- a VAE as Pyro's tutorial writes it
class PlainVAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(4, 2 * Z), nn.Linear(Z, 4)

    def model(self, x):
        pyro.module("decoder", self.decoder)
        with pyro.plate("data", x.shape[0]):
            z = pyro.sample("latent", dist.Normal(x.new_zeros(x.shape[0], Z), 1.0).to_event(1))
            pyro.sample("obs", dist.Bernoulli(self.decoder(z).sigmoid(), validate_args=False).to_event(1),
                        obs=x.reshape(-1, 4))

    def guide(self, x):
        pyro.module("encoder", self.encoder)
        with pyro.plate("data", x.shape[0]):
            loc, raw = self.encoder(x.reshape(-1, 4)).chunk(2, -1)
            pyro.sample("latent", dist.Normal(loc, raw.exp()).to_event(1))


@pytest.mark.parametrize("shape", [(4,), (2, 2)])
def test_a_plain_vae(shape):
    plain, rows = PlainVAE(), rv.data.StaticDataset((torch.rand(9, *shape) < 0.5).double())
    pair = Pair(plain.model, plain.guide, static=True)
    found = evaluate(pair, rows, num_particles=1500)
    groups = rv.criticism._arviz.groups_of(rv.to_arviz(pair, rows, 2))
    assert groups["posterior"].latent.sizes == {"chain": 1, "draw": 2, "sequence": 9, "latent_dim": Z}
    points = torch.linspace(-6, 6, 241)  # the evidence by quadrature over both latents
    grid = torch.cartesian_prod(points, points)
    x, logits = rows.values.reshape(9, 4), plain.decoder(grid)
    joint = dist.Normal(0.0, 1.0).log_prob(grid).sum(-1) + dist.Bernoulli(logits=logits).log_prob(x[:, None]).sum(-1)
    exact = (joint.logsumexp(-1) + 2 * np.log(0.05)).detach().numpy()
    assert np.allclose(found.sequence_bounds(), exact, atol=0.2)
    assert found.unit == "item" and free_running(pair, rows, 2).values.shape == (2, 9, 4)


# ------------------------------------------------------------------------------- our own
@pytest.mark.parametrize("name", ["VRNN", "DMM", "VRAE", "VAE", "shared", "HRAE-2-3", "RVAE-dense", "flow-VRNN"])
def test_a_model_of_ours_has_the_same_figures(name):
    case = ZOO[name]
    model, x = case.make(), case.x()
    data = rv.data.StaticDataset(x) if case.static else rv.data.SequenceDataset.from_sequences(
        [row[:length] for row, length in zip(x, (6, 3, 5, 1), strict=True)])
    pair = Pair(model.model, model.guide, static=case.static)
    ours, theirs = (evaluate(m, data, num_particles=4, batch_size=3) for m in (model, pair))
    assert np.allclose(ours.log_weights, theirs.log_weights, atol=1e-6)
    assert np.allclose(ours.kls, theirs.kls) and ours.shared_kl == pytest.approx(theirs.shared_kl)
    ours, theirs = (collapse_report(m, data, num_particles=2) for m in (model, pair))
    assert ours.kl == pytest.approx(theirs.kl) and ours.active_units == theirs.active_units
    assert ours.kl_by_dim.keys() == theirs.kl_by_dim.keys()
    assert free_running(pair, data, 2).values.shape == (2, data.num_frames, data.x_dim)


def test_nothing_is_made_on_the_default_device():
    data = rv.data.SequenceDataset(torch.randn(7, 2), [4, 3])
    model = rv.RVAE.for_data(data, z_dim=2, h_dim=4)
    with torch.device("meta"):
        found = rv.to_arviz(Pair(model.model, model.guide), data, 2)
    assert rv.criticism._arviz.groups_of(found)["posterior"].z.shape == (1, 2, 2, 4, 2)


def test_other_random_numbers_and_modes_are_left_alone(dmm, binary):
    plain, pair = dmm
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = evaluate(pair, binary, num_particles=2).log_weights
    assert torch.equal(before, torch.get_rng_state()) and plain.drop.training
    assert np.array_equal(first, evaluate(pair, binary, num_particles=2).log_weights)


# ------------------------------------------------------------------------------- shapes of programs
def walk(x, mask=None):
    """z_t ~ N(z_{t-1}, 1), x_t ~ N(z_t, 1): numbers, no vectors; its plate has another dim and an inner one."""
    with pyro.plate("rows", x.shape[0], dim=-2), pyro.plate("inner", 2, dim=-1):
        z = torch.zeros(x.shape[0], 2)
        for t in range(x.shape[1]):
            with poutine.mask(mask=True if mask is None else mask[:, t, None]):
                z = pyro.sample(f"z{t}", dist.Normal(z, 1.0))
                pyro.sample(f"y{t}", dist.Normal(z, 1.0), obs=x[:, t])


def walk_guide(x, mask=None):
    loc = pyro.param("loc", torch.tensor(0.3))
    with pyro.plate("inner", 2, dim=-1), pyro.plate("rows", x.shape[0], dim=-2):
        for t in range(x.shape[1]):
            with poutine.mask(mask=True if mask is None else mask[:, t, None]):
                pyro.sample(f"z{t}", dist.StudentT(5.0, loc * x[:, t], 1.0))


def test_inner_plates_masks_and_parameters_in_the_store():
    data = rv.data.SequenceDataset(torch.randn(7, 2), [4, 3])
    pair = Pair(walk, walk_guide, plate="rows")
    with pytest.raises(ValueError, match=r"the pair's parameters \['loc'\] are not in Pyro's store"):
        evaluate(pair, data)
    assert not len(pyro.get_param_store())
    walk_guide(data.padded().x)
    found = evaluate(pair, data, num_particles=1000)
    assert list(pyro.get_param_store()) == ["loc"]
    groups = rv.criticism._arviz.groups_of(rv.to_arviz(pair, data, 2))
    assert groups["posterior"].z.sizes == {"chain": 1, "draw": 2, "sequence": 2, "time": 4, "z_dim": 2}
    for n, x in enumerate(data):  # two independent walks
        steps = torch.arange(1.0, len(x) + 1)
        law = dist.MultivariateNormal(torch.zeros(len(x)), torch.minimum(steps[:, None], steps) + torch.eye(len(x)))
        assert found.sequence_bounds()[n] == pytest.approx(float(law.log_prob(x.T).sum()), abs=0.3)


def test_a_scale_or_subsampling_is_in_no_figure():
    def model(x):
        with poutine.scale(scale=7.0), pyro.plate("data", 1000, subsample=torch.arange(len(x))):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0).expand([1]).to_event(1) if z.dim() == 0 else
                        dist.Normal(z[..., None], 1.0).to_event(1), obs=x)

    def guide(x):  # the posterior
        with pyro.plate("data", 1000, subsample=torch.arange(len(x))):
            pyro.sample("z", dist.Normal(x[:, 0] / 2, 0.5**0.5))

    rows = rv.data.StaticDataset(torch.randn(5, 1))
    found = evaluate(Pair(model, guide, static=True), rows, num_particles=3)
    exact = dist.Normal(0.0, 2**0.5).log_prob(rows.values[:, 0])
    assert np.allclose(found.log_weights, exact[:, None])


def test_what_is_drawn_once_a_data_set_is_drawn_for_each_particle():
    def model(x):
        s = pyro.sample("s", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(s, 1.0).expand([1]).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x):
        s = pyro.sample("s", dist.Normal(1.0, 0.5))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal((x + s) / 2, 0.5**0.5).to_event(1))

    rows = rv.data.StaticDataset(torch.randn(4, 1))
    pair = Pair(model, guide, static=True)
    groups = rv.criticism._arviz.groups_of(rv.to_arviz(pair, rows, 5))
    s = groups["posterior"].s.values[0]
    assert s.shape == (5,) and len(np.unique(s)) == 5
    exact = dist.Normal(torch.tensor(s)[:, None], 2**0.5).log_prob(rows.values[:, 0])
    assert np.allclose(groups["sample_stats"].log_weight.values[0], exact)
    assert free_running(pair, rows, 500).values.mean() == pytest.approx(1.0, abs=0.15)  # s ~ q(s)


def test_an_autoguide_is_looked_at_with_its_data():
    data = rv.data.SequenceDataset(torch.randn(12, 1), [4, 4, 4])

    def model(x):
        with pyro.plate("data", len(x)):
            for t in range(x.shape[1]):
                z = pyro.sample(f"z_{t}", dist.Normal(torch.zeros(len(x), 1), 1.0).to_event(1))
                pyro.sample(f"x_{t}", dist.Normal(z, 1.0).to_event(1), obs=x[:, t])

    guide = AutoNormal(model)
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.1}), Trace_ELBO())
    for _ in range(60):
        svi.step(data.padded().x)
    found = evaluate(Pair(model, guide), data, num_particles=100, batch_size=1)
    exact = dist.Normal(0.0, 2**0.5).log_prob(data.values).sum()
    assert found.iwae * 12 == pytest.approx(-float(exact), abs=0.5)
    message = "this AutoNormal has a law for each of 3 rows, got 2: look at it with the whole data set"
    with pytest.raises(ValueError, match=message):
        evaluate(Pair(model, guide, plate="data"), data.subset([0, 1]))
    joint = AutoDiagonalNormal(model)
    joint(data.padded().x)
    with pytest.raises(ValueError, match="draws all latents jointly"):
        evaluate(Pair(model, joint), data)


def test_integer_codes():
    data = rv.data.SequenceDataset(torch.randint(0, 3, (6, 1)), [4, 2], kind="categories", classes=3)

    def model(x, mask, reads=False):
        with pyro.plate("batch", len(x)):
            for t in range(x.shape[1]):
                z = pyro.sample(f"z_{t}", dist.Categorical(torch.ones(len(x), 2)).mask(mask[:, t]))
                logits = torch.eye(2, 3)[z] + (10 * x[:, 0] * torch.eye(3)[0] if reads else 0)
                pyro.sample(f"x_{t}", dist.Categorical(logits=logits).mask(mask[:, t]), obs=x[:, t, 0])

    def guide(x, mask):
        with pyro.plate("batch", len(x)):
            for t in range(x.shape[1]):
                pyro.sample(f"z_{t}", dist.Categorical(torch.tensor([1.0, 2.0]).expand(len(x), 2)).mask(mask[:, t]))

    pair = Pair(model, guide)
    p = (torch.eye(2, 3).softmax(-1) / 2).sum(0)
    assert np.allclose(evaluate(pair, data, num_particles=3000).iwae, -p.log()[data.values].mean(), atol=0.02)
    assert set(np.unique(free_running(pair, data, 20).values)) == {0, 1, 2}

    def reading(x, mask):
        model(x, mask, reads=True)

    with pytest.raises(ValueError, match="the model reads x elsewhere than in obs="):
        free_running(Pair(reading, guide), data, 2)


def test_numbered_latents_that_are_no_steps_stay_apart(ragged):
    def draw(x, spread, batch):
        with batch:
            for i, loc in enumerate((0.0, 5.0)):
                z = pyro.sample(f"w_{i}", dist.Normal(loc * torch.ones(len(x), 1), spread).to_event(1))
        return z

    def model(x, mask):
        batch = pyro.plate("batch", len(x))
        z = draw(x, 1.0, batch)
        with batch:
            for t in range(x.shape[1]):
                pyro.sample(f"x_{t}", dist.Normal(z, 1.0).to_event(1).mask(mask[:, t]), obs=x[:, t])

    pair = Pair(model, lambda x, mask: draw(x, 0.1, pyro.plate("batch", len(x))), once=["w"])
    groups = rv.criticism._arviz.groups_of(rv.to_arviz(pair, ragged, 3, batch_size=1))
    assert {name: values.dims[2:] for name, values in groups["posterior"].items()} == {
        "w_0": ("sequence", "w_0_dim"), "w_1": ("sequence", "w_1_dim")}
    assert abs(float(groups["posterior"].w_1.mean()) - 5) < 0.5


# ------------------------------------------------------------------------------- refusals
def plain(x, mask):
    with pyro.plate("batch", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(len(x), 1), 1.0).to_event(1))
        for t in range(x.shape[1]):
            pyro.sample(f"x_{t}", dist.Normal(z, 1.0).to_event(1).mask(mask[:, t]), obs=x[:, t])


def plain_guide(x, mask):
    with pyro.plate("batch", len(x)):
        pyro.sample("z", dist.Normal(torch.zeros(len(x), 1), 1.0).to_event(1))


def refused(match, data, model=plain, guide=plain_guide, **given):
    with pytest.raises(ValueError, match=match):
        evaluate(Pair(model, guide, **given), data, num_particles=2)


def test_refusals_of_a_pair(ragged):
    with pytest.raises(TypeError, match="the guide must be a Pyro program, a function of the data, got int"):
        Pair(plain, 3)
    refused("only the model has", ragged, guide=lambda x, mask: None)
    refused("takes no arguments", ragged, guide=lambda: None)
    refused(r"the program needs \['reverse'\]", ragged, guide=lambda x, mask, reverse: None)
    refused("takes no mask", ragged, guide=lambda x: None)
    refused(r"stands in no plate of 1 sequences named 'other'", ragged, plate="other")
    refused("observes nothing: say which is the data", ragged, model=plain_guide)
    refused(r"observes \['x'\]: say which", ragged, observed="y")


def test_a_density_in_the_padding_is_refused(ragged):
    def model(x, mask):
        with pyro.plate("batch", len(x)):
            for t in range(x.shape[1]):
                pyro.sample(f"x_{t}", dist.Normal(torch.zeros(1), 1.0).expand([len(x), 1]).to_event(1), obs=x[:, t])

    pair = Pair(model, lambda x, mask: None)
    with pytest.raises(ValueError, match="'x_0' and its like of the model have a density in the padding"):
        evaluate(pair, ragged)
    exact = -dist.Normal(0.0, 1.0).log_prob(ragged.values).mean()
    assert evaluate(pair, ragged, batch_size=1).elbo == pytest.approx(float(exact))


def test_two_plates_that_could_be_meant():
    def model(x):
        with pyro.plate("a", 2, dim=-1), pyro.plate("b", len(x), dim=-2):
            pyro.sample("x", dist.Normal(torch.zeros(len(x), 2), 1.0), obs=x)

    rows = rv.data.StaticDataset(torch.randn(2, 2))
    with pytest.raises(ValueError, match=r"stands in 2 plates of 2, \['a', 'b'\]: say which"):
        evaluate(Pair(model, lambda x: None, static=True), rows, num_particles=1)
    exact = -dist.Normal(0.0, 1.0).log_prob(rows.values).sum() / 2
    assert evaluate(Pair(model, lambda x: None, static=True, plate="b"), rows).elbo == pytest.approx(float(exact))


def test_a_model_that_reads_x_cant_generate_by_drawing_it(ragged):
    def model(x, mask):
        with pyro.plate("batch", len(x)):
            before = torch.zeros(len(x), 1)
            for t in range(x.shape[1]):
                pyro.sample(f"x_{t}", dist.Normal(before, 1.0).to_event(1).mask(mask[:, t]), obs=x[:, t])
                before = x[:, t]

    with pytest.raises(ValueError, match="the model reads x elsewhere than in obs="):
        free_running(Pair(model, lambda x, mask: None), ragged, 2)


def test_enumerated_latents_need_a_guide_that_draws_them(ragged):
    @config_enumerate
    def model(x, mask):
        with pyro.plate("batch", len(x)):
            k = pyro.sample("k", dist.Categorical(torch.ones(2)))
            for t in range(x.shape[1]):
                law = dist.Normal(k.to(x.dtype)[..., None], 1.0).expand([len(x), 1])
                pyro.sample(f"x_{t}", law.to_event(1).mask(mask[:, t]), obs=x[:, t])

    refused(r"\['k'\] of the model are enumerated in training and the guide doesn't draw them", ragged, model,
            lambda x, mask: None)


def test_data_of_other_features(ragged):
    pair = Pair(plain, plain_guide)
    evaluate(pair, ragged, num_particles=1)
    other = rv.data.SequenceDataset(torch.randn(5, 2), [3, 2], names=["a", "b"])
    with pytest.raises(ValueError, match=r"built for frames of x_dim=1, the data set has 2 features \(a, b\)"):
        evaluate(pair, other)
