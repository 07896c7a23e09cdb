"""A head on the latents of any model: what it reads, unknown labels, what is refused."""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path
from typing import Any

import pyro.distributions as dist
import pyro.poutine as poutine
import pytest
import torch
from laws import ELBOS, forms_agree, gradients_arrive, padding_never_matters, per_sequence, same, still, train
from pyro.infer import Trace_ELBO, TraceEnum_ELBO
from small_models import ChainPrior, Hierarchical, Labelled, PathPrior, SharedScale
from torch import Tensor, nn
from zoo import CHANNELS, CLASSES, MASK, ZOO, B, H, T, X, Z, awake

import pyro_rvae as rv

THREE = partial(rv.Categorical, classes=3)
LABELS = torch.tensor([2, -1, 0, -1])


def supervised(base: rv.SequenceVAE | None = None, head: Any = THREE, **parts: Any) -> rv.Supervised:
    return awake(rv.Supervised(base or rv.VRNN(X, Z, H), head, hidden=(H,), **parts))


def traces(model: rv.Supervised, x: Tensor, mask: Tensor | None = None, **known: Any) -> tuple[Any, Any]:
    guide = poutine.trace(model.guide).get_trace(x, mask, **known)
    return guide, poutine.trace(poutine.replay(model.model, guide)).get_trace(x, mask, **known)


# ------------------------------------------------------------------------------------------------ the joint density
def test_without_labels_known_it_is_the_base() -> None:
    """All labels unknown: every density and gradient of the base is the base's own."""
    base = ZOO["VRNN"].make()
    model, x, alone = supervised(copy.deepcopy(base)), ZOO["VRNN"].x(), base
    for ours, theirs in zip(model.base.parameters(), alone.parameters(), strict=True):
        ours.data = theirs.data.clone()
    with rv.given_noise(0):
        expected = Trace_ELBO().loss_and_grads(alone.model, alone.guide, x, MASK)
    with rv.given_noise(0):
        loss = Trace_ELBO().loss_and_grads(model.model, model.guide, x, MASK, labels=torch.full((B,), -1))
    same(loss, expected, "loss")
    for ours, theirs in zip(model.base.parameters(), alone.parameters(), strict=True):
        same(ours.grad, theirs.grad, "gradient")
    assert not any(p.grad.any() for p in model.head.parameters())


def test_an_unknown_label_is_the_sum_over_all_labels() -> None:
    """exp log p(x, z, y=-1) = sum_y p(x, z, y), sequence by sequence."""
    model, x = supervised(), ZOO["VRNN"].x()
    guide = poutine.trace(model.guide).get_trace(x)

    def joint(labels: Tensor) -> Tensor:
        return per_sequence(poutine.trace(poutine.replay(model.model, guide)).get_trace(x, labels=labels))

    each = torch.stack([joint(torch.full((B,), k)) for k in range(3)])
    chosen = each.gather(0, LABELS.clamp_min(0)[None])[0]
    same(joint(LABELS), torch.where(LABELS < 0, each.logsumexp(0), chosen), "joint")


def test_the_guide_reads_no_labels() -> None:
    model, x = supervised(), ZOO["VRNN"].x()
    values = []
    for labels in (LABELS, LABELS.flip(0), None):
        with rv.given_noise(0):
            values.append(poutine.trace(model.guide).get_trace(x, labels=labels).nodes["z"])
    assert all(torch.equal(v["value"], values[0]["value"]) for v in values)
    assert all(torch.equal(v["fn"].log_prob(v["value"]), values[0]["fn"].log_prob(v["value"])) for v in values)


def test_the_weight_is_that_of_the_labels_term_in_training_only() -> None:
    model, x = supervised(weight=2.5), ZOO["VRNN"].x()
    one = copy.deepcopy(model)
    one.weight = 1.0
    guide, program = traces(model, x, labels=LABELS)
    replayed = poutine.trace(poutine.replay(one.model, guide)).get_trace(x, labels=LABELS)
    term = replayed.nodes["y"]["fn"].log_prob(replayed.nodes["y"]["value"])
    same(per_sequence(program), per_sequence(replayed) + 1.5 * term, "weighted")
    model.eval()
    same(per_sequence(poutine.trace(poutine.replay(model.model, guide)).get_trace(x, labels=LABELS)),
         per_sequence(replayed), "in evaluation")


