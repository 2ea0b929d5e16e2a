"""Fixtures for all tests."""

from collections.abc import Iterator

import pytest
import torch as th


@pytest.fixture(autouse=True, scope="session")
def one_torch_thread() -> Iterator[None]:
    """Equality with stock PPO is stated for one thread: between 1 and 2 threads, stock differs from itself."""
    before = th.get_num_threads()
    th.set_num_threads(1)
    yield
    th.set_num_threads(before)
