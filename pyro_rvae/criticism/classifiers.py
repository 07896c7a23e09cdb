"""Classifier two-sample tests on matched pairs: can a small network tell held-out sequences from generated ones?"""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..core.contexts import seeded
from ..nn.causal import LSTM

__all__ = ["ClassifierTest", "SmallLSTM", "linear_test", "network_test"]

Array = NDArray[Any]
Scorer = Callable[[Array, Array], Array]
"""From the pairs to train on and those to score, to logits ``(n, 2)`` of the latter: held-out, generated."""

CPU = torch.device("cpu")
STEPS, PATIENCE, AT_ONCE, RATE = 300, 6, 32, 0.01  # of the network's training


@dataclass(frozen=True, eq=False)
class ClassifierTest:
    """How well held-out sequences were told from generated ones, each half of the pairs by what the other half taught.

    Attributes:
        scores: ``(N, 2)`` logits of "held-out", of the held-out and the generated sequence of each pair.
        fold: ``(N,)``, 0 or 1: the half that a pair belongs to.
    """

    scores: Array
    fold: NDArray[np.int64]

    @property
    def correct(self) -> Array:
        """``(N,)``: how many of a pair's two were recognised, 0 to 2 (a logit of 0 counts by half)."""
        signs = np.sign(self.scores)
        return 1 + 0.5 * (signs[:, 0] - signs[:, 1])

    @property
    def accuracy(self) -> float:
        """Share recognised; 1/2 by chance."""
        return float(self.correct.mean() / 2)

    @property
    def error(self) -> float:
        """Standard error of the accuracy over pairs, the trained classifiers taken as given."""
        return float(self.correct.std(ddof=1) / (2 * np.sqrt(len(self.correct))))

    @property
    def auc(self) -> float:
        """Area under the ROC curve, within each half (another classifier's logits aren't comparable), averaged."""
        areas = []
        for half in (0, 1):
            held, made = self.scores[self.fold == half].T
            apart = held[:, None] - made
            areas.append((apart > 0).mean() + 0.5 * (apart == 0).mean())
        return float(np.mean(areas))

    @property
    def p_values(self) -> Array:
        r"""``(2,)``: of each half, exact: :math:`P(Bin(m, 1/2) \ge w)` with w pairs recognised of the m lopsided.

        If both of a pair have one law, exchanging them exchanges "both recognised" and "neither"; pairs of which one
        was say nothing (McNemar 1947). It is the binomial null of Lopez-Paz & Oquab (2017), made exact for pairs.
        """
        found = []
        for half in (0, 1):
            lopsided = np.sign(self.correct[self.fold == half] - 1)
            found.append(_at_least(int((lopsided > 0).sum()), int((lopsided != 0).sum())))
        return np.array(found)

    @property
    def p_value(self) -> float:
        """Of both halves: twice the smaller (Bonferroni), since each half's classifier has seen the other half."""
        return float(min(1.0, 2 * self.p_values.min()))


def _at_least(wins: int, tosses: int) -> float:
    """``P(Bin(tosses, 1/2) >= wins)``, exactly."""
    return sum(math.comb(tosses, k) for k in range(wins, tosses + 1)) / 2**tosses


class SmallLSTM(nn.Module):
    """``logit = w . mean_t LSTM(x)_t + b`` over the frames of a sequence (of one frame: a gated hidden layer)."""

    def __init__(self, width: int, hidden: int = 16) -> None:
        super().__init__()
        self.recurrence, self.head = LSTM(width, hidden), nn.Linear(hidden, 1)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """``x (B, T, width)``, ``mask (B, T)`` to logits ``(B,)``."""
        inside = mask.unsqueeze(-1).to(x.dtype)
        mean = (self.recurrence(x) * inside).sum(-2) / inside.sum(-2)
        out: Tensor = self.head(mean).squeeze(-1)
        return out


def linear_test(pairs: Array, seed: int) -> ClassifierTest:
    """Logistic regression on standardised features ``(N, 2, d)``, with a standard normal prior on its weights."""

    def scorer(train: Array, test: Array) -> Array:
        x = pairs[train].reshape(-1, pairs.shape[-1])
        bias, weights = _logistic(x, np.tile([1.0, 0.0], len(train)))
        return np.asarray(pairs[test] @ weights + bias)

    return _crossed(scorer, len(pairs), seed)


