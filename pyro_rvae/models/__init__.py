"""The models of the family, named as the papers name them."""

from .dmm import DMM, GatedNormal
from .rvae import RVAE
from .storn import STORN
from .vae import VAE
from .vrae import VRAE
from .vrnn import VRNN

__all__ = ["DMM", "RVAE", "STORN", "VAE", "VRAE", "VRNN", "GatedNormal"]
