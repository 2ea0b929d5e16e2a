"""What ends this process if an environment in it hangs, which nothing else can.

What is here: a thread that looks at the time. What is not: environments in other processes, which can be ended alone
(`guard.py`).
"""

import faulthandler
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, TypeVar

from sb3_ppo_scratch.vec_env.faults import index_in

Result = TypeVar("Result")

HUNG = 70
"""Exit status of a process that has ended because an environment hangs (`EX_SOFTWARE`)."""
STDERR = 2
"""The file's number, since `sys.stderr` may be no file."""
BACKSTOP = 2.0
"""Limits after which the process is ended even if the environment lets no other thread run."""


class Watchdog:
    """Ends this process if something that it watches takes too long.

    Args:
        limit: Seconds.
    """

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._began: float | None = None
        self._thread_id = threading.get_ident()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="step watchdog", daemon=True)

    def __enter__(self) -> "Watchdog":
        """Begin to look.

        Returns:
            This.
        """
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        """Stop looking."""
        self._over.set()
        self._thread.join()
        faulthandler.cancel_dump_traceback_later()

    def watch(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Call a function that must not take longer than the limit.

        Args:
            function: It.
            *arguments: Its arguments.

        Returns:
            Its result.
        """
        self._began = time.monotonic()
        try:
            return function(*arguments)
        finally:
            self._began = None

    def _look(self) -> None:
        """Look at the time, several times in each limit."""
        waiting = True
        while waiting:
            # An environment that keeps Python's lock keeps this thread from running; this does not need it.
            faulthandler.dump_traceback_later(BACKSTOP * self._limit, exit=True, file=STDERR)
            waiting = not self._over.wait(self._limit / 4)
            began = self._began
            if began is not None and time.monotonic() - began > self._limit:
                try:
                    self._say_where()
                finally:
                    os._exit(HUNG)

    def _say_where(self) -> None:
        """Say where the environment hangs, and end this process's children."""
        index = index_in(reversed(_frames_below(sys._current_frames().get(self._thread_id))))
        who = "a step" if index is None else f"environment {index}"
        print(
            f"{who} has not answered for {self._limit:g} s (step_timeout); this process ends, and the run goes on from "
            "its last checkpoint. Where it hangs:",
            file=sys.stderr,
        )
        sys.stdout.flush()
        sys.stderr.flush()
        faulthandler.dump_traceback(file=STDERR)
        for child in multiprocessing.active_children():
            child.kill()


def _frames_below(frame: FrameType | None) -> list[FrameType]:
    """List a function under way and its callers, the innermost first."""
    frames = []
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return frames
