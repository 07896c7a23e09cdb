"""A head on the latents of any model: classification or regression, labels partly missing."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar, Self

import pyro
import pyro.poutine as poutine
import torch
from pyro.poutine import Trace
from torch import Tensor, nn

from ..core import SequenceVAE, Steps
from ..core.checks import check_weight
from ..core.contexts import evaluating, forked
from ..core.emit import check_law
from ..core.traces import in_batch, sites
from ..distributions import Categorical, Family, Normal, conditional, observe_elements
from ..nn import Encoder, Pointwise, build, concat
from .parts import check_summary, check_widths
from .vrnn import VRNN

__all__ = ["Supervised"]


class Supervised(SequenceVAE):
    r"""p(x, z) and q(z | x) of ``base``;  s = [summary of the latents' paths, latents of a sequence];  y ~ p(y | s).

    The labels ``y`` are observed, so the bound is on :math:`\log p(x, y)`; where a label is unknown (-1 of a code,
    NaN of a number) its term is dropped, which marginalises it exactly: y has no children. The guide does not read
    labels, so that :func:`~pyro_rvae.tasks.predict_labels` uses the very posterior that was trained. In training mode
    the objective is :math:`E_q[\log p(x, z) - \log q(z \mid x) + w \log p(y \mid s)]` with w = ``weight``; in
    evaluation mode w is 1, so that ``evaluate`` gives a bound. x is generated without regard to labels: where labels
    are given and x is not, they are weighed, and do not steer the draw (for that, give the base a context).

    Source: Kingma, Rezende, Mohamed & Welling (2014), "Semi-supervised Learning with Deep Generative Models",
    arXiv:1406.5298: the classifier on latents of its model M1, here learned together with them, and the weight alpha
    of equation 9. We differ from M2 there: y is a child of z, not a parent of x.

    Arguments:
        base: the model, any :class:`SequenceVAE`; it becomes a part of this one, to which its ``transform`` moves.
        head: p(y | s): a Family, its class or a partial of it (``partial(rv.Categorical, classes=9)``, ``rv.Normal``),
            a class built with ``(in_dim, label_dim)``, or a whole conditional.
        label_dim: numbers in a label; default: that of the head where it is a Family already built, else 1.
        latents: names of the latents that the head reads; default: all whose values are real numbers.
        summary: mask-aware encoder of the latents' paths, or its class built with ``(in_dim, h_dim)``; its summary is
            read. Default: the mean over the valid steps.
        hidden: widths of the hidden layers of the head (and of ``summary``'s features, the first of them).
        weight: w above, positive. A sequence has one label and many frames: with w = 1 a small head may learn nothing
            before its latents are switched off by the KL; about the number of frames is a good start.

    Labels are ``(B,)``, or ``(B, label_dim)``: integer codes for a Categorical head, else floating point.

    Errors: ValueError where the base has no such latent, reads labels itself, or can't be run to learn its latents;
    where labels are absent, or of another shape, type or range. TypeError for what is no model.
    """

    needs_labels: ClassVar[bool] = True

    def __init__(self, base: SequenceVAE, head: Any, *, label_dim: int | None = None,
                 latents: Sequence[str] | None = None, summary: Any = None, hidden: Sequence[int] = (128,),
                 weight: float = 1.0) -> None:
        if not isinstance(base, SequenceVAE):
            raise TypeError(f"Supervised: base must be a model, such as rv.VRNN(x_dim) or rv.VRNN.for_data(data), got "
                            f"{type(base).__name__}.")
        check_weight("Supervised: weight", weight, zero=False)
        if label_dim is None:
            label_dim = head.dim if isinstance(head, Family) else 1
        check_widths(self, label_dim=label_dim)
        super().__init__()
        self.base, self.label_dim, self.weight = base, label_dim, float(weight)
        follow(self, base)
        found = _latents(base, latents)
        self.latents, self.paths = tuple(found), tuple(name for name, (_, path) in found.items() if path)
        in_dim = sum(dim for dim, path in found.values() if not path)
        if self.paths:
            width = sum(dim for dim, path in found.values() if path)
            mean = partial(Pointwise, net=nn.Identity())
            self.summary = build(summary or mean, width, hidden[0] if summary and hidden else width, kind=Encoder,
                                 what="summary")
            check_summary(self, self.summary)
            in_dim += self.summary.out_dim
        elif summary is not None:
            raise ValueError(f"Supervised: summary reads paths over time, and the latents {list(found)} are drawn once "
                             "a sequence; leave it out.")
        self.head = conditional(head, in_dim, label_dim, hidden=hidden)
        self.codes = _is_of_codes(_law(self, in_dim))

    @classmethod
    def for_data(cls, data: Any, *, base: Any = VRNN, head: Any = None, label_dim: int | None = None,
                 latents: Sequence[str] | None = None, summary: Any = None, hidden: Sequence[int] = (128,),
                 weight: float = 1.0, **parts: Any) -> Self:
        """The model for a data set with labels: ``base.for_data(data, **parts)``, and a head that fits its labels.

        Arguments:
            data: a data set with labels; integer codes get a Categorical head, real numbers a Normal one.
            base: a model's class (or named constructor).
            parts: arguments of the base. The others: see the class.
        """
        if data.labels is None:
            raise ValueError("Supervised.for_data: the data set has no labels, so there is nothing to learn a head "
                             "from: give it labels (-1, or NaN, where one is unknown).")
        labels = data.labels
        label_dim = labels[0].numel() if label_dim is None and not isinstance(head, Family) else label_dim
        if head is None and labels.is_floating_point():
            head = Normal
        elif head is None:
            head = partial(Categorical, classes=max(2, int(labels.max()) + 1))
        model = cls(base.for_data(data, **parts), head, label_dim=label_dim, latents=latents, summary=summary,
                    hidden=hidden, weight=weight)
        family: Any = getattr(model.head, "family", None)
        if hasattr(model.head, "set_bias") and hasattr(family, "bias"):
            raw = family.bias(labels.view(len(labels), -1))
            if raw is not None:
                model.head.set_bias(raw)
        model.num_sequences = len(data)
        return model

    def generative(self, steps: Steps) -> None:
        with poutine.trace() as record:
            self.base.generative(steps)
        law = self.head(self.features(steps, record.trace))
        check_law(law, "y")
        if steps.labels is None and "x" in steps.data:
            raise ValueError(f"{type(self).__name__}: a head without labels: x is given and labels are not. Pass "
                             "labels=..., with -1 (NaN, of numbers) where one is unknown; to predict them use "
                             "rv.tasks.predict_labels.")
        given = {} if steps.labels is None else self._observed(steps, law, steps.labels)
        law_of_known = given.pop("fn", law)
        pyro.sample("y", law_of_known, **given, infer={"law": law})
        if given and self.weight != 1.0:
            steps.reward("weight of y", (self.weight - 1.0) * law_of_known.log_prob(given["obs"]))

    def inference(self, steps: Steps, x: Tensor) -> None:
        self.base.inference(steps, x)

    def shared(self) -> None:
        self.base.shared()

    def features(self, steps: Steps, record: Trace) -> Tensor:
        """s, ``(..., B, in_dim)``: what the head reads of the latents that the base's body has just drawn."""
        parts = []
        if self.paths:
            parts.append(self.summary.summary(concat([steps.path(name) for name in self.paths]), steps.mask))
        for name in (name for name in self.latents if name not in self.paths):
            site = record.nodes[name]
            parts.append(site["value"] if site["fn"].event_dim else site["value"].unsqueeze(-1))
        return concat(parts)

    def unknown(self, batch: int) -> Tensor:
        """Labels of which none is known, for ``batch`` sequences."""
        like = next(self.parameters())
        if self.codes:
            return torch.full((batch, self.label_dim), -1, device=like.device)
        return like.new_full((batch, self.label_dim), torch.nan)

    def _observed(self, steps: Steps, law: Any, labels: Tensor) -> dict[str, Any]:
        """The labels as data of the law: the known ones alone."""
        values = self._checked(steps, labels)
        present = ~values.isnan() if values.is_floating_point() else values != -1
        filled = torch.where(present, values, torch.zeros_like(values))
        steps.check_support(law, "y", filled, present)
        return {"fn": observe_elements(law, present), "obs": filled}

    def _checked(self, steps: Steps, labels: Tensor) -> Tensor:
        """Labels ``(B, label_dim)`` of the law's type."""
        codes, name = self.codes, type(self).__name__
        wanted = f"(B,{'' if self.label_dim == 1 else f' {self.label_dim}'}), " + (
            "integer codes (torch.long), -1 where one is unknown" if codes
            else f"of {steps.like.dtype}, NaN where one is unknown")
        flat = labels.unsqueeze(-1) if labels.dim() == 1 else labels
        fits = not flat.is_floating_point() if codes else flat.dtype == steps.like.dtype
        if not fits or flat.dim() != 2 or flat.shape[1] != self.label_dim:
            raise ValueError(f"{name}: labels must be {wanted}; got {tuple(labels.shape)} of {labels.dtype}.")
        return flat.long() if codes else flat


def follow(model: SequenceVAE, base: SequenceVAE) -> None:
    """What a model takes over from the one inside it: how x is read, what it is given, and its units."""
    if getattr(base.context, "reads_labels", False):
        raise ValueError(f"{type(model).__name__}: the base {type(base).__name__} reads labels through its context, so "
                         "a head would predict what it is told. Give the base a context of controls alone.")
    same = {"static": base.static, "summed_out": base.summed_out, "reader": base.reader, "context": base.context,
            "shared_posterior": getattr(base, "shared_posterior", base.shared)}
    same |= {"x_dim": base.x_dim} if hasattr(base, "x_dim") else {}
    vars(model).update(same)  # past torch, which would list the parts' parameters twice
    model.num_sequences, model.data_card = base.num_sequences, base.data_card
    model.transform, base.transform = base.transform, None


def _is_of_codes(law: Any) -> bool:
    while hasattr(law, "base_dist"):
        law = law.base_dist
    return isinstance(law, torch.distributions.Categorical)


def _latents(base: SequenceVAE, wanted: Sequence[str] | None) -> dict[str, tuple[int, bool]]:
    """Width of each latent that is read, and whether it has a value a step."""
    if isinstance(wanted, str):
        raise TypeError(f"Supervised: latents must be a sequence of names, got the string {wanted!r}: write "
                        f"({wanted!r},).")
    drawn = {name: site for name, site in sites(_trial(base)).items() if in_batch(site) and name != "x"}
    if "y" in drawn:
        raise ValueError(f"Supervised: {type(base).__name__} has a site 'y' of its own, which is the label's name "
                         "here; give that one another name.")
    real = {name: site for name, site in drawn.items()
            if site["value"].is_floating_point() and name not in base.summed_out}
    for name in wanted or ():
        if name not in real:
            why = "is discrete" if name in drawn else "is not there"
            raise ValueError(f"Supervised: the head reads latents of {type(base).__name__} that are real numbers, of "
                             f"which it has {sorted(real)}; {name!r} {why}.")
    chosen = {name: real[name] for name in (real if wanted is None else wanted)}
    if not chosen:
        raise ValueError(f"Supervised: {type(base).__name__} has no latent of real numbers for a head to read "
                         f"(it draws {sorted(drawn) or 'nothing'}).")
    return {name: (site["value"].shape[-1] if site["fn"].event_dim else 1, site["fn"].event_dim > 1)
            for name, site in chosen.items()}


def _trial(base: SequenceVAE) -> Trace:
    """The base, run once on its own for one short sequence: its sites tell names and widths."""
    error: Exception | None = None
    for length in (1, 16, 256):  # a slow clock needs its k steps
        size = (1,) if base.static else (1, length)
        try:
            with poutine.block(), forked(), evaluating(base):
                width = 0 if base.static else getattr(base.context, "control_dim", 0)
                controls = next(base.parameters()).new_zeros(*size, width) if width else None
                return poutine.trace(base.model).get_trace(size=size, controls=controls)
        except Exception as problem:  # of a body that is not ours
            error = error or problem
    raise ValueError(f"Supervised: {type(base).__name__} could not be run alone, without labels, to learn its latents "
                     f"({error}). Controls must be read through a context (rv.Context), labels not at all.") from error


def _law(model: Supervised, in_dim: int) -> Any:
    """A law of the head: it reads what it will be given, and is over as many numbers as a label has."""
    with forked(), evaluating(model):
        try:
            law = model.head(next(model.base.parameters()).new_zeros(1, in_dim))
        except Exception as error:  # of a part that is not ours
            raise ValueError(f"head: {type(model.head).__name__} is given the latents' summary, {in_dim} numbers a "
                             f"sequence, and failed on it: {error}") from error
    check_law(law, "y")
    if tuple(law.event_shape) != (model.label_dim,):
        raise ValueError(f"head: its law is over vectors of {law.event_shape[0]}, labels have label_dim="
                         f"{model.label_dim}; give label_dim={law.event_shape[0]}, or another head.")
    return law
