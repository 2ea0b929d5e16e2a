"""Tests of `benchmark/speed/results.py`."""

import json
from pathlib import Path

import pytest

from sb3_ppo_scratch.benchmark.speed.plan import Task
from sb3_ppo_scratch.benchmark.speed.results import load_results
from tests.benchmark.speed.synthetic import made_up, results_of


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    results = results_of(made_up("stock", 1, 2.0, threads=1), made_up("auto", 1, 1.0, settings=(("steps", 256),)))
    results.failures[Task("cartpole", "autograd", "dummy", 1, 1)] = "RuntimeError: broken"
    results.skipped["sbx"] = "not installed"
    results.save(tmp_path / "new" / "speed.json")
    assert load_results(tmp_path / "new" / "speed.json") == results


def test_each_measurement_has_its_line(tmp_path: Path) -> None:
    results_of(made_up("stock", 1, 2.0), made_up("auto", 1, 1.0)).save(tmp_path / "speed.json")
    lines = (tmp_path / "speed.json").read_text().splitlines()
    assert len([line for line in lines if '"competitor"' in line]) == 2


def test_a_crash_while_writing_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "speed.json"
    results_of(made_up("stock", 1, 2.0)).save(path)
    before = path.read_text()
    monkeypatch.setattr(json, "dumps", lambda record: 1 / 0)
    with pytest.raises(ZeroDivisionError, match="division"):
        results_of().save(path)
    assert path.read_text() == before


def test_acting_is_what_neither_stepping_nor_updating_took() -> None:
    assert made_up("auto", 1, 10.0, updating=4.0).acting == 3.0


@pytest.mark.parametrize(
    "text",
    ["not json", "[]", '{"format": "another"}', '{"format": "sb3-ppo-scratch speed, version 1"}'],
    ids=["text", "list", "other format", "nothing else"],
)
def test_other_files_are_refused_by_name(text: str, tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text(text)
    with pytest.raises(ValueError, match=r"other\.json is no results file of `benchmark speed`"):
        load_results(tmp_path / "other.json")


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no file .*gone\.json"):
        load_results(tmp_path / "gone.json")
