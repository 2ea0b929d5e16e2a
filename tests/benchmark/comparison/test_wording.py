"""Tests of `benchmark.comparison.wording`."""

import math
from dataclasses import replace

import pytest

from sb3_ppo_scratch.benchmark.comparison.summary import EnvironmentSummary, summarize
from sb3_ppo_scratch.benchmark.comparison.wording import (
    how_measured,
    intervals_missing,
    show_estimate,
    show_number,
    show_rounded,
    show_time,
    verdicts,
    what_was_compared,
)
from sb3_ppo_scratch.benchmark.statistics import Estimate, time_to_threshold
from tests.benchmark.comparison.made_up import COMPARISON
from tests.benchmark.training.synthetic import GOAL, PLAN, STOCK, made_up_runs

ENDS = (100.0, 120.0, 90.0, 110.0, 105.0, 130.0)


def verdict(*shifts: float, margin: float = 0.0, solved: float = 1000.0) -> str:
    """What is said of runs of ours that end at ENDS, and of stock's that end higher by these shifts."""
    goal = replace(GOAL, margin=margin, solved=solved)
    ends = ENDS[: len(shifts)]
    records = {
        **made_up_runs(*[[0.0, 50.0, end] for end in ends]),
        **made_up_runs(*[[0.0, 50.0, end + shift] for end, shift in zip(ends, shifts, strict=True)], contestant=STOCK),
    }
    moved = {replace(run, goal=goal): record for run, record in records.items()}
    [summary] = summarize(replace(PLAN, goals=(goal,)), moved)
    [text] = verdicts(summary)
    return text


@pytest.mark.parametrize(
    ("value", "digits", "shown"),
    [
        (1234.56, 1, "1,234.6"), (-3.0, 1, "\N{MINUS SIGN}3.0"), (-0.04, 1, "0.0"), (math.nan, 1, "\N{EN DASH}"),
        (math.inf, 0, "\N{EN DASH}"), (2.5, 0, "2"),
    ],
)  # fmt: skip
def test_numbers_are_shown(value: float, digits: int, shown: str) -> None:
    assert show_number(value, digits) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(0.4561, "0.456"), (12.34, "12.3"), (1234.5, "1,234"), (0.0, "0.0"), (math.nan, "\N{EN DASH}")]
)
def test_positive_numbers_are_shown_with_three_digits(value: float, shown: str) -> None:
    assert show_rounded(value) == shown


def test_intervals_are_shown_where_there_are_any() -> None:
    assert show_estimate(Estimate(1.0, 0.5, 2.0, 9), unit=" s") == "1.0 s [0.5, 2.0]"
    assert show_estimate(Estimate(1.0, math.nan, math.nan, 3)) == "1.0"
    assert show_estimate(Estimate(math.nan, math.nan, math.nan, 3), unit=" s") == "\N{EN DASH}"


def test_times_that_most_never_reach_are_a_dash() -> None:
    assert show_time(time_to_threshold([100.0, 200.0, math.inf], [900.0] * 3), unit=" steps") == "200 steps"
    assert show_time(time_to_threshold([100.0, math.inf, math.inf], [900.0] * 3)) == "\N{EN DASH}"


def test_a_difference_within_the_margin_is_equivalence() -> None:
    shown = "ours and stock PPO are equivalent: the difference of returns, 0.0 [0.0, 0.0], lies within ±5."
    assert verdict(0, 0, 0, 0, 0, 0, margin=5.0).startswith(shown)
    assert "lies within ±0." in verdict(0, 0, 0, 0, 0, 0)


def test_a_difference_on_one_side_is_called_by_its_side() -> None:
    assert verdict(-30, -31, -29, -30, -30, -30).startswith("ours ends higher than stock PPO, by 30.0 [")
    assert verdict(30, 31, 29, 30, 30, 30).startswith(
        "ours ends lower than stock PPO: the difference is \N{MINUS SIGN}30"
    )


def test_a_difference_that_may_be_chance_is_called_so() -> None:
    text = verdict(-30, 30, -20, 20, 10, -10, margin=2.0)
    assert text.startswith("6 seeds do not tell ours from stock PPO: the difference is ")
    assert "which reaches to both sides of 0 and beyond ±2." in text
    assert "reaches to both sides of 0." in verdict(-30, 30, -20, 20, 10, -10)


def test_few_seeds_give_no_verdict() -> None:
    assert verdict(-30, -30, -30).startswith("In the mean of 3 seeds, ours ended 30.0 above stock PPO; fewer than 5")
    assert "ours ended 30.0 below stock PPO" in verdict(30, 30, 30)
    assert "In the mean of 1 seed, " in verdict(30)


def test_it_is_said_how_soon_it_was_solved() -> None:
    assert "Neither solves it." in verdict(0, 0, 0, 0, 0, 0)
    text = verdict(-30, -30, -30, -30, -30, -30, solved=95.0)
    assert "Solved after 2.00 s (5 of 6 seeds); by stock PPO late (1 of 6 seeds)." in text
    assert "; by stock PPO never." in verdict(-60, -60, -60, -60, -60, -60, solved=95.0)


def test_what_only_the_other_solves_is_said_so() -> None:
    assert "Never solved; by stock PPO late (2 of 6 seeds)." in verdict(50, 50, -20, -20, -20, -20, solved=150.0)


def test_what_takes_no_time_is_not_said_to_be_faster() -> None:
    assert "times the steps per second" in verdict(0, 0)
    [summary] = summarize(PLAN, {**made_up_runs([1.0, 1.0]), **made_up_runs([1.0, 1.0], contestant=STOCK, seconds=0.0)})
    assert isinstance(summary, EnvironmentSummary)
    assert "per second" not in next(verdicts(summary))


def test_a_comparison_is_described_in_a_sentence() -> None:
    assert what_was_compared(COMPARISON, 30) == (
        "ours (the new one), stock PPO (the old one) and random actions on CartPole-v1 and Acrobot-v1, with 6 seeds: "
        "30 of 36 runs finished, each a process of the unmodified rl_zoo3 on one core."
    )
    assert "on CartPole-v1, with" in what_was_compared(PLAN, 0)


def test_few_seeds_are_warned_of() -> None:
    assert intervals_missing(COMPARISON) == []
    assert "Fewer than 5 seeds: no intervals" in intervals_missing(PLAN)[0]


def test_measurement_is_explained_with_the_plans_numbers() -> None:
    text = " ".join(how_measured(COMPARISON))
    assert "2 whole episodes with the most likely actions, 4 at the end, on the seeds 1000000 to 1000003" in text
    assert "±5 on CartPole-v1, ±0 on Acrobot-v1" in text
