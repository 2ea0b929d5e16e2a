"""Tests of `safe_writing`: writing leaves the old file or the new one, and nothing else."""

import os
import resource
import stat
from pathlib import Path

import pytest

from sb3_ppo_scratch.safe_writing import write_safely


def test_a_file_and_its_folder_are_made(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file.zip"
    write_safely(path, b"whole")
    assert path.read_bytes() == b"whole"
    assert [each.name for each in path.parent.iterdir()] == ["file.zip"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_what_fails_leaves_the_old_file_and_nothing_else(
    call: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "file.zip"
    path.write_bytes(b"old")
    monkeypatch.setattr(*((os, "fsync") if call == "fsync" else (Path, "replace")), fail)
    with pytest.raises(OSError, match="No space left"):
        write_safely(path, b"new")
    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["file.zip"]


def test_a_file_that_may_not_grow_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "file.zip"
    path.write_bytes(b"old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_safely(path, bytes(10_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["file.zip"]


def test_two_writers_of_one_file_do_not_meet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path, fsync = tmp_path / "file.zip", os.fsync

    def write_another(descriptor: int) -> None:
        monkeypatch.setattr(os, "fsync", fsync)
        write_safely(path, b"second, which is longer")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", write_another)
    write_safely(path, b"first")
    assert path.read_bytes() == b"first"
    assert [each.name for each in tmp_path.iterdir()] == ["file.zip"]


def test_what_killed_writers_have_left_is_removed_after_a_while(tmp_path: Path) -> None:
    left, living, others = (
        tmp_path / f"rl_model_5_steps.zip.{middle}writing" for middle in ("0123abcd.", "89abcdef.", "notes-of-mine.")
    )
    for path in (left, living, others):
        path.write_bytes(b"PK")
    for path in (left, others):
        os.utime(path, (0, 0))
    write_safely(tmp_path / "file.zip", b"whole")
    assert {each.name for each in tmp_path.iterdir()} == {"file.zip", living.name, others.name}


@pytest.mark.parametrize("call", ["fsync", "open"])
def test_a_folder_that_cannot_be_synchronised_is_no_failure(
    call: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fsync = os.fsync

    def fail_for_folders(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(22, "Invalid argument")
        fsync(descriptor)

    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, call, {"fsync": fail_for_folders, "open": refuse}[call])
    write_safely(tmp_path / "file.zip", b"whole")
    monkeypatch.undo()
    assert (tmp_path / "file.zip").read_bytes() == b"whole"


def test_files_have_the_usual_permissions(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_safely(tmp_path / "file.zip", b"whole")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file.zip").stat().st_mode) == 0o640
