"""Tests of `benchmark/training/records.py`."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sb3_ppo_scratch.benchmark.training.records import (
    EVALUATIONS_FILE,
    RECORD_FILE,
    digest_of,
    find_model,
    read_evaluations,
    read_record,
    write_record,
)
from tests.benchmark.training.synthetic import made_up_record


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    record = made_up_record([10.0, 20.0], identity="it")
    write_record(record, tmp_path)
    assert read_record(tmp_path) == record
    assert [file.name for file in tmp_path.iterdir()] == [RECORD_FILE]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": "another"}'], ids=str)
def test_a_damaged_record_is_none(text: str, tmp_path: Path) -> None:
    (tmp_path / RECORD_FILE).write_text(text)
    assert read_record(tmp_path) is None


def test_every_cut_of_a_record_is_none(tmp_path: Path) -> None:
    write_record(made_up_record([10.0]), tmp_path)
    whole = (tmp_path / RECORD_FILE).read_text()
    for end in range(len(whole)):
        (tmp_path / RECORD_FILE).write_text(whole[:end])
        assert read_record(tmp_path) is None


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"cut")], ids=["gone", "changed"])
def test_a_record_without_its_model_is_none(damage: Callable[[Path], object], tmp_path: Path) -> None:
    settings = tmp_path / "ppo" / "CartPole-v1_1" / "CartPole-v1"
    settings.mkdir(parents=True)
    (settings / "config.yml").write_text("")
    model = settings.with_name("CartPole-v1.zip")
    model.write_bytes(b"a model")
    assert find_model(tmp_path) == model
    record = replace(made_up_record([10.0]), model_digest=digest_of(model))
    write_record(record, tmp_path)
    assert read_record(tmp_path) == record
    damage(model)
    assert read_record(tmp_path) is None


def test_the_rate_of_what_takes_no_time_is_not_a_number() -> None:
    assert math.isnan(made_up_record([10.0, 10.0], seconds=0.0).rate)


def test_no_record_is_none(tmp_path: Path) -> None:
    assert read_record(tmp_path) is None


def test_evaluations_are_read_in_order(tmp_path: Path) -> None:
    numbers = {"seconds": 0.5, "rollout_seconds": 0.25}
    entries = [{"steps": steps, **numbers, "returns": [1.0, 2.0], "lengths": [3, 4]} for steps in (0, 10)]
    (tmp_path / EVALUATIONS_FILE).write_text(json.dumps(entries))
    points = read_evaluations(tmp_path)
    assert [point.steps for point in points] == [0, 10]
    assert (points[0].mean_return, points[0].lengths) == (1.5, (3, 4))


def test_solved_is_the_first_evaluation_at_the_threshold() -> None:
    record = made_up_record([0.0, 99.9, 100.0, 50.0, 200.0], seconds=2.0)
    assert record.solved_at(100.0) == (1000.0, 4.0)
    assert record.solved_at(201.0) == (math.inf, math.inf)
    assert record.final.mean_return == 200.0
    assert record.rate == 250.0
