"""One process at a time in a run's folder.

What is here: the lock. What is not: when it is held (`resume_option.py`).
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sb3_ppo_scratch.errors import ArgumentError

if sys.platform != "win32":
    import fcntl

LOCK = "in_use.lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes' runs out of a folder; Windows has no such lock.

    The system releases it when this process ends, however that comes about; the empty file stays.

    Args:
        folder: The run's folder.

    Yields:
        Nothing.

    Raises:
        ArgumentError: If another process is at work in it.
    """
    with (folder / LOCK).open("a") as file:
        if sys.platform != "win32":
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ArgumentError(f"another process is training in {folder}; let it end first.") from error
        yield
