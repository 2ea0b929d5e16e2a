"""Tests of `benchmark.statistics`: published examples, values by hand, definitions, and how often intervals hold."""

import itertools
import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from sb3_ppo_scratch.benchmark.statistics import (
    Estimate,
    area_under_curve,
    estimate,
    interquartile_mean,
    judge,
    paired_difference,
    performance_profile,
    probability_of_improvement,
    time_to_threshold,
    typical,
    typical_curve,
)

SPATIAL = [
    *(48, 36, 20, 29, 42, 42, 20, 42, 22, 41, 45, 14, 6, 0, 33, 28, 34, 4, 32, 24, 47, 41, 24, 26, 30, 41),
]
"""Efron and Tibshirani, An Introduction to the Bootstrap, table 14.1, test A."""
REMISSIONS = ([6, 6, 6, 7, 10, 13, 16, 22, 23], [6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35])
"""Weeks in remission under 6-mercaptopurine and those still in remission when last seen (Freireich et al. 1963)."""


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([3.0], 3.0),
        ([1.0, 2.0], 1.5),
        ([-500.0, 1.0, 2.0, 9.0], 1.5),
        ([10.0, -7.0, 1.0, 2.0, 6.0], 3.0),  # 1, 2 and 6: a quarter of five, rounded down, is one
        (range(100), 49.5),
        ([500.0] * 10, 500.0),
    ],
)
def test_interquartile_mean_is_the_mean_of_the_middle_half(values: list[float], expected: float) -> None:
    assert interquartile_mean(values) == expected


def test_intervals_are_the_published_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sb3_ppo_scratch.benchmark.statistics.CONFIDENCE", 0.9)
    found = estimate([SPATIAL], np.var)
    assert found.value == pytest.approx(171.5, abs=0.05)
    assert (found.low, found.high) == pytest.approx((115.8, 259.6), rel=0.02)  # table 14.2, from 2000 resamples


def test_intervals_hold_nearly_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    found = [typical(rng.normal(200.0, 30.0, 10).tolist()) for _ in range(200)]
    assert 0.85 <= np.mean([each.low <= 200.0 <= each.high for each in found]) <= 0.99


def test_unit_is_the_seed_and_not_the_episode() -> None:
    rng = np.random.default_rng(1)
    of_seeds = rng.normal(200.0, 30.0, 8)
    few, many = (typical((of_seeds[:, None] + rng.normal(0, 1e-9, (8, n))).mean(1).tolist()) for n in (1, 1000))
    assert few.high - few.low == pytest.approx(many.high - many.low)
    assert few.high - few.low > 10.0


@pytest.mark.parametrize("n_seeds", [1, 2, 4])
def test_fewer_than_five_seeds_have_no_interval(n_seeds: int) -> None:
    found = typical([1.0, 2.0, 3.0, 4.0][:n_seeds])
    assert not found.has_interval
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert judge(found, 100.0) == "undecided"


def test_equal_runs_have_an_interval_of_no_width() -> None:
    assert typical([500.0] * 10) == Estimate(500.0, 500.0, 500.0, 10)
    assert paired_difference([500.0] * 5, [500.0] * 5) == Estimate(0.0, 0.0, 0.0, 5)


def test_same_runs_have_the_same_interval() -> None:
    values = [250.0, 260.0, 199.0, 255.0, 270.0]
    assert typical(values) == typical(values)


def test_pairs_of_seeds_take_out_what_seeds_have_in_common() -> None:
    of_seeds = np.array([100.0, 300.0, 150.0, 250.0, 200.0, 120.0])
    found = paired_difference((of_seeds + np.array([5, 6, 5, 4, 5, 5])).tolist(), of_seeds.tolist())
    assert found.value == pytest.approx(5.0)
    assert (found.low, found.high) == pytest.approx((4.5, 5.5), abs=0.3)


def test_pairs_without_a_partner_are_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        paired_difference([1.0, 2.0], [1.0])


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (-25.0, 25.0, "equivalent"),
        (1.0, 20.0, "equivalent"),  # a difference that is there, and too small to matter
        (1.0, 26.0, "better"),
        (-26.0, -1.0, "worse"),
        (-26.0, 3.0, "undecided"),
        (0.0, 30.0, "undecided"),
    ],
)
def test_verdict_follows_from_where_the_interval_lies(low: float, high: float, verdict: str) -> None:
    assert judge(Estimate((low + high) / 2, low, high, 10), margin=25.0) == verdict


