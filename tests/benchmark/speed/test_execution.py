"""Tests of `benchmark/speed/execution.py`."""

import os
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from sb3_ppo_scratch.benchmark.speed import execution
from sb3_ppo_scratch.benchmark.speed.execution import (
    MeasurementError,
    describe,
    execute,
    measure_in_process,
    seconds_left,
)
from sb3_ppo_scratch.benchmark.speed.plan import Task
from sb3_ppo_scratch.benchmark.speed.results import Measurement, load_results
from tests.benchmark.speed.synthetic import made_up, measure_like_clockwork, results_of

A1, B1, A2, B2 = (
    Task("cartpole", competitor, "dummy", 1, round_, (("steps", 256),))
    for round_ in (1, 2)
    for competitor in ("stock", "stepping")
)


def test_tasks_run_in_the_plans_order_and_are_kept_one_by_one(tmp_path: Path) -> None:
    kept: list[int] = []

    def measure(task: Task) -> Measurement:
        path = tmp_path / "speed.json"
        kept.append(len(load_results(path).measurements) if path.exists() else 0)
        return measure_like_clockwork(task)

    results = results_of()
    execute(lambda known: [A1, B1, A2, B2], results, tmp_path / "speed.json", measure)
    assert list(results.measurements) == [A1, B1, A2, B2]
    assert kept == [0, 1, 2, 3]


def test_later_tasks_may_depend_on_earlier_results(tmp_path: Path) -> None:
    results = results_of()
    execute(
        lambda known: [A1, B2] if A1 in known.measurements else [A1], results, tmp_path / "f", measure_like_clockwork
    )
    assert list(results.measurements) == [A1, B2]


def test_what_has_been_measured_is_not_measured_again(tmp_path: Path) -> None:
    results, measured = results_of(measure_like_clockwork(A1)), []

    def measure(task: Task) -> Measurement:
        measured.append(task)
        return measure_like_clockwork(task)

    execute(lambda known: [A1, B1], results, tmp_path / "speed.json", measure)
    assert measured == [B1]


def test_a_failing_competitor_is_shown_and_does_not_stop_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tried = []

    def measure(task: Task) -> Measurement:
        tried.append(task)
        if task.competitor == "stock":
            raise MeasurementError("Traceback: ...\nValueError: too slow")
        return measure_like_clockwork(task)

    results = results_of()
    execute(lambda known: [A1, B1, A2, B2], results, tmp_path / "speed.json", measure)
    assert tried == [A1, B1, B2]
    assert results.failures == {A1: "ValueError: too slow"}
    assert load_results(tmp_path / "speed.json").failures == results.failures
    assert "FAILED, the others go on:\nTraceback: ...\nValueError: too slow" in capsys.readouterr().err


def test_ctrl_c_keeps_what_has_been_measured(tmp_path: Path) -> None:
    def measure(task: Task) -> Measurement:
        if task == B1:
            raise KeyboardInterrupt
        return measure_like_clockwork(task)

    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        execute(lambda known: [A1, B1], results_of(), tmp_path / "speed.json", measure)
    assert list(load_results(tmp_path / "speed.json").measurements) == [A1]


def test_progress_says_what_runs_how_fast_it_was_and_what_is_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    execute(lambda known: [A1, A2, B2], results_of(), tmp_path / "speed.json", measure_like_clockwork)
    first, *_ = capsys.readouterr().err.splitlines()
    # One round of stock took 7 s as a process (4 s of learning); the same is expected for its like, and for a
    # competitor that has not been seen yet.
    assert first == "[  1/3] cartpole, round 1: stock SB3 PPO, 1 thread … 64 steps/s (7 s; about 14 s left)"


def test_expected_seconds_follow_the_number_of_steps() -> None:
    task = Task("cartpole", "stock", "dummy", 1, 1, (("steps", 512),))
    known = results_of(made_up("stock", 0, 4.0, threads=1, steps=256, settings=(("steps", 256),)))
    assert seconds_left([task], known) == 3.0 + 8.0
    assert seconds_left([task], results_of()) == execution.GUESSED_SECONDS


def test_description_names_what_was_changed() -> None:
    task = Task("growth-width", "auto", "dummy", None, 2, (("steps", 512), ("width", 64)))
    assert describe(task) == 'growth-width, width=64, round 2: ours, update="auto"'


def test_each_measurement_is_one_process_with_its_own_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def run(words: list[str], *, env: dict[str, str], **options: object) -> SimpleNamespace:
        seen.append((words[1:3], env.get("OMP_NUM_THREADS"), env.get("OPENBLAS_NUM_THREADS")))
        line = '{"seconds": 2, "stepping": 1, "updating": 0, "steps": 9, "peak_mib": 1, "mean_return": null, '
        return SimpleNamespace(returncode=0, stdout=f'noise\n{line}"torch_threads": 1}}\n', stderr="")

    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setattr(subprocess, "run", run)
    limited = measure_in_process(A1)
    measure_in_process(Task("cartpole", "auto", "dummy", None, 1))
    module = ["-m", "sb3_ppo_scratch.benchmark.speed.measure"]
    assert seen == [(module, "1", "1"), (module, None, None)]
    assert (limited.task, limited.seconds, limited.steps) == (A1, 2, 9)
    assert os.environ["OMP_NUM_THREADS"] == "7"


def test_a_process_that_fails_gives_the_end_of_its_error() -> None:
    with pytest.raises(MeasurementError, match=r"invalid choice: 'threaded'"):
        measure_in_process(Task("cartpole", "stock", "threaded", 1, 1))


def test_a_process_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "TIMEOUT", 0.01)
    with pytest.raises(MeasurementError, match="no result after"):
        measure_in_process(A1)


def test_a_process_measures() -> None:
    task = Task("cartpole", "stock", "dummy", 1, 1, (("n_epochs", 1), ("steps", 512), ("warmup_rollouts", 1)))
    made = measure_in_process(task)
    assert (made.task, made.steps, made.torch_threads) == (task, 512, 1)
    assert 0.0 < made.stepping + made.updating < made.seconds < made.process_seconds
    assert made.peak_mib > 50.0
    assert made.mean_return is not None
    assert made.mean_return > 5.0
