"""Messages along a chain of discrete states, in log space."""

from __future__ import annotations

from torch import Tensor

from .causal import Causal
from .encoders import reverse

__all__ = ["BackwardMessages"]


class BackwardMessages(Causal):
    r"""The backward pass of a hidden Markov model, as a causal map of the reversed sequence.

    .. math::
        q_t(k \mid j) = u_t(j, k)\, \beta_t(k) / \beta_{t-1}(j), \qquad
        \beta_{t-1}(j) = \sum_k u_t(j, k)\, \beta_t(k), \qquad \beta_T = 1

    where :math:`u_t(j, k) = p(s_t = k \mid s_{t-1} = j)\, p(y_t \mid s_t = k)`. Fed with :math:`\log u` from the last
    step to the first, it gives :math:`\log q`: the posterior law of each state given the one before and all of y.
    Everything is in logarithms, and :math:`\log\beta` is kept only up to a constant, so that neither long sequences
    nor float32 lose digits. Source: Rabiner (1989), "A tutorial on hidden Markov models and selected applications in
    speech recognition", equations 24-25 (his beta is ours at the same step). We differ: logarithms, where he scales.

    Arguments:
        modes: number of states K. ``u_t`` and the output are K x K tables, laid out as vectors.
    """

    def __init__(self, modes: int) -> None:
        super().__init__()
        self.modes = self.state_dim = modes
        self.in_dim = self.out_dim = modes * modes

    def step(self, u: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        joint = u.unflatten(-1, (self.modes, self.modes))  # (..., j, k)
        if state is not None:
            joint = joint + state.unsqueeze(-2)
        total = joint.logsumexp(-1, keepdim=True)
        beta = total.squeeze(-1)
        return (joint - total).flatten(-2), beta - beta.amax(-1, keepdim=True)

    def smooth(self, log_u: Tensor, mask: Tensor | None = None) -> Tensor:
        """``log q (..., T, K, K)`` of ``log u (..., T, K, K)``: each sequence is read from its own last valid step."""
        log_q = reverse(self(reverse(log_u.flatten(-2), mask)), mask)
        return log_q.unflatten(-1, (self.modes, self.modes))

    def extra_repr(self) -> str:
        return f"modes={self.modes}"
