"""What a saved file holds, as text for a terminal.

What is here: reading a model or checkpoint without unpickling, and putting it into words. What is not: the formats
(`untrusted/saved_model.py`, `checkpoints/checkpoint_file.py`).
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sb3_ppo_scratch.checkpoints.checkpoint_file import STATE, unpack
from sb3_ppo_scratch.saved_settings import read_whole
from sb3_ppo_scratch.untrusted.saved_model import (
    DESCRIPTION,
    DROPPED,
    pickled_names,
    read_description,
    read_parameters,
    refusing,
    settings_of,
)
from sb3_ppo_scratch.untrusted.torch_files import Tensor
from sb3_ppo_scratch.zip_members import read_members

FIRST = ("policy_class", "observation_space", "action_space", "n_envs", "num_timesteps")
"""Settings that are shown first."""
HIDDEN = DROPPED | {"start_time"}
"""What says nothing to a reader."""
LONGEST = 100
"""Characters of a value."""


def show_file(path: Path) -> str:
    """Say what a file holds.

    Args:
        path: A model or checkpoint.

    Returns:
        Lines of text, without control characters.

    Raises:
        FileNotFoundError: If there is no such file.
        UnsafeFileError: If it is damaged, or made to do harm.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    with refusing(path):
        file = read_whole(path)
        members = read_members(file)
        settings = settings_of(members)
        described, left_out = read_description(members) if DESCRIPTION in members else ({}, {})
        pickled = pickled_names(settings) - set(described)
        lines = [
            *_kind_lines(members, pickled - DROPPED, left_out),
            "",
            *_setting_lines(settings, described),
            "",
            *_parameter_lines(read_parameters(members)[1]),
        ]
        if STATE in members:
            lines += ["", *_run_lines(unpack(file))]
    return "\n".join("".join(each if each.isprintable() else "?" for each in line) for line in lines)


def _kind_lines(members: Mapping[str, bytes], pickled: set[str], left_out: Mapping[str, str]) -> Iterator[str]:
    """Say what kind of file it is, and how it loads."""
    version = members.get("_stable_baselines3_version", b"?").decode(errors="replace")
    kind = "a checkpoint, from which a run goes on" if STATE in members else "a model"
    yield f"{kind}, written with Stable-Baselines3 {version}"
    named = (f"{name} ({left_out[name]})" if name in left_out else name for name in sorted(pickled))
    if pickled:
        yield f"only unpickling can read: {', '.join(named)}"
    else:
        yield "everything is described by data: it loads with trusted=False"
    for line in members.get("system_info.txt", b"").decode(errors="replace").splitlines():
        yield f"  {line.strip().removeprefix('- ')}"


def _setting_lines(settings: Mapping[str, Any], described: Mapping[str, Any]) -> Iterator[str]:
    """List the settings."""
    names = [*(name for name in FIRST if name in settings), *sorted(set(settings) - set(FIRST) - HIDDEN)]
    width = max(map(len, names), default=0)
    for name in names:
        yield f"{name:{width}}  {_in_words(described[name] if name in described else settings[name]):.{LONGEST}}"


def _in_words(value: Any) -> str:
    """Say what a setting is."""
    if isinstance(value, dict) and ":type:" in value:
        return f"(pickled) {value[':type:']}"
    return value.__name__ if isinstance(value, type) else str(value)


def _parameter_lines(parameters: Mapping[str, Tensor]) -> Iterator[str]:
    """List the policy's parameters."""
    total = sum(math.prod(tensor.shape) for tensor in parameters.values())
    yield f"{total:,} parameters:"
    width = max(map(len, parameters), default=0)
    for name, tensor in parameters.items():
        yield f"  {name:{width}}  {' x '.join(map(str, tensor.shape)) or 'a number'}"


def _run_lines(state: Mapping[str, Any]) -> Iterator[str]:
    """Say how far a run is."""
    counters = state["counters"]
    yield f"its run: step {counters['num_timesteps']:,} of {counters['_total_timesteps']:,}"
    rollout = state["rollout"]
    if rollout is not None:
        yield f"  {rollout['n_steps']} steps into a rollout"
    if state["seed"] is not None:
        yield "  all episodes begin anew there, since the state of the environments cannot be read"
