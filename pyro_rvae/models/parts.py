"""What the models' constructors share."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..core import Steps, verbs
from ..core.checks import check_count
from ..distributions import Conditional, ConvDecoder, Family
from ..nn import FrameDropout, Reader, WordDropout, build, is_recipe

__all__ = [
    "behind_regime", "check_regimes", "check_state", "check_summary", "check_widths", "first_frame",
    "given_at_each_step", "posterior_for", "reader_for", "reads_path", "reads_prior_mean", "reads_start", "start_for",
    "told", "without_previous", "without_prior_mean",
]


def check_widths(model: Any, **widths: Any) -> None:
    """Refuse a width that is no integer of at least 1, before anything is built with it."""
    for name, width in widths.items():
        check_count(f"{type(model).__name__}: {name}", width)


def reads_path(part: Any) -> bool:
    """Whether a part is a law over the whole path of its latent, and is given no previous one."""
    return verbs.reads_path(_source(part))


def without_previous(model: Any, what: str, part: Any, given: str, *, prior_mean: bool = False,
                     once: bool = False) -> Any:
    """``part``, unless it reads the previous latent, which the model does not pass to it.

    Arguments:
        what: the part's name in the model.
        given: what the model passes instead, for the message.
        prior_mean: whether the model passes the prior's mean to a part that reads it.
        once: whether the latent is drawn once a sequence, so that it has no path.
    """
    if once and reads_path(part):
        raise ValueError(f"{_name(part)} is a law over the path of a latent; {type(model).__name__}'s {what} is that "
                         "of one latent a sequence (or is no site of its own): use a Family, or an RVAE, STORN or DMM.")
    if getattr(_source(part), "reads_previous", False):
        raise ValueError(f"{_name(part)} reads the previous latent; {type(model).__name__}'s {what} is given {given}: "
                         "use a Family, or a DMM.")
    return part if prior_mean else without_prior_mean(model, what, part)


def reads_prior_mean(part: Any) -> bool:
    """Whether a posterior is to be given the mean of the prior, in front of its other inputs."""
    return bool(getattr(_source(part), "reads_prior_mean", False))


def without_prior_mean(model: Any, what: str, part: Any) -> Any:
    """``part``, unless it reads the prior's mean, which the model does not pass: it would take another's place."""
    if reads_prior_mean(part):
        raise ValueError(f"{type(model).__name__}'s {what} is not given the prior's mean, which this posterior reads "
                         "first: use a Family, or an SRNN, VRNN or DMM.")
    return part


def reads_start(part: Any) -> bool:
    """Whether a transition is to be told which step is the first, behind ``z_{t-1}`` (``rv.AR1``)."""
    return bool(getattr(_source(part), "reads_start", False))


def start_for(part: Any, steps: Steps) -> tuple[Tensor, ...]:
    """For a transition that ``reads_start``, a sequence ``(T, 1)``: 1 at the first step, 0 after it; else nothing."""
    if not reads_start(part):
        return ()
    return (steps.start(),)


def behind_regime(model: Any, what: str, part: Any) -> Any:
    """``part``, unless it reads the previous latent first (or a whole path), where a regime stands before it."""
    source = _source(part)
    if reads_path(part) or (getattr(source, "reads_previous", False) and not getattr(source, "reads_regime", False)):
        reads = "is a law over the path of a latent" if reads_path(part) else "reads the previous latent first"
        raise ValueError(f"{_name(part)} {reads}; {type(model).__name__}'s {what} is called with the regime s_t, then "
                         "z_{t-1}: use rv.SwitchingNormal or a Family, or a DMM.")
    return part


def told(model: Any, prior: Any, likelihood: Any) -> Any:
    """The prior of one latent, told of the model's frames where it ``reads_posterior`` (``rv.VampPrior``)."""
    if not getattr(_source(prior), "reads_posterior", False):
        return without_previous(model, "prior", prior, "nothing", once=True)
    name = f"{type(model).__name__}'s prior: {_name(prior)}"
    if model.context is not None:
        raise ValueError(f"{name} stands for q(z | x) at its pseudo-inputs, and with a context q reads controls or "
                         "labels too, which they do not have: leave the context out, or pass another prior.")
    if is_recipe(prior):
        bounded = getattr(_source(likelihood), "kind", "real") == "binary"
        said = prior.keywords if isinstance(prior, partial) else {}
        prior = partial(prior, **{"width": model.reader.out_dim, "bounded": bounded} | said)(0, model.z_dim)
    if prior.width != model.reader.out_dim:
        raise ValueError(f"{name} has pseudo-inputs {prior.width} wide, and the model's networks read "
                         f"{model.reader.out_dim} numbers a frame.")
    if model.static != (prior.length is None):
        raise TypeError(f"{name} needs length=..., the frames of a pseudo-input, of a model of sequences: "
                        "functools.partial(rv.VampPrior, length=...)." if prior.length is None else
                        f"{name} has pseudo-inputs of length={prior.length} frames, and items have no time: leave it "
                        "out.")
    return prior


