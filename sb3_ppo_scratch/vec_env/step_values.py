"""Rewards, and whether an episode has ended, as environments return them; what is neither is refused.

What is here: telling numbers from other values, and naming these. What is not: observations (`observation_rows.py`),
and a reward that has already led to an error of another's (`bad_reward.py`). Nothing here imports SB3 or torch.
"""

import numbers
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sb3_ppo_scratch.errors import EnvironmentFaultError
from sb3_ppo_scratch.short_texts import shorten

USUAL_REWARDS = frozenset({float, int, bool, np.float32, np.float64})
"""Types of rewards that need no further look."""
USUAL_ENDS = frozenset({bool, np.bool_})
"""Types of `terminated` and `truncated` that need none."""


def is_number(value: Any) -> bool:
    """Tell whether a value can be a reward.

    Args:
        value: Anything.

    Returns:
        Whether it is a real number, an array or tensor of one, or another object that is turned into one.

    Example:
        >>> is_number(1), is_number(np.float32(0.5)), is_number(np.zeros(1)), is_number(None), is_number("1")
        (True, True, True, False, False)
    """
    if isinstance(value, np.ndarray | np.generic):
        return value.size == 1 and value.dtype.kind in "biuf"
    if isinstance(value, numbers.Real):
        return True
    if not hasattr(type(value), "__float__"):  # text, of which `float` would make a number, has none
        return False
    try:
        float(value)
    except Exception:  # noqa: BLE001 # whatever a foreign object's conversion raises
        return False
    return True


def as_number(value: Any) -> float:
    """Turn what `is_number` into a float.

    Args:
        value: It.

    Returns:
        The number.
    """
    return float(value.item() if isinstance(value, np.ndarray) else value)


def check_reward(reward: Any, index: int) -> None:
    """Refuse a reward that is no number.

    Args:
        reward: What an environment has returned.
        index: Its number.

    Raises:
        EnvironmentFaultError: If it is none.
    """
    if type(reward) not in USUAL_REWARDS and not is_number(reward):
        raise EnvironmentFaultError(describe_bad_reward(index, shorten(reward)), index)


def check_end(ended: Any, index: int) -> None:
    """Refuse a `terminated or truncated` that is neither true nor false.

    Args:
        ended: What an environment has returned.
        index: Its number.

    Raises:
        EnvironmentFaultError: If it is no bool, and no number that is 0 or 1.
    """
    if type(ended) in USUAL_ENDS or (is_number(ended) and as_number(ended) in (0.0, 1.0)):
        return
    raise EnvironmentFaultError(
        f"environment {index} returned {shorten(ended)} as `terminated` or `truncated`, which is no bool", index
    )


def as_rewards(rewards: Sequence[Any]) -> npt.NDArray[Any]:
    """Put rewards into an array.

    Args:
        rewards: What environments have returned, one after the other.

    Returns:
        Them, shape (n_envs,).

    Raises:
        EnvironmentFaultError: If one is no number.
    """
    return np.array(_as_numbers(rewards, USUAL_REWARDS, check_reward))


def as_ends(ends: Sequence[Any]) -> npt.NDArray[np.bool_]:
    """Put what says whether episodes have ended into an array.

    Args:
        ends: `terminated or truncated` of environments, one after the other.

    Returns:
        Them, shape (n_envs,).

    Raises:
        EnvironmentFaultError: If one is no bool.
    """
    return np.array(_as_numbers(ends, USUAL_ENDS, check_end), dtype=bool)


def _as_numbers(values: Sequence[Any], usual: frozenset[type[Any]], check: Callable[[Any, int], None]) -> Sequence[Any]:
    """Turn values into numbers, once all are checked; those of usual types stay as they are."""
    if usual.issuperset(map(type, values)):
        return values
    for index, value in enumerate(values):
        check(value, index)
    return list(map(as_number, values))


def describe_bad_reward(index: int, reward: str, why: str = "") -> str:
    """Say that a reward is no number.

    Args:
        index: The environment's number.
        reward: The reward, in short.
        why: The error that it has led to, in words; empty: none.

    Returns:
        A sentence without its full stop.
    """
    reason = f" ({why})" if why else ""
    return f"environment {index} returned the reward {reward}, which is no number{reason}"
