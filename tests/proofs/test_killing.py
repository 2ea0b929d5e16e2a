"""What the proof of killed runs rests on: it tells when a kill has come, and notices what is lost or damaged."""

import io
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from sb3_ppo_scratch.checkpoints.checkpoint_file import pack
from sb3_ppo_scratch.checkpoints.folder import checkpoint_path
from tests.proofs.killing import STARTING, THINNING, TRAINING, WRITING, Kill, KilledRun
from tests.proofs.report import ProofError

WAIT, END, FAIL = "import time; time.sleep(60)", "", "raise SystemExit(1)"
GOES_ON = "x.zip was saved during a run, which goes on: step {} of 900\n"


def a_checkpoint(step: int) -> bytes:
    """A checkpoint of no more than a step."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("data", "{}")
    return pack(file.getvalue(), {"counters": {"num_timesteps": step}})


class Pretender:
    """Starts processes that do nothing, and does what they would have done.

    Args:
        run: The run's folder.
        announced: Checkpoints that they say to be complete.
        written: Those that are there.
        unfinished: The one that is being written; 0: none.
        says: What they say besides.
        does: What they then do.
    """

    def __init__(
        self,
        run: Path,
        announced: Sequence[int] = (100, 200),
        written: Sequence[int] = (100, 200),
        unfinished: int = 0,
        says: str = "",
        does: str = WAIT,
    ) -> None:
        self.run, self.announced, self.written, self.unfinished = run, announced, written, unfinished
        self.says, self.does = says, does

    def __call__(self, words: Sequence[str], folder: Path, output: Path) -> subprocess.Popen[bytes]:
        for step in self.written:
            checkpoint_path(self.run, step).write_bytes(a_checkpoint(step))
        if self.unfinished:
            checkpoint_path(self.run, self.unfinished).with_suffix(".zip.0123abcd.writing").touch()
        lines = [f"Saving a checkpoint to {checkpoint_path(self.run, step)}\n" for step in self.announced]
        output.write_text(self.says + "".join(lines))
        return subprocess.Popen([sys.executable, "-S", "-c", self.does])


def killed(start: Pretender) -> KilledRun:
    """A run that was killed once."""
    run = KilledRun(["--env", "x"], start.run, start.run, start)
    run.live_for(0.01)
    return run


@pytest.mark.parametrize(("unfinished", "during"), [(0, TRAINING), (300, WRITING), (100, THINNING)])
def test_what_a_kill_has_interrupted_is_told_by_what_it_has_left(unfinished: int, during: str, tmp_path: Path) -> None:
    run = killed(Pretender(tmp_path, unfinished=unfinished))
    assert run.kills == [Kill(0.01, during, 200, 200)]
    run.live_for(0.01)  # has not said that it goes on, and what the first has left counts once
    assert run.kills[1:] == [Kill(0.01, STARTING, 200, 200)]
    assert not run.has_ended


def test_a_checkpoint_may_be_complete_before_that_is_said(tmp_path: Path) -> None:
    assert killed(Pretender(tmp_path, announced=[100])).kills == [Kill(0.01, TRAINING, 100, 200)]


def test_a_lost_checkpoint_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(ProofError, match="the checkpoint of step 200 is lost; 100 is the last"):
        killed(Pretender(tmp_path, written=[100]))


@pytest.mark.parametrize("content", [a_checkpoint(200)[:-1], a_checkpoint(200).replace(b"200", b"201"), b""])
def test_a_damaged_checkpoint_is_noticed_also_if_it_is_not_the_last(content: bytes, tmp_path: Path) -> None:
    checkpoint_path(tmp_path, 50).write_bytes(content)
    with pytest.raises(ProofError, match=r"rl_model_50_steps\.zip cannot be read"):
        killed(Pretender(tmp_path))


def test_a_run_that_goes_on_from_elsewhere_is_noticed(tmp_path: Path) -> None:
    run = killed(Pretender(tmp_path))
    run.start = Pretender(tmp_path, says=GOES_ON.format(200))
    run.live_for(0.01, from_training=True)
    assert run.kills[1:] == [Kill(0.01, TRAINING, 200, 200)]
    run.start = Pretender(tmp_path, says=GOES_ON.format(100))
    with pytest.raises(ProofError, match="went on from step 100, not from step 200"):
        run.live_for(0.01, from_training=True)


def test_the_end_of_a_run_is_told_from_a_failure(tmp_path: Path) -> None:
    run = killed(Pretender(tmp_path))
    run.start = Pretender(tmp_path, does=FAIL)
    with pytest.raises(ProofError, match="it failed"):
        run.finish()
    run.start = Pretender(tmp_path, does=END)
    run.has_ended = False
    run.finish()
    assert run.has_ended
    assert len(run.kills) == 1