@pytest.mark.parametrize("seed", range(5))
def test_probability_of_improvement_is_the_share_of_pairs_and_mann_and_whitneys_statistic(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ours, theirs = rng.integers(0, 6, 7).astype(float).tolist(), rng.integers(0, 6, 9).astype(float).tolist()
    found = probability_of_improvement(ours, theirs)
    wins = sum(1.0 if one > other else 0.5 if one == other else 0.0 for one, other in itertools.product(ours, theirs))
    assert found.value == pytest.approx(wins / 63)
    assert found.value == pytest.approx(stats.mannwhitneyu(ours, theirs).statistic / 63)
    assert 0.0 <= found.low <= found.value <= found.high <= 1.0
    assert found.n_seeds == 7


def test_who_always_wins_does_so_in_every_resample() -> None:
    assert probability_of_improvement([5.0, 6.0, 7.0, 8.0, 9.0], [0.0, 1.0, 2.0, 3.0, 4.0]) == Estimate(1, 1, 1, 5)


def test_profile_is_the_share_of_runs_at_or_above() -> None:
    rng = np.random.default_rng(0)
    values, thresholds = rng.normal(size=11), rng.normal(size=5)
    expected = [sum(value >= threshold for value in values) / 11 for threshold in thresholds]
    assert performance_profile(values.tolist(), thresholds).tolist() == pytest.approx(expected)
    assert performance_profile([1.0], [1.0]).tolist() == [1.0]


def test_times_are_the_published_ones() -> None:
    reached, unfinished = REMISSIONS
    times = [*map(float, reached), *[math.inf] * len(unfinished)]
    found = time_to_threshold(times, [*map(float, reached), *map(float, unfinished)])
    assert found.times == (6, 7, 10, 13, 16, 22, 23)
    survival = [0.857, 0.807, 0.753, 0.690, 0.627, 0.538, 0.448]  # Kaplan and Meier's, as in any textbook
    assert [1 - share for share in found.shares] == pytest.approx(survival, abs=6e-4)
    assert (found.median, found.n_reached, found.n_seeds) == (23.0, 9, 21)


def test_without_unfinished_runs_times_are_the_distribution() -> None:
    found = time_to_threshold([3.0, 1.0, 3.0, 2.0], [9.0] * 4)
    assert found.times == (1.0, 2.0, 3.0)
    assert found.shares == pytest.approx((0.25, 0.5, 1.0))
    assert found.median == 2.0


def test_runs_that_never_get_there_stay_in() -> None:
    found = time_to_threshold([3.0, math.inf, math.inf], [3.0, 9.0, 9.0])
    assert found.shares == pytest.approx((1 / 3,))
    assert found.median == math.inf
    none = time_to_threshold([math.inf], [9.0])
    assert (none.times, none.shares, none.median, none.n_reached, none.n_seeds) == ((), (), math.inf, 0, 1)


def test_times_without_lengths_are_refused() -> None:
    for times, lengths in (([], []), ([1.0], [])):
        with pytest.raises(ValueError, match="as many times as lengths"):
            time_to_threshold(times, lengths)


def test_area_is_the_mean_height() -> None:
    at: NDArray[np.float64] = np.array([0.0, 1.0, 4.0])
    assert area_under_curve(at, [2.0, 4.0, 4.0]) == pytest.approx((3.0 * 1 + 4.0 * 3) / 4)
    assert area_under_curve([100, 200], [7.0, 7.0]) == 7.0


def test_a_curves_band_is_that_of_each_of_its_places() -> None:
    curves = np.random.default_rng(0).normal([0.0, 10.0, 20.0], size=(8, 3))
    curves[:, 1] = 10.0
    band = typical_curve(curves)
    for place in range(3):
        alone = typical(curves[:, place].tolist())
        assert band.values[place] == pytest.approx(alone.value)
        assert (band.low[place], band.high[place]) == pytest.approx((alone.low, alone.high), abs=0.15)
    assert (band.low[1], band.high[1]) == (10.0, 10.0)
    assert np.isnan(typical_curve(curves[:4]).low).all()
