"""The sequence VAE for text: its likelihood token by token, word dropout, generation until the end symbol."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import equations_labels as eq
import pyro.poutine as poutine
import pytest
import torch
from laws import forms_agree, gradients_arrive, per_sequence, same
from pyro.infer import Trace_ELBO
from torch import Tensor, nn
from zoo import awake

import pyro_rvae as rv
from pyro_rvae.tasks import generate

Z, H = 3, 8
TEXTS = ["abba", "cab", "b", "acca"]
VOCABULARY = rv.data.Vocabulary.from_texts(TEXTS)
DATA = VOCABULARY.encode(TEXTS)
READER = partial(rv.CodeReader, classes=VOCABULARY.classes, dim=4)


def text_vae(**parts: Any) -> rv.SequenceVAE:
    return awake(rv.TextVAE.for_data(DATA, z_dim=Z, h_dim=H, reader=READER, **parts))


def conditioned(model: rv.SequenceVAE, z: Tensor, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """log p(x, z) and log q(z | x), each (B,)."""
    p = poutine.trace(poutine.condition(model.model, {"z": z})).get_trace(x, mask)
    q = poutine.trace(poutine.condition(model.guide, {"z": z})).get_trace(x, mask)
    return per_sequence(p), per_sequence(q)


def test_the_likelihood_of_a_text_is_that_of_its_codes_and_its_end() -> None:
    model, batch, z = text_vae().eval(), DATA.padded(), torch.randn(4, Z)
    for form in (rv.explicit(), rv.annealed(1.0)):
        with form:
            p, q = conditioned(model, z, *batch)
        for i, codes in enumerate(DATA):
            assert codes[-1] == VOCABULARY.end and not (codes[:-1] == VOCABULARY.end).any()
            log_p, log_q = eq.text(model, codes, {"z": z[i]})
            same(p[i], log_p, "log joint")
            same(q[i], log_q, "log guide")
            assert log_p < eq.text(model, codes[:-1], {"z": z[i]})[0], "the end symbol has its probability"


class Noted(rv.WordDropout):
    """Keeps what it last gave to the decoder."""

    def forward(self, frame: Tensor) -> Tensor:
        self.seen, self.given = frame, super().forward(frame)
        return self.given


def test_word_dropout_changes_only_what_the_decoder_reads() -> None:
    model, batch, z = text_vae(feedback=partial(Noted, p=0.5)), DATA.padded(), torch.randn(4, Z)
    whole = conditioned(model.eval(), z, *batch)
    model.train()
    p, q = conditioned(model, z, *batch)
    same(q, whole[1], "the guide reads whole texts")
    given, seen = model.feedback.given, model.feedback.seen  # (B, T, 4)
    dropped = (given == model.feedback.unknown).all(-1)
    assert given.shape == (4, 5, 4) and 0 < dropped.sum() < dropped.numel()
    same(given[~dropped], seen[~dropped], "the others are as they were")
    for i, codes in enumerate(DATA):
        same(p[i], eq.text(model, codes, {"z": z[i]}, read=list(given[i, : len(codes)]))[0], "log joint")
    assert not torch.equal(p, whole[0])


def test_a_share_p_is_dropped_in_training_alone() -> None:
    part, frame = rv.WordDropout(4, p=0.3), torch.randn(100, 200, 4)
    share = (part(frame) == part.unknown).all(-1).double().mean()
    assert abs(share - 0.3) < 5 * (0.21 / 20000) ** 0.5
    torch.manual_seed(1)
    once = part(frame)
    torch.manual_seed(1)
    assert torch.equal(once, part(frame)) and not torch.equal(once, part(frame))
    state = torch.get_rng_state()
    assert torch.equal(part.eval()(frame), frame) and torch.equal(state, torch.get_rng_state())
    assert torch.equal(rv.WordDropout(4, p=0.0)(frame), frame)
    for p in (-0.1, 1.5):
        with pytest.raises(ValueError, match=f"p must be from 0 to 1, got {p}"):
            rv.WordDropout(4, p=p)


def test_with_p_1_the_decoder_reads_no_text_at_all() -> None:
    """Given z, each token's probability is the same whatever the others are: in evaluation and in training."""
    model, z = text_vae(feedback=partial(rv.WordDropout, p=1.0)), torch.randn(1, Z)
    for mode in (True, False):
        model.train(mode)
        laws = [poutine.trace(poutine.condition(model.model, {"z": z})).get_trace(x).nodes["x"]["fn"]
                for x in (torch.tensor([[[2], [3], [4]]]), torch.tensor([[[4], [4], [0]]]))]
        first, second = (law.base_dist.logits for law in laws)
        assert torch.equal(first, second)
    gradients_arrive(model, *DATA.padded())


