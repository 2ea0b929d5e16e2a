"""Tests of `benchmark/speed/report.py` and `benchmark/speed/figures.py`, on made-up measurements."""

import re
from pathlib import Path

import pytest

from sb3_ppo_scratch.benchmark.speed.plan import Task
from sb3_ppo_scratch.benchmark.speed.report import render, write_report
from sb3_ppo_scratch.benchmark.speed.results import Results
from sb3_ppo_scratch.benchmark.speed.run import SpeedOptions, plan_everything
from tests.benchmark.speed.synthetic import made_up, measure_like_clockwork, results_of


def cells(markdown: str, start: str) -> list[str]:
    """The cells of the only line that starts so."""
    [line] = [line for line in markdown.splitlines() if line.startswith(start)]
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.fixture
def complete() -> Results:
    """A whole run: every competitor takes 1 s, stock 4 s with one thread and 5 s with two."""
    results = results_of(rounds=2)
    options = SpeedOptions(rounds=2, growth=True, growth_rounds=1).completed()
    while left := [task for task in plan_everything(options, results) if task not in results.measurements]:
        results.measurements[left[0]] = measure_like_clockwork(left[0])
    return results


def test_targets_are_judged_by_the_median_of_the_paired_ratios() -> None:
    results = results_of(
        made_up("stock", 1, 10.0, threads=1),
        made_up("auto", 1, 2.0),
        made_up("stepping", 1, 1.0, threads=1),
        made_up("stock", 2, 8.0, threads=1),
        made_up("auto", 2, 2.0),
        made_up("stepping", 2, 0.5, threads=1),
    )
    row = cells(render(results, {}), "| CartPole-v1 | whole")
    assert row[2:] == [
        "4.5",
        "4.50 (4.00 to 5.00)",
        "yes",
        "13.00 (10.00 to 16.00)",
        "38%",
        "500 (500 to 500) steps/s",
        "112 (100 to 125) steps/s, 1 thread",
    ]


@pytest.mark.parametrize(("fastest", "other"), [("sharded", "envpool"), ("envpool", "sharded")])
def test_of_several_vec_envs_the_fastest_counts_with_its_own_limit(fastest: str, other: str) -> None:
    made = [
        made_up(competitor, 1, seconds, workload="lander-parallel", vec_env=kind, threads=threads)
        for competitor, seconds, kind, threads in (
            ("stock", 10.0, "dummy", 1),
            ("auto", 2.0, fastest, None),
            ("auto", 4.0, other, None),
            ("stepping", 1.0, fastest, 1),
            ("stepping", 0.1, other, 1),
        )
    ]
    report = render(results_of(*made), {})
    row = cells(report, "| LunarLander-v3, 2 cores | whole")
    assert row[2:7] == ["4.5", f"5.00 (5.00 to 5.00), {fastest}", "yes", "10.00 (10.00 to 10.00)", "50%"]
    memory = cells(report, f'| LunarLander-v3, 2 cores | ours, update="auto", {fastest} |')
    assert memory[3] == ""  # a bound on memory there is in one process only


def test_a_missed_target_is_called_so() -> None:
    results = results_of(made_up("stock", 1, 4.0, threads=1), made_up("auto", 1, 1.0))
    assert cells(render(results, {}), "| CartPole-v1 | whole")[3:5] == ["4.00 (4.00 to 4.00)", "**no**"]


def test_updates_alone_are_compared_by_their_own_time(complete: Results) -> None:
    row = cells(render(complete, {}), "| LunarLander-v3, Dict of vectors | updates")
    assert row[3:5] == ["4.00 (4.00 to 4.00)", "yes"]
    assert row[7] == "15.26 (15.26 to 15.26) µs/step"  # 0.5 s for 32,768 steps


def test_too_much_memory_and_other_returns_are_called_so() -> None:
    results = results_of(
        made_up("stock", 1, 4.0, threads=1, mean_return=10.0),
        made_up("auto", 1, 1.0, peak_mib=120.0, mean_return=30.0),
        made_up("stock", 2, 4.0, threads=1, mean_return=12.0),
        made_up("auto", 2, 1.0, peak_mib=120.0, mean_return=32.0),
    )
    row = cells(render(results, {}), '| CartPole-v1 | ours, update="auto"')
    assert row[2:] == ["1.20 (1.20 to 1.20)", "**no**", "31.0", "11.0", "1.4", "0.005", "0 of 2 seeds", "**disagree**"]


def test_competitors_are_listed_with_the_split_of_their_time(complete: Results) -> None:
    section = render(complete, {}).split("### CartPole-v1\n")[1].split("###")[0]
    row = cells(section, '| ours, update="autograd"')
    assert row[1:3] == ["51,200 (51,200 to 51,200)", "4.00 (4.00 to 4.00)"]
    assert row[3:6] == ["4.9", "4.9", "9.8"]  # 0.25, 0.25 and 0.5 s for 51,200 steps


def test_growth_names_every_point_below_the_floor(complete: Results) -> None:
    assert "At none of the 26 points is ours below 0.95" in render(complete, {})
    slow = next(
        task for task in complete.measurements if dict(task.settings).get("width") == 128 and task.competitor == "auto"
    )
    complete.measurements[slow] = made_up(
        "auto", 1, 5.0, workload=slow.workload, settings=slow.settings, steps=slow.built_workload.steps
    )
    assert "**Below 0.95 of stock in the paired median:** layer width (units) 128: 0.80 (0.80 to 0.80)." in render(
        complete, {}
    )


def test_growth_does_not_speak_of_points_that_are_missing(complete: Results) -> None:
    for task in [task for task in complete.measurements if task.workload == "growth-workers"]:
        del complete.measurements[task]
    assert "Only 22 of 26 points have been measured" in render(complete, {})


def test_failures_and_absences_are_told() -> None:
    results = results_of(made_up("stock", 1, 4.0, threads=1))
    results.failures[Task("cartpole", "auto", "dummy", None, 1)] = "ValueError: broken"
    results.skipped["sbx"] = "not installed"
    markdown = render(results, {})
    assert cells(markdown, "| CartPole-v1 | whole")[3:5] == ["failed, see below", "**no**"]
    assert '- Failed: cartpole, ours, update="auto", round 1: ValueError: broken' in markdown
    assert "- `sbx` did not take part: not installed." in markdown


def test_nothing_measured_says_so() -> None:
    assert "No round is complete yet." in render(results_of(), {})


def test_tables_are_well_formed(complete: Results) -> None:
    for block in re.findall(r"(?:^\|.*\|\n)+", render(complete, {}), flags=re.MULTILINE):
        assert len({line.count("|") for line in block.splitlines()}) == 1


def test_the_same_results_give_the_same_files(complete: Results, tmp_path: Path) -> None:
    written = []
    for folder in (tmp_path / "first", tmp_path / "second"):
        folder.mkdir()
        report = write_report(complete, folder / "speed.json")
        assert report.name == "speed.md"
        assert "](speed.png)" in report.read_text()
        assert "](speed.growth.png)" in report.read_text()
        written.append({file.name: file.read_bytes() for file in folder.iterdir()})
    assert set(written[0]) == {"speed.md", "speed.png", "speed.growth.png"}
    assert written[0] == written[1]


def test_without_curves_there_is_no_figure_of_them(tmp_path: Path) -> None:
    write_report(results_of(made_up("stock", 1, 4.0, threads=1)), tmp_path / "speed.json")
    assert {file.name for file in tmp_path.iterdir()} == {"speed.md", "speed.png"}
