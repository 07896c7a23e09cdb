"""The README's table of models: each spelling builds, and its guide looks where the table says."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import pyro.poutine as poutine
import pytest
import torch

import pyro_rvae as rv
from pyro_rvae.core.traces import sites

README = Path(__file__).parents[1] / "README.md"
X, T = 5, 8


def rows() -> list[tuple[str, str]]:
    """``(spelling, guide)`` of each spelling of the table; options without a model name belong to the one before."""
    text = README.read_text().split("## Models\n")[1].split("\n## ")[0]
    found = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) == 5 and "`" in cells[1] and "x_dim" not in cells[1]:
            spellings = re.findall(r"`([^`]+)`", cells[1])
            first = spellings[0]
            guides = [g.strip() for g in cells[3].split(";")]
            for i, spelling in enumerate(spellings):
                whole = spelling if spelling[0].isupper() else f"{first[:-1]}, {spelling})"
                found.append((whole, guides[min(i, len(guides) - 1)]))
    return found


def build(spelling: str) -> rv.SequenceVAE:
    name, arguments = spelling.split("(", 1)
    x_dim = 784 if "Conv" in spelling else 1 if "Categorical" in spelling else X
    torch.manual_seed(0)
    model: rv.SequenceVAE = eval(f"rv.{name}({x_dim}, {arguments}", {"rv": rv, "partial": partial})
    return model


def data(model: rv.SequenceVAE, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    if hasattr(model.reader, "classes"):
        return torch.randint(0, model.reader.classes, (2, T, model.x_dim), generator=generator)  # type: ignore[attr-defined]
    shape = (2, model.x_dim) if model.static else (2, T, model.x_dim)
    return (torch.rand(shape, generator=generator) < 0.5).to(torch.get_default_dtype())


def laws(model: rv.SequenceVAE, x: torch.Tensor, at: dict[str, Any] | None = None) -> dict[str, Any]:
    guide = model.guide if at is None else poutine.condition(model.guide, at)
    return sites(poutine.trace(guide).get_trace(x))


def test_every_model_of_the_package_stands_in_the_table() -> None:
    named = {spelling.split("(")[0] for spelling, _ in rows()}
    parts = {"GatedNormal", "Smoothed", "Supervised"}  # of a model, or around one
    assert set(rv.models.__all__) - parts == named


@pytest.mark.parametrize(("spelling", "guide"), rows())
def test_a_spelling_builds_and_its_guide_looks_where_the_table_says(spelling: str, guide: str) -> None:
    model = build(spelling).eval()
    x, other = data(model), data(model, 1)
    drawn = {name: site["value"].detach() for name, site in laws(model, x).items()}
    if guide in ("static", "once", ""):
        paths = [name for name, value in drawn.items() if value.dim() > 2]
        assert not paths and model.static == (guide == "static") and bool(drawn) == bool(guide)
        return
    looks = {look for name, value in drawn.items() if value.dim() > 2 for look in seen(model, x, other, drawn, name)}
    if guide == "smoother":  # of some the past comes in by z_{t-1} alone, which is held fixed
        assert {"now", "future"} <= looks
    else:
        assert looks == {"filter": {"past", "now"}, "frame": {"now"}}[guide]


def seen(model: rv.SequenceVAE, x: torch.Tensor, other: torch.Tensor, drawn: Any, name: str) -> set[str]:
    """Which frames of x move the law of z_t, its own past held fixed; t the middle step."""
    t = T // 2
    found = set()
    for what, frames in (("past", slice(0, t)), ("now", slice(t, t + 1)), ("future", slice(t + 1, T))):
        changed = x.clone()
        changed[:, frames] = other[:, frames]
        before, after = (mean(laws(model, v, drawn)[name], t) for v in (x, changed))
        if not torch.equal(before, after):
            found.add(what)
    return found


def mean(site: Any, t: int) -> torch.Tensor:
    """The mean of the law of frame t (of the slow step at whose frame the encoder is read)."""
    path = site["fn"].mean
    clock = -(-T // path.shape[-2])
    return path[..., t // clock, :]  # type: ignore[no-any-return]


# ------------------------------------------------------------------------------------- what every row can do
CLASSES = [s for s, _ in rows() if "Conv" not in s and "hidden" not in s]


def with_parts(spelling: str, parts: str) -> str:
    return f"{spelling[:-1]}, {parts})" if not spelling.endswith("()") else f"{spelling[:-1]}{parts})"


@pytest.mark.parametrize("spelling", [s for s in CLASSES if "tied" not in s])
def test_every_model_takes_a_context(spelling: str) -> None:
    model = build(with_parts(spelling, "context=rv.Context(classes=3)")).eval()
    found = []
    for label in (0, 2):
        torch.manual_seed(1)
        trace = poutine.trace(model.model).get_trace(size=(2, T), labels=torch.full((2,), label))
        found.append(trace.nodes["x"]["fn"].log_prob(data(model)))
    assert not torch.equal(*found)
    with pytest.raises(ValueError, match="reads labels"):
        model.model(size=(2, T))


@pytest.mark.parametrize("spelling", CLASSES)
def test_every_model_takes_missing_elements(spelling: str) -> None:
    model = build(spelling).eval()
    x = data(model)
    x[0, ..., 0] = -1 if x.dtype == torch.long else torch.nan
    cost = rv.infer.measure(model, rv.data.Batch(x, None)).elbo
    assert cost.isfinite().all()


@pytest.mark.parametrize("spelling", [s for s in CLASSES if "AE()" not in s or "R" in s or "StepRAE" in s])
def test_every_model_goes_on_from_a_beginning(spelling: str) -> None:
    model = build(spelling).eval()
    if model.static:
        pytest.skip("no time")
    x = data(model)
    drawn = {name: site["value"] for name, site in laws(model, x).items()}
    once = {name: value for name, value in drawn.items() if value.dim() == 2}
    paths = {name: value for name, value in drawn.items() if value.dim() == 3}
    with rv.given(**paths):
        trace = poutine.trace(poutine.condition(model.model, once)).get_trace(x, size=(2, T + 4))
    value = trace.nodes["x"]["value"]
    assert value.shape == (2, T + 4, model.x_dim) and torch.equal(value[:, :T], x)


@pytest.mark.parametrize("spelling", [s for s in CLASSES if s[-2:] == "()" or "every" in s])
def test_every_model_takes_the_contractive_penalty(spelling: str) -> None:
    model = build(spelling)
    if hasattr(model.reader, "classes") or not laws(model, data(model)):
        pytest.skip("codes, or no latent")
    cost = rv.Contractive(0.1)(model, data(model), None)
    assert cost > 0 and cost.requires_grad


ONE = ("VAE()", "ConvVAE()", "VRAE()", "RVAE()", "STORN()", "VRNN()", "ARAE()", "HRAE(every=(4,))", "MusicVAE(every=4)",
       "ZForcing()")
TRANSITIONS = ("DMM()", "SRNN()", "SwitchingLDS(modes=4)")
TWO = ("DSAE()", "VariationalAttention()")
POINTS = {
    **dict.fromkeys(ONE, "prior=rv.Weightless, posterior=rv.Delta"),
    **dict.fromkeys(TRANSITIONS, "transition=rv.Weightless, posterior=rv.Delta"),
    **dict.fromkeys(TWO, "prior=rv.Weightless, posterior=rv.Delta, prior_v=rv.Weightless, posterior_v=rv.Delta"),
}


@pytest.mark.parametrize("spelling", POINTS)
def test_the_deterministic_form_of_a_model_has_no_kl_and_is_sound(spelling: str) -> None:
    assert spelling in [s for s, _ in rows()]
    model = build(with_parts(spelling, POINTS[spelling])).eval()
    cost = rv.infer.measure(model, rv.data.Batch(data(model), None))
    assert torch.allclose(cost.kl, torch.zeros(2), atol=1e-9) and (cost.reconstruction > 0).all()
    if not model.static:
        rv.testing.check_model(model.train(), data(model))
