"""Text to codes and back, and the standard sets of text."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from pyro_rvae.data import SequenceDataset, Vocabulary, names, texts, tinyshakespeare

WORDS = ["the cat sat", "the dog sat down"]


def words(text: str) -> list[str]:
    return text.split()


def test_a_text_is_its_codes_and_the_end_symbol() -> None:
    vocabulary = Vocabulary.from_texts(["anna", "bob"])
    assert vocabulary.symbols == ("a", "b", "n", "o") and vocabulary.classes == len(vocabulary) == 6
    data = vocabulary.encode(["ban", "zoo"])
    assert isinstance(data, SequenceDataset) and data.kind == "categories" and data.classes == 6 and data.x_dim == 1
    assert [row.flatten().tolist() for row in data] == [[3, 2, 4, 0], [1, 5, 5, 0]]
    assert not data.missing and vocabulary.decode(data) == ["ban", "\ufffdoo"]
    assert [len(row) for row in vocabulary.encode(["ban", "zoo"], end=False)] == [3, 3]


@pytest.mark.parametrize("wrap", [
    lambda d: d, list, lambda d: d.padded().x, lambda d: d.padded().x.squeeze(-1),
    lambda d: [row.flatten().tolist() for row in d], lambda d: d.padded().x.numpy(),
])
def test_decoding_stops_at_the_first_end_symbol(wrap: Any) -> None:
    vocabulary = Vocabulary.from_texts(["anna", "bob"])
    assert vocabulary.decode(wrap(vocabulary.encode(["anna", "b"]))) == ["anna", "b"]
    assert vocabulary.decode(torch.tensor([[2, 0, 3, 0], [0, 9, 9, 9], [2, 3, 2, 3]])) == ["a", "", "abab"]


def test_words_by_the_users_tokenizer() -> None:
    vocabulary = Vocabulary.from_texts(WORDS, tokenizer=words)
    assert vocabulary.symbols == ("cat", "dog", "down", "sat", "the") and "5 symbols" in repr(vocabulary)
    assert vocabulary.decode(vocabulary.encode(["the  cat down"])) == ["the cat down"]
    assert Vocabulary.from_texts(WORDS, tokenizer=words, joiner="-").decode([[2, 6, 0]]) == ["cat-the"]
    assert Vocabulary.from_texts(WORDS, tokenizer=words, min_count=2).symbols == ("sat", "the")


def test_labels_stay_with_their_texts() -> None:
    data = Vocabulary.from_texts(["ab"]).encode(["a", "b", "ab"], labels=[0, -1, 1], ids=["x", "y", "z"])
    assert data.labels.tolist() == [0, -1, 1] and data.ids == ("x", "y", "z")


@pytest.mark.parametrize("tokenizer", [None, words])
def test_saved_and_loaded(tmp_path: Path, tokenizer: Any) -> None:
    vocabulary = Vocabulary.from_texts([*WORDS, "käse \n☃"], tokenizer=tokenizer)
    vocabulary.save(tmp_path / "v.json")
    other = Vocabulary.load(tmp_path / "v.json", tokenizer=tokenizer)
    assert other.symbols == vocabulary.symbols and other.joiner == vocabulary.joiner
    assert torch.equal(other.encode(WORDS).values, vocabulary.encode(WORDS).values)
    assert os.listdir(tmp_path) == ["v.json"]


def test_a_file_that_cannot_be_loaded(tmp_path: Path) -> None:
    path = tmp_path / "v.json"
    for content in (None, "{", "[1]", json.dumps({"symbols": ["a"]})):
        if content is not None:
            path.write_text(content)
        with pytest.raises(ValueError, match="v.json is no vocabulary that Vocabulary.save wrote"):
            Vocabulary.load(path)
    Vocabulary.from_texts(["ab"]).save(path)
    with pytest.raises(ValueError, match="was built of characters: leave tokenizer out"):
        Vocabulary.load(path, tokenizer=words)
    Vocabulary.from_texts(WORDS, tokenizer=words).save(path)
    with pytest.raises(ValueError, match="with a tokenizer: pass tokenizer="):
        Vocabulary.load(path)


def test_a_save_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "v.json"
    Vocabulary.from_texts(["ab"]).save(path)
    before = path.read_bytes()
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        Vocabulary.from_texts(["xyz"]).save(path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["v.json"]


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda: Vocabulary([]), ValueError, "at least one symbol"),
    (lambda: Vocabulary.from_texts([]), ValueError, "at least one symbol"),
    (lambda: Vocabulary(["a", "b", "a"]), ValueError, "'a' more than once"),
    (lambda: Vocabulary.from_texts("anna"), TypeError, r"got one string: write \['anna'\]"),
    (lambda: Vocabulary.from_texts(["a", ""]), ValueError, "text 1 is empty"),
    (lambda: Vocabulary.from_texts(["a", "  "], tokenizer=words), ValueError, r"text 1 is empty \('  ' holds no"),
    (lambda: Vocabulary.from_texts(["a", None]), TypeError, "text 1 must be a string, got NoneType"),
    (lambda: Vocabulary.from_texts(["ab"], tokenizer=lambda t: [1, 2]), TypeError, "must return strings, got"),
    (lambda: Vocabulary.from_texts(["ab"], min_count=2), ValueError, "no symbol stands 2 times"),
    (lambda: Vocabulary(["a"]).encode([]), ValueError, "there is no text to encode"),
    (lambda: Vocabulary(["a"]).encode("a"), TypeError, "got one string"),
    (lambda: Vocabulary(["a"]).encode(["a", ""]), ValueError, "text 1 is empty"),
    (lambda: Vocabulary(["a"]).decode([[2], [3]]), ValueError, "are 0 to 2, got 3 in sequence 1"),
    (lambda: Vocabulary(["a"]).decode([[-1]]), ValueError, "are 0 to 2, got -1 in sequence 0"),
    (lambda: Vocabulary(["a"]).decode([[2.0]]), TypeError, "codes must be integers, got torch.float"),
    (lambda: Vocabulary(["a"]).decode(torch.zeros(2, 3, 2, dtype=torch.long)), ValueError, "a text has one channel"),
    (lambda: Vocabulary(["a"]).decode(torch.zeros(3, dtype=torch.long)), ValueError, "takes a list of texts"),
    (lambda: tinyshakespeare(0), ValueError, "length must be an integer of at least 1, got 0"),
])
def test_bad_input(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


# ------------------------------------------------------------------------------------------------ standard sets
def needs(path: str) -> None:
    folder = os.environ.get("PYRO_RVAE_DATA")
    if not folder:
        pytest.skip("PYRO_RVAE_DATA is not set: it names the folder with the standard sets")
    if not (Path(folder) / path).is_file():
        pytest.skip(f"{path} is not in the folder that PYRO_RVAE_DATA names")


def test_names() -> None:
    needs("text/names.txt")
    (train, valid, test), vocabulary = names()
    assert [len(side) for side in (train, valid, test)] == [25626, 3203, 3204]
    assert vocabulary.classes == 28 and "".join(vocabulary.symbols) == "abcdefghijklmnopqrstuvwxyz"
    assert test.reference is train and int(train.lengths.max()) == 16
    assert vocabulary.decode(test)[:3] == ["dugan", "doran", "bodhisattva"], "always the same split"


def test_tinyshakespeare() -> None:
    needs("text/tinyshakespeare.txt")
    (train, valid, test), vocabulary = tinyshakespeare(100)
    assert [side.num_frames for side in (train, valid, test)] == [1003854, 55770, 55770]
    assert len(vocabulary.symbols) == 65 and set(train.lengths[:-1].tolist()) == {100}
    assert vocabulary.decode([train[0]])[0].startswith("First Citizen:\nBefore we proceed any further, hear me speak.")
    assert not (train.values == vocabulary.end).any() and not (test.values == vocabulary.unknown).any()


def test_a_set_is_downloaded_once_and_checked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("PYRO_RVAE_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    asked = []

    def fake(url: str, sha256: str, path: Path) -> None:
        asked.append((url, sha256))
        path.write_text("\n".join(f"name{'abcdefghij'[i]}" for i in range(10)))

    monkeypatch.setattr(texts, "download", fake)
    for _ in range(2):
        (train, valid, test), _ = names()
        assert [len(side) for side in (train, valid, test)] == [8, 1, 1]
    assert asked == [texts.NAMES.sources[0]]


def test_a_local_copy_must_be_the_known_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PYRO_RVAE_DATA", str(tmp_path))
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "names.txt").write_text("anna\n")
    got = hashlib.sha256(b"anna\n").hexdigest()
    with pytest.raises(ValueError, match=f"names.txt does not hold the standard set: got content {got}, expected 0a30"):
        names()


def test_without_network_the_error_says_what_to_put_where(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("PYRO_RVAE_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def fail(*_: Any) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr(texts, "download", fail)
    with pytest.raises(ConnectionError, match="put the file text/names.txt into a folder that PYRO_RVAE_DATA names"):
        names()
