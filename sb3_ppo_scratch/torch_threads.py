"""How many threads torch uses while a model learns.

What is here: choosing and restoring the number. What is not: threads of environments (those are processes).

Small networks lose on several threads: handing out a 64 x 64 product takes longer than computing it
(https://github.com/DLR-RM/stable-baselines3/issues/90).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch as th

TorchThreads = Literal["auto"] | int | None
"""`"auto"`: one thread for networks without convolutions on the CPU; a number; None: leave torch's setting alone."""


class _UserSetting:
    """Whether the user has set torch's threads by other means, which `"auto"` then leaves alone."""

    kept = False


def keep_current_threads() -> None:
    """Make `"auto"` leave torch's threads alone in this process (rl_zoo3's `--num-threads` was given)."""
    _UserSetting.kept = True


def has_convolutions(module: th.nn.Module) -> bool:
    """Tell whether a network is worth several threads or a GPU.

    Args:
        module: The network.

    Returns:
        Whether any part of it is a convolution.
    """
    convolutions = (th.nn.Conv1d, th.nn.Conv2d, th.nn.Conv3d)
    return any(isinstance(part, convolutions) for part in module.modules())


def choose_threads(setting: TorchThreads, policy: th.nn.Module, device: th.device) -> int | None:
    """Turn the setting into a number of threads.

    Args:
        setting: The algorithm's `torch_threads`.
        policy: The policy's network.
        device: Where it runs.

    Returns:
        The number, or None to leave torch's setting alone.
    """
    if setting != "auto":
        return setting
    if _UserSetting.kept or device.type != "cpu" or has_convolutions(policy):
        return None
    return 1


def use_threads(count: int | None) -> None:
    """Let torch use a number of threads from now on.

    Args:
        count: The number; None: as many as now.
    """
    if count is not None:
        th.set_num_threads(count)


@contextmanager
def threads_restored() -> Iterator[None]:
    """Give torch back as many threads as it had before the block, also after an exception.

    Yields:
        Nothing.
    """
    before = th.get_num_threads()
    try:
        yield
    finally:
        th.set_num_threads(before)
