"""The models of the family, named as the papers name them."""

from .arae import ARAE, VariationalAttention
from .constructors import AE, BRAE, RAE, ConvVAE, StepRAE, TextVAE
from .dmm import DMM, GatedNormal
from .dsae import DSAE
from .hrae import HRAE, MusicVAE
from .kvae import KVAE, Smoothed
from .recurrent import DeterministicRNN
from .rvae import RVAE
from .srnn import SRNN
from .storn import STORN
from .supervised import Supervised
from .switching import NeuralHMM, SwitchingLDS
from .vae import VAE
from .vrae import VRAE
from .vrnn import VRNN
from .zforcing import ZForcing

__all__ = [
    "AE", "ARAE", "BRAE", "ConvVAE", "DMM", "DSAE", "HRAE", "KVAE", "RAE", "RVAE", "SRNN", "STORN", "VAE", "VRAE",
    "VRNN", "DeterministicRNN", "GatedNormal", "MusicVAE", "NeuralHMM", "Smoothed", "StepRAE", "Supervised",
    "SwitchingLDS", "TextVAE", "VariationalAttention", "ZForcing",
]
