"""Tests of `vec_env/cores.py`."""

import os

import pytest

from sb3_ppo_scratch.vec_env.cores import available_cores, takes_every_core


@pytest.mark.parametrize(
    ("usable", "n_threads", "expected"),
    [
        ({0, 1}, 2, True),
        ({0, 1, 2, 3}, 4, True),
        ({0, 1, 2, 3}, 2, False),  # another program's two threads would be bound to the same cores
        ({2, 3}, 2, False),  # threads would be bound to cores 0 and 1, which are not ours
        ({0, 1}, 3, False),
        ({0}, 1, False),
    ],
)
def test_threads_are_bound_where_they_take_every_core_from_0_on(
    usable: set[int], n_threads: int, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: usable, raising=False)
    assert takes_every_core(n_threads) == expected
    assert available_cores() == len(usable)


def test_systems_that_do_not_tell_bind_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert available_cores() == 3
    assert not takes_every_core(3)
