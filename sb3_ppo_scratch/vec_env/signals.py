"""How a process tells another that it is its turn.

What is here: two kinds of signal with the same two methods. `SemaphoreSignal` lies in shared memory, costs no system
call where nobody sleeps, and can be waited for by looking at it again and again; it needs Linux. `PipeSignal` is an
empty message and works everywhere. What is not: what is said with them (`worker.py`, `worker_pool.py`).
"""

import ctypes
import mmap
import os
import sys
import time
from multiprocessing.connection import Connection
from typing import Protocol

SIGNAL_BYTES = 64
"""Room for one semaphore (32 bytes with glibc on 64 bits), and a cache line to itself."""


class Signal(Protocol):
    """What one side notifies and the other waits for."""

    def notify(self) -> None:
        """Let one `wait` of the other side return."""

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for a `notify`.

        Args:
            seconds: How long at most; None: for ever.

        Returns:
            Whether there was one.
        """


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class SemaphoreSignal:
    """A POSIX semaphore without a name, in shared memory (`sem_init(3)`).

    Waking a sleeping process costs tens of microseconds, in virtual machines more, so a waiting one first looks
    again and again for a short time.

    Args:
        memory: The shared memory.
        offset: Where in it the semaphore lies, in bytes.
        spin_seconds: How long to look before sleeping; 0 where there are fewer cores than processes.

    Example:
        >>> signal = SemaphoreSignal(mmap.mmap(-1, SIGNAL_BYTES), 0)
        >>> signal.initialise()
        >>> signal.notify()
        >>> signal.wait(0.01), signal.wait(0.01)
        (True, False)
    """

    def __init__(self, memory: mmap.mmap, offset: int, spin_seconds: float = 0.0) -> None:
        self.spin_seconds = spin_seconds
        self._library = ctypes.CDLL(None, use_errno=True)
        self._keep = ctypes.c_char.from_buffer(memory, offset)  # the address is good as long as this lives
        self._address = ctypes.c_void_p(ctypes.addressof(self._keep))

    def initialise(self) -> None:
        """Make the semaphore, once, by one of the processes.

        Raises:
            OSError: If the system cannot.
        """
        if self._library.sem_init(self._address, 1, 0):
            raise OSError(ctypes.get_errno(), "sem_init failed")

    def notify(self) -> None:
        """Let one `wait` of the other side return."""
        self._library.sem_post(self._address)

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for a `notify`: looking for `spin_seconds`, then sleeping.

        Args:
            seconds: How long to sleep at most; None: for ever.

        Returns:
            Whether there was one; with a limit, False also if a signal such as Ctrl-C has cut the sleep short.
        """
        if self._spin():
            return True
        if seconds is None:
            while self._library.sem_wait(self._address):
                pass  # interrupted by a signal
            return True
        end = time.time() + seconds  # sem_timedwait goes by the wall clock
        deadline = _Timespec(int(end), int(end % 1 * 1e9))
        failed: int = self._library.sem_timedwait(self._address, ctypes.byref(deadline))
        return not failed

    def _spin(self) -> bool:
        try_wait, address = self._library.sem_trywait, self._address
        if try_wait(address) == 0:
            return True
        if self.spin_seconds <= 0:
            return False
        end = time.perf_counter() + self.spin_seconds
        while time.perf_counter() < end:
            if try_wait(address) == 0:
                return True
            os.sched_yield()
        return False


class PipeSignal:
    """An empty message on the connection that larger messages take, too: each follows its signal.

    Args:
        connection: This side's end of a duplex connection.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def notify(self) -> None:
        """Let one `wait` of the other side return."""
        self._connection.send_bytes(b"")

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for a `notify`.

        Args:
            seconds: How long at most; None: for ever.

        Returns:
            Whether there was one.
        """
        if seconds is not None and not self._connection.poll(seconds):
            return False
        self._connection.recv_bytes()
        return True


def have_shared_semaphores() -> bool:
    """Tell whether this system has semaphores in shared memory (macOS has the function, but not implemented).

    Returns:
        Whether `SemaphoreSignal` works.
    """
    return sys.platform == "linux"
