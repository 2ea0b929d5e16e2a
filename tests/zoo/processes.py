"""Running things in a fresh process, as a user's shell does."""

import os
import subprocess
import sys
from pathlib import Path

ONE_THREAD = {"OMP_NUM_THREADS": "1"}


def run_python(
    *arguments: str, folder: Path | None = None, check: bool = True, timeout: int = 300, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run this Python with one torch thread.

    Args:
        *arguments: Its command line.
        folder: Working directory.
        check: Whether to raise if it fails.
        timeout: Seconds after which it is ended.
        **variables: Environment variables to add.

    Returns:
        The finished process with its output as text.
    """
    finished = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, **ONE_THREAD, **variables},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    if check and finished.returncode != 0:
        raise AssertionError(f"{arguments} failed:\n{finished.stdout[-3000:]}\n{finished.stderr[-3000:]}")
    return finished


def start_python(*arguments: str, folder: Path | None = None, output: Path | None = None) -> subprocess.Popen[bytes]:
    """Start this Python with one torch thread, in a process group of its own.

    Args:
        *arguments: Its command line.
        folder: Working directory.
        output: What it prints goes there at once; None: nowhere.

    Returns:
        The process.
    """
    with Path(output or os.devnull).open("wb") as file:
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=folder,
            env={**os.environ, **ONE_THREAD, "PYTHONUNBUFFERED": "1"},
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
