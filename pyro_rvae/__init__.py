"""pyro_rvae: recurrent variational autoencoders as Pyro model/guide pairs."""

from . import core, data, distributions, infer, models, nn, priors
from .core import Anneal, SequenceVAE, Steps, annealed, explicit, given, given_noise, shift, trusted
from .distributions import *  # noqa: F403
from .infer import *  # noqa: F403
from .models import *  # noqa: F403
from .nn import *  # noqa: F403
from .priors import StandardNormal
