"""Between the arrays that scikit-learn holds and a model: sequences, codes, and latents as rows of numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..core.contexts import evaluating, forked
from ..core.handlers import vectorised
from ..core.traces import guide_trace, in_batch, sites, traced
from ..criticism.by_dimension import has_steps
from ..criticism.chunks import like_of
from ..criticism.replicates import site_of_x
from ..data import Batch, SequenceDataset, StaticDataset
from ..data.transforms import raw_units
from ..models import VAE, VRAE
from .arrays import are_frames, frame_values, names_of_frames
from .between import decoded

__all__ = ["as_sequences", "built", "frames_of", "from_latents", "latent_widths", "made_of", "whole"]

Array = NDArray[np.float64]


def as_sequences(X: Any, series: bool = False) -> list[Array] | None:
    """X as a list of ``(T_i, x_dim)``, or None: rows, or nothing that is known.

    ``series``: whether arrays ``(T,)`` are sequences of one feature; if not, only those of several lengths are.
    """
    if getattr(X, "ndim", None) == 3:
        X = list(X)
    elif isinstance(X, np.ndarray) and X.ndim == 1 and X.dtype.kind == "O":
        X = list(X)
    if not isinstance(X, Sequence) or isinstance(X, str) or not len(X):
        return None
    dims = {np.ndim(x) for x in X} if all(hasattr(x, "ndim") or isinstance(x, Sequence) for x in X) else set()
    if dims == {1} and (series and all(hasattr(x, "ndim") for x in X) or len({len(x) for x in X}) > 1):
        return [np.asarray(x, dtype=np.float64)[:, None] for x in X]
    return [np.asarray(x, dtype=np.float64) for x in X] if dims == {2} else None


def whole(codes: Array) -> NDArray[np.int64]:
    """Codes that scikit-learn holds as floats; NaN is a missing one, -1."""
    filled = np.where(np.isnan(codes), -1, codes)
    if (filled != np.floor(filled)).any():
        raise ValueError("Embedder: kind='categories' wants whole numbers, the codes 0, 1, 2, ... (NaN = missing)")
    return filled.astype(np.int64)


def made_of(given: Any, kind: str, classes: int | None) -> Any:
    """Training data: a data set as it is, a list of sequences (of DataFrames, with the names of columns), or rows."""
    if hasattr(given, "padded"):
        return given
    known: dict[str, Any] = {"kind": kind, "classes": classes}
    if are_frames(given):
        known["names"] = names_of_frames(given)
        given = [frame_values(None, frame, "Embedder.fit", known["names"]).astype(np.float64) for frame in given]
    if not isinstance(given, list):
        return StaticDataset(whole(given) if kind == "categories" else given, **known)
    return SequenceDataset.from_sequences([whole(x) for x in given] if kind == "categories" else given, **known)


def built(cls: Any, data: Any, z_dim: int, parts: Any) -> Any:
    """A new model for the data, of the default class if none is given.

    Raises: TypeError: no class of models, or parts that are no mapping.
    """
    if parts is not None and not isinstance(parts, Mapping):
        raise TypeError(f"Embedder: parts must be a mapping of the model's arguments, such as {{'h_dim': 64}}, got "
                        f"{parts!r}")
    cls = (VRAE if hasattr(data, "lengths") else VAE) if cls is None else cls
    if not hasattr(cls, "for_data"):
        raise TypeError(f"Embedder: model must be a class of models such as rv.VRAE, a trained model, or None, got "
                        f"{cls!r}")
    return cls.for_data(data, z_dim=z_dim, **(parts or {}))


def latent_widths(model: Any) -> dict[str, tuple[int, int | None]]:
    """Width, and frames a step (None: drawn once), of each latent that is embedded; from a draw of the model."""
    like = like_of(model)
    with evaluating(model), vectorised(), forked(like.device):
        size = (1,) if model.static else (1, int(frames_of(model, None, 1)[0]))
        x = site_of_x(traced(getattr(model, "learned_model", model.model), size=size))["value"]
        drawn = sites(guide_trace(model, Batch(x)), observed=False)
    return {name: (site["value"].shape[-1], site["infer"]["every"] if has_steps(site) else None)
            for name, site in drawn.items()
            if in_batch(site) and site["value"].is_floating_point() and not site["infer"].get("is_auxiliary")}


def frames_of(model: Any, lengths: Any, number: int) -> NDArray[np.int64]:
    """``(N,)``: frames to decode."""
    if lengths is None:
        card = getattr(model, "data_card", None)
        seen = {} if card is None else card.lengths
        lengths = int(np.median(np.repeat(list(seen), list(seen.values())))) if seen else 1
    frames = np.broadcast_to(np.asarray(lengths), (number,)) if np.ndim(lengths) == 0 else np.asarray(lengths)
    if frames.shape != (number,) or frames.dtype.kind not in "iu" or (frames < 1).any():
        raise ValueError(f"inverse_transform: lengths must be whole numbers of at least 1, one for all or one for each "
                         f"of {number} sequences, got {lengths!r}.")
    return frames.astype(np.int64)


def from_latents(model: Any, widths: Mapping[str, tuple[int, int | None]], Z: Array, length: int | None) -> Array:
    """What a model expects of latents ``(N, d)``: ``(N, [T,] ...)`` in raw units."""
    like = like_of(model)
    ends = np.cumsum([width for width, _ in widths.values()])[:-1]
    values = {name: torch.as_tensor(part, dtype=like.dtype, device=like.device)
              for name, part in zip(widths, np.split(Z, ends, axis=1), strict=True)}
    size = (len(Z),) if length is None else (len(Z), length)
    with evaluating(model), vectorised(), forked(like.device):
        x = decoded(model, values, None, size, {}, mean=True)
    found: Array = raw_units(model, x).double().cpu().numpy()
    return found
