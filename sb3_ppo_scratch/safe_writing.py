"""Writing files so that a crash at any moment leaves the old one or the new one.

What is here: one function for files of any kind that fit into memory. What is not: what stands in them.
"""

import contextlib
import os
import re
import secrets
import time
from pathlib import Path

UNFINISHED = re.compile(r".+\.[0-9a-f]{8}\.writing")
"""The name of a file that is being written: the file's own, and what tells writers apart."""
LEFT_BEHIND = 3600.0
"""Seconds after which an unfinished file that has not grown was left by a process that was killed."""


def write_safely(path: Path, content: bytes) -> None:
    """Write a file so that it is whole whenever it is there, whoever else writes it and whenever the process is killed.

    After a power failure the old one may be back on file systems on which folders cannot be synchronised.

    Args:
        path: The file; its folder is made, and rid of what killed writers have left.
        content: All of it.

    Raises:
        OSError: If it has not been written; what was there before still is, and nothing unfinished is left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path.parent)
    unfinished = path.with_name(f"{path.name}.{secrets.token_hex(4)}.writing")
    try:
        with unfinished.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    with contextlib.suppress(OSError):  # the file is there and whole; Windows, for one, opens no folders
        _synchronise(path.parent)


def _remove_leftovers(folder: Path) -> None:
    """Remove files that were being written when their process was killed."""
    for path in folder.glob("*.writing"):
        with contextlib.suppress(OSError):  # another process may be quicker
            if UNFINISHED.fullmatch(path.name) and time.time() - path.stat().st_mtime > LEFT_BEHIND:
                path.unlink()


def _synchronise(folder: Path) -> None:
    """Let the names of a folder's files outlast a power failure.

    Raises:
        OSError: If the file system cannot.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
