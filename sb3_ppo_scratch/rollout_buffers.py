"""SB3's rollout buffers with this project's advantage estimate in place of theirs.

What is here: one override, for array and for Dict observations. What is not: storage, shuffling and minibatches, which
are inherited, so that the random streams are SB3's.
"""

from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import DictRolloutBuffer, RolloutBuffer

from sb3_ppo_scratch.advantages import generalized_advantages


class _ScratchAdvantages(RolloutBuffer):
    """What both buffers below have in common: how a full buffer gets its advantages and returns."""

    def compute_returns_and_advantage(self, last_values: th.Tensor, dones: np.ndarray) -> None:
        """Fill `advantages` (GAE) and `returns` (advantages plus values: the targets of the value function).

        Args:
            last_values: Value estimates of the observations after the last step, shape (n_envs, 1) or (n_envs,).
            dones: Whether the last step ended its episode, shape (n_envs,).
        """
        self.advantages = generalized_advantages(
            self.rewards,
            self.values,
            self.episode_starts,
            last_values.detach().cpu().numpy().reshape(-1),
            dones,
            gamma=self.gamma,
            gae_lambda=self.gae_lambda,
        )
        self.returns = self.advantages + self.values


class ScratchRolloutBuffer(_ScratchAdvantages):
    """Rollout buffer for every observation space but Dict."""


class ScratchDictRolloutBuffer(_ScratchAdvantages, DictRolloutBuffer):
    """Rollout buffer for Dict observations."""


def default_rollout_buffer_class(observation_space: spaces.Space[Any]) -> type[RolloutBuffer]:
    """Choose the buffer for an observation space.

    Args:
        observation_space: The environment's observation space.

    Returns:
        `ScratchDictRolloutBuffer` for a Dict space, else `ScratchRolloutBuffer`.
    """
    return ScratchDictRolloutBuffer if isinstance(observation_space, spaces.Dict) else ScratchRolloutBuffer