def posterior_for(prior: Any, posterior: Callable[[Tensor], Any]) -> tuple[Any, ...]:
    """What a prior that ``reads_posterior`` is called with first: the model's q(z | x); of others nothing."""
    return (posterior,) if getattr(prior, "reads_posterior", False) else ()


def check_regimes(model: Any, part: Any, *inputs: Tensor) -> None:
    """Refuse a prior over vectors of real numbers (built from ``part``), where the latent is one of several regimes."""
    prior = model.prior
    with torch.no_grad():
        law = None if reads_path(prior) or reads_start(prior) else prior(*inputs)
    if law is None or not getattr(law.support, "is_discrete", False):
        raise ValueError(f"{type(model).__name__}: the latent s is one of several regimes, and {_name(part)} is a "
                         "density of real vectors; pass rv.distributions.OneHot, or a conditional that returns a "
                         "OneHotCategorical.")


def _name(part: Any) -> str:
    source = _source(part)
    return source.__name__ if isinstance(source, type) else type(source).__name__


def first_frame(feedback: Any, width: int) -> nn.Parameter:
    """x_0, which a decoder that reads x_{t-1} reads first; not trained where its ``feedback`` replaces every frame."""
    blind = isinstance(feedback, WordDropout | FrameDropout) and feedback.p == 1.0
    return nn.Parameter(torch.zeros(width), requires_grad=not blind)


def check_summary(model: Any, encoder: Any) -> None:
    """Refuse an encoder without a summary, where the latent is drawn once a sequence."""
    if not callable(getattr(encoder, "summary", None)):
        raise TypeError(f"encoder: {type(model).__name__} reads summary(x, mask), one feature vector (B, out_dim) a "
                        f"sequence, and {type(encoder).__name__} has none; write it, or subclass rv.Encoder.")


def given_at_each_step(context: Any) -> tuple[Any, int]:
    """What a conditional model is given at each step, built if it is a recipe, and its width; 0 where there is none."""
    if context is None:
        return None, 0
    context = build(context)
    if not callable(context) or not hasattr(context, "out_dim"):
        raise TypeError(f"context: expected rv.Context(control_dim=..., classes=..., label_dim=...), or a module of "
                        f"your own from (controls, labels, length) to (B, T, out_dim), got {type(context).__name__}.")
    return context, int(context.out_dim)


def check_state(model: Any, recurrence: Any) -> None:
    """Refuse a causal part that does not tell the width of its state, where the model gives the first one."""
    if not hasattr(recurrence, "state_dim"):
        raise TypeError(f"recurrence: {type(model).__name__} gives the first state, and {type(recurrence).__name__} "
                        "does not set state_dim, the width of the vector that its begin(init) takes.")


def _source(part: Any) -> Any:
    """What a ``functools.partial`` is of."""
    while isinstance(part, partial):
        part = part.func
    return part


def reader_for(reader: Any, likelihood: Any, x_dim: int) -> Any:
    """The part through which networks read x: as given, or as the likelihood's family suggests."""
    if reader is not None:
        built = build(reader, x_dim)
        if not callable(built) or not hasattr(built, "out_dim"):
            raise TypeError(f"reader: expected a module from x to what networks read, with out_dim (rv.Reader, "
                            f"rv.CodeReader or your own), got {type(built).__name__}.")
        return built
    if isinstance(likelihood, Conditional) and isinstance(likelihood.family, Family):
        likelihood = likelihood.family
    source = _source(likelihood)
    if isinstance(source, type) and issubclass(source, ConvDecoder):  # its family, which it builds itself
        likelihood = inspect.signature(likelihood).parameters["family"].default
        source = _source(likelihood)
    if isinstance(likelihood, Family):
        return likelihood.reader()
    if isinstance(source, type) and issubclass(source, Family):
        return likelihood(x_dim).reader()
    return Reader(x_dim)
