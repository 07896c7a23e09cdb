"""New sequences: of any length, by label, by controls, from a prefix, at a temperature."""

from __future__ import annotations

import math
from typing import Any

import pyro
import pyro.poutine as poutine
import pytest
import torch
from zoo import SEQUENCES, ZOO, T

import pyro_rvae as rv
from pyro_rvae.tasks import generate
from pyro_rvae.tasks.generate import drawn_like

MODELS = [rv.DMM, rv.VRNN, rv.RVAE, rv.STORN, rv.VRAE]


@pytest.mark.parametrize("cls", MODELS)
def test_a_function_of_the_seed(cls: Any) -> None:
    model = cls(5, 2, 6)
    state = torch.get_rng_state()
    x = generate(model, 3, 4, seed=1)
    assert torch.equal(state, torch.get_rng_state())
    assert x.shape == (3, 4, 5)
    assert set(x.unique().tolist()) <= {0.0, 1.0}
    assert torch.equal(x, generate(model, 3, 4, seed=1))
    assert not torch.equal(x, generate(model, 3, 4, seed=2))
    assert not torch.equal(generate(model, 3, 4), generate(model, 3, 4)), "without a seed torch's state moves on"


def test_it_leaves_no_trace() -> None:
    model = rv.DMM(5, 2, 6, dropout=0.5)
    model.encoder.eval()
    x = generate(model, 3, 4, seed=1)
    assert not x.requires_grad
    assert model.training and model.likelihood.training and not model.encoder.training
    assert not list(pyro.get_param_store().keys())


def test_batches_are_joined() -> None:
    model = rv.VRNN(5, 2, 6)
    assert generate(model, 5, 3, seed=0, batch_size=2).shape == (5, 3, 5)


def test_static() -> None:
    model = rv.VAE(6, 2, 4)
    assert generate(model, 3, seed=0).shape == (3, 6)
    with pytest.raises(ValueError, match="VAE is static, its items have no length"):
        generate(model, 3, 4)


def test_marginals_are_the_models() -> None:
    """With one constant likelihood, the share of ones is its probability."""
    model = rv.RVAE(4, 2, 4)
    with torch.no_grad():
        for parameter in model.likelihood.parameters():
            parameter.zero_()
        odds = torch.tensor([-2.0, -1.0, 0.0, 1.0])
        model.likelihood.set_bias(odds)
    share = generate(model, 500, 10, seed=0).mean((0, 1))
    assert torch.allclose(share, odds.sigmoid(), atol=0.03)


class Known(rv.SequenceVAE):
    """z_t ~ N(label, 0.01);  x_t ~ N(z_t + control_t, 0.01)."""

    def __init__(self) -> None:
        super().__init__()
        self.x_dim, self.unused = 1, torch.nn.Parameter(torch.zeros(()))
        self.near = torch.nn.Module()

    @staticmethod
    def law(*inputs: Any) -> Any:
        return pyro.distributions.Normal(sum(inputs), 0.01).to_event(1)

    def generative(self, steps: Any) -> None:
        for t in steps:
            z = t.sample("z", self.law, t.hold(steps.labels.unsqueeze(-1)))
            t.sample("x", self.law, z, t.at(steps.controls))

    def inference(self, steps: Any, x: Any) -> None:
        for t in steps:
            t.sample("z", self.law, t.at(x))


def test_controls_and_labels_reach_their_rows() -> None:
    controls, labels = torch.arange(12.0).view(3, 4, 1), torch.tensor([100.0, 200.0, 300.0])
    x = generate(Known(), 3, 4, seed=0, controls=controls, labels=labels, batch_size=2)
    assert torch.allclose(x, controls + labels[:, None, None], atol=0.1)


def test_units_are_undone() -> None:
    data = rv.data.SequenceDataset(50 + 3 * torch.randn(60, 2), [20, 20, 20])
    data = data.transformed(rv.data.Affine.standardize(data.values))
    model = rv.RVAE.for_data(data, z_dim=2, h_dim=4)
    x = generate(model, 50, 10, seed=0)
    assert torch.allclose(x.mean((0, 1)), torch.full((2,), 50.0), atol=3.0)


