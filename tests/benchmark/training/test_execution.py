"""Tests of `benchmark/training/execution.py`."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sb3_ppo_scratch.benchmark.training.execution import execute, finished
from sb3_ppo_scratch.benchmark.training.plan import Run
from sb3_ppo_scratch.benchmark.training.process import TrainingError, identity
from sb3_ppo_scratch.benchmark.training.records import RECORD_FILE, RunRecord, write_record
from tests.benchmark.training.synthetic import PLAN, made_up_record


class Trainer:
    """Stands in for processes: notes what it is asked for, and fails where it is told to."""

    def __init__(self, failing: tuple[int, ...] = ()) -> None:
        self.made: list[Run] = []
        self._failing = failing

    def __call__(self, run: Run, folder: Path, _started: Callable[[Any], None]) -> RunRecord:
        """Make a record."""
        self.made.append(run)
        if run.seed in self._failing:
            raise TrainingError("no luck")
        record = made_up_record([1.0, 2.0], identity=identity(run))
        folder.mkdir(parents=True, exist_ok=True)
        write_record(record, folder)
        return record


def test_all_runs_are_made_and_returned_in_the_plans_order(tmp_path: Path) -> None:
    trainer = Trainer()
    records, failures = execute(PLAN.runs(), tmp_path, 2, trainer)
    assert list(records) == PLAN.runs()
    assert sorted(run.folder for run in trainer.made) == sorted(run.folder for run in PLAN.runs())
    assert failures == {}


def test_what_is_there_is_not_made_again(tmp_path: Path) -> None:
    execute(PLAN.runs()[:4], tmp_path, 1, Trainer())
    trainer = Trainer()
    records, _ = execute(PLAN.runs(), tmp_path, 1, trainer)
    assert trainer.made == PLAN.runs()[4:]
    assert len(records) == 6


def test_damaged_runs_and_those_of_other_settings_are_made_again(tmp_path: Path) -> None:
    runs = PLAN.runs()
    execute(runs, tmp_path, 1, Trainer())
    (tmp_path / runs[0].folder / RECORD_FILE).write_text("{")
    write_record(made_up_record([1.0], identity="other"), tmp_path / runs[3].folder)
    assert set(finished(runs, tmp_path)) == set(runs) - {runs[0], runs[3]}
    trainer = Trainer()
    execute(runs, tmp_path, 1, trainer)
    assert trainer.made == [runs[0], runs[3]]


def test_a_run_that_fails_does_not_stop_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records, failures = execute(PLAN.runs(), tmp_path, 2, Trainer(failing=(2,)))
    assert {run.seed for run in records} == {1, 3}
    assert {run.seed for run in failures} == {2}
    assert set(failures.values()) == {"no luck"}
    assert "no luck" in capsys.readouterr().out


def test_interrupting_ends_the_processes_in_flight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    processes: list[subprocess.Popen[bytes]] = []

    def train(_run: Run, _folder: Path, started: Callable[[Any], None]) -> RunRecord:
        process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        processes.append(process)
        started(process)
        process.wait()
        raise TrainingError("ended")

    def interrupt(*_arguments: Any, **_keywords: Any) -> Any:
        while len(processes) < 2:
            time.sleep(0.01)
        raise KeyboardInterrupt

    monkeypatch.setattr("sb3_ppo_scratch.benchmark.training.execution.tqdm", interrupt)
    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        execute(PLAN.runs(), tmp_path, 2, train)
    assert all(process.returncode == -9 for process in processes)
    assert len(processes) <= 3  # one more may have begun before it was told
