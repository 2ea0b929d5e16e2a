"""How many threads torch and NumPy's matrix products use while a model learns.

What is here: choosing, limiting and restoring the numbers. What is not: threads of environments (those are processes).

Small networks lose on several threads: handing out a 64 x 64 product takes longer than computing it
(https://github.com/DLR-RM/stable-baselines3/issues/90). NumPy always gets one: only small products are left to it
(`kernels.py`).
"""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch as th
from threadpoolctl import ThreadpoolController

TorchThreads = Literal["auto"] | int | None
"""`"auto"`: one thread for networks without convolutions on the CPU; a number; None: leave torch's setting alone."""

WORTH_SEVERAL_THREADS = 2**24
"""Parameters times minibatch size from which on a minibatch takes less time on two threads than on one (measured:
docs/decisions.md)."""


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


def choose_threads(setting: TorchThreads, policy: th.nn.Module, batch_size: int, outside: int) -> int:
    """Turn the setting into a number of threads.

    Args:
        setting: The algorithm's `torch_threads`.
        policy: The policy's network.
        batch_size: Transitions per minibatch.
        outside: torch's threads while nothing learns.

    Returns:
        torch's threads.
    """
    if isinstance(setting, int):
        return setting
    if setting is None or _UserSetting.kept:
        return outside
    parameters = list(policy.parameters())
    is_large = batch_size * sum(parameter.numel() for parameter in parameters) >= WORTH_SEVERAL_THREADS
    on_cpu = all(parameter.is_cpu for parameter in parameters)
    return outside if is_large or not on_cpu or has_convolutions(policy) else 1


def use_threads(count: int) -> None:
    """Let torch use this many threads from now on, and NumPy one.

    Args:
        count: torch's threads.
    """
    if th.get_num_threads() != count:
        th.set_num_threads(count)
    for library in _blas_libraries():
        if library.num_threads != 1:
            library.set_num_threads(1)


@contextmanager
def threads_restored() -> Iterator[int]:
    """Give torch and NumPy back as many threads as they had before the block, also after an exception.

    Yields:
        torch's threads before.
    """
    before, blas_before = th.get_num_threads(), [library.num_threads for library in _blas_libraries()]
    try:
        yield before
    finally:
        th.set_num_threads(before)
        for library, count in zip(_blas_libraries(), blas_before, strict=True):
            library.set_num_threads(count)


@functools.cache
def _blas_libraries() -> list[Any]:
    """Find the libraries that multiply NumPy's matrices; looked up once, which takes milliseconds."""
    return list(ThreadpoolController().select(user_api="blas").lib_controllers)