@pytest.mark.parametrize(("arguments", "what"), [
    ((0, 4), "num must be an integer of at least 1, got 0"), ((2, 0), "length must be"), ((2, None), "length must be"),
    ((2.5, 4), "num must be"), ((True, 4), "num must be"),
])
def test_sizes(arguments: Any, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        generate(rv.VRNN(5, 2, 6), *arguments)


def test_known_inputs_of_another_size() -> None:
    with pytest.raises(ValueError, match="labels must have one row for each of 3 sequences, got 2"):
        generate(Known(), 3, 4, controls=torch.zeros(3, 4, 1), labels=torch.zeros(2))


def test_what_is_drawn_once_a_data_set_comes_from_its_posterior() -> None:
    """x_t ~ N(., s^2) with s ~ Gamma(2, 2) a priori; the posterior is set to a narrow one near 50."""
    model = ZOO["shared"].make()
    with torch.no_grad():
        model.shared_posterior.loc["s"].fill_(math.log(50.0))
        model.shared_posterior.raw["s"].fill_(-8.0)
    assert 30 < rv.generate(model, 20, 6, seed=0).std() < 70
    data = rv.data.SequenceDataset(torch.randn(12, 5), [6, 6])
    assert 30 < rv.criticism.free_running(model, data, num=5).values.std() < 70
    with torch.random.fork_rng():
        torch.manual_seed(0)
        assert poutine.trace(model.model).get_trace(size=(20, 6)).nodes["x"]["value"].std() < 15  # the prior's


class Counter(rv.SequenceVAE):
    """x_t ~ N(x_{t-1} + 1, tiny); a gap reads as 0. It has no parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.x_dim = 1

    def generative(self, steps: Any) -> None:
        for t in steps:
            t.sample("x", lambda x: pyro.distributions.Normal(x + 1.0, 1e-6).to_event(1), t.prev("x", torch.zeros(1)))

    def inference(self, steps: Any, x: Any) -> None:
        pass


def test_a_model_without_parameters() -> None:
    assert generate(Counter(), 3, 4, seed=0).shape == (3, 4, 1)


# ------------------------------------------------------------------------------------------------ length
def remembering(lengths: list[int]) -> Any:
    """A model built for binary sequences of these lengths."""
    rolls = [(torch.rand(n, 5) < 0.5).double() for n in lengths]
    return rv.VRNN.for_data(rv.data.SequenceDataset.from_sequences(rolls), z_dim=2, h_dim=6)


def test_lengths_of_the_training_data() -> None:
    model = remembering([2, 2, 2, 7])
    made = generate(model, 400, "training", seed=0)
    lengths = [len(x) for x in made]
    assert set(lengths) == {2, 7} and 0.65 < lengths.count(2) / 400 < 0.85
    assert lengths == [len(x) for x in generate(model, 400, "training", seed=0, batch_size=150)], "whatever the batches"
    assert all(x.shape[1] == 5 and set(x.unique().tolist()) <= {0.0, 1.0} for x in made)
    assert {len(x) for x in generate(model, 30, "training", seed=0, prefix=torch.ones(2, 5))} == {7}


def test_ragged_lengths_are_masked() -> None:
    """A decoder that looks both ways must not see the frames behind a sequence's end."""
    seen: list[Any] = []

    class Watched(Counter):
        def generative(self, steps: Any) -> None:
            seen.append(steps.mask)
            super().generative(steps)

    model = Watched()
    model.data_card = remembering([2, 3]).data_card
    lengths = sorted(len(x) for x in generate(model, 20, "training", seed=0, batch_size=20))
    assert seen[0].sum(-1).tolist() == lengths and set(lengths) == {2, 3}


def test_lengths_that_cannot_be_drawn() -> None:
    with pytest.raises(ValueError, match=r"this VRNN remembers none \(its data_card is missing\)"):
        generate(rv.VRNN(5, 2, 6), 2, "training")
    with pytest.raises(ValueError, match="length must be an integer, or 'training', got 'long'"):
        generate(remembering([2]), 2, "long")  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="controls fix the length"):
        generate(remembering([2]), 2, "training", controls=torch.zeros(2, 3, 1))
    with pytest.raises(ValueError, match="a prefix has 2 frames, and the longest training sequence 2"):
        generate(remembering([2]), 2, "training", prefix=torch.ones(2, 5))


