"""Memory that several processes see, and that has no name: nothing of it can be left behind.

What is here: making a block, handing it to another process, and reading it as arrays. What is not: what lies in it
(`step_arrays.py`, `signals.py`). `multiprocessing.shared_memory` was not taken because its blocks have names, which a
killed parent leaves to a second process to clean up, with a warning; `RawArray` has none, but must be made before the
workers are, and they are the ones who know the sizes.
"""

import math
import mmap
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle, send_handle
from typing import Any

import numpy as np
import numpy.typing as npt

ALIGNMENT = 64
"""Bytes: a cache line, so that no two processes write to the same one."""


@dataclass(frozen=True)
class Field:
    """One array in a block.

    Args:
        shape: Its shape.
        dtype: Its element type; no objects.
    """

    shape: tuple[int, ...]
    dtype: Any

    @property
    def size(self) -> int:
        """Bytes from its beginning to that of the next."""
        payload: int = math.prod(self.shape) * np.dtype(self.dtype).itemsize
        return -(-max(payload, 1) // ALIGNMENT) * ALIGNMENT


class SharedMemory:
    """A block of memory, freed when the last process that maps it is gone.

    Args:
        descriptor: An open file that the block is mapped from; this object takes it over.
        size: Bytes.

    Example:
        >>> memory = SharedMemory.create([Field((2, 3), np.float32), Field((4,), np.bool_)])
        >>> matrix, flags = memory.arrays([Field((2, 3), np.float32), Field((4,), np.bool_)])
        >>> matrix.shape, flags.dtype
        ((2, 3), dtype('bool'))
    """

    def __init__(self, descriptor: int, size: int) -> None:
        self.size = size
        self.map = mmap.mmap(descriptor, size)
        self._descriptor: int | None = descriptor

    @classmethod
    def create(cls, fields: Sequence[Field]) -> "SharedMemory":
        """Make a block of zeros that has room for some arrays.

        Args:
            fields: The arrays.

        Returns:
            The block.
        """
        size = sum(field.size for field in fields)
        descriptor = _open_unnamed_file()
        os.ftruncate(descriptor, size)
        return cls(descriptor, size)

    def send(self, connection: Connection, pid: int) -> None:
        """Hand the block to the process at the other end of a connection.

        Args:
            connection: A duplex one.
            pid: The other process's number.
        """
        assert self._descriptor is not None
        connection.send(self.size)
        send_handle(connection, self._descriptor, pid)

    @classmethod
    def receive(cls, connection: Connection) -> "SharedMemory":
        """Take the block that the other end sends.

        Args:
            connection: A duplex one.

        Returns:
            The block, the same memory as there.
        """
        size = connection.recv()
        memory = cls(recv_handle(connection), size)
        memory.forget_file()
        return memory

    def forget_file(self) -> None:
        """Close the file: the memory stays, but can be sent no more."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def arrays(self, fields: Sequence[Field]) -> list[npt.NDArray[Any]]:
        """Read the block as arrays, one after the other.

        Args:
            fields: What `create` was given.

        Returns:
            Views of the memory, each with its field's shape and type; it lives as long as they do.
        """
        views, offset = [], 0
        for field in fields:
            views.append(np.ndarray(field.shape, field.dtype, buffer=self.map, offset=offset))
            offset += field.size
        return views


def _open_unnamed_file() -> int:
    """Open a file in memory that no folder lists."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("sb3-ppo-scratch")  # not in /dev/shm, which containers keep small
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
