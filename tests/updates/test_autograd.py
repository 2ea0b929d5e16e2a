"""Tests of `updates/autograd.py`: steps equal to plain torch's, and no waiting for the device in between."""

import copy
import traceback
from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import RolloutBufferSamples
from stable_baselines3.common.vec_env import DummyVecEnv

from sb3_ppo_scratch import PPOScratch, scratch_algorithm
from sb3_ppo_scratch.nan_watch import looks_at_once
from sb3_ppo_scratch.updates import autograd
from sb3_ppo_scratch.updates.autograd import (
    AutogradUpdate,
    DescribedSamples,
    actions_as_taken,
    evaluate_minibatch,
    free_graph,
)
from sb3_ppo_scratch.updates.exact_kl import describe_distribution
from sb3_ppo_scratch.updates.update import NotCoveredError, UpdateSettings
from tests.envs import EndingsEnv
from tests.updates.reference import loss_of_minibatch
from tests.updates.remembering import assert_goes_on_from_what_it_remembers

BOX = spaces.Box(-0.5, 0.5, (2,), np.float32)
DISCRETE = spaces.Discrete(3)
ACTION_SPACES = {
    "discrete": DISCRETE,
    "multi_discrete": spaces.MultiDiscrete([2, 3]),
    "multi_binary": spaces.MultiBinary(3),
    "box": BOX,
}


def parameters(model: OnPolicyAlgorithm) -> th.Tensor:
    return th.nn.utils.parameters_to_vector(model.policy.parameters()).detach().clone()


def make(
    algorithm: type[OnPolicyAlgorithm],
    policy: str | type[ActorCriticPolicy] = "MlpPolicy",
    action_space: spaces.Space[Any] = BOX,
    **arguments: Any,
) -> OnPolicyAlgorithm:
    env = DummyVecEnv([lambda: EndingsEnv(action_space) for _ in range(2)])
    own = {"update": "autograd"} if algorithm is PPOScratch else {}
    defaults = {"n_steps": 16, "batch_size": 8, "n_epochs": 2, "seed": 0, "learning_rate": 3e-3, "device": "cpu"}
    return algorithm(policy, env, **{**defaults, **own, **arguments})


class WithUnused(ActorCriticPolicy):
    """Has a parameter that nothing reads."""

    def _build(self, lr_schedule: Any) -> None:
        self.unused = th.nn.Parameter(th.ones(3))
        super()._build(lr_schedule)


class WithFrozen(ActorCriticPolicy):
    """Its first layer of the actor does not learn."""

    def _build(self, lr_schedule: Any) -> None:
        super()._build(lr_schedule)
        for parameter in self.mlp_extractor.policy_net[0].parameters():
            parameter.requires_grad = False


class InTwoGroups(ActorCriticPolicy):
    """The critic learns faster, in the words of torch."""

    def _build(self, lr_schedule: Any) -> None:
        super()._build(lr_schedule)
        critic = [p for name, p in self.named_parameters() if "value" in name]
        actor = [p for name, p in self.named_parameters() if "value" not in name]
        self.optimizer = th.optim.Adam([{"params": actor}, {"params": critic, "betas": (0.5, 0.9)}], lr=1e-3)


class TiedLayers(ActorCriticPolicy):
    """Actor and critic share a matrix, but no bias."""

    def _build(self, lr_schedule: Any) -> None:
        super()._build(lr_schedule)
        self.mlp_extractor.value_net[0].weight = self.mlp_extractor.policy_net[0].weight
        self.optimizer = th.optim.Adam(self.parameters(), lr=1e-3, eps=1e-5)


class TakesPartAtTimes(ActorCriticPolicy):
    """Has a parameter that is used at the first minibatch, and then at every other one."""

    def _build(self, lr_schedule: Any) -> None:
        self.at_times = th.nn.Parameter(th.ones(1))
        self.evaluations = 0
        super()._build(lr_schedule)

    def evaluate_actions(self, obs: Any, actions: th.Tensor) -> Any:
        values, log_prob, entropy = super().evaluate_actions(obs, actions)
        self.evaluations += 1
        return values * self.at_times if self.evaluations % 2 else values, log_prob, entropy


SGD = {"policy_kwargs": {"optimizer_class": th.optim.SGD}, "learning_rate": 0.1}
RMSPROP = {"policy_kwargs": {"optimizer_class": th.optim.RMSprop}}


