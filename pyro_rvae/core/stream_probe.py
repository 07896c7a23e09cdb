"""Trying a model before it streams: that one frame at a time gives what all frames at once give, and its state's form.

A part of a user's own may mix time where nothing here sees it (a convolution, ``torch.nn.LSTM``): so the densities of
the two readings are compared, at equal values, on a short sequence that the model itself has drawn.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor

from .contexts import evaluating, seeded
from .filtered import Unfiltered
from .filtering import particle_filter
from .handlers import secluded, vectorised
from .noise import without_noise
from .stream_state import SIZES, Layout, layout_of
from .streaming import Moment, Unstreamable
from .traces import sites, traced

__all__ = ["like_of", "probed"]

FRAMES = 8
FILTERS = ("a guide that looks back only, such as those of rv.VRNN, rv.SRNN(smoothing=False) and "
           "rv.DMM(posterior=rv.Combiner, encoder=rv.Forward)")
OTHERS = f"Read whole sequences (rv.tasks.score, rv.tasks.forecast), or stream a model with {FILTERS}."


def probed(model: Any, bootstrap: bool, labels: Tensor | None, control_dim: int, seed: int) -> Layout:
    """The layout of the model's state.

    Raises:
        Unstreamable: the model has no frames, looks at more than the frame that has come, or reads otherwise one
            frame at a time than all at once.
    """
    name = type(model).__name__
    if model.static:
        raise Unstreamable(f"{name} is static: its items have no time, so there is nothing to stream. Score them with "
                           "rv.tasks.score.")
    device = like_of(model).device
    with secluded(), vectorised(), without_noise(), evaluating(model), seeded(seed, device):
        few, many = SIZES[0][1], SIZES[1][1]
        known = _known(model, labels, control_dim, many)
        x = sites(traced(model.learned_model, size=(many, FRAMES), **known))["x"]["value"]
        second = _tried(model, bootstrap, x, known)
        mine = {key: value[:few] for key, value in known.items()}
        values = _Values()
        with values:
            expected, forced = _at_once(model, bootstrap, x[:few], mine, second)
        first = _Trial(model, bootstrap, x[:few], mine, SIZES[0], forced, values.seen)
        first.run()
        factors = torch.stack(first.factors)
        _compare(name, expected, factors if first.latents else factors[:, :1].sum(0, keepdim=True))
    return layout_of([first.states, second.states])


def like_of(model: Any) -> Tensor:
    """A tensor with the model's device and dtype."""
    return next((p.detach() for p in model.parameters()), torch.empty(0))


def _known(model: Any, labels: Tensor | None, control_dim: int, series: int) -> dict[str, Any]:
    """Controls and labels for a short sequence."""
    like, known = like_of(model), dict[str, Any]()
    if control_dim:
        known["controls"] = torch.randn(series, FRAMES, control_dim, dtype=like.dtype, device=like.device)
    if labels is not None:
        known["labels"] = labels[torch.arange(series, device=labels.device) % len(labels)]
    return known


class _Values(Messenger):
    """Fixes the values of Pyro's sites by name, and notes those of all others."""

    def __init__(self, fixed: dict[str, Tensor] | None = None) -> None:
        super().__init__()
        self.fixed, self.seen = fixed or {}, dict[str, Tensor]()

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] in self.fixed:
            msg["value"] = self.fixed[msg["name"]]

    def _pyro_post_sample(self, msg: Any) -> None:
        self.seen.setdefault(msg["name"], msg["value"])


