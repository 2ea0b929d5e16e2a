"""When a rollout is complete, and what then lies in the buffer: so many steps, or so many whole episodes.

What is here: both ways to fill a rollout buffer. What is not: the loop over steps (`rollout_collector.py`), and what
the transitions were worth (`advantages.py`).
"""

import warnings
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch as th
from stable_baselines3.common.buffers import RolloutBuffer

STEPS_WITHOUT_END = 200_000
"""Steps per environment after which it is said that no episode ends; those of Atari last up to 108,000 frames."""


class Step(NamedTuple):
    """One step of all environments."""

    observations: Any
    """What was acted upon, shape (n_envs, *obs_shape), or a dict of such arrays."""
    actions: np.ndarray
    """Shape (n_envs, *action_shape)."""
    rewards: np.ndarray
    """Shape (n_envs,)."""
    episode_starts: np.ndarray
    """Whether the step was the first of its episode, shape (n_envs,)."""
    values: th.Tensor
    """Shape (n_envs, 1)."""
    log_probs: th.Tensor
    """Shape (n_envs,)."""


class RolloutEnd(Protocol):
    """Fills a rollout buffer until the rollout is complete."""

    def is_complete(self) -> bool:
        """Tell whether no further step is needed."""

    def add(self, step: Step, dones: np.ndarray) -> None:
        """Take a step over; dones, shape (n_envs,), tell whether it ended its episode."""

    def finish(self, last_values: th.Tensor, dones: np.ndarray) -> None:
        """Fill in advantages; value estimates, shape (n_envs, 1), and dones, shape (n_envs,), of the last step."""


class AfterSteps:
    """A rollout of so many steps per environment, as stock PPO's: a `RolloutEnd`.

    Args:
        rollout_buffer: The buffer, emptied here.
        n_steps: Its size.
    """

    def __init__(self, rollout_buffer: RolloutBuffer, n_steps: int) -> None:
        rollout_buffer.reset()
        self._buffer, self._n_left = rollout_buffer, n_steps

    def is_complete(self) -> bool:
        """Tell whether the buffer is full."""
        return self._n_left <= 0

    def add(self, step: Step, dones: np.ndarray) -> None:  # noqa: ARG002 # `RolloutEnd`'s signature
        """Store a step, arrays of shape (n_envs, ...)."""
        self._buffer.add(*step)
        self._n_left -= 1

    def finish(self, last_values: th.Tensor, dones: np.ndarray) -> None:
        """Fill in advantages; shapes (n_envs, 1) and (n_envs,)."""
        self._buffer.compute_returns_and_advantage(last_values=last_values, dones=dones)


class AfterEpisodes:
    """A rollout of so many whole episodes: a `RolloutEnd`.

    The episodes that count are those that began first, whichever ends first: else short ones would be preferred. An
    environment that has no further episode to play steps on unrecorded until the others have played theirs. In the
    buffer the episodes lie one behind the other, as if one environment had played them.

    Args:
        rollout_buffer: The buffer; its size becomes that of the rollout.
        n_episodes: Episodes of a rollout.
        n_envs: Environments, each at the beginning of an episode.
    """

    def __init__(self, rollout_buffer: RolloutBuffer, n_episodes: int, n_envs: int) -> None:
        self._buffer, self._n_episodes = rollout_buffer, n_episodes
        self._n_begun = min(n_envs, n_episodes)
        self._plays = np.arange(n_envs) < self._n_begun
        self._lengths = np.zeros(n_envs, dtype=np.int64)
        self._steps: list[Step] = []
        self._last_end = 0

    def is_complete(self) -> bool:
        """Tell whether all episodes that count have ended."""
        return not self._plays.any()

    def add(self, step: Step, dones: np.ndarray) -> None:
        """Keep a step, arrays of shape (n_envs, ...); warn once if no episode ends."""
        self._steps.append(step)
        self._lengths += self._plays
        for index in np.flatnonzero(self._plays & dones):
            self._last_end = len(self._steps)
            if self._n_begun < self._n_episodes:
                self._n_begun += 1
            else:
                self._plays[index] = False
        if len(self._steps) - self._last_end == STEPS_WITHOUT_END:
            warnings.warn(
                f"No episode has ended for {STEPS_WITHOUT_END} steps; with `n_episodes` a rollout goes on until they "
                "do, and fills the memory. Limit their length, for example by gymnasium.wrappers.TimeLimit.",
                stacklevel=2,
            )

    def finish(self, last_values: th.Tensor, dones: np.ndarray) -> None:  # noqa: ARG002 # `RolloutEnd`'s signature
        """Move the episodes into the buffer and fill in advantages; shapes (n_envs, 1) and (n_envs,)."""
        buffer = self._buffer
        buffer.buffer_size, buffer.n_envs = int(self._lengths.sum()), 1
        buffer.reset()
        observations, *others = zip(*self._steps, strict=True)
        if isinstance(buffer.observations, dict):
            for name, place in buffer.observations.items():
                self._place(place, [each[name] for each in observations])
        else:
            self._place(buffer.observations, observations)
        places = (buffer.actions, buffer.rewards, buffer.episode_starts, buffer.values, buffer.log_probs)
        for place, arrays in zip(places, others, strict=True):
            self._place(place, [each.cpu().numpy() if isinstance(each, th.Tensor) else each for each in arrays])
        buffer.pos, buffer.full = buffer.buffer_size, True
        buffer.compute_returns_and_advantage(last_values=th.zeros(1, 1), dones=np.ones(1, dtype=bool))

    def _place(self, place: np.ndarray, arrays: Any) -> None:
        """Write arrays, one per step, shape (n_envs, ...), into the buffer, environment after environment."""
        steps = np.stack(arrays)
        played = [steps[:length, index] for index, length in enumerate(self._lengths)]
        place[...] = np.concatenate(played).reshape(place.shape)
