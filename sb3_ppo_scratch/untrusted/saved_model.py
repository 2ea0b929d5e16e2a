"""A saved model that nobody vouches for.

SB3 pickles what is neither number nor text: spaces, schedules, classes. `with_description` writes beside that, into
the member `sb3_ppo_scratch/model.json`, the same as data; `read_model` reads that, and no pickle.

What is here: both directions, for the whole file. What is not: descriptions of single objects (`descriptions.py`), and
making the algorithm (`scratch_algorithm.py`).
"""

import base64
import io
import json
import zipfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from sb3_ppo_scratch.checkpoints.state_tree import State, decode, encode
from sb3_ppo_scratch.saved_settings import read_saved_settings
from sb3_ppo_scratch.untrusted.descriptions import describe_all, make_described
from sb3_ppo_scratch.untrusted.torch_files import Tensor, checked_tensors
from sb3_ppo_scratch.zip_members import UnsafeFileError, read_members, write_members

DATA, DESCRIPTION = "data", "sb3_ppo_scratch/model.json"
FORMAT, VERSION = "sb3-ppo-scratch model", 1
PICKLED = ":serialized:"
"""SB3's key of the bytes of what it has pickled."""
PARAMETERS = "policy.pth"
TENSORS = (PARAMETERS, "policy.optimizer.pth")
"""Members that torch has written."""
TRANSIENT = frozenset(
    {"_last_obs", "_last_episode_starts", "_last_original_obs", "ep_info_buffer", "ep_success_buffer", "action_noise"}
)
"""Attributes that a new run makes anew."""
DROPPED = TRANSIENT | {"lr_schedule", "tensorboard_log"}
"""What no model takes over: the schedule follows from the learning rate, and a path could point anywhere."""
LARGEST_TEXT = 1 << 24
"""Bytes of settings at most; a space of a million different bounds has fewer."""


class SavedModel(NamedTuple):
    """What such a file holds, as far as it can be taken over."""

    attributes: dict[str, Any]
    """Of the algorithm, by name."""
    tensors: dict[str, bytes]
    """Parameters and optimiser, as torch reads them."""
    policy: Mapping[str, Tensor]
    """Shapes of the policy's parameters."""


def with_description(file: bytes, attributes: Mapping[str, Any]) -> tuple[bytes, dict[str, str]]:
    """Put a description of what SB3 has pickled beside it.

    Args:
        file: A model as SB3 saves it.
        attributes: The algorithm's, by name.

    Returns:
        The file with the description, and, by name, what cannot be described.
    """
    described, left_out = describe_all(
        {name: attributes[name] for name in pickled_names(read_saved_settings(io.BytesIO(file))) - DROPPED}
    )
    text, arrays = encode(described)
    content = {
        "format": FORMAT,
        "version": VERSION,
        "described": text,
        "arrays": base64.b64encode(arrays).decode(),
        "left_out": left_out,
    }
    whole = io.BytesIO(file)
    with zipfile.ZipFile(whole, "a", zipfile.ZIP_STORED) as archive:
        archive.writestr(DESCRIPTION, json.dumps(content, indent=1))
    return whole.getvalue(), left_out


def settings_of(members: Mapping[str, bytes]) -> dict[str, Any]:
    """Read SB3's settings as they stand in a file, what is pickled as text.

    Args:
        members: The file's, by name.

    Returns:
        Them by name.

    Raises:
        UnsafeFileError: If there are none.
    """
    if DATA not in members:
        raise UnsafeFileError("it is no model that SB3 has saved")
    return _json_mapping(members, DATA)


def _json_mapping(members: Mapping[str, bytes], name: str) -> dict[str, Any]:
    """Read a member that is JSON.

    Raises:
        UnsafeFileError: If it is too large, or no mapping.
    """
    text = members[name]
    if len(text) > LARGEST_TEXT:
        raise UnsafeFileError(f"the member {name!r} has {len(text)} bytes")
    try:
        content = json.loads(text.decode())
    except (ValueError, RecursionError) as error:
        raise UnsafeFileError(f"the member {name!r} is no JSON: {error}") from error
    if not isinstance(content, dict):
        raise UnsafeFileError(f"the member {name!r} is no mapping")
    return content


def pickled_names(settings: Mapping[str, Any]) -> set[str]:
    """Name the settings that SB3 has pickled.

    Args:
        settings: As they stand in the file.

    Returns:
        Their names.
    """
    return {name for name, value in settings.items() if isinstance(value, dict) and PICKLED in value}


