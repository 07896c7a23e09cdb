"""Filtering online: one observation at a time, of any number of series at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from ..core import SequenceVAE
from ..core.checks import check_arguments, check_count, check_seed
from ..core.resampling import Resampling, check_scheme, systematic
from ..core.stream_engine import Engine
from ..core.stream_probe import like_of
from ..data.transforms import raw_units
from .arrays import frame_values, is_frame
from .stream_file import read_stream, write_stream
from .streamed import Streamed

__all__ = ["Stream"]


class Stream:
    r"""A particle filter of a trained model that is fed one frame at a time.

    At a new frame the guide draws :math:`z_t` for each of K particles, which is weighed by

    .. math:: \alpha_t = \frac{p(x_t, z_t \mid x_{<t}, z_{<t})}{q(z_t \mid z_{<t}, x_{\le t})}, \qquad
              \hat p(x_t \mid x_{<t}) = \sum_k W_{t-1}^k \alpha_t^k

    and the particles of a series whose effective size has fallen below ``threshold K`` are resampled before its next
    frame. The numbers are those of :func:`pyro_rvae.core.filtering.particle_filter` on the whole sequence, at each of
    its frames. What is kept between two frames (:attr:`state`) is a fixed number of tensors of a fixed size, however
    many frames have come: it can be saved. What is drawn once a data set (``shared``) is drawn from its posterior at
    the start, and kept.

    Series may start at different times: one is new until its first frame has come, and :meth:`reset` makes it so again.
    Everything that is given and returned is in the raw units of the data, but for densities
    (:attr:`Streamed.log_density`). The model is in evaluation mode meanwhile; torch's random state does not move.

    At the start the model is tried on a short sequence of its own: where one frame at a time does not give what all
    frames at once give, it is refused.

    Arguments:
        model: a :class:`~pyro_rvae.SequenceVAE` whose guide is a filter (VRNN, STORN, ``SRNN(smoothing=False)``,
            ``DMM(posterior=rv.Combiner, encoder=rv.Forward)``, KVAE, ...); without latents (DeterministicRNN) all is
            exact.
        num_series: S.
        num_particles: K; with one the guide's draw alone, never resampled.
        seed: all draws are a function of it and of the calls so far, also of those for other series: alone, or in other
            company, a series has other draws of the same law (within ``rv.given_noise`` the same ones).
        bootstrap: propose from the model's own prior (Gordon, Salmond & Smith 1993): for models whose guide looks
            ahead, and mostly with more noise.
        labels: ``(S, ...)``, known once a series, for a model that reads them.
        control_dim: width of a frame's controls; default: the context's, or that of the training data.
        resampling: ``rv.infer.systematic``, ``rv.infer.multinomial``, or a function ``(log_weights (K, B),
            uniform (K, B)) -> (K, B)``.
        threshold: of the effective size, as a share of K; 0 never resamples.
        expected: whether :meth:`update` also tells the mean that was expected of the frame before it came; it takes
            one more run of the generative program.

    Raises:
        Unstreamable: (a ValueError) the guide looks ahead, or once at all of a sequence; a slow clock; a path that is
            read as a whole; a state that grows with time; a static model; a part that mixes frames by itself.
        TypeError: no SequenceVAE; a seed that is no integer.

    Source: Doucet & Johansen (2009), "A tutorial on particle filtering and smoothing"; Maddison et al. (2017),
    arXiv:1705.09279, for learned proposals. We differ: resampling waits until the next frame has come, so that the
    weighted particles can be read, and forecast from, between two frames.

    >>> stream = rv.tasks.Stream(model, num_series=3)  # doctest: +SKIP
    >>> print(stream.update(x))  # x (3, x_dim), the next frame of each series  # doctest: +SKIP
    >>> stream.forecast(24).mean(0)  # (3, 24, x_dim)  # doctest: +SKIP
    """

    def __init__(self, model: SequenceVAE, num_series: int = 1, num_particles: int = 100, *, seed: int = 0,
                 bootstrap: bool = False, labels: Any = None, control_dim: int | None = None,
                 resampling: Resampling = systematic, threshold: float = 0.5, expected: bool = False) -> None:
        if not (hasattr(model, "generative") and hasattr(model, "inference")) or isinstance(model, type):
            got = f"the class {model.__name__}" if isinstance(model, type) else type(model).__name__
            raise TypeError(f"Stream runs the bodies of a SequenceVAE, one frame at a time; got {got}.")
        check_count("Stream: num_series", num_series)
        check_count("Stream: num_particles", num_particles)
        seed, num_series, num_particles = check_seed("Stream", seed), int(num_series), int(num_particles)
        check_scheme("Stream", resampling, threshold, False)
        self.model, self.num_series, self.num_particles = model, num_series, num_particles
        self.control_dim = _control_dim(model, control_dim)
        labels = self._labels(labels, num_series)
        self._engine = Engine(model, num_series, num_particles, seed=seed, bootstrap=bootstrap, labels=labels,
                              control_dim=self.control_dim, resampling=resampling, threshold=float(threshold),
                              expected=expected)
        self.x_dim = self._engine.layout.like["/before/x"].shape[-1]

    # ------------------------------------------------------------------------------------------ frames
    def update(self, x: Any, controls: Any = None, series: Sequence[int] | Any = None) -> Streamed:
        """Take in the next frame of each series, or of those in ``series``; the others stay as they are.

        If it raises, nothing has changed.

        Arguments:
            x: ``(B, x_dim)``, or a DataFrame, whose columns are taken by name; NaN (-1 in codes) is missing, and a
                frame that is wholly missing only moves time on.
            controls: ``(B, control_dim)``, known inputs of this frame.
            series: the B numbers of the series; default: all.

        Raises:
            ValueError: another number of series or features; a series that is not there or named twice; a value that is
                infinite, or outside the support; a gap where the likelihood can't have one; controls that lack or are
                not read; a frame so large that the state would not be finite (a density of 0 may be: weights stay).
        """
        rows = self._rows(series)
        frame = self._frame(frame_values(self.model, x, "Stream.update") if is_frame(x) else x, rows)
        known = self._controls(controls, (len(rows),), "update")
        check_arguments(self.model, frame.unsqueeze(1), None, None, None if known is None else known.unsqueeze(1), None)
        seen = self._engine.advance(rows, frame, known)
        return Streamed.of(self.model, seen, rows, [self._engine.ages[n] for n in rows], frame, self.num_particles)

    def forecast(self, horizon: int, num: int = 100, controls: Any = None,
                 series: Sequence[int] | Any = None) -> np.ndarray[Any, Any]:
        """Draws of the frames to come, ``(num, B, horizon, x_dim)``, each a path; nothing changes.

        Called again before the next update it gives the same draws.

        Arguments:
            horizon: frames ahead.
            num: draws of each series.
            controls: ``(B, horizon, control_dim)``, known inputs of those frames.
            series: as for :meth:`update`. A series that has not begun is drawn from its start.
        """
        check_count("forecast: horizon", horizon)
        check_count("forecast: num", num)
        rows = self._rows(series)
        known = self._controls(controls, (len(rows), horizon), "forecast")
        x = self._engine.ahead(rows, horizon, num, known, self._engine.count)
        return raw_units(self.model, x).cpu().numpy()

    def reset(self, series: Sequence[int] | Any = None, labels: Any = None) -> None:
        """Start all series anew, or those in ``series``; with ``labels (B, ...)``, as others than they were."""
        rows = self._rows(series)
        if labels is not None and self._engine.labels is None:
            raise ValueError("reset: labels were given, and this stream was built without: leave them out.")
        self._engine.reset(rows, self._labels(labels, len(rows)))

    # ------------------------------------------------------------------------------------------ state
    @property
    def ages(self) -> list[int]:
        """Frames that each series has seen."""
        return list(self._engine.ages)

    @property
    def state(self) -> dict[str, Tensor]:
        """What is kept between frames, by name: ``(K, S, ...)``, ``(S, ...)``, or what all series share."""
        return {**self._engine.state, "log_weights": self._engine.log_weights}

    def save(self, path: str | Path) -> Path:
        """Write all that is needed to go on, but for the model, to one file (safetensors), whole or not at all."""
        return write_stream(self._engine, path)

    @classmethod
    def load(cls, path: str | Path, model: SequenceVAE, *, resampling: Resampling | None = None) -> Self:
        """The stream that :meth:`save` wrote: it goes on bit for bit (on the same device).

        Arguments:
            model: the model that it was made with.
            resampling: if it was a function of your own; the others are known by name.

        Raises:
            ValueError: no such file, or a truncated one; a stream of another model, or of other weights.
        """
        settings, resume = read_stream(path, model, resampling)
        resume((stream := cls(model, **settings))._engine)
        return stream

    def __repr__(self) -> str:
        ages = ", ".join(map(str, self.ages[:8])) + ", ..." * (self.num_series > 8)
        size = f"num_series={self.num_series}, num_particles={self.num_particles}"
        return f"Stream({type(self.model).__name__}, {size}; frames seen: {ages})"

    # ------------------------------------------------------------------------------------------ what is given
    def _rows(self, series: Any) -> list[int]:
        if series is None:
            return list(range(self.num_series))
        rows = [int(n) for n in np.asarray(series).reshape(-1).tolist()] if _whole(series) else None
        if not rows:
            raise ValueError(f"series must be the numbers of one or more series, integers; got {series!r}.")
        if strange := [n for n in rows if not 0 <= n < self.num_series]:
            raise ValueError(f"series: there is no series {strange[0]}; this stream has {self.num_series}, "
                             f"numbered 0 to {self.num_series - 1}.")
        if len(set(rows)) < len(rows):
            raise ValueError(f"series: {rows} names a series twice; each takes one frame at a time.")
        return rows

    def _labels(self, labels: Any, number: int) -> Tensor | None:
        if labels is None:
            return None
        known = _tensor(labels)
        like = like_of(self.model)
        known = known.to(like) if known.is_floating_point() else known.to(like.device, torch.long)
        if not self.model.static:
            check_arguments(self.model, None, None, (number, 1), None, known)
        return known

    def _frame(self, x: Any, rows: list[int]) -> Tensor:
        """``x (B, x_dim)`` in the model's units and precision."""
        like, codes = self._engine.like, hasattr(self.model.reader, "classes")
        try:
            frame = _tensor(x)
        except (TypeError, ValueError) as error:
            raise ValueError(f"update: x must be an array of numbers ({len(rows)}, {self.x_dim}), got "
                             f"{type(x).__name__}.") from error
        if frame.shape != (len(rows), self.x_dim):
            raise ValueError(f"update: x must be one frame of each of {len(rows)} series, (B, x_dim) = "
                             f"({len(rows)}, {self.x_dim}), got {tuple(frame.shape)}.")
        if codes:
            if frame.is_floating_point() or frame.dtype == torch.bool:
                raise ValueError(f"update: the model reads integer codes (-1 is missing), got x of {frame.dtype}.")
            return frame.to(like.device, torch.long)
        frame, transform = frame.to(like.device, like.dtype), self.model.transform
        return frame if transform is None else transform(frame)  # type: ignore[no-any-return]

    def _controls(self, controls: Any, lead: tuple[int, ...], caller: str) -> Tensor | None:
        wanted = (*lead, self.control_dim)
        if controls is None and not self.control_dim:
            return None
        if not self.control_dim:
            raise ValueError(f"{caller}: controls were given, and this stream reads none: leave them out (or, for a "
                             "model that reads them without an rv.Context, build the stream with control_dim=...).")
        if controls is None:
            raise ValueError(f"{caller}: the model reads controls, {wanted}, and none were given: pass controls=....")
        known = _tensor(controls).to(self._engine.like)
        if known.shape != wanted:
            raise ValueError(f"{caller}: controls must be {wanted}, got {tuple(known.shape)}.")
        return known


def _tensor(x: Any) -> Tensor:
    return x.detach() if isinstance(x, Tensor) else torch.from_numpy(np.array(x))


def _whole(series: Any) -> bool:
    return bool(np.issubdtype(np.asarray(series).dtype, np.integer))


def _control_dim(model: SequenceVAE, given: int | None) -> int:
    if given is not None:
        check_count("Stream: control_dim", given, 0)
        return int(given)
    holder = model.data_card if model.context is None else model.context
    return int(getattr(holder, "control_dim", 0))
