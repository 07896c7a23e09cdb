"""Training."""

from .loss import Loss

__all__ = ["Loss"]
