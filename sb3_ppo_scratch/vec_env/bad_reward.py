"""A reward that is no number, found in the error that it has led to.

What is here: that. What is not: naming the environment (`faults.py`, `worker.py`), and rewards that have led to none
(`step_values.py`). Nothing here imports SB3 or torch.
"""

import traceback

from sb3_ppo_scratch.short_texts import shorten
from sb3_ppo_scratch.vec_env.step_values import is_number


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