def read_model(file: bytes, replaced: Collection[str] = ()) -> SavedModel:
    """Read a model, and unpickle nothing.

    Args:
        file: The whole file.
        replaced: Attributes that are given in place of those in the file.

    Returns:
        What it holds.

    Raises:
        UnsafeFileError: If it is damaged, made to do harm, or holds something that is not described.
    """
    members = read_members(file)
    settings = settings_of(members)
    if DESCRIPTION not in members:
        raise UnsafeFileError(
            "SB3 or an older version has saved it, which only unpickling can read; do so with `trusted=True` (command "
            "line: --trusted) if you know who has made it"
        )
    described, left_out = read_description(members)
    missing = sorted(pickled_names(settings) - set(described) - DROPPED - set(replaced))
    if missing:
        raise UnsafeFileError(_why_missing(missing, left_out))
    attributes = {name: None if name in DROPPED else value for name, value in settings.items() if name not in replaced}
    attributes |= {name: described[name] for name in described if name in attributes}
    tensors, policy = read_parameters(members)
    return SavedModel(attributes, tensors, policy)


def read_parameters(members: Mapping[str, bytes]) -> tuple[dict[str, bytes], dict[str, Tensor]]:
    """Check what torch has written.

    Args:
        members: The file's, by name.

    Returns:
        The members with parameters and optimiser, written anew, and the shapes of the parameters by name.

    Raises:
        UnsafeFileError: If one is missing, or claims what it has not.
    """
    missing = [name for name in TENSORS if name not in members]
    if missing:
        raise UnsafeFileError(f"it has no member {missing[0]!r}")
    tensors = {name: checked_tensors(members[name]) for name in TENSORS}
    policy = tensors[PARAMETERS][1]
    if not isinstance(policy, dict) or not all(isinstance(each, Tensor) for each in policy.values()):
        raise UnsafeFileError("its policy is no mapping of names to tensors")
    return {name: file for name, (file, _) in tensors.items()}, dict(policy)


def with_settings(tensors: Mapping[str, bytes], names: Iterable[str]) -> io.BytesIO:
    """Make a file for SB3 that holds no settings, only the names of those that are given to `load`.

    Args:
        tensors: The members with parameters and optimiser.
        names: What is given.

    Returns:
        The file.
    """
    return io.BytesIO(write_members({DATA: json.dumps(dict.fromkeys(names)).encode(), **tensors}))


def read_description(members: Mapping[str, bytes]) -> tuple[dict[str, Any], dict[str, str]]:
    """Make what is described.

    Args:
        members: The file's, by name.

    Returns:
        It by name, and what could not be described.

    Raises:
        UnsafeFileError: If it is of another format, or names what is not known.
    """
    content = _json_mapping(members, DESCRIPTION)
    if content.get("format") != FORMAT or type(content.get("version")) is not int:
        raise UnsafeFileError(f"its description is of the format {content.get('format')!r}")
    if content["version"] > VERSION:
        raise UnsafeFileError(
            f"it was written in format {content['version']} by a newer sb3-ppo-scratch; this one reads up to "
            f"{VERSION}: install the newer one"
        )
    try:
        description: State = decode(content["described"], base64.b64decode(content["arrays"]))
        if not isinstance(description, dict) or not isinstance(content["left_out"], dict):
            raise UnsafeFileError("its description is no mapping")
        return make_described(description), content["left_out"]
    except UnsafeFileError:
        raise
    except Exception as error:  # what is made with wrong arguments raises all kinds
        raise UnsafeFileError(f"its description is damaged: {type(error).__name__} {error}") from error


def _why_missing(names: Collection[str], left_out: Mapping[str, str]) -> str:
    """Say what cannot be read, and what to do."""
    what = ", ".join(f"`{name}` ({left_out.get(name, 'not described'):.100})" for name in names)
    return (
        f"{what} can only be unpickled; give it in custom_objects, or read the file with `trusted=True` "
        "(command line: --trusted) if you know who has made it"
    )


@contextmanager
def refusing(path: object) -> Iterator[None]:
    """Let whatever goes wrong with a file be one kind of error, which names the file.

    Args:
        path: The file.

    Yields:
        Nothing.

    Raises:
        UnsafeFileError: In place of any other error.
    """
    try:
        yield
    except Exception as error:
        message = " ".join(str(error).split()) or type(error).__name__
        raise UnsafeFileError(f"{path} is not loaded: {message:.400}") from error
