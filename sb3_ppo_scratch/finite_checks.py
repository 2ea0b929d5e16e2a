"""Finding numbers that are not finite in what a rollout has brought.

What is here: looking, fast where all is well, and saying where. What is not: what follows (`nan_watch.py`).
"""

import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch as th
from numpy.typing import NDArray
from stable_baselines3.common.buffers import RolloutBuffer

QUANTITIES = (("observations", "observation"), ("actions", "action"), ("rewards", "reward"))
"""Arrays of a rollout buffer, and what one entry is."""


class Place(NamedTuple):
    """Where a number is not finite."""

    quantity: str
    step: int
    """Of the rollout, counted from 0."""
    env_index: int


def is_finite(array: NDArray[Any]) -> bool:
    """Tell whether all numbers of an array are finite.

    Args:
        array: Any shape and type.

    Returns:
        Whether they are; for integers True.
    """
    return array.dtype.kind not in "fc" or bool(np.isfinite(array).all())


def find_in_rollout(buffer: RolloutBuffer) -> Place | None:
    """Look for the number that was first not to be finite in a full rollout.

    Args:
        buffer: Arrays of the shape (n_steps, n_envs, ...).

    Returns:
        Where it is, in a step's own order: observation, action, reward; None if all are finite.
    """
    places = [
        (*np.argwhere(_bad_entries(array))[0].tolist(), order, quantity)
        for order, (attribute, quantity) in enumerate(QUANTITIES)
        for array in _arrays(getattr(buffer, attribute))
        if not is_finite(array)
    ]
    if not places:
        return None
    step, env_index, _, quantity = min(places, key=lambda place: (place[0], place[2]))
    return Place(quantity, step, env_index)


def place_in_turn(place: Place, lengths: NDArray[np.int64]) -> Place:
    """Find a place in a buffer in which environments lie one behind the other.

    Args:
        place: It, as if there were one environment.
        lengths: Steps of each environment, shape (n_envs,).

    Returns:
        The step and the environment that it is.
    """
    ends = np.cumsum(lengths)
    env_index = int(np.searchsorted(ends, place.step, side="right"))
    return Place(place.quantity, place.step - int(ends[env_index] - lengths[env_index]), env_index)


def _bad_entries(array: NDArray[Any]) -> NDArray[np.bool_]:
    """Tell which entries, shape (n_steps, n_envs, ...), are not finite, shape (n_steps, n_envs)."""
    good: NDArray[np.bool_] = np.isfinite(array).reshape(*array.shape[:2], -1).all(axis=-1)
    return ~good


def find_in_observations(observations: Any) -> int | None:
    """Look for the first environment whose observation is not finite.

    Args:
        observations: Shape (n_envs, *shape), or a dict of such arrays.

    Returns:
        Its index; None if all are finite.
    """
    for array in _arrays(observations):
        if not is_finite(array):
            return int(np.argmin(np.isfinite(array).reshape(len(array), -1).all(axis=-1)))
    return None


def with_others(values: Any, other: float) -> Any:
    """Put another number in the place of what is not finite.

    Args:
        values: An array of any shape and type, or a dict of such.
        other: The number.

    Returns:
        A copy of the same types.
    """
    if isinstance(values, dict):
        return {name: with_others(each, other) for name, each in values.items()}
    copy = values.copy()
    copy[~np.isfinite(values)] = other
    return copy


def _arrays(values: Any) -> Iterator[NDArray[Any]]:
    """List arrays, one or those of a dict; a buffer of one's own may hold anything."""
    listed = values.values() if isinstance(values, dict) else (values,)
    return (each for each in listed if isinstance(each, np.ndarray))


def name_of_not_finite(named: Iterable[tuple[str, th.Tensor]]) -> str | None:
    """Look for the first parameter that is not finite.

    Args:
        named: Parameters with their names.

    Returns:
        Its name; None if all are finite.
    """
    named = list(named)
    norms = th.stack([norm.double() for norm in th._foreach_norm([each.detach() for _, each in named])])
    if math.isfinite(norms.sum().item()):
        return None
    return next((name for name, each in named if not th.isfinite(each).all()), None)
