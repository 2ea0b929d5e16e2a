"""What is watched while a file is read: errors, memory, code that runs, functions that change.

What is here: letting all readers of a target read one file. What is not: where the files come from (`seeds.py`,
`mutations.py`, `findings.py`), and the time, which the fuzzer limits.
"""

import importlib
import os
import sys
import warnings
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from sb3_ppo_scratch.untrusted.descriptions import CLASSES, FIELDS
from tests.fuzz_files.targets import Reader, Target
from tests.limits import MOST_MEMORY, little_memory

FORBIDDEN = (
    "exec", "import", "pickle.", "marshal.", "ctypes.", "os.", "shutil.", "socket.", "subprocess.", "pty.",
    "object.__setattr__", "object.__delattr__",
)  # fmt: skip
"""Beginnings of the names of Python's audit events that no reader of files causes:
https://docs.python.org/3/library/audit_events.html. The last two are those of changed functions and classes."""
HARMLESS = ("os.listdir", "os.scandir")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class FindingError(Exception):
    """Something that no reader may do."""


class _Canary:
    """Hears Python's audit events while it is on, and stops what must not be."""

    def __init__(self) -> None:
        self.is_on, self.heard = False, ""
        for name in sorted(CLASSES | set(FIELDS)):
            importlib.import_module(name.rpartition(".")[0])  # files may name them, so importing them is no finding
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Stop code that a file runs."""
        if not self.is_on:
            return
        is_writing = event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING
        if is_writing or (event.startswith(FORBIDDEN) and event not in HARMLESS):
            self.heard = f"{event} {arguments!r:.200}"
            raise FindingError(self.heard)


_canaries: list[_Canary] = []
"""The one that there is: audit hooks stay as long as the process."""


class Watch:
    """Lets readers read, and raises `FindingError` for whatever they must not do.

    Args:
        target: The readers.
        folder: Where the file is put that they read.
        sound: Files that are read first, so that what happens once in a process has happened.
    """

    def __init__(self, target: Target, folder: Path, sound: Iterable[bytes]) -> None:
        self._readers, self._path = target.readers, folder / "file.zip"
        if not _canaries:
            _canaries.append(_Canary())
        for file in sound:
            self._path.write_bytes(file)
            for reader in self._readers:
                with suppress(*reader.errors):
                    reader.read(self._path)

    def examine(self, file: bytes) -> list[str]:
        """Let all readers read a file.

        Args:
            file: All of it.

        Returns:
            What each reader says: its error's text, or "" if it has read the file.

        Raises:
            FindingError: If a reader runs code, changes a function or takes too much memory.
            Exception: Any that its docstring does not name.
        """
        self._path.write_bytes(file)
        return [self._read(reader) for reader in self._readers]

    def _read(self, reader: Reader) -> str:
        """Let a reader read the file."""
        said, canary = "", _canaries[0]
        canary.heard = ""
        try:
            with warnings.catch_warnings(), little_memory():
                warnings.simplefilter("ignore")
                canary.is_on = True
                reader.read(self._path)
        except reader.errors as error:
            canary.is_on = False
            said = str(error) or type(error).__name__
            _check_memory(error)
        finally:
            canary.is_on = False
        if canary.heard:
            raise FindingError(canary.heard)
        return said


def _check_memory(error: BaseException | None) -> None:
    """Look for a lack of memory behind an error.

    Raises:
        FindingError: If there was one.
    """
    while error is not None:
        if isinstance(error, MemoryError):
            raise FindingError(f"more than {MOST_MEMORY} bytes of memory") from error
        error = error.__cause__ or error.__context__
