"""What each action was worth, in plain NumPy: generalized advantages (GAE) and Monte-Carlo returns.

What is here: functions of arrays, without state and without torch. What is not: where the arrays come from
(`rollout_buffers.py`) and how advantages enter the loss (`updates/losses.py`).
"""

from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Float32Array = NDArray[np.float32]
Baseline = Literal["none", "mean", "value"]
"""What is subtracted from a return: nothing, the mean over the rollout, or the value estimate."""

RETURNS_EPSILON = 1e-8
"""Added to the standard deviation of returns, so that equal returns become 0 rather than NaN."""


class Trajectories(NamedTuple):
    """What a rollout has brought, side by side for all environments."""

    rewards: Float32Array
    """Shape (n_steps, n_envs); a truncated step's contains the discounted value of its final observation."""
    values: Float32Array
    """Value estimates of the observations acted upon, shape (n_steps, n_envs)."""
    episode_starts: Float32Array
    """1.0 where a step was the first of its episode, shape (n_steps, n_envs)."""
    last_values: Float32Array
    """Value estimates of the observations after the last step, shape (n_envs,)."""
    last_dones: NDArray[np.bool_]
    """Whether the last step ended its episode, shape (n_envs,)."""


class Estimate(NamedTuple):
    """What is learned from a rollout, each of shape (n_steps, n_envs)."""

    advantages: Float32Array
    """How much better each action was than expected: the weights of the policy's gradient."""
    returns: Float32Array
    """What the value function is fitted to."""


class AdvantageEstimator(Protocol):
    """A way to estimate advantages."""

    def __call__(self, trajectories: Trajectories, *, gamma: float, gae_lambda: float) -> Estimate:
        """Estimate them, with a discount factor and, if it is of use, GAE's lambda."""


def estimate_by_gae(trajectories: Trajectories, *, gamma: float, gae_lambda: float) -> Estimate:
    """Estimate advantages by GAE; an `AdvantageEstimator`.

    Args:
        trajectories: The rollout, arrays of shape (n_steps, n_envs).
        gamma: Discount factor in [0, 1].
        gae_lambda: Trade-off between bias (0) and variance (1).

    Returns:
        Advantages, and their sum with the values as returns, shape (n_steps, n_envs) each.
    """
    advantages = generalized_advantages(*trajectories, gamma=gamma, gae_lambda=gae_lambda)
    return Estimate(advantages, advantages + trajectories.values)


def estimate_by_returns(
    trajectories: Trajectories,
    *,
    gamma: float,
    gae_lambda: float,  # noqa: ARG001 # `AdvantageEstimator`'s signature
    reward_to_go: bool = True,
    normalize: bool = False,
    baseline: Baseline = "value",
) -> Estimate:
    """Estimate advantages by Monte-Carlo returns; an `AdvantageEstimator` once the options are bound.

    Args:
        trajectories: The rollout, arrays of shape (n_steps, n_envs).
        gamma: Discount factor in [0, 1].
        gae_lambda: Not used.
        reward_to_go: Whether an action's weight is the return from its own step on; else that of its whole episode.
        normalize: Whether returns are shifted and scaled to mean 0 and standard deviation 1 over the rollout.
        baseline: What is subtracted from the weights.

    Returns:
        Advantages and returns, shape (n_steps, n_envs) each.

    Source: Williams, https://doi.org/10.1007/BF00992696, equation 11 (weights and baseline).
    """
    rewards, values, episode_starts, last_values, last_dones = trajectories
    returns = rewards_to_go(rewards, episode_starts, last_values, last_dones, gamma=gamma)
    weights = returns if reward_to_go else whole_episode_returns(returns, episode_starts)
    if normalize:
        returns, weights = normalize_returns(returns), normalize_returns(weights)
    if baseline == "mean":
        weights = weights - weights.mean()
    elif baseline == "value":
        weights = weights - values
    return Estimate(weights, returns)


