"""Tests of `benchmark/speed/run.py` and of its command line, with made-up measurements and, once, with real ones."""

import contextlib
import dataclasses
import io
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sb3_ppo_scratch.__main__ import main
from sb3_ppo_scratch.benchmark.speed import measure, run
from sb3_ppo_scratch.benchmark.speed.execution import MeasurementError
from sb3_ppo_scratch.benchmark.speed.plan import Task
from sb3_ppo_scratch.benchmark.speed.results import Measurement, load_results
from sb3_ppo_scratch.benchmark.speed.run import SpeedOptions, run_speed
from sb3_ppo_scratch.benchmark.speed.workloads import ALL_WORKLOADS, WORKLOADS
from sb3_ppo_scratch.benchmark.threads import THREAD_VARIABLES
from tests.benchmark.speed.synthetic import ENVIRONMENT, measure_like_clockwork, results_of


@pytest.fixture(autouse=True)
def known_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "describe_machine", lambda: dict(ENVIRONMENT))
    monkeypatch.setattr(run, "_has", lambda _: False)


def one_workload(out: Path, **changes: object) -> SpeedOptions:
    return SpeedOptions(**{"workloads": ("cartpole",), "rounds": 2, "out": out, **changes})  # type: ignore[arg-type]


class StopsAt:
    """Measures until Ctrl-C comes."""

    def __init__(self, last: int) -> None:
        self.last = last
        self.measured: list[Task] = []

    def __call__(self, task: Task) -> Measurement:
        if len(self.measured) == self.last:
            raise KeyboardInterrupt
        self.measured.append(task)
        return measure_like_clockwork(task)


def test_a_run_writes_results_report_and_figure(tmp_path: Path) -> None:
    report = run_speed(one_workload(tmp_path / "new"), measure_like_clockwork)
    assert sorted(file.name for file in report.parent.iterdir()) == ["speed.json", "speed.md", "speed.png"]
    results = load_results(report.with_suffix(".json"))
    assert results.environment == ENVIRONMENT
    assert results.command == "python -m sb3_ppo_scratch benchmark speed --workloads cartpole --rounds 2"
    assert results.skipped == {
        "sbx": "not installed (pip install sbx-rl)",
        "envpool": "not installed (pip install envpool)",
    }
    assert not any(task.competitor == "sbx" for task in results.measurements)


def test_a_stopped_run_is_resumed_where_it_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole, before, after = StopsAt(-1), StopsAt(5), StopsAt(-1)
    run_speed(one_workload(tmp_path / "whole"), whole)
    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        run_speed(one_workload(tmp_path / "parts"), before)
    assert "Stopped after measurement 5; all are kept" in capsys.readouterr().err
    assert [file.name for file in (tmp_path / "parts").iterdir()] == ["speed.partial.json"]
    report = run_speed(one_workload(tmp_path / "parts", resume=True), after)
    assert before.measured + after.measured == whole.measured
    assert report.read_text() == (tmp_path / "whole" / "speed.md").read_text()


