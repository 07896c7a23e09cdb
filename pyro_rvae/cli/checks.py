"""The sections of a report that hold the model against data: predictive checks, forecasts, calibration, tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .. import plots
from ..criticism import PredictiveCheck, predictive_check, sbc, two_sample
from ..criticism.replicates import observed_sequences
from ..criticism.statistics import Statistic, statistics_for
from ..criticism.two_sample import LEAST
from .html import Finding, Section, heading, note, picture, table, text
from .sections import NO_LATENT
from .subject import NotApplicable, Subject

__all__ = ["calibration", "forecasts", "free_running", "two_samples"]

TAIL = 0.025  # p-values nearer to 0 or 1 are called extreme
FIRST = 12  # rows of a table of test quantities


def free_running(subject: Subject, section: Section) -> None:
    """Statistics of what the model makes by itself."""
    check = subject.free_running
    count = len(check.replicates)
    each = "item by item" if subject.static else "sequence by sequence of the same length"
    section.see = f"Statistics of the data, beside those of {count} replications that the model made by itself, " \
                  f"{each}. p: the share of replications with more of it."
    section.good = "p between 0.03 and 0.97: the data could be one of the replications. Near 0 the model makes too " \
                   "little of it, near 1 too much."
    wrong = _extreme(check)
    section.run = _said(check, wrong)
    section.findings.append(Finding(f"Free-running: {section.run[0].lower()}{section.run[1:].rstrip('.')}", not wrong))
    section.blocks.append(picture(plots.predictive_plot(check)))
    section.blocks.append(_table_of_checks(check, pit=True))
    section.blocks.append(note("Last column: leave-one-out PIT, whether the data's own statistics are spread among the "
                               f"replications of their {subject.what} as they should be (Kolmogorov-Smirnov)."))
    if not subject.static and int(subject.few.lengths.max()) > 1:
        _behind_half(subject, section)


def _behind_half(subject: Subject, section: Section) -> None:
    """The same of what the model makes when it has seen the beginning."""
    check = subject.behind_half
    wrong = _extreme(check)
    said = _said(check, wrong)
    section.blocks.append(heading("When the first half of each sequence is given"))
    section.blocks.append(text(f"Of {subject.few_words}: the model has seen the first half of each, and goes on by "
                               f"itself; only what follows is compared. {said}"))
    section.blocks.append(_table_of_checks(check, pit=True))
    section.findings.append(Finding(f"With half of each sequence given: {said[0].lower()}{said[1:].rstrip('.')}",
                                    not wrong))


def _extreme(check: PredictiveCheck) -> list[str]:
    return [name for name in check.scalars if not TAIL <= check.p_value(name)[0] <= 1 - TAIL]


def _said(check: PredictiveCheck, wrong: list[str]) -> str:
    total = len(check.scalars)
    if not wrong:
        return f"None of {total} statistics tells data and model apart."
    return f"{len(wrong)} of {total} statistics tell data and model apart: {', '.join(wrong)}."


def _table_of_checks(check: PredictiveCheck, *, pit: bool) -> str:
    lines, marked = [], []
    for r, (name, found) in enumerate(check.to_dict().items()):
        low, high = np.quantile(check.replicated[name].mean(1), [0.05, 0.95])
        p = found["p_value"]
        last = [f"{check.pit(name).uniformity[1]:.2g}"] if pit else []
        lines.append([name, f"{found['observed']:.3f}", f"{found['replicated']:.3f}", f"{low:.3f} to {high:.3f}",
                      f"{p:.2f} ± {found['p_value_error']:.2f}", *last])
        marked += [(r, 4)] * (not TAIL <= p <= 1 - TAIL)
    head = ["", "data", "model", "90% of the replications", "p", *["PIT, p"] * pit]
    return table(lines, head, wrong=marked)


def forecasts(subject: Subject, section: Section) -> None:
    """One step ahead, and how good the forecasts are."""
    if subject.static:
        raise NotApplicable("The data are static, without time: nothing precedes anything, so there is nothing to "
                            "forecast.")
    scores = subject.scores
    section.see = f"Forecasts of each frame from the frames before it ({len(subject.forecasts)} draws; " \
                  f"{subject.few_words}), scored against what came, beside what the training marginals alone would say."
    section.good = "A skill above 0: forecasts are better than the marginals. Statistics that agree one step ahead " \
                   "but not free-running mean that errors add up."
    skill, error = scores.skill()
    section.run = f"{scores.labels['crps']}: {scores.mean()[0]:.4g}"
    if np.isfinite(skill):
        section.run += f", {abs(skill):.1%} {'better' if skill > 0 else 'worse'} than the marginals (± {error:.1%})"
        section.findings.append(Finding(f"One-step forecasts are {abs(skill):.1%} {'better' if skill > 0 else 'worse'} "
                                        f"than the training marginals (± {error:.1%})", skill > 2 * error))
    section.run += "."
    section.blocks.append(_table_of_scores(subject))
    section.blocks.append(picture(plots.crps_plot(scores)))
    _one_step_check(subject, section)


def _one_step_check(subject: Subject, section: Section) -> None:
    """Statistics of forecasts, but for those that look from frame to frame: no forecast follows from another one."""
    made: Any = subject.forecasts
    chosen = without_order(statistics_for(subject.few), observed_sequences(subject.few))
    if not chosen:
        return
    check = predictive_check(subject.model, subject.few, chosen, len(made), draw=lambda *args, **more: made)
    section.blocks.append(heading("Statistics one step ahead"))
    words = "Only statistics that do not depend on the order of the frames: each forecast follows from the data, and " \
            "none from another forecast, so that even those of a perfect model make no path."
    section.blocks.append(picture(plots.predictive_plot(check), words))
    section.blocks.append(_table_of_checks(check, pit=False))


def without_order(statistics: Mapping[str, Statistic], sequences: Sequence[Any]) -> dict[str, Statistic]:
    """Those that say the same of a sequence, and of its frames in another order; found by trying."""
    random = np.random.default_rng(0)
    shuffled = [random.permutation(x, axis=0) for x in sequences]
    return {name: function for name, function in statistics.items()
            if all(np.allclose(function(x), function(y)) for x, y in zip(sequences, shuffled, strict=True))}


def _table_of_scores(subject: Subject) -> str:
    scores = subject.scores
    lines = []
    for score, label in scores.labels.items():
        line = [label, _with_error(*scores.figure(score))]
        if scores.reference is not None:
            line += [_with_error(*scores.figure(score, reference=True)), _with_error(*scores.skill(score))]
        lines.append(line)
    beside = ["training marginals", "skill"] if scores.reference is not None else []
    return table(lines, ["raw units, lower is better", subject.name, *beside])


def _with_error(value: float, error: float) -> str:
    return f"{value:.4f}" + (f" ± {error:.4f}" if np.isfinite(error) else "")


def calibration(subject: Subject, section: Section) -> None:
    """Whether the guide is the posterior, and whether forecasts are as sure as they may be."""
    section.see = "Whether the guide is the posterior (ranks of simulated truths among its draws, and Pareto k of " \
                  "its importance weights on the data), and whether predictions are as sure as they may be."
    section.good = "Ranks flat within the grey band; Pareto k under its line; PIT flat and coverage on the diagonal."
    _guide(subject, section)
    _weights(subject, section)
    _predictions(subject, section)


def _guide(subject: Subject, section: Section) -> None:
    section.blocks.append(heading("Is the guide the posterior? Simulation-based calibration"))
    if not subject.has_latents or subject.point:
        section.blocks.append(note(NO_LATENT if not subject.has_latents else "The guide draws a point, which is no "
                                   "posterior: there is nothing to calibrate."))
        return
    found = sbc(subject.model, subject.data, num=subject.settings.simulations, num_draws=49, seed=subject.settings.seed)
    section.run = found.verdict[0].upper() + found.verdict[1:] + "."
    section.findings.append(Finding(found.verdict[0].upper() + found.verdict[1:], found.passed))
    words = f"{found.num} simulations, {found.num_draws} draws of the guide each; high at both ends: too narrow, a " \
            "hump: too wide, a slope: shifted. Shown are the quantities of the smallest p-values."
    section.blocks.append(picture(plots.sbc_plot(found), words))
    order = np.argsort(found.p_values, kind="stable")[:FIRST]
    lines = [[found.quantities[q], f"{found.chi_squares[q]:.1f}", f"{found.p_values[q]:.2g}",
              f"{found.adjusted_p_values[q]:.2g}", found.verdicts[q]] for q in order]
    head = ["", f"chi-square ({found.bins - 1} degrees of freedom)", "p", "p, corrected (Holm)", "the guide is"]
    marked = [(r, 4) for r, line in enumerate(lines) if line[4] != "ok"]
    section.blocks.append(table(lines, head, wrong=marked))


def _weights(subject: Subject, section: Section) -> None:
    if not subject.has_latents or subject.point:
        return
    section.blocks.append(heading("Can the bound be trusted? Pareto k"))
    words = f"One point a {subject.what}: how heavy the tail of its importance weights is. The more latents a " \
            f"{subject.what} has, the harder it is to keep it low; above the line IWAE is further from the exact " \
            "cost than its error tells."
    section.blocks.append(picture(plots.khat_plot(subject.evaluation), words))


def _predictions(subject: Subject, section: Section) -> None:
    section.blocks.append(heading("Are predictions as sure as they may be?"))
    if subject.data.kind == "categories":
        section.blocks.append(note("Categories have no order, so they have neither ranks nor intervals."))
        return
    scores = subject.scores
    of = f"{subject.few_words}; {scores.num_draws} {scores.drawn_by.replace('_', '-')} draws"
    section.blocks.append(picture(plots.pit_plot(scores), f"Of {of}; ties are broken at random."))
    section.blocks.append(picture(plots.coverage_plot(scores), f"Of {of}."))
    if subject.data.kind == "binary":
        section.blocks.append(note("Of zeros and ones most ranks are ties, broken at random, so both are flat for any "
                                   "model with the right share of ones: the skill above says more."))
        return
    inside, error = scores.coverage(0.8)
    words = f"80% intervals of {scores.drawn_by.replace('_', '-')} predictions cover {inside:.1%} of the data"
    section.findings.append(Finding(words, abs(inside - 0.8) < max(0.05, 2 * error)))


def two_samples(subject: Subject, section: Section) -> None:
    """Can anything tell the model's sequences from the data?"""
    if len(subject.data) < LEAST:
        raise NotApplicable(f"There are {len(subject.data)} {subject.what}s, and a test on fewer than {LEAST} says "
                            "nothing.")
    found = two_sample(subject.model, subject.data, seed=subject.settings.seed)
    section.see = f"A kernel test on statistics of whole {subject.what}s, and two classifiers that learn to tell the " \
                  f"model's {subject.what}s from the data, {found.num_pairs} pairs of the same length."
    section.good = "Accuracy and AUC near 0.5, p-values above 0.05. With enough data every model is found out: look " \
                   "at how far from 0.5 the accuracy is."
    section.run = found.verdict
    best = max(test.accuracy for test in found.classifiers.values())
    section.findings.append(Finding(f"A classifier tells samples from data with accuracy {best:.2f} (0.5 is chance)",
                                    found.p_value > 0.05))
    lines = [[f"MMD² ({len(found.mmd.null)} permutations)", f"{found.mmd.mmd2:.5f}", f"0 ± {found.mmd.null.std():.5f}",
              f"{found.mmd.p_value:.2g}"]]
    for name, test in found.classifiers.items():
        lines += [[f"{name}: accuracy", f"{test.accuracy:.3f} ± {test.error:.3f}", "0.5", f"{test.p_value:.2g}"],
                  [f"{name}: AUC", f"{test.auc:.3f}", "0.5", ""]]
    section.blocks.append(table(lines, ["", "found", "by chance", "p"]))
    section.blocks.append(heading("Where they differ most"))
    rows = [[name, f"{z:+.1f}"] for name, z in list(found.differences.items())[:8]]
    section.blocks.append(table(rows, ["statistic", "model less data, in standard errors"]))
