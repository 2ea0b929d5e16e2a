"""Tests of `checkpoint_file`: a file is what was written or is refused."""

import hashlib
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from sb3_ppo_scratch.checkpoints import checkpoint_file
from sb3_ppo_scratch.checkpoints.checkpoint_file import (
    ARRAYS,
    STATE,
    CheckpointError,
    DamagedCheckpointError,
    NoRunError,
    holds_run,
    pack,
    read_checkpoint,
    unpack,
    without_run,
)


@pytest.fixture
def model() -> bytes:
    """A zip as SB3 writes models."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("data", json.dumps({"num_timesteps": 3}))
        archive.writestr("policy.pth", bytes(range(256)))
    return file.getvalue()


STATE_OF_RUN = {"steps": 3, "observations": np.arange(6.0)}


def test_what_is_read_is_what_was_written(model: bytes, tmp_path: Path) -> None:
    path = tmp_path / "folder" / "checkpoint.zip"
    path.parent.mkdir()
    path.write_bytes(pack(model, STATE_OF_RUN))
    file, state = read_checkpoint(path)
    assert state["steps"] == 3
    assert np.array_equal(state["observations"], STATE_OF_RUN["observations"])
    assert file == path.read_bytes()
    assert holds_run(path)


def test_the_models_members_are_as_they_were(model: bytes) -> None:
    with zipfile.ZipFile(io.BytesIO(pack(model, {}))) as archive, zipfile.ZipFile(io.BytesIO(model)) as before:
        assert archive.namelist() == [*before.namelist(), ARRAYS, STATE]
        assert [archive.read(name) for name in before.namelist()] == [before.read(name) for name in before.namelist()]


def test_without_its_run_it_is_a_model(model: bytes, tmp_path: Path) -> None:
    plain = without_run(pack(model, STATE_OF_RUN))
    with zipfile.ZipFile(io.BytesIO(plain)) as archive:
        assert archive.namelist() == ["data", "policy.pth"]
    (tmp_path / "plain.zip").write_bytes(plain)
    assert not holds_run(tmp_path / "plain.zip")
    with pytest.raises(NoRunError, match="no run that could go on"):
        unpack(plain)


def test_every_changed_byte_is_noticed_or_means_nothing(model: bytes) -> None:
    file = pack(model, STATE_OF_RUN)
    noticed = 0
    for place in range(len(file)):
        changed = bytearray(file)
        changed[place] ^= 0x40
        try:
            state = unpack(bytes(changed))
        except CheckpointError:
            noticed += 1
        else:  # a date in the zip's directory, say
            assert state["steps"] == 3
            assert np.array_equal(state["observations"], STATE_OF_RUN["observations"])
    assert noticed > 0.8 * len(file)


def test_every_cut_is_noticed(model: bytes) -> None:
    file = pack(model, STATE_OF_RUN)
    for length in range(len(file)):
        with pytest.raises(CheckpointError, match=r"no sound zip|no run|not the one|not those"):
            unpack(file[:length])


def rewrite(file: bytes, **replaced: bytes) -> bytes:
    """Replace members and leave the comment as it was."""
    changed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(file)) as archive, zipfile.ZipFile(changed, "w") as copy:
        for name in archive.namelist():
            copy.writestr(name, replaced.get(name, archive.read(name)))
        copy.comment = archive.comment
    return changed.getvalue()


def test_members_of_another_file_are_noticed(model: bytes) -> None:
    with pytest.raises(DamagedCheckpointError, match="not those that were written"):
        unpack(rewrite(pack(model, STATE_OF_RUN), data=b"{}"))
    with pytest.raises(DamagedCheckpointError, match="not the one that was written"):
        unpack(rewrite(pack(model, STATE_OF_RUN), **{STATE: b"{}"}))


def test_a_newer_format_is_refused_by_name(model: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(checkpoint_file, "VERSION", 2)
    (tmp_path / "new.zip").write_bytes(pack(model, STATE_OF_RUN))
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match=r"new\.zip: it was written in format 2 by a newer"):
        read_checkpoint(tmp_path / "new.zip")


def test_a_member_that_is_there_twice_is_refused(model: bytes) -> None:
    file = io.BytesIO(pack(model, STATE_OF_RUN))
    with zipfile.ZipFile(file, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("data", "{}")
    with pytest.raises(DamagedCheckpointError, match="the member 'data' is there twice"):
        unpack(file.getvalue())


def sealed(file: bytes, **changes: object) -> bytes:
    """Change `run.json` and let the comment fit, as whoever wants to do harm would."""
    with zipfile.ZipFile(io.BytesIO(file)) as archive:
        run = {**json.loads(archive.read(STATE)), **changes}
    content = json.dumps({name: value for name, value in run.items() if value is not None}).encode()
    changed = io.BytesIO(rewrite(file, **{STATE: content}))
    with zipfile.ZipFile(changed, "a") as archive:
        archive.comment = checkpoint_file.DIGEST + hashlib.sha256(content).hexdigest().encode()
    return changed.getvalue()


@pytest.mark.parametrize("changes", [{"sha256": None}, {"state": None}, {"state": 1}, {"state": "["}, {"format": "x"}])
def test_what_fits_its_digests_and_is_no_run_is_refused(changes: dict[str, object], model: bytes) -> None:
    assert unpack(sealed(pack(model, STATE_OF_RUN)))["steps"] == 3
    with pytest.raises(DamagedCheckpointError, match=r"not those that were written|no state of a run"):
        unpack(sealed(pack(model, STATE_OF_RUN), **changes))


def test_compressed_members_are_refused_before_they_are_read(model: bytes) -> None:
    bomb = io.BytesIO(pack(model, STATE_OF_RUN))
    with zipfile.ZipFile(bomb, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("more", bytes(10_000_000))
    with pytest.raises(DamagedCheckpointError, match="the member 'more' is compressed"):
        unpack(bomb.getvalue())


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no checkpoint .*nothing\.zip"):
        read_checkpoint(tmp_path / "nothing.zip")


def test_no_file_is_written_that_could_not_be_read(model: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint_file, "LARGEST_STATE", 2000)
    history = {
        "callbacks": [{"values": {"n": 1}}, {"values": {"n": 2, "history": ["text"] * 300}}],
        "more": [1.5] * 999,
    }
    with pytest.raises(OSError, match=r"at most 2000 bytes as text, not \d+; most is 'callbacks/1/values/history'"):
        pack(model, history)
    assert unpack(pack(model, {"history": [1.5] * 10_000}))["history"] == [1.5] * 10_000
