"""Tests of `update_choice.py`: what is chosen for which policy, and that nothing done to a model in between goes wrong.

The oracle of the second part is the same run, with the same interference, under `update="autograd"`.
"""

import copy
import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import DummyVecEnv
from torch.optim.optimizer import register_optimizer_step_post_hook

from sb3_ppo_scratch import PPOScratch, update_choice
from sb3_ppo_scratch.update_choice import UpdateChoice
from sb3_ppo_scratch.updates.autograd import AutogradUpdate, free_graph
from sb3_ppo_scratch.updates.closed_form import ClosedFormUpdate
from tests.envs import EndingsEnv

BOX = spaces.Box(-0.5, 0.5, (2,), np.float32)
DICT = spaces.Dict({"x": spaces.Box(-1, 1, (2,))})
IMAGE = spaces.Box(0, 255, (3, 36, 36), np.uint8)
BOUND = 1e-5
"""Largest difference of any parameter between the updates."""


def make(
    policy: str | type[ActorCriticPolicy] = "MlpPolicy",
    action_space: spaces.Space[Any] = BOX,
    observation_space: spaces.Space[Any] | None = None,
    algorithm: type[OnPolicyAlgorithm] = PPOScratch,
    **arguments: Any,
) -> Any:
    env = DummyVecEnv([lambda: EndingsEnv(action_space, observation_space) for _ in range(2)])
    defaults = {"n_steps": 8, "batch_size": 8, "n_epochs": 2, "seed": 0, "learning_rate": 3e-3, "device": "cpu"}
    return algorithm(policy, env, **{**defaults, **arguments})


def with_policy_kwargs(**policy_kwargs: Any) -> Callable[[], PPOScratch]:
    return lambda: make(policy_kwargs=policy_kwargs)


def changed(change: Callable[[PPOScratch], Any], **arguments: Any) -> Callable[[], PPOScratch]:
    def make_changed() -> PPOScratch:
        model = make(**arguments)
        change(model)
        return model

    return make_changed


# -- what is covered ---------------------------------------------------------------------------------------------------


class Mlp(BaseFeaturesExtractor):
    """A custom extractor that is an MLP."""

    def __init__(self, observation_space: spaces.Box) -> None:
        super().__init__(observation_space, features_dim=4)
        self.layers = th.nn.Sequential(th.nn.Linear(3, 4), th.nn.Tanh())

    def forward(self, observations: th.Tensor) -> th.Tensor:
        return self.layers(observations)


class Residual(Mlp):
    """A custom extractor that is none."""

    def forward(self, observations: th.Tensor) -> th.Tensor:
        return self.layers(observations) + observations.mean(dim=1, keepdim=True)


class Moody(Mlp):
    """A custom extractor that is an MLP at times."""

    adds_mean = False

    def forward(self, observations: th.Tensor) -> th.Tensor:
        features = self.layers(observations)
        return features + observations.mean(dim=1, keepdim=True) if self.adds_mean else features


class PieceByPiece(BaseFeaturesExtractor):
    """Reads an observation of two dimensions row by row."""

    def __init__(self, observation_space: spaces.Box) -> None:
        super().__init__(observation_space, features_dim=8)
        self.layers = th.nn.Sequential(th.nn.Linear(3, 4), th.nn.Tanh(), th.nn.Flatten())

    def forward(self, observations: th.Tensor) -> th.Tensor:
        return self.layers(observations)


class Dropping(Mlp):
    """Has dropout."""

    def __init__(self, observation_space: spaces.Box) -> None:
        super().__init__(observation_space)
        self.layers.append(th.nn.Dropout(0.5))


class Normed(Mlp):
    """Has a layer norm."""

    def __init__(self, observation_space: spaces.Box) -> None:
        super().__init__(observation_space)
        self.layers.append(th.nn.LayerNorm(4))


class Repeating(BaseFeaturesExtractor):
    """Applies one layer twice."""

    def __init__(self, observation_space: spaces.Box) -> None:
        super().__init__(observation_space, features_dim=3)
        self.linear = th.nn.Linear(3, 3)

    def forward(self, observations: th.Tensor) -> th.Tensor:
        return th.tanh(self.linear(th.tanh(self.linear(observations))))


class WithSpareLogStd(Mlp):
    """Has an unused parameter that happens to be called like the Gaussian's."""

    def __init__(self, observation_space: spaces.Box) -> None:
        super().__init__(observation_space)
        self.log_std = th.nn.Parameter(th.full((2,), 3.0))


class OnlyNamed(ActorCriticPolicy):
    """A subclass that changes nothing."""


class OwnEvaluation(ActorCriticPolicy):
    """Evaluates in its own way."""

    def evaluate_actions(self, obs: Any, actions: th.Tensor) -> Any:
        return super().evaluate_actions(obs, actions)


class OwnForward(ActorCriticPolicy):
    """Acts in its own way."""

    def forward(self, obs: th.Tensor, deterministic: bool = False) -> Any:
        return super().forward(obs, deterministic)


class OwnFeatures(ActorCriticPolicy):
    """Extracts features in its own way."""

    def extract_features(self, obs: Any, features_extractor: Any = None) -> Any:
        return super().extract_features(obs, features_extractor)


