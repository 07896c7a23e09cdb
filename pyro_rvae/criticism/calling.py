"""How a user's own program is called, and what it is made of."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import biject_to

from ..data import Batch
from .programs import Task
from .running import run

__all__ = ["bind", "check_padding", "check_rows", "folded", "generated", "modules_of"]


def modules_of(program: Any) -> list[nn.Module]:
    """The modules of a program: itself, what it is bound to, and those that it names."""
    while isinstance(program, partial):
        program = program.func
    if isinstance(program, nn.Module):
        return [program]
    owner = getattr(program, "__self__", None)
    found = [owner] if isinstance(owner, nn.Module) else []
    function = getattr(program, "__func__", program)
    if inspect.isfunction(function):
        names = inspect.getclosurevars(function)
        found += [v for v in (*names.nonlocals.values(), *names.globals.values()) if isinstance(v, nn.Module)]
    return found


def bind(program: Any, model: Any, batch: Batch, size: Any, arguments: Callable[[Batch], Any] | None, *,
         unamortised: bool = False) -> Any:
    """The program with the arguments that it takes; ``unamortised``: beside an AutoGuide."""
    if arguments is not None:
        given = arguments(batch)
        return partial(program, **given) if isinstance(given, dict) else partial(program, *given)
    parameters = inspect.signature(program).parameters
    if any(p.kind is p.VAR_POSITIONAL for p in parameters.values()):  # an AutoGuide: it takes what the model does
        parameters = inspect.signature(model).parameters
    names = list(parameters)
    if not names:
        raise ValueError("Pair: the program takes no arguments, so it can't be given the data: let x be its first.")
    known = {"mask": batch.mask, "size": size, "controls": batch.controls, "labels": batch.labels,
             "lengths": None if batch.mask is None else batch.mask.sum(-1)}
    needed = [n for n in names[1:] if parameters[n].default is inspect.Parameter.empty
              and parameters[n].kind not in (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)]
    unknown = [n for n in needed if n not in known]
    if unknown:
        raise ValueError(f"Pair: the program needs {unknown}, which it isn't known how to make: pass "
                         "Pair(..., arguments=lambda batch: (...)), the arguments from a Batch of x, mask, controls "
                         "and labels.")
    ragged = batch.mask is not None and not bool(batch.mask.all())
    if ragged and "mask" not in names and "lengths" not in names:
        raise ValueError("Pair: the sequences of this batch have different lengths, and the program takes no mask, so "
                         f"it would read the padding: let it take mask (B, T), or {_unpadded(unamortised)}.")
    kept: dict[str, Any] = {n: v for n, v in known.items() if n in names[1:] and (v is not None or n in needed)}
    return partial(program, batch.x, **kept)


def generated(task: Task, other: Task | None, which: str) -> dict[str, Any]:
    """A run that draws x itself; refused if it reads data that aren't there.

    ``other``: the same run on other data, where NaN can't tell; it must make the same.
    """
    advice = (f"Pair: the {which} reads x elsewhere than in obs=, so it can't generate by drawing what it observes: "
              "let it take size=(B, T), and draw x where x is None (pyro.sample(..., obs=None)).")
    try:
        if other is not None:
            with torch.random.fork_rng():
                twin = run(other)
        found = run(task)
    except ValueError as error:
        if "nan" in str(error):
            raise ValueError(f"{advice} ({error})") from error
        raise
    for name, site in found.items():
        value = site["value"]
        reads = not site["is_observed"] and bool(value.isnan().any())
        if other is not None:  # the same draws may come from other laws
            here, there = (fn.log_prob(value) for fn in (site["fn"], twin[name]["fn"]))
            reads = reads or not torch.equal(here, there)
        if reads:
            raise ValueError(advice)
    return found


def _unpadded(unamortised: bool) -> str:
    return ("take sequences of one length, or a guide that reads x (an AutoGuide is run on the whole data set at once)"
            if unamortised else "pass batch_size=1, which pads nothing")


def check_padding(which: str, site: str, law: Any, value: Tensor, mask: Tensor, *, unamortised: bool) -> None:
    """Refuse densities outside of the mask; ``site``: the first of those that are steps of one."""
    if not bool((law.log_prob(value)[..., ~mask] != 0).any()):
        return
    masked = "mask them, as by `.mask(mask[:, t])`, or "
    raise ValueError(f"Pair: {site!r} and its like of the {which} have a density in the padding, which would be "
                     f"counted: {'' if unamortised and which == 'guide' else masked}{_unpadded(unamortised)}.")


def check_rows(guide: Any, rows: int, plate: str | None) -> None:
    """Refuse an AutoGuide that has been made for another number of sequences."""
    trace = getattr(guide, "prototype_trace", None)
    found = {frame for site in trace.nodes.values() if site["type"] == "sample" and not site["is_observed"]
             for frame in site["cond_indep_stack"] if frame.vectorized} if trace is not None else set()
    sizes = {frame.size for frame in found if plate is None or frame.name == plate}
    if sizes and rows not in sizes:
        raise ValueError(f"Pair: this {type(guide).__name__} has a law for each of "
                         f"{' or '.join(map(str, sorted(sizes)))} rows, got {rows}: look at it with the whole data set "
                         "that it was trained on, in the same order, or write a guide that reads x.")


def folded(found: dict[str, Any], guide: Any) -> dict[str, Any]:
    """An AutoGuide's sites with their own laws, in place of a Delta at what an auxiliary site has drawn."""
    auxiliary = {name for name, site in found.items() if site["infer"].get("is_auxiliary")}
    joint = sorted(auxiliary - {f"{name}_unconstrained" for name in found})
    if joint:
        raise ValueError(f"Pair: the guide {type(guide).__name__} draws all latents jointly, as {joint[0]!r}, so no "
                         "sequence has a density of its own: use AutoNormal, or a guide that is amortised.")
    result = {}
    for name, site in found.items():
        if f"{name}_unconstrained" in auxiliary:
            base = found[f"{name}_unconstrained"]["fn"]
            transform = biject_to(guide.prototype_trace.nodes[name]["fn"].support)
            while isinstance(transform, torch.distributions.transforms.IndependentTransform):
                transform = transform.base_transform
            identity = transform == torch.distributions.transforms.identity_transform
            site = {**site, "fn": base if identity else dist.TransformedDistribution(base, [transform])}
        if name not in auxiliary:
            result[name] = site
    return result
