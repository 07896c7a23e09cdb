"""rv.Loss as a torch module: with optimisers, under Fabric, over processes."""

from __future__ import annotations

import copy
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyro
import pytest
import torch
from lightning_fabric import Fabric
from pyro.infer import ELBO, RenyiELBO, Trace_ELBO, TraceMeanField_ELBO
from zoo import MASK, PAPERS, B, T

import pyro_rvae as rv


@pytest.mark.parametrize("name", PAPERS)
def test_is_the_elbo_per_frame(name: str) -> None:
    case = PAPERS[name]
    model, mask = case.make(), None if case.static else MASK
    torch.manual_seed(0)
    loss = rv.Loss(model)(case.x(), mask)
    torch.manual_seed(0)
    expected = Trace_ELBO().loss(model.model, model.guide, case.x(), mask)
    frames = B if case.static else int(MASK.sum())
    torch.testing.assert_close(loss.detach(), torch.tensor(expected / frames), rtol=1e-12, atol=0.0)


def test_counts_frames_without_a_mask() -> None:
    assert rv.infer.loss.count_frames(torch.zeros(B, T, 3), None).item() == B * T
    assert rv.infer.loss.count_frames(torch.zeros(B, 7), None, static=True).item() == B


def test_trains_with_a_torch_optimizer_and_leaves_the_store_alone() -> None:
    case = PAPERS["VRNN"]
    loss = rv.Loss(case.make())
    assert [*loss.parameters()] == [*loss.model.parameters()]
    optimizer, before = torch.optim.Adam(loss.parameters(), lr=1e-2), copy.deepcopy(loss.state_dict())
    loss(case.x(), MASK).backward()
    optimizer.step()
    assert all(not torch.equal(before[name], value) for name, value in loss.state_dict().items())
    assert not dict(pyro.get_param_store().items())


def test_deepcopy_and_state_dict() -> None:
    case = PAPERS["DMM"]
    loss = rv.Loss(case.make(0))
    twin, other = copy.deepcopy(loss), rv.Loss(case.make(1))
    other.load_state_dict(loss.state_dict())
    values = []
    for module in (loss, twin, other):
        torch.manual_seed(0)
        values.append(module(case.x(), MASK))
    assert values[0] == values[1] == values[2]
    values[1].backward()
    assert all(p.grad is None for p in loss.parameters())


def test_refuses_an_elbo_without_a_differentiable_loss() -> None:
    model = PAPERS["VRNN"].make()
    with pytest.raises(TypeError, match="Loss needs an ELBO with differentiable_loss.*RenyiELBO has none.*SVI"):
        rv.Loss(model, RenyiELBO())


@pytest.mark.parametrize("elbo", [Trace_ELBO(), TraceMeanField_ELBO()], ids=["trace", "mean-field"])
def test_under_fabric_gradients_are_the_same(elbo: ELBO) -> None:
    case = PAPERS["VRNN"]
    plain, wrapped = rv.Loss(case.make(), elbo), rv.Loss(case.make(), elbo)
    fabric = Fabric(accelerator="cpu", devices=1)
    module = fabric.setup_module(wrapped)
    optimizer = fabric.setup_optimizers(torch.optim.SGD(wrapped.parameters(), lr=0.1))
    torch.manual_seed(0)
    plain(case.x(), MASK).backward()
    torch.manual_seed(0)
    fabric.backward(module(case.x(), MASK))
    for a, b in zip(plain.parameters(), wrapped.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=0.0, atol=0.0)
    optimizer.step()


# ------------------------------------------------------------------------------------------- over two processes
@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What two processes of ``two_processes.py``, started as torchrun starts them, have found."""
    out = tmp_path_factory.mktemp("ddp")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    here = Path(__file__).parent
    paths = [str(Path(rv.__file__).parents[1]), str(here.parent), os.environ.get("PYTHONPATH", "")]
    shared = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2",
              "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": "test", "OMP_NUM_THREADS": "1",
              "PYTHONPATH": os.pathsep.join(paths)}
    running = [subprocess.Popen([sys.executable, here / "two_processes.py", out], text=True, stderr=subprocess.PIPE,
                                env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}) for rank in range(2)]
    errors = [process.communicate(timeout=240)[1] for process in running]
    assert [process.returncode for process in running] == [0, 0], "\n".join(errors)
    return {path.stem: json.loads(path.read_text()) for path in out.glob("*.json")}


@pytest.mark.parametrize("name", ["VRNN", "DMM", "VAE"])
def test_two_processes_have_the_gradients_of_one(processes: dict[str, Any], name: str) -> None:
    """The joined batch is ragged, and the shares of the processes hold unlike numbers of frames."""
    for rank in range(2):
        found = processes[f"gradients_{name}_{rank}"]
        assert found["error"] < 1e-10 and found["count"] > 5
        assert found["wrong"] > 1e-4 or name == "VAE"  # a division by the own frames would be off


def test_fit_over_two_processes_is_fit(processes: dict[str, Any]) -> None:
    first, second = processes["fit_0"], processes["fit_1"]
    assert first["weights"] == second["weights"]
    assert first["history"] == second["history"]
    assert first["steps"] == second["steps"] == 6
    assert first["resumed"] == second["resumed"] == first["weights"]
    assert first["finite"] and first["learned"]


def test_accumulation_over_two_processes(processes: dict[str, Any]) -> None:
    """With a gradient that runs the guide twice; four batches by threes are two steps, the second of one batch."""
    first, second = processes["accumulated_0"], processes["accumulated_1"]
    assert first["weights"] == second["weights"] and first["steps"] == second["steps"] == 2
    assert first["finite"]