class OwnValues(ActorCriticPolicy):
    """Estimates values in its own way."""

    def predict_values(self, obs: Any) -> th.Tensor:
        return super().predict_values(obs)


class TiedMatrices(ActorCriticPolicy):
    """Actor and critic share a matrix, but no bias."""

    def _build(self, lr_schedule: Any) -> None:
        super()._build(lr_schedule)
        self.mlp_extractor.value_net[0].weight = self.mlp_extractor.policy_net[0].weight
        self.optimizer = th.optim.Adam(self.parameters(), lr=1e-3, eps=1e-5)


class SharedSecondLayer(ActorCriticPolicy):
    """Actor and critic have first layers of their own and share the second."""

    def _build(self, lr_schedule: Any) -> None:
        super()._build(lr_schedule)
        self.mlp_extractor.value_net[2] = self.mlp_extractor.policy_net[2]
        self.optimizer = th.optim.Adam(self.parameters(), lr=1e-3, eps=1e-5)


class CriticBeginsWithTheActorsSecondLayer(ActorCriticPolicy):
    """One layer stands at different depths of both networks."""

    def _build(self, lr_schedule: Any) -> None:
        super()._build(lr_schedule)
        self.mlp_extractor.policy_net[0] = th.nn.Linear(3, 3)
        self.mlp_extractor.policy_net[2] = self.mlp_extractor.value_net[0]
        self.optimizer = th.optim.Adam(self.parameters(), lr=1e-3, eps=1e-5)


class InTwoGroups(ActorCriticPolicy):
    """The optimiser has two groups."""

    def _build(self, lr_schedule: Any) -> None:
        super()._build(lr_schedule)
        first, *others = self.parameters()
        self.optimizer = th.optim.Adam([{"params": [first]}, {"params": others}], lr=1e-3)


class WithUnused(ActorCriticPolicy):
    """Has a parameter that nothing reads."""

    def _build(self, lr_schedule: Any) -> None:
        self.spare = th.nn.Parameter(th.ones(3))
        super()._build(lr_schedule)


class TanhAfterActor(ActorCriticPolicy):
    """Has an activation after the actor's last layer."""

    def _build(self, lr_schedule: Any) -> None:
        super()._build(lr_schedule)
        self.action_net = th.nn.Sequential(self.action_net, th.nn.Tanh())


class ReluAfterActor(ActorCriticPolicy):
    """Has another one."""

    def _build(self, lr_schedule: Any) -> None:
        super()._build(lr_schedule)
        self.action_net = th.nn.Sequential(self.action_net, th.nn.ReLU())


class DeepHeads(ActorCriticPolicy):
    """Has heads of several layers, of which no `weight` can be asked."""

    def _build(self, lr_schedule: Any) -> None:
        super()._build(lr_schedule)
        width = self.value_net.in_features
        self.value_net = th.nn.Sequential(th.nn.Linear(width, 3), th.nn.Tanh(), th.nn.Linear(3, 1))
        self.optimizer = th.optim.Adam(self.parameters(), lr=1e-3, eps=1e-5)


class OneStd(ActorCriticPolicy):
    """Has one standard deviation for all dimensions."""

    def _build(self, lr_schedule: Any) -> None:
        super()._build(lr_schedule)
        self.log_std = th.nn.Parameter(th.zeros(1))
        self.optimizer = th.optim.Adam(self.parameters(), lr=1e-3, eps=1e-5)


class FixedStd(ActorCriticPolicy):
    """Has standard deviations that do not learn."""

    def _build(self, lr_schedule: Any) -> None:
        super()._build(lr_schedule)
        del self.log_std
        self.register_buffer("log_std", th.zeros(2))
        self.optimizer = th.optim.Adam(self.parameters(), lr=1e-3, eps=1e-5)


class ActorIsCritic(ActorCriticPolicy):
    """Acts by its value."""

    def _build(self, lr_schedule: Any) -> None:
        super()._build(lr_schedule)
        self.action_net = self.value_net
        self.mlp_extractor.policy_net = self.mlp_extractor.value_net
        self.optimizer = th.optim.Adam(self.parameters(), lr=1e-3, eps=1e-5)


class Remembering(Mlp):
    """Stores what it computes, and draws a random number in passing."""

    def forward(self, observations: th.Tensor) -> th.Tensor:
        self.last, self.number = self.layers(observations), th.rand(())
        return self.last


class OwnEntropy(ActorCriticPolicy):
    """Averages the entropy by itself."""

    def evaluate_actions(self, obs: Any, actions: th.Tensor) -> Any:
        values, log_prob, entropy = super().evaluate_actions(obs, actions)
        return values, log_prob, entropy.mean()


class EntropyPerDimension(ActorCriticPolicy):
    """Has one entropy for each dimension of an action."""

    def evaluate_actions(self, obs: Any, actions: th.Tensor) -> Any:
        values, log_prob, _ = super().evaluate_actions(obs, actions)
        return values, log_prob, self.action_dist.distribution.entropy()


class OwnGet(RolloutBuffer):
    """Passes over the rollout in its own way."""

    def get(self, batch_size: int | None = None) -> Any:
        return super().get(batch_size)


class OwnAdvantages(RolloutBuffer):
    """Estimates advantages in its own way."""

    def compute_returns_and_advantage(self, last_values: th.Tensor, dones: np.ndarray) -> None:
        self.advantages[:], self.returns[:] = 1.0, self.values


