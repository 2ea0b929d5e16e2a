"""Tests of the LunarLander-v2 ids (`zoo/lunar_lander_ids.py`, `zoo/lunar_lander_v2.py`)."""

import copy
import pickle
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec, registry
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import SubprocVecEnv

from sb3_ppo_scratch.zoo.lunar_lander_ids import IDS, register_ids
from tests.zoo.processes import run_python

HIGH_OF_V2 = np.array([1.5, 1.5, 5, 5, np.pi, 5, 1, 1], dtype=np.float32)


@pytest.fixture(autouse=True)
def _quiet() -> Any:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*out of date.*")
        yield


@pytest.mark.parametrize("env_id", IDS)
def test_v2_has_v2s_bounds_v3s_dynamics_and_its_own_id(env_id: str) -> None:
    v2, v3 = gym.make(env_id), gym.make(env_id.replace("v2", "v3"))
    np.testing.assert_array_equal(v2.observation_space.high, HIGH_OF_V2)
    np.testing.assert_array_equal(v2.observation_space.low, np.where(np.arange(8) < 6, -HIGH_OF_V2, 0))
    assert v2.action_space == v3.action_space
    assert v2.spec.id == env_id
    assert (v2.spec.max_episode_steps, v2.spec.reward_threshold) == (1000, 200)
    first, second = v2.reset(seed=5)[0], v3.reset(seed=5)[0]
    np.testing.assert_array_equal(first, second)
    v2.action_space.seed(0)
    for _ in range(60):
        action = v2.action_space.sample()
        (obs2, reward2, *ends2, _), (obs3, reward3, *ends3, _) = v2.step(action), v3.step(action)
        np.testing.assert_array_equal(obs2, obs3)
        assert (reward2, ends2) == (reward3, ends3)


@pytest.mark.parametrize("env_id", IDS)
def test_v2_passes_gymnasiums_checker(env_id: str) -> None:
    env = gym.make(env_id)
    check_env(env.unwrapped, skip_render_check=True)
    assert env.unwrapped.spec.id == env_id


def test_v2_takes_all_arguments_of_the_lander() -> None:
    env = gym.make(
        "LunarLander-v2", continuous=True, gravity=-5.0, enable_wind=True, wind_power=3.0, turbulence_power=0.5
    )
    lander = env.unwrapped
    assert isinstance(env.action_space, gym.spaces.Box)
    assert (lander.gravity, lander.enable_wind, lander.wind_power, lander.turbulence_power) == (-5.0, True, 3.0, 0.5)


def test_v2_can_be_rebuilt_from_its_pickled_or_json_spec_and_be_copied() -> None:
    env = gym.make("LunarLander-v2", gravity=-4.0)
    for spec in (pickle.loads(pickle.dumps(env.spec)), EnvSpec.from_json(env.spec.to_json())):
        again = gym.make(spec)
        assert again.unwrapped.gravity == -4.0
        np.testing.assert_array_equal(again.observation_space.high, HIGH_OF_V2)
    duplicate = copy.deepcopy(env.unwrapped)
    assert duplicate.gravity == -4.0
    np.testing.assert_array_equal(duplicate.observation_space.high, HIGH_OF_V2)


def test_id_that_gymnasium_has_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = registry["LunarLander-v3"]
    monkeypatch.setitem(registry, "LunarLander-v2", theirs)
    register_ids()
    assert registry["LunarLander-v2"] is theirs


def test_notice_comes_once_and_not_from_workers() -> None:
    code = (
        "import gymnasium as gym, sb3_ppo_scratch\n"
        "from stable_baselines3.common.env_util import make_vec_env\n"
        "from stable_baselines3.common.vec_env import SubprocVecEnv\n"
        "if __name__ == '__main__':\n"
        "    gym.make('LunarLander-v2'); gym.make('LunarLanderContinuous-v2')\n"
        "    env = make_vec_env('LunarLander-v2', 2, vec_env_cls=SubprocVecEnv); env.reset(); env.close()"
    )
    finished = run_python("-W", "ignore", "-c", code)
    assert finished.stderr.count("LunarLander v2: Gymnasium's current (v3) dynamics") == 1


@pytest.mark.slow
@pytest.mark.parametrize("vec_env", ["dummy", "subproc"])
def test_notice_comes_once_from_rl_zoo3s_main_process(vec_env: str, tmp_path: Path) -> None:
    arguments = ("--algo", "ppo_scratch", "--env", "LunarLander-v2", "-n", "16", "-params", "n_steps:8", "n_envs:2")
    options = ("--vec-env", vec_env, "--eval-freq", "-1", "-f", str(tmp_path))
    finished = run_python("-m", "rl_zoo3.train", *arguments, *options)
    assert finished.stderr.count("LunarLander v2: Gymnasium's current (v3) dynamics") == 1


@pytest.mark.parametrize("start_method", ["fork", "forkserver", pytest.param("spawn", marks=pytest.mark.slow)])
def test_v2_works_in_worker_processes(start_method: str) -> None:
    env = make_vec_env(
        "LunarLander-v2", 2, vec_env_cls=SubprocVecEnv, vec_env_kwargs={"start_method": start_method},
        env_kwargs={"render_mode": None},
    )  # fmt: skip
    try:
        assert env.reset().shape == (2, 8)
        np.testing.assert_array_equal(env.observation_space.high, HIGH_OF_V2)
    finally:
        env.close()
