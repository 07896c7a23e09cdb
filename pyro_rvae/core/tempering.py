"""Draws at a temperature: in every reading, what is drawn comes from a sharper (or flatter) law of its site."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from numbers import Real
from typing import Any

from pyro.poutine.messenger import Messenger

from ..distributions import tempered
from .handlers import Question, noise_is_given

__all__ = ["Temperature", "TemperedDraws", "check_sites", "check_temperature", "law_to_draw", "temperature_of",
           "tempered_draws"]

Temperature = float | Mapping[str, float]

_temperatures: ContextVar[Mapping[str, float]] = ContextVar("temperatures", default={})  # noqa: B039 (never mutated)


def temperature_of(name: str) -> float:
    """That at which site ``name`` is drawn here; 1 where nothing was said."""
    return _temperatures.get().get(name, 1.0)


def law_to_draw(name: str, fn: Any) -> Any:
    """The law from which site ``name``, of law ``fn``, is drawn here: ``fn`` itself at temperature 1."""
    temperature = temperature_of(name)
    return fn if temperature == 1.0 else tempered(fn, temperature)


def check_temperature(temperature: Any) -> dict[str, float]:
    """Temperatures other than 1 by the name of the site; a number is that of x.

    Raises:
        ValueError: what is no positive, finite number, or no mapping of names to such numbers.
    """
    by_name = temperature if isinstance(temperature, Mapping) else {"x": temperature}
    for name, value in by_name.items():
        if isinstance(value, bool) or not isinstance(value, Real) or not 0 < float(value) < math.inf:
            raise ValueError(f"temperature must be a positive number, or such a number for each of some sites "
                             f"({{'x': 0.7, 'z': 1.0}}), got {value!r}"
                             + (f" for {name!r}" if isinstance(temperature, Mapping) else "")
                             + "; near 0 (1e-6) every draw is the mode.")
    return {name: float(value) for name, value in by_name.items() if value != 1.0}


class TemperedDraws(Messenger):
    """The handler of :func:`tempered_draws`.

    A loop asks :func:`law_to_draw` for what it draws itself; this handler serves every ``pyro.sample`` that draws.
    It fixes the value and leaves the law, so that a density is always the model's own.
    """

    def __init__(self, temperatures: Mapping[str, float]) -> None:
        super().__init__()
        self.temperatures = temperatures

    def __enter__(self) -> Any:
        self._token = _temperatures.set(self.temperatures)
        return super().__enter__()

    def __exit__(self, *args: Any) -> Any:
        _temperatures.reset(self._token)
        return super().__exit__(*args)

    def _pyro_sample(self, msg: Any) -> None:
        if msg["value"] is not None or isinstance(msg["fn"], Question) or noise_is_given():
            return  # given noise asks for the law itself
        name = msg["name"].rpartition("_")[0] if "step" in msg["infer"] else msg["name"]  # z_0, z_1, ... are z
        law = law_to_draw(name, msg["fn"])
        if law is not msg["fn"]:
            msg["value"] = law(*msg["args"], **msg["kwargs"])


def tempered_draws(temperature: Temperature) -> TemperedDraws:
    r"""Within it each site is drawn from its law at a temperature (:func:`~pyro_rvae.distributions.tempered`).

    Arguments:
        temperature: of x alone, a positive number; or of each site that is named. A latent of a loop has one name for
            all steps. At 1, and of sites that are not named, a draw is what it is without this, bit by bit.

    What is known (data, ``given``, a replayed trace) keeps its value, and every density is that of the model itself.
    Each draw is made at the temperature, given what was drawn before: a path is not drawn from the power of its joint
    density. A path that is drawn at once (``draw_path``) comes from noise times the temperature, which is the same for
    a chain of Gaussians.
    """
    return TemperedDraws(check_temperature(temperature))


def check_sites(temperature: Temperature, drawn: Iterable[str], name: str) -> None:
    """Refuse a temperature of a site that a model does not draw; ``drawn`` are those that it does."""
    known = sorted(drawn)
    strange = sorted(set(temperature) - set(known)) if isinstance(temperature, Mapping) else []
    if strange:
        raise ValueError(f"temperature names {strange}, and {name} draws {known}: name these only.")
