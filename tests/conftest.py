"""Every test starts from the same state: float64, a seed, an empty parameter store, Pyro's validation on."""

from __future__ import annotations

from collections.abc import Iterator

import pyro
import pytest
import torch
from pyro.distributions import is_validation_enabled

IGNORED = [
    "error",
    # pyro.ops.jit and pyro.nn.module still use torch.jit, which torch 2.9 and later deprecate on Python 3.14
    "ignore:`torch.jit.*` is deprecated:DeprecationWarning",
    "ignore:`torch.jit.*` is not supported:DeprecationWarning",
]


def pytest_configure(config: pytest.Config) -> None:
    torch.set_default_dtype(torch.float64)  # module-scoped fixtures run before `clean`
    stated = config.getini("filterwarnings")
    for line in IGNORED:
        if line not in stated:
            config.addinivalue_line("filterwarnings", line)


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
