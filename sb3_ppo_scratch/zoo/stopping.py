"""Stopping a run of `train` by a signal, so that it can go on.

What is here: SIGINT and SIGTERM while training. What is not: Ctrl-C in programs of one's own (`interrupts.py`).
"""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from stable_baselines3.common.vec_env import SubprocVecEnv

from sb3_ppo_scratch.checkpoints.folder import checkpoint_path
from sb3_ppo_scratch.vec_env.faults import end_workers

STOPPED = 75
"""Exit status of a run that a signal has stopped and that can go on (`EX_TEMPFAIL`: try again later)."""
SIGNALLED = 128
"""Shells add this to the number of the signal that has ended a process."""
SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stopping_cleanly(model: Any, folder: Path) -> Iterator[None]:
    """Let SIGINT and SIGTERM complete the step, write a checkpoint and end the run; a second signal ends it at once.

    Args:
        model: The algorithm that is going to learn.
        folder: The run's.

    Yields:
        Nothing.

    Raises:
        SystemExit: If a signal has come, with the status `STOPPED`; without a checkpoint, if a second one has come
            before it was written, with `SIGNALLED` and that one's number.
    """
    has_come = has_stopped = False

    def stop() -> None:
        # Ends by SystemExit: rl_zoo3 takes a KeyboardInterrupt for the end of training, and saves a final model.
        nonlocal has_stopped
        path = checkpoint_path(folder, model.num_timesteps)
        model.save_checkpoint(path)
        has_stopped = True
        print(f"Stopped; `python -m sb3_ppo_scratch train --resume {folder}` goes on from {path}", file=sys.stderr)
        raise SystemExit(STOPPED)

    def note(number: int, _frame: FrameType | None) -> None:
        nonlocal has_come
        if has_stopped:
            raise SystemExit(STOPPED)
        if has_come:
            if isinstance(model.env.unwrapped, SubprocVecEnv):
                end_workers(model.env.unwrapped)  # its `close` would wait for the step
            raise SystemExit(SIGNALLED + number)
        has_come = True
        model.do_between_steps(stop)

    with _handled_by(note):
        yield


@contextmanager
def _handled_by(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Give the signals to a function for a while."""
    before = {number: signal.signal(number, handler) for number in SIGNALS}
    try:
        yield
    finally:
        for number, others in before.items():
            signal.signal(number, others)
