"""Results of to_arviz without padding, and the times of a data set as coordinates."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._arviz import groups_of, make

__all__ = ["inside", "padded", "time_coordinates", "without_padding"]

Array = NDArray[Any]


def inside(lengths: Array) -> Array:
    """``(N, T)``: True where a sequence has a frame."""
    result: Array = np.arange(int(lengths.max())) < np.asarray(lengths)[:, None]
    return result


def padded(values: Array, lengths: Array) -> Array:
    """``(..., sum T, d)`` to ``(..., N, T, d)``, NaN in the padding; without padding the type stays."""
    shape = (*values.shape[:-2], len(lengths), int(lengths.max()), values.shape[-1])
    if values.shape[-2] == len(lengths) * int(lengths.max()):
        return values.reshape(shape)
    out = np.full(shape, np.nan, values.dtype if values.dtype.kind == "f" else np.float64)
    out[..., inside(lengths), :] = values
    return out


def time_coordinates(data: Any) -> dict[str, Any]:
    """The data's times as an index ``time`` that all sequences share, or as ``timestamp (sequence, time)``."""
    times = getattr(data, "times", None)
    if times is None:
        return {}
    lengths = data.lengths.numpy()
    grid = padded(times.numpy()[:, None], lengths)[..., 0]
    longest = grid[int(lengths.argmax())]
    if ((grid == longest) | ~inside(lengths)).all():
        return {"time": longest}
    return {"timestamp": (("sequence", "time"), grid)}


def without_padding(result: Any, *, elements: bool = False) -> Any:
    """What :func:`to_arviz` returned, with sequences and time as one dim ``frame`` that holds no padding.

    ArviZ's plots and summaries read all numbers of a variable at once, and the padding's NaN would spoil them:
    ``arviz.plot_ppc(without_padding(result))`` with 0.x, ``arviz.plot_ppc_dist(without_padding(result))`` with 1.x.
    Each frame has coordinates ``of_sequence`` and ``at_time``. A variable of a slower clock gets frames of its own
    (``z_frame``). What has no time, such as densities by sequence, stays. x of binary data, counts and categories is
    integer, as ArviZ tells discrete data by.

    Arguments:
        result: an InferenceData or DataTree of :func:`to_arviz`, or of :func:`from_netcdf`.
        elements: whether the numbers of all frames are one dim, ``element``, as some plots of 1.x need it
            (``plot_ppc_pit``, ``plot_ppc_interval``, ``plot_ppc_pava``, ``plot_ppc_rootogram``). It is so anyway where
            x has missing elements, which are left out.
    """
    groups = groups_of(result)
    known = groups.get("constant_data")
    mask = known["mask"].values if known is not None and "mask" in known else None
    x = groups["observed_data"]["x"] if "observed_data" in groups else None
    present = None if x is None else _frames(x, mask).notnull()
    if present is not None and bool(present.all()) and not elements:
        present = None
    return make({name: _flattened(group, mask, present) for name, group in groups.items()}, dict(result.attrs))


def _flattened(group: Any, mask: Array | None, present: Any) -> Any:
    import xarray

    found = {name: _frames(values, mask) for name, values in group.data_vars.items() if name != "mask"}
    x = found.get("x")
    if x is not None and "feature" in x.dims:
        x = x if present is None else _elements(x, present)
        whole = group.attrs.get("kind", "real") != "real" and bool(x.notnull().all())
        found["x"] = x.astype(np.int64) if whole else x
    return xarray.Dataset(found, attrs=group.attrs)


def _frames(values: Any, mask: Array | None) -> Any:
    """A variable with ``(sequence, its time)`` as one dim, of the frames that there are."""
    clock = next((dim for dim in values.dims if dim == "time" or str(dim).endswith("_time")), None)
    if clock is None or "sequence" not in values.dims:
        return values
    if clock == "time" and mask is not None:
        kept, frame = mask, "frame"
    else:  # of a slower clock
        others = [dim for dim in values.dims if dim not in ("sequence", clock)]
        kept, frame = values.notnull().any(others).values, f"{str(clock).removesuffix('_time')}_frame"
    dims = [dim for dim in values.dims if dim != clock]
    numbers, steps = kept.nonzero()
    picked = _pick(values, {"sequence": numbers, clock: steps}, frame)
    ours = {f"of_{n}" if n == "sequence" else f"at_{n}": (frame, picked.coords[n].values)
            for n in ("sequence", "time", "timestamp") if n in picked.coords and frame == "frame"}
    if frame == "frame" and not ours.keys() & {"at_time", "at_timestamp"}:
        ours["at_time"] = (frame, steps)
    picked = picked.drop_vars([n for n, c in picked.coords.items() if frame in c.dims]).assign_coords(ours)
    return picked.transpose(*(frame if dim == "sequence" else dim for dim in dims))


def _elements(values: Any, present: Any) -> Any:
    """x ``(..., frame, feature)`` as ``(..., element)``, of the elements that are present."""
    picked = _pick(values, dict(zip(present.dims, present.values.nonzero(), strict=True)), "element")
    return picked.transpose(*(dim for dim in values.dims if dim in ("chain", "draw")), "element").drop_vars(
        [name for name, c in picked.coords.items() if "element" in c.dims and name in present.dims])


def _pick(values: Any, places: dict[Any, Array], dim: str) -> Any:
    import xarray

    return values.isel({name: xarray.DataArray(index, dims=dim) for name, index in places.items()})
