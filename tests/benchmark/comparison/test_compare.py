"""Tests of `benchmark.comparison.compare` and of the files that it reads."""

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sb3_ppo_scratch.benchmark.comparison.compare import SIGNIFICANCE, Change, compare_results, judge_changes
from sb3_ppo_scratch.benchmark.comparison.results import as_plain, list_runs, read_results, write_results
from sb3_ppo_scratch.benchmark.comparison.summary import summarize
from tests.benchmark.training.synthetic import PLAN, STOCK, made_up_runs

MACHINE = {"cpu": "a CPU", "cores": 2}


def results_of(folder: Path, ends: list[float], *, seconds: float = 1.0, cpu: str = "a CPU") -> dict[str, Any]:
    """Results of runs that end at given returns."""
    records = made_up_runs(*[[0.0, end / 2, end] for end in ends], contestant=STOCK, seconds=seconds)
    write_results(summarize(PLAN, records), {"machine": {**MACHINE, "cpu": cpu}}, folder)
    return read_results(folder)


def verdicts(old: dict[str, Any], new: dict[str, Any]) -> dict[str, str]:
    """What has become of each figure."""
    return {change.figure: change.verdict for change in compare_results(old, new)}


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


def test_few_seeds_tell_nothing(tmp_path: Path) -> None:
    good, bad = results_of(tmp_path / "good", GOOD[:3]), results_of(tmp_path / "bad", BAD[:3])
    assert verdicts(good, bad)["final"] == "too few seeds"


@pytest.mark.parametrize(
    ("p_values", "changed"),
    [
        ([0.04, 0.01, 0.02], [True, True, True]),  # below 0.05 / 1, 0.05 / 3, 0.05 / 2
        ([0.04, 0.01, 0.03], [False, True, False]),  # 0.03 is above 0.05 / 2, and ends it
        ([0.017, 0.6, 0.9], [False, False, False]),  # above 0.05 / 3
    ],
)
def test_many_figures_have_to_be_clearer_each(p_values: list[float], changed: list[bool]) -> None:
    changes = [Change("CartPole-v1", "ours", "final", 1.0, 2.0, p_value, 0.0) for p_value in p_values]
    assert [change.verdict == "better" for change in judge_changes(changes)] == changed


def test_chance_raises_hardly_any_alarm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sb3_ppo_scratch.benchmark.statistics.N_RESAMPLES", 100)
    rng = np.random.default_rng(0)
    results = [results_of(tmp_path / str(place), rng.normal(100.0, 20.0, 10).tolist()) for place in range(80)]
    alarms = sum("worse" in verdicts(*pair).values() for pair in zip(results[::2], results[1::2], strict=True))
    assert alarms / 40 <= SIGNIFICANCE + 0.05
