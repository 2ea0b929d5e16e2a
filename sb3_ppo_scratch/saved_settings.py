"""What a saved file says of its model, looked at before anything is made from it.

What is here: reading SB3's file format without unpickling anything. What is not: what follows from it
(`scratch_algorithm.py`).
"""

import io
import json
import pathlib
import zipfile
from typing import Any

from stable_baselines3.common.save_util import open_path

from sb3_ppo_scratch.errors import ArgumentError
from sb3_ppo_scratch.zip_members import check_members, opened


def read_whole(path: str | pathlib.Path | io.BufferedIOBase) -> bytes:
    """Read a zip file into memory, unless it pretends to be larger than its members.

    Args:
        path: The file.

    Returns:
        All of it.

    Raises:
        UnsafeFileError: If it is no zip file, or odd (`zip_members.py`).
    """
    file = open_path(path, "r", suffix="zip")
    try:
        with opened(file) as archive:
            check_members(archive, file.seek(0, io.SEEK_END))
        file.seek(0)
        return file.read()
    finally:
        if file is not path:
            file.close()


def read_saved_settings(path: str | pathlib.Path | io.BufferedIOBase) -> dict[str, Any]:
    """Read what SB3 has written about a model beside its parameters.

    Args:
        path: The zip file.

    Returns:
        Attributes by name; those that are no plain numbers, strings and lists as SB3's serialisation has left them.

    Raises:
        ArgumentError: If the file is none of SB3's.
    """
    file = open_path(path, "r", suffix="zip")
    try:
        with zipfile.ZipFile(file) as archive:
            member = archive.getinfo("data")
            if member.compress_size > file.seek(0, io.SEEK_END):
                raise ValueError("more bytes than there are, which would be asked for")
            settings = json.loads(archive.read(member).decode())
        if not isinstance(settings, dict):
            raise TypeError("no mapping")
        return settings
    except Exception as error:  # zipfile raises a dozen kinds for damaged files
        raise ArgumentError(f"{path} is no zip file that SB3 has saved a model in.") from error
    finally:
        if file is not path:
            file.close()
