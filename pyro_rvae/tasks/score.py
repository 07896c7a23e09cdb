"""How surprising are sequences to a model? Negative log predictive densities, by step and by sequence."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.checks import check_count, check_seed
from ..core.contexts import evaluating, forked
from ..criticism.chunks import check_amortised, lengths_of, like_of
from ..criticism.forecasts import one_step
from ..criticism.replicates import Replicates, observed_sequences, reconstructed
from ..models import Supervised
from .anomalies import Scores
from .inputs import as_data
from .surprise import Surprise, check_method

__all__ = ["score"]

Array = NDArray[np.float64]
NAMES = {"one_step": "forecast", "reconstructed": "reconstruction"}
EXPECTED = ("auto", "forecast", "reconstruction")


def score(
    model: Any,
    data: Any,
    num_particles: int = 100,
    *,
    method: str | None = None,
    expected: str | None = "auto",
    num_expected: int = 20,
    labels: Any = None,
    controls: Any = None,
    seed: int = 0,
    batch_size: int = 20,
    max_bytes: int = 2**28,
) -> Scores:
    r"""Anomaly scores: the less a model expected what it sees, the higher, in nats.

    .. math:: s_{nt} = -\log p(x_{nt} \mid x_{n,<t}), \qquad s_n = -\log p(x_n) = \sum_t s_{nt}

    The latents are summed out by K importance-weighted draws. How, is ``method``:

    ==================  ==============================================================================================
    ``"filter"``        a particle filter that the guide proposes for (:func:`~pyro_rvae.particle_filter`): its
                        increments, one pass over the data. Consistent as K grows for any guide. But one that has seen
                        the future (a smoother) leaks it at finite K: part of a surprise is charged to the steps before
                        it
    ``"bootstrap"``     a particle filter that the model's own prior proposes for, without the guide: nothing leaks at
                        any K, one pass. Where a frame says much more than the past did (many features) scores are
                        noisy, and too high by nats
    ``"prefix"``        differences of importance-weighted bounds on :math:`\log p(x_{\le t})`, the guide being run on
                        each beginning as if the sequence ended there, with the same noise: nothing leaks. T runs:
                        :math:`T^2/2` steps
    ``"whole"``         the importance-weighted bound of whole sequences alone: one run, no scores by step
    ``"reconstruction"``  :math:`-E_{q(z \mid x)} \log p(x_{nt} \mid z, x_{n,<t})`: one run. What the model can't give
                        back although its guide has seen it; no predictive density
    ==================  ==============================================================================================

    By default no score by step depends on later frames: the filter, where every latent is drawn in the loop that
    samples x by a guide that looks back only (which is tried, on short sequences that the model draws); ``"prefix"``
    for a guide that looks ahead (DMM, SRNN, RVAE, ...), and where a latent is drawn once a sequence or on a slower
    clock (VRAE, DSAE, HRAE, ...), since a filter's first steps would pay for it; ``"whole"`` for static models, whose
    rows are frames of one step; ``"reconstruction"`` where the guide draws a point (an autoencoder), which has no
    other. A model without latents is scored exactly, whatever the method. (A decoder that looks at later latents, such
    as RVAE's bidirectional one, is another law for each length: there ``"prefix"`` compares laws of different lengths,
    and only the sum over the sequence is the model's own.)

    What to choose for a guide that looks ahead: of two DMMs (3 and 20 features, 20 steps, K = 100) the standard
    deviation of a step's score over seeds was 0.14 and 1.1 nats by ``"prefix"``, 0.16 and 0.16 by ``"filter"``, 0.15
    and 2.1 by ``"bootstrap"``; ahead of a surprise of 21 and 400 nats the filter's steps changed by up to 0.65 and 0.23
    nats (root mean square), those of the others not at all. Prefixes took six times as long as the filter, more for
    longer sequences. So ``"filter"`` for many features or thousands of steps, where a little of the future in a score
    does no harm; a threshold is of the method that made it.

    An estimate of a density by K draws is unbiased, so of its logarithm it is too low: scores are too high, by
    about half the relative variance of the weights; ``num_particles`` tells. A step depends on all before it: after an
    anomaly the model may need a few to find its way again, and these score high as well.

    A missing element is summed out; a frame that is wholly missing says nothing, and has no score (NaN). Densities are
    those of the data as the model reads them, standardised say, as in :func:`~pyro_rvae.evaluate` and
    :attr:`Streamed.log_density`: so a feature that is missing takes the same from a sum whatever its unit. Labels of a
    :class:`~pyro_rvae.Supervised` model are not scored. What is drawn once a data set comes from its posterior.

    Beside the score stands the sequence that the model expected, mean and standard deviation of draws in raw units (of
    codes the commonest and how common it was among the draws): ``"forecast"``, each frame from those before it
    (:func:`~pyro_rvae.criticism.one_step`, :math:`T^2/2` steps for each draw; guide and model together, unweighted);
    or ``"reconstruction"``, from all of it (one run).
    ``"auto"``: the forecast, where scores are by step and predictive.

    Arguments:
        model: a :class:`~pyro_rvae.SequenceVAE` with an amortised guide.
        data: a data set, in the model's units or raw ones; or raw arrays, a list of ``(T_i, x_dim)``, or
            ``(N, T, x_dim)``.
        num_particles: K.
        method: one of the above.
        expected: ``"auto"``, ``"forecast"``, ``"reconstruction"``, or None for none.
        num_expected: draws for it, at least 2.
        labels, controls: that go with raw arrays.
        seed: of the draws; where latents come from Gaussian noise nothing depends on ``batch_size``, padding or device
            (except which forecasts are drawn).
        batch_size: most sequences at once. max_bytes: memory that the activations of one chunk should take, roughly.

    Raises:
        TypeError: ``model`` is no model, ``data`` neither a data set nor arrays, ``seed`` no integer.
        ValueError: data that don't suit the model; an unknown or unsuited method; a guide that knows only its training
            data (AutoGuides); a size below 1.

    Source: one-step predictive surprise by filters: e.g. Sölch et al. (2016), "Variational inference for on-line
    anomaly detection in high-dimensional time series", arXiv:1602.07109 (there the ELBO's steps, here importance-
    weighted ones); An & Cho (2015) for the reconstruction probability.

    >>> found = rv.tasks.score(model, data.test)                                      # doctest: +SKIP
    >>> limit = rv.tasks.score(model, data.valid).threshold(0.99, by="peak")          # doctest: +SKIP
    >>> found.anomalies(limit)                                                        # doctest: +SKIP
    """
    data = as_data(model, data, "score", labels=labels, controls=controls)
    check_amortised(model, "score")
    for name, value in {"num_particles": num_particles, "batch_size": batch_size, "max_bytes": max_bytes}.items():
        check_count(name, value)
    check_count("num_expected", num_expected, 2)
    seed = check_seed("score", seed)
    if expected not in (*EXPECTED, None):
        raise ValueError(f"score: expected must be one of {', '.join(EXPECTED)}, or None; got {expected!r}.")
    data = _unlabelled(model, data)
    with evaluating(model), forked(like_of(model).device):
        asked = Surprise.of(model, data, num_particles, seed, batch_size, max_bytes)
        check_method(asked, method)
        used, (steps, whole) = asked.scores(method)
    made = _drawn(model, data, used, expected, num_expected, batch_size=batch_size, seed=seed, max_bytes=max_bytes)
    mean, spread = (None, None) if made is None else _summary(made, data)
    observed = _observed(data)
    steps, whole = _of_observed(steps, whole, observed)
    return Scores(
        by_step=steps, by_sequence=whole, lengths=lengths_of(data), method=used,
        num_particles=0 if used == "exact" else num_particles, observed=observed, expected=mean, spread=spread,
        expected_by=None if made is None else NAMES[made.drawn_by], names=data.names, ids=data.ids, times=_times(data),
        name=type(model).__name__, kind=data.kind, unit="item" if model.static else "frame",
    )


def _unlabelled(model: Any, data: Any) -> Any:
    """The data, of a supervised model without labels: these are no part of what is scored."""
    if not isinstance(model, Supervised):
        return data
    data = copy.copy(data)
    data.labels = model.unknown(len(data)).cpu()
    return data


def _of_observed(steps: Array | None, whole: Array, observed: Array) -> tuple[Array | None, Array]:
    """Scores by step, NaN where nothing was observed, and by sequence, 0 where nothing was."""
    seen = ~np.isnan(observed)
    if steps is not None:
        steps = np.where(seen.any(-1), steps, np.nan)
        whole = np.nansum(steps, axis=1)
    return steps, np.where(seen.any((1, 2)), whole, 0.0)


# ------------------------------------------------------------------------------------------------ what was expected
def _drawn(model: Any, data: Any, method: str, expected: str | None, num: int, **how: Any) -> Replicates | None:
    """The draws beside the score."""
    auto = expected == "auto"
    if expected == "forecast" or auto and method in ("filter", "prefix", "exact") and not model.static:
        try:
            return one_step(model, data, num, **how)
        except ValueError:  # a latent of which no beginning can be told from the rest
            if not auto:
                raise
    return None if expected is None else reconstructed(model, data, num, **how)


def _summary(made: Replicates, data: Any) -> tuple[Array, Array]:
    """Mean and standard deviation of the draws ``(N, T, D)``; of codes the commonest, and its share."""
    if data.kind == "categories":
        shares = np.stack([(made.values == c).mean(0) for c in range(data.classes)])
        return _padded(shares.argmax(0).astype(float), data), _padded(shares.max(0), data)
    values = made.values.astype(np.float64)
    return _padded(values.mean(0), data), _padded(values.std(0, ddof=1), data)


def _observed(data: Any) -> Array:
    """``(N, T, D)`` in raw units, NaN where missing and in the padding."""
    rows = np.concatenate(observed_sequences(data)).astype(np.float64)
    return _padded(np.where(rows < 0, np.nan, rows) if data.kind == "categories" else rows, data)


def _padded(rows: Array, data: Any) -> Array:
    """Frames ``(F, D)``, one sequence after the other, as ``(N, T, D)``."""
    lengths = lengths_of(data)
    out = np.full((len(lengths), lengths.max(), rows.shape[-1]), np.nan)
    out[np.arange(lengths.max()) < lengths[:, None]] = rows
    return out


def _times(data: Any) -> Array | None:
    times = getattr(data, "times", None)
    return None if times is None else _padded(times.numpy().astype(np.float64)[:, None], data)[..., 0]
