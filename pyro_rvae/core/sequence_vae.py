"""The base class: two bodies become a Pyro ``model`` and ``guide``."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self

import pyro.poutine as poutine
from pyro.infer.autoguide import AutoGuide
from torch import Tensor, nn

from .card import DataCard
from .checks import check_arguments, check_known
from .contexts import forked
from .handlers import known_values, labels_are_read
from .particles import plates
from .registry import apart, register
from .shared import SharedPosterior
from .steps import Steps
from .traces import sites

__all__ = ["SequenceVAE"]


class _Finished(type):
    """Builds the posterior of what is shared when a model's ``__init__`` is through: it belongs to the model."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        model = super().__call__(*args, **kwargs)
        model.init_arguments = args, kwargs  # by which tasks.save_pretrained names a model's parts
        model._finish()
        return model


class SequenceVAE(nn.Module, metaclass=_Finished):
    """A Pyro ``model``/``guide`` pair, declared by two bodies.

    A subclass writes ``__init__`` (its parts), :meth:`generative` and :meth:`inference`, and may write
    :meth:`shared`; everything else is final. The first line of its docstring is its factorisation.

    A body is run several times a call inside its loop (a probe of the first step, the steps, all steps at once), so
    nothing in a loop may keep count of its calls (no batch normalisation there). Weights are saved by
    ``save_pretrained`` or ``state_dict``, not by Pyro's parameter store, whose names belong to one process.

    Attributes a subclass may set:
        reader: module that turns a raw frame into what networks read (default: NaN filled with 0).
        transform: what maps raw data to the model's units (set by :meth:`for_data`), or ``None``.
        num_sequences: size N of the data set (set by :meth:`for_data`); a batch of B carries B/N of ``shared``.
        data_card: what the data were (:class:`~pyro_rvae.core.DataCard`, set by :meth:`for_data`), or ``None``.
        context: part that makes one sequence of controls and labels (:class:`~pyro_rvae.nn.Context`), read by the
            bodies as ``steps.context``; ``None``: the model is unconditional.
        summed_out: names of discrete latents that TraceEnum_ELBO sums out in the explicit form.
        exact_sites: names of latents whose guide is their exact posterior given x: a KL weight leaves them alone.
    """

    static: bool = False  # True: x is (B, *event_shape), without time
    summed_out: ClassVar[tuple[str, ...]] = ()
    exact_sites: ClassVar[tuple[str, ...]] = ()

    reader: Any
    transform: Any
    num_sequences: int | None
    data_card: DataCard | None
    context: Any

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own = inspect.signature(cls.__init__)  # the metaclass would show (*args, **kwargs)
        cls.__signature__ = own.replace(parameters=list(own.parameters.values())[1:])  # type: ignore[attr-defined]

    def __init__(self) -> None:
        super().__init__()
        self.transform = None
        self.num_sequences = None
        self.data_card = None
        self.context = None

    # ------------------------------------------------------------------------------------------ for a subclass
    def generative(self, steps: Steps) -> None:
        """The joint density p(x, z): sample ``"x"`` and the latents, within ``for t in steps``."""
        raise NotImplementedError

    def inference(self, steps: Steps, x: Tensor) -> None:
        """The posterior q(z | x): sample every latent of :meth:`generative`. ``x`` is as networks read it."""
        raise NotImplementedError

    def shared(self) -> None:
        """What is drawn once a data set: ``pyro.sample`` statements with priors, outside of any plate.

        A body reads a value as ``t.hold(steps.shared[name])``: a vector (a scalar site is a vector of one number),
        which hold lines up with sequences and steps, also when many particles are drawn at once.
        The guide of these sites is ``self.shared_posterior``: a mean-field Normal unless ``__init__`` sets another
        (``AutoNormal(self.shared)``, any of ``pyro.infer.autoguide``, or your own).
        """

    def check_length(self, longest: int) -> None:
        """Refuse a data set whose longest sequence has ``longest`` frames, where the model needs more."""

    # ------------------------------------------------------------------------------------------ final
    def model(self, x: Tensor | None = None, mask: Tensor | None = None, *, size: tuple[int, ...] | None = None,
              controls: Tensor | None = None, labels: Tensor | None = None) -> None:
        """The generative program.

        Arguments:
            x: ``(B, T, x_dim)``; NaN (-1 in codes) is a missing element. ``None`` generates. With a ``size``
                longer than x it is the beginning of the sequences, and the rest is drawn.
            mask: ``(B, T)`` boolean, True then False: the padding. It covers x and z, so a latent in the padding has
                no density at all: right with :meth:`guide`, which masks it too; a guide that doesn't know the mask
                (AutoGuides, NUTS) needs batches without padding.
            size: ``(B, T)``, where x doesn't tell it.
            controls: ``(B, T, control_dim)``, known inputs at each step.
            labels: ``(B, ...)``, known once a sequence.
        """
        self._generate(self.shared, x, mask, size=size, controls=controls, labels=labels)

    def _generate(self, program: Any, x: Tensor | None = None, mask: Tensor | None = None, *,
                  size: tuple[int, ...] | None = None, controls: Tensor | None = None,
                  labels: Tensor | None = None) -> None:
        """The generative program, with what ``program`` draws once a data set."""
        x, batch, length = check_arguments(self, x, mask, size, controls, labels)
        register(self)
        shared = self._shared(program, batch)
        with plates(batch):
            known = known_values()
            check_known(type(self).__name__, known, batch, length)
            steps = self._steps(length, {"x": x, **known}, mask, controls, labels, shared)
            self.generative(steps)
            steps.finish()
        if steps.controls_unread:
            raise ValueError(f"controls were given, and {type(self).__name__} reads none: build it with "
                             f"context=rv.Context(control_dim={controls.shape[-1]}), or leave them out.")  # type: ignore[union-attr]

    def guide(self, x: Tensor, mask: Tensor | None = None, *, size: tuple[int, ...] | None = None,
              controls: Tensor | None = None, labels: Tensor | None = None) -> None:
        """The inference program; arguments as for :meth:`model`, x is needed."""
        if x is None:
            raise ValueError(f"{type(self).__name__}.guide needs x; to generate, call model(size=(B, T)).")
        checked, batch, length = check_arguments(self, x, mask, None, controls, labels)
        assert checked is not None
        register(self)
        shared = self._shared(getattr(self, "shared_posterior", None), batch)
        with plates(batch):
            steps = self._steps(length, {}, mask, controls, labels, shared)
            steps.values["x"] = checked  # a known input of the steps
            self.inference(steps, self.read(checked) if self.static else steps.seen("x", None))
            steps.finish()

    def read(self, x: Tensor) -> Tensor:
        """Raw frames as the networks see them."""
        return self.reader(x)  # type: ignore[no-any-return]

    def learned_model(self, *args: Any, **kwargs: Any) -> None:
        """:meth:`model`, with what is drawn once a data set (``shared``) from its posterior instead of its prior.

        What a trained model generates: sequences like those of the data set that it was trained on. Without ``shared``
        it is :meth:`model`.
        """
        self._generate(getattr(self, "shared_posterior", self.shared), *args, **kwargs)

    @classmethod
    def for_data(cls, data: Any, **parts: Any) -> Self:
        """The model for a data set: widths, likelihood, reader and output bias from what the data set holds.

        Arguments:
            data: a data set with ``x_dim, kind, classes, missing, values, transform``.
            parts: arguments of the model; what is given here is not chosen from the data. A model of your own takes
                x_dim first; if it has arguments ``likelihood``, ``reader`` and ``context`` they are chosen for it
                (a context where the data have controls; for labels pass ``rv.Context.for_data(data)``), and

        Raises:
            ValueError: the likelihood is a law of other kinds of data (``rv.distributions.fit``
                has the table), or the sequences are too short for the model (:meth:`check_length`).
        """
        from ..distributions import check_fit, family_for, reader_with_flags  # here: where a model meets data
        from ..nn import Context

        family = family_for(data.kind, data.classes)
        given = parts.get("likelihood", family)
        check_fit(given, data.kind, cls.__name__)
        reader = reader_with_flags(given, family, data.x_dim) if data.missing else None
        accepted = inspect.signature(cls).parameters
        any_name = any(parameter.kind is parameter.VAR_KEYWORD for parameter in accepted.values())
        context = Context.for_data(data, labels=False) if data.controls is not None else None
        for name, part in (("likelihood", family), ("reader", reader), ("context", context)):
            if part is not None and (name in accepted or any_name):
                parts.setdefault(name, part)
        if getattr(parts.get("likelihood"), "takes_family", False):  # a network of its own, for any family
            parts["likelihood"] = partial(parts["likelihood"], family=family)
        model = cls(data.x_dim, **parts)  # type: ignore[call-arg]
        likelihood: Any = getattr(model, "likelihood", None)
        check_fit(likelihood, data.kind, cls.__name__)
        if hasattr(likelihood, "set_bias") and hasattr(likelihood.family, "bias"):
            raw = likelihood.family.bias(data.values)
            if raw is not None:
                likelihood.set_bias(raw)
        if hasattr(data, "lengths"):
            model.check_length(int(data.lengths.max()))
        model.transform, model.num_sequences, model.data_card = data.transform, len(data), DataCard.of(data)
        for part in model.modules():
            start: Any = getattr(part, "start_from", None)  # of one that begins at examples (a VampPrior)
            if start is not None:
                start(list(data), model.read)
        return model

    def save_pretrained(self, directory: str | Path, **settings: Any) -> Path:
        """Save weights, config and a model card in a folder: :func:`~pyro_rvae.tasks.save_pretrained`."""
        from ..tasks.store import save_pretrained  # here: a door for users; files are a layer above the core

        return save_pretrained(self, directory, **settings)

    @classmethod
    def from_pretrained(cls, directory: str | Path, allow: Sequence[str] = ()) -> Self:
        """The model of :meth:`save_pretrained`, if it is one of this class: ``rv.VRNN.from_pretrained(folder)``.

        ``rv.SequenceVAE.from_pretrained`` takes any. See :func:`~pyro_rvae.tasks.from_pretrained`.
        """
        from ..tasks.store import from_pretrained  # here: a door for users; files are a layer above the core

        return from_pretrained(directory, allow, cls=cls)  # type: ignore[return-value]

    # ------------------------------------------------------------------------------------------ inside
    def _finish(self) -> None:
        if not hasattr(self, "reader"):
            self.reader = _Fill()
        if type(self).shared is not SequenceVAE.shared and not hasattr(self, "shared_posterior"):
            self.shared_posterior = SharedPosterior(self.shared)
        elif isinstance(getattr(self, "shared_posterior", None), AutoGuide):
            with poutine.block(), forked(), apart(self.shared_posterior):  # it builds its parameters at its first call
                self.shared_posterior()

    def _steps(self, length: int, data: dict[str, Tensor | None], mask: Tensor | None, controls: Tensor | None,
               labels: Tensor | None, shared: dict[str, Tensor]) -> Steps:
        if controls is not None and mask is not None:  # like x: nothing in the padding is ever read
            controls = controls.masked_fill(~mask.unsqueeze(-1), 0.0)
        context = () if self.context is None else (self.context(controls, labels, None if self.static else length),)
        if context and getattr(self.context, "reads_labels", True):
            labels_are_read()
        return Steps(length, data, mask, controls=controls, labels=labels, shared=shared, read={"x": self.reader},
                     like=next(self.parameters(), None), context=context, exact=self.exact_sites,
                     summed_out=self.summed_out, training=self.training)

    def _shared_sites(self) -> dict[str, Any]:
        """The sites of :meth:`shared`, drawn once from their priors."""
        with poutine.block(), forked():
            return sites(poutine.trace(self.shared).get_trace())

    def _shared(self, program: Any, batch: int) -> dict[str, Tensor]:
        """Run what is drawn once a data set, scaled by B/N so that a minibatch carries its share of it."""
        if type(self).shared is SequenceVAE.shared:
            return {}
        scale = batch / (self.num_sequences or batch)
        with poutine.trace() as trace, poutine.scale(scale=scale), apart(program):
            program()
        return {name: site["value"] if site["fn"].event_dim else site["value"].unsqueeze(-1)
                for name, site in sites(trace.trace).items()}


class _Fill(nn.Module):
    """The default reader: missing elements read as 0."""

    def forward(self, x: Tensor) -> Tensor:
        return x.masked_fill(x.isnan(), 0.0) if x.is_floating_point() else x


