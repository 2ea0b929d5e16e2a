"""Fixtures of the wrappers' tests."""

import weakref

import pytest

from sb3_ppo_scratch.wrappers import normalize_observation


@pytest.fixture
def no_earlier_wrapper(monkeypatch: pytest.MonkeyPatch) -> None:
    """No living wrapper of an earlier test is taken for a rival."""
    monkeypatch.setattr(normalize_observation, "_RUNNING", weakref.WeakSet())
