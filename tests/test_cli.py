"""The command line: the files of a run, what it prints, and what it says of bad input."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import pyro_rvae as rv
from pyro_rvae.cli import main
from pyro_rvae.tasks import from_pretrained, read_midi

PNG = b"\x89PNG\r\n\x1a\n"
TINY = ["--epochs", "2", "--batch_size", "4", "--num_particles", "3", "--num", "2", "--length", "5",
        "--replicates", "4", "--model.z_dim", "2", "--model.h_dim", "6"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test in a folder of its own, as a user's process starts: float32, and its path of modules put back."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    torch.set_default_dtype(torch.float32)


def write(path: str, values: np.ndarray, **more: Any) -> str:
    np.savez(path, values=values, lengths=np.full(len(values) // 8, 8), **more)
    return path


@pytest.fixture
def music() -> str:
    """20 sequences of 8 frames on 88 keys."""
    return write("music.npz", np.random.default_rng(0).random((160, 88)) < 0.06)


@pytest.fixture
def real() -> str:
    """12 sequences of 8 frames of 3 real numbers, far from mean 0 and deviation 1."""
    return write("real.npz", 50 + 5 * np.random.default_rng(0).standard_normal((96, 3)))


Failure = Callable[..., str]


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Failure:
    """Run a command that must end with an exit code and one message on stderr; the message."""

    def run(*words: str, code: int = 2) -> str:
        capsys.readouterr()
        assert main(words) == code
        out, err = capsys.readouterr()
        assert not out and "Traceback" not in err
        assert err.count("\n") == 1, err
        return err

    return run


# ------------------------------------------------------------------------------------------------ a run
def test_a_run_on_music(music: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--data", music, "--out", "run", *TINY]) == 0
    out = capsys.readouterr().out
    run = Path("run")
    for name in ("model.safetensors", "config.yaml", "history.csv", "metrics.json", "samples.mid", "samples.png",
                 "training.png", "posterior_predictive.png", "posterior_predictive.nc"):
        assert (run / name).stat().st_size > 100, name
        assert name in out
    for name in ("samples.png", "training.png", "posterior_predictive.png"):
        assert (run / name).read_bytes().startswith(PNG)
    assert [*rv.History.from_csv(run / "history.csv")["epoch"]] == [1, 2]
    assert read_midi(run / "samples.mid").shape == (5 + 4 + 5, 88), "two samples and a rest"
    check_metrics(json.loads((run / "metrics.json").read_text()), out)


def check_metrics(metrics: dict[str, Any], out: str) -> None:
    assert metrics["elbo"] == pytest.approx(metrics["reconstruction"] + metrics["kl"])
    assert metrics["iwae_3"] <= metrics["elbo"]
    assert metrics["below_floors"]["markov"] == pytest.approx(metrics["floors"]["markov"] - metrics["elbo"])
    assert set(metrics["floors"]) == {"independent", "markov"}
    assert metrics["bits_per_dim"]["elbo"] == pytest.approx(metrics["elbo"] / (88 * np.log(2)))
    low, high = metrics["intervals_95"]["iwae_3"]
    assert f"{low:.3f} to {high:.3f}" in out and low < metrics["iwae_3"] < high
    assert set(metrics["mean_over_sequences"]) == set(metrics["bits_per_dim"]) == {"elbo", "iwae_3"}
    for row in ("ELBO (3 particles)", "reconstruction (3 particles)", "KL (3 particles)", "IWAE-3"):
        assert out.count(f"  {row} ") == 1, "with their number of particles, in one table"
    assert re.search(r"\n +nats/frame +95% interval( +by sequence)? +bits/dim\n", out)
    assert set(metrics["latents_used"]) == {"below_markov", "kl", "shuffling_cost"}
    assert metrics["training"]["epochs"] == 2 and metrics["training"]["valid_elbo"] > 0
    for figure in (metrics["elbo"], metrics["iwae_3"], metrics["kl"], *metrics["floors"].values(),
                   abs(metrics["latents_used"]["shuffling_cost"]["found"])):
        assert f"{figure:.3f}" in out, "what metrics.json says is printed"


def test_the_same_run_again(music: str) -> None:
    """config.yaml makes the same run, number by number; the saved model is the one that was judged."""
    assert main(["train", "--data", music, "--out", "a", "--model", "RVAE", "--seed", "3", *TINY]) == 0
    assert main(["train", "--config", "a/config.yaml", "--out", "b"]) == 0
    one, two = (from_pretrained(run) for run in ("a", "b"))
    assert isinstance(one, rv.RVAE)
    assert all(torch.equal(x, y) for x, y in zip(one.state_dict().values(), two.state_dict().values(), strict=True))
    configs = [yaml.safe_load(Path(run, "config.yaml").read_text()) for run in ("a", "b")]
    assert configs[0] == configs[1]
    assert configs[0]["model"]["init_args"]["z_dim"] == 2
    metrics = [json.loads(Path(run, "metrics.json").read_text()) for run in ("a", "b")]
    assert metrics[0]["elbo"] == metrics[1]["elbo"]
    assert main(["evaluate", "a", "--num_particles", "3", "--seed", "3", "--out", "again.json"]) == 0
    assert json.loads(Path("again.json").read_text())["elbo"] == pytest.approx(metrics[0]["elbo"], abs=1e-5)


def test_a_run_on_real_numbers(real: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--data", real, "--out", "run", "--model", "VRNN", *TINY]) == 0
    assert not Path("run/samples.mid").exists()
    with np.load("run/samples.npz") as file:
        assert file["values"].shape == (10, 3)
        assert file["lengths"].tolist() == [5, 5]
        assert 30 < file["values"].mean() < 70, "in the units of the data"
    for name in ("samples.png", "training.png", "posterior_predictive.png"):
        assert Path("run", name).read_bytes().startswith(PNG)
    assert isinstance(from_pretrained("run").likelihood.family, rv.Normal)
    assert main(["sample", "run", "--out", "new.npz", "--num", "3", "--length", "4"]) == 0
    assert rv.data.load("new.npz").train.kind == "real"
    assert main(["evaluate", "run", "--data", real, "--split", "valid", "--num_particles", "2"]) == 0
    assert "transformed data" in capsys.readouterr().out


def test_static_data() -> None:
    np.savez("static.npz", values=np.random.default_rng(0).random((30, 6)) < 0.5)
    tiny = TINY[:TINY.index("--length")] + TINY[TINY.index("--length") + 2:]
    assert main(["train", "--data", "static.npz", "--out", "run", "--model", "VAE", *tiny]) == 0
    assert main(["sample", "run", "--num", "3"]) == 0
    with np.load("run/samples-0.npz") as file:
        assert file["values"].shape == (3, 6)


def test_settings_in_yaml(music: str) -> None:
    Path("run.yaml").write_text(f"data: {music}\nmodel:\n  class_path: DMM\n  init_args:\n    z_dim: 3\n    h_dim: 5\n"
                                "    posterior: {partial: GaussianChain, init_args: {hidden: [4]}}\nepochs: 1\n")
    assert main(["train", "--config", "run.yaml", "--out", "run", "--model.z_dim", "2", "--num_particles", "2",
                 "--num", "1", "--replicates", "2", "--quiet"]) == 0
    model: Any = from_pretrained("run")
    assert (model.z_dim, model.h_dim) == (2, 5)
    assert [m.out_features for m in model.posterior.net if isinstance(m, torch.nn.Linear)] == [4, 6]


def test_quiet(music: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--data", music, "--out", "run", "--quiet", *TINY]) == 0
    assert capfd.readouterr() == ("", "")


def test_samples(music: str, capsys: pytest.CaptureFixture[str], refused: Failure) -> None:
    assert main(["train", "--data", music, "--out", "run", "--quiet", *TINY]) == 0
    assert main(["sample", "run"]) == 0
    assert "8 samples of 5 frames, one after the other: run/samples-0.mid" in capsys.readouterr().out
    os.rename(music, "moved.npz")  # samples need no data
    assert main(["sample", "run", "--num", "1", "--length", "9", "--out", "a.mid", "--seed", "1"]) == 0
    assert read_midi("a.mid").shape == (9, 88)
    message = refused("sample", "run", "--out", "a.wav")
    assert "must end in .mid, .midi, .npz, .csv or .png, or be a new folder (no ending), got 'a.wav'" in message
    assert "the folder nowhere must exist" in refused("sample", "run", "--out", "nowhere/a.mid")
    Path("dir.mid").mkdir()
    assert "--out dir.mid is a folder" in refused("sample", "run", "--out", "dir.mid")
    assert "nothing can be written to /proc/a.mid" in refused("sample", "run", "--out", "/proc/a.mid")
    assert main(["sample", "run", "--num", "2", "--out", "two"]) == 0
    assert sorted(os.listdir("two")) == ["1.mid", "2.mid"]
    assert "--out two exists" in refused("sample", "run", "--out", "two")
    assert main(["sample", "run", "--num", "2", "--out", "two.png"]) == 0
    assert Path("two.png").read_bytes().startswith(PNG)
    assert "not enough memory" in refused("sample", "run", "--num", str(10**12))
    assert "--num must be at least 1, got 0" in refused("sample", "run", "--num", "0")


def test_as_a_user_calls_it(music: str) -> None:
    """In a process of its own, with the bar on stderr."""
    command = [sys.executable, "-m", "pyro_rvae.cli"]
    done = subprocess.run([*command, "train", "--data", music, "--out", "run", *TINY], capture_output=True, text=True,
                          env=environment(), check=False)
    assert done.returncode == 0, done.stderr
    assert "metrics.json" in done.stdout
    assert "epoch" in done.stderr
    failed = subprocess.run([*command, "train", "--epoch", "3"], capture_output=True, text=True, env=environment(),
                            check=False)
    assert failed.returncode == 2
    assert "there is no option --epoch (did you mean --epochs?)" in failed.stderr
    assert "Traceback" not in failed.stderr


def environment() -> dict[str, str]:
    root = Path(rv.__file__).parents[1]
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])}


def test_interrupt_and_resume(music: str) -> None:
    """Ctrl-C ends with 130, and what was reached is there; resumed, the run goes on from it."""
    with Path("err").open("w") as err:
        process = subprocess.Popen([sys.executable, "-m", "pyro_rvae.cli", "train", "--data", music, "--out", "run",
                                    *TINY, "--epochs", "100000"], env=environment(), stderr=err)
    while "elbo" not in Path("err").read_text() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130, Path("err").read_text()
    assert "go on with: pyro-rvae train --resume run" in Path("err").read_text()
    assert from_pretrained("run") is not None
    done = len(rv.History.from_csv("run/history.csv"))
    config = Path("run/config.yaml").read_text()
    Path("run/config.yaml").write_text(config.replace("100000", str(done + 2)))
    assert main(["train", "--resume", "run", "--quiet"]) == 0
    assert len(rv.History.from_csv("run/history.csv")) == done + 2
    assert Path("run/metrics.json").exists()


# ------------------------------------------------------------------------------------------------ the user's own
OWN = '''
import pyro.distributions as dist
import torch
import pyro_rvae as rv


class MyPrior(torch.nn.Module):
    """z ~ N(0, scale^2), whatever the inputs."""

    def __init__(self, in_dim, dim):
        super().__init__()
        self.raw = torch.nn.Parameter(torch.zeros(dim))

    def forward(self, *inputs):
        return dist.Normal(torch.zeros_like(self.raw), self.raw.exp()).to_event(1)


class MyModel(rv.RVAE):
    """z_t ~ p(z);  x_t ~ p(x_t | h_t)."""


class Bare(rv.SequenceVAE):
    """z_t ~ N(0, I);  x_t ~ p(x_t | z_t).  Its constructor takes no likelihood."""

    def __init__(self, x_dim):
        super().__init__()
        self.p, self.net = rv.StandardNormal(0, 2), torch.nn.Linear(2, x_dim)
        self.q = rv.Conditional(torch.nn.Linear(x_dim, 4), rv.Normal(2))

    def generative(self, steps):
        for t in steps:
            z = t.sample("z", self.p)
            t.sample("x", lambda z: dist.Bernoulli(logits=self.net(z)).to_event(1), z)

    def inference(self, steps, x):
        for t in steps:
            t.sample("z", self.q, t.at(x))


class NoWidth(rv.SequenceVAE):
    """x_t ~ p(x_t)."""

    def __init__(self):
        super().__init__()


class Asks(rv.SequenceVAE):
    """x_t ~ p(x_t)."""

    def __init__(self, x_dim, *, depth, likelihood=None):
        super().__init__()


class Mistaken(rv.SequenceVAE):
    """x_t ~ p(x_t)."""

    def __init__(self, x_dim, *, likelihood=None):
        super().__init__()
        self.width = x_dim + "1"


class Broken(rv.RVAE):
    """A model with a mistake in its body."""

    def generative(self, steps):
        raise ValueError("a mistake of the user's own")
'''


@pytest.fixture
def mypkg(request: pytest.FixtureRequest) -> str:
    """A package in the folder that the command is called from; a new name for each test."""
    name = f"mypkg_{abs(hash(request.node.name)) % 10**6}"
    Path(f"{name}.py").write_text(OWN)
    return name


def test_own_model_and_prior(mypkg: str, music: str, refused: Failure) -> None:
    assert main(["train", "--data", music, "--out", "run", "--model", f"{mypkg}.MyModel", "--model.prior",
                 f"{mypkg}.MyPrior", "--quiet", *TINY]) == 0
    for command in ("evaluate", "sample"):
        message = refused(command, "run")
        assert f"names {mypkg}.MyModel, which is outside" in message
        assert f"--trust {mypkg}" in message
    assert main(["sample", "run", "--trust", mypkg]) == 0
    assert main(["evaluate", "run", "--trust", f"other,{mypkg}", "--num_particles", "2"]) == 0
    assert f"--trust {mypkg}" in refused("train", "--resume", "run", "--quiet")
    assert main(["train", "--resume", "run", "--quiet", "--trust", mypkg]) == 0


def test_a_mistake_in_own_code_keeps_its_traceback(mypkg: str, music: str) -> None:
    with pytest.raises(ValueError, match="a mistake of the user's own"):
        main(["train", "--data", music, "--out", "run", "--model", f"{mypkg}.Broken", "--quiet", *TINY])


# ------------------------------------------------------------------------------------------------ bad input
@pytest.mark.parametrize(("words", "what"), [
    (["trian"], "there is no command 'trian'"),
    (["train", "--modle", "DMM"], "there is no option --modle (did you mean --model?)"),
    (["train", "--bogus", "3"], "there is no option --bogus; `pyro-rvae train --help` tells them all"),
    (["train", "--epochs", "many"], "--epochs must be a whole number, got many"),
    (["train", "--lr", "abc"], "--lr must be a number, got abc"),
    (["train", "--patience", "never"], "--patience must be a whole number, got never"),
    (["sample", "run", "--length", "foo"], "--length must be a whole number or 'training', got foo"),
    (["sample", "run", "--num"], "--num needs a value"),
    (["train", "--schedule", "linear"], "--schedule must be one of 'cosine', 'constant', got linear"),
    (["train", "--model", "DNN"], "pyro_rvae has no 'DNN'"),
    (["train", "--model", "LSTM"], "must name a subclass of pyro_rvae.SequenceVAE, and LSTM is none"),
    (["train", "--model", "no_such_package.Model"], "there is no module 'no_such_package'"),
    (["train", "--model.zdim", "3"], "DMM has no argument 'zdim' (did you mean z_dim?)"),
    (["train", "--model.z_dim", "wide"], "--model.z_dim must be int, got 'wide'"),
    (["train", "--model.posterior", "Nope"], "--model.posterior: pyro_rvae has no 'Nope'"),
    (["train", "--model.z_dim"], "--model.z_dim needs a value"),
    (["train", "--model.x_dim", "3"], "--model.x_dim 3, but the data have x_dim=88"),
    (["train", "--data", "bach"], "--data must be a set by name (bach_chorales"),
    (["train", "--data", "none.npz"], "there is no file none.npz"),
    (["train", "--lr", "-1"], "--lr must be above 0, got -1.0"),
    (["train", "--epochs", "0"], "--epochs must be at least 1, got 0"),
    (["train", "--num_particles", "0"], "--num_particles must be at least 1, got 0"),
    (["train", "--config", "none.yaml"], "File does not exist"),
    (["train", "--resume", "nowhere"], "nowhere must be a folder with config.yaml"),
    (["train", "--resume", "run", "--lr", "0.1"], "leave --lr out"),
    (["evaluate"], "evaluate needs RUN, a run directory"),
    (["report"], "report needs RUN, a run directory"),
    (["evaluate", "nowhere"], "nowhere must be a folder with config.yaml"),
    (["sample", "nowhere", "--lenght", "3"], "there is no option --lenght (did you mean --length?)"),
])
def test_what_cannot_be_done_as_asked(words: list[str], what: str, refused: Failure) -> None:
    assert what in refused(*words)
    assert not Path("runs").exists(), "nothing is left behind"


@pytest.mark.parametrize(("words", "what"), [
    (["--model", "VAE"], "music.npz holds sequences, and the model is of rows without time"),
    (["--device", "cuda:7"], "torch finds no GPU"),
])
def test_a_run_that_cannot_begin_leaves_nothing(words: list[str], what: str, music: str, refused: Failure) -> None:
    if "--device" in words and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert what in refused("train", "--data", music, "--out", "run", *words, *TINY)
    assert not Path("run").exists()


def test_a_file_without_lengths(music: str, refused: Failure) -> None:
    np.savez("flat.npz", values=np.random.default_rng(0).random((160, 88)) < 0.06)
    message = "flat.npz: the file has no `lengths`, so its rows are static data, and the model is of sequences: add"
    assert message in refused("train", "--data", "flat.npz", "--out", "run", *TINY)
    assert not Path("run").exists()
    assert main(["train", "--data", music, "--out", "run", "--quiet", *TINY]) == 0
    assert message in refused("evaluate", "run", "--data", "flat.npz")


@pytest.mark.parametrize(("model", "what"), [
    ("NoWidth", "cannot be built with [] for these data: NoWidth.__init__() takes 1 positional argument but "),
    ("Asks", "cannot be built with [] for these data: Asks.__init__() missing 1 required keyword-only argument: '"),
])
def test_a_constructor_that_takes_other_arguments(model: str, what: str, mypkg: str, music: str,
                                                  refused: Failure) -> None:
    message = refused("train", "--data", music, "--out", "run", "--model", f"{mypkg}.{model}")
    assert what in message and "it is called with x_dim first, and the rest by name" in message
    assert not Path("run").exists()


def test_an_own_constructor_without_a_likelihood(mypkg: str, music: str) -> None:
    assert main(["train", "--data", music, "--out", "run", "--model", f"{mypkg}.Bare", "--quiet", *TINY[:-4]]) == 0
    assert main(["sample", "run", "--trust", mypkg]) == 0


def test_a_mistake_in_an_own_constructor_keeps_its_traceback(mypkg: str, music: str) -> None:
    with pytest.raises(TypeError, match="unsupported operand"):
        main(["train", "--data", music, "--out", "run", "--model", f"{mypkg}.Mistaken"])


def test_parts_of_another_kind(music: str, refused: Failure) -> None:
    for words, what in ((["--model", "VRNN", "--model.recurrence", "torch.nn.LSTM"], "torch.nn; pass pyro_rvae.LSTM"),
                        (["--model.encoder", "LSTM"], "encoder: expected an Encoder"),
                        (["--model.likelihood", "Categorical"], "the likelihood Categorical is a law of categories"),
                        (["--model.h_dim", "0"], "DMM: h_dim must be an integer of at least 1, got 0"),
                        (["--model", "VRNN", "--model.posterior", "GaussianChain"], "use a Family, or a DMM")):
        assert what in refused("train", "--data", music, "--out", "run", *words)


def test_one_test_sequence_has_nobody_to_swap_with(capsys: pytest.CaptureFixture[str]) -> None:
    values = np.random.default_rng(0).random((80, 4)) < 0.5
    write("few.npz", values)  # 10 sequences: one for the test
    assert main(["train", "--data", "few.npz", "--out", "run", "--model", "RVAE", *TINY]) == 0
    out = capsys.readouterr().out
    assert "-  not measurable with one sequence" in out and "hardly used" not in out
    assert re.search(r"Markov floor +\d+\.\d{3}  the ELBO is \d+\.\d{3} (below|above) it", out)


def test_labels_and_controls_of_test_sequences_go_into_samples(refused: Failure) -> None:
    generator = np.random.default_rng(0)
    lengths = np.tile([8, 8, 8, 4], 5)
    np.savez("known.npz", values=generator.random((140, 4)) < 0.5, lengths=lengths, labels=np.arange(20),
             controls=generator.random((140, 2)), split=np.where(np.arange(20) < 12, "train", np.where(
                 np.arange(20) < 16, "valid", "test")))
    assert main(["train", "--data", "known.npz", "--out", "run", "--model", "RVAE", "--quiet", *TINY]) == 0
    with np.load("run/samples.npz") as file:
        assert file["lengths"].tolist() == [5, 5], "as --length says"
    assert main(["sample", "run", "--num", "6", "--length", "7", "--out", "s.npz", "--quiet"]) == 0
    with np.load("s.npz") as file:
        assert file["lengths"].tolist() == [7, 7, 7, 4, 7, 7], "no longer than the controls are known"
    assert "known for at most 8 frames" in refused("sample", "run", "--length", "9")


def test_a_head_on_a_base(capsys: pytest.CaptureFixture[str]) -> None:
    write("labels.npz", np.random.default_rng(0).standard_normal((160, 2)), labels=np.arange(20) % 2)
    tiny = TINY[:TINY.index("--model.z_dim")]
    assert main(["train", "--data", "labels.npz", "--out", "run", "--model", "Supervised", "--quiet", *tiny]) == 0
    assert main(["sample", "run", "--num", "2", "--out", "s.npz", "--quiet"]) == 0
    np.savez("labels.npz", values=1 + 2 * np.random.default_rng(1).standard_normal((200, 2)), lengths=np.full(25, 8))
    assert main(["evaluate", "run"]) == 2
    assert "labels.npz is not what this run was trained on: it has changed since" in capsys.readouterr().err


def test_images_from_the_shell() -> None:
    from PIL import Image

    Path("png").mkdir()
    for n in range(10):
        Image.fromarray((255 * (np.random.default_rng(n).random((8, 12)) < 0.5)).astype(np.uint8)).save(f"png/{n}.png")
    tiny = TINY[:TINY.index("--length")] + TINY[TINY.index("--length") + 2:TINY.index("--model.z_dim")]
    for model in ("VAE", "ConvVAE"):
        assert main(["train", "--data", "png", "--out", model, "--model", model, "--quiet", *tiny]) == 0
        assert main(["reconstruct", model, "png", "--out", f"again-{model}", "--quiet"]) == 0
        assert sorted(os.listdir(f"again-{model}"))[0] == "0.png"


def test_labels_that_no_model_reads_do_not_fix_the_length() -> None:
    write("labels.npz", np.random.default_rng(0).standard_normal((160, 2)), labels=np.arange(20) % 2)
    assert main(["train", "--data", "labels.npz", "--out", "run", "--model", "VRNN", "--quiet", *TINY]) == 0
    assert main(["sample", "run", "--num", "30", "--length", "11", "--out", "s.npz", "--quiet"]) == 0
    with np.load("s.npz") as file:
        assert file["lengths"].tolist() == [11] * 30


def test_an_unknown_key_in_yaml(refused: Failure) -> None:
    Path("run.yaml").write_text("epohcs: 3\n")
    assert "'epohcs', which is no option (did you mean --epochs?)" in refused("train", "--config", "run.yaml")


def test_a_run_directory_that_exists(music: str, refused: Failure) -> None:
    Path("run").mkdir()
    Path("run/mine.txt").write_text("keep me")
    message = refused("train", "--data", music, "--out", "run", *TINY)
    assert "the run directory run exists and is not empty" in message
    assert "--resume run" in message and "--overwrite" in message
    assert sorted(os.listdir("run")) == ["mine.txt"]
    assert main(["train", "--data", music, "--out", "run", "--overwrite", "--quiet", *TINY]) == 0
    assert main(["train", "--data", music, "--out", "run", "--overwrite", "--quiet", *TINY]) == 0
    assert Path("run/mine.txt").read_text() == "keep me"
    Path("file").write_text("")
    assert "file is a file" in refused("train", "--data", music, "--out", "file", *TINY)


def test_broken_runs(music: str, refused: Failure) -> None:
    assert main(["train", "--data", music, "--out", "run", "--quiet", *TINY]) == 0
    weights = Path("run/model.safetensors")
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-50])
    assert "is truncated or no safetensors file" in refused("sample", "run")
    torch.save({"a": torch.zeros(2)}, weights)
    assert "is a pickle" in refused("evaluate", "run")
    weights.write_bytes(whole)
    config = Path("run/config.yaml")
    config.write_text(config.read_text().replace("z_dim: 2", "z_dim: 3"))
    assert "these are the weights of a model of other sizes" in refused("sample", "run")


def test_midi_is_for_music(real: str, refused: Failure) -> None:
    assert main(["train", "--data", real, "--out", "run", "--quiet", *TINY]) == 0
    assert "--out must end in .csv, .npz or .png, got 'a.mid'" in refused("sample", "run", "--out", "a.mid")
    write("other.npz", np.random.default_rng(0).standard_normal((96, 4)))
    assert "trained on real data with x_dim=3" in refused("evaluate", "run", "--data", "other.npz")


def test_integers_need_a_kind(refused: Failure) -> None:
    write("counts.npz", np.random.default_rng(0).integers(0, 9, (96, 3)))
    assert "may be counts or categories" in refused("train", "--data", "counts.npz", "--out", "run", *TINY)
    assert main(["train", "--data", "counts.npz", "--kind", "counts", "--out", "run", "--quiet", *TINY]) == 0
    assert main(["sample", "run", "--out", "new.npz"]) == 0
    assert rv.data.load("new.npz").train.kind == "counts"
    assert main(["train", "--data", "counts.npz", "--kind", "categories", "--classes", "9", "--out", "codes", "--quiet",
                 *TINY]) == 0


def test_a_full_disk(music: str, refused: Failure, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert "No space left on device" in refused("train", "--data", music, "--out", "run", "--quiet", *TINY, code=1)


# ------------------------------------------------------------------------------------------------ help
@pytest.mark.parametrize("command", ["train", "evaluate", "sample", "report"])
def test_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    out = capsys.readouterr().out
    assert f"usage: pyro-rvae {command}" in out
    assert f"\n  pyro-rvae {command}" in out, "it shows an example"


def test_overview(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(command in out for command in ("train", "evaluate", "sample", "report"))
    assert main([]) == 2
    assert "usage: pyro-rvae" in capsys.readouterr().err


@pytest.mark.parametrize("elbo", ["IWAE", "FIVO", "PathDerivative", "Trace_ELBO"])
def test_each_objective_trains(music: str, elbo: str) -> None:
    words = ["--model", "VRNN", "--model.z_dim", "2", "--model.h_dim", "4", "--elbo", elbo, "--elbo_particles", "2",
             "--encoder_updates", "2", "--accumulate", "2", "--quiet", "true"]
    assert main(["train", "--data", music, "--out", "run", *TINY, *words]) == 0
    assert json.loads(Path("run/metrics.json").read_text())["training"]["valid_elbo"] > 0


def test_an_objective_that_the_model_does_not_take(music: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--data", music, "--out", "run", *TINY, "--model", "VRAE", "--elbo", "FIVO"]) == 2
    out, err = capsys.readouterr()
    assert not out, "nothing is said of a training that cannot begin"
    last = err.splitlines()[-1]
    assert last.startswith("pyro-rvae train: VRAE draws no latent in the loop that samples x"), "on a line of its own"


def test_one_long_series_with_dates_and_windows(refused: Failure, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"2024-01-{1 + h // 24:02d}T{h % 24:02d}:00,{50 + 5 * np.sin(h / 4):.3f}" for h in range(300)]
    Path("load.csv").write_text("\n".join(["time,load", *rows]) + "\n")
    assert main(["train", "--data", "load.csv", "--model", "VRNN", "--window", "24", "--out", "run", *TINY]) == 0
    assert main(["forecast", "run", "test", "--horizon", "3", "--num", "5", "--out", "ahead.csv"]) == 0
    assert "2024-01-13T12:00" in Path("ahead.csv").read_text()
    assert "has no time" in refused("train", "--data", "load.csv", "--model", "VAE", "--window", "24", "--out", "r2")


def test_proteins(capsys: pytest.CaptureFixture[str]) -> None:
    Path("p.fasta").write_text("".join(f">p{i}\nMKV{'ACDEFGHIKL'[i]}WY\n" for i in range(10)))
    assert main(["train", "--data", "p.fasta", "--form", "Protein", "--model", "VRNN", "--out", "run", *TINY]) == 0
    assert Path("run/samples.fasta").read_text().startswith(">")