COVERED: dict[str, Callable[[], PPOScratch]] = {
    "box_actions": make,
    "discrete_actions": lambda: make(action_space=spaces.Discrete(3)),
    "multi_discrete_actions": lambda: make(action_space=spaces.MultiDiscrete([2, 3])),
    "multi_binary_actions": lambda: make(action_space=spaces.MultiBinary(2)),
    "discrete_observations": lambda: make(observation_space=spaces.Discrete(4)),
    "flattened_image": lambda: make(observation_space=spaces.Box(0, 255, (3, 6, 6), np.uint8)),
    "normalised_observations": lambda: make(normalize_observations=True),
    "relu": with_policy_kwargs(activation_fn=th.nn.ReLU),
    "no_hidden_layers": with_policy_kwargs(net_arch=[]),
    "other_widths": with_policy_kwargs(net_arch={"pi": [4], "vf": [8, 8]}),
    "custom_mlp": with_policy_kwargs(features_extractor_class=Mlp),
    "separate_custom_mlps": with_policy_kwargs(features_extractor_class=Mlp, share_features_extractor=False),
    "adamw": with_policy_kwargs(optimizer_class=th.optim.AdamW),
    "amsgrad": with_policy_kwargs(optimizer_kwargs={"amsgrad": True}),
    "subclass_that_changes_nothing": lambda: make(OnlyNamed),
    "deep_heads": lambda: make(DeepHeads),
    "tanh_after_means": lambda: make(TanhAfterActor),
    "relu_after_binary_logits": lambda: make(ReluAfterActor, action_space=spaces.MultiBinary(2)),
    "buffer_with_its_own_advantages": lambda: make(rollout_buffer_class=OwnAdvantages),
    "sb3s_buffer": lambda: make(rollout_buffer_class=RolloutBuffer),
}


@pytest.mark.parametrize("name", COVERED)
def test_closed_form_is_chosen_for_all_that_it_covers(name: str) -> None:
    model, choice = COVERED[name](), UpdateChoice()
    assert isinstance(choice.choose("auto", model.policy, model.rollout_buffer), ClosedFormUpdate)
    assert choice.description == "closed-form update (auto: an MLP on the CPU)"
    assert isinstance(choice.choose("closed_form", model.policy, model.rollout_buffer), ClosedFormUpdate)
    assert choice.description == "closed-form update (as asked for)"
    assert isinstance(choice.choose("autograd", model.policy, model.rollout_buffer), AutogradUpdate)
    assert choice.description == "autograd update (as asked for)"


LEARNING = [name for name in COVERED if name.endswith("actions")] + ["normalised_observations", "flattened_image"]


@pytest.mark.parametrize("name", LEARNING)
def test_closed_form_that_is_chosen_learns_what_autograd_learns(name: str) -> None:
    runs = []
    for update in ("auto", "autograd"):
        model = COVERED[name]()
        model.update = update
        runs.append(model.learn(32))
    assert_equal_runs(*runs)


def _hook(*_: Any) -> None:
    """Does nothing, but might."""


def _compile_part(model: PPOScratch) -> None:
    model.policy.mlp_extractor = th.compile(model.policy.mlp_extractor, backend="eager")


def _compile_in_place(model: PPOScratch) -> None:
    model.policy.action_net.compile(backend="eager")


def _compile_all(model: PPOScratch) -> None:
    model.policy = th.compile(model.policy, backend="eager")


def _freeze(model: PPOScratch) -> None:
    model.policy.value_net.bias.requires_grad = False


def _hide_std(model: PPOScratch) -> None:
    vars(model.policy)["log_std"] = model.policy._parameters.pop("log_std")


def _register_global(register: Callable[..., Any]) -> Callable[[], PPOScratch]:
    def make_with_hook() -> PPOScratch:
        HANDLES.append(register(_hook))
        return make()

    return make_with_hook


HANDLES: list[Any] = []


@pytest.fixture(autouse=True)
def _whole_process_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(th.distributions.Distribution, "_validate_args", True)  # `th.compile` switches it off
    yield
    while HANDLES:
        HANDLES.pop().remove()


