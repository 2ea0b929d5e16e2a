"""A process of `python -m sb3_ppo_scratch` that need not import the slow modules: a copy of one that has.

What is here: starting it, with the methods of `subprocess.Popen` that the proofs use. What is not: what it is told.
"""

import functools
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from tests.zoo.processes import ONE_THREAD

PRELOADED = ["rl_zoo3.exp_manager", "torch._dynamo", "sb3_ppo_scratch.zoo.commands", "tests.proofs.forked"]
"""Imported once, by the process that all others are copied from."""


class ForkedProcess:
    """A process that runs this project's command line.

    Args:
        words: The command line.
        folder: Working directory.
        output: What it prints goes there at once.
    """

    def __init__(self, words: Sequence[str], folder: Path, output: Path) -> None:
        self.args = words
        self._process = _context().Process(target=run_command, args=(words, folder, output))
        self._process.start()

    @property
    def returncode(self) -> int | None:
        """Its exit status, negative for signals; None: it runs.

        Returns:
            The status.
        """
        return cast("int | None", self._process.exitcode)

    def poll(self) -> int | None:
        """Look at it.

        Returns:
            Its exit status; None: it runs.
        """
        return self.returncode

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait for its end.

        Args:
            timeout: Seconds, at most; None: for ever.

        Returns:
            Its exit status.

        Raises:
            subprocess.TimeoutExpired: If it runs yet.
        """
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        return self.returncode

    def kill(self) -> None:
        """Send it SIGKILL."""
        self._process.kill()


def run_command(words: Sequence[str], folder: Path, output: Path) -> None:
    """Run the command line, in the process of its own.

    Args:
        words: The command line.
        folder: Working directory.
        output: What it prints goes there at once.

    Raises:
        SystemExit: At its end.
    """
    from sb3_ppo_scratch.__main__ import main

    os.chdir(folder)
    with output.open("wb") as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
            stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    raise SystemExit(main(words))


@functools.cache
def _context() -> Any:
    """Start the process that others are copied from."""
    os.environ.update(ONE_THREAD)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context