@dataclass
class _Trial:
    """A short sequence, read one frame at a time."""

    model: Any
    bootstrap: bool
    x: Tensor
    known: dict[str, Any]
    size: tuple[int, int]
    forced: list[dict[str, Tensor]] = field(default_factory=lambda: [{}] * FRAMES)
    fixed: dict[str, Tensor] = field(default_factory=dict)
    states: list[Any] = field(default_factory=list)
    factors: list[Tensor] = field(default_factory=list)  # (K, B), a frame
    latents: set[str] = field(default_factory=set)

    def run(self) -> None:
        with _Values(self.fixed):
            shared = self.model._shared(getattr(self.model, "shared_posterior", None), 1)
        tree, controls = None, self.known.get("controls")
        for t, frame in enumerate(self.x.unbind(1)):
            moment = Moment(self.size, tree, forced={**self.fixed, **self.forced[t]})
            moment.read(self.model, frame.unsqueeze(1), bootstrap=self.bootstrap, labels=self.known.get("labels"),
                        controls=None if controls is None else controls[:, t: t + 1], shared=shared)
            self.factors.append(sum(moment.factors).expand(self.size))  # type: ignore[union-attr]
            self.states.append(moment.new)
            self.latents |= moment.drawn.keys()
            tree = moment.new


def _tried(model: Any, bootstrap: bool, x: Tensor, known: dict[str, Any]) -> _Trial:
    """The model streamed on a short sequence; what stands in its way is said."""
    trial, name = _Trial(model, bootstrap, x, known, SIZES[1]), type(model).__name__
    try:
        trial.run()
    except Unstreamable as error:
        raise Unstreamable(f"{error} {_way_out(model, bootstrap, x, known)}") from error
    except Exception as error:  # of a body or part that is not ours
        raise Unstreamable(f"{name} can't be streamed: given one frame it fails ({type(error).__name__}: {error}). A "
                           "stream runs both bodies on sequences of length 1, so every part but a rv.Causal must map "
                           "each step by itself.") from error
    once = sorted(trial.states[0]["once"])
    if not trial.latents and once:
        raise Unstreamable(f"{name} draws {once} once a sequence and nothing at each frame, so there is nothing to "
                           f"filter. {OTHERS}")
    return trial


def _way_out(model: Any, bootstrap: bool, x: Tensor, known: dict[str, Any]) -> str:
    """What to use instead."""
    base = getattr(model, "base", None)
    if base is not None:
        return f"Stream what {type(model).__name__} is built on, its `base`, a {type(base).__name__}."
    if not bootstrap:
        try:
            _tried(model, True, x, known)
        except Unstreamable:
            return OTHERS
        return f"Stream it with bootstrap=True, which proposes from the model's own prior, or take {FILTERS}."
    return OTHERS


def _at_once(model: Any, bootstrap: bool, x: Tensor, known: dict[str, Any],
             trial: _Trial) -> tuple[Tensor, list[dict[str, Tensor]]]:
    """The same of all frames at once: log factors of the weights ``(T, K, B)``, and the latents by step.

    A model without latents has its log density alone, ``(1, 1, B)``.
    """
    if not trial.latents:
        site = sites(traced(model.learned_model, x, **known))["x"]
        return site["fn"].log_prob(site["value"])[None, None], [{}] * FRAMES
    try:
        found = particle_filter(model, x, num_particles=SIZES[0][0], threshold=0.0, bootstrap=bootstrap, **known)
    except Unfiltered as error:
        raise Unstreamable(str(error)) from error
    joint = found.step_weights + found.increments[:-1].cumsum(0).unsqueeze(1)
    before = torch.full_like(joint[:1], 1.0 / len(joint[0])).log()
    forced = [{name: path[..., t, :] for name, path in found.filtering.items()} for t in range(FRAMES)]
    return joint.diff(dim=0, prepend=before), forced


def _compare(name: str, expected: Tensor, got: Tensor) -> None:
    """Refuse a model of which the two readings differ by more than rounding."""
    precise = expected.dtype == torch.float64
    apart = ((expected - got).abs() / (1 + expected.abs())).nan_to_num(0.0, posinf=0.0)
    if bool((apart <= (1e-8 if precise else 1e-3)).all()):
        return
    frame = int(apart.flatten(1).amax(1).argmax())
    raise Unstreamable(f"{name} can't be streamed: on a short sequence the density of frame {frame} is off by "
                       f"{float((expected - got)[frame].abs().max()):.2g} nats from what it is when all frames are "
                       "known. Some part mixes frames on its own (torch.nn.LSTM, a convolution over time), looks "
                       "ahead, or depends on steps.length: let it map each step by itself, or make it a rv.Causal.")
