"""Tests of `zoo/wrapper_lists.py`."""

from typing import Any

import pytest

from sb3_ppo_scratch.wrappers import BinAction, ScaleReward
from sb3_ppo_scratch.zoo.wrapper_lists import entries, is_scale_reward, resolve, with_unscaled_reward

OURS = "sb3_ppo_scratch.wrappers.ScaleReward"
OTHER = "sb3_ppo_scratch.wrappers.NormalizeObservation"


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (None, []),
        (OURS, [(OURS, {})]),
        ({OURS: {"scale": 0.1}}, [(OURS, {"scale": 0.1})]),
        ([OTHER, {OURS: {"scale": 0.1}}, {OTHER: None}], [(OTHER, {}), (OURS, {"scale": 0.1}), (OTHER, {})]),
    ],
)
def test_every_form_of_a_list_is_read(written: Any, read: Any) -> None:
    assert entries(written) == read


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (OURS, [{OURS: {"scale": 1.0}}]),
        ([OTHER, {OURS: {"scale": 0.1}}], [{OTHER: {}}, {OURS: {"scale": 1.0}}]),
        ({"sb3_ppo_scratch.wrappers.scale_reward.ScaleReward": None},
         [{"sb3_ppo_scratch.wrappers.scale_reward.ScaleReward": {"scale": 1.0}}]),
        ([ScaleReward], [{ScaleReward: {"scale": 1.0}}]),
    ],
)  # fmt: skip
def test_scale_reward_is_set_to_one(written: Any, expected: Any) -> None:
    assert with_unscaled_reward(written) == expected


@pytest.mark.parametrize("written", [None, OTHER, [{OTHER: {"clip": 5.0}}], "somewhere.else.ScaleReward", [BinAction]])
def test_list_without_our_scale_reward_is_returned_itself(written: Any) -> None:
    assert with_unscaled_reward(written) is written


def test_subclass_of_scale_reward_counts_as_one() -> None:
    assert is_scale_reward(type("Mine", (ScaleReward,), {}))
    assert not is_scale_reward(BinAction)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("ScaleReward", "'ScaleReward' is no dotted path; write package.module.ScaleReward"),
        ("no_such_package.Wrapper", "'no_such_package.Wrapper' cannot be imported: No module named 'no_such_package'"),
        (
            "sb3_ppo_scratch.wrappers.ScaleRewards",
            "has no ScaleRewards; did you mean sb3_ppo_scratch.wrappers.ScaleReward",
        ),
    ],
)
def test_path_that_cannot_be_imported_is_named_with_the_nearest(path: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resolve(path)
