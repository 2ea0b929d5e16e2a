"""When a rollout is complete, and what then lies in the buffer: so many steps, or so many whole episodes.

What is here: both ways to fill a rollout buffer. What is not: the loop over steps (`rollout_collector.py`), and what
the transitions were worth (`advantages.py`).
"""

import warnings
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch as th
from numpy.typing import NDArray
from stable_baselines3.common.buffers import RolloutBuffer

from sb3_ppo_scratch.rollout_buffers import read_filled_part, write_filled_part

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

    @property
    def lengths(self) -> NDArray[np.int64] | None:
        """How many steps of each environment lie in the buffer, one behind the other, shape (n_envs,).

        None: they lie side by side.
        """

    def is_complete(self) -> bool:
        """Tell whether no further step is needed."""

    def add(self, step: Step, dones: np.ndarray) -> None:
        """Take a step over; dones, shape (n_envs,), tell whether it ended its episode."""

    def finish(self, last_values: th.Tensor, dones: np.ndarray) -> None:
        """Fill in advantages; value estimates, shape (n_envs, 1), and dones, shape (n_envs,), of the last step."""

    def cut(self, values: np.ndarray, dones: np.ndarray) -> None:
        """End all episodes after the last step: what would have followed, shape (n_envs,), is added to their rewards.

        Of those that have ended by themselves (dones, shape (n_envs,)) nothing would.
        """

    def get_state(self) -> dict[str, Any]:
        """Read what has been filled in so far: a shape (n, n_envs, ...) for each array."""

    def set_state(self, state: dict[str, Any]) -> None:
        """Fill in what another has read."""


class AfterSteps:
    """A rollout of so many steps per environment, as stock PPO's: a `RolloutEnd`.

    Args:
        rollout_buffer: The buffer, emptied here.
        n_steps: Its size.
    """

    def __init__(self, rollout_buffer: RolloutBuffer, n_steps: int) -> None:
        rollout_buffer.reset()
        self._buffer, self._n_left = rollout_buffer, n_steps

    @property
    def lengths(self) -> None:
        """None: environments lie side by side; see `RolloutEnd`."""

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

    def cut(self, values: np.ndarray, dones: np.ndarray) -> None:
        """Add values, shape (n_envs,), to the last rewards of episodes that go on; see `RolloutEnd`."""
        if self._buffer.pos > 0:  # else the last step was the last of the rollout before, whose end has done it
            self._buffer.rewards[self._buffer.pos - 1][~dones] += values[~dones]

    def get_state(self) -> dict[str, Any]:
        """Read the buffer's filled part; see `RolloutEnd`."""
        return {"n_left": self._n_left, "buffer": read_filled_part(self._buffer)}

    def set_state(self, state: dict[str, Any]) -> None:
        """Fill the buffer as far; see `RolloutEnd`."""
        self._n_left = state["n_left"]
        write_filled_part(self._buffer, state["buffer"])


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

    @property
    def lengths(self) -> NDArray[np.int64] | None:
        """Steps of each environment, shape (n_envs,); see `RolloutEnd`."""
        return self._lengths

    def is_complete(self) -> bool:
        """Tell whether all episodes that count have ended."""
        return not self._plays.any()

    def add(self, step: Step, dones: np.ndarray) -> None:
        """Keep a step, arrays of shape (n_envs, ...); warn once if no episode ends."""
        self._steps.append(step)
        self._lengths += self._plays
        self._count_ends(dones)
        if len(self._steps) - self._last_end == STEPS_WITHOUT_END:
            warnings.warn(
                f"No episode has ended for {STEPS_WITHOUT_END} steps; with `n_episodes` a rollout goes on until they "
                "do, and fills the memory. Limit their length, for example by gymnasium.wrappers.TimeLimit.",
                stacklevel=2,
            )

    def _count_ends(self, dones: np.ndarray) -> None:
        """Let environments whose episode has ended, shape (n_envs,), play another if one is left to be played."""
        for index in np.flatnonzero(self._plays & dones):
            self._last_end = len(self._steps)
            if self._n_begun < self._n_episodes:
                self._n_begun += 1
            else:
                self._plays[index] = False

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

    def cut(self, values: np.ndarray, dones: np.ndarray) -> None:
        """Add values, shape (n_envs,), to the last rewards of episodes that go on, and count those; as `RolloutEnd`."""
        if self._steps:
            last = self._steps.pop()
            rewards = last.rewards.copy()
            rewards[~dones] += values[~dones]
            self._steps.append(last._replace(rewards=rewards))
            self._count_ends(~dones)

    def get_state(self) -> dict[str, Any]:
        """Read all steps, with tensors as arrays; see `RolloutEnd`."""
        steps = [
            step._replace(values=step.values.cpu(), log_probs=step.log_probs.cpu())._asdict() for step in self._steps
        ]
        return {"n_begun": self._n_begun, "plays": self._plays, "lengths": self._lengths, "steps": steps}

    def set_state(self, state: dict[str, Any]) -> None:
        """Take over all steps; see `RolloutEnd`."""
        self._n_begun, self._plays, self._lengths = state["n_begun"], state["plays"], state["lengths"]
        self._steps = [Step(**step) for step in state["steps"]]
        self._last_end = len(self._steps)

    def _place(self, place: np.ndarray, arrays: Any) -> None:
        """Write arrays, one per step, shape (n_envs, ...), into the buffer, environment after environment."""
        steps = np.stack(arrays)
        played = [steps[:length, index] for index, length in enumerate(self._lengths)]
        place[...] = np.concatenate(played).reshape(place.shape)