NOT_COVERED: dict[str, tuple[Callable[[], PPOScratch], str]] = {
    "gsde": (lambda: make(use_sde=True), "the action distribution StateDependentNoiseDistribution"),
    "squashed_gsde": (
        lambda: make(use_sde=True, policy_kwargs={"squash_output": True}),
        "the action distribution StateDependentNoiseDistribution",
    ),
    "dict": (lambda: make("MultiInputPolicy", observation_space=DICT), "Dict observations"),
    "cnn": (lambda: make("CnnPolicy", observation_space=IMAGE), "the operation Conv2d"),
    "elu": (with_policy_kwargs(activation_fn=th.nn.ELU), "the operation ELU"),
    "layer_norm": (with_policy_kwargs(features_extractor_class=Normed), "the operation LayerNorm"),
    "dropout": (with_policy_kwargs(features_extractor_class=Dropping), "the operation Dropout"),
    "custom_forward": (with_policy_kwargs(features_extractor_class=Residual), "the operation .*(add|mean)"),
    "layer_used_twice": (with_policy_kwargs(features_extractor_class=Repeating), "layer|parameter"),
    "tied_matrices": (lambda: make(TiedMatrices), "layer|parameter"),
    "shared_second_layer": (
        lambda: make(SharedSecondLayer, policy_kwargs={"net_arch": [4, 4]}), "layer|parameter"
    ),
    "layer_at_two_depths": (
        lambda: make(CriticBeginsWithTheActorsSecondLayer, policy_kwargs={"net_arch": [4, 4]}), "layer|parameter"
    ),
    "spare_log_std": (with_policy_kwargs(features_extractor_class=WithSpareLogStd), "a parameter `.*log_std`"),
    "tanh_after_logits": (
        lambda: make(TanhAfterActor, action_space=spaces.Discrete(3)), "an activation between .* and its logits"
    ),
    "relu_after_logits": (
        lambda: make(ReluAfterActor, action_space=spaces.MultiDiscrete([2, 3])), "an activation .* its logits"
    ),
    "one_std": (lambda: make(OneStd), r"a log_std of shape \(1,\)"),
    "fixed_std": (lambda: make(FixedStd), "a log_std that is no parameter of the policy"),
    "hidden_std": (changed(_hide_std), "a log_std that is no parameter of the policy"),
    "actor_is_critic": (
        lambda: make(ActorIsCritic, action_space=spaces.Box(-1, 1, (1,), np.float32)), "one network that goes on"
    ),
    "remembering": (
        with_policy_kwargs(features_extractor_class=Remembering), "a Remembering whose forward pass stores something"
    ),
    "own_entropy": (lambda: make(OwnEntropy, ent_coef=0.05), "the method `evaluate_actions` of OwnEntropy"),
    "entropy_per_dimension": (
        lambda: make(EntropyPerDimension, ent_coef=0.05), "the method `evaluate_actions` of EntropyPerDimension"
    ),
    "own_evaluate_actions": (lambda: make(OwnEvaluation), "the method `evaluate_actions` of OwnEvaluation"),
    "own_forward": (lambda: make(OwnForward), "the method `forward` of OwnForward"),
    "own_extract_features": (lambda: make(OwnFeatures), "the method `extract_features` of OwnFeatures"),
    "own_predict_values": (lambda: make(OwnValues), "the method `predict_values` of OwnValues"),
    "method_replaced_on_the_object": (
        changed(lambda model: setattr(model.policy, "evaluate_actions", model.policy.evaluate_actions)),
        "the method `evaluate_actions`",
    ),
    "forward_hook": (changed(lambda model: model.policy.action_net.register_forward_hook(_hook)), "hooks on Linear"),
    "forward_pre_hook_on_the_extractor": (
        changed(lambda model: model.policy.features_extractor.register_forward_pre_hook(_hook)),
        "hooks on FlattenExtractor",
    ),
    "forward_pre_hook_beside_the_normaliser": (
        changed(
            lambda model: model.policy.features_extractor.register_forward_pre_hook(_hook), normalize_observations=True
        ),
        "hooks on FlattenExtractor",
    ),
    "backward_hook": (
        changed(lambda model: model.policy.value_net.register_full_backward_hook(_hook)), "hooks on Linear"
    ),
    "hook_on_all_modules": (_register_global(th.nn.modules.module.register_module_forward_hook), "hooks"),
    "hook_on_the_policy": (changed(lambda model: model.policy.register_forward_hook(_hook)), "hooks on ActorCritic"),
    "hook_on_a_parameter": (
        changed(lambda model: model.policy.value_net.weight.register_hook(_hook)), "hooks on parameters"
    ),
    "hook_after_a_parameters_gradient": (
        changed(lambda model: model.policy.value_net.weight.register_post_accumulate_grad_hook(_hook)),
        "hooks on parameters",
    ),
    "hook_on_the_optimiser": (
        changed(lambda model: model.policy.optimizer.register_step_pre_hook(_hook)), "hooks on the optimiser's steps"
    ),
    "hook_on_all_optimisers": (_register_global(register_optimizer_step_post_hook), "hooks"),
    "sgd": (with_policy_kwargs(optimizer_class=th.optim.SGD), "the optimiser SGD"),
    "rmsprop": (with_policy_kwargs(optimizer_class=th.optim.RMSprop), "the optimiser RMSprop"),
    "two_groups": (lambda: make(InTwoGroups), "an optimiser with several parameter groups"),
    "frozen_parameter": (changed(_freeze), "frozen parameters"),
    "unused_parameter": (lambda: make(WithUnused), "a parameter `spare` outside actor and critic"),
    "buffer_with_its_own_get": (lambda: make(rollout_buffer_class=OwnGet), "minibatches of the rollout buffer OwnGet"),
    "double_precision": (changed(lambda model: model.policy.double()), "parameters of torch.float64"),
    "compiled_policy": (changed(_compile_all), "the method `__call__` of OptimizedModule"),
    "compiled_part": (changed(_compile_part), "a OptimizedModule whose forward pass was replaced"),
    "compiled_in_place": (changed(_compile_in_place), "a Linear whose forward pass was replaced"),
    "scheduled_optimiser": (
        changed(lambda model: th.optim.lr_scheduler.StepLR(model.policy.optimizer, 10)),
        "hooks on the optimiser's steps",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NOT_COVERED)
def test_autograd_is_chosen_for_what_the_closed_form_does_not_cover_which_it_names(name: str) -> None:
    build, words = NOT_COVERED[name]
    model, choice = build(), UpdateChoice()
    with pytest.raises(ValueError, match=rf"`update='closed_form'` does not cover .*({words})"):
        choice.choose("closed_form", model.policy, model.rollout_buffer)
    assert isinstance(choice.choose("auto", model.policy, model.rollout_buffer), AutogradUpdate)
    assert choice.description.startswith("autograd update (auto: the closed form does not cover ")


def test_update_is_kept_until_what_it_was_built_for_is_another() -> None:
    model, choice = make(), UpdateChoice()

    def chosen(name: Any = "auto") -> Any:
        return choice.choose(name, model.policy, model.rollout_buffer)

    closed_form = chosen()
    assert chosen() is closed_form
    model.policy.observation_space = copy.deepcopy(model.policy.observation_space)
    assert chosen() is not closed_form
    by_autograd = chosen("autograd")
    assert chosen("autograd") is by_autograd
    assert isinstance(chosen(), ClosedFormUpdate)
    model.policy = make().policy
    assert chosen("autograd").policy is model.policy


def test_users_code_is_looked_at_again_since_it_may_have_changed_its_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    model, choice = make(policy_kwargs={"features_extractor_class": Moody}), UpdateChoice()
    for _ in range(2):  # the first lays the optimiser's state flat, which is a change
        assert isinstance(choice.choose("auto", model.policy, model.rollout_buffer), ClosedFormUpdate)
    monkeypatch.setattr(Moody, "adds_mean", True)  # which no attribute of the policy's parts shows
    assert isinstance(choice.choose("auto", model.policy, model.rollout_buffer), AutogradUpdate)


def test_layer_that_reads_its_input_piece_by_piece_is_not_covered() -> None:
    model = make(
        observation_space=spaces.Box(-1, 1, (2, 3), np.float32),
        policy_kwargs={"features_extractor_class": PieceByPiece},
    )
    with pytest.raises(ValueError, match="a linear layer that reads its input piece by piece"):
        UpdateChoice().choose("closed_form", model.policy, model.rollout_buffer)


def test_model_that_asks_for_a_closed_form_that_there_is_not_is_refused_when_it_is_made() -> None:
    with pytest.raises(ValueError, match=r"`update='closed_form'` does not cover the optimiser SGD.*use update='auto'"):
        make(update="closed_form", policy_kwargs={"optimizer_class": th.optim.SGD})


def test_wrong_name_is_refused_by_the_constructor_and_when_set_later() -> None:
    with pytest.raises(ValueError, match=r"`update` must be one of .*autograd.* got 'fast'"):
        make(update="fast")
    model = make()
    model.update = "fast"
    with pytest.raises(ValueError, match=r"`update` must be one of .*autograd.* got 'fast'"):
        model.learn(16)


UNUSUAL = [
    "custom_forward", "layer_used_twice", "shared_second_layer", "layer_at_two_depths", "tied_matrices",
    "spare_log_std", "deep_heads", "tanh_after_means", "tanh_after_logits", "relu_after_binary_logits",
    "relu_after_logits", "one_std", "fixed_std", "own_entropy", "entropy_per_dimension",
]  # fmt: skip


@pytest.mark.parametrize("name", UNUSUAL)
def test_unusual_networks_learn_what_stock_ppo_learns(name: str) -> None:
    ours = (COVERED[name] if name in COVERED else NOT_COVERED[name][0])().learn(48)
    arguments = {"policy_kwargs": ours.policy_kwargs, "ent_coef": ours.ent_coef, "action_space": ours.action_space}
    stock = make(type(ours.policy), algorithm=PPO, **arguments).learn(48)
    assert_equal_runs(ours, stock)


def test_looking_at_code_that_stores_something_leaves_no_trace() -> None:
    model = make(policy_kwargs={"features_extractor_class": Remembering}, update="autograd")
    model.learn(16)
    last, state = model.policy.features_extractor.last, th.get_rng_state()
    UpdateChoice().choose("auto", model.policy, model.rollout_buffer)
    assert model.policy.features_extractor.last is last
    assert th.equal(th.get_rng_state(), state)


def test_choice_is_copied_and_pickled_as_one_that_has_seen_nothing() -> None:
    model = make().learn(16)
    for choice in (copy.deepcopy(model._update_choice), cloudpickle.loads(cloudpickle.dumps(model._update_choice))):
        assert choice.description == ""
        assert isinstance(choice.choose("auto", model.policy, model.rollout_buffer), ClosedFormUpdate)


# -- interference ------------------------------------------------------------------------------------------------------


class Interfere(BaseCallback):
    """Does something to the model once, at one moment of the second rollout, and keeps a snapshot of the first."""

    def __init__(self, moment: str, change: Callable[[Any, dict[str, Any]], None]) -> None:
        super().__init__()
        self.moment, self.change = moment, change
        self.rollout = self.step = 0
        self.snapshot: dict[str, Any] = {}

    def _interfere_at(self, moment: str) -> None:
        if self.rollout == 2 and self.moment == moment:
            self.change(self.model, self.snapshot)

    def _on_rollout_start(self) -> None:
        self.rollout, self.step = self.rollout + 1, 0
        if self.rollout == 1:
            self.snapshot = copy.deepcopy(self.model.get_parameters())
        self._interfere_at("rollout_start")

    def _on_step(self) -> bool:
        self.step += 1
        if self.step == 3:
            self._interfere_at("mid_rollout")
        return True

    def _on_rollout_end(self) -> None:
        self._interfere_at("rollout_end")


def assert_equal_runs(ours: Any, theirs: Any) -> None:
    our_state, their_state = (
        {name.removeprefix("_orig_mod."): value for name, value in model.policy.state_dict().items()}
        for model in (ours, theirs)
    )
    assert our_state.keys() == their_state.keys()
    for name, value in their_state.items():
        th.testing.assert_close(
            our_state[name], value, rtol=0, atol=BOUND, msg=lambda text, name=name: f"{name}: {text}"
        )


def _replace_policy(model: Any, _: Any) -> None:
    model.policy = type(model.policy)(model.observation_space, model.action_space, model.lr_schedule, net_arch=[4])


def _replace_optimizer(model: Any, _: Any) -> None:
    model.policy.optimizer = th.optim.AdamW(model.policy.parameters(), lr=1e-3, weight_decay=0.1)


def _cloudpickle(model: Any, _: Any) -> None:
    model.policy = cloudpickle.loads(cloudpickle.dumps(model.policy))


def _deepcopy_policy(model: Any, _: Any) -> None:
    free_graph(model.policy)  # what autograd left in the distribution, torch does not copy
    model.policy = copy.deepcopy(model.policy)


def _reload_optimizer(model: Any, snapshot: Any) -> None:
    model.policy.optimizer.load_state_dict(copy.deepcopy(model.policy.optimizer.state_dict()))


def _forget_optimizer(model: Any, snapshot: Any) -> None:
    fresh = th.optim.Adam(model.policy.parameters(), lr=1e-3, eps=1e-5)
    model.policy.optimizer.load_state_dict(fresh.state_dict())


def _reload_policy(model: Any, snapshot: Any) -> None:
    model.policy.load_state_dict(snapshot["policy"])


def _assign_policy(model: Any, snapshot: Any) -> None:
    model.policy.load_state_dict(copy.deepcopy(snapshot["policy"]), assign=True)
    _replace_optimizer(model, snapshot)


def _set_parameters(model: Any, snapshot: Any) -> None:
    model.set_parameters({"policy": snapshot["policy"]}, exact_match=False)


def _set_all_parameters(model: Any, _: Any) -> None:
    model.set_parameters(copy.deepcopy(model.get_parameters()))


def _vector_to_parameters(model: Any, _: Any) -> None:
    parameters = list(model.policy.parameters())
    th.nn.utils.vector_to_parameters(th.nn.utils.parameters_to_vector(parameters).detach() * 0.5, parameters)


def _change_in_place(model: Any, _: Any) -> None:
    with th.no_grad():
        model.policy.action_net.bias.add_(0.3)


def _new_bias(model: Any, _: Any) -> None:
    model.policy.action_net.bias = th.nn.Parameter(model.policy.action_net.bias.detach() + 0.3)


def _new_layer(model: Any, _: Any) -> None:
    model.policy.value_net = th.nn.Linear(model.policy.value_net.in_features, 1)


def _new_layer_with_optimizer(model: Any, _: Any) -> None:
    _new_layer(model, _)
    _replace_optimizer(model, _)


def _to_cpu(model: Any, _: Any) -> None:
    model.policy.to("cpu")


def _to_double_and_back(model: Any, _: Any) -> None:
    model.policy.double().float()


def _share_memory(model: Any, _: Any) -> None:
    model.policy.share_memory()  # as sending it to another process does: everything moves, views included


def _share_memory_of_optimizer(model: Any, _: Any) -> None:
    for state in model.policy.optimizer.state.values():
        for value in state.values():
            value.share_memory_()


def _move_one_parameter(model: Any, _: Any) -> None:
    model.policy.action_net.weight.data = model.policy.action_net.weight.data + 0.1


def _move_some_parameters(model: Any, _: Any) -> None:
    parameters = list(model.policy.mlp_extractor.parameters())
    th.nn.utils.vector_to_parameters(th.nn.utils.parameters_to_vector(parameters).detach() * 0.5, parameters)


def _widen_layers(model: Any, _: Any) -> None:
    for network, head in (("policy_net", "action_net"), ("value_net", "value_net")):
        first, last = getattr(model.policy.mlp_extractor, network)[0], getattr(model.policy, head)
        first.weight = th.nn.Parameter(th.cat([first.weight.detach(), 0.1 * th.ones_like(first.weight)]))
        first.bias = th.nn.Parameter(th.cat([first.bias.detach(), th.zeros_like(first.bias)]))
        last.weight = th.nn.Parameter(th.cat([last.weight.detach(), 0.1 * th.ones_like(last.weight)], dim=1))
    _replace_optimizer(model, _)


def _without_bias(model: Any, _: Any) -> None:
    model.policy.value_net.bias = None
    _replace_optimizer(model, _)


def _tie_matrices(model: Any, _: Any) -> None:
    networks = model.policy.mlp_extractor
    networks.value_net[0].weight = networks.policy_net[0].weight
    _replace_optimizer(model, _)


def _freeze_bias(model: Any, _: Any) -> None:
    model.policy.value_net.bias.requires_grad = False


def _step(model: Any, _: Any) -> None:
    model.policy.optimizer.step()


def _zero_grad(model: Any, _: Any) -> None:
    model.policy.optimizer.zero_grad()


def _clear_state(model: Any, _: Any) -> None:
    model.policy.optimizer.state.clear()


def _change_options(model: Any, _: Any) -> None:
    model.policy.optimizer.param_groups[0].update(betas=(0.5, 0.7), weight_decay=0.1)


def _hook_that_acts(model: Any, _: Any) -> None:
    model.policy.action_net.register_forward_hook(lambda module, inputs, outputs: 0.5 * outputs)


def _hook_on_gradient(model: Any, _: Any) -> None:
    model.policy.action_net.weight.register_hook(lambda gradient: 2 * gradient)


def _compile(model: Any, _: Any) -> None:
    model.policy = th.compile(model.policy, backend="eager")


INTERFERENCES = [
    _replace_policy, _replace_optimizer, _cloudpickle, _deepcopy_policy, _reload_optimizer, _forget_optimizer,
    _reload_policy, _assign_policy, _set_parameters, _set_all_parameters, _vector_to_parameters, _change_in_place,
    _new_bias, _new_layer, _new_layer_with_optimizer, _to_cpu, _to_double_and_back, _freeze_bias, _step, _zero_grad,
    _clear_state, _change_options, _hook_that_acts, _hook_on_gradient, _share_memory, _share_memory_of_optimizer,
    _move_one_parameter, _move_some_parameters, _widen_layers, _without_bias, _tie_matrices,
]  # fmt: skip


# In the middle of a rollout hooks act from the next rollout on (README).
ONLY_BETWEEN_ROLLOUTS = (_hook_that_acts,)


@pytest.mark.parametrize(
    ("change", "moment"),
    [
        pytest.param(change, moment, id=f"{change.__name__[1:]}-{moment}")
        for change in INTERFERENCES
        for moment in ("rollout_start", "mid_rollout", "rollout_end")
        if not (change in ONLY_BETWEEN_ROLLOUTS and moment == "mid_rollout")
    ],
)
def test_run_that_is_interfered_with_goes_on_as_under_autograd(change: Callable[..., None], moment: str) -> None:
    ours, theirs = (
        make(update=update, policy_kwargs={"net_arch": [8]}).learn(4 * 16, callback=Interfere(moment, change))
        for update in ("auto", "autograd")
    )
    assert_equal_runs(ours, theirs)


def test_preprocessing_that_is_changed_acts_at_the_next_choice() -> None:
    model, choice = make(observation_space=spaces.Box(0, 255, (3, 6, 6), np.uint8)), UpdateChoice()
    image = np.full((1, 3, 6, 6), 255, np.uint8)
    for normalize_images, expected in ((True, 1.0), (False, 255.0)):
        model.policy.normalize_images = normalize_images
        update = choice.choose("auto", model.policy, model.rollout_buffer)
        assert isinstance(update, ClosedFormUpdate)
        assert (update.inputs(image) == expected).all()


def test_what_was_found_is_remembered_until_something_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[Any] = []
    look = update_choice.look_at_networks
    monkeypatch.setattr(update_choice, "look_at_networks", lambda *given: looked.append(given) or look(*given))
    model = make()
    model.learn(5 * 16)
    # Before and after the optimiser's state is laid flat, and once in the mode that SB3 switches to while learning.
    assert len(looked) == 3
    model.policy.action_net.note = "something new"
    model.learn(16)
    assert len(looked) == 5


def test_run_goes_on_with_a_policy_compiled_in_between_as_under_autograd() -> None:
    ours, theirs = (
        make(update=update, policy_kwargs={"net_arch": [8]}).learn(3 * 16, callback=Interfere("rollout_end", _compile))
        for update in ("auto", "autograd")
    )
    assert_equal_runs(ours, theirs)


@pytest.mark.parametrize("before", ["frozen_from_the_start", "frozen_in_between"])
def test_parameter_that_is_unfrozen_learns_as_under_autograd(before: str) -> None:
    def run(update: str) -> PPOScratch:
        model = make(update=update, policy_kwargs={"net_arch": [8]})
        if before == "frozen_in_between":
            model.learn(16)
        for value in (False, True):
            model.policy.mlp_extractor.policy_net[0].weight.requires_grad = value
            model.learn(32, reset_num_timesteps=False)
        return model

    assert_equal_runs(run("auto"), run("autograd"))


@pytest.mark.parametrize("order", [("autograd", "closed_form"), ("closed_form", "autograd", "auto")], ids="_".join)
def test_update_changed_in_between_takes_over_the_optimisers_state(order: tuple[str, ...]) -> None:
    def run(updates: tuple[str, ...]) -> tuple[PPOScratch, list[str]]:
        model, said = make(), []
        for update in updates:
            model.update = update
            model.learn(32, reset_num_timesteps=False)
            said.append(model._update_choice.description.split()[0])
        return model, said

    (ours, said), (theirs, _) = run(order), run(("autograd",) * len(order))
    assert said == ["autograd" if update == "autograd" else "closed-form" for update in order]
    assert_equal_runs(ours, theirs)


def test_copy_of_a_model_goes_on_as_under_autograd_and_leaves_the_original_alone() -> None:
    def run(update: str) -> tuple[PPOScratch, PPOScratch]:
        model = make(update=update).learn(32)
        duplicate = copy.deepcopy(model)
        for each in (model, duplicate):
            each.set_random_seed(3)
            each.learn(32, reset_num_timesteps=False)
        return model, duplicate

    (ours, our_copy), (_, their_copy) = run("closed_form"), run("autograd")
    assert_equal_runs(our_copy, their_copy)
    assert_equal_runs(ours, our_copy)
    assert isinstance(our_copy._update_choice, UpdateChoice)
    assert our_copy._update_choice is not ours._update_choice


# -- what others see of the memory -------------------------------------------------------------------------------------


def test_gradients_that_a_callback_reads_after_an_update_are_autograds_clipped_ones() -> None:
    ours, theirs = (make(update=update, n_epochs=1, batch_size=16).learn(16) for update in ("closed_form", "autograd"))
    norm = th.nn.utils.get_total_norm([parameter.grad for parameter in ours.policy.parameters()])
    assert norm.item() == pytest.approx(ours.max_grad_norm, rel=1e-4)
    for (name, one), other in zip(ours.policy.named_parameters(), theirs.policy.parameters(), strict=True):
        th.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-6, msg=name)


