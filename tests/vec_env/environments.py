"""Environments that worker processes can make: everything random comes from their seeds; no SB3, no torch."""

import copy
import os
import signal
import time
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

SPACES: dict[str, spaces.Space[Any]] = {
    "box": spaces.Box(-1.0, 1.0, (3,), np.float32),
    "box_float64": spaces.Box(-1.0, 1.0, (2, 2), np.float64),
    "discrete": spaces.Discrete(5),
    "multi_binary": spaces.MultiBinary(4),
    "multi_discrete": spaces.MultiDiscrete([3, 5]),
    "image": spaces.Box(0, 255, (8, 6, 3), np.uint8),
    "dict": spaces.Dict(
        {
            "a": spaces.Box(-1.0, 1.0, (2,), np.float32),
            "b": spaces.Discrete(3),
            "c": spaces.Box(0, 255, (4, 4, 1), np.uint8),
        }
    ),
    "tuple": spaces.Tuple((spaces.Box(-1.0, 1.0, (2,), np.float32), spaces.Discrete(3))),
}  # fmt: skip


class RandomEnv(gym.Env[Any, Any]):
    """Observations, rewards, episode ends and infos are drawn from the seed and what happened before.

    Args:
        observation_space: Its observations are samples of it.
        action_space: Any.
        render_mode: `rgb_array` or None.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 7}  # noqa: RUF012 # as every environment has it

    def __init__(
        self,
        observation_space: spaces.Space[Any] = SPACES["box"],
        action_space: spaces.Space[Any] = spaces.Discrete(3),  # noqa: B008
        render_mode: str | None = None,
    ) -> None:
        self.observation_space = copy.deepcopy(observation_space)  # each draws from its own
        self.action_space, self.render_mode = action_space, render_mode
        self.kept_actions: list[Any] = []
        self.label = "unset"
        self.unpicklable = lambda: None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
        return self.observation_space.sample(), {"drawn": float(self.np_random.normal()), "options": options}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.kept_actions.append(action)
        drawn, size = self.np_random.random(), float(np.sum(np.abs(action))) if not isinstance(action, dict) else 0.0
        terminated, truncated = bool(drawn < 0.15), bool(0.1 < drawn < 0.25)  # both at once from 0.1 to 0.15
        info = {"drawn": drawn, "nested": {"array": np.arange(3)}} if drawn > 0.8 else {}
        return self.observation_space.sample(), drawn + size / 3, terminated, truncated, info

    def render(self) -> Any:
        return np.full((4, 6, 3), len(self.kept_actions), np.uint8)

    def type_of_last_action(self) -> str:
        return f"{type(self.kept_actions[-1]).__name__} {getattr(self.kept_actions[-1], 'dtype', None)}"

    def kept(self) -> list[Any]:
        return self.kept_actions

    def add(self, one: int, other: int = 0) -> int:
        return one + other

    def process(self) -> int:
        return os.getpid()


class FailingEnv(RandomEnv):
    """Does one bad thing at one place.

    Args:
        where: `construction`, `reset`, `step` or `close`.
        what: `raise`, `raise_unpicklable`, `die`, `hang` or `exit`.
    """

    def __init__(self, where: str, what: str) -> None:
        super().__init__()
        self.where, self.what = where, what
        self._misbehave("construction")

    def reset(self, **keywords: Any) -> Any:
        self._misbehave("reset")
        return super().reset(**keywords)

    def step(self, action: Any) -> Any:
        self._misbehave("step")
        return super().step(action)

    def close(self) -> None:
        self._misbehave("close")

    def _misbehave(self, where: str) -> None:
        if where != self.where:
            return
        if self.what == "raise":
            raise ZeroDivisionError("the environment's own message")
        if self.what == "raise_unpicklable":
            raise UnpicklableError(1, 2)
        if self.what == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.what == "exit":
            os._exit(7)
        time.sleep(1000)


class UnpicklableError(Exception):
    """An exception that can be written, but not read again."""

    def __init__(self, one: int, other: int) -> None:
        super().__init__(f"{one} and {other}")


class Halved(gym.Wrapper[Any, Any, Any, Any]):
    """A wrapper to look for."""


def makers(n: int, observations: str = "box", **keywords: Any) -> list[Callable[[], gym.Env[Any, Any]]]:
    """Functions that make `RandomEnv`s."""
    return [lambda: RandomEnv(SPACES[observations], **keywords) for _ in range(n)]


def makers_with_one_failing(n: int, failing: int, where: str, what: str) -> list[Callable[[], gym.Env[Any, Any]]]:
    """Functions of which one makes a `FailingEnv`."""
    made = makers(n)
    made[failing] = lambda: FailingEnv(where, what)
    return made
