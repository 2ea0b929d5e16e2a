"""How many threads torch and NumPy's matrix products use while a model learns.

What is here: choosing, limiting and restoring the numbers. What is not: threads of environments (those are processes).

Small networks lose on several threads: handing out a 64 x 64 product takes longer than computing it
(https://github.com/DLR-RM/stable-baselines3/issues/90).
"""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

import torch as th
from threadpoolctl import ThreadpoolController

TorchThreads = Literal["auto"] | int | None
"""`"auto"`: one thread for networks without convolutions on the CPU; a number; None: leave torch's setting alone."""

WORTH_SEVERAL_THREADS = 2**27
"""Parameters times minibatch size from which on matrix products of the CPU gain by several threads."""


class Threads(NamedTuple):
    """Numbers of threads."""

    torch: int
    blas: int
    """NumPy's, for matrix products."""


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


def choose_threads(setting: TorchThreads, policy: th.nn.Module, batch_size: int, outside: Threads) -> Threads:
    """Turn the setting into numbers of threads.

    Args:
        setting: The algorithm's `torch_threads`.
        policy: The policy's network.
        batch_size: Transitions per minibatch.
        outside: The numbers that hold while nothing learns.

    Returns:
        The numbers.
    """
    if isinstance(setting, int):
        return Threads(setting, setting)
    parameters = list(policy.parameters())
    is_large = batch_size * sum(parameter.numel() for parameter in parameters) >= WORTH_SEVERAL_THREADS
    on_cpu = all(parameter.device.type == "cpu" for parameter in parameters)
    leave_alone = setting is None or _UserSetting.kept or not on_cpu or has_convolutions(policy)
    return Threads(outside.torch if leave_alone or is_large else 1, outside.torch if is_large else 1)


def current_threads() -> Threads:
    """Look up how many threads are in use.

    Returns:
        The numbers.
    """
    return Threads(th.get_num_threads(), max((library.num_threads for library in _blas_libraries()), default=1))


def use_threads(threads: Threads) -> None:
    """Let torch and NumPy use these numbers of threads from now on.

    Args:
        threads: The numbers.
    """
    if th.get_num_threads() != threads.torch:
        th.set_num_threads(threads.torch)
    for library in _blas_libraries():
        if library.num_threads != threads.blas:
            library.set_num_threads(threads.blas)


@contextmanager
def threads_restored() -> Iterator[Threads]:
    """Give torch and NumPy back as many threads as they had before the block, also after an exception.

    Yields:
        Those numbers.
    """
    blas_before = [library.num_threads for library in _blas_libraries()]
    before = current_threads()
    try:
        yield before
    finally:
        th.set_num_threads(before.torch)
        for library, count in zip(_blas_libraries(), blas_before, strict=True):
            library.set_num_threads(count)


@functools.cache
def _blas_libraries() -> list[Any]:
    """Find the libraries that multiply NumPy's matrices; looked up once, which takes milliseconds."""
    return list(ThreadpoolController().select(user_api="blas").lib_controllers)
