"""Draws, densities and data as ArviZ takes them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..core.checks import check_count
from ..core.contexts import evaluating, forked
from ..core.traces import in_batch, sites
from ._arviz import from_netcdf, make, to_netcdf
from .chunks import check_data, chunks, groups, lengths_of, like_of
from .particles import draw, elementwise, repeatable
from .replicates import Replicates, free_running, observed_sequences

__all__ = ["from_netcdf", "to_arviz", "to_netcdf"]

Array = NDArray[Any]
Piece = tuple[list[int], range, Array]  # sequences, draws, (k, B, *event)


def to_arviz(
    model: Any,
    data: Any,
    num_draws: int = 20,
    *,
    replicates: Replicates | None = None,
    predictive: Callable[..., Replicates] = free_running,
    batch_size: int = 20,
    seed: int = 0,
    max_bytes: int = 2**28,
) -> Any:
    """Everything of a model and a data set that ArviZ can look at.

    - ``posterior``: the latents, drawn from the guide, ``(chain, draw, sequence, time, z_dim)``.
    - ``posterior_predictive``: x, drawn by ``predictive``, ``(chain, draw, sequence, time, feature)``.
    - ``log_likelihood``: x, by sequence, ``log p(x_n | z)``, ``(chain, draw, sequence)``.
    - ``sample_stats``: by sequence, ``log_p = log p(x_n, z)``, ``log_q = log q(z | x_n)`` and
      ``log_weight = log_p - log_q``.
    - ``observed_data``: x, ``(sequence, time, feature)``.
    - ``constant_data``: mask, lengths, and labels and controls where there are any.

    Padding is NaN, with the mask beside it in constant_data; so are missing elements of x (within the mask).
    x is in the units of the raw data, densities are of the data that the model saw. Static data have no time.
    What is drawn once a data set has dimensions ``(chain, draw, ...)``.

    The draws are variational: independent draws from the guide, in one "chain"; so the attributes of each
    group say. R-hat and effective sample sizes by autocorrelation mean nothing for them; ``log_weight`` is
    what corrects them.

    Arguments:
        model: a :class:`~pyro_rvae.SequenceVAE`.
        data: a data set.
        num_draws: draws for each sequence.
        replicates: predictive draws that are there already (of a :class:`PredictiveCheck`, say), at least
            ``num_draws``; otherwise they are made.
        predictive: :func:`free_running` (default) or :func:`one_step`, which makes them; the attribute
            ``drawn_by`` of the group says which.
        batch_size, seed, max_bytes: as for :func:`evaluate`.

    Returns:
        ``arviz.InferenceData`` for ArviZ 0.2x, ``xarray.DataTree`` for 1.x.

    Raises:
        ValueError: zero draws, or replicates of another data set or too few.
        RuntimeError: an ArviZ outside the supported lines.
    """
    import xarray

    from .. import __version__  # here: it is the package, which imports this file

    check_data(model, data, "to_arviz")
    check_count("num_draws", num_draws)
    if replicates is None:
        replicates = predictive(model, data, num_draws, batch_size=batch_size, seed=seed, max_bytes=max_bytes)
    _check_replicates(replicates, data, num_draws)
    attrs = {
        "inference_library": "pyro_rvae",
        "inference_library_version": __version__,
        "draws": "variational",
        "model": type(model).__name__,
        "note": "independent draws from the guide: r-hat and autocorrelation say nothing about them",
    }
    latents, stats = _draws(model, data, num_draws, batch_size, seed, max_bytes)
    coords = _coordinates(data)
    found = {
        "posterior": xarray.Dataset(latents, coords=_used(coords, latents), attrs=attrs),
        "posterior_predictive": _predictive(replicates, data, num_draws, coords, attrs),
        "log_likelihood": _by_sequence({"x": stats["likelihood"]}, coords, attrs),
        "sample_stats": _by_sequence(
            {
                "log_p": stats["likelihood"] + stats["prior"],
                "log_q": stats["posterior"],
                "log_weight": stats["likelihood"] + stats["prior"] - stats["posterior"],
            },
            coords,
            attrs,
        ),
        "observed_data": _observed(data, coords, attrs),
        "constant_data": _constant(data, coords, attrs),
    }
    return make({name: group for name, group in found.items() if group.data_vars}, attrs)


def _check_replicates(replicates: Replicates, data: Any, num_draws: int) -> None:
    if not np.array_equal(replicates.lengths, lengths_of(data)) or replicates.values.shape[2] != data.x_dim:
        raise ValueError(
            f"replicates must be of this data set ({len(data)} sequences, {data.num_frames} frames, "
            f"x_dim {data.x_dim}), got {replicates!r} with x_dim {replicates.values.shape[2]}."
        )
    if len(replicates) < num_draws:
        raise ValueError(
            f"{num_draws} draws need as many replicates, got {len(replicates)}: make more, or lower "
            "num_draws."
        )


# ------------------------------------------------------------------------------------------------ draws
def _draws(
    model: Any,
    data: Any,
    num_draws: int,
    batch_size: int,
    seed: int,
    max_bytes: int,
) -> tuple[dict[str, Any], dict[str, Array]]:
    """Latents as xarray variables, and log-densities ``(num_draws, N)``."""
    stats = {name: np.empty((num_draws, len(data))) for name in ("likelihood", "prior", "posterior")}
    pieces: dict[str, list[Piece]] = defaultdict(list)
    dims: dict[str, tuple[str, ...]] = {}
    first: list[int] | None = None
    with evaluating(model), forked(like_of(model).device):
        repeat = repeatable(model, data)
        for chunk in chunks(model, data, num_draws, groups(data, batch_size), max_bytes):
            draws = draw(model, chunk, seed, repeat=repeat)
            for name, values in stats.items():
                values[np.ix_(chunk.particles, chunk.numbers)] = getattr(draws, name).double().cpu().numpy()
            for name, site in sites(draws.guide, observed=False).items():
                numbers = chunk.numbers if in_batch(site) else []
                first = chunk.numbers if first is None else first
                if numbers or chunk.numbers == first:  # one draw of what is shared
                    pieces[name].append((numbers, chunk.particles, _values(site)))
                    dims[name] = _dims(name, site, chunk.batch.mask)
    return {
        name: (dims[name], _assemble(found, num_draws, len(data))) for name, found in pieces.items()
    }, stats


def _values(site: Any) -> Array:
    """A site's values, NaN in the padding: ``(k, B, *event)``; of a shared site ``(k, *event)``."""
    value, (_, mask) = site["value"], elementwise(site)
    if not in_batch(site):
        value = value.reshape(len(value), *site["fn"].event_shape)
    elif mask is not None:
        value = value if value.is_floating_point() else value.to(torch.get_default_dtype())
        value = torch.where(mask.expand(value.shape), value, torch.nan)
    result: Array = value.cpu().numpy()
    return result


