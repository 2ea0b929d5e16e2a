"""A run of `python -m sb3_ppo_scratch train` that is killed by SIGKILL, again and again, and goes on.

What is here: starting and killing its processes, and what has to be true of its folder after each kill. What is not:
when it is killed, and what it has to come to (`kills.py`, `landers.py`).
"""

import functools
import re
import subprocess
import time
import warnings
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from sb3_ppo_scratch.checkpoints.checkpoint_file import CheckpointError, holds_run, read_checkpoint
from sb3_ppo_scratch.checkpoints.folder import list_checkpoints, newest_checkpoint
from sb3_ppo_scratch.safe_writing import UNFINISHED
from tests.proofs.forked import ForkedProcess
from tests.proofs.report import ROOT, ProofError
from tests.zoo.processes import start_python

TRAIN = ("-m", "sb3_ppo_scratch", "train")
Start = Callable[[Sequence[str], Path, Path], subprocess.Popen[bytes] | ForkedProcess]
"""Starts a process, given its command line after `python -m sb3_ppo_scratch`, its working directory and its output."""
GOES_ON = re.compile(r"was saved during a run, which goes on: step (\d+) of")
"""What a process says that has loaded a checkpoint."""
ANNOUNCED = re.compile(r"^Saving a checkpoint to .*_(\d+)_steps\.zip$", re.MULTILINE)
"""What a process says when a checkpoint is complete."""
CHECKPOINT = re.compile(r"^rl_model_(\d+)_steps\.zip\.")
"""Begins the name of the unfinished file of a checkpoint."""
STARTING, TRAINING = "starting", "training"
WRITING, THINNING = "writing a checkpoint", "making a model of an older checkpoint"
TIMEOUT = 3600.0


class Kill(NamedTuple):
    """What a kill has met, and what it has left."""

    seconds: float
    """How long the process lived, from when its clock began."""
    during: str
    """`STARTING`, `TRAINING`, `WRITING` or `THINNING`."""
    announced: int
    """Steps of the last checkpoint that had been said to be complete; 0: none."""
    found: int
    """Steps of the one from which the run goes on."""


def start_command(words: Sequence[str], folder: Path, output: Path) -> subprocess.Popen[bytes]:
    """Start `python -m sb3_ppo_scratch` as a shell would.

    Args:
        words: The command line.
        folder: Working directory.
        output: What it prints goes there at once.

    Returns:
        The process.
    """
    return start_python("-m", "sb3_ppo_scratch", *words, folder=folder, output=output)


def zoo_run(folder: Path, env_id: str, number: int) -> Path:
    """Name the folder that rl_zoo3 chooses for a run.

    Args:
        folder: What `-f` was given.
        env_id: The environment.
        number: Of the run there, from 1.

    Returns:
        The folder.
    """
    return folder / "ppo_scratch" / f"{env_id}_{number}"