@pytest.mark.parametrize(
    ("policy", "arguments"),
    [
        pytest.param("MlpPolicy", {}, id="adam"),
        pytest.param("MlpPolicy", SGD, id="sgd"),
        pytest.param("MlpPolicy", RMSPROP, id="rmsprop"),
        pytest.param(WithUnused, {}, id="unused_parameter"),
        pytest.param(TakesPartAtTimes, {}, id="parameter_used_at_times"),
        pytest.param(WithFrozen, {}, id="frozen_parameters"),
        pytest.param(InTwoGroups, {}, id="two_groups"),
        pytest.param(TiedLayers, {}, id="tied_layers"),
        pytest.param("MlpPolicy", {"max_grad_norm": 0.05}, id="clipped_gradient"),
    ],
)
def test_parameters_and_optimiser_state_equal_stock_ppos(policy: Any, arguments: dict[str, Any]) -> None:
    stock, ours = (make(algorithm, policy, **arguments).learn(96) for algorithm in (PPO, PPOScratch))
    th.testing.assert_close(parameters(ours), parameters(stock), rtol=0, atol=1e-6)
    states = (model.policy.optimizer.state_dict()["state"] for model in (ours, stock))
    our_state, their_state = states
    assert our_state.keys() == their_state.keys()
    for index, state in their_state.items():
        for name, value in state.items():
            th.testing.assert_close(our_state[index][name], value, rtol=1e-3, atol=1e-6)


def is_flat(tensors: list[th.Tensor]) -> bool:
    return len({tensor.untyped_storage().data_ptr() for tensor in tensors}) == 1


@pytest.mark.parametrize(
    ("policy", "arguments", "flat"),
    [
        pytest.param("MlpPolicy", {}, True, id="adam"),
        pytest.param("MlpPolicy", SGD, False, id="sgd"),
        pytest.param(WithUnused, {}, False, id="unused_parameter"),
        pytest.param(WithFrozen, {}, False, id="frozen_parameters"),
        pytest.param(TiedLayers, {}, True, id="tied_layers"),
    ],
)
def test_memory_is_flat_where_adam_moves_every_parameter_and_else_left_alone(
    policy: Any, arguments: dict[str, Any], flat: bool
) -> None:
    model = make(PPOScratch, policy, **arguments).learn(32)
    assert is_flat(list(model.policy.parameters())) is flat
    if flat:
        assert is_flat([parameter.grad for parameter in model.policy.parameters()])


class WithoutEntropy(ActorCriticPolicy):
    """Cannot tell its entropy."""

    def evaluate_actions(self, obs: Any, actions: th.Tensor) -> Any:
        values, log_prob, _ = super().evaluate_actions(obs, actions)
        return values, log_prob, None


def minibatch_of(policy: ActorCriticPolicy, batch: int = 7) -> RolloutBufferSamples:
    """Random transitions of which every number is another, collected by a policy that was a little different."""
    generator = th.Generator().manual_seed(1)
    observations = th.randn(batch, 3, generator=generator)
    with th.no_grad():
        actions, values, log_prob = policy(observations)
    noise = [0.3 * th.randn(batch, generator=generator) for _ in range(4)]
    old_values = values.flatten() + noise[0]
    return RolloutBufferSamples(
        observations, actions, old_values, log_prob + noise[1], 5 * noise[2], old_values + 5 * noise[3]
    )


@pytest.mark.parametrize("policy_class", [ActorCriticPolicy, WithoutEntropy])
@pytest.mark.parametrize("exact_kl", [False, True], ids=["estimated_kl", "exact_kl"])
@pytest.mark.parametrize(("kl_coef", "ent_coef"), [(0.0, 0.3), (1.0, 0.0), (2.5, 1.0)])
def test_loss_and_its_derivatives_are_the_papers(
    kl_coef: float, ent_coef: float, exact_kl: bool, policy_class: type[ActorCriticPolicy]
) -> None:
    th.manual_seed(0)
    policy = policy_class(spaces.Box(-1, 1, (3,)), BOX, lambda _: 1e-3, net_arch=[4])
    batch, old_policy = minibatch_of(policy), copy.deepcopy(policy) if exact_kl else None
    with th.no_grad():
        old = describe_distribution(old_policy.get_distribution(batch.observations)) if old_policy else None
        policy.action_net.bias += 0.2
    settings = UpdateSettings(0.2, 0.3, True, ent_coef, 0.7, 0.5, kl_coef)
    outputs, derivatives, figures = evaluate_minibatch(policy, batch, settings, old)
    inputs = [*policy.parameters()]
    ours = th.autograd.grad(outputs, inputs, derivatives)
    loss = loss_of_minibatch(policy, batch, settings, old_policy)
    th.testing.assert_close(figures.loss, loss.detach())
    for one, other in zip(ours, th.autograd.grad(loss, inputs), strict=True):
        th.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