def test_state_dicts_have_stocks_names_shapes_and_numbers() -> None:
    ours, stock = make(update="closed_form").learn(48), make(algorithm=PPO).learn(48)
    assert_equal_runs(ours, stock)
    our_state, their_state = ours.policy.optimizer.state_dict(), stock.policy.optimizer.state_dict()
    assert our_state["param_groups"] == their_state["param_groups"]
    assert our_state["state"].keys() == their_state["state"].keys()
    for index, state in their_state["state"].items():
        assert our_state["state"][index].keys() == state.keys()
        for name, value in state.items():
            th.testing.assert_close(our_state["state"][index][name], value, rtol=1e-3, atol=1e-6)


def continued(model: PPOScratch) -> th.Tensor:
    model.set_env(DummyVecEnv([lambda: EndingsEnv(BOX) for _ in range(2)]))
    model.set_random_seed(5)
    model.learn(48, reset_num_timesteps=False)
    return th.nn.utils.parameters_to_vector(model.policy.parameters()).detach()


def test_loaded_model_goes_on_bit_for_bit_as_the_uninterrupted_one(tmp_path: Path) -> None:
    model = make(update="closed_form").learn(48)
    model.save(tmp_path / "model")
    loaded = PPOScratch.load(tmp_path / "model", env=model.get_env())
    assert loaded.update == "closed_form"
    assert th.equal(continued(loaded), continued(model))


