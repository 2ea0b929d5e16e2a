"""Tests of `benchmark.comparison.summary`: on made-up runs whose figures can be checked by hand."""

import dataclasses
import math

import numpy as np
import pytest

from sb3_ppo_scratch.benchmark.comparison.summary import EnvironmentSummary, summarize
from sb3_ppo_scratch.benchmark.training.plan import Run, TrainingPlan
from sb3_ppo_scratch.benchmark.training.records import RunRecord
from tests.benchmark.training.synthetic import GOAL, OURS, PLAN, STOCK, made_up_runs

ENDS = (100.0, 120.0, 90.0, 110.0, 105.0, 130.0)
OUR_RUNS = made_up_runs(*[[0.0, 50.0, end] for end in ENDS])
STOCK_RUNS = made_up_runs(*[[0.0, 20.0, end - 30.0] for end in ENDS], contestant=STOCK, seconds=3.0)


def summarized(records: dict[Run, RunRecord], plan: TrainingPlan = PLAN) -> EnvironmentSummary:
    """The figures of the only environment."""
    [environment] = summarize(plan, records)
    return environment


def test_figures_are_those_of_the_last_policies_over_seeds() -> None:
    ours, stock = summarized({**OUR_RUNS, **STOCK_RUNS}).figures
    assert (ours.contestant, stock.contestant) == (OURS, STOCK)
    assert [run.seed for run in ours.runs] == [1, 2, 3, 4, 5, 6]
    assert tuple(run.final for run in ours.runs) == ENDS
    assert ours.score.value == (100 + 105 + 110 + 120) / 4
    assert ours.score.low < ours.score.value < ours.score.high
    assert ours.area.value == pytest.approx(np.mean(sorted((50 + end / 2) / 2 for end in ENDS)[1:5]))
    assert (ours.rate.value, stock.rate.value) == (500.0, pytest.approx(1000 / 6))
    assert (ours.collecting.value, ours.updating.value) == (1500.0, 500.0)  # microseconds of two seconds' 1000 steps


def test_the_last_policy_counts_not_the_best() -> None:
    [ours] = summarized(made_up_runs([0.0, 200.0, 50.0])).figures
    assert (ours.runs[0].final, ours.score.value) == (50.0, 50.0)
    assert ours.runs[0].steps == 500.0  # it was solved all the same


def test_the_reference_is_compared_with_by_seed() -> None:
    ours, stock = summarized({**OUR_RUNS, **STOCK_RUNS}).figures
    assert stock.against == ()
    [against] = ours.against
    difference = against.difference
    assert against.reference == STOCK
    assert (difference.value, difference.low, difference.high) == pytest.approx((30.0, 30.0, 30.0))
    assert against.verdict == "better"
    assert against.speedup.value == pytest.approx(3.0)
    assert against.improvement.value > 0.9
    seeds_apart = {run: record for run, record in STOCK_RUNS.items() if run.seed > 3}
    [beside] = summarized({**OUR_RUNS, **seeds_apart}).figures[0].against
    assert (beside.difference.value, beside.difference.n_seeds) == (pytest.approx(30.0), 3)
    assert beside.verdict == "undecided"


def test_a_margin_makes_small_differences_none() -> None:
    goal = dataclasses.replace(GOAL, margin=40.0)
    plan = dataclasses.replace(PLAN, goals=(goal,))
    records = {dataclasses.replace(run, goal=goal): record for run, record in {**OUR_RUNS, **STOCK_RUNS}.items()}
    [against] = summarized(records, plan).figures[0].against
    assert against.verdict == "equivalent"


def test_runs_that_never_solve_stay_in() -> None:
    ours, stock = summarized({**OUR_RUNS, **STOCK_RUNS}).figures
    assert (ours.steps.n_reached, ours.steps.n_seeds, ours.steps.median) == (5, 6, 1000.0)
    assert ours.seconds.median == 2.0
    assert (stock.steps.n_reached, stock.steps.median) == (1, math.inf)


def test_curves_lie_on_common_places_and_end_where_the_runs_end() -> None:
    ours, stock = summarized({**OUR_RUNS, **STOCK_RUNS}).figures
    assert ours.by_steps.at.tolist() == [0.0, 500.0, 1000.0]
    assert ours.by_steps.runs[:, 1].tolist() == [50.0] * 6
    assert ours.by_steps.runs[:, 2].tolist() == list(ENDS)
    assert ours.by_steps.band.values.tolist() == [0.0, 50.0, ours.score.value]
    assert (ours.by_seconds.at[-1], stock.by_seconds.at[-1]) == (2.0, 6.0)
    assert ours.by_seconds.runs[:, -1].tolist() == list(ENDS)


def test_profiles_fall_from_everyone_to_the_best() -> None:
    environment = summarized({**OUR_RUNS, **STOCK_RUNS})
    assert (environment.profile_at[0], environment.profile_at[-1]) == (60.0, 130.0)
    ours, stock = environment.figures
    assert (ours.profile[0], ours.profile[-1]) == (1.0, pytest.approx(1 / 6))
    assert (stock.profile[0], stock.profile[-1]) == (1.0, 0.0)
    assert (np.diff(ours.profile) <= 0).all()


def test_what_takes_no_time_has_returns_all_the_same() -> None:
    random = made_up_runs(*[[end, end] for end in ENDS], contestant=STOCK, seconds=0.0)
    ours, stock = summarized({**OUR_RUNS, **random}).figures
    assert math.isnan(stock.rate.value)
    assert not stock.rate.has_interval
    assert stock.score.value == stock.area.value == ours.score.value
    assert stock.by_steps.band.values.tolist() == [ours.score.value] * 3
    assert (stock.updating.value, math.isnan(ours.against[0].speedup.value)) == (0.0, True)


def test_what_has_no_finished_run_is_left_out() -> None:
    assert [figures.contestant.name for figures in summarized(OUR_RUNS).figures] == ["ours"]
    assert summarized(OUR_RUNS).figures[0].against == ()
    assert summarize(PLAN, {}) == []