def _logistic(x: Array, y: Array) -> tuple[float, Array]:
    """Bias and weights that minimise ``sum softplus(-(2 y - 1) (x w + b)) + |w|^2 / 2``, by Newton's method.

    The penalty doesn't change under rotation, so it is solved in the space that the rows of x span.
    """
    u, scale, basis = np.linalg.svd(x, full_matrices=False)
    z, signs = np.concatenate([np.ones((len(x), 1)), u * scale], 1), 1 - 2 * y
    ridge = np.r_[0.0, np.ones(len(scale))]

    def cost(w: Array) -> float:
        return float(np.logaddexp(0, signs * (z @ w)).sum() + 0.5 * (ridge * w * w).sum())

    w = np.zeros(z.shape[1])
    for _ in range(50):
        p = 0.5 + 0.5 * np.tanh(0.5 * (z @ w))
        slope = z.T @ (p - y) + ridge * w
        if np.abs(slope).max() < 1e-9 * len(x):
            break
        step = np.linalg.solve((z * (p * (1 - p))[:, None]).T @ z + np.diag(ridge + 1e-12), slope)
        while cost(w - step) > cost(w) and np.abs(step).max() > 1e-12:  # too far for a parabola
            step = step / 2
        w = w - step
    return float(w[0]), np.asarray(w[1:] @ basis)


def network_test(build: Callable[[int], nn.Module], x: Tensor, mask: Tensor, seed: int) -> ClassifierTest:
    """A network on sequences ``x (N, 2, T, width)``, ``mask (N, 2, T)``: Adam, stopped early on a fifth of its half.

    Arguments:
        build: from the width to a module ``(x (B, T, width), mask (B, T)) -> logits (B,)``.
    """

    def scorer(train: Array, test: Array) -> Array:
        net = build(x.shape[-1]).to(device=CPU, dtype=x.dtype)
        held = max(1, len(train) // 5)
        _train(net, x, mask, torch.from_numpy(train[held:]), torch.from_numpy(train[:held]))
        with torch.no_grad():
            return _logits(net, x, mask, torch.from_numpy(test)).double().numpy()

    return _crossed(scorer, len(x), seed)


def _train(net: nn.Module, x: Tensor, mask: Tensor, train: Tensor, valid: Tensor) -> None:
    """At most STEPS steps; the weights of the epoch that was best on ``valid`` are kept."""
    optimiser = torch.optim.Adam(net.parameters(), RATE, weight_decay=1e-3)
    best, kept, waited, steps = np.inf, deepcopy(net.state_dict()), 0, 0
    while waited < PATIENCE and steps < STEPS:
        net.train()
        for rows in train[torch.randperm(len(train), device=CPU)].split(AT_ONCE):
            optimiser.zero_grad()
            _cost(_logits(net, x, mask, rows)).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            steps += 1
        net.eval()
        with torch.no_grad():
            cost = float(_cost(_logits(net, x, mask, valid)))
        waited += 1
        if cost < best:
            best, kept, waited = cost, deepcopy(net.state_dict()), 0
    net.load_state_dict(kept)


def _logits(net: nn.Module, x: Tensor, mask: Tensor, rows: Tensor) -> Tensor:
    """Logits ``(n, 2)`` of the pairs of those rows."""
    out: Tensor = net(x[rows].flatten(0, 1), mask[rows].flatten(0, 1))
    if out.shape != (2 * len(rows),):
        raise ValueError(f"the classifier must return one logit a sequence, ({2 * len(rows)},), got "
                         f"{tuple(out.shape)} for x {tuple(x[rows].flatten(0, 1).shape)}.")
    return out.unflatten(0, (-1, 2))


def _cost(logits: Tensor) -> Tensor:
    """Mean cross-entropy of logits ``(n, 2)``, the first of which should be large and the second small."""
    signs = torch.tensor([-1.0, 1.0], dtype=logits.dtype, device=CPU)
    return nn.functional.softplus(logits * signs).mean()


def _crossed(scorer: Scorer, num: int, seed: int) -> ClassifierTest:
    """Each half of the pairs, scored by a classifier that was trained on the other half."""
    order = np.random.default_rng([seed, 2]).permutation(num)
    halves = (order[: num // 2], order[num // 2:])
    scores, fold = np.empty((num, 2)), np.empty(num, dtype=np.int64)
    for half, test in enumerate(halves):
        with seeded(seed + half), torch.enable_grad():
            scores[test], fold[test] = scorer(halves[1 - half], test), half
    return ClassifierTest(scores, fold)
