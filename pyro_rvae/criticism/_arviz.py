"""The one place that knows which ArviZ is installed: 0.20 to 0.23 hold an InferenceData, 1.x an xarray
DataTree.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..data.atomic import atomic

__all__ = ["elpd_data", "from_netcdf", "groups_of", "make", "psislw", "supported", "to_netcdf"]


def _arviz() -> tuple[Any, int]:
    """ArviZ, and its major version."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # 0.22 and 0.23 announce 1.0 when they are imported
        import arviz
    return arviz, _line(arviz.__version__)


def _line(version: str) -> int:
    found = re.match(r"(\d+)\.(\d+)", str(version))
    major, minor = (int(found[1]), int(found[2])) if found else (-1, 0)
    if not (major == 1 or (major == 0 and 20 <= minor <= 23)):
        raise RuntimeError(
            f"pyro_rvae works with ArviZ 0.20 to 0.23 and 1.x, found {version}: "
            "install another, for instance `pip install 'arviz>=0.20,<0.24'`, or 'arviz>=1,<2'."
        )
    return major


def supported() -> None:
    """Refuse an ArviZ outside the supported lines, before anything is drawn for it."""
    _arviz()


def make(groups: dict[str, Any], attrs: dict[str, Any]) -> Any:
    """An InferenceData (ArviZ 0.x) or a DataTree (1.x) of named xarray data sets."""
    arviz, major = _arviz()
    if major == 0:
        return arviz.InferenceData(attrs=attrs, **groups)
    import xarray

    tree = xarray.DataTree.from_dict(groups)
    tree.attrs.update(attrs)
    return tree


def groups_of(result: Any) -> dict[str, Any]:
    """The named xarray data sets of either."""
    if hasattr(result, "children"):
        return {name: node.to_dataset() for name, node in result.children.items()}
    if hasattr(result, "groups") and callable(result.groups):
        return {name: result[name] for name in result.groups()}
    raise TypeError(
        f"expected ArviZ's InferenceData or an xarray DataTree, as to_arviz returns, got "
        f"{type(result).__name__}."
    )


def to_netcdf(result: Any, path: str | Path) -> None:
    """Write what :func:`~pyro_rvae.criticism.to_arviz` returned, compressed, as one netCDF file (through
    h5netcdf).

    The file takes the place of ``path`` whole or not at all. Either line of ArviZ reads what the other has
    written.
    """
    import xarray

    groups, attrs = groups_of(result), dict(result.attrs)
    with tempfile.TemporaryDirectory(prefix="pyro_rvae_") as folder, atomic(path) as file:
        part = Path(folder) / "part.nc"
        xarray.Dataset(attrs=attrs).to_netcdf(part, mode="w", engine="h5netcdf")
        for name, group in groups.items():
            encoding = {
                v: {"zlib": True, "complevel": 4} for v in group.data_vars if group[v].dtype.kind in "fiub"
            }
            group.to_netcdf(part, mode="a", group=name, engine="h5netcdf", encoding=encoding)
        with part.open("rb") as written:
            shutil.copyfileobj(written, file)


def from_netcdf(path: str | Path) -> Any:
    """Read a file of :func:`to_netcdf` into memory: an InferenceData (ArviZ 0.x) or a DataTree (1.x)."""
    import h5netcdf
    import xarray

    try:
        with h5netcdf.File(path, "r") as file:
            names = list(file.groups)
    except OSError as error:
        raise ValueError(
            f"{path} is no netCDF file that can be read ({error}): give one that to_netcdf wrote."
        ) from None
    groups = {name: xarray.load_dataset(path, group=name, engine="h5netcdf") for name in names}
    return make(groups, xarray.load_dataset(path, engine="h5netcdf").attrs)


def psislw(log_weights: Any, tail: int) -> tuple[Any, Any]:
    """Normalised, Pareto-smoothed log-weights ``(N, K)`` and k ``(N,)``, from a tail of ``tail`` weights.

    ``tail`` must be floor(min(K / 5, 3 sqrt K)), as 1.x counts it; 0.x would round up, and is told otherwise by the
    relative efficiency, which it uses for nothing else.
    """
    arviz, major = _arviz()
    with np.errstate(all="ignore"):  # both overflow on the way to an infinite k
        if major == 0:
            smoothed, k = arviz.psislw(log_weights, reff=log_weights.shape[-1] / ((tail - 0.5) / 3) ** 2)
        else:
            from arviz_stats.base import array_stats

            smoothed, k = array_stats.psislw(-log_weights, axis=-1)  # 1.x takes minus the log-weights
    return smoothed, np.where(np.isnan(k), np.inf, k)


def elpd_data(pointwise: Any, k: Any, num_particles: int, good_k: float) -> Any:
    """ArviZ's ELPDData of leave-one-out densities ``(N,)`` with Pareto's k ``(N,)``, for compare and plot_khat."""
    arviz, major = _arviz()
    import xarray

    size = len(pointwise)
    found = {
        "se": float((size * np.var(pointwise)) ** 0.5),
        "n_samples": num_particles,
        "n_data_points": size,
        "warning": bool((k > good_k).any()),
        "pareto_k": xarray.DataArray(k, dims=("sequence",), name="pareto_shape"),
        "scale": "log",
        "good_k": good_k,
    }
    each = xarray.DataArray(pointwise, dims=("sequence",), name="loo_i")
    if major == 0:
        from arviz.stats.stats_utils import ELPDData

        named = {"elpd_loo": float(pointwise.sum()), "se": found["se"], "p_loo": 0.0, "loo_i": each, **found}
        order = ("elpd_loo", "se", "p_loo", "n_samples", "n_data_points", "warning", "loo_i", "pareto_k", "scale",
                 "good_k")  # it is printed by position
        return ELPDData(data=[named[name] for name in order], index=list(order))
    import arviz_stats

    own = getattr(arviz_stats, "ELPDDataLOO", None)  # 1.3; before it the kind was an argument
    make_it = own if own is not None else partial(arviz_stats.utils.ELPDData, kind="loo")
    return make_it(elpd=float(pointwise.sum()), p=0.0, elpd_i=each, **found)
