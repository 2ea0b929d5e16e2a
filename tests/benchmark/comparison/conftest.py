"""Fewer resamples for these tests: the digits of intervals are `test_statistics.py`'s."""

from collections.abc import Iterator

import pytest

from sb3_ppo_scratch.benchmark import statistics


@pytest.fixture(scope="package", autouse=True)
def _few_resamples() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "N_RESAMPLES", 200)
        yield
