"""The members of a zip file that nobody vouches for.

What is here: reading them into memory, once nothing about the file is odd: what SB3, torch and this project write is
plain. Nothing is ever extracted to a folder. What is not: what the members mean.
"""

import io
import stat
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import IO

from sb3_ppo_scratch.errors import ArgumentError

ENCRYPTED = 1
"""Bit of a member's flags."""
LEAST_SHARE = 0.5
"""Of a file's bytes that must belong to members; torch pads small ones."""
ALWAYS_FINE = 1 << 20
"""Bytes that may belong to none in any file."""


class UnsafeFileError(ArgumentError):
    """A file that is damaged, or made to do harm."""


def read_members(file: bytes) -> dict[str, bytes]:
    """Read all members; takes no more memory than the file has bytes.

    Args:
        file: The whole zip file.

    Returns:
        Their contents by name.

    Raises:
        UnsafeFileError: If it is damaged, or has anything that files of SB3 and torch have not.
    """
    with opened(io.BytesIO(file)) as archive:
        check_members(archive, len(file))
        return {name: archive.read(name) for name in archive.namelist()}


@contextmanager
def opened(file: IO[bytes]) -> Iterator[zipfile.ZipFile]:
    """Open a zip file, and let whatever goes wrong with it be one kind of error.

    Args:
        file: It.

    Yields:
        Its members.

    Raises:
        UnsafeFileError: In place of any other error.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            yield archive
    except UnsafeFileError:
        raise
    except Exception as error:  # zipfile raises a dozen kinds for damaged files
        raise UnsafeFileError(f"it is no sound zip file: {error or type(error).__name__}") from error


def check_members(archive: zipfile.ZipFile, size: int) -> None:
    """Refuse what is odd before anything is read.

    Args:
        archive: The opened file.
        size: Its bytes.

    Raises:
        UnsafeFileError: If a member is there twice, compressed, encrypted, a link, a folder or a path to somewhere
            else, or if the sizes do not fit the file.
    """
    members = archive.infolist()
    for name, count in Counter(member.filename for member in members).items():
        if count > 1:
            raise UnsafeFileError(f"the member {name!r} is there twice")
    for member in members:
        check_member(member)
    total = sum(member.file_size for member in members)
    if total > size:
        raise UnsafeFileError(f"its members claim {total} bytes, more than the file's {size}")
    if size > total / LEAST_SHARE + ALWAYS_FINE:
        raise UnsafeFileError(f"its members have {total} bytes, the file {size}")


def check_member(member: zipfile.ZipInfo) -> None:
    """Refuse a member that is odd.

    Args:
        member: What the file says of it.

    Raises:
        UnsafeFileError: If it is.
    """
    path = PurePosixPath(member.filename)
    if path.is_absolute() or ".." in path.parts or "\\" in member.filename or ":" in member.filename:
        raise UnsafeFileError(f"the member {member.filename!r} points out of the file")
    if stat.S_ISLNK(member.external_attr >> 16):
        raise UnsafeFileError(f"the member {member.filename!r} is a link")
    if member.is_dir():
        raise UnsafeFileError(f"the member {member.filename!r} is a folder")
    if member.flag_bits & ENCRYPTED:
        raise UnsafeFileError(f"the member {member.filename!r} is encrypted")
    if member.compress_type != zipfile.ZIP_STORED:
        raise UnsafeFileError(f"the member {member.filename!r} is compressed, which neither SB3 nor torch does")
    if member.compress_size != member.file_size:
        raise UnsafeFileError(f"the member {member.filename!r} has two sizes")


def write_members(members: Mapping[str, bytes]) -> bytes:
    """Write a zip file anew, so that every reader finds the same in it.

    Args:
        members: Contents by name.

    Returns:
        The whole file.
    """
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()