# ------------------------------------------------------------------------------------------------ labels, controls
def test_controls_fix_the_length() -> None:
    controls, labels = torch.arange(12.0).view(3, 4, 1), torch.zeros(3)
    assert generate(Known(), 3, seed=0, controls=controls, labels=labels).shape == (3, 4, 1)
    with pytest.raises(ValueError, match="controls are given for 4 frames, and length is 5"):
        generate(Known(), 3, 5, controls=controls, labels=labels)
    with pytest.raises(ValueError, match=r"controls must be \(num, length, control_dim\)"):
        generate(Known(), 3, controls=controls[..., 0], labels=labels)
    with pytest.raises(TypeError, match="controls must be numbers"):
        generate(Known(), 3, controls="loud", labels=labels)


def test_one_label_for_all() -> None:
    x = generate(Known(), 3, labels=200.0, seed=0, controls=torch.zeros(3, 4, 1))
    whole = torch.full((3,), 200.0)
    assert torch.equal(x, generate(Known(), 3, labels=whole, seed=0, controls=torch.zeros(3, 4, 1)))
    model = ZOO["conditional-VAE"].make()
    assert torch.equal(generate(model, 3, labels=2, seed=0), generate(model, 3, labels=[2, 2, 2], seed=0))
    assert not torch.equal(generate(model, 20, labels=2, seed=0), generate(model, 20, labels=0, seed=0))
    real = rv.VRAE(5, 2, 6, context=rv.Context(label_dim=1))
    assert torch.equal(generate(real, 3, 4, labels=2, seed=0), generate(real, 3, 4, labels=2.0, seed=0))


def test_labels_never_seen() -> None:
    rolls = [(torch.rand(4, 5) < 0.5).double() for _ in range(3)]
    data = rv.data.SequenceDataset.from_sequences(rolls, labels=torch.tensor([0, 3, 5]))
    model = rv.VRAE.for_data(data, z_dim=2, h_dim=6, context=rv.Context.for_data(data))
    with pytest.raises(ValueError, match=r"the label 4 was never seen in training; known are 0, 3, 5"):
        generate(model, 2, 4, labels=[3, 4])
    assert generate(model, 2, 4, labels=[3, -1]).shape == (2, 4, 5), "unknown has a vector of its own"


def test_labels_that_nothing_reads() -> None:
    for prefix in (None, torch.ones(2, 5)):
        with pytest.raises(ValueError, match="labels were given, and VRNN reads none"):
            generate(rv.VRNN(5, 2, 6), 2, 4, labels=1, prefix=prefix)
    with pytest.raises(ValueError, match="Supervised predicts labels from latents"):
        generate(ZOO["supervised-VRNN"].make(), 2, 4, labels=1)
    labelled = ZOO["labels"].make()  # reads them in its body, without a context
    assert generate(labelled, 2, 4, labels=1, seed=0).shape == (2, 4, 5)


def test_drawn_like_a_batch() -> None:
    """For reports: labels that a model does not read are no fault there."""
    rolls = [(torch.rand(n, 5) < 0.5).double() for n in (4, 2)]
    batch = rv.data.SequenceDataset.from_sequences(rolls, labels=torch.tensor([2, 0])).padded()
    for model in (rv.VRNN(5, 2, 6), ZOO["supervised-VRNN"].make()):
        assert torch.equal(drawn_like(model, batch, 3), generate(model, 2, 4, seed=3))
    told = ZOO["labels"].make()
    assert torch.equal(drawn_like(told, batch, 3), generate(told, 2, 4, seed=3, labels=batch.labels))


# ------------------------------------------------------------------------------------------------ prefix
def test_a_prefix_is_continued() -> None:
    made = generate(Counter(), 3, 6, seed=0, prefix=torch.tensor([[7.0], [8.0]]))
    assert torch.allclose(made, torch.arange(7.0, 13.0).view(6, 1).expand(3, 6, 1), atol=1e-4)
    assert torch.equal(made[:, :2, 0], torch.tensor([[7.0, 8.0]] * 3)), "exactly"
    ragged = [torch.tensor([[5.0]]), torch.tensor([[1.0], [torch.nan], [3.0]])]
    first, second = generate(Counter(), 2, 5, seed=0, prefix=ragged)
    assert torch.allclose(first, torch.arange(5.0, 10.0).view(5, 1), atol=1e-4)
    assert torch.allclose(second[:, 0], torch.tensor([1.0, torch.nan, 3.0, 4.0, 5.0]), atol=1e-4, equal_nan=True)
    with rv.explicit():  # which has one site a step
        gap = generate(Counter(), 1, 3, seed=0, prefix=torch.tensor([[4.0], [torch.nan]]))
    assert gap[0, 2].item() == pytest.approx(1.0, abs=1e-4)


