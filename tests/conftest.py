"""Every test starts from the same state: float64, one thread, a seed, an empty parameter store, validation on."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pyro
import pytest
import torch
from pyro.distributions import is_validation_enabled


def pytest_configure() -> None:
    torch.set_default_dtype(torch.float64)  # module-scoped fixtures run before `clean`
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores Ctrl-C: tests send it


def pytest_unconfigure() -> None:
    torch.set_default_dtype(torch.float32)


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    """The state above, and the user's own put back afterwards."""
    dtype, threads, validation = torch.get_default_dtype(), torch.get_num_threads(), is_validation_enabled()
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    pyro.enable_validation(True)
    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    yield
    pyro.clear_param_store()
    pyro.enable_validation(validation)
    torch.set_num_threads(threads)
    torch.set_default_dtype(dtype)
