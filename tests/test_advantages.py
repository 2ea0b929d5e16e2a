"""Tests of `sb3_ppo_scratch.advantages`: the oracle is the definition, a sum over all later steps of an episode."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sb3_ppo_scratch.advantages import (
    Trajectories,
    estimate_by_gae,
    estimate_by_returns,
    generalized_advantages,
    normalize_returns,
    rewards_to_go,
    whole_episode_returns,
)


def random_rollout(seed: int, n_steps: int, n_envs: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "rewards": rng.normal(size=(n_steps, n_envs)).astype(np.float32),
        "values": rng.normal(size=(n_steps, n_envs)).astype(np.float32),
        "episode_starts": (rng.random((n_steps, n_envs)) < 0.3).astype(np.float32),
        "last_values": rng.normal(size=n_envs).astype(np.float32),
        "last_dones": rng.random(n_envs) < 0.5,
    }


def advantages_by_definition(
    rewards: np.ndarray,
    values: np.ndarray,
    episode_starts: np.ndarray,
    last_values: np.ndarray,
    last_dones: np.ndarray,
    gamma: float,
    gae_lambda: float,
) -> np.ndarray:
    """Equation 16 of the paper in float64: A_t = sum over l of (gamma lambda)^l delta_{t+l}, within the episode."""
    n_steps, n_envs = rewards.shape
    result = np.zeros((n_steps, n_envs))
    for env in range(n_envs):
        for start in range(n_steps):
            for later in range(start, n_steps):
                ends = bool(last_dones[env]) if later == n_steps - 1 else bool(episode_starts[later + 1, env])
                following = last_values[env] if later == n_steps - 1 else values[later + 1, env]
                delta = float(rewards[later, env]) + (0.0 if ends else gamma * float(following))
                delta -= float(values[later, env])
                result[start, env] += (gamma * gae_lambda) ** (later - start) * delta
                if ends:
                    break
    return result


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_steps=st.integers(1, 12),
    n_envs=st.integers(1, 4),
    gamma=st.floats(0, 1),
    gae_lambda=st.floats(0, 1),
)
def test_advantages_equal_the_definition_on_random_rollouts(
    seed: int, n_steps: int, n_envs: int, gamma: float, gae_lambda: float
) -> None:
    rollout = random_rollout(seed, n_steps, n_envs)
    advantages = generalized_advantages(**rollout, gamma=gamma, gae_lambda=gae_lambda)
    expected = advantages_by_definition(**rollout, gamma=gamma, gae_lambda=gae_lambda)
    assert advantages.shape == (n_steps, n_envs)
    assert advantages.dtype == np.float32
    np.testing.assert_allclose(advantages, expected, atol=2e-5)


def test_constant_reward_without_end_gives_the_geometric_series() -> None:
    gamma, n_steps = 0.9, 200
    ones = np.ones((n_steps, 1), dtype=np.float32)
    nothing = np.zeros((n_steps, 1), dtype=np.float32)
    advantages = generalized_advantages(
        ones, nothing, nothing, np.zeros(1, np.float32), np.array([False]), gamma=gamma, gae_lambda=1.0
    )
    np.testing.assert_allclose(advantages[0, 0], (1 - gamma**n_steps) / (1 - gamma), rtol=1e-5)


def test_correct_values_of_a_two_state_chain_give_zero_advantages() -> None:
    # s0 -> s1 (reward 1) -> end (reward 2), gamma 0.5: V(s1) = 2, V(s0) = 1 + 0.5 * 2 = 2.
    rewards = np.array([[1.0], [2.0], [1.0]], dtype=np.float32)
    values = np.array([[2.0], [2.0], [2.0]], dtype=np.float32)
    starts = np.array([[1.0], [0.0], [1.0]], dtype=np.float32)
    advantages = generalized_advantages(
        rewards, values, starts, np.array([2.0], np.float32), np.array([False]), gamma=0.5, gae_lambda=0.7
    )
    np.testing.assert_allclose(advantages, 0.0, atol=1e-7)


def test_nothing_flows_back_over_the_boundary_of_an_episode() -> None:
    rollout = random_rollout(0, 6, 1)
    rollout["episode_starts"][:] = 0
    rollout["episode_starts"][3] = 1
    before = generalized_advantages(**rollout, gamma=0.9, gae_lambda=0.9)
    rollout["rewards"][3:] += 100
    rollout["values"][3:] -= 50
    after = generalized_advantages(**rollout, gamma=0.9, gae_lambda=0.9)
    np.testing.assert_array_equal(before[:3], after[:3])
    assert np.all(np.abs(before[3:] - after[3:]) > 1)


@pytest.mark.parametrize(("done", "expected"), [(True, 1.0), (False, 1.0 + 0.5 * 8.0)])
def test_the_last_value_counts_only_if_the_episode_goes_on(done: bool, expected: float) -> None:
    one = np.ones((1, 1), dtype=np.float32)
    advantage = generalized_advantages(
        one, 0 * one, 0 * one, np.array([8.0], np.float32), np.array([done]), gamma=0.5, gae_lambda=0.9
    )
    assert advantage[0, 0] == pytest.approx(expected)


def test_arguments_are_left_unchanged() -> None:
    rollout = random_rollout(1, 5, 2)
    copies = {name: array.copy() for name, array in rollout.items()}
    generalized_advantages(**rollout, gamma=0.99, gae_lambda=0.95)
    for name, array in rollout.items():
        np.testing.assert_array_equal(array, copies[name])


# -- Monte-Carlo returns -----------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n_steps=st.integers(1, 12), n_envs=st.integers(1, 4), gamma=st.floats(0, 1))
def test_rewards_to_go_are_gae_of_lambda_one_plus_values(seed: int, n_steps: int, n_envs: int, gamma: float) -> None:
    rollout = random_rollout(seed, n_steps, n_envs)
    expected = advantages_by_definition(**rollout, gamma=gamma, gae_lambda=1.0) + rollout["values"]
    values = rollout.pop("values")
    returns = rewards_to_go(**rollout, gamma=gamma)
    np.testing.assert_allclose(returns, expected, atol=3e-5)
    trajectories = Trajectories(values=values, **rollout)
    advantages, targets = estimate_by_returns(trajectories, gamma=gamma, gae_lambda=0.3)
    np.testing.assert_allclose(advantages, expected - values, atol=3e-5)
    np.testing.assert_array_equal(targets, returns)
    by_gae = estimate_by_gae(trajectories, gamma=gamma, gae_lambda=1.0)
    np.testing.assert_allclose(by_gae.returns, expected, atol=3e-5)


def test_steps_of_an_episode_share_the_return_of_its_first_step() -> None:
    returns = np.array([[5.0, 9.0], [4.0, 7.0], [2.0, 6.0], [1.0, 3.0]], dtype=np.float32)
    starts = np.array([[1, 1], [0, 1], [1, 0], [0, 0]], dtype=np.float32)
    np.testing.assert_array_equal(whole_episode_returns(returns, starts), [[5, 9], [5, 7], [2, 7], [2, 7]])


def test_normalised_returns_have_mean_zero_and_deviation_one_and_equal_ones_become_zero() -> None:
    returns = np.random.default_rng(0).normal(50, 7, (30, 4)).astype(np.float32)
    normalised = normalize_returns(returns)
    assert normalised.dtype == np.float32
    assert normalised.mean() == pytest.approx(0, abs=1e-6)
    assert normalised.std() == pytest.approx(1, abs=1e-6)
    assert not normalize_returns(np.full((3, 2), 7.0, np.float32)).any()


def test_many_equal_returns_become_zero_although_their_float32_mean_is_another_number() -> None:
    returns = np.full((1000, 1), 0.1, np.float32)
    assert returns.mean() != returns[0, 0]
    assert np.abs(normalize_returns(returns)).max() < 1e-6


def test_returns_that_hardly_differ_are_scaled_by_their_deviation_plus_epsilon() -> None:
    returns = np.array([[3e-8], [-3e-8]], np.float32)
    np.testing.assert_allclose(normalize_returns(returns), [[0.75], [-0.75]], rtol=1e-6)


@pytest.mark.parametrize(
    ("baseline", "expected"), [("none", [3, 2, 1]), ("mean", [1, 0, -1]), ("value", [-7, -18, -29])]
)
def test_baseline_is_subtracted_from_the_weights_and_not_from_the_returns(baseline: Any, expected: list[float]) -> None:
    ones = np.ones((3, 1), np.float32)
    values = np.array([[10.0], [20.0], [30.0]], np.float32)
    starts = np.array([[1.0], [0.0], [0.0]], np.float32)
    rollout = Trajectories(ones, values, starts, np.zeros(1, np.float32), np.array([True]))
    advantages, returns = estimate_by_returns(rollout, gamma=1.0, gae_lambda=0.0, baseline=baseline)
    assert advantages.ravel().tolist() == expected
    assert returns.ravel().tolist() == [3, 2, 1]