def test_a_prefix_keeps_its_raw_units() -> None:
    data = rv.data.SequenceDataset(50 + 3 * torch.randn(60, 2), [20, 20, 20])
    scaled = data.transformed(rv.data.Affine.standardize(data.values))
    model = rv.SRNN.for_data(scaled, z_dim=2, h_dim=4)
    made = [generate(model, 3, 25, seed=0, prefix=p) for p in (data, list(data), data.padded().x.numpy())]
    for x in made:
        assert torch.equal(x[:, :20], data.padded().x) and x.shape == (3, 25, 2) and torch.equal(x, made[0])
    assert 30 < made[0][:, 20:].mean() < 70
    torch.testing.assert_close(made[0], generate(model, 3, 25, seed=0, prefix=scaled))  # but for rounding
    assert not torch.equal(made[0], generate(model, 3, 25, seed=1, prefix=data))
    state = torch.get_rng_state()
    first = generate(model, 3, 25, prefix=data)
    assert not torch.equal(state, torch.get_rng_state()) and not torch.equal(first, generate(model, 3, 25, prefix=data))


def test_controls_and_labels_of_a_continuation_reach_their_frames() -> None:
    controls, labels = torch.arange(15.0).view(3, 5, 1), torch.tensor([100.0, 200.0, 300.0])
    prefix = [torch.zeros(n, 1) for n in (1, 3, 2)]
    made = generate(Known(), 3, seed=0, controls=controls, labels=labels, prefix=prefix, batch_size=2)
    for n, x, c, y in zip((1, 3, 2), made, controls, labels, strict=True):
        assert torch.equal(x[:n], torch.zeros(n, 1)) and torch.allclose(x[n:], c[n:] + y, atol=0.1)
    with pytest.raises(ValueError, match="controls are given for 2 frames, and a prefix has 3"):
        generate(Known(), 3, controls=controls[:, :2], labels=labels, prefix=prefix)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", SEQUENCES)
def test_every_model_continues(name: str) -> None:
    case = ZOO[name]
    model, x = case.make(), case.x()[:2, :3]
    extra: dict[str, Any] = {k: v[:2] for k, v in case.extra().items() if not name.startswith("supervised")}
    if name == "path-prior":
        with pytest.raises(ValueError, match="isn't sampled in a loop over time"):
            generate(model, 2, T, prefix=list(x))
        return
    made = generate(model, 2, T, seed=0, prefix=list(x), temperature=0.5, **extra)
    assert torch.equal(made[:, :3].nan_to_num(-9.0), x.nan_to_num(-9.0)) and made.shape == (2, T, x.shape[-1])
    assert torch.isfinite(made[:, 3:].double()).all()


