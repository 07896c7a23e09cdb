"""Running a model's programs on a batch, and reading what came of it."""

from __future__ import annotations

from typing import Any

import pyro.poutine as poutine
from pyro.distributions import Delta
from pyro.poutine import Trace
from pyro.poutine.util import site_is_subsample

__all__ = ["check_latents", "guide_trace", "in_batch", "is_discrete", "is_point", "is_weightless", "replayed", "sites",
           "traced"]

OURS = __name__.partition(".")[0]


def traced(program: Any, *args: Any, **kwargs: Any) -> Trace:
    """The trace of a program. Of an error that this library raises within it, the sentence without Pyro's tail.

    Pyro ends what is raised in a trace by a table of all sites' shapes. It helps where shapes don't fit (an error of
    torch, Pyro or the user's own code keeps it), and buries a sentence that says what to do.
    """
    try:
        return poutine.trace(program).get_trace(*args, **kwargs)
    except (ValueError, RuntimeError) as error:
        said = _said(error)
        if said is error:
            raise
    raise said


def _said(error: Exception) -> Exception:
    """What was raised first, if it was raised here."""
    first = error
    while isinstance(first.__cause__, Exception) and str(first).startswith(f"{first.__cause__}\nTrace Shapes:"):
        first = first.__cause__
    frame = first.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    where = "" if frame is None else str(frame.tb_frame.f_globals.get("__name__", ""))
    return first if where.partition(".")[0] == OURS else error


def guide_trace(model: Any, batch: Any) -> Trace:
    """The trace of the guide on a batch."""
    return traced(model.guide, *batch, **batch.known)


def replayed(model: Any, batch: Any, guide: Trace) -> Trace:
    """The trace of the model on a batch, with the values of the guide's trace."""
    return traced(poutine.replay(model.model, trace=guide), *batch, **batch.known)


def sites(trace: Trace, *, observed: bool | None = None) -> dict[str, Any]:
    """The sample sites of a trace by name, without the plates' own.

    Arguments:
        observed: only the observed ones (True), or only the latent ones (False).
    """
    return {name: site for name, site in trace.nodes.items()
            if site["type"] == "sample" and not site_is_subsample(site)
            and (observed is None or bool(site["is_observed"]) == observed)}


def in_batch(site: Any) -> bool:
    """Whether a site belongs to a sequence; else it is shared, drawn once a data set."""
    return any(frame.name == "batch" for frame in site["cond_indep_stack"])


def is_point(site: Any) -> bool:
    """Whether a site's law is a point mass (a Delta): a bound under such a guide is none."""
    fn = site["fn"]
    while hasattr(fn, "base_dist") and not isinstance(fn, Delta):
        fn = fn.base_dist
    return isinstance(fn, Delta)


def is_discrete(site: Any) -> bool:
    """Whether a site takes one of countably many values."""
    return bool(getattr(site["fn"].support, "is_discrete", False))


def is_weightless(site: Any) -> bool:
    """Whether a site's law is an improper one, of density 1 everywhere (masked off as a whole)."""
    fn = site["fn"]
    while hasattr(fn, "base_dist"):
        if getattr(fn, "_mask", None) is False:
            return True
        fn = fn.base_dist
    return False


def check_latents(name: str, drawn: dict[str, Any], latents: dict[str, Any]) -> None:
    """Refuse a pair whose guide draws ``drawn`` and whose model ``latents``: a bound would be that of something else.

    Raises:
        ValueError: a site that only one side has; a prior without weight where the guide is no point; laws of another
            kind, of another event shape, or in other plates.
    """
    for site in latents.keys() & drawn.keys():
        if is_weightless(latents[site]) and not is_point(drawn[site]):
            raise ValueError(f"{name}: the prior of {site!r} carries no weight (Weightless), the guide is no point, "
                             "so there is no bound, and the cost falls without end. Give it posterior=rv.Delta too, or "
                             "a prior with a density.")
        if is_discrete(latents[site]) != is_discrete(drawn[site]):
            raise ValueError(f"{name}: of {site!r} one of model and guide has a discrete law and the other a "
                             "continuous one, so their densities can't be compared: give both the same kind.")
        if in_batch(latents[site]) != in_batch(drawn[site]):
            raise ValueError(f"{name}: one of model and guide draws {site!r} in the plate over sequences, the other "
                             "not: give both the same plates.")
        ours, theirs = (tuple(found[site]["fn"].event_shape) for found in (latents, drawn))
        if ours != theirs:
            raise ValueError(f"{name}: an event of {site!r} has shape {ours} in the model and {theirs} in the guide: "
                             "give both the same.")
    only_model = latents.keys() - drawn.keys()
    summed = sorted(site for site in only_model if latents[site]["infer"].get("enumerate"))
    if summed:
        raise ValueError(f"{name}: {summed} of the model are enumerated in training and the guide doesn't draw them, "
                         "but what is asked here needs draws of every latent: sample them in the guide too (from "
                         "pyro.infer.infer_discrete, say), or sum them out within the model.")
    only_guide = {s for s in drawn.keys() - latents.keys() if not drawn[s]["infer"].get("is_auxiliary")}
    if only_model or only_guide:
        raise ValueError(f"model and guide of {name} must draw the same latents; only the model has "
                         f"{sorted(only_model) or 'none'}, only the guide {sorted(only_guide) or 'none'}: sample every "
                         "latent of the model in the guide, under the same name.")
