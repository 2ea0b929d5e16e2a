"""Tests of `vec_env/rebuild.py`."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.monitor import load_results
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from sb3_ppo_scratch.vec_env import EnvPoolVecEnv, ShardedVecEnv, rebuild_envpool, rebuild_sharded
from sb3_ppo_scratch.wrappers import BinAction, ScaleReward


def as_the_zoo_makes_it(folder: Path | None, n_envs: int = 3, **keywords: Any) -> Any:
    """What rl_zoo3's `create_envs` hands to a `vec_env_wrapper`."""
    settings = {"wrapper_class": ScaleReward, "env_kwargs": {"max_episode_steps": 20}, **keywords}
    return make_vec_env(lambda **kwargs: gym.spec("CartPole-v1").make(**kwargs), n_envs, seed=5,
                        monitor_dir=None if folder is None else str(folder), **settings)  # fmt: skip


def played(env: Any, steps: int = 60) -> list[Any]:
    """All that an environment says, but for clock times."""
    said = [env.reset()]
    for number in range(steps):
        observations, rewards, dones, infos = env.step(np.full(env.num_envs, number % 2))
        for info in infos:
            info.get("episode", {}).pop("t", None)
        said += [observations, rewards, dones, infos]
    env.close()
    return said


def test_sharded_does_what_the_given_one_would_have_done(tmp_path: Path) -> None:
    expected = played(as_the_zoo_makes_it(tmp_path / "given"))
    rebuilt = rebuild_sharded(as_the_zoo_makes_it(tmp_path / "rebuilt"), n_workers=2)
    assert isinstance(rebuilt, ShardedVecEnv)
    for theirs, ours in zip(expected, played(rebuilt), strict=True):
        np.testing.assert_equal(ours, theirs)
    files = [load_results(str(tmp_path / name))[["r", "l"]].sort_values(["r", "l"]) for name in ("given", "rebuilt")]
    assert len(files[0]) > 3
    np.testing.assert_array_equal(files[0], files[1])


@pytest.mark.parametrize("rebuild", [rebuild_sharded, rebuild_envpool])
def test_environments_without_monitor_files_stay_where_they_are(rebuild: Any) -> None:
    env = as_the_zoo_makes_it(None)
    assert rebuild(env) is env


@pytest.mark.parametrize("rebuild", [rebuild_sharded, rebuild_envpool])
def test_other_than_a_dummy_vec_env_is_refused(rebuild: Any, tmp_path: Path) -> None:
    env = VecNormalize(as_the_zoo_makes_it(tmp_path))
    with pytest.raises(ValueError, match="from a DummyVecEnv, not from a VecNormalize: leave out `--vec-env subproc`"):
        rebuild(env)


def test_more_workers_than_environments_are_as_many_as_environments(tmp_path: Path) -> None:
    env: Any = rebuild_sharded(as_the_zoo_makes_it(tmp_path, 1), n_workers=8)
    assert env.n_workers == 1
    env.close()


def test_environments_of_the_given_one_are_closed(tmp_path: Path) -> None:
    given: DummyVecEnv = as_the_zoo_makes_it(tmp_path)
    rebuild_sharded(given, n_workers=1).close()
    assert all(env.get_wrapper_attr("results_writer").file_handler.closed for env in given.envs)


# -- EnvPool -----------------------------------------------------------------------------------------------------------


def test_envpool_has_the_same_seeds_files_limit_and_reward_scale(tmp_path: Path) -> None:
    pytest.importorskip("envpool")
    env: Any = rebuild_envpool(as_the_zoo_makes_it(tmp_path))
    assert isinstance(env, EnvPoolVecEnv)
    assert env._seeds == [5, 6, 7]
    env.reset()
    for _ in range(25):
        _, rewards, _, infos = env.step(np.array([0, 1, 0]))
        np.testing.assert_allclose(rewards, 0.01)
        assert [info["raw_reward"] for info in infos] == [1.0] * 3
    env.close()
    results = load_results(str(tmp_path))
    assert (results["r"] == results["l"]).all()
    assert results["l"].between(5, 20).all()
    assert sorted(file.name for file in tmp_path.iterdir()) == [f"{index}.monitor.csv" for index in range(3)]


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"env_kwargs": {"sutton_barto_reward": True}}, "EnvPool has no option `sutton_barto_reward` for CartPole-v1"),
        ({"env_kwargs": {"render_mode": "rgb_array"}}, "not rendered here: leave out `render_mode`"),
        ({"monitor_kwargs": {"info_keywords": ("x",)}}, "no infos for `monitor_kwargs`: leave them out"),
        ({"wrapper_class": lambda env: gym.wrappers.ClipReward(env, 0, 1)}, "cannot be wrapped in ClipReward"),
    ],
    ids=["option", "render_mode", "monitor_kwargs", "wrapper"],
)
def test_envpool_refuses_what_it_cannot_do(keywords: dict[str, Any], message: str, tmp_path: Path) -> None:
    pytest.importorskip("envpool")
    with pytest.raises(ValueError, match=message):
        rebuild_envpool(as_the_zoo_makes_it(tmp_path, **keywords))


def test_envpool_refuses_bins(tmp_path: Path) -> None:
    pytest.importorskip("envpool")
    env = make_vec_env("LunarLanderContinuous-v3", 1, monitor_dir=str(tmp_path), wrapper_class=BinAction,
                       wrapper_kwargs={"bins": 3}, env_kwargs={"render_mode": None})  # fmt: skip
    with pytest.raises(ValueError, match="cannot be wrapped in BinAction, of all wrappers only in ScaleReward"):
        rebuild_envpool(env)