def generalized_advantages(
    rewards: Float32Array,
    values: Float32Array,
    episode_starts: Float32Array,
    last_values: Float32Array,
    last_dones: NDArray[np.bool_],
    *,
    gamma: float,
    gae_lambda: float,
) -> Float32Array:
    """Estimate advantages with GAE(gamma, lambda).

    `A[t] = delta[t] + gamma * lambda * (1 - end[t]) * A[t + 1]` with the TD error
    `delta[t] = r[t] + gamma * (1 - end[t]) * V[t + 1] - V[t]`, where `end[t]` is 1 if the episode ended with step t.
    Lambda 1 gives Monte-Carlo advantages (return minus value), lambda 0 the TD error alone.

    Args:
        rewards: Shape (n_steps, n_envs); a truncated step's contains the discounted value of its final observation.
        values: Value estimates of the observations acted upon, shape (n_steps, n_envs).
        episode_starts: 1.0 where a step was the first of its episode, shape (n_steps, n_envs).
        last_values: Value estimates of the observations after the last step, shape (n_envs,).
        last_dones: Whether the last step ended its episode, shape (n_envs,).
        gamma: Discount factor in [0, 1].
        gae_lambda: Trade-off between bias (0) and variance (1).

    Returns:
        Advantages, shape (n_steps, n_envs), float32. The arguments are left unchanged.

    Source: Schulman et al., https://arxiv.org/abs/1506.02438, equation 16.
    """
    not_ended = _not_ended(episode_starts, last_dones)
    next_values = np.concatenate([values[1:], last_values[np.newaxis]])
    deltas = rewards + gamma * next_values * not_ended - values
    return _discounted_sums(deltas, gamma * gae_lambda * not_ended, 0.0)


def rewards_to_go(
    rewards: Float32Array,
    episode_starts: Float32Array,
    last_values: Float32Array,
    last_dones: NDArray[np.bool_],
    *,
    gamma: float,
) -> Float32Array:
    """Sum up the rewards from each step to the end of its episode, discounted: the Monte-Carlo return.

    `G[t] = r[t] + gamma * (1 - end[t]) * G[t + 1]`. What follows an episode that the rollout cuts is stood in for by
    the value of the observation after its last step.

    Args:
        rewards: Shape (n_steps, n_envs).
        episode_starts: 1.0 where a step was the first of its episode, shape (n_steps, n_envs).
        last_values: Value estimates of the observations after the last step, shape (n_envs,).
        last_dones: Whether the last step ended its episode, shape (n_envs,).
        gamma: Discount factor in [0, 1].

    Returns:
        Returns, shape (n_steps, n_envs), float32. The arguments are left unchanged.

    Source: Sutton and Barto, Reinforcement Learning (second edition), equation 3.9.
    """
    return _discounted_sums(rewards, gamma * _not_ended(episode_starts, last_dones), last_values)


def whole_episode_returns(returns: Float32Array, episode_starts: Float32Array) -> Float32Array:
    """Give every step the return of its whole episode, which is that from the episode's first step on.

    Args:
        returns: Rewards-to-go, shape (n_steps, n_envs); the first step of each column is the first of its episode.
        episode_starts: 1.0 where a step was the first of its episode, shape (n_steps, n_envs).

    Returns:
        Returns, shape (n_steps, n_envs). The arguments are left unchanged.
    """
    steps = np.arange(len(returns))[:, np.newaxis]
    first_steps = np.maximum.accumulate(np.where(episode_starts > 0, steps, 0))
    return np.take_along_axis(returns, first_steps, axis=0)


def normalize_returns(returns: Float32Array) -> Float32Array:
    """Shift and scale a rollout's returns to mean 0 and standard deviation 1.

    Args:
        returns: Any shape.

    Returns:
        Normalised returns, same shape; equal returns become 0.
    """
    centered = returns - returns.mean(dtype=np.float64)
    normalized: Float32Array = (centered / (centered.std() + RETURNS_EPSILON)).astype(returns.dtype)
    return normalized


def _not_ended(episode_starts: Float32Array, last_dones: NDArray[np.bool_]) -> Float32Array:
    """Tell after which steps an episode went on, from where others start, shape (n_steps, n_envs): 1.0 or 0.0."""
    return 1 - np.concatenate([episode_starts[1:], last_dones[np.newaxis]])


def _discounted_sums(
    terms: NDArray[np.floating], decays: NDArray[np.floating], following: NDArray[np.floating] | float
) -> Float32Array:
    """Compute `S[t] = terms[t] + decays[t] * S[t + 1]` from the end, all of shape (n_steps, n_envs).

    Args:
        terms: Shape (n_steps, n_envs).
        decays: Shape (n_steps, n_envs).
        following: What comes after the last step, shape (n_envs,), or one number for all environments.

    Returns:
        The sums, shape (n_steps, n_envs), float32.
    """
    sums = np.empty(terms.shape, np.float32)
    for step in reversed(range(len(terms))):
        following = terms[step] + decays[step] * following
        sums[step] = following
    return sums
