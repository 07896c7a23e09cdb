"""pyro_rvae: recurrent variational autoencoders as Pyro model/guide pairs.

A model is its equations: two loop bodies, ``generative`` and ``inference``. See ``help(pyro_rvae.SequenceVAE)``.

    import pyro_rvae as rv
    data = rv.data.bach_chorales()
    model = rv.VRNN.for_data(data.train, z_dim=32)
    rv.fit(model, data.train, valid=data.valid)
    print(rv.evaluate(model, data.test))
"""

from . import core, criticism, data, distributions, infer, models, nn, priors, tasks, testing
from .core import Anneal, SequenceVAE, Steps, annealed, explicit, given, given_noise, shift, trusted
from .criticism import evaluate
from .distributions import (
    AutoregressiveBernoulli,
    Bernoulli,
    Categorical,
    Combiner,
    Conditional,
    Family,
    GaussianChain,
    Normal,
    Poisson,
    StudentT,
)
from .infer import History, Loss, fit
from .models import DMM, RVAE, STORN, VAE, VRAE, VRNN, GatedNormal
from .nn import (
    GRU,
    LSTM,
    MLP,
    RNN,
    Backward,
    Bidirectional,
    Causal,
    CodeReader,
    Encoder,
    Forward,
    GatedTransition,
    Pointwise,
    Reader,
    linear_scan,
)
from .priors import StandardNormal
from .tasks import generate

__version__ = "0.1.0"

__all__ = [
    "DMM", "GRU", "LSTM", "MLP", "RNN", "RVAE", "STORN", "VAE", "VRAE", "VRNN", "Anneal",
    "AutoregressiveBernoulli", "Backward", "Bernoulli", "Bidirectional", "Categorical", "Causal", "CodeReader",
    "Combiner", "Conditional", "Encoder", "Family", "Forward", "GatedNormal", "GatedTransition", "GaussianChain",
    "History", "Loss", "Normal", "Pointwise", "Poisson", "Reader", "SequenceVAE", "StandardNormal", "Steps",
    "StudentT", "annealed", "core", "criticism", "data", "distributions", "evaluate", "explicit", "fit", "generate",
    "given", "given_noise", "infer", "linear_scan", "models", "nn", "priors", "shift", "tasks", "testing",
    "trusted",
]
