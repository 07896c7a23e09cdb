"""A collapse report in words and rows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .collapse import CollapseReport

__all__ = ["active", "rows", "verdict"]

SHARE = 0.95  # of a latent's KL, that the dimensions which "carry" it hold
UNREAD = 0.1  # a cost of shuffling below this share of the KL: the latents are hardly read
PRIOR = 0.01  # nats a draw, below which a posterior and its prior are the same for all that we care
UNFELT = 0.01  # and below this share of the bound, with no information that stands out of its error: hardly used


def verdict(report: CollapseReport) -> str:
    """What the figures say, in a sentence or two."""
    if not report.kl_by_step:
        return "the model draws no latent for a sequence."
    dead, alive = report.collapsed, [name for name in report.kl_by_step if name not in report.collapsed]
    if not alive:
        return _dead(report, dead)
    said = [f"{_and(dead)} {_have(dead)} collapsed"] * bool(dead)
    one = "sequence" if report.unit == "frame" else "item"
    blind = [name for name in alive if name in report.unmeasured]
    if blind:
        said.append(f"whether {_and(blind)} {_follow(blind)} the data can't be measured with one {one}")
    if report.point:
        said.append("the guide draws a point, so there is no KL" + "; its code varies with the data" * (not blind))
    elif not math.isnan(report.shuffling_cost) and report.shuffling_cost < UNREAD * report.kl:
        said.append(f"the KL of {_and(alive)} is paid, but the likelihood does almost as well with another {one}'s "
                    "latents: they are hardly read")
    elif _unfelt(report):
        what = "it says" if len(alive) == 1 else "they say"
        said.append(f"{_and(alive)} {_are(alive)} hardly used: what {what} of the data is within two standard errors "
                    f"of nothing, and another {one}'s latents cost {report.shuffling_cost / report.elbo:.1%} of the "
                    "bound")
    elif len(blind) < len(alive):
        used = [name for name in alive if name not in blind]
        said.append("the latent is used" if len(report.kl_by_step) == 1 else f"{_and(used)} {_are(used)} used")
    said += [_concentration(report, name) for name in alive if name in report.kl_by_dim]
    return "; ".join(part for part in said if part) + "."


def _unfelt(report: CollapseReport) -> bool:
    """Whether neither the information nor the bound tells that the latents say anything."""
    info = report.information
    return info is not None and info.value < 2 * info.error and report.shuffling_cost < UNFELT * abs(report.elbo)


def _dead(report: CollapseReport, dead: tuple[str, ...]) -> str:
    if report.point:
        return f"collapsed: the code {_and(dead)} is the same for all data."
    return "collapsed: " + "; ".join(_how(report, name) for name in dead) + "."


def _how(report: CollapseReport, name: str) -> str:
    kl = report.kl_a_draw[name]
    if kl < min(report.floor, PRIOR):
        return f"the posterior of {name} is the prior (KL {kl:.4f} nats a draw)"
    if kl < report.floor:
        return f"the KL of {name} ({kl:.3f} nats a draw) is below the floor of {report.floor:g}"
    return f"the posterior of {name} has the same mean for all data, so its KL ({kl:.3f} nats a draw) buys nothing"


def _concentration(report: CollapseReport, name: str) -> str:
    by_dim = np.sort(report.kl_by_dim[name])[::-1]
    if len(by_dim) < 2:
        return ""
    carrying = int((by_dim.cumsum() < SHARE * by_dim.sum()).sum()) + 1
    verb = "carries" if carrying == 1 else "carry"
    return f"{carrying} of {len(by_dim)} dimensions of {name} {verb} {SHARE:.0%} of its KL"


def rows(report: CollapseReport) -> list[tuple[str, str, str]]:
    """Label, figure, and what it means."""
    draws = "1 draw" if report.num_particles == 1 else f"{report.num_particles} draws"
    bound = "cost at a point" if report.point else "ELBO"
    found = [(f"{bound} ({draws})", f"{report.elbo:.3f}", ""), (f"KL ({draws})", f"{report.kl:.3f}", "")]
    found += _shuffling(report, draws, bound)
    found.append(active(report))
    found += _information(report)
    for name, by_dim in report.kl_by_dim.items():
        largest = ", ".join(f"{v:.3f}" for v in np.sort(by_dim)[::-1][:6])
        found.append((f"KL of {name} by dimension", f"{by_dim.sum():.3f}", f"largest: {largest}"))
    found += [_by_step(name, kl, report.kl_a_draw[name]) for name, kl in report.kl_by_step.items() if len(kl) > 1]
    return found


def active(report: CollapseReport) -> tuple[str, str, str]:
    """The row of active units."""
    lacking, one = report.unmeasured, "sequence" if report.unit == "frame" else "item"
    if lacking and len(lacking) == len(report.activity):
        return "active units", "-", f"not measurable with one {one}"
    said = f"variance of posterior mean > {report.threshold:g}" if report.num_units else "no continuous latent"
    said += f"; of {_and(lacking)} not measurable with one {one}" if lacking else ""
    return "active units", f"{report.active_units} of {report.num_units}", said


def _shuffling(report: CollapseReport, draws: str, bound: str) -> list[tuple[str, str, str]]:
    label, one = f"shuffled latents cost ({draws})", "sequence" if report.unit == "frame" else "item"
    if math.isnan(report.shuffling_cost):
        return [(label, "-", f"not measurable with one {one}")]
    return [(label, f"{report.shuffling_cost:+.3f}", "near 0 would mean that the latents are not used"),
            (f"{bound} with shuffled latents ({draws})", f"{report.shuffled_elbo:.3f}",
             f"each {one} explained by another one's latents")]


def _information(report: CollapseReport) -> list[tuple[str, str, str]]:
    label, info = "mutual information", report.information
    if info is None:
        return [(label, "-", report.no_information)]
    limit = f"at most log {info.num_sequences:,} = {info.ceiling:.2f}" + ", which it reaches" * info.saturated
    found = [(f"{label} (nats per {info.unit})", f"{info.value:.3f}", f"+- {info.error:.3f}, {limit}; {info.of}")]
    if info.surplus is not None:
        found.append((f"KL of the posteriors' mixture (nats per {info.unit})", f"{info.aggregate_kl:.3f}",
                      f"+- {info.aggregate_error:.3f}, from the prior"))
    return found


def _by_step(name: str, kl: np.ndarray, mean: float) -> tuple[str, str, str]:
    places = dict.fromkeys([0, 1, len(kl) // 2, len(kl) - 1])
    shown = ", ".join(f"{kl[i]:.3f} at {i + 1}" for i in places)
    return f"KL of {name} by step", f"{mean:.3f}", f"steps: {shown}"


def _and(names: list[str] | tuple[str, ...]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _have(names: tuple[str, ...]) -> str:
    return "has" if len(names) == 1 else "have"


def _follow(names: list[str]) -> str:
    return "follows" if len(names) == 1 else "follow"


def _are(names: list[str]) -> str:
    return "is" if len(names) == 1 else "are"
