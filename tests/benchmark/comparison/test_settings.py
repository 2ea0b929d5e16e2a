"""Tests of `benchmark.comparison.settings` and `.tables`."""

from pathlib import Path

from sb3_ppo_scratch.benchmark.comparison.run import read_snapshot
from sb3_ppo_scratch.benchmark.comparison.settings import compare_settings, settings_of
from sb3_ppo_scratch.benchmark.comparison.summary import summarize
from sb3_ppo_scratch.benchmark.comparison.tables import pairs_table, returns_table, settings_table
from tests.benchmark.comparison.made_up import write_runs

DASH = "\N{EN DASH}"


def test_settings_are_those_that_rl_zoo3_has_written_down(tmp_path: Path) -> None:
    summary = summarize(*read_snapshot(write_runs(tmp_path)))[0]
    settings = settings_of(summary, tmp_path)
    assert settings.names == ("ours", "stock PPO")
    assert settings.different == {"algorithm": ("ppo_scratch", "ppo"), "n_envs": ("8", "1")}
    assert settings.same == {"gamma": "0.99"}


def test_numbers_are_compared_as_they_are_shown() -> None:
    settings = compare_settings({"a": {"n": 64.0, "lr": "lin_1e-3"}, "b": {"n": 64, "lr": 0.001}})
    assert settings.same == {"n": "64"}
    assert settings.different == {"lr": ("lin_1e-3", "0.001")}
    assert settings_table(("a", "b"), {"gamma": ("0.9", "")}).rows == (("gamma", "0.9", DASH),)


def test_tables_show_every_algorithm_and_every_pair(tmp_path: Path) -> None:
    summary = summarize(*read_snapshot(write_runs(tmp_path)))[0]
    returns = returns_table(summary)
    assert [row[0] for row in returns.rows] == ["ours (the new one)", "stock PPO (the old one)", "random actions"]
    assert [row[2] for row in returns.rows] == ["101.0", "100.0", "101.0"]
    assert [row[4] for row in returns.rows] == ["6 of 6"] * 3
    assert [row[6] for row in returns.rows] == ["2.00", "6.00", DASH]
    assert returns.rows[2][7] == DASH
    assert {len(row) for row in returns.rows} == {len(returns.header)}
    pairs = pairs_table(summary)
    assert pairs is not None
    assert [row[:3] for row in pairs.rows] == [("ours", "stock PPO", "6")]
    assert pairs.rows[0][3:5] == ("1.0 [1.0, 1.0]", "equivalent")
    assert pairs.rows[0][6] == "3.00 [3.00, 3.00]"