@pytest.mark.parametrize(("given", "what"), [
    ({"prefix": torch.ones(4, 5)}, "a prefix has 4 frames, and length, which counts them, is 4"),
    ({"prefix": torch.ones(9, 5)}, "a prefix has 9 frames"),
    ({"prefix": torch.ones(2, 3)}, "x_dim=5"),
    ({"prefix": [torch.ones(1, 5)] * 2}, "prefix must be one sequence, or one for each of 3, got 2"),
    ({"prefix": torch.full((2, 5), torch.inf)}, "inf"),
    ({"prefix": torch.full((2, 5), 0.5)}, "0.5"),
])
def test_what_is_no_prefix(given: Any, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        generate(rv.VRNN(5, 2, 6), 3, 4, **given)


def test_prefixes_that_a_model_cannot_have() -> None:
    with pytest.raises(TypeError, match="generate needs a data set"):
        generate(rv.VRNN(5, 2, 6), 3, 4, prefix="abc")
    with pytest.raises(ValueError, match="VAE is static, its items have no beginning"):
        generate(rv.VAE(5, 2, 6), 3, prefix=torch.ones(2, 5))
    gaps = torch.ones(2, 5)
    gaps[0, 1] = torch.nan
    with pytest.raises(ValueError, match="MaskedBernoulli can neither skip nor marginalise"):
        generate(ZOO["nade"].make(), 2, 4, prefix=gaps)


def test_text_goes_on_until_it_ends() -> None:
    texts = ["ab", "ba", "abab"]
    vocabulary = rv.data.Vocabulary.from_texts(texts)
    model = rv.VRAE.for_data(vocabulary.encode(texts), z_dim=2, h_dim=6)
    begun = vocabulary.encode(["ab"], end=False)
    made = generate(model, 40, 12, seed=0, prefix=begun, end=vocabulary.end)
    assert all(text.startswith("ab") for text in vocabulary.decode(made))
    assert len({len(x) for x in made}) > 1 and all((x[:-1] != vocabulary.end).all() for x in made)
    codes = begun.values[:, 0]  # one channel: a flat array will do
    assert all(map(torch.equal, made, generate(model, 40, 12, seed=0, prefix=codes, end=vocabulary.end)))


# ------------------------------------------------------------------------------------------------ temperature
def test_temperature_of_frames_and_of_latents() -> None:
    known: dict[str, Any] = {"controls": torch.zeros(400, 4, 1), "labels": 0.0, "seed": 0}  # z and x of scale 0.01
    spread = {t: generate(Known(), 400, temperature=t, **known).std().item() * 100 for t in (1.0, 0.5, 1e-6)}
    assert spread[1.0] == pytest.approx(2**0.5, rel=0.06)
    assert spread[0.5] == pytest.approx((1 + 0.25) ** 0.5, rel=0.06), "a number is x's alone"
    assert spread[1e-6] == pytest.approx(1.0, rel=0.06)
    both = generate(Known(), 400, temperature={"x": 0.5, "z": 0.5}, **known)
    assert both.std().item() * 100 == pytest.approx(0.5 * 2**0.5, rel=0.06)


def test_temperature_of_a_continuation() -> None:
    """The frames behind the prefix have it; the latents of the prefix come from the guide as it is."""
    prefix = 50 * torch.ones(2, 1)
    known: dict[str, Any] = {"controls": torch.zeros(400, 4, 1), "labels": 0.0, "seed": 0, "prefix": prefix}
    behind = generate(Known(), 400, temperature={"x": 0.5, "z": 0.5}, **known)[:, 2:]
    assert behind.std().item() * 100 == pytest.approx(0.5 * 2**0.5, rel=0.06)
    with pytest.raises(ValueError, match="no temperature is known for Gamma"):
        generate(GammaLatent(), 2, 4, temperature={"s": 0.5})
    generate(GammaLatent(), 2, 4, temperature={"s": 0.5}, prefix=prefix)  # s is the guide's


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_temperature_1_changes_nothing() -> None:
    for name in ("VRNN", "VAE", "VRAE"):
        model, length = ZOO[name].make(), None if ZOO[name].static else 4
        assert torch.equal(generate(model, 3, length, seed=0), generate(model, 3, length, seed=0, temperature=1))


def test_what_is_no_temperature() -> None:
    model = rv.VRNN(5, 2, 6)
    for wrong in (0, -1, float("nan"), "hot"):
        with pytest.raises(ValueError, match="temperature must be a positive number"):
            generate(model, 2, 4, temperature=wrong)  # type: ignore[call-overload]
    for prefix in (None, torch.ones(2, 5)):
        with pytest.raises(ValueError, match=r"temperature names \['q'\], and VRNN draws \['x', 'z'\]"):
            generate(model, 2, 4, temperature={"q": 0.5}, prefix=prefix)
    with pytest.raises(ValueError, match="Pair runs programs of its own"):
        generate(rv.Pair(lambda x: None, lambda x: None), 2, 4, temperature=0.5)  # type: ignore[call-overload]


class GammaLatent(Counter):
    """s ~ Gamma(2, 2);  x_t ~ N(s, 1)."""

    def generative(self, steps: Any) -> None:
        s = pyro.sample("s", pyro.distributions.Gamma(2 * torch.ones(1), 2 * torch.ones(1)).to_event(1))
        for t in steps:
            t.sample("x", lambda s: pyro.distributions.Normal(s, 1.0).to_event(1), t.hold(s))

    def inference(self, steps: Any, x: Any) -> None:
        pyro.sample("s", pyro.distributions.Delta(torch.ones(len(x), 1), event_dim=1))
