"""What a conditional model knows beside x."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor, nn

__all__ = ["Context"]


class Context(nn.Module):
    """Controls at each step and labels once a sequence, as one sequence ``c_t = [u_t, e(label)]``.

    A model with ``context=rv.Context(...)`` is conditional: every density of it is given ``c``. Its prior and
    likelihood read ``c_t`` (directly, or through a recurrence that does), and its guide reads all of it.
    Source: Sohn, Lee & Yan (2015), "Learning Structured Output Representation using Deep Conditional Generative
    Models" (NeurIPS); Kingma, Rezende, Mohamed & Welling (2014), arXiv:1406.5298, for labels.

    Arguments:
        control_dim: width of a step's controls; 0: the model reads none.
        classes: labels are integer codes 0..classes-1, ``(B,)``, embedded; -1 (unknown) has a vector of its own.
        label_dim: labels are real vectors ``(B, label_dim)``, or ``(B,)`` where it is 1, read as they are.
        dim: width of a class's embedding.

    >>> Context(control_dim=2, classes=10).out_dim
    18
    """

    def __init__(self, *, control_dim: int = 0, classes: int | None = None, label_dim: int = 0, dim: int = 16) -> None:
        super().__init__()
        if control_dim < 0 or label_dim < 0 or dim < 1 or (classes is not None and classes < 2):
            raise ValueError(f"Context: control_dim and label_dim must be 0 or more, dim 1 or more and classes 2 or "
                             f"more, got {control_dim}, {label_dim}, {dim}, {classes}.")
        if classes is not None and label_dim:
            raise ValueError("Context: labels are codes (classes=...) or real vectors (label_dim=...), not both.")
        if not control_dim and classes is None and not label_dim:
            raise ValueError("Context: nothing to read; give control_dim, classes or label_dim.")
        self.control_dim, self.classes, self.label_dim, self.dim = control_dim, classes, label_dim, dim
        self.embedding = nn.Embedding(classes + 1, dim) if classes is not None else None
        self.out_dim = control_dim + (dim if classes is not None else label_dim)

    @property
    def reads_labels(self) -> bool:
        """Whether labels are part of what the model is given."""
        return self.embedding is not None or self.label_dim > 0

    @classmethod
    def for_data(cls, data: Any, *, labels: bool = True, dim: int = 16) -> Self:
        """What a data set offers: its controls, and its labels (integer: codes; floating point: vectors).

        Arguments:
            data: a data set with ``controls`` and ``labels``.
            labels: whether to read its labels too.
            dim: width of a class's embedding.
        """
        control_dim = 0 if getattr(data, "controls", None) is None else data.controls.shape[-1]
        known = data.labels if labels else None
        if labels and known is None:
            raise ValueError("Context.for_data: the data set has no labels; give it labels, or pass labels=False.")
        if known is None:
            return cls(control_dim=control_dim)
        if known.is_floating_point():
            return cls(control_dim=control_dim, label_dim=known[0].numel())
        return cls(control_dim=control_dim, classes=int(known.max()) + 1, dim=dim)

    def forward(self, controls: Tensor | None, labels: Tensor | None, length: int | None) -> Tensor:
        """``(B, T, out_dim)``; ``(B, out_dim)`` where ``length`` is ``None`` (static data)."""
        parts: list[Tensor] = []
        if self.control_dim:
            if controls is None or controls.shape[-1] != self.control_dim:
                raise ValueError(f"the model reads controls (B, T, {self.control_dim}), got "
                                 f"{'none' if controls is None else tuple(controls.shape)}; pass controls=....")
            parts.append(controls)
        if self.classes is not None or self.label_dim:
            known = self._labels(labels)
            parts.append(known if length is None else known.unsqueeze(-2).expand(-1, length, -1))
        return parts[0] if len(parts) == 1 else torch.cat(parts, -1)

    def _labels(self, labels: Tensor | None) -> Tensor:
        wanted = "integer codes (B,)" if self.embedding is not None else f"(B, {self.label_dim}) of floating point"
        if labels is None:
            raise ValueError(f"the model reads labels, {wanted}, and none were given; pass labels=....")
        codes = not labels.is_floating_point()
        if self.embedding is not None:
            if not codes or labels.dim() != 1:
                raise ValueError(f"the model reads labels as {wanted}, got {tuple(labels.shape)} of {labels.dtype}.")
            return self.embedding(labels.long() + 1)  # type: ignore[no-any-return]
        flat = labels.unsqueeze(-1) if labels.dim() == 1 else labels
        if codes or flat.shape[1:] != (self.label_dim,):
            raise ValueError(f"the model reads labels as {wanted}, got {tuple(labels.shape)} of {labels.dtype}.")
        return flat

    def extra_repr(self) -> str:
        return f"control_dim={self.control_dim}, out_dim={self.out_dim}"
