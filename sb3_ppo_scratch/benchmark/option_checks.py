"""Checks of options that several kinds of benchmark have.

What is here: numbers and folders. What is not: plans (`training/plan_files.py`).
"""

from collections.abc import Mapping
from pathlib import Path

from sb3_ppo_scratch.errors import ArgumentError


def check_counts(counts: Mapping[str, int | None]) -> None:
    """Refuse numbers below 1.

    Args:
        counts: By option; None: not given.

    Raises:
        ArgumentError: If one is too small.
    """
    for option, count in counts.items():
        if count is not None and count < 1:
            raise ArgumentError(f"{option} must be at least 1, got {count}.")


def check_folders(folders: Mapping[str, Path]) -> None:
    """Refuse folders that are files.

    Args:
        folders: By option; they need not exist.

    Raises:
        NotADirectoryError: If one is something else.
    """
    for option, folder in folders.items():
        if folder.exists() and not folder.is_dir():
            raise NotADirectoryError(f"{option} {folder} is a file; give a folder.")
