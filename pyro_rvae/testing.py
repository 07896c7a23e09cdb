"""Check a model of your own against the laws that every model of this library obeys."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pyro.poutine as poutine
import torch
from torch import Tensor, nn

from .core import SequenceVAE, explicit, given_noise, weighted_auxiliaries
from .core.contexts import forked, unregistered
from .core.filtered import Unfiltered
from .core.filtering import particle_filter
from .core.traces import in_batch, is_point, sites
from .nn import FrameDropout

__all__ = ["check_model"]


def check_model(model: SequenceVAE, x: Tensor, mask: Tensor | None = None, *, controls: Tensor | None = None,
                labels: Tensor | None = None) -> None:
    """Raise a ``ValueError`` that names the law, the size of the difference and its usual cause, if one is broken.

    The laws: model and guide have the same latents; both readings of the loop (one Pyro site a step, and all steps
    at once) give the same density and gradients on the same noise, and so does one particle, where the model can be
    read by particles (:class:`~pyro_rvae.FIVO`); every parameter gets a finite gradient; what
    stands in the padding never matters; one frame and one sequence are enough; and the model generates. Dropout is
    off meanwhile; the model, the parameter store and the random state are left as they are. In float64 (``model.
    double()``) differences are held below 1e-8, in float32 below 1e-3.

    Arguments:
        model: the model.
        x: a batch that it can be given, ``(B, T, x_dim)`` or static ``(B, *event_shape)``; small is enough.
        mask, controls, labels: as for :meth:`SequenceVAE.model`.

    >>> import torch
    >>> import pyro_rvae as rv
    >>> from pyro_rvae.testing import check_model
    >>> check_model(rv.VRNN(5, z_dim=2, h_dim=4), torch.zeros(3, 4, 5))
    """
    known = {name: value for name, value in (("controls", controls), ("labels", labels)) if value is not None}
    batch = _Batch(x, mask, known)
    model = _without_dropout(model)
    with unregistered(), forked(x.device):
        _same_latents(model, batch)
        _forms_agree(model, batch)
        _gradients_arrive(model, batch)
        if not model.static:
            _forms_agree(model, batch.cut(slice(0, 1)), "one sequence")
            _forms_agree(model, batch.cut(slice(None), 1), "one frame")
            _padding_never_matters(model, batch)
            _one_particle_agrees(model, batch)
        _generates(model, batch)


class _Batch:
    """Arguments of a model, and parts of them."""

    def __init__(self, x: Tensor, mask: Tensor | None, known: dict[str, Tensor]) -> None:
        self.x, self.mask, self.known = x, mask, known

    def cut(self, rows: slice, length: int | None = None) -> _Batch:
        """Some sequences; with a length their first steps, without a mask."""
        known = {k: v[rows, :length] if k == "controls" else v[rows] for k, v in self.known.items()}
        mask = self.mask[rows] if self.mask is not None and length is None else None
        return _Batch(self.x[rows, :length] if length else self.x[rows], mask, known)

    def padded(self) -> tuple[_Batch, list[int]]:
        """The same sequences, the i-th shortened by i frames, with NaN (integers: a big number) as padding."""
        B, T = self.x.shape[:2]
        mask = self.mask if self.mask is not None else torch.ones(B, T, dtype=torch.bool, device=self.x.device)
        cut = torch.arange(B, device=self.x.device) % T
        mask = mask & (torch.arange(T, device=self.x.device) < (T - cut).unsqueeze(-1))
        fill = torch.nan if self.x.is_floating_point() else 10**6
        known = {k: v.masked_fill(~mask.unsqueeze(-1), torch.nan) if k == "controls" else v
                 for k, v in self.known.items()}
        return _Batch(self.x.masked_fill(~mask.unsqueeze(-1), fill), mask, known), mask.sum(-1).tolist()


def _broken(law: str, what: str, cause: str) -> ValueError:
    return ValueError(f"check_model, law {law!r}: {what}. Usual cause: {cause}.")


@contextmanager
def _runs(law: str, what: str, cause: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        text = str(error).strip().splitlines() or [""]
        raise _broken(law, f"{what} raised {type(error).__name__}: {text[0]}", cause) from error


def _without_dropout(model: SequenceVAE) -> SequenceVAE:
    """A copy whose dropout does nothing; not ``eval()``, as cuDNN's recurrences have no gradient there."""
    twin = copy.deepcopy(model)
    for module in twin.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
        elif isinstance(module, FrameDropout) and module.p < 1.0:
            module.p = 0.0
        elif isinstance(module, nn.RNNBase):
            module.dropout = 0.0
    return twin


def _tolerance(x: Tensor) -> float:
    return 1e-8 if x.dtype == torch.float64 else 1e-3


def _difference(a: Tensor, b: Tensor) -> float:
    """The largest difference, relative to the largest entry where that is above 1; infinite unless both are finite."""
    if a.shape != b.shape or not bool(a.isfinite().all() and b.isfinite().all()):
        return float("inf")
    return float((a - b).abs().max() / (1 + a.abs().max())) if a.numel() else 0.0


