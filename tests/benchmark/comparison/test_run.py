"""Tests of `benchmark.comparison.run`, of the checks before it, and of the command line."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from sb3_ppo_scratch.__main__ import main
from sb3_ppo_scratch.benchmark.comparison.results import read_results
from sb3_ppo_scratch.benchmark.comparison.run import RunOptions, make_runs, read_snapshot
from sb3_ppo_scratch.benchmark.training.records import RECORD_FILE
from tests.benchmark.comparison.made_up import COMPARISON, write_runs
from tests.benchmark.training.synthetic import write_plan
from tests.benchmark.training.test_execution import Trainer

OURS = {"title": "ours", "algorithm": "ppo_scratch", "config": "ppo_scratch.yml", "against": ["stock"]}
STOCK = {"title": "stock PPO", "algorithm": "ppo", "config": "ppo_scratch.yml"}


def test_runs_are_made_and_found_again_with_their_plan(tmp_path: Path) -> None:
    plan = write_plan(tmp_path / "plan.yml")
    options = RunOptions(str(plan), contestants=["ours"], seeds=3, share=2, jobs=2, runs=tmp_path / "runs")
    records, failures = make_runs(options, Trainer())
    assert failures == {}
    assert [(run.contestant.name, run.seed, run.goal.n_timesteps) for run in records] == [
        ("ours", 1, 128), ("ours", 2, 128), ("ours", 3, 128)
    ]  # fmt: skip
    assert read_snapshot(tmp_path / "runs")[1] == records


def test_runs_lie_in_a_folder_of_the_plans_name() -> None:
    assert RunOptions().folder == Path("logs/benchmark/default")
    assert RunOptions("plans/mine.yml").folder == Path("logs/benchmark/mine")


def test_a_finished_comparison_needs_no_hyperparameter_files(tmp_path: Path) -> None:
    (tmp_path / "mine.yml").write_text(yaml.safe_dump({"CartPole-v1": {"n_steps": 8, "policy": "MlpPolicy"}}))
    plan = write_plan(tmp_path / "plan.yml", contestants={"it": {**STOCK, "config": "mine.yml"}})
    made, _ = make_runs(RunOptions(str(plan), runs=tmp_path / "runs"), Trainer())
    (tmp_path / "mine.yml").unlink()
    _, records = read_snapshot(tmp_path / "runs")
    assert list(records.values()) == list(made.values())


BROKEN = "CartPole-v1: {n_step: 8}\nAcrobot-v1: {n_steps: 8, env_wrapper: sb3_ppo_scratch.wrappers.ScaleRewards}\n"


@pytest.mark.parametrize(
    ("words", "changes", "message"),
    [
        (["--jobs", "0"], {}, "--jobs must be at least 1, got 0"),
        (["--share", "0"], {}, "--share must be at least 1, got 0"),
        (["--seeds", "0"], {}, "at least 1 seed, not 0"),
        (["--contestants", "our"], {}, "did you mean `ours`"),
        (["--envs", "CartPole-v0"], {}, "did you mean `CartPole-v1`"),
        (["--runs", __file__], {}, "is a file; give a folder"),
        (["--ray", "localhost:1"], {}, "Ray"),
        (
            [],
            {"environments": {"CartPol-v1": {"n_timesteps": 1, "evaluate_every": 1, "solved": 1}}},
            "Gymnasium does not know `CartPol-v1`; did you mean `CartPole-v1`",
        ),
        (
            [],
            {"environments": {"A-v1": {"n_timesteps": 1, "evaluate_every": 1, "solved": 1, "packages": ["no_such"]}}},
            "A-v1: the package no_such cannot be imported",
        ),
        (
            [],
            {"contestants": {"it": {**STOCK, "algorithm": "ppo_scrach"}}},
            "rl_zoo3 does not know `ppo_scrach`; did you mean `ppo_scratch`",
        ),
        (
            [],
            {"contestants": {"it": {**STOCK, "config": "broken.yml"}}},
            "does not know `n_step`; did you mean `n_steps`",
        ),
        ([], {"contestants": {"it": {**STOCK, "config": "empty.yml"}}}, "says nothing about this environment"),
        ([], {"contestants": {"it": {**STOCK, "config": "no_yaml.yml"}}}, "no_yaml.yml is no YAML"),
        (
            [],
            {"contestants": {"it": {**STOCK, "hyperparams": {"gama": 0.9}}}},
            "does not know `gama`; did you mean `gamma`",
        ),
        (
            [],
            {
                "environments": {"Acrobot-v1": {"n_timesteps": 1, "evaluate_every": 1, "solved": 1}},
                "contestants": {"it": {**STOCK, "config": "broken.yml"}},
            },
            "did you mean sb3_ppo_scratch.wrappers.ScaleReward?",
        ),
    ],
)
def test_mistakes_end_in_one_line_before_anything_is_trained(
    words: list[str],
    changes: dict[str, object],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.yml").write_text(BROKEN)
    (tmp_path / "empty.yml").write_text("Pendulum-v1: {n_steps: 8}")
    (tmp_path / "no_yaml.yml").write_text("a: [")
    write_plan(tmp_path / "plan.yml", **changes)
    assert main(["benchmark", "run", "plan.yml", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1
    assert not list(tmp_path.rglob("seed_*"))


def test_unknown_plans_and_folders_end_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, message in (
        (["run", "smal"], "there is no plan file smal, and no plan of that name; there are default, ladder, small"),
        (["report", str(tmp_path)], "`benchmark run` makes them"),
        (["compare", str(tmp_path), str(tmp_path)], "`benchmark report` writes results.json"),
    ):
        assert main(["benchmark", *words]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("command", ["run", "report", "compare"])
def test_help_shows_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["benchmark", command, "--help"])
    assert f"  python -m sb3_ppo_scratch benchmark {command} " in capsys.readouterr().out


def test_reports_are_compared_and_a_worse_one_has_a_status_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = write_runs(tmp_path / "runs", replace(COMPARISON, seeds=tuple(range(1, 11))))
    assert main(["benchmark", "report", str(runs)]) == 0
    assert capsys.readouterr().out.splitlines() == [str(runs / "report" / f"report.{kind}") for kind in ("html", "md")]
    assert main(["benchmark", "compare", str(runs), str(runs)]) == 0
    assert capsys.readouterr().out.startswith("28 figures compared: 0 changed beyond noise, 0 cannot be told.")
    results = runs / "report" / "results.json"
    worse = tmp_path / "worse.json"
    worse.write_text(results.read_text().replace('"final": 10', '"final": 1'))
    assert main(["benchmark", "compare", str(results), str(worse)]) == 1
    told = capsys.readouterr().out
    assert "| CartPole-v1 | stock | return at the end | 105 | 15 | " in told
    assert main(["benchmark", "compare", str(worse), str(results)]) == 0


def run_command(folder: Path, *words: str) -> Sequence[str]:
    """The command that makes the runs of `folder/plan.yml`."""
    return [sys.executable, "-m", "sb3_ppo_scratch", "benchmark", "run", str(folder / "plan.yml"), "--runs", *words]


@pytest.mark.slow
def test_a_comparison_that_was_killed_goes_on_and_ends_in_the_same_report(tmp_path: Path) -> None:
    write_plan(
        tmp_path / "plan.yml",
        contestants={"ours": OURS, "stock": STOCK, "random": {"title": "random", "algorithm": "random"}},
        evaluation={"n_episodes": 2, "n_final_episodes": 4},
    )
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(run_command(tmp_path, str(killed), "--jobs", "1"), **quiet)  # type: ignore[call-overload]
    while len(list(killed.rglob(RECORD_FILE))) < 2:
        assert process.poll() is None
        time.sleep(0.05)
    time.sleep(1.0)  # within the third run
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    begun = {path: path.stat().st_mtime_ns for path in killed.rglob(RECORD_FILE)}
    assert 2 <= len(begun) < 6
    for folder in (killed, whole):
        subprocess.run(run_command(tmp_path, str(folder)), check=True, **quiet)  # type: ignore[call-overload]
        assert main(["benchmark", "report", str(folder), "--trusted"]) == 0
    assert {path: path.stat().st_mtime_ns for path in begun} == begun
    assert without_times(read_results(killed)["environments"]) == without_times(read_results(whole)["environments"])
    assert (killed / "report" / "CartPole-v1_film.mp4").stat().st_size > 1000


OF_TIME = frozenset({"seconds", "n_seconds", "rate", "collecting", "updating", "by_seconds", "speedup"})


def without_times(figures: object) -> object:
    """Leave out of JSON what is another one each time."""
    if isinstance(figures, dict):
        return {name: without_times(value) for name, value in figures.items() if name not in OF_TIME}
    return [without_times(each) for each in figures] if isinstance(figures, list) else figures


@pytest.mark.slow
def test_the_default_plan_runs_and_is_reported(tmp_path: Path) -> None:
    words = ["benchmark", "run", "default", "--runs", str(tmp_path), "--seeds", "2", "--share", "50"]
    assert main(words) == 0
    assert main(["benchmark", "report", str(tmp_path), "--trusted"]) == 0
    results = read_results(tmp_path)
    assert [each["goal"]["env_id"] for each in results["environments"]] == [
        "CartPole-v1", "LunarLander-v3", "LunarLanderContinuous-v3"
    ]  # fmt: skip
    assert results["about"]["missing"] == {}
    assert results["about"]["n_runs"] == 2 * (4 + 4 + 6)
    page = (tmp_path / "report" / "report.html").read_text()
    assert "Fewer than 5 seeds: no intervals, and no verdicts." in page
    assert page.count("<video ") == 3
