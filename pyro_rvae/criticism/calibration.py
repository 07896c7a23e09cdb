"""Ranks of simulated truths among a guide's draws: histograms, tests, and what they say in words."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .tables import count, table

__all__ = ["Calibration"]

Array = NDArray[np.float64]
Counts = NDArray[np.int64]

SHOWN = 12  # rows of the printed table


@dataclass(frozen=True, repr=False, eq=False)
class Calibration:
    r"""What :func:`~pyro_rvae.criticism.sbc` found: the rank of each simulated truth among the guide's draws.

    In simulation i the model draws :math:`z_i, x_i`, the guide draws L times from :math:`q(z \mid x_i)`, and the rank
    of a test quantity f is how many of its L values lie below that of the truth. If the guide is the posterior, the
    ranks are uniform on 0..L. If it is too narrow they pile up at both ends, if it is too wide in the middle, if it
    lies too low at the upper end.

    Attributes:
        ranks: ``(Q, num)`` integers from 0 to ``num_draws``: one row a test quantity, one column a simulation; ties are
            broken at random.
        quantities: names of the Q test quantities.
        num_draws: L.
        name: the model's name.

    Other names for the same: ``histogram``, ``expected``, ``histogram_band`` (bars and the band about them), and
    ``ecdf_difference``, ``ecdf_band``.

    Source: Talts, Betancourt, Simpson, Vehtari & Gelman (2018), "Validating Bayesian inference algorithms with
    simulation-based calibration", arXiv:1804.06788. Band: Säilynoja, Bürkner & Vehtari (2022), "Graphical test for
    discrete uniformity", arXiv:2103.10522. Their draws are thinned by autocorrelation; a guide's are independent.
    """

    ranks: Counts
    quantities: tuple[str, ...]
    num_draws: int
    name: str = "model"

    @property
    def num(self) -> int:
        """Simulations."""
        return int(self.ranks.shape[1])

    # -------------------------------------------------------------------------------------------- histograms
    @property
    def bins(self) -> int:
        """Bins of the test: 10, or fewer where that leaves under five simulations in each or two ranks."""
        return int(max(2, min(10, self.num // 5, (self.num_draws + 1) // 2)))

    def histogram(self, bins: int | None = None) -> Counts:
        """How many ranks fall in each bin, ``(Q, bins)``; rank r of 0..L is in bin ``r * bins // (L + 1)``."""
        bins = self._bins(bins)
        where = self.ranks * bins // (self.num_draws + 1)
        return np.stack([np.bincount(row, minlength=bins) for row in where]).astype(np.int64)

    def expected(self, bins: int | None = None) -> Array:
        """The histogram of a uniform law, ``(bins,)``; not quite flat where ``bins`` doesn't divide L + 1."""
        bins, ranks = self._bins(bins), self.num_draws + 1
        each: Array = np.bincount(np.arange(ranks) * bins // ranks, minlength=bins).astype(np.float64)
        return each * (self.num / ranks)

    def histogram_band(self, bins: int | None = None, probability: float = 0.95) -> tuple[Array, Array]:
        """Least and greatest count of each bin, ``(bins,)`` each: a bar stays inside with that probability."""
        share = self.expected(bins) / self.num
        low, high = (1 - _probability(probability)) / 2, (1 + probability) / 2
        return _stats().binom.ppf(low, self.num, share), _stats().binom.ppf(high, self.num, share)

    def _bins(self, bins: int | None) -> int:
        bins = self.bins if bins is None else bins
        if isinstance(bins, bool) or not isinstance(bins, int) or not 2 <= bins <= self.num_draws + 1:
            raise ValueError(f"bins must be an integer from 2 to {self.num_draws + 1} (one for each rank), got "
                             f"{bins!r}.")
        return bins

    def ecdf_difference(self) -> tuple[Array, Array]:
        """Grid ``(G,)`` in (0, 1), and the ranks' distribution function there less the uniform one, ``(Q, G)``."""
        grid = _grid(self.num, self.num_draws)
        at = np.round(grid * (self.num_draws + 1))  # ranks below this one
        below = np.stack([np.searchsorted(np.sort(row), at, side="left") for row in self.ranks])
        return grid, below / self.num - grid

    def ecdf_band(self, probability: float = 0.95) -> tuple[Array, Array]:
        """Band ``(G,), (G,)`` about zero, in which the whole curve of :meth:`ecdf_difference` stays with that
        probability: simultaneous, for one quantity, found by 2,000 simulations with a seed of their own.
        """
        grid = _grid(self.num, self.num_draws)
        level = float(np.quantile(_levels(self.num, self.num_draws), 1 - _probability(probability)))
        low, high = (_stats().binom.ppf(p, self.num, grid) for p in (level / 2, 1 - level / 2))
        return low / self.num - grid, high / self.num - grid

    # -------------------------------------------------------------------------------------------- tests
    @cached_property
    def chi_squares(self) -> Array:
        """Pearson's statistic of the histogram of :attr:`bins` bins, ``(Q,)``."""
        expected = self.expected()
        found: Array = ((self.histogram() - expected) ** 2 / expected).sum(-1)
        return found

    @property
    def p_values(self) -> Array:
        """Probability of so large a statistic under uniform ranks, ``(Q,)``; of each quantity for itself."""
        found: Array = _stats().chi2.sf(self.chi_squares, self.bins - 1)
        return found

    @property
    def adjusted_p_values(self) -> Array:
        """The same corrected for the number of quantities by Holm's method, ``(Q,)``, valid whatever their dependence:
        the chance that a perfect guide has any of them below a is at most a. Source: Holm (1979).
        """
        p = self.p_values
        order, left = np.argsort(p), np.arange(len(p), 0, -1)
        found = np.empty_like(p)
        found[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * left))
        return found

    @property
    def shifts(self) -> Array:
        """Mean rank, standardised, ``(Q,)``: about N(0, 1) if the guide is exact, above 0 where it lies too low."""
        found: Array = np.sqrt(12 * self.num) * (self._uniform().mean(-1) - 0.5)
        return found

    @property
    def spreads(self) -> Array:
        """Second Legendre moment of the ranks, standardised, ``(Q,)``: above 0 if the guide is narrow, or far off."""
        u = self._uniform()
        found: Array = np.sqrt(5 * self.num) * (6 * u**2 - 6 * u + 1).mean(-1)
        return found

    def _uniform(self) -> Array:
        found: Array = (self.ranks + 0.5) / (self.num_draws + 1)
        return found

    @property
    def verdicts(self) -> tuple[str, ...]:
        """Of each quantity, in words: ``"ok"`` unless its adjusted p-value is below 0.05."""
        u = self._uniform()
        scarcer = np.minimum((u < 0.25).mean(-1), (u > 0.75).mean(-1))  # of the two ends
        sure = self.shifts / np.maximum(1.0, np.sqrt(12) * u.std(-1))  # of ranks at both ends the mean strays further
        found = zip(self.quantities, self.adjusted_p_values, sure, self.spreads, scarcer > 0.25, strict=True)
        return tuple("ok" if p >= 0.05 else _words(name, *moments) for name, p, *moments in found)

    @property
    def passed(self) -> bool:
        """Whether no quantity's adjusted p-value is below 0.05."""
        return all(words == "ok" for words in self.verdicts)

    @property
    def verdict(self) -> str:
        """All of it in one sentence."""
        least = f"smallest p-value {self.adjusted_p_values.min():.2g}, corrected for {len(self.quantities)} quantities"
        if self.passed:
            return f"no sign that the guide is not the posterior ({least})"
        found = [(words, _is_density(q)) for q, words in zip(self.quantities, self.verdicts, strict=True)]
        of_z = [words for words, density in found if words != "ok" and not density]
        if of_z:
            return f"the guide is not the posterior: {_most(of_z)} ({least})"
        return (f"the guide is not the posterior: each latent alone passes, but its draws are together "
                f"{next(words for words, _ in found if words != 'ok')} ({least})")

    # -------------------------------------------------------------------------------------------- output
    def to_dict(self) -> dict[str, object]:
        """Figures by quantity, as JSON takes them."""
        rows = {
            name: {"chi_square": float(c), "p_value": float(p), "adjusted_p_value": float(a), "verdict": words}
            for name, c, p, a, words in zip(self.quantities, self.chi_squares, self.p_values, self.adjusted_p_values,
                                            self.verdicts, strict=True)
        }
        return {"num": self.num, "num_draws": self.num_draws, "bins": self.bins, "correction": "Holm",
                "passed": self.passed, "verdict": self.verdict, "quantities": rows}

    def __repr__(self) -> str:
        order = np.argsort(self.p_values, kind="stable")[:SHOWN]
        rows = [("", f"chi2 ({self.bins - 1} df)", "p", "p (Holm)", "guide is")]
        for q in order:
            rows.append((self.quantities[q], f"{self.chi_squares[q]:.1f}", f"{self.p_values[q]:.2g}",
                         f"{self.adjusted_p_values[q]:.2g}", self.verdicts[q]))
        more = len(self.quantities) - len(order)
        return (f"{self.name}: {self.num} simulations, {count(self.num_draws, 'draw')} of the guide each.\n"
                f"  {self.verdict[0].upper()}{self.verdict[1:]}.\n{table(rows)}"
                + (f"\n  and {more} more, with larger p-values" if more else ""))