# ------------------------------------------------------------------------------------------------------ running
Values = dict[str, Tensor]


def _draw(model: SequenceVAE, batch: _Batch, stepwise: bool = False) -> dict[str, Any]:
    """The latent sites of one run of the guide."""
    with explicit() if stepwise else nullcontext():
        return sites(poutine.trace(model.guide).get_trace(batch.x, batch.mask, **batch.known), observed=False)


def _weights(model: SequenceVAE, batch: _Batch, values: Values | None = None,
             stepwise: bool = False) -> tuple[Tensor, Tensor]:
    """Log p(x, z) - log q(z | x): of all, and of each sequence; z as given, or drawn from the given noise."""
    guide = model.guide if values is None else poutine.condition(model.guide, values)
    with explicit() if stepwise else nullcontext(), nullcontext() if values is not None else given_noise(0):
        q = poutine.trace(guide).get_trace(batch.x, batch.mask, **batch.known)
        fixed = {n: s["value"] for n, s in q.nodes.items() if s["type"] == "sample" and n != "batch"}
        program = poutine.condition(model.model, fixed)
        p = poutine.trace(program).get_trace(batch.x, batch.mask, **batch.known)
    rows = torch.zeros(())
    for trace, sign in ((p, 1.0), (q, -1.0)):
        trace.compute_log_prob()
        rows = rows + sum(sign * s["log_prob"] for s in trace.nodes.values() if s["type"] == "sample" and in_batch(s))
    return p.log_prob_sum() - q.log_prob_sum(), rows


def _reparametrised(model: SequenceVAE, batch: _Batch) -> bool:
    try:
        _weights(model, batch)
    except TypeError as error:
        if "given_noise" not in str(error):
            raise
        return False
    return True


def _gradients(model: SequenceVAE, loss: Tensor) -> dict[str, Tensor | None]:
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    if not named or not loss.requires_grad:
        return {name: None for name, _ in named}
    values = torch.autograd.grad(loss, [p for _, p in named], allow_unused=True)
    return dict(zip((n for n, _ in named), values, strict=True))


# ------------------------------------------------------------------------------------------------------ the laws
def _same_latents(model: SequenceVAE, batch: _Batch) -> None:
    law, cause = "model and guide run", ("data that don't fit the model, or a Python variable that the loop carries "
                                         "from one step to the next (use t.prev and t.carry)")
    with _runs(law, "the guide", cause):
        q = {name: site for name, site in _draw(model, batch).items() if not site["infer"].get("is_auxiliary")}
    with _runs(law, "the model", cause):
        p = sites(poutine.trace(model.model).get_trace(batch.x, batch.mask, **batch.known), observed=False)
    if p.keys() != q.keys():
        raise _broken("same latents", f"the model draws {sorted(p)}, the guide {sorted(q)}",
                      "a site that `inference` forgets, or spells otherwise than `generative`")
    for name in p:
        if p[name]["value"].shape != q[name]["value"].shape:
            raise _broken("same latents", f"site {name!r} is {tuple(p[name]['value'].shape)} in the model and "
                          f"{tuple(q[name]['value'].shape)} in the guide", "two different widths of the latent")


def _forms_agree(model: SequenceVAE, batch: _Batch, size: str = "the batch") -> None:
    law = "forms agree"
    cause = ("a Python variable that the loop carries from one step to the next (use t.prev and t.carry), a network "
             "that doesn't act on the last dimension, or a Causal whose forward isn't the fold of its step")
    with _runs(law, f"one of the two forms, on {size},", cause):
        ours, theirs = (_results(model, batch, stepwise) for stepwise in (False, True))
    for what, a in ours.items():
        b = theirs[what]
        if a is None and b is None:
            continue
        if what.startswith("the gradient"):  # none at all is a gradient of zero
            a, b = (torch.zeros_like(g) if v is None else v for v, g in ((a, b), (b, a)))  # type: ignore[arg-type]
        off = _difference(a, b) if a is not None and b is not None else float("inf")
        if off > _tolerance(batch.x if a is None else a):
            raise _broken(law, f"on {size}, {what} differs by {off:.2g} (relative) between the vectorised and the "
                          "explicit form", cause)


def _one_particle_agrees(model: SequenceVAE, batch: _Batch) -> None:
    """Read by one particle, the model has the same weights on the same noise."""
    law = "one particle agrees"
    cause = "a Python variable that the loop carries from one step to the next (use t.prev and t.carry)"
    if not _reparametrised(model, batch):
        return
    try:
        with given_noise(0), torch.no_grad(), weighted_auxiliaries(0.0):
            arguments: dict[str, Any] = {"num_particles": 1, **batch.known}
            found = particle_filter(model, batch.x, batch.mask, **arguments)
    except Unfiltered:
        return
    except Exception as error:
        text = (str(error).strip().splitlines() or [""])[0]
        raise _broken(law, f"the particle reading raised {type(error).__name__}: {text}", cause) from error
    with torch.no_grad(), weighted_auxiliaries(0.0):
        off = _difference(found.log_evidence, _weights(model, batch)[1])
    if off > _tolerance(batch.x if batch.x.is_floating_point() else found.log_evidence):
        raise _broken(law, f"log p(x, z) - log q(z | x) differs by {off:.2g} (relative) between one particle and the "
                      "other readings", cause)