def _dims(name: str, site: Any, mask: Tensor | None) -> tuple[str, ...]:
    event = tuple(site["fn"].event_shape)
    if not in_batch(site):
        return ("chain", "draw", *(f"{name}_dim_{i}" for i in range(len(event))))
    if len(event) == 2 and mask is not None:
        time = "time" if event[0] == mask.shape[1] else f"{name}_time"  # of a slower clock
        return ("chain", "draw", "sequence", time, f"{name}_dim")
    names = [f"{name}_dim"] if len(event) == 1 else [f"{name}_dim_{i}" for i in range(len(event))]
    return ("chain", "draw", "sequence", *names)


def _assemble(pieces: list[Piece], num_draws: int, num_sequences: int) -> Array:
    """All pieces in one array with a leading chain, NaN where there is nothing."""
    shared = not pieces[0][0]
    event = tuple(
        max(sizes) for sizes in zip(*(p.shape[1 if shared else 2 :] for *_, p in pieces), strict=True)
    )
    dtype = pieces[0][2].dtype if pieces[0][2].dtype.kind == "f" else np.float64
    out = np.full((num_draws, *(() if shared else (num_sequences,)), *event), np.nan, dtype)
    for numbers, particles, piece in pieces:
        inside: tuple[Any, ...] = tuple(slice(size) for size in piece.shape[1 if shared else 2 :])
        for i, draw_number in enumerate(particles):
            if shared:
                out[(draw_number, *inside)] = piece[i]
            for j, number in enumerate(numbers):
                out[(draw_number, number, *inside)] = piece[i, j]
    return out[None]


