"""How many threads torch and NumPy's matrix products use while a model learns.

What is here: choosing, limiting and restoring the numbers. What is not: what steps the environments beside this thread
(`ShardedVecEnv`'s processes, EnvPool's threads).

Small networks lose on several threads: handing out a 64 x 64 product takes longer than computing it
(https://github.com/DLR-RM/stable-baselines3/issues/90). NumPy always gets one: only small products are left to it
(`kernels.py`).
"""

import functools
import itertools
import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal
from weakref import WeakKeyDictionary

import numpy as np
import torch as th
from threadpoolctl import ThreadpoolController

from sb3_ppo_scratch.devices import has_convolutions

TorchThreads = Literal["auto"] | int | None
"""`"auto"`: one thread on the CPU for networks without convolutions, unless parameters times minibatch size reach
`WORTH_SEVERAL_THREADS`; a number; None: leave torch's setting alone."""

WORTH_SEVERAL_THREADS = 2**24
"""Parameters times minibatch size from which on a minibatch takes less time on two threads than on one (measured:
docs/decisions.md)."""

_SIZES: WeakKeyDictionary[th.nn.Module, float] = WeakKeyDictionary()
"""Parameters of each network when it was first asked for, infinitely many if it has convolutions. Counting takes as
long as a step of small environments; a network that changes later may be a little slower than it could be."""


class _OpenBlocks:
    """The blocks of `threads_restored` that are being run, over all of Python's threads."""

    lock = threading.Lock()
    blocks: ClassVar[list[tuple[int, int]]] = []
    """For each its thread, and torch's threads before it."""
    blas_before: ClassVar[list[int]] = []
    """NumPy's threads before the first of them."""


class _UserSetting:
    """Whether the user has set torch's threads by other means, which `"auto"` then leaves alone."""

    kept = False


def keep_current_threads() -> None:
    """Make `"auto"` leave torch's threads alone in this process (rl_zoo3's `--num-threads` was given)."""
    _UserSetting.kept = True


def choose_threads(setting: TorchThreads, policy: th.nn.Module, batch_size: int, outside: int) -> int:
    """Turn the setting into a number of threads.

    Args:
        setting: The algorithm's `torch_threads`.
        policy: The policy's network.
        batch_size: Transitions of the largest minibatch.
        outside: torch's threads while nothing learns.

    Returns:
        torch's threads.
    """
    if isinstance(setting, int):
        return setting
    if setting is None or _UserSetting.kept:
        return outside
    size = _SIZES.get(policy)
    if size is None:
        size = _SIZES[policy] = math.inf if has_convolutions(policy) else _count_parameters(policy)
    on_cpu = all(parameter.is_cpu for parameter in itertools.islice(policy.parameters(), 1))
    return 1 if on_cpu and size * batch_size < WORTH_SEVERAL_THREADS else outside


def _count_parameters(module: th.nn.Module) -> int:
    return sum(map(th.Tensor.numel, module.parameters()))


def use_threads(count: int) -> None:
    """Let torch use this many threads from now on, and NumPy one.

    Args:
        count: torch's threads.
    """
    if th.get_num_threads() != count:
        th.set_num_threads(count)
    for library in _blas_libraries():
        if library.num_threads != 1:
            with _controlled(library):
                library.set_num_threads(1)


@contextmanager
def threads_restored() -> Iterator[int]:
    """Give torch and NumPy back as many threads as they had before the block, also after an exception.

    Several of Python's threads may be in such blocks at once. torch's number is each thread's own, but a thread begins
    with the number that was set last anywhere, so one that comes later takes over what the first of the others found.
    NumPy's number is the process's: the first block remembers it, the last one restores it.

    Yields:
        torch's threads before.
    """
    here, before = threading.get_ident(), th.get_num_threads()
    with _OpenBlocks.lock:
        others = _OpenBlocks.blocks
        if not others:
            _OpenBlocks.blas_before[:] = [library.num_threads for library in _blas_libraries()]
        elif all(thread != here for thread, _ in others):
            before = others[0][1]
        _OpenBlocks.blocks.append((here, before))
    try:
        yield before
    finally:
        th.set_num_threads(before)
        with _OpenBlocks.lock:
            _OpenBlocks.blocks.remove((here, before))
            if not _OpenBlocks.blocks:
                for library, count in zip(_blas_libraries(), _OpenBlocks.blas_before, strict=True):
                    with _controlled(library):
                        library.set_num_threads(count)


@contextmanager
def _controlled(library: Any) -> Iterator[None]:
    """Let this thread set a library's number, and any thread after it.

    From 3.8 on, threadpoolctl does nothing, silently, in all threads but the first that has set a number.

    Args:
        library: threadpoolctl's controller.

    Yields:
        Nothing.
    """
    clear = getattr(library, "clear_controlling_thread", None)
    if clear is not None:
        clear(force=True)
    yield
    if clear is not None:
        clear()


@functools.cache
def _blas_libraries() -> list[Any]:
    """Find the libraries that multiply NumPy's matrices only; looked up once, which takes milliseconds."""
    controllers = ThreadpoolController().select(user_api="blas").lib_controllers
    return of_numpy_alone(controllers, Path(np.__file__).parent)


def of_numpy_alone(libraries: Sequence[Any], numpy_folder: Path) -> list[Any]:
    """Pick the libraries that came with NumPy: others (conda's MKL, say) may be torch's, too, and slow that down.

    Args:
        libraries: threadpoolctl's controllers; each has a `filepath`.
        numpy_folder: Where NumPy is installed.

    Returns:
        Those in that folder or in `numpy.libs` beside it, where wheels have them; maybe none.
    """
    folders = {numpy_folder.resolve(), numpy_folder.resolve().with_name("numpy.libs")}
    return [library for library in libraries if folders & set(Path(library.filepath).resolve().parents)]
