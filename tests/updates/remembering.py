"""What an update remembers, proved by going on from it: the same steps again lead to the same place."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch as th
from stable_baselines3.common.policies import ActorCriticPolicy

from sb3_ppo_scratch.updates.update import Remembered, Update, UpdateSettings


def assert_goes_on_from_what_it_remembers(
    update: Update,
    policy: ActorCriticPolicy,
    minibatch: Any,
    settings: UpdateSettings,
    shorten: Callable[[Remembered], Remembered],
) -> Remembered:
    """Take steps, return to where they began, and take them again, though returning to a part of that was tried, too.

    Returns what was remembered.
    """

    def take_steps() -> tuple[th.Tensor, Any]:
        for _ in range(2):
            update.evaluate(minibatch, settings)
            update.differentiate(settings)
            update.step()
        return parameters(), deepcopy(policy.optimizer.state_dict()["state"])

    def parameters() -> th.Tensor:
        return th.nn.utils.parameters_to_vector(policy.parameters()).detach().clone()

    before, state_before = take_steps()
    remembered = update.remember()
    expected, expected_state = take_steps()
    assert not th.equal(before, expected)
    update.restore(remembered)
    assert th.equal(parameters(), before)
    th.testing.assert_close(policy.optimizer.state_dict()["state"], state_before, rtol=0, atol=0)
    with pytest.raises(ValueError, match="shorter"):
        update.restore(shorten(remembered))
    update.restore(remembered)
    again, state_again = take_steps()
    assert th.equal(again, expected)
    th.testing.assert_close(state_again, expected_state, rtol=0, atol=0)
    return remembered
