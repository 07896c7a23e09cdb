"""A sequence model as a scikit-learn transformer."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from torch import nn

from ..core import SequenceVAE
from ..core.contexts import seeded
from ..criticism import Pair, evaluate
from ..data import Affine
from ..infer import fit
from .arrays import are_frames
from .embed import column_names, embed
from .inputs import as_data
from .vectors import as_sequences, built, frames_of, from_latents, latent_widths, made_of

try:
    from sklearn.base import BaseEstimator, TransformerMixin
    from sklearn.utils import check_array, check_random_state
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError as error:
    raise ImportError('rv.tasks.Embedder needs scikit-learn, 1.6 or newer: pip install "pyro-rvae[sklearn]". '
                      "rv.tasks.embed gives the same vectors without it.") from error

__all__ = ["Embedder"]

Array = NDArray[np.float64]


class Embedder(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    r"""Sequences to vectors: ``fit`` trains a model without labels, ``transform`` gives :math:`E_{q(z \mid x)}[z]`.

    So a classifier of sequences is ``make_pipeline(Embedder(), StandardScaler(), LogisticRegression())``, and
    regression, clustering and a search over ``z_dim`` are as short. X is

    - sequences: a list of arrays ``(T_i, x_dim)`` or ``(T_i,)`` or of DataFrames (whose columns are known by their
      names), an array ``(N, T, x_dim)``, or a data set of this library;
    - rows ``(N, D)`` (an array, a list of lists, a DataFrame): D features of an item, for a static model; for a model
      of sequences a series of D steps of one feature each.

    Arrays ``(T_i,)`` in a list are series to a model of sequences, whatever their lengths. To the default (no model
    given, nothing fitted) they are rows if all have one length. Once fitted, a model reads X as it was fitted.

    NaN is a missing element. ``score(X)`` is the mean over sequences of the importance-weighted bound on
    :math:`\log p(x)` in nats, in the units of X: higher is better, as scikit-learn wants it, where
    :func:`~pyro_rvae.evaluate` prints costs a frame. (Of an autoencoder it is :math:`\log p(x \mid z)` at the code.)

    Of scikit-learn's ``check_estimator`` (1.9.1, on rows, the only X it knows) 45 checks of 46 pass and one is skipped
    (array API), none being declared as expected to fail, in double precision. In single precision, torch's default,
    ``check_methods_subset_invariance`` may fail: a row in another batch differs by rounding, by 1e-7 or so.

    Arguments:
        model: a class such as ``rv.DMM`` or ``rv.RAE``, which ``fit`` builds for the data; or a trained model, which
            ``fit`` leaves as it is (:meth:`from_model`). Default: ``rv.VRAE`` for sequences, ``rv.VAE`` for rows.
        z_dim: width of the latent.
        parts: other arguments of the model, a mapping (``{"h_dim": 64}``).
        kind: of X, ``"real"``, ``"binary"``, ``"counts"`` or ``"categories"`` (codes); a data set knows its own.
        classes: of categories.
        standardize: whether real features are brought to mean 0 and deviation 1 of the training data.
        epochs, batch_size, lr, kl_weight, device: as for :func:`~pyro_rvae.fit`; ``kl_weight`` may be a number.
        pool: of a latent by step, as for :func:`~pyro_rvae.tasks.embed`.
        num_particles: draws of the guide, for means and for the bound.
        random_state: an integer, a ``RandomState``, or None: of the weights' start, the batches and the noise of
            training. ``transform``, ``inverse_transform`` and ``score`` are functions of the model and X.

    Attributes, after ``fit``: ``model_`` (a :class:`~pyro_rvae.SequenceVAE`), ``history_`` (of a model that was
    trained), ``n_features_in_`` (of a row, or of a frame), ``feature_names_in_`` of a DataFrame.

    Raises: ValueError or TypeError for X or parameters that do not fit; ``NotFittedError`` before ``fit``.

    >>> make_pipeline(Embedder(z_dim=8), LogisticRegression()).fit(sequences, labels)  # doctest: +SKIP
    """

    def __init__(self, model: Any = None, *, z_dim: int = 16, parts: Mapping[str, Any] | None = None,
                 kind: str = "real", classes: int | None = None, standardize: bool = True, epochs: int = 100,
                 batch_size: int = 20, lr: float = 1e-3, kl_weight: Any = None, device: str = "auto",
                 pool: str = "mean", num_particles: int = 10, random_state: Any = 0) -> None:
        self.model = model
        self.z_dim = z_dim
        self.parts = parts
        self.kind = kind
        self.classes = classes
        self.standardize = standardize
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.kl_weight = kl_weight
        self.device = device
        self.pool = pool
        self.num_particles = num_particles
        self.random_state = random_state

    @classmethod
    def from_model(cls, model: SequenceVAE | Pair, **settings: Any) -> Self:
        """The transformer of a trained model: it needs no ``fit``, and ``fit`` (of a pipeline, say) does not train.

        :param settings: ``pool``, ``num_particles``, ``batch_size``.
        :raises TypeError: if it is no model.
        """
        if not _is_trained(model):
            raise TypeError(f"Embedder.from_model takes a trained model, got {model!r}: give a class as "
                            "Embedder(rv.VRAE)")
        return cls(model, **settings)

    # ------------------------------------------------------------------------------------------ scikit-learn
    def fit(self, X: Any, y: Any = None) -> Self:
        """Trains the model on X; ``y`` is not read."""
        given = self._given(X, reset=True)
        if _is_trained(self.model):
            as_data(self.model, given, "Embedder.fit")
            self.model_ = self.model
            return self
        data = made_of(given, self.kind, self.classes)
        if self.standardize and data.kind == "real" and data.transform is None:
            data = data.transformed(Affine.standardize(data.values))
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        with seeded(seed):
            model = built(self.model, data, self.z_dim, self.parts)
        weight = self.kl_weight
        weight = partial(_always, float(weight)) if isinstance(weight, int | float) else weight
        self.history_ = fit(model, data, epochs=self.epochs, batch_size=self.batch_size, lr=self.lr, kl_weight=weight,
                            seed=seed, device=self.device, progress=False)
        self.model_ = model
        return self

    def transform(self, X: Any) -> Array:
        """Posterior means ``(N, d)``."""
        model = self._fitted()
        vectors: Array = embed(model, self._given(X), pool=self.pool, num_particles=self.num_particles,  # type: ignore[arg-type]
                               batch_size=self.batch_size).values
        return vectors

    def inverse_transform(self, Z: Any, lengths: Any = None) -> Any:
        """What the model expects of given latents: x decoded, all that is drawn at its mean.

        Arguments:
            Z: ``(N, d)``, as :meth:`transform` gives it, of a model whose latents are all drawn once a sequence.
            lengths: frames of each sequence, ``(N,)`` or one number. Default: the median of the training sequences.

        Returns ``(N, D)`` of rows, ``(N, T, x_dim)`` of sequences of one length, else a list of ``(T_i, x_dim)``; in
        the units of X.

        Raises:
            ValueError: a latent by step, which pooling has lost; another width; lengths of rows; a likelihood without
                a mean.
        """
        model = self._fitted()
        widths = latent_widths(model)
        stepped = [name for name, (_, every) in widths.items() if every]
        if stepped:
            raise ValueError(f"inverse_transform: {type(model).__name__} draws {' and '.join(stepped)} by step, and "
                             "a pooled path can't be undone: use a model of one latent a sequence, such as rv.VRAE, or "
                             "rv.tasks.reconstruct.")
        Z = check_array(Z, dtype=np.float64, input_name="Z")
        total = sum(width for width, _ in widths.values())
        if Z.shape[1] != total:
            raise ValueError(f"inverse_transform: Z must have {total} columns, as transform gives them, got "
                             f"{Z.shape[1]}.")
        frames = None if model.static else frames_of(model, lengths, len(Z))
        if frames is None and lengths is not None:
            raise ValueError("inverse_transform: lengths are frames of sequences; a static model has none.")
        parts = [from_latents(model, widths, Z[i : i + self.batch_size],
                          None if frames is None else int(frames.max())) for i in range(0, len(Z), self.batch_size)]
        x = np.concatenate(parts)
        if frames is None or (frames == frames[0]).all():
            return x[..., 0] if frames is not None and getattr(self, "_rows", False) else x
        return [row[:n] for row, n in zip(x, frames.tolist(), strict=True)]

    def score(self, X: Any, y: Any = None) -> float:
        """Mean over sequences of the bound on ``log p(x)``, in nats and the units of X; higher is better."""
        model = self._fitted()
        data = as_data(model, self._given(X), "Embedder.score")
        found = evaluate(model, data, num_particles=self.num_particles, batch_size=self.batch_size)
        bounds = -found.reconstructions if found.point else found.sequence_bounds()
        if data.transform is None:
            return float(bounds.mean())
        scale = data.transform.scale.double().log()  # log p(x) = log p(y) - log scale, of each observed element
        return float(bounds.mean() - ((~data.values.isnan()).double() * scale).sum() / len(data))

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Names of the columns of ``transform``: the site of the latent, its dimension, and how it was pooled."""
        widths = latent_widths(self._fitted())
        return np.array(column_names(widths, "sequence", self.pool), dtype=object)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_") or _is_trained(self.model)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.three_d_array = True
        return tags

    # ------------------------------------------------------------------------------------------ what X is
    def _fitted(self) -> Any:
        check_is_fitted(self)
        return self.model_ if hasattr(self, "model_") else self.model

    def _given(self, X: Any, reset: bool = False) -> Any:
        """A data set, an array of rows, or a list of sequences ``(T_i, x_dim)``."""
        if X is None or isinstance(X, list | tuple) and not len(X):
            raise ValueError(f"Embedder: X must hold at least one sequence or row, got {X!r}")
        sequential = self._sequential(reset)
        if hasattr(X, "padded"):
            found, features, rows = X, X.x_dim, False
        elif isinstance(X, list | tuple) and are_frames(X):
            found, features, rows = list(X), X[0].shape[-1], False
        elif (sequences := as_sequences(X, sequential)) is not None:
            found, features, rows = sequences, sequences[0].shape[-1], False
        elif sequential and not reset and not getattr(self, "_rows", True):
            return self._series(X)
        else:
            rows, found = True, validate_data(self, X, reset=reset, dtype=np.float64, ensure_all_finite="allow-nan")
            features = found.shape[1]
            if sequential:
                found = list(found[..., None])
        if reset:
            self.n_features_in_, self._rows = features, rows
        return found

    def _series(self, X: Any) -> list[Array]:
        """Rows, to a model that was fitted on sequences: series of one feature, if that is what they were."""
        if self.n_features_in_ != 1:
            raise ValueError(f"Embedder was fitted on sequences of {self.n_features_in_} features, and X are rows "
                             f"without time: pass a list of arrays (T_i, {self.n_features_in_})")
        return list(check_array(X, dtype=np.float64, ensure_all_finite="allow-nan")[..., None])

    def _sequential(self, reset: bool) -> bool:
        """Whether X are sequences to the model; nothing is known of the default before it is fitted."""
        model = self.model if reset or self.model is not None else self._fitted()
        return model is not None and not getattr(model, "static", False)



def _is_trained(model: Any) -> bool:
    """A model itself (or a user's own pair), not its class."""
    return isinstance(model, nn.Module) and hasattr(model, "guide")


def _always(weight: float, step: int) -> float:
    return weight
