"""Can sequences that the model makes be told from held-out ones? A kernel and two classifiers try."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from ..core.checks import check_count
from .asked import PATHS, check_draw, check_functions, drawn
from .chunks import check_data
from .classifiers import ClassifierTest, SmallLSTM, linear_test, network_test
from .matched import features_of, padded, standardised, with_gaps
from .mmd import Discrepancy, matched_mmd
from .replicates import Replicates, free_running, observed_sequences
from .score_draws import check_replicates
from .statistics import Statistic
from .tables import table

__all__ = ["TwoSample", "two_sample"]

Array = NDArray[Any]
LEAST = 10  # pairs; with fewer no classifier has anything to learn from


@dataclass(frozen=True, repr=False, eq=False)
class TwoSample:
    """N held-out sequences against N generated ones of the same lengths, controls, labels and gaps.

    Attributes:
        mmd: ``mmd2``, ``p_value``, ``bandwidth`` and ``null (P,)`` (see :func:`~pyro_rvae.criticism.mmd.matched_mmd`).
        classifiers: by name, each with ``accuracy, error, p_value, auc, scores (N, 2)``.
        observed, generated: ``(N, d)``, the features of the sequences, before they were standardised.
        feature_names: d names.
        index: ``(N,)``, numbers of the held-out sequences in the data set.
        drawn_by: how the others were made.
        name: the model's name.
    """

    mmd: Discrepancy
    classifiers: dict[str, ClassifierTest]
    observed: Array
    generated: Array
    feature_names: list[str]
    index: NDArray[np.int64]
    drawn_by: str
    name: str = "model"

    @property
    def num_pairs(self) -> int:
        """N."""
        return len(self.index)

    @property
    def p_value(self) -> float:
        """Of all tests together: the smallest times their number (Bonferroni), at most 1."""
        p_values = [self.mmd.p_value, *(test.p_value for test in self.classifiers.values())]
        return min(1.0, len(p_values) * min(p_values))

    @cached_property
    def differences(self) -> dict[str, float]:
        """By feature, model minus data: mean difference of the pairs over its standard error; the largest first."""
        apart = self.generated - self.observed
        error = apart.std(0, ddof=1) / np.sqrt(self.num_pairs)
        tiny = 1e-12 * (np.abs(self.observed).max(0) + np.abs(self.generated).max(0)) + 1e-300
        z = apart.mean(0) / np.maximum(error, tiny)
        return {self.feature_names[d]: float(z[d]) for d in np.argsort(-np.abs(z), kind="stable")}

    @property
    def verdict(self) -> str:
        """In plain words, at the 5% level."""
        if self.p_value > 0.05:
            return (f"Nothing here tells the model's draws from the data (p = {self.p_value:.2g} of all tests "
                    f"together, {self.num_pairs} pairs): they may differ in what these tests don't see.")
        largest = [f"{name} ({'more' if z > 0 else 'less'})" for name, z in list(self.differences.items())[:3]]
        return (f"The model's draws are told from the data (p = {self.p_value:.2g} of all tests together). "
                f"They differ most in: {', '.join(largest)}.")

    def to_dict(self) -> dict[str, Any]:
        """The figures by name, as JSON takes them."""
        found: dict[str, Any] = {
            "num_pairs": self.num_pairs, "drawn_by": self.drawn_by, "p_value": self.p_value, "mmd2": self.mmd.mmd2,
            "mmd_p_value": self.mmd.p_value, "mmd_permutations": len(self.mmd.null), "bandwidth": self.mmd.bandwidth,
        }
        for name, test in self.classifiers.items():
            found[name] = {"accuracy": test.accuracy, "error": test.error, "auc": test.auc, "p_value": test.p_value}
        return found | {"verdict": self.verdict, "differences": dict(list(self.differences.items())[:10])}

    def __repr__(self) -> str:
        rows = [("", "", "by chance", "p-value"),
                (f"MMD^2 ({len(self.mmd.null)} permutations)", f"{self.mmd.mmd2:.5f}",
                 f"0 +- {self.mmd.null.std():.5f}", f"{self.mmd.p_value:.2g}")]
        for name, test in self.classifiers.items():
            rows += [(f"{name}: accuracy", f"{test.accuracy:.3f} +- {test.error:.3f}", "0.5", f"{test.p_value:.2g}"),
                     (f"{name}: AUC", f"{test.auc:.3f}", "0.5", "")]
        head = (f"{self.name}: {self.num_pairs} {self.drawn_by.replace('_', '-')} draws against as many of the data, "
                f"in matched pairs; {len(self.feature_names)} features.\n")
        return head + table(rows) + "\n  " + self.verdict


def two_sample(
    model: Any,
    data: Any,
    *,
    num: int = 500,
    features: Mapping[str, Statistic] | None = None,
    draw: Callable[..., Replicates] | Replicates = free_running,
    network: Callable[[int], nn.Module] | None = SmallLSTM,
    permutations: int = 2000,
    frames: int = 256,
    batch_size: int = 20,
    seed: int = 0,
    max_bytes: int = 2**28,
) -> TwoSample:
    """Test whether sequences of the model and held-out sequences have one law.

    For each of N held-out sequences the model makes one of the same length, controls, labels and gaps: matched pairs,
    in which the two may be exchanged if the model is right. Three tests use that:

    - **MMD**: the kernel two-sample test of Gretton et al. (2012, JMLR 13), RBF kernel with the median distance as
      bandwidth, on features of whole sequences, each standardised over both samples. Its p-value is exact.
    - **logistic regression** on the same features, and
    - **network** on the sequences themselves: a classifier learns on half of the pairs and is scored on the other half,
      and the reverse. Source: Lopez-Paz & Oquab (2017), "Revisiting classifier two-sample tests", arXiv:1610.06545.
      We differ: pairs stay together, the binomial null is that of pairs, and both halves are scored.

    A small p-value says that they differ. A large one says that these tests, with so many sequences, don't see it.
    With enough sequences every model is told from the data; look at the accuracy and AUC for how much.

    Arguments:
        model: a :class:`~pyro_rvae.SequenceVAE`, or a pair.
        data: a data set that the model was not trained on, of at least 10 sequences.
        num: sequences of it that are used, at most (drawn at random); at least 10.
        features: by name, functions of a sequence ``(T, x_dim)`` (NumPy, raw units, NaN, or -1 in codes, where missing)
            to a number or a vector. Default: :func:`~pyro_rvae.criticism.statistics.statistics_for`. For the frames as
            they are: ``{"frames": opening(16)}``.
        draw: how sequences are made, :func:`free_running` or ``partial(from_prefix, prefix=16)``; or
            :class:`Replicates` of this data set, of which the first is used.
        network: from the width of a frame to a module ``(x (B, T, width), mask (B, T)) -> logits (B,)``. It sees
            standardised values, categories as indicators, 0 where one is missing and a flag beside it. ``None``
            leaves the test out.
        permutations: of the MMD's null, P: no p-value is below ``1 / (P + 1)``.
        frames: the network sees the first so many of a sequence.
        batch_size, seed, max_bytes: as for :func:`free_running`.

    Raises:
        TypeError: ``data`` is no data set; features without names; ``draw`` makes no replicates.
        ValueError: draws that are no paths (one_step, reconstructed: the frames of one were drawn each for itself, so
            it differs from data even if the model is right); fewer than 10 sequences, replicates of another data
            set, a feature that returns NaN or changes its shape, features that are all constant.

    >>> print(rv.criticism.two_sample(model, data.test))  # doctest: +SKIP
    """
    check_data(model, data, "two_sample")
    for name, value, least in (("num", num, LEAST), ("permutations", permutations, 1), ("frames", frames, 1),
                               ("batch_size", batch_size, 1), ("max_bytes", max_bytes, 1)):
        check_count(name, value, least)
    if len(data) < LEAST:
        raise ValueError(f"two_sample needs at least {LEAST} held-out sequences, got {len(data)}: a test on fewer says "
                         "nothing; cut long sequences into shorter ones, or use predictive_check.")
    if features is not None:
        check_functions(features, "two_sample", "feature")
    _check_paths(draw)
    index = np.sort(np.random.default_rng([seed, 3]).permutation(len(data))[:num])
    chosen = data.subset(index.tolist())
    replicates = drawn(draw, model, chosen, 1, batch_size=batch_size, seed=seed, max_bytes=max_bytes)
    made, drawn_by = replicates.sequences(0), replicates.drawn_by
    if replicates is draw:
        check_replicates(replicates, data)
        made = [made[n] for n in index]
    seen = observed_sequences(chosen)
    made = [with_gaps(m, s, data) for m, s in zip(made, seen, strict=True)]
    observed, generated, names = features_of(data, features, seen, made)
    pairs = standardised(observed, generated)
    tests = {"logistic regression": linear_test(pairs, seed)}
    if network is not None:
        x, mask = padded(data, seen, made, frames)
        tests["network"] = network_test(network, x, mask, seed)
    mmd = matched_mmd(pairs[:, 0], pairs[:, 1], permutations=permutations, seed=seed)
    return TwoSample(mmd, tests, observed, generated, names, index, drawn_by, type(model).__name__)


def _check_paths(draw: Any) -> None:
    """Refuse draws whose frames don't follow from each other, before they are made."""
    check_draw(draw)
    kind = draw.drawn_by if isinstance(draw, Replicates) else getattr(getattr(draw, "func", draw), "__name__", "")
    if kind in ("one_step", "reconstructed"):
        raise ValueError(f"two_sample compares whole sequences and needs draws that are paths, of "
                         f"{' or '.join(PATHS)}, got those of {kind}: each frame of these was drawn for itself, given "
                         "the data, so a perfect model would be told from the data too.")
