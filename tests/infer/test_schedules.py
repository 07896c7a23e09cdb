"""Schedules: values against their formulas, pickling, printing, errors."""

from __future__ import annotations

import math
import pickle

import pytest

from pyro_rvae.infer import constant, cosine, cyclical, half_cosine, linear, logistic, warmup


def test_constant_stays() -> None:
    assert constant()(0.3) == 1.0
    assert constant(0.2)(1e9) == 0.2


@pytest.mark.parametrize("final", [0.0, 0.1])
def test_cosine_goes_from_one_to_final(final: float) -> None:
    schedule = cosine(final)
    assert schedule(0.0) == 1.0
    assert schedule(1.0) == pytest.approx(final, abs=1e-15)
    assert schedule(0.25) == pytest.approx(final + (1 - final) * (1 + math.cos(math.pi / 4)) / 2)
    assert schedule(1.5) == schedule(1.0)


def test_warmup_rises_then_follows() -> None:
    schedule = warmup(cosine(), 0.1)
    assert schedule(0.05) == pytest.approx(0.5 * cosine()(0.05))
    assert schedule(0.5) == cosine()(0.5)
    assert 0 < schedule(0.0) < 0.01  # the first step is small, not lost


def test_linear_meets_both_ends() -> None:
    weight = linear(0.05, 1.0, 2000)
    assert [weight(0), weight(2000), weight(10**6)] == [0.05, 1.0, 1.0]
    assert weight(1000) == pytest.approx(0.525)
    assert linear(1.0, 0.0, 4)(1) == 0.75


def test_cyclical_repeats_then_holds() -> None:
    weight = cyclical(10, cycles=2, ratio=0.5, start=0.2)
    assert [weight(0), weight(10), weight(20)] == [0.2, 0.2, 1.0]
    assert weight(2) == pytest.approx(0.2 + 0.8 * 0.4)
    assert weight(7) == weight(17) == 1.0


def test_half_a_cosine_meets_both_ends_and_is_slow_there() -> None:
    weight = half_cosine(0.1, 0.9, 400)
    assert [weight(0), weight(400), weight(10**6)] == pytest.approx([0.1, 0.9, 0.9], abs=1e-15)
    assert weight(200) == pytest.approx(0.5)
    assert weight(100) == pytest.approx(0.1 + 0.8 * (1 - math.cos(math.pi / 4)) / 2)
    assert weight(10) - weight(0) < 0.1 * (linear(0.1, 0.9, 400)(10) - 0.1)


def test_logistic_is_the_sigmoid() -> None:
    weight = logistic(1000, end=0.8)
    for step in (0, 400, 1000, 1700):
        assert weight(step) == pytest.approx(0.8 / (1 + math.exp(-4 * (step - 1000) / 1000)), rel=1e-12)
    assert weight(10**9) == 0.8 and logistic(1, 1e6)(0) == 0.0  # no overflow
    assert logistic(1000, 3.0)(500) < logistic(1000)(500)


@pytest.mark.parametrize("schedule", [constant(0.5), cosine(0.1), warmup(cosine()), linear(0, 1, 5), cyclical(5),
                                      half_cosine(0, 1, 5), logistic(5)])
def test_schedules_pickle_and_print(schedule: object) -> None:
    assert pickle.loads(pickle.dumps(schedule)) == schedule
    assert repr(pickle.loads(pickle.dumps(schedule))) == repr(schedule)


def test_repr_is_how_it_was_written() -> None:
    assert repr(linear(0.1, 1.0, 50)) == "Linear(start=0.1, end=1.0, steps=50)"


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match=r"constant: value must be a finite number of at least 0, got -1"):
        constant(-1)
    with pytest.raises(ValueError, match="cosine: final must be a finite number"):
        cosine(math.nan)
    with pytest.raises(ValueError, match=r"linear: start must be .* at least 0, got -0.1"):
        linear(-0.1, 1.0, 10)
    with pytest.raises(ValueError, match=r"linear: end must be .* got inf"):
        linear(0.1, math.inf, 10)
    with pytest.raises(ValueError, match="linear: steps must be an integer of at least 1"):
        linear(0.0, 1.0, 0)
    with pytest.raises(ValueError, match="half_cosine: end must be .* at least 0, got -1.0"):
        half_cosine(0.0, -1.0, 10)
    with pytest.raises(ValueError, match="half_cosine: steps must be an integer of at least 1"):
        half_cosine(0.0, 1.0, 0)
    with pytest.raises(ValueError, match="logistic: middle must be an integer of at least 1 .*, got 0"):
        logistic(0)
    with pytest.raises(ValueError, match="logistic: steepness must be a finite number above 0, got 0.0"):
        logistic(10, 0.0)
    with pytest.raises(ValueError, match="cyclical: period must be an integer"):
        cyclical(2.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"cyclical: ratio must lie in \(0, 1\]"):
        cyclical(10, ratio=0.0)
    with pytest.raises(ValueError, match="warmup: share must lie between 0 and 1"):
        warmup(cosine(), 1.0)
    with pytest.raises(TypeError, match="warmup: the schedule after it must be a function"):
        warmup(0.1)  # type: ignore[arg-type]
