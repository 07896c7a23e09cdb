"""pyro_rvae: recurrent variational autoencoders as Pyro model/guide pairs.

A model is its equations: two loop bodies, ``generative`` and ``inference``. See ``help(pyro_rvae.SequenceVAE)``.

    import pyro_rvae as rv
    data = rv.data.bach_chorales()
    model = rv.VRNN.for_data(data.train, z_dim=32)
    rv.fit(model, data.train, valid=data.valid)
    print(rv.evaluate(model, data.test))
"""

from . import core, criticism, data, distributions, infer, models, nn, plots, priors, tasks, testing
from .core import Anneal, SequenceVAE, Steps, annealed, explicit, given, given_noise, shift, trusted
from .criticism import evaluate, latent_use, predictive_check, to_arviz
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
from .infer import Callback, Checkpoint, History, Loss, TrainingDiverged, fit
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
from .tasks import from_pretrained, generate, save_pretrained

__version__ = "0.1.0"

__all__ = [
    "DMM", "GRU", "LSTM", "MLP", "RNN", "RVAE", "STORN", "VAE", "VRAE", "VRNN", "Anneal",
    "AutoregressiveBernoulli", "Backward", "Bernoulli", "Bidirectional", "Callback", "Categorical", "Causal",
    "Checkpoint", "CodeReader", "Combiner", "Conditional", "Encoder", "Family", "Forward", "GatedNormal",
    "GatedTransition", "GaussianChain", "History", "Loss", "Normal", "Pointwise", "Poisson", "Reader",
    "SequenceVAE", "StandardNormal", "Steps", "StudentT", "TrainingDiverged", "annealed", "core", "criticism",
    "data", "distributions", "evaluate", "explicit", "fit", "from_pretrained", "generate", "given", "given_noise",
    "infer", "latent_use", "linear_scan", "models", "nn", "plots", "predictive_check", "priors",
    "save_pretrained", "shift", "tasks", "testing", "to_arviz", "trusted",
]