def _results(model: SequenceVAE, batch: _Batch, stepwise: bool) -> dict[str, Tensor | None]:
    """The log weight of each sequence and its gradients: on given noise, or at values that are drawn beforehand."""
    values = _drawn_values(model, batch)
    if values is not None and stepwise:
        values = _by_step(values, _draw(model, batch, stepwise=True))
    loss, rows = _weights(model, batch, values, stepwise)
    gradients = {f"the gradient of {name}": g for name, g in _gradients(model, loss).items()}
    return {"log p(x, z) - log q(z | x)": rows.detach(), **gradients}


def _drawn_values(model: SequenceVAE, batch: _Batch) -> Values | None:
    """``None`` where given noise can draw every latent; else one draw of them, the same at every call."""
    if _reparametrised(model, batch):
        return None
    torch.manual_seed(0)
    return {name: site["value"] for name, site in _draw(model, batch).items() if not is_point(site)}


def _by_step(values: Values, sites: dict[str, Any]) -> Values:
    """Whole paths as the explicit form names them."""
    split = {}
    for name, value in values.items():
        if name in sites:
            split[name] = value
        else:
            split |= {f"{name}_{t}": v for t, v in enumerate(value.unbind(-2))}
    return split


def _gradients_arrive(model: SequenceVAE, batch: _Batch) -> None:
    loss, _ = _weights(model, batch, _drawn_values(model, batch))
    for name, gradient in _gradients(model, loss).items():
        if gradient is None:
            raise _broken("every parameter gets a gradient", f"{name} gets none",
                          "a part that is built and never used, or values that are detached on the way")
        if not bool(gradient.isfinite().all()):
            raise _broken("every parameter gets a gradient", f"that of {name} isn't finite",
                          "a density at the edge of its support, or NaN in x that a network reads unfilled")


def _padding_never_matters(model: SequenceVAE, batch: _Batch) -> None:
    law = "padding never matters"
    cause = ("an encoder that ignores the mask (give it steps.mask), a mean or a last step over the padding, or a "
             "path drawn once a sequence, which no mask covers")
    padded, lengths = batch.padded()
    with _runs(law, "a padded batch", cause):
        values = {n: s["value"] for n, s in _draw(model, padded).items() if not is_point(s)}
        loss, rows = _weights(model, padded, values)
    for name, gradient in _gradients(model, loss).items():
        if gradient is not None and not bool(gradient.isfinite().all()):
            raise _broken(law, f"with NaN in the padding the gradient of {name} isn't finite", cause)
    for i, length in enumerate(lengths):
        alone = batch.cut(slice(i, i + 1), length)
        with _runs(law, f"sequence {i} alone ({length} frames)", cause):
            sites = _draw(model, alone)
            mine = {n: _shortened(values[n], i, s) for n, s in sites.items() if n in values}
            _, row = _weights(model, alone, mine)
        off = _difference(rows[i:i + 1].detach(), row.detach())
        if off > _tolerance(rows):
            raise _broken(law, f"log p(x, z) - log q(z | x) of sequence {i} ({length} frames), at the same z, differs "
                          f"by {off:.2g} (relative) between the padded batch and the sequence alone", cause)


def _shortened(value: Tensor, row: int, site: Any) -> Tensor:
    """A sequence's latents, cut to the shape that they have when it is alone."""
    if not in_batch(site):
        return value
    return value[row:row + 1][tuple(slice(n) for n in site["value"].shape)]


def _generates(model: SequenceVAE, batch: _Batch) -> None:
    law, cause = "the model generates", "a body that needs x, or a likelihood that can't be sampled"
    size = tuple(batch.x.shape[: 1 if model.static else 2])
    with _runs(law, f"model(size={size})", cause):
        drawn = poutine.trace(model.model).get_trace(size=size, **batch.known)
    if "x" not in drawn.nodes:
        raise _broken(law, f"no site is called 'x' (there are {sorted(sites(drawn, observed=False))})",
                      "the data's site is named x")
    value = drawn.nodes["x"]["value"]
    if value.shape != batch.x.shape:
        raise _broken(law, f"x was drawn as {tuple(value.shape)}, where the data are {tuple(batch.x.shape)}",
                      "a likelihood of another width than the data")
    if not bool(value.isfinite().all()):
        raise _broken(law, "what it draws isn't finite", "a scale or a recurrence that explodes")
