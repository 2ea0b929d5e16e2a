"""Tests of `updates/mlp.py`: forward pass and chain rule against torch modules, in float64."""

import tracemalloc
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch as th

from sb3_ppo_scratch.updates import kernels
from sb3_ppo_scratch.updates.flat_memory import FlatParameters
from sb3_ppo_scratch.updates.kernels import Activation
from sb3_ppo_scratch.updates.mlp import ActorCriticMlp, ActorCriticShape, LayerShape
from tests.updates.reference import use_kernels_of

MODULES: dict[Activation | None, type[th.nn.Module]] = {
    "tanh": th.nn.Tanh,
    "relu": th.nn.ReLU,
    None: th.nn.Identity,
}


class Reference:
    """The same networks of torch's layers, and the flat memory that they say the closed form should have."""

    def __init__(
        self,
        n_inputs: int,
        shared: Sequence[tuple[int, Activation | None]] = (),
        actor: Sequence[tuple[int, Activation | None]] = ((2, None),),
        critic: Sequence[tuple[int, Activation | None]] = ((1, None),),
    ) -> None:
        th.manual_seed(0)
        self.linears: list[th.nn.Linear] = []
        first, width = self._chain(n_inputs, shared)
        pi, _ = self._chain(width, actor)
        vf, _ = self._chain(width, critic)
        self.shape = ActorCriticShape((*first, *pi), (*first, *vf))
        parameters = [p for linear in self.linears for p in (linear.weight, linear.bias)]
        self.groups = [[parameters[position] for position in group] for group in self.shape.parameter_groups()]
        self.memory = FlatParameters(self.groups)
        self.values, self.gradient = self.memory.values.numpy(), self.memory.gradient.numpy()
        self.gradient[:] = np.nan  # what is not written is noticed

    def _chain(self, width: int, layers: Sequence[tuple[int, Activation | None]]) -> tuple[list[LayerShape], int]:
        shapes = []
        for n_outputs, activation in layers:
            position = 2 * len(self.linears)
            self.linears.append(th.nn.Linear(width, n_outputs).double())
            shapes.append(LayerShape(width, n_outputs, activation, position, position + 1))
            width = n_outputs
        return shapes, width

    def outputs(self, inputs: np.ndarray) -> list[th.Tensor]:
        """The actor's and the critic's, by torch, shapes (n_outputs, batch)."""
        results = []
        for network in self.shape:
            hidden = th.as_tensor(inputs.T)
            for layer in network:
                hidden = MODULES[layer.activation]()(self.linears[layer.weight // 2](hidden))
            results.append(hidden.T)
        return results


SHAPES = {
    "linear": {},
    "separate": {"actor": [(4, "tanh"), (2, None)], "critic": [(3, "tanh"), (1, None)]},
    "actor_deeper": {"actor": [(4, "tanh"), (3, "relu"), (2, None)]},
    "critic_deeper": {"critic": [(4, "relu"), (3, "relu"), (5, "tanh"), (1, None)]},
    "shared": {"shared": [(4, "tanh")], "actor": [(3, "tanh"), (2, None)], "critic": [(3, "relu"), (1, None)]},
    "shared_then_heads": {"shared": [(4, "relu"), (3, "tanh")]},
    "no_activation_between": {"shared": [(4, None)], "actor": [(3, None), (2, None)]},
}


@pytest.fixture(params=["numpy", "torch"])
def library(request: pytest.FixtureRequest) -> Iterator[None]:
    with use_kernels_of(request.param):
        yield


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("batch", [1, 7])
@pytest.mark.usefixtures("library")
def test_outputs_and_gradients_equal_torchs(name: str, batch: int) -> None:
    reference = Reference(3, **SHAPES[name])
    rng = np.random.default_rng(1)
    inputs = rng.normal(size=(3, batch))
    network = ActorCriticMlp(reference.shape, reference.values, reference.gradient)
    network.forward(rng.normal(size=(3, batch)))  # other inputs before
    expected = reference.outputs(inputs)
    for ours, theirs in zip(network.forward(inputs), expected, strict=True):
        np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-12, atol=1e-12)
    derivatives = [rng.normal(size=part.shape) for part in expected]
    th.autograd.backward(expected, [th.as_tensor(part) for part in derivatives])
    for place, derivative in zip(network.output_gradients(), derivatives, strict=True):
        place[:] = derivative
    network.backward()
    by_hand = reference.memory.views_of(reference.memory.gradient)
    for parameter, derivative in zip(reference.memory.parameters, by_hand, strict=True):
        th.testing.assert_close(derivative, parameter.grad, rtol=1e-11, atol=1e-12)


def test_parameters_are_grouped_level_by_level_first_weights_then_biases_and_shared_layers_once() -> None:
    reference = Reference(3, shared=[(4, "tanh")], actor=[(3, "tanh"), (2, None)], critic=[(1, None)])
    # Layers in the order of `Reference`: shared 0/1, actor 2/3 and 4/5, critic 6/7.
    assert reference.shape.parameter_groups() == [[0], [1], [2, 6], [3, 7], [4], [5]]
    separate = Reference(3, actor=[(4, "tanh"), (2, None)], critic=[(3, "tanh"), (1, None)])
    assert separate.shape.parameter_groups() == [[0, 4], [1, 5], [2], [6], [3, 7]]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_without_a_critic_values_are_zeros_and_their_derivatives_have_a_place(dtype: Any) -> None:
    shape = ActorCriticShape((LayerShape(3, 2, None, 0, 1),), ())
    network = ActorCriticMlp(shape, np.ones(18, dtype), np.zeros(18, dtype))
    actor, critic = network.forward(np.ones((3, 5), dtype))
    assert (critic.tolist(), critic.dtype) == ([[0.0] * 5], dtype)
    places = network.output_gradients()
    assert [place.shape for place in places] == [(2, 5), (1, 5)]
    assert {place.dtype for place in (actor, *places)} == {np.dtype(dtype)}


def test_a_change_of_the_memory_acts_at_once() -> None:
    reference = Reference(3)
    network = ActorCriticMlp(reference.shape, reference.values, reference.gradient)
    reference.values[:] = 0.0
    reference.values[-3:] = [5.0, 6.0, 7.0]  # the biases: two of the actor, one of the critic
    actor, critic = network.forward(np.ones((3, 1)))
    assert [*actor.ravel(), *critic.ravel()] == [5.0, 6.0, 7.0]


def test_forward_leaves_its_inputs_alone_also_after_backward() -> None:
    reference = Reference(3, actor=[(4, "tanh"), (2, None)])
    network = ActorCriticMlp(reference.shape, reference.values, reference.gradient)
    inputs = np.random.default_rng(0).normal(size=(3, 5))
    before = inputs.copy()
    network.forward(inputs)
    for place in network.output_gradients():
        place[:] = 1.0
    network.backward()
    np.testing.assert_array_equal(inputs, before)


def test_relu_at_zero_has_derivative_zero_as_torchs() -> None:
    reference = Reference(1, shared=[(1, "relu")], actor=[(1, None)])
    reference.values[:] = 0.0
    network = ActorCriticMlp(reference.shape, reference.values, reference.gradient)
    network.forward(np.ones((1, 1)))
    for place in network.output_gradients():
        place[:] = 1.0
    network.backward()
    first = reference.memory.views_of(reference.memory.gradient)[:2]
    assert [derivative.item() for derivative in first] == [0.0, 0.0]


def test_memory_for_a_batch_size_is_kept_while_others_come_and_go() -> None:
    reference = Reference(3)
    network = ActorCriticMlp(reference.shape, reference.values, reference.gradient)
    place = network.input_memory(5)
    assert network.input_memory(4) is not place
    assert network.input_memory(5) is place


def test_memory_kept_for_many_batch_sizes_stays_within_a_few_times_what_the_largest_needs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # While acting, the number of episodes cut at one step is any number up to that of the environments.
    monkeypatch.setattr(kernels, "empty", np.empty)  # of which tracemalloc knows
    reference = Reference(4, shared=[(64, "tanh"), (64, "tanh")])
    network = ActorCriticMlp(reference.shape, reference.values, reference.gradient)

    def kept_after(sizes: range) -> int:
        tracemalloc.start()
        for size in sizes:
            network.forward(np.zeros((4, size)))
        kept, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return kept

    assert kept_after(range(1, 300)) < 20 * kept_after(range(300, 301))
