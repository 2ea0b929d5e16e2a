"""Finds out, by tracing its forward pass, whether a policy's networks are MLPs, and which.

What is here: from a policy to the shape that `mlp.py` works with. What is not: everything else that the closed form
needs of a policy (`update_choice.py`).

torch.fx runs the networks' own code on a stand-in for the observations and records what is done with it. So what counts
is what a network does, not what its class is called: custom features extractors and SB3's own are treated alike.
"""

import operator
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch as th
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.preprocessing import get_flattened_obs_dim
from torch import fx

from sb3_ppo_scratch.updates.kernels import Activation
from sb3_ppo_scratch.updates.mlp import ActorCriticShape, LayerShape
from sb3_ppo_scratch.updates.no_values import NoValues
from sb3_ppo_scratch.updates.update import NotCoveredError

ACTIVATIONS: dict[Any, Activation] = {
    th.nn.Tanh: "tanh",
    th.tanh: "tanh",
    th.nn.functional.tanh: "tanh",
    "tanh": "tanh",
    th.nn.ReLU: "relu",
    th.relu: "relu",
    th.nn.functional.relu: "relu",
    "relu": "relu",
}
"""By module, function or method of a tensor."""
FLATTENING = (th.nn.Flatten, th.flatten, "flatten")


class TracedNetworks(NamedTuple):
    """What tracing has found."""

    shape: ActorCriticShape
    groups: list[list[int]]
    """`shape.parameter_groups()`, computed once."""
    normalizer: th.nn.Module | None
    """What the observations go through before they are flattened, if there is such a thing."""


