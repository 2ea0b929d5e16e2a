"""Tests of `benchmark.comparison.compare` and of the files that it reads."""

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sb3_ppo_scratch.benchmark.comparison.compare import compare_results, render_changes
from sb3_ppo_scratch.benchmark.comparison.results import as_plain, list_runs, read_results, write_results
from sb3_ppo_scratch.benchmark.comparison.summary import summarize
from sb3_ppo_scratch.errors import ArgumentError
from tests.benchmark.training.synthetic import PLAN, STOCK, made_up_runs

MACHINE = {"cpu": "a CPU", "cores": 2}


def results_of(folder: Path, ends: list[float], *, seconds: float = 1.0, cpu: str = "a CPU") -> dict[str, Any]:
    """Results of runs that end at given returns."""
    records = made_up_runs(*[[0.0, end / 2, end] for end in ends], contestant=STOCK, seconds=seconds)
    write_results(summarize(PLAN, records), {"machine": {**MACHINE, "cpu": cpu}, "missing": {}}, folder)
    return read_results(folder)


def verdicts(old: dict[str, Any], new: dict[str, Any]) -> dict[str, str]:
    """What has become of each figure."""
    return {change.figure: change.verdict for change in compare_results(old, new).changes}


GOOD = [200.0 + seed for seed in range(10)]
BAD = [50.0 + seed for seed in range(10)]


def test_what_is_written_is_read_and_holds_nothing_that_json_has_not(tmp_path: Path) -> None:
    results = results_of(tmp_path, [10.0, 20.0])
    assert json.loads((tmp_path / "results.json").read_text()) == results
    [environment] = results["environments"]
    [figures] = environment["figures"]
    assert [run["final"] for run in figures["runs"]] == [10.0, 20.0]
    assert figures["steps"]["median"] is None
    assert figures["score"]["low"] is None
    assert as_plain({1: (np.float64(2.0), math.nan)}) == {"1": [2.0, None]}


def test_single_runs_are_listed(tmp_path: Path) -> None:
    summaries = summarize(PLAN, made_up_runs([0.0, 50.0, 120.0], [0.0, 0.0, 0.0]))
    rows = list(csv.DictReader(io.StringIO(list_runs(summaries))))
    assert [(row["environment"], row["contestant"], row["seed"], row["steps"]) for row in rows] == [
        ("CartPole-v1", "ours", "1", "1000.0"),
        ("CartPole-v1", "ours", "2", ""),
    ]


def test_files_of_others_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there are no results at"):
        read_results(tmp_path)
    for text, message in (("{", "is no JSON"), ("{}", "holds no results of"), ("[]", "holds no results of")):
        (tmp_path / "results.json").write_text(text)
        with pytest.raises(ValueError, match=message):
            read_results(tmp_path)


def test_the_same_results_are_the_same(tmp_path: Path) -> None:
    results = results_of(tmp_path, GOOD)
    assert set(verdicts(results, results).values()) == {"same"}


def test_what_is_worse_is_called_so_and_what_is_better_too(tmp_path: Path) -> None:
    good, bad = results_of(tmp_path / "good", GOOD), results_of(tmp_path / "bad", BAD, seconds=2.0)
    worse = {"final": "worse", "area": "worse", "steps": "worse", "seconds": "worse", "rate": "worse"}
    assert verdicts(good, bad) == worse
    assert verdicts(bad, good) == dict.fromkeys(worse, "better")


def test_another_machine_is_no_reason_for_an_alarm(tmp_path: Path) -> None:
    here, there = results_of(tmp_path / "1", GOOD), results_of(tmp_path / "2", GOOD, seconds=2.0, cpu="another")
    assert verdicts(here, there) == {
        "final": "same",
        "area": "same",
        "steps": "same",
        "seconds": "another machine",
        "rate": "another machine",
    }


@pytest.mark.parametrize(
    ("n_seeds", "expected"), [(1, "too few seeds"), (3, "too few seeds"), (5, "worse"), (10, "worse")]
)
def test_five_seeds_tell_what_is_much_worse_and_three_nothing(tmp_path: Path, n_seeds: int, expected: str) -> None:
    good, bad = results_of(tmp_path / "good", GOOD[:n_seeds]), results_of(tmp_path / "bad", BAD[:n_seeds])
    found = compare_results(good, bad)
    assert {change.figure: change.verdict for change in found.changes}["final"] == expected
    assert found.is_worse == (expected == "worse")


def test_runs_that_are_never_solved_took_all_their_steps(tmp_path: Path) -> None:
    solved, unsolved = results_of(tmp_path / "1", [120.0] * 5), results_of(tmp_path / "2", [80.0] * 5)
    [steps] = [change for change in compare_results(solved, unsolved).changes if change.figure == "steps"]
    assert (steps.old, steps.new, steps.verdict) == (1000.0, math.inf, "same")  # solved at the last of 1,000 steps
    assert "never" in render_changes(compare_results(results_of(tmp_path / "3", [220.0] * 5), unsolved))


def test_whoever_is_faster_without_solving_it_is_no_sooner_there(tmp_path: Path) -> None:
    solved = results_of(tmp_path / "1", [220.0 + seed for seed in range(10)])
    unsolved = results_of(tmp_path / "2", [80.0 + seed for seed in range(10)], seconds=0.1)
    found = verdicts(solved, unsolved)
    assert (found["seconds"], found["rate"]) == ("worse", "better")


def test_what_takes_no_time_has_no_rate(tmp_path: Path) -> None:
    results = results_of(tmp_path, GOOD, seconds=0.0)
    assert set(verdicts(results, results)) == {"final", "area", "steps", "seconds"}


def test_runs_that_no_longer_finish_are_worse(tmp_path: Path) -> None:
    results, failed = results_of(tmp_path / "1", GOOD), results_of(tmp_path / "2", GOOD)
    failed["about"]["missing"] = {"CartPole-v1/stock/seed_11": "it has failed"}
    found = compare_results(results, failed)
    assert (found.is_worse, found.lost) == (True, ("CartPole-v1/stock/seed_11",))
    assert render_changes(found).endswith("No longer finished:\n- CartPole-v1/stock/seed_11")
    assert not compare_results(failed, results).is_worse
    assert not compare_results(failed, failed).is_worse


def test_an_algorithm_that_is_gone_is_named(tmp_path: Path) -> None:
    old, new = results_of(tmp_path / "1", GOOD), results_of(tmp_path / "2", GOOD)
    old["environments"].append(
        {**old["environments"][0], "goal": {**old["environments"][0]["goal"], "env_id": "Acrobot-v1"}}
    )
    new["about"]["missing"] = {"Acrobot-v1/stock/seed_1": "it has failed"}
    assert compare_results(old, new).lost == ("Acrobot-v1/stock",)


def test_other_trainings_are_not_compared(tmp_path: Path) -> None:
    old, new = results_of(tmp_path / "1", GOOD), results_of(tmp_path / "2", GOOD)
    new["environments"][0]["goal"]["n_timesteps"] = 2000
    with pytest.raises(
        ArgumentError, match="CartPole-v1 has n_timesteps 1,000 in the old results and 2,000 in the new"
    ):
        compare_results(old, new)
    new["environments"][0]["goal"]["env_id"] = "Acrobot-v1"
    with pytest.raises(ArgumentError, match="have no environment with an algorithm of the same name in common"):
        compare_results(old, new)
