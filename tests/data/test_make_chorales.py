from __future__ import annotations

import numpy as np
import pytest

from pyro_rvae.data.make_chorales import Piece, _grid, clusters, distances, intervals, sides, top_line, write


def edit_distance(a: list[int], b: list[int]) -> int:
    """Levenshtein's distance by his table, cell by cell."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        left = [i]
        for j, y in enumerate(b, 1):
            left.append(min(row[j] + 1, left[j - 1] + 1, row[j - 1] + (x != y)))
        row = left
    return row[-1]


def brute_inside(a: list[int], b: list[int]) -> int:
    return min(edit_distance(a, b[i:j]) for i in range(len(b) + 1) for j in range(i, len(b) + 1))


def test_distances_equal_the_table_filled_cell_by_cell() -> None:
    random = np.random.default_rng(0)
    melodies = [random.integers(-2, 3, size=n).tolist() for n in (1, 4, 7, 9, 12)]
    whole, inside = distances(melodies, melodies[1:]), distances(melodies, melodies[1:], inside=True)
    for i, a in enumerate(melodies):
        for j, b in enumerate(melodies[1:]):
            assert whole[i, j] == pytest.approx(edit_distance(a, b) / max(len(a), len(b)))
            assert inside[i, j] == pytest.approx(brute_inside(a, b) / len(a))


def test_grid_shows_what_sounds_at_each_quarter() -> None:
    soprano = [(0.0, 1.5, 70), (1.5, 0.5, 72), (2.0, 2.0, 74)]  # the 72 begins and ends between two quarters
    bass = [(1.0, 1.0, 50), (3.5, 0.5, 52)]
    assert _grid([soprano, bass]).tolist() == [[70, 0], [70, 50], [74, 0], [74, 0]]


def test_intervals_forget_key_rhythm_and_repeats() -> None:
    assert intervals([60, 60, 62, 59]) == intervals([65, 67, 67, 67, 64]) == [2, -3]
    assert top_line(np.array([[60, 64], [0, 0], [59, 0]])) == [64, 59]


def made(name: str, melody: list[int]) -> Piece:
    pitches = np.array([[key, 40, 40, 40] for key in melody], dtype=np.uint8)
    return Piece(name, "C major", 0, pitches, tuple(intervals(melody)))


def test_variants_of_a_tune_stay_on_one_side() -> None:
    random = np.random.default_rng(1)
    tunes = [60 + np.cumsum(random.integers(-4, 5, size=40)) % 20 for _ in range(12)]
    pieces = [made(f"{i}{form}", (tune + 3 * shift).tolist()) for i, tune in enumerate(tunes)
              for shift, form in enumerate("abc")]  # fmt: skip
    pieces.append(made("stretch", tunes[0][5:35].tolist()))
    groups = clusters(pieces)
    assert sorted(map(len, groups)) == [3] * 11 + [4] and [0, 1, 2, 36] in groups
    side = sides(pieces)
    assert all(len(set(side[group].tolist())) == 1 for group in groups)
    assert (side == 2).sum() >= 0.15 * len(pieces) <= (side == 1).sum() and (side == 0).sum() > 20


def test_the_same_pieces_give_the_same_bytes(tmp_path) -> None:
    pieces = [made("a", [60, 62, 64]), made("b", [60, 55, 69, 60])]
    for name in ("one.npz", "two.npz"):
        write(pieces, tmp_path / name)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one.npz", "two.npz"]