@pytest.mark.parametrize("update", ["auto", "closed_form"])
@pytest.mark.parametrize("timesteps", [0, 48], ids=["untrained", "trained"])
def test_saved_file_is_hardly_larger_than_stocks_and_opens_there(tmp_path: Path, update: str, timesteps: int) -> None:
    models = {"ours": make(update=update), "stock": make(algorithm=PPO)}
    for name, model in models.items():
        if timesteps:
            model.learn(timesteps)
        model.save(tmp_path / name)
    sizes = {name: (tmp_path / f"{name}.zip").stat().st_size for name in models}
    assert sizes["ours"] <= 1.02 * sizes["stock"]
    opened = PPO.load(tmp_path / "ours", env=models["stock"].get_env())
    assert_equal_runs(opened, models["ours"])
    states = (m.policy.optimizer.state_dict()["state"] for m in (opened, models["ours"]))
    for one, other in zip(*(state.values() for state in states), strict=True):
        for name, value in other.items():
            assert th.equal(one[name], value), name
    opened.learn(16)


def test_tensors_in_the_file_share_no_memory_that_the_file_does_not_need(tmp_path: Path) -> None:
    model, stock = make(update="closed_form").learn(16), make(algorithm=PPO).learn(16)
    model.save(tmp_path / "model")
    stock.save(tmp_path / "stock")
    for name in ("policy.pth", "policy.optimizer.pth"):
        sizes = []
        for file in ("model.zip", "stock.zip"):
            with zipfile.ZipFile(tmp_path / file) as archive:
                sizes.append(sum(entry.file_size for entry in zipfile.ZipFile(io.BytesIO(archive.read(name))).filelist))
        assert sizes[0] <= 1.02 * sizes[1], name


# -- what is said ------------------------------------------------------------------------------------------------------


def lines_about_updates(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capsys.readouterr().out.splitlines() if "update (" in line]


def test_verbose_model_says_once_which_update_and_why_and_again_when_it_changes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = make(verbose=1)
    assert lines_about_updates(capsys) == ["Using the closed-form update (auto: an MLP on the CPU)"]
    model.learn(48)
    assert lines_about_updates(capsys) == []
    model.policy.value_net.bias.requires_grad = False
    model.learn(32)
    assert lines_about_updates(capsys) == [
        "Using the autograd update (auto: the closed form does not cover frozen parameters)"
    ]
    model.update = "autograd"
    model.learn(32)
    assert lines_about_updates(capsys) == ["Using the autograd update (as asked for)"]


def test_silent_model_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    model = make(verbose=0, update="closed_form").learn(32)
    model.update = "autograd"
    model.learn(32)
    assert capsys.readouterr().out == ""
