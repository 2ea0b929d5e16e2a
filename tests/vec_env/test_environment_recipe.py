"""Tests of `vec_env/environment_recipe.py`."""

import pickle
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from gymnasium.wrappers import TransformReward
from stable_baselines3.common.monitor import Monitor

from sb3_ppo_scratch.vec_env.environment_recipe import environment_recipe
from sb3_ppo_scratch.wrappers import BinAction, ScaleReward


def wrapper_chain(environment: Any) -> list[str]:
    """The names of all wrappers, the outermost first."""
    names = [type(environment).__name__]
    while isinstance(environment, gym.Wrapper):
        environment = environment.env
        names.append(type(environment).__name__)
    return names


def lander(folder: Path, **monitor_keywords: Any) -> Monitor[Any, Any]:
    made = gym.make("LunarLanderContinuous-v3", gravity=-5.0, max_episode_steps=7)
    return Monitor(made, str(folder / "3"), **monitor_keywords)


def test_made_again_it_has_the_same_wrappers_arguments_spec_and_seed(tmp_path: Path) -> None:
    original = BinAction(ScaleReward(lander(tmp_path), scale=0.5), bins=[[0.0, 1.0], [-1.0, 0.0, 1.0]], flat=True)
    original.unwrapped.action_space.seed(1)
    recipe = pickle.loads(pickle.dumps(environment_recipe(original, seed=11)))
    original.close()
    again = recipe()
    assert wrapper_chain(again) == wrapper_chain(original)
    assert again.unwrapped.gravity == -5.0
    assert again.action_space == original.action_space
    assert again.get_wrapper_attr("scale") == 0.5
    seeded = gym.make("LunarLanderContinuous-v3").action_space
    seeded.seed(11)
    assert (again.unwrapped.action_space.sample() == seeded.sample()).all()
    again.reset(seed=0)
    assert [again.step(0)[3] for _ in range(7)] == [False] * 6 + [True]
    again.close()


def test_monitor_file_goes_on_under_its_old_header(tmp_path: Path) -> None:
    original = lander(tmp_path, info_keywords=("x",), allow_early_resets=False)
    header = (tmp_path / "3.monitor.csv").read_text()
    recipe = environment_recipe(original, None)
    original.close()
    again: Any = recipe()
    assert (again.t_start, again.info_keywords, again.allow_early_resets) == (original.t_start, ("x",), False)
    assert again.results_writer.file_handler.name == str(tmp_path / "3.monitor.csv")
    again.results_writer.write_row({"r": 1.0, "l": 2, "t": 3.0, "x": 4})
    again.close()
    assert (tmp_path / "3.monitor.csv").read_text() == f"{header}1.0,2,3.0,4\n"


def test_wrapper_that_records_nothing_is_named(tmp_path: Path) -> None:
    class Secretive(gym.Wrapper[Any, Any, Any, Any]):
        pass

    with pytest.raises(ValueError, match=r"the wrapper .*Secretive does not record the arguments"):
        environment_recipe(ScaleReward(Secretive(lander(tmp_path))), None)
    recorded = TransformReward(lander(tmp_path), abs)
    assert environment_recipe(recorded, None).wrappers == ((TransformReward, {"func": abs}),)


def test_environment_that_gymnasium_did_not_make_is_refused(tmp_path: Path) -> None:
    from tests.vec_env.environments import RandomEnv

    with pytest.raises(ValueError, match=r"was not made by `gym\.make`, so it cannot be made again"):
        environment_recipe(Monitor(RandomEnv(), str(tmp_path / "0")), None)
    with pytest.raises(ValueError, match="no `Monitor` with a file"):
        environment_recipe(RandomEnv(), None)
