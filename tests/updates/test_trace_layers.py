"""Tests of `updates/trace_layers.py`: what is recognised as an MLP, and that what is recognised computes the same."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch.nn import functional

from sb3_ppo_scratch.observation_normalizer import ObservationNormalizer, attach_observation_normalizer
from sb3_ppo_scratch.updates.flat_memory import FlatParameters
from sb3_ppo_scratch.updates.mlp import ActorCriticMlp
from sb3_ppo_scratch.updates.no_values import NoValues
from sb3_ppo_scratch.updates.trace_layers import TracedNetworks, trace_networks
from sb3_ppo_scratch.updates.update import NotCoveredError

SPACE = spaces.Box(-np.inf, np.inf, (3,), np.float32)
Forward = Callable[[th.nn.Linear, th.Tensor], Any]


class Extractor(BaseFeaturesExtractor):
    """One linear layer of as many outputs as inputs, and any code around it."""

    def __init__(self, observation_space: spaces.Box, code: Forward, bias: bool = True) -> None:
        width = int(np.prod(observation_space.shape))
        super().__init__(observation_space, features_dim=width)
        self.linear, self.code = th.nn.Linear(width, width, bias=bias), code

    def forward(self, observations: th.Tensor) -> th.Tensor:
        return self.code(self.linear, observations)


class ModuleExtractor(BaseFeaturesExtractor):
    """Any modules in a row."""

    def __init__(self, observation_space: spaces.Box, make: Callable[[], list[th.nn.Module]]) -> None:
        super().__init__(observation_space, features_dim=3)
        self.layers = th.nn.Sequential(*make())

    def forward(self, observations: th.Tensor) -> th.Tensor:
        return self.layers(observations)


def policy_with(code: Forward, space: spaces.Box = SPACE, **extractor_arguments: Any) -> ActorCriticPolicy:
    return policy_of(
        space, features_extractor_class=Extractor, features_extractor_kwargs={"code": code, **extractor_arguments}
    )


def policy_of(space: spaces.Space[Any] = SPACE, **arguments: Any) -> ActorCriticPolicy:
    th.manual_seed(0)
    return ActorCriticPolicy(space, spaces.Discrete(2), lambda _: 1e-3, **{"net_arch": [4], **arguments})


def traced(policy: ActorCriticPolicy) -> TracedNetworks:
    return trace_networks(policy, ObservationNormalizer)


def outputs_by_closed_form(policy: ActorCriticPolicy, networks: TracedNetworks, inputs: np.ndarray) -> list[np.ndarray]:
    parameters = list(policy.parameters())
    flat = FlatParameters([[parameters[position] for position in group] for group in networks.groups])
    return list(ActorCriticMlp(networks.shape, flat.values.numpy(), flat.gradient.numpy()).forward(inputs))


def outputs_by_torch(policy: ActorCriticPolicy, observations: th.Tensor) -> Iterator[np.ndarray]:
    with th.no_grad():
        yield policy.get_distribution(observations).distribution.logits.numpy().T
        yield policy.predict_values(observations).numpy().T


COVERED: dict[str, Forward] = {
    "module_call": lambda linear, x: linear(x),
    "torch_tanh": lambda linear, x: th.tanh(linear(x)),
    "functional_tanh": lambda linear, x: functional.tanh(linear(x)),
    "method_tanh": lambda linear, x: linear(x).tanh(),
    "torch_relu": lambda linear, x: th.relu(linear(x)),
    "functional_relu": lambda linear, x: functional.relu(linear(x)),
    "method_relu": lambda linear, x: linear(x).relu(),
    "flatten_before": lambda linear, x: linear(x.flatten(1)),
    "flatten_with_both_dimensions": lambda linear, x: linear(x.flatten(1, -1)),
    "flatten_by_keyword": lambda linear, x: linear(th.flatten(x, start_dim=1)),
    "no_layer_at_all": lambda linear, x: x.flatten(start_dim=1, end_dim=-1),
}


@pytest.mark.parametrize("name", [name for name in COVERED if name != "no_layer_at_all"])
def test_custom_extractor_that_is_an_mlp_is_recognised_and_computes_the_same(name: str) -> None:
    policy = policy_with(COVERED[name])
    observations = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    ours = outputs_by_closed_form(policy, traced(policy), observations.T.copy())
    theirs = list(outputs_by_torch(policy, th.as_tensor(observations)))
    ours[0] = ours[0] - np.log(np.exp(ours[0]).sum(axis=0))  # SB3 gives normalised logits
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("share", [True, False], ids=["shared", "separate"])
def test_shared_extractor_is_one_layer_and_separate_ones_are_two(share: bool) -> None:
    shape = traced(policy_with(COVERED["torch_tanh"]) if share else policy_of(
        features_extractor_class=Extractor, features_extractor_kwargs={"code": COVERED["torch_tanh"]},
        share_features_extractor=False,
    )).shape  # fmt: skip
    assert (shape.actor[0] == shape.critic[0]) is share
    assert [layer.activation for layer in shape.actor] == ["tanh", "tanh", None]
    assert len(shape.levels()[0]) == (1 if share else 2)


@pytest.mark.parametrize(
    ("net_arch", "actor", "critic"),
    [
        ([], [2], [1]),
        ([5], [5, 2], [5, 1]),
        ({"pi": [], "vf": [6, 7]}, [2], [6, 7, 1]),
        ({"pi": [8, 4], "vf": []}, [8, 4, 2], [1]),
    ],
    ids=["linear", "one_layer", "critic_only", "actor_only"],
)
def test_widths_of_sb3s_own_networks_are_found(net_arch: Any, actor: list[int], critic: list[int]) -> None:
    shape = traced(policy_of(net_arch=net_arch)).shape
    assert [layer.n_outputs for layer in shape.actor] == actor
    assert [layer.n_outputs for layer in shape.critic] == critic
    assert shape.actor[0].n_inputs == shape.critic[0].n_inputs == 3


def test_positions_are_those_of_the_policys_parameters() -> None:
    policy = policy_of(net_arch={"pi": [5], "vf": [6]})
    parameters = list(policy.parameters())
    for layer in (*traced(policy).shape.actor, *traced(policy).shape.critic):
        assert parameters[layer.weight].shape == (layer.n_outputs, layer.n_inputs)
        assert parameters[layer.bias].shape == (layer.n_outputs,)


@pytest.mark.parametrize("share", [True, False], ids=["shared", "separate"])
def test_normaliser_before_everything_is_recognised(share: bool) -> None:
    policy = policy_of(share_features_extractor=share)
    assert traced(policy).normalizer is None
    normalizer = attach_observation_normalizer(policy)
    assert traced(policy).normalizer is normalizer
    assert len(traced(policy).shape.actor) == 2


def test_normaliser_of_an_actor_without_critic_is_recognised() -> None:
    policy = policy_of(net_arch={"pi": [4], "vf": []})
    policy.value_net = NoValues()
    normalizer = attach_observation_normalizer(policy)
    networks = traced(policy)
    assert networks.normalizer is normalizer
    assert (len(networks.shape.actor), networks.shape.critic) == (2, ())


def test_normaliser_of_one_network_only_is_refused() -> None:
    policy = policy_of(share_features_extractor=False)
    normalizer = ObservationNormalizer((3,))
    policy.add_module("observation_normalizer", normalizer)
    policy.vf_features_extractor.register_forward_pre_hook(normalizer.before_features)
    with pytest.raises(NotCoveredError, match="normalise observations differently"):
        traced(policy)


def test_tracing_changes_neither_parameters_nor_random_state() -> None:
    policy = policy_of()
    before, state = [p.detach().clone() for p in policy.parameters()], th.get_rng_state()
    traced(policy)
    assert all(th.equal(now, then) for now, then in zip(policy.parameters(), before, strict=True))
    assert th.equal(th.get_rng_state(), state)
    assert policy(th.zeros(1, 3))[0].shape == (1,)


def test_tracing_leaves_the_random_state_of_gpus_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(th.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(th.cuda, "get_rng_state", lambda *_: pytest.fail("a GPU was asked for its random state"))
    assert traced(policy_of()) is not None


def _data_dependent(linear: th.nn.Linear, x: th.Tensor) -> th.Tensor:
    return linear(x) if x.sum() > 0 else -linear(x)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        pytest.param(lambda linear, x: linear(x) + x, "add", id="residual"),
        pytest.param(lambda linear, x: linear(x) * 2, "mul", id="scaled"),
        pytest.param(lambda linear, x: functional.elu(linear(x)), "elu", id="elu"),
        pytest.param(lambda linear, x: functional.dropout(linear(x)), "dropout", id="functional_dropout"),
        pytest.param(lambda linear, x: functional.linear(x, linear.weight, linear.bias), "linear", id="raw_linear"),
        pytest.param(lambda linear, x: linear(x.float()), "float", id="cast"),
        pytest.param(lambda linear, x: linear(x[:, [2, 1, 0]]), "getitem", id="permuted_inputs"),
        pytest.param(lambda linear, x: linear(x.flatten(0)), "flatten", id="flattened_batch"),
        pytest.param(lambda linear, x: linear(th.flatten(x)), "flatten", id="flattened_all"),
        pytest.param(lambda linear, x: linear(x.flatten(1, 1)), "flatten", id="flattened_to_a_dimension"),
        pytest.param(lambda linear, x: linear(x.flatten(start_dim=1, end_dim=1)), "flatten", id="flattened_to_named"),
        pytest.param(lambda linear, x: linear(x).detach(), "detach", id="detached"),
        pytest.param(lambda linear, x: th.tanh(x), "tanh that does not follow a linear layer", id="tanh_first"),
        pytest.param(lambda linear, x: th.relu(th.tanh(linear(x))), "relu that does not follow", id="two_activations"),
        pytest.param(_data_dependent, "cannot be traced", id="data_dependent"),
        pytest.param(lambda linear, x: linear(th.as_tensor(x.numpy())), "the operation|cannot be traced", id="numpy"),
    ],
)
def test_code_that_is_no_mlp_is_refused_by_name(code: Forward, words: str) -> None:
    with pytest.raises(NotCoveredError, match=words):
        traced(policy_with(code))


class LinearOfAUser(th.nn.Linear):
    """Does more than torch's."""

    def forward(self, inputs: th.Tensor) -> th.Tensor:
        return 2 * super().forward(inputs)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        pytest.param(lambda: [th.nn.Linear(3, 3), th.nn.LayerNorm(3)], "LayerNorm", id="layer_norm"),
        pytest.param(lambda: [th.nn.Linear(3, 3), th.nn.Dropout(0.1)], "Dropout", id="dropout"),
        pytest.param(lambda: [th.nn.Linear(3, 3), th.nn.ELU()], "ELU", id="elu"),
        pytest.param(lambda: [th.nn.Linear(3, 3), th.nn.LeakyReLU()], "LeakyReLU", id="leaky_relu"),
        pytest.param(lambda: [th.nn.Linear(3, 3, bias=False)], "a layer without bias", id="no_bias"),
        pytest.param(lambda: [LinearOfAUser(3, 3)], "the operation", id="subclass_of_linear"),
        pytest.param(
            lambda: [th.nn.utils.parametrizations.weight_norm(th.nn.Linear(3, 3))], "Parametrized", id="weight_norm"
        ),
        pytest.param(
            lambda: [th.nn.Flatten(0), th.nn.Linear(3, 3)], r"the operation .*layers\.0", id="flattened_batch"
        ),
        pytest.param(lambda: [th.nn.Bilinear(3, 3, 3)], "the operation|cannot be traced", id="bilinear"),
    ],
)
def test_modules_that_are_no_mlp_are_refused_by_name(make: Callable[[], list[th.nn.Module]], words: str) -> None:
    policy = policy_of(features_extractor_class=ModuleExtractor, features_extractor_kwargs={"make": make})
    with pytest.raises(NotCoveredError, match=words):
        traced(policy)


def test_image_is_flattened_in_torchs_order() -> None:
    space = spaces.Box(-np.inf, np.inf, (2, 3), np.float32)
    policy = policy_with(lambda linear, x: linear(x.flatten(1)), space)
    observations = np.random.default_rng(0).normal(size=(4, 2, 3)).astype(np.float32)
    _, values = outputs_by_closed_form(policy, traced(policy), observations.reshape(4, 6).T.copy())
    with th.no_grad():
        np.testing.assert_allclose(values.T, policy.predict_values(th.as_tensor(observations)), rtol=1e-5, atol=1e-6)
