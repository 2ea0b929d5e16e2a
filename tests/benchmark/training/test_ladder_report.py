"""Tests of `benchmark/training/ladder_report.py` and `benchmark/training/figures.py`, on made-up runs."""

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sb3_ppo_scratch.benchmark.training.figures import curves_of, draw_rungs, mean_curve
from sb3_ppo_scratch.benchmark.training.ladder_report import render, show_times, summarize, summarize_rung
from tests.benchmark.training.synthetic import GOAL, OURS, PLAN, STOCK, made_up_runs

SOLVING = made_up_runs([0, 100, 120], [0, 50, 140], [0, 10, 20])
"""Solved after 500 steps, after 1000 steps, never."""
RUNS = {**SOLVING, **made_up_runs([0, 10, 30], [0, 10, 30], [0, 10, 30], contestant=STOCK, seconds=2.0)}


def test_runs_that_never_solve_stay_in_the_median() -> None:
    summary = summarize_rung(OURS, GOAL, list(SOLVING.values()))
    assert (summary.seeds, summary.solved) == (3, 2)
    assert summary.steps == (1000.0, 500.0, math.inf)
    assert summary.seconds == (2.0, 1.0, math.inf)


def test_the_median_of_two_is_the_slower() -> None:
    summary = summarize_rung(OURS, GOAL, list(SOLVING.values())[1:])
    assert summary.steps == (math.inf, 1000.0, math.inf)


def test_returns_are_those_of_the_last_policies_over_seeds() -> None:
    summary = summarize_rung(OURS, GOAL, list(SOLVING.values()))
    assert summary.mean == pytest.approx(280 / 3)
    assert summary.deviation == pytest.approx(np.std([120, 140, 20], ddof=1))
    assert summary.rate == 500.0


def test_contestants_stand_in_the_plans_order_and_only_if_they_have_runs() -> None:
    assert [line.contestant.name for line in summarize(PLAN, RUNS)["CartPole-v1"]] == ["ours", "stock"]
    assert [line.contestant.name for line in summarize(PLAN, SOLVING)["CartPole-v1"]] == ["ours"]
    assert summarize(PLAN, {}) == {}


def test_the_table_says_it_all() -> None:
    report = render(PLAN, RUNS, {}, "the command", {"CartPole-v1": "curves.png"})
    lines = [line for line in report.splitlines() if line.startswith("| ")]
    assert lines[2].split(" | ") == [
        "| ours",
        "the new one",
        "2 of 3",
        "1,000 (500 to over 1,000)",
        "2.0 (1.0 to never)",
        "93.3 ± 64.3",
        "500 |",
    ]
    assert lines[3].split(" | ")[2:5] == ["0 of 3", "never", "never"]
    assert "```\nthe command\n```" in report
    assert "(curves.png)" in report
    assert "2 episodes for each point of the curves, 4 at the end" in report
    assert "rl_zoo3's `ppo.yml`" in report


def test_failures_and_missing_runs_are_said() -> None:
    failures = dict.fromkeys(SOLVING, "a traceback\nValueError: no\n")
    report = render(PLAN, {}, failures, "the command", {})
    assert "No run is finished yet." in report
    assert "- CartPole-v1/ours/seed_2: ValueError: no" in report


@pytest.mark.parametrize(
    ("times", "text"),
    [
        ((10.0, 5.0, 20.0), "10 (5 to 20)"),
        ((1000.0, 5.0, math.inf), "1,000 (5 to over 3,000)"),
        ((math.inf, 5.0, math.inf), "over 3,000 (5 to over 3,000)"),
        ((math.inf, math.inf, math.inf), "never"),
    ],
)
def test_times_are_shown_with_their_range(times: tuple[float, float, float], text: str) -> None:
    assert show_times(times, 3000, ",.0f") == text


def test_curves_are_averaged_over_seeds_between_their_evaluations() -> None:
    early = np.array([[0.0, 400.0, 1000.0], [0.0, 40.0, 100.0]])
    late = np.array([[0.0, 600.0, 1000.0], [0.0, 120.0, 200.0]])
    np.testing.assert_allclose(mean_curve(GOAL, [early, late]), [[0, 500, 1000], [0, 75, 150]])


def test_curves_are_those_of_one_contestant() -> None:
    curves = curves_of(GOAL, STOCK, RUNS)
    assert len(curves) == 3
    np.testing.assert_array_equal(curves[0], [[0, 500, 1000], [0, 10, 30]])


def test_the_figure_is_the_same_for_the_same_runs(tmp_path: Path) -> None:
    for name in ("one.png", "two.png"):
        assert draw_rungs(GOAL, RUNS, "stock", tmp_path / name, PLAN.contestants)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    with Image.open(tmp_path / "one.png") as picture:
        assert picture.width == 1440


def test_nothing_is_drawn_without_runs(tmp_path: Path) -> None:
    assert not draw_rungs(GOAL, {}, "stock", tmp_path / "none.png", PLAN.contestants)
    assert not (tmp_path / "none.png").exists()
