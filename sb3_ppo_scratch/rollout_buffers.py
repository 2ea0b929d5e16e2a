"""SB3's rollout buffers with this project's advantage estimates in place of theirs, and a leaner way to store a step.

What is here: both, for array and for Dict observations. What is not: the arrays, shuffling and minibatches, which are
inherited, so that the random streams are SB3's.
"""

from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import DictRolloutBuffer, RolloutBuffer

from sb3_ppo_scratch.advantages import AdvantageEstimator, Trajectories, estimate_by_gae


class _LeanRolloutBuffer(RolloutBuffer):
    """What both buffers below have in common: storing a step, and filling in advantages and returns at the end."""

    estimator: AdvantageEstimator = staticmethod(estimate_by_gae)
    """How they are estimated."""

    def compute_returns_and_advantage(self, last_values: th.Tensor, dones: np.ndarray) -> None:
        """Fill `advantages` and `returns` (the targets of the value function).

        Args:
            last_values: Value estimates of the observations after the last step, shape (n_envs, 1) or (n_envs,).
            dones: Whether the last step ended its episode, shape (n_envs,).
        """
        last = last_values.detach().cpu().numpy().reshape(-1)
        trajectories = Trajectories(self.rewards, self.values, self.episode_starts, last, dones)
        self.advantages, self.returns = self.estimator(trajectories, gamma=self.gamma, gae_lambda=self.gae_lambda)

    def _store_observations(self, obs: Any) -> None:
        """Store one step's observations at the current position.

        Args:
            obs: Shape (n_envs, *obs_shape), or a dict of such arrays.
        """
        raise NotImplementedError

    def add(
        self,
        obs: Any,
        action: np.ndarray,
        reward: np.ndarray,
        episode_start: np.ndarray,
        value: th.Tensor,
        log_prob: th.Tensor,
    ) -> None:
        """Store one step of every environment, with one copy of each number where SB3's makes two or three.

        Args:
            obs: What was acted upon, shape (n_envs, *obs_shape), or a dict of such arrays.
            action: Shape (n_envs, *action_shape).
            reward: Shape (n_envs,).
            episode_start: Whether the step was the first of its episode, shape (n_envs,).
            value: Value estimates, shape (n_envs, 1) or (n_envs,).
            log_prob: Log-probabilities of the actions, shape (n_envs,).
        """
        self._store_observations(obs)
        self.actions[self.pos] = action.reshape(self.n_envs, self.action_dim)
        self.rewards[self.pos] = reward
        self.episode_starts[self.pos] = episode_start
        self.values[self.pos] = value.cpu().numpy().reshape(-1)
        self.log_probs[self.pos] = log_prob.cpu().numpy().reshape(-1)
        self.pos += 1
        self.full = self.full or self.pos == self.buffer_size


class ScratchRolloutBuffer(_LeanRolloutBuffer):
    """Rollout buffer for every observation space but Dict."""

    def _store_observations(self, obs: Any) -> None:
        """Store observations, shape (n_envs, *obs_shape)."""
        self.observations[self.pos] = obs.reshape(self.n_envs, *self.obs_shape)


class ScratchDictRolloutBuffer(_LeanRolloutBuffer, DictRolloutBuffer):
    """Rollout buffer for Dict observations."""

    def _store_observations(self, obs: Any) -> None:
        """Store observations, each shape (n_envs, *obs_shape)."""
        for name, shape in self.obs_shape.items():
            self.observations[name][self.pos] = obs[name].reshape(self.n_envs, *shape)


def default_rollout_buffer_class(observation_space: spaces.Space[Any]) -> type[RolloutBuffer]:
    """Choose the buffer for an observation space.

    Args:
        observation_space: The environment's observation space.

    Returns:
        `ScratchDictRolloutBuffer` for a Dict space, else `ScratchRolloutBuffer`.
    """
    return ScratchDictRolloutBuffer if isinstance(observation_space, spaces.Dict) else ScratchRolloutBuffer


def read_filled_part(buffer: RolloutBuffer) -> dict[str, Any]:
    """Read what a buffer holds so far, of any class.

    Args:
        buffer: A buffer that is being filled.

    Returns:
        Its position, and the first rows of all its arrays, by name; of dicts of arrays, too.
    """

    def filled(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: filled(each) for name, each in value.items()}
        return value[: buffer.pos].copy()

    arrays = {name: filled(value) for name, value in vars(buffer).items() if _is_of_steps(value, buffer.buffer_size)}
    return {"size": buffer.buffer_size, "position": buffer.pos, "arrays": arrays}


def write_filled_part(buffer: RolloutBuffer, state: dict[str, Any]) -> None:
    """Fill an empty buffer as far as another was filled.

    Args:
        buffer: A buffer of the same class.
        state: What `read_filled_part` has read.
    """

    def fill(place: Any, value: Any) -> None:
        if isinstance(value, dict):
            for name, each in value.items():
                fill(place[name], each)
        else:
            place[: len(value)] = value

    buffer.buffer_size = state["size"]
    buffer.reset()
    for name, value in state["arrays"].items():
        fill(getattr(buffer, name), value)
    buffer.pos, buffer.full = state["position"], state["position"] == state["size"]


def _is_of_steps(value: Any, n_steps: int) -> bool:
    """Tell whether a buffer's attribute is an array with a row per step, or a dict of such arrays."""
    if isinstance(value, dict):
        return bool(value) and all(_is_of_steps(each, n_steps) for each in value.values())
    return isinstance(value, np.ndarray) and value.ndim > 0 and len(value) == n_steps