def _stats() -> Any:
    from scipy import stats  # here: its import changes the filters of warnings

    return stats


def _is_density(quantity: str) -> bool:
    return quantity.startswith("log p(")


def _words(quantity: str, shift: float, spread: float, both_ends: bool) -> str:
    """What ranks that aren't uniform say of the guide; at one end alone they say nothing of its width."""
    if max(abs(shift), abs(spread)) < 2:
        return "uneven"  # neither moment tells why
    if abs(shift) < 2 or (abs(shift) <= abs(spread) and (spread < 0 or both_ends)):
        return "too narrow" if spread > 0 else "too wide"
    if _is_density(quantity):  # of draws nearer to the mode than truths are, as a narrow guide makes them
        return "too improbable" if shift > 0 else "too probable"
    return "shifted, too low" if shift > 0 else "shifted, too high"


def _most(verdicts: list[str]) -> str:
    """The commonest of them; shifts in either direction are of one kind."""
    kinds = [words.split(",")[0] for words in verdicts]
    most = max(dict.fromkeys(kinds), key=kinds.count)
    alike = {words for words in verdicts if words.startswith(most)}
    return alike.pop() if len(alike) == 1 else most


def _probability(value: float) -> float:
    if not 0 < value < 1:
        raise ValueError(f"probability must be above 0 and below 1, such as 0.95; got {value!r}.")
    return value


def _grid(num: int, num_draws: int) -> Array:
    """Where distribution functions are compared: at most 100 places, each at an edge between two ranks."""
    steps = np.arange(1, min(num, num_draws + 1, 101)) / min(num, num_draws + 1, 101)
    return np.unique(np.round(steps * (num_draws + 1))) / (num_draws + 1)


@lru_cache(maxsize=8)
def _levels(num: int, num_draws: int) -> Array:
    """2,000 draws of the smallest pointwise two-sided level along an exact guide's curve."""
    rng, grid = np.random.Generator(np.random.Philox(0)), _grid(num, num_draws)
    cells = np.diff(np.concatenate([[0.0], grid, [1.0]]))
    below = rng.multinomial(num, cells, size=2000)[:, :-1].cumsum(-1)  # (2000, G)
    table = _stats().binom.cdf(np.arange(-1, num + 1)[:, None], num, grid)  # (num + 2, G)
    column = np.arange(len(grid))
    inside: Array = np.minimum(table[below + 1, column], 1 - table[below, column])
    return 2 * inside.min(-1)
