"""Networks: causal maps, mask-aware encoders, feed-forward parts."""

from .attention import AdditiveAttention, Attention, Lookup, SelfAttention
from .causal import GRU, LSTM, RNN, Causal, linear_scan
from .context import Context
from .convolution import ConvEncoder, ConvTransposed
from .encoders import Backward, Bidirectional, Encoder, Forward, Pointwise, last, reverse
from .kalman import MixtureKalman, RauchTungStriebel
from .late import Delay, Late
from .messages import BackwardMessages
from .networks import MLP, CodeReader, FrameDropout, GatedTransition, Reader, WordDropout, build, concat, is_recipe
from .scan import affine_scan
from .transposed import Transposed

__all__ = [
    "GRU", "LSTM", "MLP", "RNN", "AdditiveAttention", "Attention", "Backward", "BackwardMessages", "Bidirectional",
    "Causal", "CodeReader", "Context", "ConvEncoder", "ConvTransposed", "Delay", "Encoder", "Forward",
    "FrameDropout", "GatedTransition", "Late", "Lookup", "MixtureKalman", "Pointwise", "RauchTungStriebel",
    "Reader", "SelfAttention", "Transposed", "WordDropout", "affine_scan", "build", "concat", "is_recipe", "last",
    "linear_scan", "reverse",
]
