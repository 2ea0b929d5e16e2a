"""Tests of `benchmark/training/ladder.py` and of its command line."""

from pathlib import Path

import pytest

from sb3_ppo_scratch.__main__ import main
from sb3_ppo_scratch.benchmark.training.ladder import LadderOptions, climb
from tests.benchmark.training.synthetic import write_plan
from tests.benchmark.training.test_execution import Trainer


def options(folder: Path, **changes: object) -> LadderOptions:
    """Options of a small ladder."""
    given = {"plan": write_plan(folder / "plan.yml"), "runs": folder / "runs", "out": folder / "out", **changes}
    return LadderOptions(**given)  # type: ignore[arg-type]


def test_table_and_figure_are_written(tmp_path: Path) -> None:
    report, failures = climb(options(tmp_path), Trainer())
    assert failures == {}
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["ladder.md", "ladder_CartPole-v1.png"]
    assert "python -m sb3_ppo_scratch benchmark ladder --plan plan.yml" in report.read_text()
    assert "| stock PPO |" in report.read_text()


def test_only_what_is_asked_for_is_made(tmp_path: Path) -> None:
    trainer = Trainer()
    report, _ = climb(options(tmp_path, rungs=["ours"], seeds=1, share=2), trainer)
    assert [(run.contestant.name, run.seed, run.goal.n_timesteps) for run in trainer.made] == [("ours", 1, 128)]
    assert "--rungs ours --seeds 1 --share 2" in report.read_text()


def test_report_only_trains_nothing(tmp_path: Path) -> None:
    trainer = Trainer()
    report, _ = climb(options(tmp_path, report_only=True), trainer)
    assert trainer.made == []
    assert "No run is finished yet." in report.read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--jobs", "0"], "--jobs must be at least 1, got 0"),
        (["--share", "0"], "--share must be at least 1, got 0"),
        (["--seeds", "0"], "at least 1 seed, not 0"),
        (["--rungs", "reinforc"], "did you mean `reinforce`"),
        (["--envs", "LunarLander-v2"], "did you mean `LunarLander-v3`"),
        (["--plan", "none.yml"], "there is no plan none.yml"),
        (["--out", __file__], "is a file; give a folder"),
        (["--runs", __file__], "is a file; give a folder"),
    ],
)
def test_mistakes_end_in_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark", "ladder", "--report-only", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1


@pytest.mark.slow
def test_the_command_trains_and_prints_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = write_plan(tmp_path / "plan.yml", seeds=[1])
    words = ["--plan", str(plan), "--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]
    assert main(["benchmark", "ladder", *words]) == 0
    first = capsys.readouterr()
    assert "| ours |" in first.out
    assert "0 of 2 runs are there; 2 to do" in first.err
    assert main(["benchmark", "ladder", *words]) == 0
    second = capsys.readouterr()
    assert "2 of 2 runs are there; 0 to do" in second.err
    assert second.out == first.out
