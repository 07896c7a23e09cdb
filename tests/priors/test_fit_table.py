"""Which prior fits which model: each pair either agrees in both readings, or is refused by name when it is built.

The table is generated here, and stands in the documentation of ``pyro_rvae.priors``.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pyro.poutine as poutine
import pytest
import torch
from laws import collect, forms_agree, loss_and_gradients
from pyro.infer import Trace_ELBO
from zoo import H, X, Z, awake, make_data

import pyro_rvae as rv

PRIORS: dict[str, Any] = {
    "StandardNormal": rv.StandardNormal,
    "Weightless": rv.Weightless,
    "Normal": rv.Normal,
    "Laplace": rv.Laplace,
    "StudentT": rv.StudentT,
    "MixtureOfGaussians": partial(rv.MixtureOfGaussians, components=2),
    "FlowPrior": partial(rv.FlowPrior, layers=2),
    "VampPrior": partial(rv.VampPrior, components=2, length=2),
    "AR1": rv.AR1,
    "GatedNormal": partial(rv.GatedNormal, hidden=H),
    "GaussianProcess": rv.GaussianProcess,
    "LinearGaussian": rv.LinearGaussian,
}
MODELS: dict[str, tuple[Any, str]] = {  # how it is built, and the argument that takes a prior
    "VAE": (rv.VAE, "prior"),
    "VRAE": (rv.VRAE, "prior"),
    "MusicVAE": (partial(rv.MusicVAE, every=2), "prior"),
    "DSAE prior_v": (rv.DSAE, "prior_v"),
    "VariationalAttention prior_v": (rv.VariationalAttention, "prior_v"),
    "RVAE": (rv.RVAE, "prior"),
    "STORN": (rv.STORN, "prior"),
    "ARAE": (rv.ARAE, "prior"),
    "VRNN": (rv.VRNN, "prior"),
    "DSAE": (rv.DSAE, "prior"),
    "HRAE": (partial(rv.HRAE, every=2), "prior"),
    "ZForcing": (rv.ZForcing, "prior"),
    "VariationalAttention": (rv.VariationalAttention, "prior"),
    "DMM transition": (rv.DMM, "transition"),
    "SRNN transition": (partial(rv.SRNN, posterior=rv.Normal), "transition"),  # the default reads the prior's mean
    "SwitchingLDS transition": (rv.SwitchingLDS, "transition"),
    "SwitchingLDS": (rv.SwitchingLDS, "prior"),
    "NeuralHMM": (rv.NeuralHMM, "prior"),
}
STATELESS = {"VAE", "VRAE", "MusicVAE", "DSAE prior_v", "VariationalAttention prior_v"}  # one latent a sequence
STEPS = {"RVAE", "STORN", "ARAE", "VRNN", "DSAE", "HRAE", "ZForcing", "VariationalAttention"}
REGIMES = {"SwitchingLDS", "NeuralHMM"}
ANY = {"StandardNormal", "Weightless", "Normal", "Laplace", "StudentT", "MixtureOfGaussians", "FlowPrior"}
PATHS = {"GaussianProcess", "LinearGaussian"}


def fits(prior: str, model: str) -> bool:
    """What the table says."""
    if model in REGIMES:
        return False
    if prior in ANY:
        return True
    if prior == "VampPrior":
        return model in ("VAE", "VRAE")
    if prior in PATHS:
        return model in STEPS or model in ("DMM transition", "SRNN transition")
    return model in ("DMM transition", "SRNN transition")  # AR1 and GatedNormal: they read z_{t-1}


def pairs(which: bool) -> list[tuple[str, str]]:
    return [(prior, model) for model in MODELS for prior in PRIORS if fits(prior, model) is which]


def build(prior: str, model: str) -> Any:
    make, argument = MODELS[model]
    part = partial(rv.VampPrior, components=2) if (prior, model) == ("VampPrior", "VAE") else PRIORS[prior]
    if model == "NeuralHMM":
        return make(X, 2, H, **{argument: part})
    return make(X, Z, H, **{argument: part})


@pytest.mark.parametrize(("prior", "model"), pairs(True))
def test_a_prior_that_fits_agrees_in_both_readings(prior: str, model: str) -> None:
    torch.manual_seed(0)
    made = awake(build(prior, model))
    x = make_data("static" if made.static else "binary", 0, (2, 3))
    if isinstance(made, rv.SwitchingLDS):  # its regimes are drawn: there is no common noise
        explicit_at_the_same_values(made, x)
        rv.Loss(made)(x).backward()
        gradients = collect(made)
    else:
        forms_agree(made, Trace_ELBO(), x)
        _, gradients = loss_and_gradients(made, Trace_ELBO(), x)
    argument = MODELS[model][1]
    part = made.levels[0].prior if model == "HRAE" else getattr(made, argument)
    ours = {id(p) for p in part.parameters() if p.requires_grad}
    names = [name for name, p in made.named_parameters() if id(p) in ours]
    assert len(names) == len(ours) and all(gradients[name].any() for name in names)


def explicit_at_the_same_values(model: Any, x: torch.Tensor) -> None:
    """The densities of one path of latents, all at once and step by step."""
    guide = poutine.trace(model.guide).get_trace(x)
    whole = poutine.trace(poutine.replay(model.model, guide)).get_trace(x)
    z, s = (whole.nodes[name]["value"] for name in "zs")
    steps = {f"{name}_{t}": value[:, t] for name, value in (("z", z), ("s", s)) for t in range(x.shape[1])}
    with rv.explicit():
        each = poutine.trace(poutine.condition(model.model, steps)).get_trace(x)
    torch.testing.assert_close(whole.log_prob_sum(), each.log_prob_sum())


@pytest.mark.parametrize(("prior", "model"), pairs(False))
def test_a_prior_that_does_not_fit_is_refused_when_the_model_is_built(prior: str, model: str) -> None:
    with pytest.raises((ValueError, TypeError), match=PRIORS[prior].func.__name__ if isinstance(PRIORS[prior], partial)
                       else prior) as refusal:
        build(prior, model)
    said = str(refusal.value)
    assert any(word in said for word in ("use ", "suits ", "pass ")), f"what fits is not said: {said}"


# ------------------------------------------------------------------------------------------------------ the table
def table() -> str:
    """The table as Markdown: models that take the same priors share a column."""
    columns: dict[tuple[bool, ...], list[str]] = {}
    for model in MODELS:
        columns.setdefault(tuple(fits(prior, model) for prior in PRIORS), []).append(model)
    letters = "ABCDEFGH"[: len(columns)]
    lines = [f"| prior | {' | '.join(letters)} |", f"|---|{'---|' * len(columns)}"]
    for row, prior in enumerate(PRIORS):
        lines.append(f"| `{prior}` | {' | '.join('yes' if column[row] else '' for column in columns)} |")
    legend = [f"- {letter}: {', '.join(f'`{name}`' for name in names)}"
              for letter, names in zip(letters, columns.values(), strict=True)]
    return "\n".join([*lines, "", *legend])


def test_the_table_stands_in_the_documentation() -> None:
    said = " ".join((rv.priors.__doc__ or "").split())
    readme = " ".join((Path(__file__).parents[2] / "README.md").read_text().split())
    for where, text in (("pyro_rvae.priors", said), ("README.md", readme)):
        assert " ".join(table().split()) in text, f"the table of {where} is out of date; it is now\n{table()}"


def test_every_prior_of_the_package_stands_in_the_table() -> None:
    layers, shared, families = {"AffineCoupling", "Spline"}, {"BayesianLinear", "GammaNoise"}, {"GaussianMixture"}
    assert set(rv.priors.__all__) - layers - shared - families <= set(PRIORS)
