"""Tests of `benchmark/speed/workloads.py`."""

from pathlib import Path

import pytest
import rl_zoo3
import yaml

from sb3_ppo_scratch.benchmark.speed.workloads import ALL_WORKLOADS, WORKLOADS

ZOO = yaml.safe_load((Path(rl_zoo3.__file__).parent / "hyperparams" / "ppo.yml").read_text())
DEFAULTS = {"learning_rate": 3e-4, "clip_range": 0.2, "ent_coef": 0.0, "vf_coef": 0.5}


def as_number(value: float | str) -> tuple[bool, float]:
    """Whether it is a linear schedule, and its number: the zoo writes lin_0.001 where we write lin_1e-3."""
    return isinstance(value, str), float(str(value).removeprefix("lin_"))


@pytest.mark.parametrize(
    ("name", "block"),
    [
        ("cartpole", "CartPole-v1"),
        ("lander", "LunarLander-v3"),
        ("lander-continuous", "LunarLanderContinuous-v3"),
        ("lander-parallel", "LunarLander-v3"),
        ("cnn", "atari"),
    ],
)
def test_hyperparameters_are_the_zoos(name: str, block: str) -> None:
    workload, zoo = WORKLOADS[name], ZOO[block]
    assert (workload.n_envs, workload.n_steps) == (zoo["n_envs"], zoo["n_steps"])
    assert (workload.batch_size, workload.n_epochs) == (zoo["batch_size"], zoo["n_epochs"])
    for key in {"gamma", "gae_lambda", "learning_rate", "clip_range", "ent_coef", "vf_coef"} & set(zoo):
        assert as_number(workload.arguments.get(key, DEFAULTS.get(key, "missing"))) == as_number(zoo[key]), key
    assert set(workload.arguments) <= set(zoo)


@pytest.mark.parametrize("name", ALL_WORKLOADS)
def test_steps_are_whole_rollouts_of_whole_minibatches(name: str) -> None:
    workload = ALL_WORKLOADS[name]
    assert workload.steps % workload.rollout == 0
    assert workload.rollout % workload.batch_size == 0


def test_settings_change_a_copy() -> None:
    assert WORKLOADS["cartpole"].with_settings({"n_envs": 2}).rollout == 64
    assert WORKLOADS["cartpole"].rollout == 256


def test_unknown_setting_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(TypeError, match=r"did you mean `n_steps`\?"):
        WORKLOADS["cartpole"].with_settings({"n_step": 2})
