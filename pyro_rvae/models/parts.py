"""What the models' constructors share."""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any

import torch
from torch import nn

from ..core.checks import check_count
from ..distributions import Conditional, ConvDecoder, Family
from ..nn import Reader, WordDropout, build

__all__ = ["check_state", "check_summary", "check_widths", "first_frame", "given_at_each_step", "reader_for",
           "reads_prior_mean", "without_previous", "without_prior_mean"]


def check_widths(model: Any, **widths: Any) -> None:
    """Refuse a width that is no integer of at least 1, before anything is built with it."""
    for name, width in widths.items():
        check_count(f"{type(model).__name__}: {name}", width)


def without_previous(model: Any, what: str, part: Any, given: str) -> Any:
    """``part``, unless it reads the previous latent, which the model does not pass to it.

    Arguments:
        what: the part's name in the model.
        given: what the model passes instead, for the message.
    """
    if getattr(_source(part), "reads_previous", False):
        source = _source(part)
        name = source.__name__ if isinstance(source, type) else type(source).__name__
        raise ValueError(f"{name} reads the previous latent; {type(model).__name__}'s {what} is given {given}: "
                         "use a Family, or a DMM.")
    return without_prior_mean(model, what, part)


def reads_prior_mean(part: Any) -> bool:
    """Whether a posterior is to be given the mean of the prior, in front of its other inputs."""
    return bool(getattr(_source(part), "reads_prior_mean", False))


def without_prior_mean(model: Any, what: str, part: Any) -> Any:
    """``part``, unless it reads the prior's mean, which the model does not pass: it would take another's place."""
    if reads_prior_mean(part):
        raise ValueError(f"{type(model).__name__}'s {what} is not given the prior's mean, which this posterior reads "
                         "first: use a Family, or an SRNN.")
    return part


def first_frame(feedback: Any, width: int) -> nn.Parameter:
    """x_0, which a decoder that reads x_{t-1} reads first; not trained where its ``feedback`` replaces every frame."""
    blind = isinstance(feedback, WordDropout) and feedback.p == 1.0
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