class Counting(th.optim.SGD):
    """Keeps things in its state that are no tensors."""

    def step(self, closure: Any = None) -> None:
        super().step(closure)
        for parameter in self.param_groups[0]["params"]:
            history = self.state[parameter].setdefault("history", {"norms": []})
            history["norms"].append(float(parameter.detach().norm()))
            self.state[parameter]["count"] = len(history["norms"])


def buffer_of_zeros(space: spaces.Space[Any]) -> RolloutBuffer:
    buffer = RolloutBuffer(2, space, BOX, "cpu")
    buffer.full = True
    return buffer


@pytest.mark.parametrize("asked", [{}, {"exact_kl": False}, {"exact_kl": True}], ids=str)
def test_old_distributions_are_described_only_where_divergences_are_asked_for(asked: dict[str, bool]) -> None:
    policy = ActorCriticPolicy(spaces.Box(-1, 1, (3,)), BOX, lambda _: 1e-3, net_arch=[4])
    [minibatch] = AutogradUpdate(policy).read(buffer_of_zeros(policy.observation_space), **asked).minibatches(2)
    assert isinstance(minibatch, DescribedSamples) is asked.get("exact_kl", False)


@pytest.mark.parametrize(
    ("optimizer_class", "flat"),
    [(th.optim.Adam, True), (th.optim.RMSprop, False), (Counting, False)],
    ids=["adam", "rmsprop", "counting"],
)
def test_restored_policy_and_optimiser_go_on_as_from_where_they_were_remembered(
    optimizer_class: type[th.optim.Optimizer], flat: bool
) -> None:
    th.manual_seed(0)
    space = spaces.Box(-1, 1, (3,))
    policy = ActorCriticPolicy(space, BOX, lambda _: 0.05, net_arch=[4], optimizer_class=optimizer_class)
    batch, settings = minibatch_of(policy), UpdateSettings(0.2, None, True, 0.0, 0.5, 0.5)
    update = AutogradUpdate(policy)
    update.read(buffer_of_zeros(space))
    remembered = assert_goes_on_from_what_it_remembers(
        update, policy, batch, settings, lambda both: (both[0][:-1], both[1])
    )
    update.restore(remembered)
    if flat:
        assert is_flat([state["exp_avg"] for state in policy.optimizer.state.values()])


def test_infinite_divergence_that_is_no_penalty_leaves_the_loss_finite() -> None:
    policy = ActorCriticPolicy(spaces.Box(-1, 1, (3,)), BOX, lambda _: 1e-3, net_arch=[4])
    batch = minibatch_of(policy)
    batch = batch._replace(old_log_prob=batch.old_log_prob - 200, advantages=th.ones(7))
    figures = evaluate_minibatch(policy, batch, UpdateSettings(0.2, None, False, 0.0, 0.5, 0.5)).figures
    assert figures.kl.isinf()
    assert figures.policy_gradient_loss.item() == pytest.approx(-1.2)
    assert figures.loss.isfinite()


def test_steps_on_flat_memory_are_the_optimisers_own_bit_for_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = []
    for name in ("flat", "apart"):
        if name == "apart":
            monkeypatch.setattr(autograd, "check_flat", mock.Mock(side_effect=NotCoveredError("anything")))
        model = make(PPOScratch, n_epochs=20).learn(64)
        assert is_flat(list(model.policy.parameters())) is (name == "flat")
        ends.append(parameters(model))
    assert th.equal(*ends)


def test_flat_memory_stays_where_it_is() -> None:
    model = make(PPOScratch).learn(32)
    [*before] = map(th.Tensor.data_ptr, model.policy.parameters())
    model.learn(64, reset_num_timesteps=False)
    assert [*map(th.Tensor.data_ptr, model.policy.parameters())] == before


