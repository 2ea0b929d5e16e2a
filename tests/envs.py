"""Small environments whose behaviour is known exactly."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

ENDINGS = ("terminated", "truncated", "both")


class EndingsEnv(gym.Env[Any, Any]):
    """A random walk whose episodes end in turn by termination, by truncation and by both at once.

    Args:
        action_space: Any space; the reward prefers small actions, so that there is something to learn.
        observation_space: Box (any shape, also uint8 images) or Dict of Boxes; default Box(3).
        lengths: Lengths of the episodes, in turn.
        endings: How they end, in turn; members of `ENDINGS`.
        zeroed: Keys of a Dict observation whose content is zero (what is random stays the same everywhere else).
    """

    def __init__(
        self,
        action_space: spaces.Space[Any],
        observation_space: spaces.Space[Any] | None = None,
        lengths: tuple[int, ...] = (3, 5, 4, 7),
        endings: tuple[str, ...] = ENDINGS,
        zeroed: tuple[str, ...] = (),
    ) -> None:
        self.action_space = action_space
        self.observation_space = observation_space or spaces.Box(-np.inf, np.inf, (3,), np.float32)
        self.lengths, self.endings, self.zeroed = lengths, endings, zeroed
        self.episode = -1
        self.step_in_episode = 0
        self.received_actions: list[Any] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.episode += 1
        self.step_in_episode = 0
        return self._observe(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.received_actions.append(np.array(action))
        self.step_in_episode += 1
        ended = self.step_in_episode >= self.lengths[self.episode % len(self.lengths)]
        how = self.endings[self.episode % len(self.endings)]
        reward = 1.0 - 0.3 * float(np.abs(np.asarray(action, dtype=np.float64)).mean()) + self.np_random.normal()
        terminated, truncated = ended and how != "truncated", ended and how != "terminated"
        return self._observe(), reward, terminated, truncated, {"ending": how} if ended else {}

    def _observe(self) -> Any:
        if isinstance(self.observation_space, spaces.Dict):
            drawn = {key: self._draw(space) for key, space in self.observation_space.spaces.items()}
            return {key: value * 0 if key in self.zeroed else value for key, value in drawn.items()}
        return self._draw(self.observation_space)

    def _draw(self, space: spaces.Space[Any]) -> Any:
        if isinstance(space, spaces.Box) and space.dtype == np.uint8:
            return self.np_random.integers(0, 256, space.shape, dtype=np.uint8)
        if isinstance(space, spaces.Discrete):
            return int(self.np_random.integers(space.n))
        return self.np_random.normal(self.episode % 3, 1.0, space.shape).astype(np.float32)
