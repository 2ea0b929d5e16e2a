"""Ctrl-C while learning: heard at once, obeyed when the step is complete.

What is here: that, and keeping it from processes that step environments. What is not: Ctrl-C within a worker pool's
calls (`vec_env/ctrl_c.py`), and other signals (`zoo/stopping.py`).
"""

import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import forkserver
from types import FrameType

LOST_WORKER = (EOFError, ConnectionError)
"""What SB3's `SubprocVecEnv` raises if a worker has ended, as its workers do when Ctrl-C reaches them."""
REMEDY = "go on from the run's last checkpoint: `load_checkpoint` with new environments, and `resume`"
"""What is left to do then."""


@contextmanager
def interrupts_held(wait: Callable[[Callable[[], None]], None]) -> Iterator[None]:
    """Let Ctrl-C wait for the end of a step; a second one acts at once.

    Changes nothing in threads other than the main one, and in programs that have a handler of their own.

    Args:
        wait: Takes what is to be done at the end of the step.

    Yields:
        Nothing.

    Raises:
        KeyboardInterrupt: If Ctrl-C has ended the workers that a step was waiting for.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    has_come = False

    def note(_number: int, _frame: FrameType | None) -> None:
        nonlocal has_come
        if has_come:
            raise_interrupt()
        has_come = True
        wait(raise_interrupt)

    signal.signal(signal.SIGINT, note)
    try:
        yield
    except LOST_WORKER as error:
        if has_come:
            raise KeyboardInterrupt(f"Ctrl-C has ended processes of the environments, too; {REMEDY}") from error
        raise
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def raise_interrupt() -> None:
    """Do what Ctrl-C does.

    Raises:
        KeyboardInterrupt: Always.
    """
    raise KeyboardInterrupt


def keep_from_new_workers() -> None:
    """Let worker processes that are started from now on ignore Ctrl-C, which a terminal sends to them, too.

    SB3's would end in the middle of a step. All of them come from one server, and ignore what that ignores. Nothing
    changes where that runs already, or where there is none (Windows).
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        forkserver.ensure_running()
    finally:
        signal.signal(signal.SIGINT, handler)
