"""Tests of `updates/snapshot.py`: every change of a policy that might matter is noticed, training itself is not."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy

from sb3_ppo_scratch.updates.snapshot import Snapshot

BOX = spaces.Box(-1, 1, (2,))


@pytest.fixture(autouse=True)
def _whole_process_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(th.distributions.Distribution, "_validate_args", True)  # `th.compile` switches it off


def make_policy() -> ActorCriticPolicy:
    policy = ActorCriticPolicy(spaces.Box(-1, 1, (3,)), BOX, lambda _: 1e-3, net_arch=[4])
    train(policy)
    return policy


def train(policy: ActorCriticPolicy) -> None:
    values, log_prob, _ = policy.evaluate_actions(th.zeros(2, 3), th.zeros(2, 2))
    (values.mean() + log_prob.mean()).backward()
    policy.optimizer.step()


def _hook(*_: Any) -> None:
    """Does nothing."""


def _reload(policy: Any) -> None:
    policy.optimizer.load_state_dict(copy.deepcopy(policy.optimizer.state_dict()))


def _set(target: Callable[[Any], Any], name: str, value: Any) -> Callable[[Any], None]:
    return lambda policy: setattr(target(policy), name, value)


def _actor(policy: Any) -> Any:
    return policy.action_net


CHANGES: dict[str, Callable[[Any], Any]] = {
    "attribute_of_the_policy": _set(lambda policy: policy, "normalize_images", False),
    "attribute_of_a_part": _set(_actor, "in_features", 5),
    "new_attribute": _set(_actor, "scale", 2.0),
    "method_on_the_object": _set(_actor, "forward", _hook),
    "replaced_layer": lambda policy: setattr(policy, "value_net", th.nn.Linear(4, 1)),
    "replaced_parameter": lambda policy: setattr(policy.value_net, "bias", th.nn.Parameter(th.zeros(1))),
    "missing_parameter": lambda policy: setattr(policy.value_net, "bias", None),
    "added_layer": lambda policy: policy.mlp_extractor.policy_net.append(th.nn.Tanh()),
    "swapped_layers": lambda policy: policy.mlp_extractor.policy_net.__setitem__(0, policy.mlp_extractor.value_net[0]),
    "forward_hook": lambda policy: policy.action_net.register_forward_hook(_hook),
    "forward_pre_hook": lambda policy: policy.action_net.register_forward_pre_hook(_hook),
    "backward_hook": lambda policy: policy.action_net.register_full_backward_hook(_hook),
    "hook_on_a_parameter": lambda policy: policy.action_net.bias.register_hook(_hook),
    "hook_after_a_gradient": lambda policy: policy.action_net.bias.register_post_accumulate_grad_hook(_hook),
    "frozen_parameter": lambda policy: policy.action_net.bias.requires_grad_(False),
    "other_mode": lambda policy: policy.set_training_mode(not policy.training),
    "compiled_in_place": lambda policy: policy.action_net.compile(backend="eager"),
    "replaced_optimiser": lambda policy: setattr(policy, "optimizer", th.optim.Adam(policy.parameters())),
    "optimisers_state_loaded": _reload,
    "optimisers_state_forgotten": lambda policy: policy.optimizer.state.clear(),
    "addition_at_the_very_end": lambda policy: policy.optimizer.state[policy.value_net.bias].update(more=th.zeros(1)),
    "optimisers_options": lambda policy: policy.optimizer.param_groups[0].update(betas=(0.5, 0.7)),
    "learning_rate_as_tensor": lambda policy: policy.optimizer.param_groups[0].update(lr=th.tensor(1e-3)),
    "optimisers_parameters": lambda policy: policy.optimizer.param_groups[0]["params"].pop(),
    "second_group": lambda policy: policy.optimizer.add_param_group({"params": [th.nn.Parameter(th.zeros(1))]}),
    "hook_on_the_optimiser": lambda policy: policy.optimizer.register_step_pre_hook(_hook),
    "scheduler": lambda policy: th.optim.lr_scheduler.StepLR(policy.optimizer, 10),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_change_is_noticed(name: str) -> None:
    policy = make_policy()
    snapshot = Snapshot(policy)
    assert snapshot.is_current(policy)
    CHANGES[name](policy)
    assert not snapshot.is_current(policy)


def test_training_and_its_learning_rate_are_no_change() -> None:
    policy = make_policy()
    snapshot = Snapshot(policy)
    for rate in (1e-2, 1e-3):
        policy.optimizer.param_groups[0]["lr"] = rate
        train(policy)
        policy.optimizer.zero_grad()
        assert snapshot.is_current(policy)


def test_another_policy_is_not_taken_for_this_one() -> None:
    policy = make_policy()
    assert not Snapshot(policy).is_current(make_policy())
    assert not Snapshot(policy).is_current(copy.copy(policy))  # of the same parts


def test_what_has_been_undone_is_no_change() -> None:
    policy = make_policy()
    snapshot = Snapshot(policy)
    handle = policy.action_net.register_forward_hook(_hook)
    handle.remove()
    policy.set_training_mode(not policy.training)
    policy.set_training_mode(not policy.training)
    assert snapshot.is_current(policy)
