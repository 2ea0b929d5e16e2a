"""Fixtures of the wrappers' tests."""

import sys
import types
import weakref

import pytest

from sb3_ppo_scratch.wrappers import normalize_observation


@pytest.fixture
def outside_rl_zoo3(monkeypatch: pytest.MonkeyPatch) -> None:
    """Running statistics of one's own are allowed: no rl_zoo3, and no living wrapper of an earlier test."""
    monkeypatch.delitem(sys.modules, "rl_zoo3", raising=False)
    monkeypatch.setattr(normalize_observation, "_RUNNING", weakref.WeakSet())


@pytest.fixture
def inside_rl_zoo3(outside_rl_zoo3: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if rl_zoo3 had been imported."""
    monkeypatch.setitem(sys.modules, "rl_zoo3", types.ModuleType("rl_zoo3"))