def test_a_stopped_run_is_not_overwritten(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        run_speed(one_workload(tmp_path), StopsAt(1))
    with pytest.raises(FileExistsError, match="continue it with --resume, or delete it"):
        run_speed(one_workload(tmp_path), measure_like_clockwork)


@pytest.mark.parametrize(("name", "value"), [("cores", 64), ("revision", "other"), ("versions", {"torch": "3"})])
def test_measurements_of_other_code_or_machines_are_not_mixed(
    name: str, value: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        run_speed(one_workload(tmp_path), StopsAt(1))
    monkeypatch.setattr(run, "describe_machine", lambda: {**ENVIRONMENT, name: value})
    with pytest.raises(ValueError, match=f"--resume: .*{name} .* is now"):
        run_speed(one_workload(tmp_path, resume=True), measure_like_clockwork)


def test_what_failed_is_tried_again_by_resume(tmp_path: Path) -> None:
    def measure(task: Task) -> Measurement:
        if task.competitor == "autograd":
            raise MeasurementError("broken")
        if task.round == 2:
            raise KeyboardInterrupt
        return measure_like_clockwork(task)

    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        run_speed(one_workload(tmp_path), measure)
    report = run_speed(one_workload(tmp_path, resume=True), measure_like_clockwork)
    assert load_results(report.with_suffix(".json")).failures == {}
    assert 'ours, update="autograd"' in report.read_text()


@pytest.mark.parametrize(
    ("options", "command"),
    [
        (SpeedOptions(), "--rounds 5"),
        (SpeedOptions(quick=True), "--quick --rounds 2"),
        (SpeedOptions(workloads=("dict",), growth=True), "--workloads dict --rounds 5 --growth --growth-rounds 3"),
    ],
    ids=["all", "quick", "growth"],
)
def test_the_command_is_written_down(options: SpeedOptions, command: str) -> None:
    assert options.completed().command() == f"python -m sb3_ppo_scratch benchmark speed {command}"


def test_a_quick_run_leaves_published_results_alone() -> None:
    assert SpeedOptions(quick=True).completed().out == Path("logs/benchmark")
    assert SpeedOptions().completed().out == Path("docs/results")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--workloads", "cartpol"], "--workloads does not know `cartpol`; did you mean `cartpole`?"),
        (["--rounds", "0"], "--rounds must be at least 1, got 0."),
        (["--growth-rounds", "-1"], "--growth-rounds must be at least 1, got -1."),
        (["--out", "a_file"], "--out a_file is a file; give a folder."),
        (["--out", "folder", "--resume"], "There is no file folder/speed.partial.json"),
        (["--report-only", "gone.json"], "There is no file gone.json"),
        (["--report-only", "a_file"], "a_file is no results file"),
    ],
    ids=["workload", "rounds", "growth rounds", "out", "resume", "report-only missing", "report-only other"],
)
def test_wrong_input_is_refused_by_name(
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a_file").write_text("text")
    assert main(["benchmark", "speed", *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error


def test_report_only_renders_a_results_file_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = run_speed(one_workload(tmp_path), measure_like_clockwork)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    report.unlink()
    assert main(["benchmark", "speed", "--report-only", str(tmp_path / "speed.json")]) == 0
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    assert "| CartPole-v1 | whole `learn` |" in capsys.readouterr().out


def test_a_run_without_any_measurement_still_reports(tmp_path: Path) -> None:
    results_of().save(tmp_path / "speed.json")
    assert main(["benchmark", "speed", "--report-only", str(tmp_path / "speed.json")]) == 0


def test_ctrl_c_ends_the_program_without_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(options: SpeedOptions) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "run_speed", stopped)
    assert main(["benchmark", "speed", "--quick"]) == 130


def test_help_names_the_workloads(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["benchmark", "speed", "--help"])
    assert "lander-parallel" in capsys.readouterr().out


def measure_in_this_process(words: list[str], **_: object) -> subprocess.CompletedProcess[str]:
    """Stand in for `subprocess.run`: the same command line, without the seconds that a process takes to start."""
    assert words[:3] == [sys.executable, "-m", "sb3_ppo_scratch.benchmark.speed.measure"]
    written = io.StringIO()
    with contextlib.redirect_stdout(written):
        measure.main(words[3:])
    return subprocess.CompletedProcess(words, 0, written.getvalue(), "")


def test_the_command_measures_and_reports_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = dataclasses.replace(WORKLOADS["cartpole"], steps=512, n_epochs=1, warmup_rollouts=1)
    for known in (WORKLOADS, ALL_WORKLOADS):
        monkeypatch.setitem(known, "cartpole", tiny)
    for variable in THREAD_VARIABLES:
        monkeypatch.setenv(variable, "1")  # so that what measuring sets does not outlive this test
    monkeypatch.setattr(run, "describe_machine", lambda: {**ENVIRONMENT, "cores": 1})
    monkeypatch.setattr(subprocess, "run", measure_in_this_process)
    assert main(["benchmark", "speed", "--workloads", "cartpole", "--rounds", "1", "--out", str(tmp_path)]) == 0
    results = load_results(tmp_path / "speed.json")
    assert results.failures == {}
    made = {task.competitor: measurement for task, measurement in results.measurements.items()}
    assert list(made) == ["stock", "auto", "autograd", "closed_form", "stepping"]
    for measurement in made.values():
        assert measurement.steps == 512
        assert 0.0 < measurement.stepping + measurement.updating <= measurement.seconds
    ratio = made["stock"].seconds / made["auto"].seconds
    printed = capsys.readouterr().out
    assert re.search(rf"\| CartPole-v1 \| whole `learn` \| 4.5 \| {ratio:.2f} ", printed)
    assert f'| ours, update="auto" | {made["auto"].rate:,.0f} ' in printed
    assert sorted(file.name for file in tmp_path.iterdir()) == ["speed.json", "speed.md", "speed.png"]
