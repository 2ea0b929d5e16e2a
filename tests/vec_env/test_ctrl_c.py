"""Tests of `vec_env/ctrl_c.py`; what it is good for is tested in `test_worker_failures.py`."""

import signal
import threading
from typing import Any

import pytest

from sb3_ppo_scratch.vec_env.ctrl_c import CtrlCHeld


def test_ctrl_c_is_raised_at_the_end_of_the_outermost_block_and_python_handles_it_again() -> None:
    done = []

    def interrupted() -> None:
        with CtrlCHeld():
            with CtrlCHeld():
                signal.raise_signal(signal.SIGINT)
                done.append("inner")
            done.append("outer")

    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        interrupted()
    assert done == ["inner", "outer"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_without_ctrl_c_an_error_of_the_block_is_raised() -> None:
    with pytest.raises(ZeroDivisionError, match="division by zero"), CtrlCHeld():
        _ = 1 / 0
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_handler_of_the_programs_own_is_called_at_once() -> None:
    called: list[Any] = []
    before = signal.signal(signal.SIGINT, lambda *arguments: called.append(arguments))
    try:
        with CtrlCHeld():
            signal.raise_signal(signal.SIGINT)
            assert len(called) == 1
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(called) == 1


def test_other_threads_hold_nothing_back() -> None:
    seen: list[Any] = []

    def look() -> None:
        with CtrlCHeld():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]
