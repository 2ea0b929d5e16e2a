"""Tests of `without_validation` of `updates/autograd.py`, which turns a switch of the whole process."""

import threading
from collections.abc import Iterator

import pytest
import torch as th

from sb3_ppo_scratch.updates.autograd import without_validation


def validates() -> bool:
    return th.distributions.Distribution._validate_args


@pytest.fixture(autouse=True, params=[True, False], ids=["on_before", "off_before"])
def before(request: pytest.FixtureRequest) -> Iterator[bool]:
    found = validates()
    th.distributions.Distribution.set_default_validate_args(request.param)
    yield request.param
    th.distributions.Distribution.set_default_validate_args(found)


def test_it_is_off_in_the_block_and_restored_also_after_an_exception(before: bool) -> None:
    def fail() -> None:
        with without_validation():
            assert not validates()
            raise RuntimeError("planned")

    with pytest.raises(RuntimeError, match="planned"):
        fail()
    assert validates() is before


def test_it_stays_off_until_the_last_of_several_threads_is_out_and_is_restored_then(before: bool) -> None:
    entered, leave = threading.Event(), threading.Event()

    def stay() -> None:
        with without_validation():
            entered.set()
            leave.wait(20)

    thread = threading.Thread(target=stay)
    with without_validation():
        thread.start()
        assert entered.wait(20)
    assert not validates()
    leave.set()
    thread.join(20)
    assert validates() is before
