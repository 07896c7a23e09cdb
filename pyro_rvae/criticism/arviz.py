"""Draws, densities and data as ArviZ takes them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.checks import check_count
from ._arviz import from_netcdf, make, supported, to_netcdf
from .chunks import check_data, lengths_of
from .frames import inside, padded, time_coordinates, without_padding
from .gathering import from_guide, from_prior, x_dims, x_event
from .importance import pareto_k
from .replicates import Replicates, observed_sequences

__all__ = ["from_netcdf", "to_arviz", "to_netcdf", "without_padding"]

Array = NDArray[Any]
GROUPS = ("posterior", "posterior_predictive", "prior", "prior_predictive", "log_likelihood", "sample_stats",
          "observed_data", "constant_data")
FROM_GUIDE = ("posterior", "posterior_predictive", "log_likelihood", "sample_stats")
FROM_PRIOR = ("prior", "prior_predictive")


def to_arviz(
    model: Any,
    data: Any,
    num_draws: int = 20,
    *,
    groups: Iterable[str] = GROUPS,
    replicates: Replicates | Iterable[Replicates] = (),
    batch_size: int = 20,
    seed: int = 0,
    max_bytes: int = 2**28,
) -> Any:
    r"""Everything of a model and a data set that ArviZ can look at.

    - ``posterior``: the latents, :math:`z \sim q(z \mid x_n)`, ``(chain, draw, sequence, time, z_dim)``.
    - ``posterior_predictive``: x given them, :math:`x'_t \sim p(x_t \mid x_{<t}, z)`, as :func:`reconstructed`,
      ``(chain, draw, sequence, time, feature)``.
    - ``prior``, ``prior_predictive``: latents and x of sequences of the same lengths that the model makes on its own,
      as :func:`free_running`: given draws of what is drawn once a data set from its posterior. That itself stands in
      ``prior`` as drawn from its prior, to compare with ``posterior``, so it isn't what the rest was made with.
    - ``log_likelihood``: x, by sequence, ``log p(x_n | z)``, ``(chain, draw, sequence)``; beside it what else is
      observed (the labels y of a ``Supervised``), by its name.
    - ``sample_stats``: by sequence, ``log_p = log p(x_n, z)`` of all that is observed, ``log_q = log q(z | x_n)``,
      ``log_weight = log_p - log_q``, and ``pareto_k (sequence)`` of the weights (:func:`pareto_k`: NaN under 30 draws).
    - ``observed_data``: x, ``(sequence, time, feature)``.
    - ``constant_data``: mask, lengths, and labels and controls where there are any.

    Padding is NaN, with the mask beside it in constant_data; so are missing elements of x (within the mask). Codes
    stay integers where there is neither. :func:`without_padding` makes of it what the plots of ArviZ take. x is in the
    units of the raw data, densities are of the data that the model saw. Static data have no time. Coordinates are the
    data's ids (``sequence``), names (``feature``) and times (``time``, or ``timestamp (sequence, time)`` where the
    sequences don't share them). What is drawn once a data set has dims ``(chain, draw, ...)``; what has a slower
    clock has a time of its own, ``z_time``.

    The draws are variational: independent draws from the guide, in one "chain"; so the attributes of each
    group say. R-hat and effective sample sizes by autocorrelation mean nothing for them; ``log_weight`` is
    what corrects them. (``arviz.loo`` treats them as one posterior over everything; leave-one-out densities of
    sequences with latents of their own are :func:`loo`'s.)

    Memory: the result, and one chunk of about ``max_bytes`` on the model's device.

    Arguments:
        model: a :class:`~pyro_rvae.SequenceVAE`, or a :class:`Pair` of your own model and guide.
        data: a data set.
        num_draws: draws for each sequence.
        groups: names of those to make, of the above.
        replicates: predictive draws that are there already, or of another kind, at least ``num_draws``: of a
            :class:`PredictiveCheck`, of :func:`one_step`, of :func:`from_prefix`. Those of :func:`free_running` become
            the prior predictive (not of the same draws as ``prior``), others the posterior predictive; the attribute
            ``drawn_by`` of the group says which they are.
        batch_size, seed, max_bytes: as for :func:`evaluate`.

    Returns:
        ``arviz.InferenceData`` for ArviZ 0.2x, ``xarray.DataTree`` for 1.x.

    Raises:
        ValueError: zero draws, an unknown group, replicates of another data set or too few, data of other features
            than the model's, latents that guide and model don't share.
        RuntimeError: an ArviZ outside the supported lines.
    """
    supported()
    check_data(model, data, "to_arviz")
    for name, value in {"num_draws": num_draws, "batch_size": batch_size, "max_bytes": max_bytes}.items():
        check_count(name, value)
    wanted = _check_groups(groups)
    given = _given(replicates, data, num_draws)
    build = _Build(model, data, num_draws)
    cut = (num_draws, batch_size, seed, max_bytes)
    if wanted & set(FROM_GUIDE) - given.keys():
        build.guide(*cut, predictive="posterior_predictive" in wanted - given.keys())
    if wanted & set(FROM_PRIOR) - given.keys():
        build.prior(*cut)
    for name, drawn in given.items():
        build.replicates(name, drawn)
    build.known()
    return make({name: build.found[name] for name in GROUPS if name in wanted and build.found.get(name)}, build.attrs)


# ------------------------------------------------------------------------------------------------ checks
def _check_groups(groups: Iterable[str]) -> set[str]:
    wanted = {groups} if isinstance(groups, str) else set(groups)
    if not wanted or not wanted <= set(GROUPS):
        raise ValueError(f"groups must be some of {', '.join(GROUPS)}; got {sorted(wanted - set(GROUPS)) or 'none'}.")
    return wanted


def _given(replicates: Replicates | Iterable[Replicates], data: Any, num_draws: int) -> dict[str, Replicates]:
    """Replicates by the group that they belong to."""
    found: dict[str, Replicates] = {}
    for drawn in [replicates] if isinstance(replicates, Replicates) else replicates:
        if not np.array_equal(drawn.lengths, lengths_of(data)) or drawn.values.shape[2] != data.x_dim:
            raise ValueError(
                f"replicates must be of this data set ({len(data)} sequences, {data.num_frames} frames, "
                f"x_dim {data.x_dim}), got {drawn!r} with x_dim {drawn.values.shape[2]}."
            )
        if len(drawn) < num_draws:
            raise ValueError(
                f"{num_draws} draws need as many replicates, got {len(drawn)}: make more, or lower num_draws."
            )
        group = "prior_predictive" if drawn.drawn_by == "free_running" else "posterior_predictive"
        if group in found:
            both = f"{found[group].drawn_by} and {drawn.drawn_by}"
            raise ValueError(f"replicates: {both} are both the {group}: give one.")
        found[group] = drawn
    return found


# ------------------------------------------------------------------------------------------------ groups
class _Build:
    """The groups, as xarray data sets with coordinates and attributes."""

    def __init__(self, model: Any, data: Any, num_draws: int) -> None:
        from .. import __version__  # here: it is the package, which imports this file

        self.model, self.data, self.num_draws = model, data, num_draws
        self.found: dict[str, Any] = {}
        self.attrs = {
            "inference_library": "pyro_rvae",
            "inference_library_version": __version__,
            "draws": "variational",
            "model": type(model).__name__,
            "kind": data.kind,
            "note": "independent draws from the guide: r-hat and autocorrelation say nothing about them",
        }
        names = list(data.names) if data.names is not None else list(range(x_event(data)[-1]))
        ids = list(data.ids) if data.ids is not None else list(range(len(data)))
        self.coords: dict[str, Any] = {"sequence": ids, "feature": names, **time_coordinates(data)}

    def add(self, name: str, variables: dict[str, Any], **attrs: str) -> None:
        import xarray

        dims = {dim for each, _ in variables.values() for dim in each}
        used = {n: v for n, v in self.coords.items() if set(v[0] if isinstance(v, tuple) else (n,)) <= dims}
        self.found[name] = xarray.Dataset(variables, coords=used, attrs={**self.attrs, **attrs})

    def guide(self, *cut: int, predictive: bool) -> None:
        latents, made, stats, likelihoods = from_guide(self.model, self.data, *cut, predictive=predictive)
        dims = ("chain", "draw", "sequence")
        joint = stats["likelihood"] + stats["prior"]
        by_sequence = {"log_p": joint, "log_q": stats["posterior"], "log_weight": joint - stats["posterior"]}
        k = {"pareto_k": (("sequence",), pareto_k(by_sequence["log_weight"].T))}
        self.add("posterior", latents.variables, drawn_by="guide")
        self.add("posterior_predictive", made.variables, drawn_by="reconstructed")
        self.add("log_likelihood", {name: (dims, density[None]) for name, density in likelihoods.items()})
        self.add("sample_stats", {name: (dims, value[None]) for name, value in by_sequence.items()} | k)

    def prior(self, *cut: int) -> None:
        try:
            latents, made = from_prior(self.model, self.data, *cut)
        except ValueError as error:
            if "generate" not in str(error):
                raise
            rest = [name for name in GROUPS if name not in FROM_PRIOR]
            reason = str(error).splitlines()[0]
            raise ValueError(f"{reason} Or leave the prior out: to_arviz(..., groups={rest}).") from error
        self.add("prior", latents.variables, drawn_by="free_running")
        self.add("prior_predictive", made.variables, drawn_by="free_running")

    def replicates(self, name: str, drawn: Replicates) -> None:
        values = drawn.values[: self.num_draws]
        timed = hasattr(self.data, "lengths")
        x = padded(values, drawn.lengths) if timed else values.reshape(*values.shape[:2], *x_event(self.data))
        self.add(name, {"x": (("chain", "draw", *x_dims(self.data)), x[None])}, drawn_by=drawn.drawn_by)

    def known(self) -> None:
        """What was observed, and what was given."""
        data, known = self.data, {}
        x = np.concatenate(observed_sequences(data))
        if x.dtype.kind == "i" and data.missing:
            x = np.where(x < 0, np.nan, x)
        timed = hasattr(data, "lengths")
        x = padded(x, data.lengths.numpy()) if timed else x.reshape(len(data), *x_event(data))
        self.add("observed_data", {"x": (x_dims(data), x)})
        if timed:
            lengths = data.lengths.numpy()
            known = {"mask": (("sequence", "time"), inside(lengths)), "lengths": (("sequence",), lengths)}
        if data.controls is not None:
            values = padded(data.controls.numpy(), data.lengths.numpy())
            known["controls"] = (("sequence", "time", "control"), values)
        if data.labels is not None:
            names = (f"label_dim_{i}" for i in range(data.labels.dim() - 1))
            known["labels"] = (("sequence", *names), data.labels.numpy())
        self.add("constant_data", known)
