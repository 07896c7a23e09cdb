"""Recurrent variational autoencoders as probabilistic programs."""

from . import core, data, distributions, infer, models, nn, priors
from .core import *  # noqa: F403
from .infer.loss import Loss  # noqa: F401
from .distributions import *  # noqa: F403
from .models import *  # noqa: F403
from .nn import *  # noqa: F403
