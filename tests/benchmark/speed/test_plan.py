"""Tests of `benchmark/speed/plan.py`."""

import pytest

from sb3_ppo_scratch.benchmark.speed.measure import build_parser
from sb3_ppo_scratch.benchmark.speed.plan import Task, sorted_settings, task_from_dict

TASKS = {
    "plain": Task("cartpole", "stock", "dummy", 2, 3),
    "changed": Task("lander-parallel", "auto", "sharded", None, 1, (("n_workers", 3), ("steps", 4096))),
}


@pytest.mark.parametrize("name", TASKS)
def test_a_task_survives_being_a_dict(name: str) -> None:
    assert task_from_dict(TASKS[name].as_dict()) == TASKS[name]


@pytest.mark.parametrize("name", TASKS)
def test_its_command_line_is_understood_by_the_measuring_process(name: str) -> None:
    task, words = TASKS[name], build_parser().parse_args(TASKS[name].words())
    assert (words.workload, words.competitor, words.vec_env) == (task.workload, task.competitor, task.vec_env)
    assert (words.threads, words.seed) == (task.threads, task.round)
    assert words.set == [f"{key}={value}" for key, value in task.settings]


def test_settings_are_one_task_in_whatever_order_they_are_given() -> None:
    assert sorted_settings({"steps": 1, "n_envs": 2}) == sorted_settings({"n_envs": 2, "steps": 1})


@pytest.mark.parametrize(
    ("task", "title"),
    [
        (Task("cartpole", "stock", "dummy", 1, 1), "stock SB3 PPO, 1 thread"),
        (Task("lander-parallel", "stock", "subproc", 2, 1), "stock SB3 PPO, subproc, 2 threads"),
        (Task("cartpole", "autograd", "dummy", 1, 1), 'ours, update="autograd"'),
    ],
    ids=["threads", "vec_env", "ours"],
)
def test_title_says_what_the_name_leaves_open(task: Task, title: str) -> None:
    assert task.title == title