@pytest.mark.parametrize("p", [0.5, 1.0])
def test_forms_agree_where_nothing_is_drawn(p: float) -> None:
    model = text_vae(feedback=partial(rv.WordDropout, p=p)).eval()
    forms_agree(model, Trace_ELBO(), *DATA.padded())


def test_word_dropout_takes_part_in_training() -> None:
    model = text_vae()
    assert isinstance(model.feedback, rv.WordDropout) and model.feedback.p == 0.5
    assert isinstance(model.reader, rv.CodeReader)
    before = model.feedback.unknown.clone()
    rv.fit(model, DATA, epochs=2, batch_size=2, progress=False)
    assert not torch.equal(before, model.feedback.unknown)


def test_the_words_of_bad_texts() -> None:
    with pytest.raises(ValueError, match="x holds 5 at"):
        text_vae().model(torch.full((1, 2, 1), VOCABULARY.classes))


# ------------------------------------------------------------------------------------------------ generation
def test_generated_texts_end_at_their_end_symbol() -> None:
    model = text_vae()
    whole = generate(model, 40, 6, seed=0)
    cut = generate(model, 40, 6, seed=0, end=VOCABULARY.end)
    assert isinstance(whole, Tensor) and whole.shape == (40, 6, 1) and isinstance(cut, list)
    lengths = {len(codes) for codes in cut}
    assert len(lengths) > 2 and max(lengths) == 6
    for full, codes in zip(whole, cut, strict=True):
        assert torch.equal(full[: len(codes)], codes) and not (codes[:-1] == VOCABULARY.end).any()
        assert len(codes) == 6 or codes[-1] == VOCABULARY.end
    assert VOCABULARY.decode(cut) == VOCABULARY.decode(whole)
    again = rv.data.SequenceDataset.from_sequences(cut, kind="categories", classes=VOCABULARY.classes)
    assert len(again) == 40


@pytest.mark.parametrize(("model", "size", "end", "message"), [
    (rv.VRNN(5, 2, 4), (2, 3), 0, "end is the code of an end symbol.* and VRNN draws other data"),
    (rv.VRNN(2, 2, 4, likelihood=partial(rv.Categorical, classes=3)), (2, 3), 0, "one channel of codes"),
    (rv.VRNN(1, 2, 4, likelihood=partial(rv.Categorical, classes=3)), (2, 3), 3, "code of the model, 0 to 2, got 3"),
    (rv.VRNN(1, 2, 4, likelihood=partial(rv.Categorical, classes=3)), (2, 3), True, "end must be a code.* got True"),
    (rv.VAE(1, 2, 4, likelihood=partial(rv.Categorical, classes=3)), (2,), 0, "VAE draws other data"),
])
def test_an_end_that_cannot_be(model: rv.SequenceVAE, size: Any, end: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        generate(model, *size, end=end)


def test_a_text_goes_on_from_its_beginning() -> None:
    model, z = text_vae().eval(), torch.randn(1, Z)
    start = VOCABULARY.encode(["ab"], end=False).padded().x
    trace = poutine.trace(poutine.condition(model.model, {"z": z})).get_trace(start, size=(1, 6))
    x = trace.nodes["x"]["value"]
    assert x.shape == (1, 6, 1) and torch.equal(x[:, :2], start)


def test_saved_and_loaded_it_is_the_same(tmp_path: Path) -> None:
    model = rv.TextVAE.for_data(DATA, z_dim=Z, h_dim=H)
    rv.save_pretrained(model, tmp_path)
    other = rv.from_pretrained(tmp_path)
    assert isinstance(other.feedback, nn.Module) and other.feedback.p == 0.5
    assert rv.evaluate(model, DATA, num_particles=2).elbo == rv.evaluate(other, DATA, num_particles=2).elbo
