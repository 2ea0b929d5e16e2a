"""The checkpoints of a run's folder: their names, which of them goes on, and which become plain models.

What is here: files. What is not: when they are written (`callbacks.py`).
"""

import contextlib
import re
import warnings
from collections.abc import Sequence
from pathlib import Path

from sb3_ppo_scratch.checkpoints.checkpoint_file import (
    CheckpointError,
    DamagedCheckpointError,
    NoRunError,
    read_checkpoint,
    without_run,
)
from sb3_ppo_scratch.checkpoints.state_tree import State
from sb3_ppo_scratch.errors import ArgumentError
from sb3_ppo_scratch.safe_writing import write_safely

PREFIX = "rl_model"
"""rl_zoo3's name for models that are saved during a run."""
FAULT_PREFIX = "fault"
"""Begins the names of what is written when a fault ends a run."""


def checkpoint_path(folder: Path, n_steps: int, prefix: str = PREFIX) -> Path:
    """Name a checkpoint as SB3's `CheckpointCallback` names models.

    Args:
        folder: Where it lies.
        n_steps: Steps of the run so far.
        prefix: Begins the name.

    Returns:
        The path.
    """
    return folder / f"{prefix}_{n_steps}_steps.zip"


def list_checkpoints(folder: Path, *prefixes: str) -> list[Path]:
    """List the models of a folder that were saved during a run, with their runs or without.

    Args:
        folder: Where they lie.
        *prefixes: One of them begins their names; none: `PREFIX`.

    Returns:
        Them, from the last step to the first; of the same step, that of a fault first, as it was written last.
    """
    named = rf"({'|'.join(map(re.escape, prefixes or (PREFIX,)))})_(\d+)_steps\.zip"
    matches = [(re.fullmatch(named, path.name), path) for path in folder.glob("*.zip")]
    found = [(int(match[2]), match[1] == FAULT_PREFIX, path) for match, path in matches if match]
    return [path for *_, path in sorted(found, reverse=True)]


def newest_checkpoint(folder: Path) -> tuple[Path, State]:
    """Find the last checkpoint that is sound, that of a fault included, and warn of those that are not.

    Args:
        folder: Where they lie.

    Returns:
        The file, and its run's state.

    Raises:
        ArgumentError: If there is none.
        CheckpointError: If a newer version of this project has written one of those that come into question.
    """
    damaged: list[str] = []
    for path in list_checkpoints(folder, PREFIX, FAULT_PREFIX):
        state = _read_if_sound(path, damaged)
        if state is not None:
            return path, state
    if damaged:
        raise ArgumentError(f"{folder} holds no sound checkpoint of a run; damaged are {', '.join(damaged)}.")
    raise ArgumentError(f"{folder} holds no checkpoint of a run; `train --save-freq STEPS` writes some.")


def _read_if_sound(path: Path, damaged: list[str]) -> State:
    """Read a run's state, or warn that it is damaged or no file and add it to those; None also without a run."""
    try:
        return read_checkpoint(path)[1]
    except NoRunError:
        return None
    except (DamagedCheckpointError, OSError) as error:
        damaged.append(path.name)
        warnings.warn(f"{error}; the one before it is looked for.", stacklevel=3)
        return None


def thin_out(written: Sequence[Path], keep: int) -> None:
    """Let all but the last checkpoints be models only, which take less room; damaged ones stay as they are.

    Args:
        written: Those of one run, from the first to the last.
        keep: How many stay whole.

    Raises:
        OSError: If one cannot be written anew; it is still there.
    """
    for path in written[:-keep]:
        with contextlib.suppress(CheckpointError, FileNotFoundError):
            file, _ = read_checkpoint(path)
            write_safely(path, without_run(file))
