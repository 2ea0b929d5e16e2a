"""Tests of `sb3_ppo_scratch.update_stats`."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.logger import Logger

from sb3_ppo_scratch.update_stats import UpdateStats, explained_variance
from sb3_ppo_scratch.updates.update import MinibatchFigures


@pytest.mark.parametrize("number", [float, th.tensor], ids=["numbers", "tensors"])
def test_means_are_taken_over_all_minibatches_and_logged_under_stocks_keys(number: Callable[[float], Any]) -> None:
    stats = UpdateStats()
    stats.add(MinibatchFigures(*map(number, (1.0, 2.0, 3.0, 4.0, 5.0, 0.5, 0.1))))
    stats.add(MinibatchFigures(*map(number, (3.0, 4.0, 5.0, 6.0, 7.0, 0.25, 0.3))))
    logger = Logger(folder=None, output_formats=[])
    stats.record(logger, without=("kl",))
    assert dict(logger.name_to_value) == {
        "train/loss": 2.0,
        "train/policy_gradient_loss": 3.0,
        "train/value_loss": 4.0,
        "train/entropy_loss": 5.0,
        "train/approx_kl": 6.0,
        "train/clip_fraction": 0.375,
    }

    assert len(stats) == 2
    assert stats.maximum("kl") == pytest.approx(0.3)
    assert stats.last("kl") == pytest.approx(0.3)
    assert stats.means()["kl"] == pytest.approx(0.2)
    assert stats.mean("kl", sizes=[64, 16]) == pytest.approx((64 * 0.1 + 16 * 0.3) / 80)


@pytest.mark.parametrize("losses", [(math.nan, 1.0, 2.0), (1.0, math.nan, 2.0), (1.0, 2.0, math.nan)], ids=str)
def test_largest_value_is_nan_if_one_is_wherever_it_stands(losses: tuple[float, ...]) -> None:
    stats = UpdateStats()
    for loss in losses:
        stats.add(MinibatchFigures(loss, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0))
    assert math.isnan(stats.maximum("loss"))


def test_means_of_no_minibatch_are_empty() -> None:
    assert UpdateStats().means() == {}


@pytest.mark.parametrize(
    ("predictions", "expected"), [([1.0, 2.0, 3.0], 1.0), ([7.0, 7.0, 7.0], 0.0), ([3.0, 2.0, 1.0], -3.0)]
)
def test_explained_variance_is_one_zero_or_negative(predictions: list[float], expected: float) -> None:
    targets = np.array([1.0, 2.0, 3.0], dtype=np.float32)
    assert explained_variance(np.array(predictions, dtype=np.float32), targets) == pytest.approx(expected)


def test_explained_variance_of_constant_targets_is_nan() -> None:
    assert math.isnan(explained_variance(np.arange(3, dtype=np.float32), np.ones(3, dtype=np.float32)))
