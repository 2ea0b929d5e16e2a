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


def results_of(folder: Path, ends: list[float], *, seconds: float = 1.0, cpu: str = "a CPU") -> dict[str, Any]:
    """Results of runs that end at given returns."""
    records = made_up_runs(*[[0.0, end / 2, end] for end in ends], contestant=STOCK, seconds=seconds)
    write_results(summarize(PLAN, records), {"cpus": [cpu], "missing": {}, "plan": PLAN}, folder)
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
    results, failed = results_of(tmp_path / "1", GOOD), results_of(tmp_path / "2", GOOD[:9])
    failed["about"]["missing"] = {"CartPole-v1/stock/seed_10": "it has failed"}
    found = compare_results(results, failed)
    assert (found.is_worse, found.lost) == (True, ("CartPole-v1/stock/seed_10",))
    assert render_changes(found).endswith("No longer finished:\n- CartPole-v1/stock/seed_10")
    assert not compare_results(failed, results).is_worse
    assert not compare_results(failed, failed).is_worse


def test_what_was_never_there_or_is_not_asked_for_is_not_lost(tmp_path: Path) -> None:
    old, new = results_of(tmp_path / "1", GOOD), results_of(tmp_path / "2", GOOD)
    goal = {**old["environments"][0]["goal"], "env_id": "Acrobot-v1"}
    old["environments"].append({**old["environments"][0], "goal": goal})
    new["about"]["missing"] = {"CartPole-v1/stock/seed_11": "not finished", "CartPole-v1/new/seed_1": "not finished"}
    assert not compare_results(old, new).is_worse
    new["about"]["missing"] = {"Acrobot-v1/stock/seed_1": "it has failed"}
    assert compare_results(old, new).is_worse


def test_most_seeds_better_and_some_collapsed_is_worse(tmp_path: Path) -> None:
    old = results_of(tmp_path / "1", [200.0 + seed / 10 for seed in range(20)])
    new = results_of(tmp_path / "2", [212.0 + seed / 10 for seed in range(15)] + [-400.0 - seed for seed in range(5)])
    assert verdicts(old, new)["final"] == "worse"
    assert compare_results(old, new).is_worse


@pytest.mark.parametrize("n_seeds", [(10, 30), (5, 10), (6, 8), (1, 25), (25, 1)])
@pytest.mark.parametrize("end", [9.4, 499.8, 0.1])
def test_what_is_always_the_same_has_not_changed(n_seeds: tuple[int, int], end: float, tmp_path: Path) -> None:
    old, new = (results_of(tmp_path / str(place), [end] * n) for place, n in enumerate(n_seeds))
    assert set(verdicts(old, new).values()) <= {"same", "too few seeds"}


def test_what_is_always_the_same_hides_no_change(tmp_path: Path) -> None:
    old, new = results_of(tmp_path / "1", [9.4] * 10), results_of(tmp_path / "2", [9.4] * 20, seconds=1.5)
    for seed, run in enumerate(
        [*old["environments"][0]["figures"][0]["runs"], *new["environments"][0]["figures"][0]["runs"]]
    ):
        run["rate"] += seed / 10
    assert verdicts(old, new)["rate"] == "worse"


def test_a_return_that_is_no_number_is_the_worst(tmp_path: Path) -> None:
    old, new = results_of(tmp_path / "1", GOOD), results_of(tmp_path / "2", BAD)
    new["environments"][0]["figures"][0]["runs"][0]["final"] = None
    assert verdicts(old, new)["final"] == "worse"


def test_machines_of_several_kinds_are_not_compared_in_seconds(tmp_path: Path) -> None:
    old, new = results_of(tmp_path / "1", GOOD), results_of(tmp_path / "2", GOOD)
    for results in (old, new):
        results["about"]["cpus"] = ["a CPU", "another"]
    assert verdicts(old, new)["rate"] == "another machine"


def test_other_evaluations_are_not_compared(tmp_path: Path) -> None:
    old, new = results_of(tmp_path / "1", GOOD), results_of(tmp_path / "2", GOOD)
    new["about"]["plan"]["evaluation"]["n_episodes"] = 200
    with pytest.raises(ArgumentError, match="evaluations have n_episodes 2 in the old results and 200 in the new ones"):
        compare_results(old, new)


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
