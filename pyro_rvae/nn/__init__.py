"""Networks: causal maps, mask-aware encoders, feed-forward parts."""

from .causal import GRU, LSTM, RNN, Causal, linear_scan
from .encoders import Backward, Bidirectional, Encoder, Forward, Pointwise, last, reverse
from .networks import MLP, CodeReader, GatedTransition, Reader, build, concat, is_recipe

__all__ = [
    "GRU", "LSTM", "MLP", "RNN", "Backward", "Bidirectional", "Causal", "CodeReader", "Encoder", "Forward",
    "GatedTransition", "Pointwise", "Reader", "build", "concat", "is_recipe", "last", "linear_scan", "reverse",
]
