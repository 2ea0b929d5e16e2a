"""Rewards, and whether an episode has ended, as environments return them; what is neither is refused.

What is here: telling numbers from other values, and naming these. What is not: observations (`observation_rows.py`),
and a reward that has already led to an error of another's (`bad_reward.py`). Nothing here imports SB3 or torch.
"""

import numbers
from typing import Any

import numpy as np

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


class CheckedRewards(np.ndarray[Any, Any]):
    """Rewards of many environments; one that is no number cannot be put in."""

    def __setitem__(self, index: Any, reward: Any) -> None:
        """Write a reward, or several.

        Raises:
            EnvironmentFaultError: If a single one is no number.
        """
        if type(reward) not in USUAL_REWARDS and type(index) is int:
            check_reward(reward, index)
            reward = as_number(reward)
        super().__setitem__(index, reward)


class CheckedEnds(np.ndarray[Any, Any]):
    """Whether episodes of many environments have ended; what is neither true nor false cannot be put in."""

    def __setitem__(self, index: Any, ended: Any) -> None:
        """Write whether an episode has ended, or several.

        Raises:
            EnvironmentFaultError: If a single value is no bool.
        """
        if type(ended) not in USUAL_ENDS and type(index) is int:
            check_end(ended, index)
            ended = as_number(ended)
        super().__setitem__(index, ended)
