"""What is fuzzed: the readers of files, and the errors that their docstrings name.

What is here: each reader as a function of a file's path, with what has to hold for what it returns. What is not: what
is watched while they read (`watching.py`).
"""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch as th

from sb3_ppo_scratch import PPOScratch
from sb3_ppo_scratch.checkpoints.checkpoint_file import CheckpointError, holds_run, read_checkpoint
from sb3_ppo_scratch.checkpoints.state_tree import StateError, decode
from sb3_ppo_scratch.errors import ArgumentError
from sb3_ppo_scratch.saved_settings import read_saved_settings, read_whole
from sb3_ppo_scratch.show.contents import show_file
from sb3_ppo_scratch.untrusted.saved_model import read_model
from sb3_ppo_scratch.wrappers.running_moments import RunningMoments
from sb3_ppo_scratch.zip_members import UnsafeFileError, read_members, write_members
from sb3_ppo_scratch.zoo.harmless_names import check_names
from sb3_ppo_scratch.zoo.plain_yaml import read_plain_yaml
from sb3_ppo_scratch.zoo.saved_statistics import read_statistics

SEPARATOR = b"\n--arrays--\n"
"""Between text and arrays of a state, where both are one file."""


class Reader(NamedTuple):
    """A function that reads files of others."""

    read: Callable[[Path], object]
    errors: tuple[type[Exception], ...]
    """Those that its docstring names."""


class Target(NamedTuple):
    """What is fuzzed together."""

    about: str
    readers: tuple[Reader, ...]


def read_zip(path: Path) -> None:
    """Read a zip file's members; written anew they are the same."""
    file = path.read_bytes()
    members = read_members(file)
    if sum(map(len, members.values())) > len(file):
        raise RuntimeError("the members are larger than the file")
    if read_members(write_members(members)) != members:
        raise RuntimeError("the members that are written are others")


def read_state(path: Path) -> None:
    """Read a state's tree, and use the random generators in it."""
    text, _, arrays = path.read_bytes().partition(SEPARATOR)
    state = decode(text.decode(errors="replace"), arrays)
    taken = 0
    for each in parts_of(state):
        if isinstance(each, np.ndarray):
            taken += each.nbytes
        draw_from(each)
    if taken > len(arrays):
        raise RuntimeError("the arrays are larger than the file")


def parts_of(state: Any) -> Iterator[Any]:
    """List all parts of a state."""
    left = [state]
    while left:
        each = left.pop()
        yield each
        if isinstance(each, dict):
            left += [*each.keys(), *each.values()]
        elif isinstance(each, list | tuple | set | frozenset):
            left += each


def draw_from(generator: Any) -> None:
    """Draw a number, if it is a random generator; one that is wrong inside would read foreign memory."""
    if isinstance(generator, random.Random | np.random.Generator):
        generator.random()
    elif isinstance(generator, np.random.RandomState):
        generator.random_sample()
    elif isinstance(generator, th.Generator):
        th.rand(1, generator=generator)


def load_untrusted(path: Path) -> PPOScratch:
    """Load a model without trust."""
    return PPOScratch.load(path, device="cpu", trusted=False)


def read_settings(path: Path) -> None:
    """Read rl_zoo3's settings, and look at the names in them."""
    check_names("CartPole-v1", (), read_plain_yaml(path))


TARGETS: dict[str, Target] = {
    "zip": Target(
        "members of zip files (`zip_members.py`, `saved_settings.py`)",
        (
            Reader(read_zip, (UnsafeFileError,)),
            Reader(read_whole, (UnsafeFileError,)),
            Reader(read_saved_settings, (ArgumentError,)),
            Reader(holds_run, ()),
        ),
    ),
    "checkpoint": Target(
        "checkpoints, digests made right again behind each mutation (`checkpoint_file.py`), and `show`",
        (Reader(read_checkpoint, (CheckpointError,)), Reader(show_file, (UnsafeFileError,))),
    ),
    "model": Target(
        "models with `load(trusted=False)` (`untrusted/`)",
        (
            Reader(lambda path: read_model(path.read_bytes()), (UnsafeFileError,)),
            Reader(load_untrusted, (ArgumentError,)),
        ),
    ),
    "statistics": Target(
        "`vecnormalize.pkl` without unpickling (`zoo/saved_statistics.py`)",
        (Reader(read_statistics, (UnsafeFileError,)),),
    ),
    "state": Target(
        "the state of a run (`checkpoints/state_tree.py`), drawing from its generators",
        (Reader(read_state, (StateError,)),),
    ),
    "settings": Target(
        "`config.yml` and `args.yml` (`zoo/plain_yaml.py`, `zoo/harmless_names.py`)",
        (Reader(read_settings, (ValueError,)),),
    ),
    "moments": Target(
        "an observation normaliser's `.npz` (`wrappers/running_moments.py`)",
        (Reader(RunningMoments.load, (ValueError,)),),
    ),
}
