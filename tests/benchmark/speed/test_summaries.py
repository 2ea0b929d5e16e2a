"""Tests of `benchmark/speed/summaries.py`, with figures computed by hand."""

import math

import pytest
from scipy import stats

from sb3_ppo_scratch.benchmark.speed import summaries
from sb3_ppo_scratch.benchmark.speed.plan import TRIAL_ROUND
from sb3_ppo_scratch.benchmark.speed.summaries import Agreement, Spread, agreement, paired, speedups, spread
from tests.benchmark.speed.synthetic import made_up

OURS = ("auto", "dummy", None)
# Best stock: 8 s (two threads), 6 s (one), 9 s (one); ratios 8 / 2, 6 / 2, 9 / 3.
ROUNDS = [
    made_up("stock", TRIAL_ROUND, 0.1, threads=1),
    made_up("stock", 1, 10.0, threads=1, updating=6.0, peak_mib=100.0),
    made_up("auto", 1, 2.0, updating=1.0, peak_mib=150.0),
    made_up("stock", 1, 8.0, threads=2, updating=7.0, peak_mib=200.0),
    made_up("stock", 2, 6.0, threads=1, updating=4.0),
    made_up("auto", 2, 2.0, updating=0.5),
    made_up("stepping", 2, 1.0, threads=1),
    made_up("stock", 3, 9.0, threads=1, updating=3.0),
    made_up("auto", 3, 3.0, updating=1.0),
    made_up("stock", 4, 9.0, threads=1),  # ours failed: no pair
]


def test_ratios_are_paired_within_rounds_with_the_faster_stock() -> None:
    assert speedups(paired(ROUNDS, OURS)) == [4.0, 3.0, 3.0]
    assert spread(speedups(paired(ROUNDS, OURS))) == Spread(median=3.0, low=3.0, high=4.0)


def test_updates_are_compared_with_the_stock_that_updates_faster() -> None:
    assert speedups(paired(ROUNDS, OURS, "update"), "update") == [6.0, 8.0, 3.0]


def test_ratios_are_per_step() -> None:
    pair = (made_up("auto", 1, 2.0, steps=500), made_up("stock", 1, 6.0, steps=1000))
    assert speedups([pair]) == [1.5]


def test_memory_is_compared_with_the_stock_that_counts() -> None:
    assert summaries.memory_ratios(paired(ROUNDS, OURS)) == [0.75, 1.0, 1.0]


def test_share_of_the_limit_is_paired_too() -> None:
    assert summaries.rate_shares(ROUNDS, "auto", "stepping") == [0.5]


def test_the_variant_that_is_usually_fastest_is_named() -> None:
    assert summaries.usual_variant(summaries.fastest_stocks(ROUNDS)) == ("stock", "dummy", 1)


def test_nothing_measured_has_no_spread_and_no_pairs() -> None:
    assert spread([]) is None
    assert paired([], OURS) == []
    assert agreement({}, {1: 2.0}) is None


def test_competitors_are_summarised_without_the_trial_and_stock_first() -> None:
    first, second, third, fourth = summaries.summarize_competitors(list(reversed(ROUNDS)))
    assert {first.competitor, second.competitor} == {"stock"}
    assert (third.competitor, fourth.competitor) == ("auto", "stepping")
    assert third.rate == Spread(median=500.0, low=pytest.approx(1000 / 3), high=500.0)
    assert (third.stepping, third.acting, third.updating) == (750.0, 750.0, 1000.0)
    assert third.speedup == Spread(median=3.0, low=3.0, high=4.0)
    assert third.peak_mib == 100.0


def test_same_returns_agree_whatever_their_number() -> None:
    found = agreement({1: 100.0}, {1: 100.0, 2: 7.0})
    assert found is not None
    assert (found.verdict(1), found.p_value, found.same, found.seeds) == ("agree", 1.0, 1, 1)
    assert math.isnan(found.standard_error)


# Variances 4 and 16 over 2 seeds: the standard error is sqrt(4 / 2 + 16 / 2) = sqrt(10), with 100 / 68 degrees of
# freedom (Welch and Satterthwaite).
@pytest.mark.parametrize("shift", [6.3, -40.0], ids=["near", "far"])
def test_p_is_that_of_students_distribution_with_welchs_degrees_of_freedom(shift: float) -> None:
    stock = {1: 100.0 - 8**0.5, 2: 100.0 + 8**0.5}
    found = agreement({1: 100.0 + shift - 2**0.5, 2: 100.0 + shift + 2**0.5}, stock)
    assert found is not None
    assert found.standard_error == pytest.approx(10**0.5)
    assert found.p_value == pytest.approx(2 * stats.t.sf(abs(shift) / 10**0.5, df=100 / 68))
    assert found.same == 0


@pytest.mark.parametrize(
    ("comparisons", "verdict"), [(1, "disagree"), (4, "disagree"), (6, "agree")], ids=["one", "four", "six"]
)
def test_a_difference_counts_the_less_the_more_is_compared(comparisons: int, verdict: str) -> None:
    found = Agreement(ours=1.0, stock=2.0, standard_error=0.1, p_value=0.01, same=0, seeds=5)
    assert found.verdict(comparisons) == verdict


def test_constant_returns_that_differ_disagree() -> None:
    found = agreement({1: 100.0, 2: 100.0}, {1: 101.0, 2: 101.0})
    assert found is not None
    assert found.verdict(1000) == "disagree"


def test_one_seed_with_different_returns_decides_nothing() -> None:
    found = agreement({1: 100.0}, {1: 101.0})
    assert found is not None
    assert found.verdict(1) == "unknown"


def test_returns_are_collected_by_round_and_thread() -> None:
    made = [
        made_up("stock", TRIAL_ROUND, 1.0, threads=1, mean_return=1.0),
        made_up("stock", 1, 1.0, threads=2, mean_return=2.0),
        made_up("stock", 1, 1.0, threads=1, mean_return=3.0),
        made_up("stock", 2, 1.0, threads=1, mean_return=None),
    ]
    assert summaries.returns_of(made, competitor="stock", threads=1) == {1: 3.0}
