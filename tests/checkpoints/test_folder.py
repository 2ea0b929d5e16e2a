"""Which checkpoint of a folder goes on: the last that is sound, and none silently in the place of a newer one."""

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from sb3_ppo_scratch.checkpoints import checkpoint_file
from sb3_ppo_scratch.checkpoints.checkpoint_file import CheckpointError, pack
from sb3_ppo_scratch.checkpoints.folder import (
    FAULT_PREFIX,
    PREFIX,
    checkpoint_path,
    list_checkpoints,
    newest_checkpoint,
)
from sb3_ppo_scratch.errors import ArgumentError


def a_model() -> bytes:
    """A zip file, as SB3's are."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("data", "{}")
    return file.getvalue()


def write_checkpoints(folder: Path, *steps: int) -> list[Path]:
    """Write checkpoints whose state is their step."""
    paths = [checkpoint_path(folder, step) for step in steps]
    for path, step in zip(paths, steps, strict=True):
        path.write_bytes(pack(a_model(), {"step": step}))
    return paths


def test_the_last_one_goes_on_by_number_not_by_name(tmp_path: Path) -> None:
    paths = write_checkpoints(tmp_path, 900, 10000, 2000)
    write_checkpoints(tmp_path / ".", 5)
    checkpoint_path(tmp_path, 99999, "other").write_bytes(b"")
    assert newest_checkpoint(tmp_path) == (paths[1], {"step": 10000})
    assert [path.name.split("_")[2] for path in list_checkpoints(tmp_path)] == ["10000", "2000", "900", "5"]


def test_a_model_without_a_run_is_passed_over_in_silence(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    (path,) = write_checkpoints(tmp_path, 900)
    checkpoint_path(tmp_path, 1000).write_bytes(a_model())
    assert newest_checkpoint(tmp_path)[0] == path
    assert not recwarn.list


@pytest.mark.parametrize("keep", [0, 100, -1])
def test_a_damaged_one_is_named_and_the_one_before_it_goes_on(keep: int, tmp_path: Path) -> None:
    older, newer = write_checkpoints(tmp_path, 1000, 2000)
    newer.write_bytes(newer.read_bytes()[:keep])
    with pytest.warns(UserWarning, match=r"rl_model_2000_steps\.zip: .*; the one before it is looked for"):
        assert newest_checkpoint(tmp_path) == (older, {"step": 1000})


def test_after_a_fault_its_checkpoint_goes_on_not_that_of_the_same_step_which_would_repeat_it(tmp_path: Path) -> None:
    paths = write_checkpoints(tmp_path, 100, 196, 98)
    fault = checkpoint_path(tmp_path, 196, FAULT_PREFIX)
    fault.write_bytes(pack(a_model(), {"fault": True}))
    assert newest_checkpoint(tmp_path) == (fault, {"fault": True})
    (later,) = write_checkpoints(tmp_path, 198)
    assert list_checkpoints(tmp_path, PREFIX, FAULT_PREFIX) == [later, fault, paths[1], paths[0], paths[2]]


@pytest.mark.parametrize(
    "make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("nowhere")], ids=["folder", "pipe", "dangling link"]
)
def test_what_is_no_file_is_named_and_the_one_before_it_goes_on(make: Callable[[Path], None], tmp_path: Path) -> None:
    (path,) = write_checkpoints(tmp_path, 1000)
    make(checkpoint_path(tmp_path, 99999))
    with pytest.warns(UserWarning, match=r"no checkpoint file .*rl_model_99999_steps\.zip; the one before it"):
        assert newest_checkpoint(tmp_path) == (path, {"step": 1000})


def test_where_all_are_damaged_all_are_named(tmp_path: Path) -> None:
    for path in write_checkpoints(tmp_path, 1000, 2000):
        path.write_bytes(b"PK")
    checkpoint_path(tmp_path, 500).write_bytes(a_model())
    message = r"holds no sound checkpoint of a run; damaged are rl_model_2000_steps\.zip, rl_model_1000_steps\.zip\."
    with pytest.warns(UserWarning, match="is looked for"), pytest.raises(ArgumentError, match=message):
        newest_checkpoint(tmp_path)


def test_where_there_is_none_that_is_said(tmp_path: Path) -> None:
    checkpoint_path(tmp_path, 500).write_bytes(a_model())
    with pytest.raises(ArgumentError, match=r"holds no checkpoint of a run; `train --save-freq STEPS` writes some"):
        newest_checkpoint(tmp_path)


def test_a_newer_format_is_refused_and_not_taken_for_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_checkpoints(tmp_path, 1000)
    with monkeypatch.context() as later:
        later.setattr(checkpoint_file, "VERSION", checkpoint_file.VERSION + 1)
        write_checkpoints(tmp_path, 2000)
    with pytest.raises(CheckpointError, match=r"rl_model_2000_steps\.zip: it was written in format \d+ by a newer"):
        newest_checkpoint(tmp_path)
