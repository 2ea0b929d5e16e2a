"""Tests of `vec_env/envpool_vec_env.py`, where EnvPool is installed; the first runs where it is not."""

import builtins
import os
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor, load_results

from sb3_ppo_scratch import PPOScratch
from sb3_ppo_scratch.__main__ import main
from sb3_ppo_scratch.vec_env import EnvPoolVecEnv, envpool_vec_env
from sb3_ppo_scratch.vec_env.envpool_steps import PoolSteps


def test_missing_package_is_named_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    original = builtins.__import__

    def without_envpool(name: str, *arguments: Any, **keywords: Any) -> Any:
        if name == "envpool":
            raise ImportError("No module named 'envpool'")
        return original(name, *arguments, **keywords)

    monkeypatch.delitem(sys.modules, "envpool", raising=False)
    monkeypatch.setattr(builtins, "__import__", without_envpool)
    with pytest.raises(ImportError, match=r"pip install 'sb3-ppo-scratch\[envpool\]' .*, or use `ShardedVecEnv`"):
        EnvPoolVecEnv("CartPole-v1", 2)
    words = ["--env", "CartPole-v1", "-f", str(tmp_path), "--eval-freq", "-1", "--vec-env", "envpool"]
    assert main(["train", *words]) == 2
    assert "error: EnvPool cannot be imported" in capsys.readouterr().err


@pytest.fixture
def _envpool() -> None:
    pytest.importorskip("envpool")


pytestmark_envpool = pytest.mark.usefixtures("_envpool")


@pytestmark_envpool
def test_threads_that_take_every_core_are_bound_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    n_cores = os.cpu_count() or 1
    monkeypatch.setattr(envpool_vec_env, "takes_every_core", lambda n_threads: n_threads == n_cores)
    for n_threads, options, expected in ((n_cores, {}, 0), (n_cores, {"thread_affinity_offset": -1}, -1), (1, {}, -1)):
        if n_threads == 1 and n_cores == 1:
            continue
        env = EnvPoolVecEnv("CartPole-v1", 2 * n_cores, n_threads, **options)
        assert env._pool.config["thread_affinity_offset"] == expected
        env.close()


@pytestmark_envpool
def test_episodes_follow_each_other_without_a_step_between() -> None:
    """CartPole pays 1 per step: a step in which EnvPool only begins an episode would pay 0 and count one too many."""
    env = EnvPoolVecEnv("CartPole-v1", 4, max_episode_steps=30)
    env.seed(3)
    observations = env.reset()
    assert np.abs(observations).max() <= 0.05
    lengths, ends = np.zeros(4, int), 0
    for number in range(200):
        observations, rewards, dones, infos = env.step(np.full(4, number % 2))
        assert rewards.dtype == np.float32
        assert dones.dtype == bool
        np.testing.assert_array_equal(rewards, 1.0)
        lengths += 1
        for index in np.flatnonzero(dones):
            assert infos[index]["episode"]["r"] == infos[index]["episode"]["l"] == lengths[index]
            last = infos[index]["terminal_observation"]
            has_fallen = abs(last[2]) > 12 * 2 * np.pi / 360 or abs(last[0]) > 2.4
            assert has_fallen or infos[index]["TimeLimit.truncated"]
            assert np.abs(observations[index]).max() <= 0.05  # where CartPole begins
        lengths[dones] = 0
        ends += dones.sum()
        assert [("episode" in info, "terminal_observation" in info) for info in infos] == [
            (done, done) for done in dones
        ]
    assert ends > 10
    env.close()


class WithoutPrivateFunctions:
    """A pool of which only the public functions can be seen."""

    def __init__(self, pool: Any) -> None:
        self._public = {name: getattr(pool, name) for name in ("send", "recv", "config")}

    def __getattr__(self, name: str) -> Any:
        try:
            return self._public[name]
        except KeyError:
            raise AttributeError(name) from None


