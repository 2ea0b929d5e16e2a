"""Passing over a rollout in random minibatches.

What is here: SB3's way through a buffer, taken apart, so that many minibatches can be picked at once or on another
device. What is not: storing and estimating advantages (`rollout_buffers.py`).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.buffers import DictRolloutBuffer, RolloutBuffer

PASSING_OVER = ("get", "_get_samples", "swap_and_flatten", "to_torch")
"""The methods of a buffer by which SB3 passes over it."""
FLATTENED = ("observations", "actions", "values", "log_probs", "advantages", "returns")
"""The arrays of a buffer of which minibatches consist."""


def is_passed_over_as_sb3_does(rollout_buffer: RolloutBuffer) -> bool:
    """Tell whether a buffer yields its own content in SB3's way, and not something of its own.

    Args:
        rollout_buffer: The buffer.

    Returns:
        Whether picking rows is all that its `get` does.
    """
    base = DictRolloutBuffer if isinstance(rollout_buffer, DictRolloutBuffer) else RolloutBuffer
    return all(
        getattr(type(rollout_buffer), name) is getattr(base, name) and name not in vars(rollout_buffer)
        for name in PASSING_OVER
    )


def flatten(rollout_buffer: RolloutBuffer) -> None:
    """Turn a buffer's arrays from (n_steps, n_envs, ...) into (n_steps * n_envs, ...), as SB3's `get` does.

    Args:
        rollout_buffer: A full buffer; left alone if that has been done.
    """
    assert rollout_buffer.full, "a rollout has to be collected first"
    if rollout_buffer.generator_ready:
        return
    for name in FLATTENED:
        array = getattr(rollout_buffer, name)
        if isinstance(array, dict):
            flat: Any = {key: rollout_buffer.swap_and_flatten(part) for key, part in array.items()}
        else:
            flat = rollout_buffer.swap_and_flatten(array)
        setattr(rollout_buffer, name, flat)
    rollout_buffer.generator_ready = True


def shuffle_rows(rollout_buffer: RolloutBuffer) -> NDArray[np.int64]:
    """Draw the order in which SB3's `get` would yield the transitions, from the same random stream.

    Args:
        rollout_buffer: A full buffer.

    Returns:
        Each row of its flattened arrays once, shape (n_steps * n_envs,).
    """
    return np.random.permutation(rollout_buffer.buffer_size * rollout_buffer.n_envs)
