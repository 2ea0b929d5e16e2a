"""A reward that is no number, found in the error that it has led to.

What is here: that. What is not: naming the environment (`faults.py`, `worker.py`). Nothing here imports SB3 or torch.
"""

import numbers
import traceback
from typing import Any

import numpy as np

from sb3_ppo_scratch.vec_env.observation_rows import shorten


def find_bad_reward(error: BaseException) -> str:
    """Look for a reward that is no number in the functions that an error has come through.

    Args:
        error: What stepping an environment has raised.

    Returns:
        The reward, in short; empty if that is not what was wrong.
    """
    if not isinstance(error, TypeError | ValueError):
        return ""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        local = frame.f_locals
        owner = local.get("self")
        # What an environment itself calls a reward has not been returned yet; what a wrapper has got, has.
        if "reward" in local and getattr(owner, "unwrapped", None) is not owner and not is_number(local["reward"]):
            return shorten(local["reward"])
    return ""


def describe_bad_reward(index: int, reward: str, why: object = None) -> str:
    """Say that a reward is no number.

    Args:
        index: The environment's number.
        reward: The reward, in short.
        why: The error that it has led to, or None.

    Returns:
        A sentence without its full stop.
    """
    reason = "" if why is None else f" ({type(why).__name__}: {why})"
    return f"environment {index} returned the reward {reward}, which is no number{reason}"


def is_number(value: Any) -> bool:
    """Tell whether a value can be a reward.

    Args:
        value: Anything.

    Returns:
        Whether it is a real number, or an array of one.

    Example:
        >>> is_number(1), is_number(np.float32(0.5)), is_number(np.zeros(1)), is_number(None), is_number("1")
        (True, True, True, False, False)
    """
    if isinstance(value, numbers.Real):
        return True
    return isinstance(value, np.ndarray | np.generic) and value.size == 1 and value.dtype.kind in "biuf"
