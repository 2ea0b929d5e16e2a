"""Tests of `vec_env/signals.py`."""

import mmap
import multiprocessing
import threading
import time
from collections.abc import Callable

import pytest

from sb3_ppo_scratch.vec_env.signals import SIGNAL_BYTES, PipeSignal, SemaphoreSignal, Signal, have_shared_semaphores

Ends = tuple[Signal, Signal]


def semaphore_ends(spin_seconds: float) -> Ends:
    memory = mmap.mmap(-1, 3 * SIGNAL_BYTES)
    one = SemaphoreSignal(memory, SIGNAL_BYTES)
    one.initialise()
    return one, SemaphoreSignal(memory, SIGNAL_BYTES, spin_seconds)


def pipe_ends() -> Ends:
    one, other = multiprocessing.Pipe()
    return PipeSignal(one), PipeSignal(other)


KINDS = {"sleeping": lambda: semaphore_ends(0.0), "spinning": lambda: semaphore_ends(0.01), "pipe": pipe_ends}
if not have_shared_semaphores():
    KINDS = {"pipe": pipe_ends}


@pytest.mark.parametrize("make_ends", KINDS.values(), ids=KINDS)
def test_each_notify_lets_one_wait_return(make_ends: Callable[[], Ends]) -> None:
    sender, receiver = make_ends()
    assert not receiver.wait(0.0)
    sender.notify()
    sender.notify()
    assert receiver.wait(0.0)
    assert receiver.wait()
    assert not receiver.wait(0.02)


@pytest.mark.parametrize("make_ends", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("seconds", [None, 20.0], ids=["for_ever", "with_a_limit"])
def test_sleeping_wait_is_woken(make_ends: Callable[[], Ends], seconds: float | None) -> None:
    sender, receiver = make_ends()
    threading.Timer(0.1, sender.notify).start()
    begun = time.monotonic()
    assert receiver.wait(seconds)
    assert time.monotonic() - begun < 10


def test_semaphores_leave_their_neighbours_alone() -> None:
    memory = mmap.mmap(-1, 3 * SIGNAL_BYTES)
    signal = SemaphoreSignal(memory, SIGNAL_BYTES)
    signal.initialise()
    signal.notify()
    assert memory[:SIGNAL_BYTES] == memory[2 * SIGNAL_BYTES :] == bytes(SIGNAL_BYTES)
    assert memory[SIGNAL_BYTES : 2 * SIGNAL_BYTES] != bytes(SIGNAL_BYTES)