# ------------------------------------------------------------------------------------------------ data
def _coordinates(data: Any) -> dict[str, Any]:
    names = list(data.names) if data.names is not None else list(range(data.x_dim))
    return {"sequence": list(data.ids) if data.ids is not None else list(range(len(data))), "feature": names}


def _used(coords: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
    used = {dim for dims, _ in variables.values() for dim in dims}
    return {name: values for name, values in coords.items() if name in used}


def _dataset(variables: dict[str, Any], coords: dict[str, Any], attrs: dict[str, str]) -> Any:
    import xarray

    return xarray.Dataset(variables, coords=_used(coords, variables), attrs=attrs)


def _by_sequence(values: dict[str, Array], coords: dict[str, Any], attrs: dict[str, str]) -> Any:
    dims = ("chain", "draw", "sequence")
    return _dataset({name: (dims, value[None]) for name, value in values.items()}, coords, attrs)


def _padded(values: Array, lengths: Array) -> Array:
    """``(..., sum T, d)`` to ``(..., N, T, d)``, NaN in the padding."""
    dtype = values.dtype if values.dtype.kind == "f" else np.float64
    out = np.full((*values.shape[:-2], len(lengths), int(lengths.max()), values.shape[-1]), np.nan, dtype)
    inside = np.arange(int(lengths.max())) < np.asarray(lengths)[:, None]
    out[..., inside, :] = values
    return out


def _x_dims(data: Any) -> tuple[str, ...]:
    return ("sequence", "time", "feature") if hasattr(data, "lengths") else ("sequence", "feature")


def _predictive(
    replicates: Replicates, data: Any, num_draws: int, coords: dict[str, Any], attrs: dict[str, str]
) -> Any:
    values = replicates.values[:num_draws]
    x = _padded(values, replicates.lengths) if hasattr(data, "lengths") else values
    return _dataset(
        {"x": (("chain", "draw", *_x_dims(data)), x[None])},
        coords,
        {**attrs, "drawn_by": replicates.drawn_by},
    )


def _observed(data: Any, coords: dict[str, Any], attrs: dict[str, str]) -> Any:
    values = np.concatenate(observed_sequences(data))
    if values.dtype.kind == "i" and data.missing:
        values = np.where(values < 0, np.nan, values)
    x = _padded(values, data.lengths.numpy()) if hasattr(data, "lengths") else values
    return _dataset({"x": (_x_dims(data), x)}, coords, attrs)


def _constant(data: Any, coords: dict[str, Any], attrs: dict[str, str]) -> Any:
    variables: dict[str, Any] = {}
    if hasattr(data, "lengths"):
        lengths = data.lengths.numpy()
        variables["mask"] = (("sequence", "time"), np.arange(int(lengths.max())) < lengths[:, None])
        variables["lengths"] = (("sequence",), lengths)
    if data.controls is not None:
        variables["controls"] = (
            ("sequence", "time", "control"),
            _padded(data.controls.numpy(), data.lengths.numpy()),
        )
    if data.labels is not None:
        names = (f"label_dim_{i}" for i in range(data.labels.dim() - 1))
        variables["labels"] = (("sequence", *names), data.labels.numpy())
    return _dataset(variables, coords, attrs)
