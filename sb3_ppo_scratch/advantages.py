"""Advantage estimation in plain NumPy: generalized advantages (GAE).

What is here: functions of arrays, without state and without torch. What is not: where the arrays come from
(`rollout_buffers.py`) and how advantages enter the loss (`updates/losses.py`).
"""

import numpy as np
from numpy.typing import NDArray

Float32Array = NDArray[np.float32]


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
    not_ended = 1.0 - np.concatenate([episode_starts[1:], last_dones[np.newaxis].astype(np.float32)])
    next_values = np.concatenate([values[1:], last_values[np.newaxis]])
    deltas = rewards + gamma * next_values * not_ended - values
    decays = gamma * gae_lambda * not_ended
    advantages = np.empty_like(rewards)
    following = np.zeros_like(last_values)
    for step in reversed(range(len(deltas))):
        following = deltas[step] + decays[step] * following
        advantages[step] = following
    return advantages
