"""Errors that cross from a worker process to the one that it works for.

What is here: capturing an exception there, and raising it here with its traceback. What is not: noticing it
(`worker.py`, `worker_pool.py`).
"""

import pickle
import signal
import traceback
from dataclasses import dataclass
from typing import NoReturn

from sb3_ppo_scratch.short_texts import describe_error


class WorkerError(RuntimeError):
    """Something failed in a worker process; the message says where and holds the traceback from there.

    Args:
        message: What.
        env_index: The number of the environment; None: it was none's fault.
    """

    def __init__(self, message: str, env_index: int | None = None) -> None:
        super().__init__(message)
        self.env_index = env_index


class WorkerDiedError(WorkerError):
    """A worker process is gone."""


class WorkerHungError(WorkerDiedError):
    """A worker process did not answer in time, and has been ended."""


@dataclass(frozen=True)
class RemoteError:
    """An exception, made ready to travel.

    Args:
        where: Which environment it came from, what it was doing, and the exception in a line.
        traceback: The formatted traceback.
        pickled: The exception itself; None if it cannot be pickled.
        env_index: The environment's number; None: it came from none.
    """

    where: str
    traceback: str
    pickled: bytes | None
    env_index: int | None = None

    @classmethod
    def capture(cls, error: BaseException, where: str, env_index: int | None = None) -> "RemoteError":
        """Take an exception apart in the process that it was raised in.

        Args:
            error: The exception.
            where: Which environment it came from, and what it was doing.
            env_index: That environment's number; None: it came from none.

        Returns:
            What to send.
        """
        pickled: bytes | None
        try:
            pickled = pickle.dumps(error)
            pickle.loads(pickled)  # some can be written, but not read: those whose constructor wants more arguments
        except Exception:  # noqa: BLE001 # whatever a foreign exception's pickling raises
            pickled = None
        return cls(f"{where}: {describe_error(error)}", "".join(traceback.format_exception(error)), pickled, env_index)

    def raise_here(self) -> NoReturn:
        """Raise the exception again, so that `except` clauses and a reader of the output both find what they need.

        Raises:
            BaseException: The original exception, with a `WorkerError` as its cause.
            WorkerError: If the original exception cannot be rebuilt.
        """
        cause = WorkerError(f"{self.where}\n\n{self.traceback}", self.env_index)
        original: BaseException | None = None
        if self.pickled is not None:
            try:
                original = pickle.loads(self.pickled)
            except Exception:  # noqa: BLE001 # as above: the worker may know modules that this process does not
                original = None
        if original is None:
            raise cause
        raise original from cause


def describe_exit(exit_code: int | None) -> str:
    """Say in words how a process ended.

    Args:
        exit_code: As `multiprocessing.Process.exitcode`.

    Returns:
        A clause that goes on after "the worker".

    Example:
        >>> describe_exit(-9), describe_exit(3)
        ('was ended by SIGKILL', 'exited with status 3')
    """
    if exit_code is None:
        return "is gone"
    if exit_code >= 0:
        return f"exited with status {exit_code}"
    try:
        return f"was ended by {signal.Signals(-exit_code).name}"
    except ValueError:
        return f"was ended by signal {-exit_code}"