class _Networks(th.nn.Module):
    """From preprocessed observations to the outputs of actor and critic, by the policy's own modules."""

    def __init__(self, policy: ActorCriticPolicy) -> None:
        super().__init__()
        self.policy = policy

    def forward(self, observations: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        """Compute them, shapes (batch, n_outputs) and (batch, 1), for observations of shape (batch, *shape)."""
        policy = self.policy
        if policy.share_features_extractor:
            latent_pi, latent_vf = policy.mlp_extractor(policy.features_extractor(observations))
        else:
            latent_pi = policy.mlp_extractor.forward_actor(policy.pi_features_extractor(observations))
            latent_vf = policy.mlp_extractor.forward_critic(policy.vf_features_extractor(observations))
        return policy.action_net(latent_pi), policy.value_net(latent_vf)


class _Tracer(fx.Tracer):
    """Records calls of torch's own modules, and of those that are to be seen as a whole."""

    def __init__(self, *opaque: type[th.nn.Module]) -> None:
        super().__init__()
        self._opaque = opaque

    def is_leaf_module(self, m: th.nn.Module, module_qualified_name: str) -> bool:
        """Tell whether a module is recorded as one call rather than looked into."""
        return isinstance(m, self._opaque) or super().is_leaf_module(m, module_qualified_name)


def trace_networks(policy: ActorCriticPolicy, normalizer_class: type[th.nn.Module]) -> TracedNetworks:
    """Read a policy's layers off its forward pass.

    Args:
        policy: The policy.
        normalizer_class: Of the module that may stand before everything else.

    Returns:
        Both networks, parameters named by their position in `policy.parameters()`, and the normaliser.

    Raises:
        NotCoveredError: If they do anything that an MLP of Tanh or ReLU layers does not.
    """
    root = _Networks(policy)
    with _without_side_effects(policy), th.random.fork_rng(devices=[]):
        try:
            graph = _Tracer(normalizer_class, NoValues).trace(root)
        except Exception as error:  # whatever a network's own code raises on a stand-in for a tensor
            raise NotCoveredError(f"networks whose code cannot be traced ({error})") from error
    outputs = next(node for node in graph.nodes if node.op == "output").args[0]
    networks = [list(_operations_until(node, root)) for node in outputs]
    if networks[1] and isinstance(networks[1][-1], NoValues):
        networks[1] = []
    normalizer = _shared_normalizer([network for network in networks if network], normalizer_class)
    positions = {id(parameter): position for position, parameter in enumerate(policy.parameters())}
    actor, critic = (_layers([step for step in steps if step is not normalizer], positions) for steps in networks)
    _check_layers(actor, critic, get_flattened_obs_dim(policy.observation_space))
    shape = ActorCriticShape(actor, critic)
    return TracedNetworks(shape, shape.parameter_groups(), normalizer)


@contextmanager
def _without_side_effects(policy: ActorCriticPolicy) -> Iterator[None]:
    """Undo what the code of a policy's modules stores in them inside the block.

    Yields:
        Nothing.

    Raises:
        NotCoveredError: If it has stored anything: somebody may want to read it.
    """
    before = [(module, dict(vars(module))) for module in policy.modules()]
    changed = []
    try:
        yield
    finally:
        for module, attributes in before:
            if not _are_the_same(vars(module), attributes):
                changed.append(module)
                vars(module).clear()
                vars(module).update(attributes)
    if changed:
        raise NotCoveredError(f"a {type(changed[0]).__name__} whose forward pass stores something")


def _are_the_same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Tell whether two dictionaries have the same keys and the very same values."""
    return one.keys() == other.keys() and all(value is other[name] for name, value in one.items())


def _shared_normalizer(networks: Sequence[Sequence[Any]], normalizer_class: type[th.nn.Module]) -> th.nn.Module | None:
    """Find the normaliser that every network begins with.

    Args:
        networks: What happens to the observations in each of them.
        normalizer_class: The normaliser's class.

    Returns:
        The normaliser; None if there is none at all.

    Raises:
        NotCoveredError: If it stands elsewhere, or not in all of them.
    """
    found = [[each for each in enumerate(steps) if isinstance(each[1], normalizer_class)] for steps in networks]
    if not any(found):
        return None
    normalizer: th.nn.Module = networks[0][0]
    if any(places != [(0, normalizer)] for places in found):
        raise NotCoveredError("actor and critic that normalise observations differently")
    return normalizer


def _check_layers(actor: tuple[LayerShape, ...], critic: tuple[LayerShape, ...], n_inputs: int) -> None:
    """Refuse layers that do not follow one another as in MLPs with or without shared first layers.

    Args:
        actor: From the input on.
        critic: From the input on; empty if there is none.
        n_inputs: Size of one flattened observation.

    Raises:
        NotCoveredError: If there are such.
    """
    for network in (actor, critic):
        sizes = [n_inputs, *(layer.n_outputs for layer in network)]
        if [layer.n_inputs for layer in network] != sizes[: len(network)]:
            raise NotCoveredError("a linear layer that reads its input piece by piece")
    are_shared = list(map(operator.eq, actor, critic))
    if critic and all(are_shared):
        raise NotCoveredError("one network that goes on where the other ends")
    n_shared = [*are_shared, False].index(False)
    used = [position for layer in actor + critic[n_shared:] for position in (layer.weight, layer.bias)]
    if len(set(used)) != len(used):
        raise NotCoveredError("a layer that is used at several places")


def _operations_until(node: fx.Node, root: th.nn.Module) -> Iterator[Any]:
    """List what happens to the observations on their way to a node of the graph.

    Args:
        node: Where to end.
        root: The module that was traced.

    Yields:
        Linear layers and normalisers as they are; activations by name; nothing for flattening.

    Raises:
        NotCoveredError: If anything else happens.
    """
    if node.op == "placeholder":
        return
    sources = node.all_input_nodes
    if len(sources) != 1:
        raise NotCoveredError(f"the operation {node.format_node()}")
    yield from _operations_until(sources[0], root)
    module = root.get_submodule(str(node.target)) if node.op == "call_module" else None
    kind: Any = node.target if module is None else type(module)
    if kind in ACTIVATIONS:
        yield ACTIVATIONS[kind]
    elif kind in FLATTENING:
        if _flattened_dimensions(node, module) != (1, -1):
            raise NotCoveredError(f"the operation {node.format_node()}")
    elif module is not None and (kind is th.nn.Linear or not kind.__module__.startswith("torch.")):
        yield module
    elif kind is not th.nn.Identity:
        raise NotCoveredError(f"the operation {kind if module is None else module}")


def _flattened_dimensions(node: fx.Node, module: th.nn.Module | None) -> tuple[Any, Any]:
    """Tell from which to which dimension something flattens."""
    if isinstance(module, th.nn.Flatten):
        return module.start_dim, module.end_dim
    return _dimensions_of_flatten(*node.args, **node.kwargs)


def _dimensions_of_flatten(input: Any, start_dim: Any = 0, end_dim: Any = -1) -> tuple[Any, Any]:  # noqa: A002, ARG001
    """Pick the dimensions out of the arguments of `torch.flatten`, whose signature this is."""
    return start_dim, end_dim


def _layers(operations: Sequence[Any], positions: dict[int, int]) -> tuple[LayerShape, ...]:
    """Combine linear layers with the activations that follow them.

    Args:
        operations: Linear layers and names of activations, from the input on.
        positions: The position of each of the policy's parameters, by id.

    Returns:
        The layers.

    Raises:
        NotCoveredError: If an activation does not follow a linear layer, or a layer has no bias.
    """
    layers: list[LayerShape] = []
    for operation in operations:
        if isinstance(operation, th.nn.Linear):
            if operation.bias is None:
                raise NotCoveredError("a layer without bias")
            places = positions[id(operation.weight)], positions[id(operation.bias)]
            n_outputs, n_inputs = operation.weight.shape
            layers.append(LayerShape(n_inputs, n_outputs, None, *places))
        elif not layers or layers[-1].activation is not None:
            raise NotCoveredError(f"{operation} that does not follow a linear layer")
        else:
            layers[-1] = layers[-1]._replace(activation=operation)
    return tuple(layers)
