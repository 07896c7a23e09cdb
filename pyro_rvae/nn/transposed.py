"""A decoder that is its encoder, transposed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

__all__ = ["Transposed"]


class Transposed(nn.Module):
    r"""Linear layers with their nonlinearities run backwards, with the same weights and own biases.

    Of :math:`h_i = s(W_i h_{i-1} + b_i)`, i = 1..L (the last without s), it is, from :math:`g_L = z`,

    .. math::
        g_{i-1} = s(W_i^\top g_i + c_i), \quad i = L, \dots, 2, \qquad \mathrm{output} = W_1^\top g_1 + c_1

    There is one storage: the layers are not registered here, so ``parameters()`` and ``state_dict`` hold each weight
    once, with the encoder, and a copy of both stays tied. Source: Hinton & Salakhutdinov (2006), "Reducing the
    dimensionality of data with neural networks", Science 313, figure 1 (tied at the start); Vincent et al. (2010),
    "Stacked denoising autoencoders", JMLR 11, section 2.2 (tied weights).

    Arguments:
        layers: linear layers and nonlinearities in the encoder's order; its dropout is passed over.
        dim: how many of the last layer's outputs (the first ones) are the code; default: all.
        dropout: probability after each nonlinearity.
    """

    def __init__(self, layers: Sequence[nn.Module], *, dim: int | None = None, dropout: float = 0.0) -> None:
        super().__init__()
        self._layers = tuple(part for part in layers if not isinstance(part, nn.Dropout))[::-1]  # a tuple: not ours
        linears = [part for part in self._layers if isinstance(part, nn.Linear)]
        self.in_dim = dim if dim is not None else linears[0].out_features
        self.out_dim = linears[-1].in_features
        self.biases = nn.ParameterList(torch.zeros(part.in_features) for part in linears[:-1])
        self.output_bias = nn.Parameter(torch.zeros(self.out_dim))
        self.dropout = nn.Dropout(dropout)

    def forward(self, h: Tensor) -> Tensor:
        biases = iter((*self.biases, self.output_bias))
        for part in self._layers:
            if isinstance(part, nn.Linear):
                h = linear(h, part.weight[: h.shape[-1]].mT, next(biases))
            else:
                h = self.dropout(part(h))
        return h

    def extra_repr(self) -> str:
        widths = [part.out_features for part in self._layers if isinstance(part, nn.Linear)]
        return f"{' -> '.join(map(str, [*widths, self.out_dim]))}, with the encoder's weights"
