"""Tests of `tutorial/runs.py`: what is written down is what happened, and processes change nothing."""

import functools
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch as th
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

from sb3_ppo_scratch import PPOScratch
from sb3_ppo_scratch.tutorial.runs import FIRST_EVALUATION_SEED, Variant, for_each, train_once, train_with_seeds
from sb3_ppo_scratch.wrappers import ScaleReward

VARIANT = Variant(PPOScratch, "CartPole-v1", 512, {"n_steps": 32, "batch_size": 64, "n_epochs": 2}, n_envs=4)


def test_every_episode_and_every_update_is_there() -> None:
    run = train_once(VARIANT, 3, 0, None)
    assert len(run.updates["approx_kl"]) == 512 // (4 * 32)
    assert np.isfinite(run.updates["approx_kl"]).all()
    assert run.updates["n_updates"].tolist() == [2, 4, 6, 8]
    assert (np.diff(run.steps) >= 0).all()
    assert run.steps[-1] <= 512
    assert len(run.steps) == len(run.returns)
    # Every step gives 1, so the episodes account for all steps but those of the four that still run at the end.
    assert 512 - 4 * 100 < run.returns.sum() <= 512


@pytest.mark.slow
def test_processes_train_as_this_one_does() -> None:
    here = [train_once(VARIANT, seed, 2, None) for seed in (1, 2)]
    there = train_with_seeds({"a": VARIANT}, [1, 2], n_played=2, jobs=2)["a"]
    for one, other in zip(here, there, strict=True):
        assert one.seed == other.seed
        np.testing.assert_array_equal(one.returns, other.returns)
        np.testing.assert_array_equal(one.updates["approx_kl"], other.updates["approx_kl"])
        assert one.played == other.played


def test_final_models_are_saved_and_played_on_the_same_episodes(tmp_path: Path) -> None:
    run = train_once(VARIANT, 1, 3, tmp_path / "1.zip")
    model = PPO.load(tmp_path / "1.zip")
    env = make_vec_env("CartPole-v1", 3, seed=FIRST_EVALUATION_SEED)
    returns, lengths = evaluate_policy(model, env, 3, return_episode_rewards=True)
    assert [episode.total for episode in run.played] == returns
    assert [episode.length for episode in run.played] == lengths
    assert all(episode.last_reward == 1.0 for episode in run.played)
    assert [episode.truncated for episode in run.played] == [length == 500 for length in lengths]


def test_returns_are_in_the_environments_own_units() -> None:
    scaled = Variant(
        PPOScratch, "CartPole-v1", 256, VARIANT.arguments, wrapper=functools.partial(ScaleReward, scale=9.0)
    )
    run = train_once(scaled, 0, 0, None)
    assert run.returns.sum() <= 256


def test_environments_are_not_made_for_rendering(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    make = gymnasium.make
    monkeypatch.setattr(gymnasium, "make", lambda *args, **kwargs: made.append(kwargs) or make(*args, **kwargs))
    train_once(VARIANT, 0, 2, None)
    assert [kwargs["render_mode"] for kwargs in made] == [None] * (4 + 2)


def test_stock_ppo_can_be_trained_too() -> None:
    stock = train_once(Variant(PPO, "CartPole-v1", 256, VARIANT.arguments), 0, 0, None)
    ours = train_once(Variant(PPOScratch, "CartPole-v1", 256, {**VARIANT.arguments, "update": "autograd"}), 0, 0, None)
    np.testing.assert_array_equal(stock.returns, ours.returns)


@pytest.mark.parametrize("jobs", [1, 2])
def test_functions_are_called_with_every_item_in_order(jobs: int) -> None:
    assert for_each(abs, [-3, 2, -1], jobs=jobs) == [3, 2, 1]


@pytest.mark.parametrize("jobs", [1, 2])
def test_each_process_computes_on_one_core(jobs: int) -> None:
    before = th.get_num_threads()
    assert for_each(threads_used, [0, 0], jobs=jobs) == [1, 1]
    assert th.get_num_threads() == before


def threads_used(_: int) -> int:
    """How many threads torch uses."""
    return th.get_num_threads()


def test_words_that_updates_log_are_left_out() -> None:
    stopping = {**VARIANT.arguments, "learning_rate": 1e-2, "n_epochs": 20, "target_kl": 1e-3}
    run = train_once(Variant(PPOScratch, "CartPole-v1", 512, stopping, n_envs=4), 0, 0, None)
    assert len(run.updates["approx_kl"]) == 4
    assert "stop_reason" not in run.updates


def test_no_jobs_are_refused() -> None:
    with pytest.raises(ValueError, match="`jobs` must be at least 1, got 0"):
        train_with_seeds({}, [], jobs=0)