@pytest.mark.parametrize("explicit", [False, True])
def test_slow_paths_are_held_and_the_mean_is_over_valid_steps(explicit: bool) -> None:
    model, x = ZOO["supervised-HRAE"].make(), ZOO["supervised-HRAE"].x()
    guide, program = traces(model, x, MASK, labels=LABELS)
    paths = [guide.nodes[name]["value"] for name in model.latents]
    assert {p.shape[-2] for p in paths} == {T, T // 2}
    for i, length in enumerate(MASK.sum(-1).tolist()):
        held = [p[i].repeat_interleave(T // p.shape[-2], 0)[:length].mean(0) for p in paths]
        scores = model.head.net(torch.cat(held))
        got = program.nodes["y"]["infer"]["law"].base_dist.logits[i, 0]
        same(got, scores - scores.logsumexp(0), "law of the label")


def test_named_latents_alone_are_read() -> None:
    both = supervised(rv.HRAE(X, Z, H, every=2))
    name = both.latents[-1]
    model = supervised(rv.HRAE(X, Z, H, every=2), latents=(name,))
    assert model.latents == (name,) and len(both.latents) == 2
    assert model.head.net[0].in_features < both.head.net[0].in_features
    gradients_arrive(model, ZOO["HRAE"].x(), MASK, labels=LABELS)


# ------------------------------------------------------------------------------------------------ bases and heads
def test_regimes_of_the_base_are_still_summed_out() -> None:
    """TraceEnum_ELBO: labels add -sum log p(y | s) to the base's own loss, once."""
    model, x = supervised(rv.SwitchingLDS(X, Z, H, modes=2)), ZOO["VRNN"].x()
    assert model.latents == ("z",)
    losses, read = [], []
    model.head.register_forward_hook(lambda part, inputs, law: read.append(inputs[0]))
    for labels in (LABELS, torch.full((B,), -1)):
        with rv.explicit(), rv.given_noise(0):
            losses.append(TraceEnum_ELBO(max_plate_nesting=1).loss(model.model, model.guide, x, MASK, labels=labels))
    assert all(torch.equal(s, read[0]) and s.shape == (B, Z) for s in read), "not a value for each regime"
    term = model.head(read[0]).log_prob(LABELS[:, None].clamp_min(0))[LABELS >= 0].sum()
    same(losses[0] - losses[1], -term.item(), "the labels' term")


@pytest.mark.parametrize("elbo", ELBOS)
def test_a_base_with_something_shared(elbo: str) -> None:
    model, x = supervised(SharedScale()), ZOO["shared"].x()
    model.num_sequences = B
    forms_agree(model, ELBOS[elbo](), x, MASK, labels=LABELS)
    padding_never_matters(model, x, MASK, labels=LABELS)
    before = copy.deepcopy(dict(model.named_parameters()))
    train(model, x, MASK, labels=LABELS)
    assert not still(model, before) and any("shared_posterior" in name for name in before)


def test_a_base_given_controls() -> None:
    case = ZOO["controls"]
    model = supervised(rv.RVAE(X, Z, H, context=rv.Context(control_dim=2)))
    known = {"controls": torch.randn(B, T, 2), "labels": LABELS}
    forms_agree(model, Trace_ELBO(), case.x(), MASK, **known)
    gradients_arrive(model, case.x(), MASK, **known)


@pytest.mark.parametrize(("head", "labels"), [
    (rv.Bernoulli, torch.tensor([1.0, torch.nan, 0.0, 1.0])), (rv.Poisson, torch.tensor([3.0, 0.0, torch.nan, 1.0])),
    (rv.StudentT, torch.tensor([0.5, torch.nan, -2.0, 1.0])), (THREE, LABELS.int()), (THREE, LABELS.unsqueeze(-1)),
    (rv.Categorical(2, classes=3), torch.tensor([[0, 1], [-1, 2], [2, -1], [-1, -1]])),
])
def test_other_heads(head: Any, labels: Tensor) -> None:
    model = supervised(head=head)
    forms_agree(model, Trace_ELBO(), ZOO["VRNN"].x(), MASK, labels=labels)
    assert not model.unknown(3).isfinite().any() or (model.unknown(3) == -1).all()


class Full(nn.Module):
    """A regression with full covariance, built with (in_dim, dim)."""

    def __init__(self, in_dim: int, dim: int) -> None:
        super().__init__()
        self.loc, self.raw = nn.Linear(in_dim, dim), nn.Parameter(torch.eye(dim))

    def forward(self, s: Tensor) -> Any:
        return dist.MultivariateNormal(self.loc(s), scale_tril=self.raw.tril(-1) + torch.eye(len(self.raw)))


def test_a_whole_conditional_as_head_marginalises_what_is_unknown() -> None:
    model, x = supervised(head=Full, label_dim=2), ZOO["VRNN"].x()
    labels = torch.tensor([[0.3, -1.0], [torch.nan, 0.5], [1.0, torch.nan], [torch.nan, torch.nan]])
    forms_agree(model, Trace_ELBO(), x, MASK, labels=labels)
    _, program = traces(model, x, MASK, labels=labels)
    law, got = program.nodes["y"]["infer"]["law"], program.nodes["y"]["fn"].log_prob(program.nodes["y"]["value"])
    spread = law.covariance_matrix.diagonal(dim1=-2, dim2=-1).sqrt()
    one = dist.Normal(law.loc, spread).log_prob(labels.nan_to_num(0.0))
    same(got, torch.stack([law.log_prob(labels.nan_to_num(0.0))[0], one[1, 1], one[2, 0], torch.zeros(())]), "labels")


# ------------------------------------------------------------------------------------------------ data, tasks
def labelled(labels: Any = (0, -1, 2, 1)) -> rv.data.SequenceDataset:
    return rv.data.SequenceDataset((torch.rand(14, X) < 0.5).double(), [5, 2, 4, 3], labels=torch.tensor(labels))


def test_it_is_built_for_data() -> None:
    model = rv.Supervised.for_data(labelled(), z_dim=Z, h_dim=H)
    assert isinstance(model.base, rv.VRNN) and model.head.family.classes == 3 and model.num_sequences == 4
    same(model.head.net[-1].bias, torch.tensor([1 / 3] * 3).log(), "class frequencies")
    regression = rv.Supervised.for_data(labelled([[0.0, 1.0], [2.0, torch.nan], [4.0, 3.0], [torch.nan, 2.0]]),
                                        base=rv.VRAE, z_dim=Z, h_dim=H)
    assert isinstance(regression.base, rv.VRAE) and regression.label_dim == 2
    same(regression.head.net[-1].bias[:2], torch.tensor([2.0, 2.0]), "means of the known labels")
    static = rv.data.StaticDataset((torch.rand(4, X) < 0.5).double(), labels=[0, 1, -1, 1])
    assert rv.Supervised.for_data(static, base=rv.VAE, z_dim=Z, h_dim=H).static


@pytest.mark.parametrize("name", ["supervised-VRNN", "supervised-VRAE", "supervised-VAE"])
def test_free_running_draws_the_label_too(name: str) -> None:
    model = ZOO[name].make()
    drawn = poutine.trace(model.model).get_trace(size=(B, T)).nodes
    assert drawn["y"]["value"].shape == (B, model.label_dim) and not drawn["y"]["is_observed"]
    assert rv.generate(model, 3, None if model.static else T, seed=0).shape[0] == 3


def test_forecast_from_a_prefix() -> None:
    model, x = supervised(), ZOO["VRNN"].x()[:, :3]
    with torch.no_grad(), rv.given(z=torch.randn(B, 3, Z)):
        trace = poutine.trace(model.model).get_trace(x, size=(B, T), labels=LABELS)
    assert trace.nodes["x"]["value"].shape == (B, T, X) and torch.equal(trace.nodes["x"]["value"][:, :3], x)


def test_saved_and_loaded_it_is_the_same(tmp_path: Path) -> None:
    data = rv.data.SequenceDataset(50 + 3 * torch.randn(14, X), [5, 2, 4, 3], labels=[0, -1, 2, 1])
    data = data.transformed(rv.data.Affine.standardize(data.values))
    model = rv.Supervised.for_data(data, z_dim=Z, h_dim=H, summary=rv.Forward, weight=3.0)
    rv.save_pretrained(model, tmp_path)
    other = rv.from_pretrained(tmp_path)
    assert isinstance(other, rv.Supervised) and other.weight == 3.0 and other.transform is not None
    one, two = (rv.evaluate(m, data, num_particles=2).elbo for m in (model, other))
    assert one == two
    assert rv.generate(other, 20, 5, seed=0).mean() > 30, "in the units of the data"


def test_bounds_are_on_data_and_labels() -> None:
    """evaluate counts the label's term with weight 1, whatever the weight of training."""
    torch.manual_seed(0)
    data = labelled()
    model = rv.Supervised.for_data(data, z_dim=Z, h_dim=H, weight=7.0)
    blind = rv.data.SequenceDataset(data.values, data.lengths, labels=torch.full((4,), -1))
    known, unknown = (rv.evaluate(model, d, num_particles=20) for d in (data, blind))
    law = rv.tasks.predict_labels(model, data, num_draws=20)
    assert known.kl == pytest.approx(unknown.kl)
    gap = (known.reconstruction - unknown.reconstruction) * data.num_frames
    assert gap == pytest.approx(-sum(float(law[i, k].log()) for i, k in ((0, 0), (2, 2), (3, 1))), rel=0.05)


def test_fit_says_at_once_that_labels_are_lacking() -> None:
    model = rv.Supervised.for_data(labelled(), z_dim=Z, h_dim=H)
    bare = rv.data.SequenceDataset(labelled().values, [5, 2, 4, 3])
    with pytest.raises(ValueError, match="fit: Supervised needs labels, and data has none"):
        rv.fit(model, bare, epochs=1, progress=False)
    with pytest.raises(ValueError, match="fit: Supervised needs labels, and valid has none"):
        rv.fit(model, labelled(), valid=bare, epochs=1, progress=False)
    with pytest.raises(ValueError, match="y holds 5 at"):
        rv.fit(model, labelled([0, 1, 5, 2]), epochs=1, progress=False)
    rv.fit(model, labelled(), valid=labelled(), epochs=1, progress=False)


# ------------------------------------------------------------------------------------------------ refusals
@pytest.mark.parametrize(("labels", "message"), [
    (None, "a head without labels: x is given and labels are not"),
    (torch.zeros(B), r"labels must be \(B,\), integer codes .* got \(4,\) of torch.float64"),
    (torch.zeros(B, 2, dtype=torch.long), r"labels must be .* got \(4, 2\)"),
    (torch.zeros(B + 1, dtype=torch.long), "labels must have one row a sequence, 4"),
    (torch.tensor([0, 1, 3, -1]), "y holds 3 at .*outside the support of its likelihood Categorical"),
    (torch.tensor([0, 1, -2, -1]), "y holds -2 at .*outside the support"),
])
def test_labels_that_do_not_fit_a_classification(labels: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        supervised().model(ZOO["VRNN"].x(), labels=labels)


@pytest.mark.parametrize(("labels", "message"), [
    (torch.zeros(B, dtype=torch.long), r"labels must be \(B, 2\), of torch.float64, NaN .* got \(4,\) of torch.int64"),
    (torch.zeros(B, 2).float(), r"labels must be \(B, 2\), of torch.float64.* got \(4, 2\) of torch.float32"),
    (torch.zeros(B, 3), r"labels must be \(B, 2\)"),
    (torch.full((B, 2), torch.inf), r"labels must be finite, got inf at \(0, 0\)"),
])
def test_labels_that_do_not_fit_a_regression(labels: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        supervised(head=rv.Normal, label_dim=2).model(ZOO["VRNN"].x(), labels=labels)


@pytest.mark.parametrize(("build", "error", "message"), [
    (lambda: supervised(nn.Linear(2, 2)), TypeError, "base must be a model, such as .* got Linear"),
    (lambda: supervised(rv.VRNN), TypeError, "base must be a model"),
    (lambda: supervised(latents=("v",)), ValueError, r"of which it has \['z'\]; 'v' is not there"),
    (lambda: supervised(latents="z"), TypeError, r"got the string 'z': write \('z',\)"),
    (lambda: supervised(latents=()), ValueError, "no latent of real numbers"),
    (lambda: supervised(rv.DeterministicRNN(X, H)), ValueError, r"no latent .* \(it draws nothing\)"),
    (lambda: supervised(rv.VRAE(X, Z, H), summary=rv.Forward), ValueError, "drawn once a sequence; leave it out"),
    (lambda: supervised(summary=rv.LSTM), TypeError, "summary: .*Encoder"),
    (lambda: supervised(weight=0.0), ValueError, "weight must be a finite number above 0, got 0.0"),
    (lambda: supervised(label_dim=0), ValueError, "label_dim must be an integer of at least 1, got 0"),
    (lambda: supervised(head=rv.Normal(2), label_dim=3), ValueError, "built for 2 elements, the model needs 3"),
    (lambda: supervised(head=rv.Conditional(nn.Linear(Z + 1, 2), rv.Normal(1))), ValueError,
     f"head: Conditional is given the latents' summary, {Z} numbers a sequence, and failed"),
    (lambda: supervised(head=rv.Conditional(nn.Linear(Z, 4), rv.Normal(2))), ValueError,
     "its law is over vectors of 2, labels have label_dim=1; give label_dim=2"),
    (lambda: supervised(head="softmax"), TypeError, "expected a conditional"),
    (lambda: supervised(Labelled()), ValueError, "could not be run alone, without labels"),
    (lambda: supervised(ChainPrior()), ValueError, "Controls must be read through a context"),
    (lambda: supervised(Hierarchical()), ValueError, "has a site 'y' of its own"),
    (lambda: supervised(rv.VRNN(X, Z, H, context=rv.Context(classes=3))), ValueError, "would predict what it is told"),
    (lambda: rv.Supervised.for_data(rv.data.SequenceDataset([[0], [1]], [2])), ValueError, "no labels, so there is no"),
])
def test_what_cannot_be_built(build: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        build()


def test_discrete_latents_are_not_read() -> None:
    class Coded(rv.VRAE):
        def generative(self, steps: rv.Steps) -> None:
            for t in steps:
                t.sample("s", lambda: dist.Categorical(torch.ones(1, 2)).to_event(1))
                t.sample("x", lambda: dist.Bernoulli(torch.full((X,), 0.5)).to_event(1))

    with pytest.raises(ValueError, match="'s' is discrete"):
        supervised(Coded(X, Z, H), latents=("s",))
    with pytest.raises(ValueError, match=r"no latent of real numbers for a head to read \(it draws \['s'\]\)"):
        supervised(Coded(X, Z, H))


def test_a_path_drawn_outside_of_a_loop_is_refused() -> None:
    with pytest.raises(ValueError, match="no earlier loop of this body has sampled 'z'"):
        supervised(PathPrior()).model(size=(B, T))


def test_a_model_told_labels_refuses_unknown_numbers() -> None:
    model = rv.VRNN(CHANNELS, Z, H, likelihood=partial(rv.Categorical, classes=CLASSES),
                    context=rv.Context(label_dim=1))
    with pytest.raises(ValueError, match="labels must be finite, got nan"):
        model.model(torch.zeros(B, T, CHANNELS, dtype=torch.long), labels=torch.tensor([0.0, torch.nan, 1.0, 2.0]))