def test_whether_memory_can_be_flat_is_looked_at_once_per_rollout(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = mock.Mock(wraps=autograd.check_flat)
    monkeypatch.setattr(autograd, "check_flat", looks)
    make(PPOScratch, **SGD).learn(96)
    assert looks.call_count == 3


# -- no waiting --------------------------------------------------------------------------------------------------------

WAITING = ("item", "cpu", "numpy", "tolist", "__float__", "__bool__", "__int__", "__index__")


class Waits:
    """Records who fetches a tensor's content while an update runs, torch's own optimisers excepted.

    Adam's step numbers, which it fetches, lie on the CPU also where the parameters do not.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: list[str] = []
        monkeypatch.setattr(th.distributions.Distribution, "_validate_args", True)  # `th.compile` switches it off
        self.watching = False
        for name in WAITING:
            monkeypatch.setattr(th.Tensor, name, self._wrap(name, getattr(th.Tensor, name)))
        train_epoch = PPOScratch._train_epoch

        def watched_epoch(*arguments: Any) -> Any:
            self.watching = True
            try:
                return train_epoch(*arguments)
            finally:
                self.watching = False

        monkeypatch.setattr(PPOScratch, "_train_epoch", watched_epoch)

    def _wrap(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **keywords: Any) -> Any:
            if self.watching:
                stack = traceback.extract_stack(limit=12)
                if not any("/torch/optim/" in frame.filename for frame in stack):
                    self.seen.append(f"{name} at {stack[-2].filename}:{stack[-2].lineno}")
            return original(*arguments, **keywords)

        return wrapped


@pytest.mark.parametrize("kind", ACTION_SPACES)
def test_no_tensor_is_fetched_from_the_device_between_the_minibatches(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make(PPOScratch, action_space=ACTION_SPACES[kind], ent_coef=0.01, clip_range_vf=0.2).learn(32)
    monkeypatch.setattr(scratch_algorithm, "looks_at_once", lambda *_: looks_at_once("raise", th.device("cuda")))
    waits = Waits(monkeypatch)
    model.learn(64, reset_num_timesteps=False)
    assert waits.seen == []


def test_the_watch_sees_the_one_fetch_per_minibatch_that_target_kl_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make(PPOScratch, action_space=DISCRETE, target_kl=1e9).learn(32)
    monkeypatch.setattr(scratch_algorithm, "looks_at_once", lambda *_: False)
    waits = Waits(monkeypatch)
    model.learn(32, reset_num_timesteps=False)
    ours = [place for place in waits.seen if "kl_control.py" in place]
    assert len(ours) == 2 * 4
    assert all(place.startswith("__float__") for place in ours)


# -- small parts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("space", "shape", "dtype"),
    [(DISCRETE, (4,), th.int64), (BOX, (4, 2), th.float32), (spaces.MultiDiscrete([2, 3]), (4, 2), th.float32)],
    ids=["discrete", "box", "multi_discrete"],
)
def test_stored_actions_get_back_the_shape_that_the_distribution_expects(
    space: spaces.Space[Any], shape: tuple[int, ...], dtype: th.dtype
) -> None:
    stored = th.ones(4, 1 if isinstance(space, spaces.Discrete) else 2)
    taken = actions_as_taken(stored, space)
    assert taken.shape == shape
    assert taken.dtype == dtype


@pytest.mark.parametrize("kind", ACTION_SPACES)
def test_freed_distribution_keeps_its_values_and_no_graph(kind: str) -> None:
    policy = make(PPOScratch, action_space=ACTION_SPACES[kind]).policy
    observations = th.zeros(1, 3)
    actions = policy(observations)[0].detach()
    before = policy.action_dist.log_prob(actions)
    assert before.requires_grad
    free_graph(policy)
    after = policy.action_dist.log_prob(actions)
    assert not after.requires_grad
    assert th.equal(after, before.detach())


@pytest.mark.parametrize(
    ("limit", "device", "expected"), [(0, "cpu", True), (0, "cuda", False), (96, "cuda", True), (10**6, "cuda", True)]
)
@pytest.mark.parametrize("observation_space", [None, spaces.Dict({"x": spaces.Box(-1, 1, (3,))})], ids=["box", "dict"])
def test_large_rollouts_are_not_brought_to_a_gpu_as_a_whole(
    limit: int, device: str, expected: bool, observation_space: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(autograd, "BYTES_ON_DEVICE", limit)
    env = EndingsEnv(spaces.Discrete(2), observation_space)
    model = PPOScratch("MlpPolicy" if observation_space is None else "MultiInputPolicy", env, n_steps=8, batch_size=8)
    assert autograd.is_worth_bringing(model.rollout_buffer, th.device(device)) == expected
