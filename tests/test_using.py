"""The commands that use a trained run: what they write, and what they say of bad input."""

from __future__ import annotations

import csv
import json
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import pyro_rvae as rv
from pyro_rvae.cli import main
from pyro_rvae.cli.telling import plain_warnings
from pyro_rvae.criticism.progress import progress
from pyro_rvae.tasks import read_midi

TINY = ["--epochs", "1", "--batch_size", "4", "--num_particles", "2", "--num", "2", "--length", "5", "--quiet",
        "--replicates", "2", "--model.z_dim", "2", "--model.h_dim", "6"]
Failure = Callable[..., str]


def table(path: str, sequences: int = 12, frames: int = 10, gaps: bool = False, names: str = "load,wind",
          shuffled: bool = False) -> str:
    """A CSV in long form of two features far from mean 0 and deviation 1."""
    random = np.random.default_rng(len(path))
    rows = [f"sequence,time,{names}"]
    for n in range(sequences):
        level = random.normal(size=names.count(",") + 1)
        times = list(range(frames))
        for t in (reversed(times) if shuffled else times):
            level = 0.9 * level + 0.3 * random.normal(size=len(level))
            cells = [f"{50 + 5 * value:.3f}" for value in level]
            if gaps and t in (3, 4):
                cells[0] = ""
            rows.append(f"s{n},{t},{','.join(cells)}")
    Path(path).write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs that all tests use: a VRNN on numbers, a DMM on piano rolls."""
    folder = tmp_path_factory.mktemp("runs")
    before = os.getcwd(), torch.get_default_dtype()
    os.chdir(folder)
    torch.set_default_dtype(torch.float32)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            values = np.random.default_rng(0).random((160, 88)) < 0.06
            np.savez("music.npz", values=values, lengths=np.full(20, 8))
            assert main(["train", "--data", table("train.csv"), "--model", "VRNN", "--out", "numbers", *TINY]) == 0
            assert main(["train", "--data", "music.npz", "--out", "music", *TINY]) == 0
            Path("names.txt").write_text("\n".join(["anna", "ben", "cara", "dan", "eve", "fred", "gina", "hans"] * 3))
            assert main(["train", "--data", "names.txt", "--model", "VRAE", "--out", "names", *TINY]) == 0
    finally:
        os.chdir(before[0])
        torch.set_default_dtype(before[1])
    return folder


@pytest.fixture(autouse=True)
def here(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(runs)
    monkeypatch.setattr(sys, "path", [*sys.path])
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str], runs: Path) -> Failure:
    """A command that must end with an exit code, one message on stderr, and no new file; the message."""

    def run(*words: str, code: int = 2) -> str:
        before = sorted(runs.rglob("*"))
        capsys.readouterr()
        assert main(words) == code
        err = capsys.readouterr().err
        assert "Traceback" not in err and err.count("\n") == 1, err
        assert sorted(runs.rglob("*")) == before
        return err

    return run


def rows_of(path: str) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_forecast(capsys: pytest.CaptureFixture[str]) -> None:
    past = table("past.csv", 3, 7)
    assert main(["forecast", "numbers", past, "--horizon", "4", "--num", "20", "--levels", "0.8"]) == 0
    assert "numbers/forecast-past.csv" in capsys.readouterr().out
    rows = rows_of("numbers/forecast-past.csv")
    assert len(rows) == 3 * 4 * 2 and {"sequence", "feature", "mean", "q0.1", "q0.5", "q0.9"} <= rows[0].keys()
    assert 20 < float(rows[0]["mean"]) < 80  # raw units
    for ending in (".npz", ".json", ".png"):
        assert main(["forecast", "numbers", past, "--horizon", "4", "--num", "9", "--out", f"f{ending}"]) == 0
        assert Path(f"f{ending}").stat().st_size > 100
    assert np.load("f.npz")["draws"].shape == (9, 3, 4, 2)


def test_backtest(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["backtest", "numbers", table("series.csv", 2, 30), "--horizon", "3", "--num", "10", "--seasonality", "2"]
    assert main([*words, "--out", "b.json"]) == 0
    out = capsys.readouterr().out
    assert "CRPS" in out and "seasonal" in out and "drift" in out
    assert json.loads(Path("b.json").read_text())


def test_impute(capsys: pytest.CaptureFixture[str]) -> None:
    gaps = table("gaps.csv", 2, 8, gaps=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the model has seen no gaps in training
        assert main(["impute", "numbers", gaps, "--num", "10", "--out", "filled.csv"]) == 0
        filled, held = rows_of("filled.csv"), rows_of(gaps)
        assert len(filled) == 16 and all(row["load"] for row in filled)
        assert all(float(a["wind"]) == pytest.approx(float(b["wind"]), abs=1e-3)
                   for a, b in zip(filled, held, strict=True))
        assert main(["impute", "numbers", gaps, "--rows", "--num", "10", "--out", "missing.csv"]) == 0
    assert len(rows_of("missing.csv")) == 4


def test_filled_data_are_the_users_own_file() -> None:
    """Only gaps change: digits, labels, other columns, their order and the times stay as they were written."""
    lines = ["time,note,wind,label,load,sequence".replace("note,", "")]
    for n in range(3):
        for t in range(6):
            load = "" if t == 3 else f"{51.2 + t:.4f}"
            lines.append(f"{10 + 2 * t},13.224,{n},{load},q{n}")
    Path("mine.csv").write_text("\n".join(lines) + "\n")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert main(["impute", "numbers", "mine.csv", "--num", "5", "--out", "back.csv"]) == 0
        filled = Path("back.csv").read_text().splitlines()
        for old, new in zip(lines, filled, strict=True):
            assert old.split(",,")[0] == new[:len(old.split(",,")[0])] and ",," not in new
            assert ",," in old or old == new
        assert main(["impute", "numbers", "mine.csv", "--num", "5", "--out", "back.npz"]) == 0
        held = np.load("back.npz")
        assert held["times"][:3].tolist() == [10, 12, 14] and held["labels"].tolist() == [0, 1, 2]
        assert str(held["values"][0, list(held["names"]).index("wind")]) == "13.224"
        assert main(["impute", "numbers", "back.npz", "--num", "5", "--out", "again.csv"]) == 0
    assert rows_of("again.csv")[1]["time"] == "12.0" and rows_of("again.csv")[6]["label"] == "1"
    assert main(["reconstruct", "numbers", "back.npz", "--out", "again.csv"]) == 0
    assert [row["time"] for row in rows_of("again.csv")][:2] == ["10.0", "12.0"]


def test_names_of_what_comes_out() -> None:
    assert main(["interpolate", "numbers", table("ends.csv", 2, 5), "--num", "3", "--out", "way.csv"]) == 0
    assert list(dict.fromkeys(row["sequence"] for row in rows_of("way.csv"))) == ["s0", "s0 to s1 0.500", "s1"]
    assert main(["sample", "numbers", "--prefix", "ends.csv", "--num", "3", "--length", "7", "--out", "on.csv"]) == 0
    assert list(dict.fromkeys(row["sequence"] for row in rows_of("on.csv"))) == ["s0 (1)", "s1 (1)", "s0 (2)"]


def test_score(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", "numbers", table("new.csv", 2, 6), "--num_particles", "5", "--quantile", "0.9"]) == 0
    assert "above the threshold" in capsys.readouterr().out
    assert len(rows_of("numbers/scores-new.csv")) == 12
    assert main(["score", "numbers", "new.csv", "--num_particles", "5", "--quantile", "0.9", "--out", "s.png"]) == 0


def test_embed() -> None:
    assert main(["embed", "numbers", table("some.csv", 3, 6), "--out", "e.csv"]) == 0
    assert len(rows_of("e.csv")) == 3
    assert main(["embed", "numbers", "some.csv", "--by", "step", "--out", "e.npz"]) == 0
    assert len(np.load("e.npz")["values"]) == 18


def test_reconstruct_and_interpolate_music(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sample", "music", "--num", "2", "--out", "two.mid"]) == 0
    assert main(["reconstruct", "music", "two.mid", "--mean", "--out", "again.mid"]) == 0
    assert read_midi("again.mid").shape[1] == 88
    assert main(["interpolate", "music", "test", "--num", "3", "--out", "between.npz"]) == 0
    assert len(np.load("between.npz")["lengths"]) == 3
    assert main(["interpolate", "music", "test", "--dimension", "1", "--num", "4", "--out", "along.npz"]) == 0
    assert len(np.load("along.npz")["lengths"]) == 4
    assert main(["interpolate", "music", "test", "--num", "3", "--drawn", "--out", "drawn.npz"]) == 0
    assert set(np.unique(np.load("drawn.npz")["values"])) == {0, 1}
    assert 0 < np.load("between.npz")["values"].max() < 1  # means, without --drawn
    for words in (["reconstruct", "music", "test"], ["interpolate", "music", "test", "--num", "3"]):
        assert main([*words, "--out", "picture.png"]) == 0
        assert Path("picture.png").read_bytes().startswith(b"\x89PNG")


def test_text_in_text_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sample", "names", "--num", "5", "--temperature", "0.5", "--out", "new.txt"]) == 0
    assert Path("new.txt").read_text()
    Path("begin.txt").write_text("an\nbe\n")
    assert main(["sample", "names", "--num", "4", "--prefix", "begin.txt", "--length", "9", "--out", "more.txt"]) == 0
    lines = Path("more.txt").read_text().splitlines()
    assert [line[:2] for line in lines] == ["an", "be", "an", "be"]
    assert main(["sample", "names", "--num", "40", "--prefix", "begin.txt", "--length", "9", "--out", "more.txt"]) == 0
    assert max(map(len, Path("more.txt").read_text().splitlines())) > 2, "a beginning has no end"
    assert main(["forecast", "names", "begin.txt", "--horizon", "2", "--num", "5", "--out", "next.csv"]) == 0
    assert {"p_a", "p_end", "p_unknown"} <= rows_of("next.csv")[0].keys()
    assert main(["score", "names", "begin.txt", "--num_particles", "3", "--quantile", "0.5", "--out", "t.csv"]) == 0
    assert [row["letter"] for row in rows_of("t.csv")][:3] == ["a", "n", "end"]
    assert main(["score", "names", "begin.txt", "--num_particles", "3", "--quantile", "0.5", "--out", "t.csv"]) == 0


def test_models(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    out = capsys.readouterr().out
    assert "VRNN" in out and "forecast" in out


@pytest.mark.parametrize(("words", "what"), [
    (["forecast", "numbers", "past.csv", "--horizon", "0"], "--horizon must be at least 1"),
    (["forecast", "numbers", "past.doc"], "past.doc"),
    (["forecast", "numbers", "nowhere.csv"], "nowhere.csv"),
    (["forecast", "nowhere", "past.csv"], "nowhere must be a folder"),
    (["forecast", "numbers"], "FILE, your data"),
    (["forecast", "numbers", "test", "--levels", "1.5"], "--levels must be numbers between 0 and 1"),
    (["forecast", "numbers", "test", "--out", "a.wav"], "--out must end in .csv"),
    (["forecast", "numbers", "test", "--out", "no/a.csv"], "the folder no must exist"),
    (["forecast", "numbers", "test", "--horizon", "1000000000"], "ask for less"),
    (["forecast", "numbers", "test", "--sequence", "9"], "--sequence must be the number of a sequence"),
    (["backtest", "numbers", "test", "--horizon", "99"], "a smaller --context or --horizon"),
    (["score", "numbers", "test", "--quantile", "0.9999"], "--quantile 0.9999 needs at least 9999 scores"),
    (["embed", "numbers", "test", "--site", "nothing"], "--site must be a continuous latent of the guide (z)"),
    (["forecast", "numbers", "names.txt"], "cannot be read as a table of numbers"),
    (["sample", "numbers", "--label", "1"], "--label was given, and VRNN reads none: train one with --model.context"),
    (["evaluate", "numbers", "--split", "all"], "--split all is for other data than the run's own"),
    (["impute", "numbers", "test", "--rows", "--out", "a.npz"], "--out must end in .csv, .json or .png"),
    (["score", "numbers", "test", "--quantile", "2"], "--quantile must lie between 0 and 1"),
    (["interpolate", "numbers", "test", "--first", "99"], "--first must be the number of a sequence"),
    (["interpolate", "numbers", "test", "--low", "3", "--high", "1", "--dimension", "0"], "--low must be below"),
    (["interpolate", "numbers", "train", "--swap"], "once"),
    (["sample", "numbers", "--label", "3"], "label"),
    (["sample", "numbers", "--temperature", "0"], "--temperature must be above 0"),
    (["forcast", "numbers", "test"], "did you mean forecast?"),
])
def test_what_cannot_be_done_as_asked(words: list[str], what: str, refused: Failure) -> None:
    table("past.csv", 3, 7)
    assert what in refused(*words)


def test_files_that_do_not_fit(refused: Failure) -> None:
    assert "time must rise" in refused("forecast", "numbers", table("order.csv", 2, 5, shuffled=True))
    message = refused("forecast", "numbers", table("other.csv", 2, 5, names="load,rain"))
    assert "rain" in message and "wind" in message
    assert "wind" in refused("score", "numbers", table("three.csv", 2, 5, names="load,rain,sun"))


def test_known_inputs_of_past_and_future(refused: Failure) -> None:
    """A CSV with columns ``control:NAME`` trains a model that reads them, and a forecast asks for those to come."""
    random = np.random.default_rng(0)
    rows = [f"s{n},{t},{np.sin(t):.3f},{np.sin(t) + 0.1 * random.normal():.3f}" for n in range(12) for t in range(8)]
    Path("known.csv").write_text("\n".join(["sequence,time,control:tide,level", *rows]) + "\n")
    assert main(["train", "--data", "known.csv", "--model", "VRNN", "--out", "tide", *TINY]) == 0
    message = refused("forecast", "tide", "test", "--horizon", "3")
    assert "give them with --controls FILE" in message and "forecast: forecast:" not in message
    ahead = [f"a,{t},{np.sin(t):.3f}" for t in range(8, 11)]
    Path("ahead.csv").write_text("\n".join(["sequence,time,control:tide", *ahead]) + "\n")
    assert main(["forecast", "tide", "test", "--horizon", "3", "--controls", "ahead.csv", "--out", "tide.csv"]) == 0
    assert len(rows_of("tide.csv")) == 3


def test_a_warning_is_one_line() -> None:
    """Without the place in the source that raised it; what Python does else is put back."""
    before = warnings.formatwarning
    with plain_warnings("score"):
        said = warnings.formatwarning("score: two\nlines", UserWarning, "files.py", 3)
    assert said == "pyro-rvae score: warning: two lines\n"
    assert warnings.formatwarning is before


def test_all_of_a_file_is_judged(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", "numbers", "--data", table("four.csv", 4, 6), "--split", "all", "--num_particles", "2"]
    assert main(words) == 0
    assert "4 sequences, 24 frames" in capsys.readouterr().out


def test_a_bar_is_gone_before_a_message(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("slow", delay=0.0):
        pass
    assert capsys.readouterr().err.endswith("\r")


def test_a_forecast_of_music_is_a_roll() -> None:
    assert main(["forecast", "music", "test", "--horizon", "4", "--num", "6", "--sequence", "1", "--out", "f.png"]) == 0
    assert Path("f.png").read_bytes().startswith(b"\x89PNG")


def test_the_letters_of_a_table_are_those_of_the_codes() -> None:
    from pyro_rvae.cli.letters import in_letters
    from pyro_rvae.data import DNA, Text, Vocabulary

    form = Text(Vocabulary.from_texts(["ab c"]))
    codes = form.encode(["cab "])[0].flatten().tolist()
    assert [row["letter"] for row in in_letters([{"code": code} for code in [*codes, 1]], form)] == [
        "c", "a", "b", "blank", "end", "unknown"]
    assert "".join(row["letter"] for row in in_letters([{"x0": float(code)} for code in range(4)], DNA())) == "ACGT"


@pytest.fixture
def tide() -> str:
    """A run whose model reads two known inputs."""
    random = np.random.default_rng(0)
    rows = [f"s{n},{t},{np.sin(t):.3f},{t % 2},{np.sin(t) + 0.1 * random.normal():.3f}" for n in range(12)
            for t in range(8)]
    Path("two.csv").write_text("\n".join(["sequence,time,control:tide,control:day,level", *rows]) + "\n")
    if not Path("twotide").is_dir():
        assert main(["train", "--data", "two.csv", "--model", "VRNN", "--out", "twotide", *TINY]) == 0
    return "twotide"


def test_known_inputs_go_by_their_names_and_sequences(tide: str, refused: Failure) -> None:
    def moved(path: str, order: str, ids: tuple[str, ...] = ("s0", "s1"), start: int = 0) -> str:
        names = {"tide": lambda t, n: f"{np.sin(t) + n:.3f}", "day": lambda t, n: str(t % 2),
                 "level": lambda t, n: "0.5", "moon": lambda t, n: "1"}
        columns = [f"control:{name}" if name != "level" else name for name in order.split()]
        rows = [f"{i},{t}," + ",".join(names[name](t, int(i[1:])) for name in order.split())
                for i in ids for t in range(start, start + 4)]
        Path(path).write_text("\n".join([",".join(["sequence", "time", *columns]), *rows]) + "\n")
        return path

    def ahead(controls: str) -> str:
        assert main(["forecast", tide, "past2.csv", "--horizon", "4", "--num", "5", "--controls", controls,
                     "--out", "ahead2.csv"]) == 0
        return Path("ahead2.csv").read_text()

    moved("past2.csv", "tide day level")
    plain = ahead(moved("f.csv", "tide day", start=4))
    assert ahead(moved("f2.csv", "day tide", start=4)) == plain
    assert ahead(moved("f3.csv", "tide day", ids=("s1", "s0"), start=4)) == plain
    for path, what in ((moved("f4.csv", "tide moon", start=4), "moon"),
                       (moved("f5.csv", "tide day", ids=("s1", "s7"), start=4), "s7")):
        assert what in refused("forecast", tide, "past2.csv", "--horizon", "4", "--controls", path)
    assert main(["embed", tide, "past2.csv", "--out", "a.csv"]) == 0
    assert main(["embed", tide, moved("swapped.csv", "day tide level"), "--out", "b.csv"]) == 0
    assert Path("a.csv").read_text() == Path("b.csv").read_text()
    assert "moon" in refused("embed", tide, moved("strange.csv", "tide moon level"))
    assert main(["reconstruct", tide, "past2.csv", "--out", "r.csv"]) == 0
    assert Path("r.csv").read_text().startswith("sequence,time,control:tide,control:day,level")


def test_samples_of_a_model_with_known_inputs(tide: str, refused: Failure) -> None:
    assert main(["sample", tide, "--num", "3", "--temperature", "0.5", "--length", "4", "--out", "t3.npz"]) == 0
    assert np.load("t3.npz")["lengths"].tolist() == [4, 4, 4]
    assert "--length training" in refused("sample", tide, "--length", "training")


def test_what_is_read_is_not_overwritten(refused: Failure) -> None:
    before = Path(table("mine.csv", 3, 7)).read_text()
    assert "is the file that is read" in refused("forecast", "numbers", "mine.csv", "--out", "mine.csv")
    assert Path("mine.csv").read_text() == before


def test_a_saved_model_that_is_no_run(refused: Failure) -> None:
    rv.SequenceVAE.from_pretrained("numbers").save_pretrained("saved")
    assert main(["sample", "saved", "--num", "2", "--out", "s2.npz"]) == 0
    assert main(["embed", "saved", table("mine2.csv", 3, 7), "--out", "e2.csv"]) == 0
    assert "holds a model without a run" in refused("score", "saved", "mine2.csv")


def test_irregular_times_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    Path("gap.csv").write_text("sequence,time,load,wind\na,0,50,51\na,1,50,51\na,7,50,51\n")
    assert main(["forecast", "numbers", "gap.csv", "--horizon", "2", "--num", "5", "--out", "gap-ahead.csv"]) == 0
    assert "irregular" in capsys.readouterr().out
