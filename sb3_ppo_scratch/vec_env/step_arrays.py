"""What one step of many environments is, as arrays in shared memory.

What is here: which arrays there are, and one process's views of them. What is not: the memory itself
(`shared_memory.py`), and who writes and reads when (`shard.py`, `worker_pool.py`).
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from sb3_ppo_scratch.errors import UnsupportedSpaceError
from sb3_ppo_scratch.vec_env.shared_memory import Field, SharedMemory
from sb3_ppo_scratch.vec_env.signals import SIGNAL_BYTES

RAW_KINDS: tuple[type[float] | None, ...] = (None, float, np.float64)
"""Types of the unscaled reward that this project's `ScaleReward` puts into every info."""
ARRAY_SPACES = (spaces.Box, spaces.Discrete, spaces.MultiBinary, spaces.MultiDiscrete)
"""Spaces whose elements are arrays of one shape and type, or numbers."""


@dataclass(frozen=True)
class StepLayout:
    """Which arrays a block of shared memory holds.

    Args:
        observations: Key and array of each part of an observation, (n_envs, *shape); the key of a plain space is None.
        actions: The array of actions, (n_envs, *shape); None if actions are no arrays.
        n_envs: Number of environments.
        n_workers: Number of worker processes.
    """

    observations: tuple[tuple[Hashable, Field], ...]
    actions: Field | None
    n_envs: int
    n_workers: int

    def fields(self) -> list[Field]:
        """List all arrays in their order; the signals are the first."""
        flags, per_worker = Field((self.n_envs,), np.bool_), Field((self.n_workers,), np.int64)
        return [
            Field((self.n_workers, 2, SIGNAL_BYTES), np.uint8),
            *(Field((self.n_envs,), np.float32), flags, flags),
            *(Field((self.n_envs,), np.float64), Field((self.n_envs,), np.uint8)),
            *(per_worker, per_worker, per_worker),
            self.actions or Field((0,), np.uint8),
            *(field for _, field in self.observations),
        ]


@dataclass(frozen=True)
class StepArrays:
    """One process's views of the shared arrays.

    Args:
        rewards: Rewards, (n_envs,), float32.
        dones: Whether the episode has ended, (n_envs,), bool.
        cut_offs: Whether it was truncated and not terminated, (n_envs,), bool.
        raw_rewards: The float that is a step's whole info, under `RAW_REWARD_KEY`, (n_envs,), float64.
        raw_kinds: Its type, as an index of `RAW_KINDS`; 0 if there is none, (n_envs,).
        commands: What each worker is to do next, (n_workers,).
        replies: Whether a worker's message follows its signal, (n_workers,).
        progress: The environment that each worker is at, (n_workers,).
        actions: Actions, (n_envs, *shape); None if they are no arrays.
        observations: Observations by key, (n_envs, *shape) each.
    """

    rewards: npt.NDArray[np.float32]
    dones: npt.NDArray[np.bool_]
    cut_offs: npt.NDArray[np.bool_]
    raw_rewards: npt.NDArray[np.float64]
    raw_kinds: npt.NDArray[np.uint8]
    commands: npt.NDArray[np.int64]
    replies: npt.NDArray[np.int64]
    progress: npt.NDArray[np.int64]
    actions: npt.NDArray[Any] | None
    observations: dict[Hashable, npt.NDArray[Any]]

    @classmethod
    def within(cls, memory: SharedMemory, layout: StepLayout) -> "StepArrays":
        """View a block of memory.

        Args:
            memory: The block, made for the layout's fields.
            layout: What lies in it.

        Returns:
            The views.
        """
        _, *views = memory.arrays(layout.fields())
        rewards, dones, cut_offs, raw_rewards, raw_kinds, commands, replies, progress, actions, *parts = views
        keys = (key for key, _ in layout.observations)
        shared_actions = None if layout.actions is None else actions
        return cls(
            rewards=rewards,
            dones=dones,
            cut_offs=cut_offs,
            raw_rewards=raw_rewards,
            raw_kinds=raw_kinds,
            commands=commands,
            replies=replies,
            progress=progress,
            actions=shared_actions,
            observations=dict(zip(keys, parts, strict=True)),
        )


def observation_fields(
    keys: Sequence[Any], shapes: dict[Any, Any], dtypes: dict[Any, Any], n_envs: int
) -> tuple[tuple[Hashable, Field], ...]:
    """Say which arrays hold the observations of many environments.

    Args:
        keys: The parts of an observation, as SB3's `obs_space_info` names them.
        shapes: Shape of each part.
        dtypes: Element type of each part.
        n_envs: Number of environments.

    Returns:
        Key and array of each.

    Raises:
        UnsupportedSpaceError: If a part has no fixed shape or number type.
    """
    for key in keys:
        if shapes[key] is None or dtypes[key] is None or np.dtype(dtypes[key]).kind not in "biufc":
            part = "the observation space" if key is None else f"part {key!r} of the observation space"
            raise UnsupportedSpaceError(f"{part} has no fixed shape of numbers; SB3's policies cannot take it either.")
    return tuple((key, Field((n_envs, *shapes[key]), dtypes[key])) for key in keys)


def action_field(space: spaces.Space[Any], n_envs: int) -> Field | None:
    """Say which array holds the actions of many environments.

    Args:
        space: The action space of one.
        n_envs: Their number.

    Returns:
        The array; None if actions are no arrays of one shape.
    """
    if not isinstance(space, ARRAY_SPACES) or space.shape is None:
        return None
    return Field((n_envs, *space.shape), space.dtype)