@pytestmark_envpool
@pytest.mark.parametrize("env_id", ["CartPole-v1", "LunarLander-v3", "LunarLanderContinuous-v3", "Pendulum-v1"])
def test_steps_below_envpools_functions_are_those_of_its_functions(env_id: str) -> None:
    outcomes = []
    for wrap in (lambda pool: pool, WithoutPrivateFunctions):
        env = EnvPoolVecEnv(env_id, 3, 1)
        env.seed(5)
        said = [env.reset()]
        env._steps = PoolSteps(wrap(env._pool))
        env.action_space.seed(0)
        for _ in range(250):
            observations, rewards, dones, infos = env.step(np.stack([env.action_space.sample() for _ in range(3)]))
            said += [observations, rewards, dones, [info["TimeLimit.truncated"] for info in infos]]
            assert dones.dtype == bool
        assert env._steps._is_plain == (wrap is not WithoutPrivateFunctions)
        outcomes.append(said)
        env.close()
    for ours, theirs in zip(*outcomes, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytestmark_envpool
def test_actions_of_a_wrong_shape_are_refused_by_envpool() -> None:
    env = EnvPoolVecEnv("LunarLanderContinuous-v3", 2)
    env.seed(0)
    env.reset()
    with pytest.raises(RuntimeError, match="Expected shape"):
        env.step(np.zeros((2, 3), np.float32))
    env.close()


@pytestmark_envpool
def test_time_limit_is_a_truncation() -> None:
    env = EnvPoolVecEnv("CartPole-v1", 2, max_episode_steps=4)
    env.seed(0)
    env.reset()
    for number in range(12):
        _, _, dones, infos = env.step(np.array([0, 1]))
        assert dones.tolist() == [info["TimeLimit.truncated"] for info in infos] == [number % 4 == 3] * 2
    env.close()


@pytestmark_envpool
def test_seed_decides_everything_and_each_environment_has_its_own() -> None:
    def run(seed: int) -> Any:
        env = EnvPoolVecEnv("LunarLander-v3", 3)
        assert env.seed(seed) == [seed, seed + 1, seed + 2]
        said = [env.reset()]
        for number in range(100):
            observations, rewards, dones, _ = env.step(np.full(3, number % 4))
            said += [observations, rewards, dones]
        env.close()
        return said

    one, same, shifted = run(3), run(3), run(4)
    for first, second in zip(one, same, strict=True):
        np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(one[0][1:], shifted[0][:-1])
    assert not (one[0][0] == one[0][1]).all()
    run(2**32 - 3)


@pytestmark_envpool
def test_without_a_seed_no_two_are_alike() -> None:
    starts = []
    for _ in range(2):
        env = EnvPoolVecEnv("CartPole-v1", 2)
        starts += [*env.reset(), *env.reset()]
        env.close()
    assert len({tuple(start) for start in starts}) == 8


@pytestmark_envpool
def test_spaces_are_gymnasiums_so_that_models_go_on_there() -> None:
    env = EnvPoolVecEnv("LunarLander-v3", 2)
    theirs = gym.make("LunarLander-v3")
    assert (env.observation_space, env.action_space) == (theirs.observation_space, theirs.action_space)
    assert env.get_attr("render_mode") == [None, None]
    assert env.env_is_wrapped(Monitor) == [True, True]
    env.close()


@pytestmark_envpool
def test_learning_and_evaluating_go_through_sb3(tmp_path: Path) -> None:
    env = EnvPoolVecEnv("CartPole-v1", 4, monitor_dir=tmp_path)
    model = PPOScratch("MlpPolicy", env, n_steps=64, batch_size=64, n_epochs=2, seed=1, device="cpu").learn(512)
    assert model.ep_info_buffer
    assert evaluate_policy(model, env, n_eval_episodes=3)[0] > 5
    env.close()
    env.close()
    assert len(load_results(str(tmp_path))) > 5


@pytestmark_envpool
def test_closed_one_says_so() -> None:
    env = EnvPoolVecEnv("CartPole-v1", 1)
    env.close()
    with pytest.raises(RuntimeError, match="this EnvPoolVecEnv is closed; make a new one"):
        env.reset()


@pytestmark_envpool
@pytest.mark.parametrize(
    ("env_id", "keywords", "message"),
    [
        ("LunarLander-v33", {}, "EnvPool has no environment 'LunarLander-v33'; did you mean LunarLander-v3"),
        (
            "CartPole-v1",
            {"gravity": 1.0},
            "EnvPool has no option `gravity` for CartPole-v1; it has: .*max_episode_steps",
        ),
        ("CartPole-v1", {"batch_size": 1}, "EnvPool has no option `batch_size`"),
        ("CartPole-v1", {"n_envs": 0}, "`n_envs` must be at least 1, got 0; pass for example n_envs=16"),
        ("CartPole-v1", {"n_threads": 0}, "`n_threads` must be at least 1, got 0; None means one for each core"),
    ],
    ids=["id", "option", "own_option", "n_envs", "n_threads"],
)
def test_what_envpool_does_not_have_is_named(env_id: str, keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EnvPoolVecEnv(env_id, **{"n_envs": 2, **keywords})


@pytestmark_envpool
@pytest.mark.parametrize("n_envs", [True, 2.0, None], ids=str)
def test_number_of_environments_is_an_integer(n_envs: Any) -> None:
    with pytest.raises(TypeError, match=f"`n_envs` must be an integer of at least 1, got {n_envs!r}"):
        EnvPoolVecEnv("CartPole-v1", n_envs)


@pytestmark_envpool
def test_what_needs_python_objects_is_refused() -> None:
    env = EnvPoolVecEnv("CartPole-v1", 2)
    assert not env.has_attr("gravity")
    with pytest.raises(AttributeError, match="no attribute 'gravity'"):
        env.get_attr("gravity")
    with pytest.raises(AttributeError, match="no attribute 'gravity' to set"):
        env.set_attr("gravity", 1)
    with pytest.raises(AttributeError, match="no method 'close' to call"):
        env.env_method("close")
    env.set_options({"a": 1})
    with pytest.raises(ValueError, match="take no options at a reset"):
        env.reset()
    with pytest.warns(UserWarning, match="not rendered here; evaluate in a DummyVecEnv"):
        assert env.get_images() == [None, None]
    env.close()
