"""The observations of many environments in arrays, a row each; what does not fit is refused.

What is here: writing a row as SB3's `DummyVecEnv` does, but without repeating or changing numbers silently. What is
not: who writes when (`shard.py`, `guard.py`). Nothing here imports SB3 or torch.
"""

from collections.abc import Hashable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sb3_ppo_scratch.errors import EnvironmentFaultError
from sb3_ppo_scratch.short_texts import shorten


class Part(NamedTuple):
    """One array of the observations, and what a row of it is."""

    key: Hashable
    """The part's; None: observations are plain arrays."""
    rows: npt.NDArray[Any]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class ObservationRows:
    """Arrays of observations.

    Args:
        arrays: Of the shape (n_envs, *shape) each, by the key of a Dict space; of a plain space one, with the key None.
    """

    def __init__(self, arrays: Mapping[Any, npt.NDArray[Any]]) -> None:
        self._parts = [Part(key, array, array.shape[1:], array.dtype) for key, array in arrays.items()]

    def write(self, index: int, observation: Any) -> None:
        """Write what an environment has returned.

        Args:
            index: Its number.
            observation: An array, or a dict of arrays.

        Raises:
            EnvironmentFaultError: If it does not fit; the message names the environment and what it returned.
        """
        for key, rows, shape, dtype in self._parts:
            part = observation if key is None else part_of(observation, key, index)
            # Nearly always an array of the very type that the space has.
            if getattr(part, "shape", None) != shape or part.dtype is not dtype:
                check_fits(part, shape, dtype, index=index, key=key)
            rows[index] = part


def part_of(observation: Any, key: Hashable, index: int) -> Any:
    """Take a part out of a Dict space's observation.

    Args:
        observation: What an environment has returned.
        key: The part.
        index: The environment's number.

    Returns:
        The part.

    Raises:
        EnvironmentFaultError: If there is none.
    """
    try:
        return observation[key]
    except (KeyError, IndexError, TypeError) as error:
        raise EnvironmentFaultError(
            f"environment {index} returned an observation without the part {key!r}: {shorten(observation)}", index
        ) from error


def check_fits(value: Any, shape: tuple[int, ...], dtype: np.dtype[Any], *, index: int, key: Hashable = None) -> None:
    """Refuse an observation that an array of its space cannot hold as it is.

    Numbers of another type are fine if they stay what they are but for rounding.

    Args:
        value: What an environment has returned.
        shape: The space's.
        dtype: The space's.
        index: The environment's number.
        key: The part of a Dict space.

    Raises:
        EnvironmentFaultError: If it has another shape, or its type cannot be turned into the space's.
    """
    array = _as_array(value)
    if array.shape == shape and keeps_its_numbers(array, dtype):
        return
    part = "" if key is None else f" part {key!r}"
    raise EnvironmentFaultError(
        f"environment {index} returned an observation{part} of shape {array.shape} and type {array.dtype}, where the "
        f"space has {shape} and {dtype}: {shorten(value)}",
        index,
    )


def _as_array(value: Any) -> npt.NDArray[Any]:
    """Turn anything into an array, if need be one of objects."""
    try:
        return np.asarray(value)
    except ValueError:  # lists of different lengths
        return np.asarray(value, dtype=object)
    except Exception:  # noqa: BLE001 # whatever a foreign object raises
        array = np.empty((), dtype=object)
        array[()] = value
        return array


def keeps_its_numbers(array: npt.NDArray[Any], dtype: np.dtype[Any]) -> bool:
    """Tell whether numbers of one type are the same in another, but for a float's rounding.

    Args:
        array: The numbers.
        dtype: The other type.

    Returns:
        Whether they are.
    """
    if is_kept_by_type(array.dtype, dtype):
        return True
    if array.dtype.kind not in "biuf":
        return False
    with np.errstate(invalid="ignore"):
        return bool(np.array_equal(array.astype(dtype), array))


def is_kept_by_type(dtype: np.dtype[Any], other: np.dtype[Any]) -> bool:
    """Tell whether all numbers of one type are the same in another, but for a float's rounding.

    Args:
        dtype: The one.
        other: The other.

    Returns:
        Whether they are.
    """
    return np.can_cast(dtype, other, "same_kind" if other.kind in "fc" else "safe")
