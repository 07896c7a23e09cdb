"""pyro_rvae: recurrent variational autoencoders as Pyro model/guide pairs.

A model is its equations: two loop bodies, ``generative`` and ``inference``. See ``help(pyro_rvae.SequenceVAE)``.

    import pyro_rvae as rv
    data = rv.data.bach_chorales()
    model = rv.VRNN.for_data(data.train, z_dim=32)
    rv.fit(model, data.train, valid=data.valid)
    print(rv.evaluate(model, data.test))
"""

from . import core, criticism, data, distributions, infer, models, nn, plots, priors, tasks, testing
from .core import (
    Anneal,
    SequenceVAE,
    Steps,
    annealed,
    explicit,
    given,
    given_noise,
    shift,
    trusted,
    weighted_auxiliaries,
)
from .criticism import CollapseMonitor, Pair, collapse_report, evaluate, predictive_check, to_arviz
from .distributions import (
    NADE,
    AutoregressiveBernoulli,
    Bernoulli,
    Beta,
    Categorical,
    Combiner,
    Conditional,
    ContinuousBernoulli,
    ConvDecoder,
    Delta,
    DenseGaussian,
    DiscretizedLogistics,
    Family,
    FullGaussianChain,
    FullNormal,
    GaussianChain,
    InverseAutoregressive,
    Laplace,
    LowRankNormal,
    MeanField,
    NegativeBinomial,
    Normal,
    OneHot,
    PathLaw,
    PenStrokes,
    Poisson,
    PreviousNADE,
    RegimePosterior,
    ResidualNormal,
    StudentT,
    SwitchingNormal,
    ZeroInflated,
)
from .infer import Callback, Checkpoint, Contractive, History, Loss, TrainingDiverged, fit
from .models import (
    AE,
    ARAE,
    BRAE,
    DMM,
    DSAE,
    HRAE,
    KVAE,
    RAE,
    RVAE,
    SRNN,
    STORN,
    VAE,
    VRAE,
    VRNN,
    ConvVAE,
    DeterministicRNN,
    GatedNormal,
    MusicVAE,
    NeuralHMM,
    StepRAE,
    Supervised,
    SwitchingLDS,
    TextVAE,
    VariationalAttention,
    ZForcing,
)
from .nn import (
    GRU,
    LSTM,
    MLP,
    RNN,
    AdditiveAttention,
    Attention,
    Backward,
    BackwardMessages,
    Bidirectional,
    Causal,
    CodeReader,
    Context,
    ConvEncoder,
    Encoder,
    Forward,
    GatedTransition,
    MixtureKalman,
    Pointwise,
    RauchTungStriebel,
    Reader,
    SelfAttention,
    WordDropout,
    affine_scan,
    linear_scan,
)
from .priors import (
    AR1,
    BayesianLinear,
    FlowPrior,
    GammaNoise,
    GaussianProcess,
    LinearGaussian,
    MixtureOfGaussians,
    StandardNormal,
    VampPrior,
    Weightless,
)
from .tasks import from_pretrained, generate, save_pretrained

__version__ = "0.1.0"

__all__ = [
    "AE", "AR1", "ARAE", "BRAE", "DMM", "DSAE", "GRU", "HRAE", "KVAE", "LSTM", "MLP", "NADE", "RAE", "RNN", "RVAE",
    "SRNN", "STORN", "VAE", "VRAE", "VRNN", "AdditiveAttention", "Anneal", "Attention", "AutoregressiveBernoulli",
    "Backward", "BackwardMessages", "BayesianLinear", "Bernoulli", "Beta", "Bidirectional", "Callback", "Categorical",
    "Causal", "Checkpoint", "CodeReader", "CollapseMonitor", "Combiner", "Conditional", "Context",
    "ContinuousBernoulli", "Contractive", "ConvDecoder", "ConvEncoder", "ConvVAE", "Delta", "DenseGaussian",
    "DeterministicRNN", "DiscretizedLogistics", "Encoder", "Family", "FlowPrior", "Forward", "FullGaussianChain",
    "FullNormal", "GammaNoise", "GatedNormal", "GatedTransition", "GaussianChain", "GaussianProcess", "History",
    "InverseAutoregressive", "Laplace", "LinearGaussian", "Loss", "LowRankNormal", "MeanField", "MixtureKalman",
    "MixtureOfGaussians", "MusicVAE", "NegativeBinomial", "NeuralHMM", "Normal", "OneHot", "Pair", "PathLaw",
    "PenStrokes", "Pointwise", "Poisson", "PreviousNADE", "RauchTungStriebel", "Reader", "RegimePosterior",
    "ResidualNormal", "SelfAttention", "SequenceVAE", "StandardNormal", "StepRAE", "Steps", "StudentT", "Supervised",
    "SwitchingLDS", "SwitchingNormal", "TextVAE", "TrainingDiverged", "VampPrior", "VariationalAttention", "Weightless",
    "WordDropout", "ZForcing", "ZeroInflated", "affine_scan", "annealed", "collapse_report", "core", "criticism",
    "data", "distributions", "evaluate", "explicit", "fit", "from_pretrained", "generate", "given", "given_noise",
    "infer", "linear_scan", "models", "nn", "plots", "predictive_check", "priors", "save_pretrained", "shift", "tasks",
    "testing", "to_arviz", "trusted", "weighted_auxiliaries",
]
