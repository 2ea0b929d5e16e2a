"""Tests of docs/benchmark.md: what it shows works."""

import re
from pathlib import Path

import pytest

from sb3_ppo_scratch.benchmark.training.plan_files import load_plan

DOCUMENT = (Path(__file__).parents[3] / "docs" / "benchmark.md").read_text()


def block(language: str) -> str:
    """The only block in a language."""
    [found] = re.findall(rf"```{language}\n(.*?)```", DOCUMENT, flags=re.DOTALL)
    return str(found)


def test_the_plan_is_one(tmp_path: Path) -> None:
    (tmp_path / "plan.yml").write_text(block("yaml"))
    plan = load_plan(tmp_path / "plan.yml")
    assert [each.name for each in plan.contestants] == ["ours-scaled", "ours-raw", "stock"]
    assert plan.contestants[1].hyperparams == {"env_wrapper": []}
    assert len(plan.runs()) == 15


@pytest.mark.slow
def test_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(block("python"), "benchmark.md", "exec"), {})
    assert "0 changed beyond noise" in capsys.readouterr().out
    assert (tmp_path / "report" / "report.html").is_file()
