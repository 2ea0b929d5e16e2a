"""`ScaleReward`."""

import json
import math
from fractions import Fraction
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.monitor import Monitor

from sb3_ppo_scratch.wrappers import NormalizeObservation, ScaleReward
from tests.wrappers.scripted_env import ScriptedEnv


def play(env: gym.Env[Any, Any], n_steps: int) -> list[tuple[Any, ...]]:
    env.reset(seed=0)
    return [env.step(env.action_space.sample()) for _ in range(n_steps)]


def test_reward_is_multiplied_and_raw_reward_is_kept():
    steps = play(ScaleReward(ScriptedEnv(rewards=[3.0, -250.0]), scale=0.01), 2)
    assert [step[1] for step in steps] == pytest.approx([0.03, -2.5])
    assert [step[4]["raw_reward"] for step in steps] == [3.0, -250.0]


def test_default_scale_is_one_hundredth():
    assert ScaleReward(ScriptedEnv()).scale == 0.01


@pytest.mark.parametrize("reward", [2, np.float32(2.0), np.int64(2), np.array(2.0)])
def test_reward_of_any_numeric_type_becomes_python_float(reward):
    [step] = play(ScaleReward(ScriptedEnv(observations=[0, 1], rewards=[reward]), scale=0.5), 1)
    assert type(step[1]) is float
    assert step[1] == 1.0


@pytest.mark.parametrize("scale", [-1.0, 2, np.float32(0.25), np.int64(3), Fraction(1, 4), 1e-300])
def test_any_finite_nonzero_number_is_a_scale_and_recorded_as_float(scale):
    env = ScaleReward(gym.make("Pendulum-v1"), scale=scale)
    assert env.scale == float(scale)
    assert json.loads(env.spec.to_json())["additional_wrappers"][-1]["kwargs"] == {"scale": float(scale)}


@pytest.mark.parametrize(
    ("scale", "error", "message"),
    [
        (0, ValueError, "scale=0 would erase"),
        (-0.0, ValueError, "scale=-0.0 would erase"),
        (math.nan, ValueError, "scale=nan must be finite"),
        (math.inf, ValueError, "scale=inf must be finite"),
        (10**400, ValueError, "scale=1000.* must be finite"),
        (True, TypeError, "scale=True must be a number, not of type bool"),
        (np.True_, TypeError, "True.* must be a number"),
        (None, TypeError, "scale=None must be a number"),
        ("1e-2", TypeError, "scale='1e-2' must be a number, not of type str; in YAML write 1.0e-2"),
        ([0.01], TypeError, r"scale=\[0.01\] must be a number"),
        (np.array(0.01), TypeError, "must be a number, not of type ndarray"),
        (1j, TypeError, "scale=1j must be a number"),
    ],
)
def test_impossible_scale_raises_and_names_it(scale, error, message):
    with pytest.raises(error, match=message):
        ScaleReward(ScriptedEnv(), scale=scale)


def test_wrapping_twice_raises_and_names_the_inner_scale():
    with pytest.raises(ValueError, match=r"already scales its rewards by 0\.5"):
        ScaleReward(ScaleReward(ScriptedEnv(), scale=0.5))


def test_wrapping_twice_raises_through_other_wrappers():
    inner = Monitor(NormalizeObservation(ScaleReward(ScriptedEnv(), scale=0.5), mean=0.0, std=1.0))
    with pytest.raises(ValueError, match="once only"):
        ScaleReward(inner)


def test_env_that_is_no_gymnasium_env_raises():
    # An AssertionError in Gymnasium 1.2, a TypeError in later releases.
    with pytest.raises((TypeError, AssertionError), match=r"Expected env to be a `gymnasium\.Env`"):
        ScaleReward("Pendulum-v1")


def test_raw_reward_of_the_env_itself_raises_instead_of_being_lost():
    env = ScaleReward(ScriptedEnv(info={"raw_reward": 7.0}))
    env.reset()
    with pytest.raises(ValueError, match=r"already reports info\['raw_reward'\]=7\.0"):
        env.step(env.action_space.sample())


def test_info_dictionary_that_the_env_reuses_is_left_alone():
    info = {"own": 1}
    steps = play(ScaleReward(ScriptedEnv(info=info)), 2)
    assert info == {"own": 1}
    assert [step[4] for step in steps] == [{"own": 1, "raw_reward": 1.0}, {"own": 1, "raw_reward": 2.0}]


def test_monitor_inside_logs_original_units_and_monitor_outside_scaled_ones():
    inside = ScaleReward(Monitor(ScriptedEnv(rewards=[100.0, 200.0])), scale=0.01)
    outside = Monitor(ScaleReward(ScriptedEnv(rewards=[100.0, 200.0]), scale=0.01))
    assert play(inside, 2)[-1][4]["episode"]["r"] == 300.0
    assert play(outside, 2)[-1][4]["episode"]["r"] == pytest.approx(3.0)


def test_monitor_outside_can_log_the_raw_reward_by_keyword():
    env = Monitor(ScaleReward(ScriptedEnv(rewards=[100.0, 200.0])), info_keywords=("raw_reward",))
    assert play(env, 2)[-1][4]["episode"]["raw_reward"] == 200.0
