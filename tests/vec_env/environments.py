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
    "parts": spaces.Dict({"a": spaces.Box(-1.0, 1.0, (2,), np.float32), "b": spaces.Discrete(3)}),
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


class StrangeEnv(RandomEnv):
    """Does or returns something strange in one step.

    Args:
        what: A key of `STRANGE`, `raise`, `exit` or `hang`; anything else: nothing.
        at: In which step, counted from 1.
        observations: A key of `SPACES`.
    """

    def __init__(self, what: str = "", at: int = 0, observations: str = "box") -> None:
        super().__init__(SPACES[observations])
        self.what, self.at, self.n_steps = what, at, 0

    def step(self, action: Any) -> Any:
        observation, reward, terminated, truncated, info = super().step(action)
        self.n_steps += 1
        if self.n_steps != self.at or not self.what:
            return observation, reward, terminated, truncated, info
        if self.what == "raise":
            raise OwnError("the environment's own message", code=3)
        if self.what == "exit":
            os._exit(7)
        if self.what == "hang":
            time.sleep(1000)
        observation, reward = STRANGE[self.what](observation, reward)
        return observation, reward, False, False, info


STRANGE: dict[str, Callable[[Any, Any], Any]] = {
    "fewer numbers": lambda observation, reward: (observation[:2], reward),
    "one number": lambda observation, reward: (observation[:1], reward),  # which NumPy would repeat
    "a scalar": lambda observation, reward: (0.5, reward),
    "another axis": lambda observation, reward: (observation[None], reward),
    "nothing": lambda observation, reward: (None, reward),
    "ragged": lambda observation, reward: ([[1.0], [1.0, 2.0]], reward),
    "text": lambda observation, reward: (observation.astype(str), reward),
    "complex": lambda observation, reward: (observation + 1j, reward),
    "fractions": lambda observation, reward: (observation / 255, reward),  # of bytes
    "a part missing": lambda observation, reward: ({"a": observation["a"]}, reward),
    "a part too short": lambda observation, reward: ({**observation, "a": observation["a"][:1]}, reward),
    "no reward": lambda observation, reward: (observation, None),
    "text reward": lambda observation, reward: (observation, "three"),
    "number in text": lambda observation, reward: (observation, "1.5"),
    "number in bytes": lambda observation, reward: (observation, b"1"),
    "date as reward": lambda observation, reward: (observation, np.datetime64("2026-01-01")),
    "two rewards": lambda observation, reward: (observation, np.ones(2)),
    "complex reward": lambda observation, reward: (observation, 1j),
}
"""What may be returned in the place of an observation and a reward."""


class OwnError(LookupError):
    """An exception of the environment's own, with an attribute."""

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


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
