"""An environment for any pair of spaces."""

import copy
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces


class FollowingEnv(gym.Env[Any, Any]):
    """Draws observations from its space, and refuses actions that are not in the other.

    Args:
        observation_space: Any space; observations are drawn from it.
        action_space: Any space; the reward prefers small actions, so that there is something to learn.
        lengths: Lengths of the episodes, in turn.
        endings: How they end, in turn: "terminated", "truncated" or "both".
        seed: Of everything random, until `reset` gets one.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lengths: tuple[int, ...] = (3, 5),
        endings: tuple[str, ...] = ("terminated", "truncated"),
        seed: int = 0,
    ) -> None:
        self.observation_space, self.action_space = observation_space, action_space
        self._source = copy.deepcopy(observation_space)  # so that no other environment draws from it
        self._lengths, self._endings, self._seed = lengths, endings, seed
        self._episode, self._step_in_episode = -1, 0
        self.n_steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        if seed is None and self._episode < 0:
            seed = self._seed
        super().reset(seed=seed)
        if seed is not None:
            self._source.seed(seed)
        self._episode += 1
        self._step_in_episode = 0
        return self._source.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert is_acceptable(action, self.action_space), f"{action!r} is not in {self.action_space}"
        self.n_steps += 1
        self._step_in_episode += 1
        ended = self._step_in_episode >= self._lengths[self._episode % len(self._lengths)]
        how = self._endings[self._episode % len(self._endings)]
        size = float(np.abs(np.clip(np.asarray(action, dtype=np.float64), -3.0, 3.0)).mean())
        reward = 1.0 - 0.3 * size + float(self.np_random.normal())
        return self._source.sample(), reward, ended and how != "truncated", ended and how != "terminated", {}


def is_acceptable(action: Any, space: spaces.Space[Any]) -> bool:
    """Tell whether an action lies in its space.

    SB3's policies give float32 to Boxes of every dtype, and squashed actions are scaled in the Box's own, so that they
    may lie outside by its rounding.

    Args:
        action: The action.
        space: Its space.

    Returns:
        Whether it does.
    """
    if not isinstance(space, spaces.Box):
        return bool(space.contains(action))
    action, low, high = np.asarray(action), space.low.astype(np.float64), space.high.astype(np.float64)
    rounding = 2 * np.finfo(space.dtype).eps * (np.abs(low) + np.abs(high))
    return action.shape == space.shape and bool(((action >= low - rounding) & (action <= high + rounding)).all())
