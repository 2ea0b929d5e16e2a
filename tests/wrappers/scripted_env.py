"""An environment that plays back a script and remembers what it was asked."""

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray


class ScriptedEnv(gym.Env[Any, Any]):
    """Plays back given observations and rewards, again in each episode.

    Args:
        observations: What `reset` and then each step return; one more than there are steps.
        rewards: What the steps return; 1, 2, 3, ... by default.
        ending: "terminated", "truncated" or "both", at the last step.
        info: The dictionary that each step returns: the same object each time, as some environments do.
        observation_space: A Box around the observations by default.
        action_space: Box(-1, 1, (2,)) by default.
    """

    def __init__(
        self,
        observations: Sequence[Any] = (0.0, 1.0, 2.0),
        rewards: Sequence[Any] | None = None,
        ending: str = "terminated",
        info: dict[str, Any] | None = None,
        observation_space: spaces.Space[Any] | None = None,
        action_space: spaces.Space[Any] | None = None,
    ) -> None:
        self.observations = [np.asarray(observation) for observation in observations]
        self.rewards = list(rewards) if rewards is not None else [float(i + 1) for i in range(len(observations) - 1)]
        self.ending = ending
        self.info = {} if info is None else info
        shape = self.observations[0].shape
        self.observation_space = observation_space or spaces.Box(-np.inf, np.inf, shape, np.float64)
        self.action_space = action_space or spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.received_actions: list[Any] = []
        self.received_resets: list[tuple[int | None, dict[str, Any] | None]] = []
        self.position = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.received_resets.append((seed, options))
        self.position = 0
        return self.observations[0], {"reset": True}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        self.received_actions.append(action)
        self.position += 1
        ended = self.position == len(self.observations) - 1
        terminated = ended and self.ending in ("terminated", "both")
        truncated = ended and self.ending in ("truncated", "both")
        return self.observations[self.position], self.rewards[self.position - 1], terminated, truncated, self.info


class RecordActions(gym.Wrapper[Any, Any, Any, Any]):
    """Keeps the actions and rewards that pass, to be compared with what is logged further out."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        self.actions: list[NDArray[Any]] = []
        self.episode_returns: list[float] = []

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        self.episode_returns.append(0.0)
        return self.env.reset(**kwargs)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        self.actions.append(action)
        result = self.env.step(action)
        self.episode_returns[-1] += float(result[1])
        return result
