"""Tests of `tutorial/gradients.py`: autograd over all steps at once, and noise that is known."""

import functools

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.env_util import make_vec_env

from sb3_ppo_scratch import PPOScratch
from sb3_ppo_scratch.advantages import estimate_by_returns
from sb3_ppo_scratch.tutorial.gradients import episode_gradients, noise, noise_scales, play_episode, squared_signal

REWARD_TO_GO = functools.partial(estimate_by_returns, baseline="none")


def test_scatter_and_signal_of_estimates_with_a_known_mean_and_covariance() -> None:
    rng = np.random.default_rng(0)
    mean, deviations = np.array([3.0, -4.0, 0.0]), np.array([1.0, 2.0, 0.5])
    estimates = mean + deviations * rng.standard_normal((200_000, 3))
    assert noise(estimates) == pytest.approx(5.25, rel=0.01)
    assert squared_signal(estimates) == pytest.approx(25.0, rel=0.01)


def test_signal_is_unbiased_also_with_few_estimates() -> None:
    rng = np.random.default_rng(1)
    found = [squared_signal(np.array([1.0, 0.0]) + 3.0 * rng.standard_normal((4, 2))) for _ in range(20_000)]
    assert np.mean(found) == pytest.approx(1.0, abs=0.1)


def test_gradients_are_those_of_the_weighted_log_probabilities() -> None:
    policy = PPOScratch("MlpPolicy", make_vec_env("CartPole-v1", 2), n_steps=64, batch_size=64, seed=0).policy
    gradients = episode_gradients(policy, {"to go": REWARD_TO_GO}, n_episodes=3, gamma=0.9, first_seed=5)["to go"]
    actor = [*policy.mlp_extractor.policy_net.parameters(), *policy.action_net.parameters()]
    for episode, found in enumerate(gradients):
        trajectories, log_probs = play_episode(policy, 5 + episode)
        n_steps = len(log_probs)
        returns = [sum(0.9 ** (k - t) for k in range(t, n_steps)) for t in range(n_steps)]  # every reward is 1
        assert len(trajectories.rewards) == n_steps
        loss = sum(weight * log_prob for weight, log_prob in zip(returns, log_probs, strict=True))
        wanted = th.cat([part.flatten() for part in th.autograd.grad(loss, actor)])
        np.testing.assert_allclose(found, wanted.numpy(), rtol=1e-3, atol=1e-4)


def test_reward_to_go_is_less_noisy_than_whole_episodes() -> None:
    whole = functools.partial(estimate_by_returns, reward_to_go=False, baseline="none")
    scales = noise_scales(0, {"whole": whole, "to go": REWARD_TO_GO}, n_episodes=40, n_timesteps=2048, gamma=1.0)
    assert 1.0 < scales["to go"] < scales["whole"] / 2
