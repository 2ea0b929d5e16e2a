"""Tests of `benchmark/speed/main_table.py`."""

import pytest

from sb3_ppo_scratch.benchmark.speed.main_table import (
    best_stock,
    plan_main_table,
    plan_round,
    plan_trial,
    thread_counts,
)
from sb3_ppo_scratch.benchmark.speed.plan import TRIAL_ROUND, Task
from sb3_ppo_scratch.benchmark.speed.workloads import WORKLOADS
from tests.benchmark.speed.synthetic import made_up, results_of


def who(tasks: list[Task]) -> list[tuple[str, str, int | None]]:
    return [task.variant for task in tasks]


@pytest.mark.parametrize(("cores", "counts"), [(1, [1]), (2, [1, 2]), (4, [1, 2, 4]), (12, [1, 2, 4, 8, 12])], ids=str)
def test_threads_tried_end_with_all_cores(cores: int, counts: list[int]) -> None:
    assert thread_counts(cores) == counts


def test_a_round_has_each_competitor_once_in_turn() -> None:
    assert who(plan_round("cartpole", 1, ("dummy", 1))) == [
        ("stock", "dummy", 1),
        ("auto", "dummy", None),
        ("autograd", "dummy", 1),
        ("closed_form", "dummy", 1),
        ("sbx", "dummy", None),
        ("stepping", "dummy", 1),
    ]


def test_stock_takes_part_at_its_best_too() -> None:
    tasks = who(plan_round("lander-parallel", 1, ("subproc", 2), skipped=["sbx"]))
    assert tasks == [
        ("stock", "dummy", 1),
        ("auto", "sharded", None),
        ("auto", "envpool", None),
        ("stock", "subproc", 2),
        ("stepping", "sharded", 1),
        ("stepping", "envpool", 1),
    ]


def test_what_is_not_installed_takes_no_part() -> None:
    tasks = who(plan_round("lander-parallel", 1, ("dummy", 1), skipped=["sbx", "envpool"]))
    assert tasks == [("stock", "dummy", 1), ("auto", "sharded", None), ("stepping", "sharded", 1)]


@pytest.mark.parametrize("name", ["custom-mlp", "dict", "cnn"])
def test_the_jax_competitor_is_not_asked_for_torch_networks(name: str) -> None:
    assert "sbx" not in {task.competitor for task in plan_round(name, 1, ("dummy", 1))}


def test_rounds_follow_each_other_a_b_a_b_after_the_trial() -> None:
    tasks = plan_main_table(["cartpole", "lander"], 2, results_of())
    assert [task.round for task in tasks] == sorted(task.round for task in tasks)
    assert {task.competitor for task in tasks if task.round == TRIAL_ROUND} == {"stock"}
    rounds = [[task.variant for task in tasks if task.workload == "lander" and task.round == n] for n in (1, 2)]
    assert rounds[0] == rounds[1]
    assert len(set(tasks)) == len(tasks)


def test_the_trial_decides_which_stock_takes_part() -> None:
    trial = plan_trial("cartpole", cores=2)
    assert who(trial) == [("stock", "dummy", 1), ("stock", "dummy", 2)]
    slow, fast = (
        made_up("stock", TRIAL_ROUND, seconds, threads=task.threads, settings=task.settings)
        for seconds, task in zip((3.0, 2.0), trial, strict=True)
    )
    known = results_of(slow, fast)
    assert best_stock(known, "cartpole") == ("dummy", 2)
    assert ("stock", "dummy", 2) in who(plan_main_table(["cartpole"], 1, known)[2:])
    assert best_stock(known, "lander") == ("dummy", 1)


def test_one_core_needs_no_trial_unless_there_are_vec_envs_to_choose_from() -> None:
    assert plan_trial("lander", cores=1) == []
    assert who(plan_trial("lander-parallel", cores=1)) == [("stock", "dummy", 1), ("stock", "subproc", 1)]


def test_a_quick_run_has_fewer_steps_in_whole_rollouts_and_only_what_the_comparison_needs() -> None:
    tasks = plan_main_table(["cartpole", "lander"], 1, results_of(), quick=True)
    for task in tasks:
        workload = task.built_workload
        assert workload.steps % workload.rollout == 0
        assert 0 < workload.steps <= WORKLOADS[task.workload].steps / 4
    assert {task.competitor for task in tasks} == {"stock", "auto", "stepping"}