class KilledRun:
    """A run that is killed.

    Args:
        words: The command line of `train`.
        run: The folder that rl_zoo3 is going to choose, relative to `ROOT`.
        outputs: What its processes print goes into files there.
        start: Starts them.
    """

    def __init__(self, words: Sequence[str], run: Path, outputs: Path, start: Start) -> None:
        self.words, self.run, self.outputs, self.start = words, run, outputs, start
        self.kills: list[Kill] = []
        self.has_ended = False
        self._announced = 0
        self._unfinished: set[str] = set()
        self._read: set[tuple[str, int]] = set()

    def live_for(self, seconds: float, *, from_training: bool = False) -> None:
        """Let a process begin the run, or go on with it, for some seconds, and kill it unless it ends before.

        Args:
            seconds: They count from the start of the process, or from its first checkpoint if it begins the run: before
                that there is nothing to go on with.
            from_training: Whether they count from where a process that goes on has loaded its checkpoint.

        Raises:
            ProofError: If a checkpoint is lost or damaged, or the process fails.
        """
        output = ROOT / self.outputs / f"{self.run.name}_{len(self.kills)}.txt"
        output.touch()
        if not self.kills:
            words, has_begun = self.words, self._has_checkpoint
        else:
            words = ("--resume", str(self.run))
            has_begun = functools.partial(_goes_on, output) if from_training else lambda: True
        process = self.start(["train", *words], ROOT, output)
        self.has_ended = not kill_after(process, seconds, has_begun)
        said = output.read_text()
        if self.has_ended and process.returncode != 0:
            raise ProofError(f"{output}: it failed:\n{said[-3000:]}")
        self._check_beginning(said)
        self._announced = max([self._announced, *map(int, ANNOUNCED.findall(said))])
        if not self.has_ended:
            self.kills.append(self._look(seconds, said))

    def finish(self) -> None:
        """Let a process go on to the end of the run, if that has not come yet.

        Raises:
            ProofError: If it does not come.
        """
        if not self.has_ended:
            self.live_for(TIMEOUT)
        if not self.has_ended:
            raise ProofError(f"{self.run} does not come to its end")

    def _has_checkpoint(self) -> bool:
        """Tell whether there is something to go on with."""
        return bool(list_checkpoints(ROOT / self.run))

    def _check_beginning(self, said: str) -> None:
        """Check that a process has gone on from the checkpoint that was found after the last kill.

        Raises:
            ProofError: If not.
        """
        begun = GOES_ON.search(said)
        if begun and int(begun[1]) != self.kills[-1].found:
            raise ProofError(f"{self.run} went on from step {begun[1]}, not from step {self.kills[-1].found}")

    def _look(self, seconds: float, said: str) -> Kill:
        """Look at what a kill has left.

        Raises:
            ProofError: If a checkpoint is lost or damaged.
        """
        folder = ROOT / self.run
        self._check_files()
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # as a damaged one makes it say
            found = int(newest_checkpoint(folder)[1]["counters"]["num_timesteps"])
        if found < self._announced:
            raise ProofError(f"{self.run}: the checkpoint of step {self._announced} is lost; {found} is the last")
        unfinished = {path.name for path in folder.iterdir() if UNFINISHED.fullmatch(path.name)}
        new, self._unfinished = unfinished - self._unfinished, unfinished
        steps = [int(step) for name in new for step in CHECKPOINT.findall(name)]
        if steps:
            during = WRITING if steps[0] > found else THINNING
        else:
            during = STARTING if self.kills and not GOES_ON.search(said) else TRAINING
        return Kill(seconds, during, self._announced, found)

    def _check_files(self) -> None:
        """Check that all checkpoints written since the last kill, and all models made from older ones, are sound.

        Raises:
            ProofError: If one is not.
        """
        for path in list_checkpoints(ROOT / self.run):
            version = path.name, path.stat().st_mtime_ns
            if version not in self._read:
                check_file(path)
                self._read.add(version)


def _goes_on(output: Path) -> bool:
    """Tell whether a process has loaded a checkpoint, by what it has said."""
    return GOES_ON.search(output.read_text()) is not None


def check_file(path: Path) -> None:
    """Check that a checkpoint, or a model that was one, can be read.

    Args:
        path: The file.

    Raises:
        ProofError: If not.
    """
    try:
        if holds_run(path):
            read_checkpoint(path)
        else:
            with zipfile.ZipFile(path) as archive:
                for name in archive.namelist():
                    archive.read(name)  # checks its digest
    except (CheckpointError, zipfile.BadZipFile, OSError) as error:
        raise ProofError(f"{path} cannot be read") from error


def kill_after(process: subprocess.Popen[bytes] | ForkedProcess, seconds: float, has_begun: Callable[[], bool]) -> bool:
    """Kill a process some seconds after something has happened.

    Args:
        process: The process.
        seconds: How many.
        has_begun: Whether it has happened.

    Returns:
        Whether it was killed; else it had ended before.

    Raises:
        ProofError: If it never happens.
    """
    end = time.monotonic() + TIMEOUT
    try:
        while process.poll() is None and not has_begun():
            if time.monotonic() > end:
                raise ProofError(f"{process.args!r} does not begin")
            time.sleep(0.01)
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return True
    finally:
        process.kill()
        process.wait()
    return False
