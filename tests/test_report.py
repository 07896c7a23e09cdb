"""``pyro-rvae report``: one file that needs nothing beside it, and how it looks in a browser."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import pyro_rvae as rv
from pyro_rvae.cli import checks, html, main, reporting
from pyro_rvae.cli.subject import shortened

PNG = b"\x89PNG\r\n\x1a\n"
TINY = ["--epochs", "2", "--num_particles", "3", "--num", "2", "--replicates", "3", "--quiet"]
FAST = ["--num_particles", "30", "--replicates", "4", "--simulations", "20", "--sequences", "3", "--draws", "4",
        "--num", "2"]
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SECTIONS = [name for name, _, _ in reporting.SECTIONS] + ["configuration", "again"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a run on music, and a static one."""
    folder, dtype = tmp_path_factory.mktemp("runs"), torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    random = np.random.default_rng(0)
    np.savez(folder / "music.npz", values=random.random((480, 88)) < 0.06, lengths=np.tile([6, 10], 30),
             split=np.repeat(["train", "valid", "test"], [36, 12, 12]))
    np.savez(folder / "other.npz", values=random.random((80, 5)) < 0.5, lengths=np.full(10, 8))
    np.savez(folder / "static.npz", values=random.random((40, 6)) < 0.5)
    music = ["--data", str(folder / "music.npz"), "--length", "6", "--model.z_dim", "2", "--model.h_dim", "6"]
    assert main(["train", "--out", str(folder / "music"), *music, *TINY]) == 0
    with pytest.warns(UserWarning, match="deterministic autoencoder"):
        assert main(["train", "--out", str(folder / "point"), "--data", str(folder / "static.npz"), "--model", "AE",
                     "--model.z_dim", "2", *TINY]) == 0
    yield folder
    torch.set_default_dtype(dtype)


@pytest.fixture(scope="module")
def page(runs: Path) -> Path:
    """The report of the run on music."""
    torch.set_default_dtype(torch.float32)
    assert main(["report", str(runs / "music"), *FAST]) == 0
    return runs / "music" / "report.html"


