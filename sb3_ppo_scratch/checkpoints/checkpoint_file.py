"""The file: SB3's zip of the model, and in it, beside SB3's own members, the state of the run.

Any SB3 opens it as a model; what it holds beyond that is here: `run.json` (format, version, digests, state) and
`arrays.bin`. What is here: its bytes, and reading them so that a damaged file is told from a good one. What is not:
what the state says (`run_state.py`), and writing the file (`safe_writing.py`).
"""

import errno
import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sb3_ppo_scratch.checkpoints.state_tree import State, StateError, decode, encode
from sb3_ppo_scratch.errors import ArgumentError
from sb3_ppo_scratch.zip_members import UnsafeFileError, read_members, write_members

FORMAT, VERSION = "sb3-ppo-scratch run", 1
STATE, ARRAYS = "sb3_ppo_scratch/run.json", "sb3_ppo_scratch/arrays.bin"
OWN_MEMBERS = (STATE, ARRAYS)
DIGEST = b"sb3-ppo-scratch run, sha256 "
"""Begins the zip's comment, which holds the digest of `run.json`, which holds those of all other members."""
LARGEST_STATE = 1 << 23
"""Bytes of `run.json` at most; long lists and arrays are not in it. A million episodes take 250 bytes, a thousand
evaluations 135 KB, 4096 environments' generators 0.8 MB; reading takes 25 times as much memory."""


class CheckpointError(ArgumentError):
    """A file from which no run can go on."""


class DamagedCheckpointError(CheckpointError):
    """A file that is not as it was written."""


class NoRunError(CheckpointError):
    """A sound file of a model, but without a run's state."""


def pack(model: bytes, state: State) -> bytes:
    """Put a run's state beside its model.

    Args:
        model: The model as SB3 saves it.
        state: The run's state.

    Returns:
        The whole file.

    Raises:
        OSError: If the state, without its arrays, is larger than `unpack` would read; the message says what is large.
    """
    file = io.BytesIO(model)
    text, arrays = encode(state)
    with zipfile.ZipFile(file, "a", zipfile.ZIP_STORED) as archive:
        digests = {name: hashlib.sha256(archive.read(name)).hexdigest() for name in archive.namelist()}
        digests[ARRAYS] = hashlib.sha256(arrays).hexdigest()
        run = json.dumps({"format": FORMAT, "version": VERSION, "sha256": digests, "state": text}).encode()
        if len(run) > LARGEST_STATE:
            raise OSError(
                errno.EFBIG,
                f"a run's state takes at most {LARGEST_STATE} bytes as text, not {len(run)}; most "
                f"is {_largest_part(state)!r}: lists of numbers of one type, and arrays, do not count",
            )
        archive.writestr(ARRAYS, arrays)
        archive.writestr(STATE, run)
        archive.comment = _seal(run)
    return file.getvalue()


def _largest_part(state: State) -> str:
    """Name the part that takes most of the text, and that of it, and so on."""
    names = []
    while isinstance(state, dict | list) and state:
        parts = dict(state) if isinstance(state, dict) else dict(enumerate(state))
        sizes = {name: len(encode(part)[0]) for name, part in parts.items()}
        largest = max(sizes, key=sizes.__getitem__)
        if 2 * sizes[largest] < sum(sizes.values()):
            break
        names.append(str(largest))
        state = parts[largest]
    return "/".join(names)


def unpack(file: bytes) -> State:
    """Read a run's state, once the whole file has turned out to be what was written.

    Args:
        file: The whole file.

    Returns:
        The state.

    Raises:
        DamagedCheckpointError: If it is not what was written.
        NoRunError: If it is a model without a run.
        CheckpointError: If it has been written by a newer version.
    """
    try:
        members = read_members(file)
    except UnsafeFileError as error:
        raise DamagedCheckpointError(str(error)) from error
    run = _run_of(members, file)
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in members.items() if name != STATE}
    if digests != run.get("sha256") or ARRAYS not in members or not isinstance(run.get("state"), str):
        raise DamagedCheckpointError("its members are not those that were written")
    try:
        return decode(run["state"], members[ARRAYS])
    except StateError as error:
        raise DamagedCheckpointError(str(error)) from error


def _run_of(members: Mapping[str, bytes], file: bytes) -> dict[str, Any]:
    """Read `run.json`, once it has turned out to be the one that the zip's comment, which ends the file, speaks of.

    Raises:
        DamagedCheckpointError: If it is not, or of another kind.
        NoRunError: If there is none.
        CheckpointError: If it has been written by a newer version.
    """
    if STATE not in members:
        raise NoRunError("it holds a model, but no run that could go on; learn from it by `load` and `learn`.")
    if len(members[STATE]) > LARGEST_STATE:
        raise DamagedCheckpointError("its state is too large")
    if not file.endswith(_seal(members[STATE])):
        raise DamagedCheckpointError("its state is not the one that was written")
    try:
        run = json.loads(members[STATE].decode())
        kind, version = run["format"], run["version"]
    except Exception as error:  # whoever wants to do harm can make the comment fit anything
        raise DamagedCheckpointError(f"no state of a run: {error or type(error).__name__}") from error
    if kind != FORMAT or not isinstance(version, int):
        raise DamagedCheckpointError(f"no state of a run: format {kind!r}")
    if version > VERSION:
        raise CheckpointError(
            f"it was written in format {version} by a newer sb3-ppo-scratch; this one reads up to {VERSION}: install "
            "the newer one."
        )
    return dict(run)


def _seal(run: bytes) -> bytes:
    """Make the zip's comment from `run.json`."""
    return DIGEST + hashlib.sha256(run).hexdigest().encode()


def read_checkpoint(path: Path) -> tuple[bytes, State]:
    """Read a checkpoint.

    Args:
        path: The file.

    Returns:
        The whole file, which SB3 reads the model from, and the run's state.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If it is damaged, holds no run, or was written by a newer version; the message names it.
    """
    if not path.is_file():  # a pipe would be waited for
        raise FileNotFoundError(f"there is no checkpoint file {path}")
    file = path.read_bytes()
    try:
        return file, unpack(file)
    except CheckpointError as error:
        raise type(error)(f"{path}: {error}") from error


def holds_run(path: Path) -> bool:
    """Tell whether a file says that it holds a run, sound or not.

    Args:
        path: The file.

    Returns:
        Whether it does.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return STATE in archive.namelist()
    except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError):
        return False


def without_run(file: bytes) -> bytes:
    """Leave the model alone.

    Args:
        file: A whole checkpoint.

    Returns:
        The same without what a run adds.

    Raises:
        UnsafeFileError: If it is damaged.
    """
    members = read_members(file)
    return write_members({name: content for name, content in members.items() if name not in OWN_MEMBERS})
