"""How noisy the estimates of a policy's gradient are, for the tutorial's figures.

What is here: episodes of a policy that stays as it is, the gradient that each of them suggests, and one number for
their noise. What is not: the estimators themselves (`advantages.py`) and learning.
"""

from collections.abc import Mapping

import numpy as np
import torch as th
from numpy.typing import NDArray
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.policies import ActorCriticPolicy

from sb3_ppo_scratch import PPOScratch
from sb3_ppo_scratch.advantages import AdvantageEstimator, Trajectories

FIRST_SEED = 2_000_000
"""Seed of the first episode, far from those of training."""


def noise_scales(
    seed: int, estimators: Mapping[str, AdvantageEstimator], *, n_episodes: int, n_timesteps: int, gamma: float
) -> dict[str, float]:
    """Measure how noisy each estimator is for a policy that has learned CartPole half.

    All of them must be right on average, so that there is one gradient that they scatter around. It is estimated from
    the least noisy.

    Args:
        seed: Of the policy's training.
        estimators: By title; they are given `gamma`, and 1 as `gae_lambda` unless they have their own.
        n_episodes: From how many episodes.
        n_timesteps: Steps that the policy learned before.
        gamma: Discount factor.

    Returns:
        By title the noise scale: how many episodes it takes until their mean's noise is no larger than the gradient.
        Infinite if no gradient can be told from noise.

    Source:
        McCandlish et al., An empirical model of large-batch training, https://arxiv.org/abs/1812.06162, equation 2.8
        and appendix A.1.
    """
    model = PPOScratch("MlpPolicy", make_vec_env("CartPole-v1", 8), n_steps=128, batch_size=256, seed=seed)
    policy = model.learn(n_timesteps).policy
    gradients = episode_gradients(policy, estimators, n_episodes=n_episodes, gamma=gamma, first_seed=FIRST_SEED)
    signal = squared_signal(min(gradients.values(), key=noise))
    return {title: noise(of) / signal if signal > 0 else float("inf") for title, of in gradients.items()}


def noise(gradients: NDArray[np.float64]) -> float:
    """Measure how much estimates scatter: the trace of their covariance.

    Args:
        gradients: An estimate per episode, shape (episodes, parameters).

    Returns:
        The mean squared distance of an estimate from the mean, unbiased.
    """
    return float(gradients.var(axis=0, ddof=1).sum())


def squared_signal(gradients: NDArray[np.float64]) -> float:
    """Estimate the squared length of the gradient that estimates scatter around.

    Args:
        gradients: An estimate per episode, shape (episodes, parameters).

    Returns:
        The squared length of their mean, less what noise adds to it; unbiased, so it can be negative.
    """
    mean = gradients.mean(axis=0)
    return float(mean @ mean) - noise(gradients) / len(gradients)


def episode_gradients(
    policy: ActorCriticPolicy,
    estimators: Mapping[str, AdvantageEstimator],
    *,
    n_episodes: int,
    gamma: float,
    first_seed: int,
) -> dict[str, NDArray[np.float64]]:
    """Play episodes, and find the gradient `sum over t of weight[t] * grad log pi(a[t] | s[t])` of each.

    Args:
        policy: The policy; it stays as it is.
        estimators: By title: what gives the weights.
        n_episodes: How many episodes.
        gamma: Discount factor.
        first_seed: Seed of the first episode and of its actions; the others follow.

    Returns:
        By title: by the actor's parameters, shape (n_episodes, parameters).
    """
    parameters = [
        *policy.mlp_extractor.policy_net.parameters(),
        *policy.action_net.parameters(),
    ]
    found: dict[str, list[NDArray[np.float64]]] = {title: [] for title in estimators}
    for seed in range(first_seed, first_seed + n_episodes):
        trajectories, log_probs = play_episode(policy, seed)
        for title, estimator in estimators.items():
            weights = th.as_tensor(estimator(trajectories, gamma=gamma, gae_lambda=1.0).advantages[:, 0])
            gradient = th.autograd.grad((weights * log_probs).sum(), parameters, retain_graph=True)
            found[title].append(np.concatenate([part.flatten().numpy().astype(np.float64) for part in gradient]))
    return {title: np.stack(of) for title, of in found.items()}


def play_episode(policy: ActorCriticPolicy, seed: int) -> tuple[Trajectories, th.Tensor]:
    """Play one episode of CartPole with actions drawn from a policy.

    Args:
        policy: The policy.
        seed: Of the episode and its actions.

    Returns:
        Rewards and values, arrays of shape (steps, 1), and the actions' log-probabilities with their graph, shape
        (steps,).
    """
    env = make_vec_env("CartPole-v1", 1, seed=seed)
    th.manual_seed(seed)
    observation, dones = env.reset(), np.array([False])
    observations, actions, rewards = [], [], []
    while not dones[0]:
        with th.no_grad():
            action = policy(th.as_tensor(observation))[0].numpy()
        observations.append(np.asarray(observation)[0])
        actions.append(action[0])
        observation, reward, dones, _ = env.step(action)
        rewards.append(reward)
    env.close()
    values, log_probs, _ = policy.evaluate_actions(
        th.as_tensor(np.stack(observations)), th.as_tensor(np.stack(actions))
    )
    starts = np.zeros((len(rewards), 1), np.float32)
    starts[0] = 1.0
    trajectories = Trajectories(np.stack(rewards), values.detach().numpy(), starts, np.zeros(1, np.float32), dones)
    return trajectories, log_probs