# ------------------------------------------------------------------------------------------------ what it holds
def test_it_needs_nothing_beside_it(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert len(links) > 20
    assert all(link.startswith(("data:", "#")) for link in links)
    assert "<script" not in text and "@import" not in text and "url(" not in text
    assert not re.search(r"https?://", text)


def test_pictures_and_downloads_decode(page: Path, tmp_path: Path) -> None:
    text = page.read_text(encoding="utf-8")
    pictures = re.findall(r'<img src="data:image/png;base64,([^"]*)" width="(\d+)" height="(\d+)" alt="([^"]+)"', text)
    assert len(pictures) == text.count("<img ") >= 12
    for content, width, _, alt in pictures:
        assert base64.b64decode(content, validate=True).startswith(PNG) and width == "1200" and len(alt) > 10
    (midi, _) = re.findall(r'href="data:audio/midi;base64,([^"]*)"', text)
    (tmp_path / "a.mid").write_bytes(base64.b64decode(midi, validate=True))
    assert rv.tasks.read_midi(tmp_path / "a.mid").shape == (6 + 4 + 6, 88), "two samples and a rest"


def test_it_has_every_section(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert re.findall(r'<section id="([^"]*)"', text) == SECTIONS
    assert re.findall(r'<nav.*</nav>', text)[0].count("<a ") == len(SECTIONS)
    assert set(re.findall(r'href="#([^"]*)"', text)) == set(SECTIONS)
    assert 'class="failed"' not in text
    assert text.count("What good looks like") == len(reporting.SECTIONS), "each says how to read it"
    assert re.search(r'<ul class="verdict"><li class="(good|bad)"><a href="#bounds">The ELBO is', text)


def test_its_figures_are_those_of_evaluate(page: Path, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.set_default_dtype(torch.float32)
    assert main(["evaluate", str(runs / "music"), "--num_particles", "30"]) == 0
    found = re.search(r"IWAE-30 +(\d+\.\d+)", capsys.readouterr().out)
    assert found and f"<td>IWAE-30</td><td class=\"number\">{found[1]}</td>" in page.read_text(encoding="utf-8")


def test_it_says_how_to_make_it_again(page: Path, runs: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert f"pyro-rvae train --config {runs / 'music'}/config.yaml --out {runs / 'music'}-again" in text
    assert f"pyro-rvae report {runs / 'music'} --num_particles 30 --replicates 4 --sequences 3" in text
    assert f"<td>torch</td><td>{torch.__version__}</td>" in text
    assert "class_path: pyro_rvae.DMM" in text


def test_what_does_not_apply_is_said_in_a_sentence(runs: Path) -> None:
    """A deterministic autoencoder of static data: no bound, no time, no posterior."""
    torch.set_default_dtype(torch.float32)
    assert main(["report", str(runs / "point"), *FAST, "--out", str(runs / "point.html")]) == 0
    text = (runs / "point.html").read_text(encoding="utf-8")
    assert re.findall(r'<section id="([^"]*)"', text) == SECTIONS
    for words in ("its cost is no bound on the evidence", "The data are static, without time", "which is no posterior",
                  "Warning: VAE is a deterministic autoencoder", "a test on fewer than 10"):
        assert words in text, words
    assert "data:audio/midi" not in text


def test_a_section_that_fails_loses_no_other(runs: Path, monkeypatch: pytest.MonkeyPatch,
                                             capsys: pytest.CaptureFixture[str]) -> None:
    def broken(*args: Any, **more: Any) -> None:
        raise RuntimeError("a <broken>\nthing")

    torch.set_default_dtype(torch.float32)
    monkeypatch.setattr(checks, "sbc", broken)
    assert main(["report", str(runs / "music"), *FAST, "--out", str(runs / "broken.html")]) == 1
    assert "pyro-rvae report: Calibration: RuntimeError: a <broken> thing" in capsys.readouterr().err
    text = (runs / "broken.html").read_text(encoding="utf-8")
    assert "This section could not be made. RuntimeError: a &lt;broken&gt; thing" in text
    assert re.findall(r'<section id="([^"]*)"', text) == SECTIONS


# ------------------------------------------------------------------------------------------------ bad input
@pytest.mark.parametrize(("words", "what"), [
    (["music", "--data", "other.npz"], "the run was trained on binary data with x_dim=88; --data is binary with x_dim"),
    (["nowhere"], "nowhere must be a folder with config.yaml"),
    (["music", "--out", "page.pdf"], "--out must end in .html, got 'page.pdf'"),
    (["music", "--out", "nowhere/page.html"], "the folder nowhere must exist to write page.html there"),
    (["music", "--replicates", "0"], "--replicates must be at least 1, got 0"),
    (["music", "--simulations", "5"], "--simulations must be at least 20, got 5"),
    (["music", "--draws", "1"], "--draws must be at least 2, got 1"),
    (["music", "--splt", "test"], "there is no option --splt (did you mean --split?)"),
])  # fmt: skip
def test_what_cannot_be_done_as_asked(words: list[str], what: str, runs: Path, monkeypatch: pytest.MonkeyPatch,
                                      capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(runs)
    torch.set_default_dtype(torch.float32)
    assert main(["report", *words]) == 2
    assert what in capsys.readouterr().err


def test_a_run_without_a_history(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(runs / "music", tmp_path / "cut")
    (tmp_path / "cut" / "history.csv").unlink()
    assert main(["report", str(tmp_path / "cut")]) == 2
    assert "has no history.csv" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------ pieces
def test_words_are_escaped() -> None:
    section = html.Section("a", "<b>", see="x < y", blocks=[html.table([["<i>", "-1.5"]], ["", "&"])])
    text = section.html()
    assert "<b>" not in text and "<i>" not in text and "x &lt; y" in text
    assert '<td class="number">-1.5</td>' in text and '<th class="number">&amp;</th>' in text


def test_long_sequences_are_cut_with_all_that_belongs_to_them() -> None:
    data = rv.data.SequenceDataset(np.arange(12.0)[:, None], [7, 2, 3], controls=np.arange(24.0).reshape(12, 2),
                                   labels=[1, 2, 3])
    cut = shortened(data, 3)
    assert cut.lengths.tolist() == [3, 2, 3]
    assert cut.values[:, 0].tolist() == [0, 1, 2, 7, 8, 9, 10, 11]
    assert cut.controls[:, 0].tolist() == [0, 2, 4, 14, 16, 18, 20, 22] and cut.labels.tolist() == [1, 2, 3]
    assert shortened(data, 7) is data


def test_what_follows_a_given_half_is_checked_too(page: Path, runs: Path) -> None:
    text = page.read_text(encoding="utf-8")
    inside = text[text.index('<section id="free-running"'): text.index('<section id="one-step"')]
    assert "When the first half of each sequence is given" in inside and inside.count("<td>silence</td>") == 2
    assert "Of the first 3 of 12 sequences: the model has seen the first half of each" in inside
    assert re.search(r'<a href="#free-running">With half of each sequence given: (none|\d) of 6 statistics', text)
    assert "first half" not in (runs / "point.html").read_text(encoding="utf-8")


def test_the_latent_in_training_is_shown_where_it_was_watched(page: Path, runs: Path, tmp_path: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert (runs / "music" / "collapse.csv").is_file() and text.count("The latent in training") == 1
    assert re.search(r'alt="After epoch 2: KL \d\.\d+ nats per frame, \d of 2 units active', text)
    torch.set_default_dtype(torch.float32)
    shutil.copytree(runs / "music", tmp_path / "unwatched")
    (tmp_path / "unwatched" / "collapse.csv").unlink()
    assert main(["report", str(tmp_path / "unwatched"), *FAST]) == 0
    assert "The latent in training" not in (tmp_path / "unwatched" / "report.html").read_text(encoding="utf-8")


def test_one_step_forecasts_are_no_path(page: Path) -> None:
    """Statistics that look from frame to frame would differ for a perfect model too: they are left out."""
    x = [np.random.default_rng(0).random((9, 88)) < 0.1]
    kept = checks.without_order(rv.criticism.statistics.MUSIC, x)
    assert {"notes per frame", "silence", "consonance", "pitch classes"} <= set(kept)
    assert not {"held notes", "note length", "melodic motion", "melodic intervals"} & set(kept)
    text = page.read_text(encoding="utf-8")
    one_step = text[text.index('<section id="one-step"'): text.index('<section id="calibration"')]
    assert "<td>silence</td>" in one_step and "<td>held notes</td>" not in one_step


# ------------------------------------------------------------------------------------------------ in a browser
PROBE = """<!DOCTYPE html><body><iframe id="page" width="{width}" height="800" srcdoc="{page}"></iframe><script>
const page = document.getElementById("page");
page.onload = () => {{
  const inside = page.contentDocument;
  const wide = [...inside.querySelectorAll("main *")].filter(e => !e.closest(".box, pre") &&
    e.getBoundingClientRect().right > page.contentWindow.innerWidth).map(e => e.tagName);
  const boxes = [...inside.querySelectorAll(".box:has(table)")];
  const cut = boxes.filter(e => e.scrollWidth > e.clientWidth);
  const silent = cut.filter(e => !page.contentWindow.getComputedStyle(e).backgroundAttachment.includes("local"));
  const broken = [...inside.images].filter(e => !e.naturalWidth).length;
  const answer = [page.contentWindow.innerWidth, inside.documentElement.scrollWidth, wide.length, broken, cut.length,
    silent.length];
  document.body.innerHTML = `<p id="answer">${{answer.join(" ")}}</p>`;
}};
</script></body>"""


def browse(*flags: str) -> str:
    done = subprocess.run([str(BROWSER), "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                           *flags], capture_output=True, text=True, timeout=120, check=True)
    return done.stdout


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome is installed")
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_sticks_out_of_the_window(width: int, page: Path, tmp_path: Path) -> None:
    """On a telephone and on a desk: the page is as wide as the window, and every picture is there."""
    probe = tmp_path / "probe.html"
    probe.write_text(PROBE.format(width=width, page=escape(page.read_text(encoding="utf-8"))), encoding="utf-8")
    out = browse(f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=10000", "--dump-dom", probe.as_uri())
    answer = re.search(r'id="answer">(\d+) (\d+) (\d+) (\d+) (\d+) (\d+)<', out)
    assert answer, out[:500]
    inner, scroll, wide, broken, cut, silent = map(int, answer.groups())
    assert inner == width and scroll == width, "no scrolling sideways"
    assert wide == 0 and broken == 0
    assert (cut > 0) == (width == 390) and silent == 0, "a shade tells that a table goes on"


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome is installed")
def test_a_screenshot_is_not_blank(page: Path, tmp_path: Path) -> None:
    from matplotlib.image import imread

    shot = tmp_path / "shot.png"
    browse(f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1280,3000", f"--screenshot={shot}", page.as_uri())
    pixels = imread(shot)[..., :3]
    assert pixels.shape[:2] == (3000, 1280)
    ink = (pixels.min(-1) < 0.8).reshape(10, 300, 1280).mean((1, 2))
    assert (ink > 0.002).all() and ink.max() < 0.5, "words and pictures all the way down, on white"
