"""From a policy whose networks are known to its closed-form update.

What is here: how the parameters lie in memory, which head an action space has, and what both ask of a policy. What is
not: tracing its networks (`trace_layers.py`), and whether the closed form is chosen (`update_choice.py`).
"""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.distributions import BernoulliDistribution, DiagGaussianDistribution
from stable_baselines3.common.policies import ActorCriticPolicy

from sb3_ppo_scratch.updates.closed_form import ClosedFormObjective, ClosedFormUpdate
from sb3_ppo_scratch.updates.flat_memory import FlatMemory
from sb3_ppo_scratch.updates.heads import BernoulliHead, CategoricalHead, GaussianHead, Head
from sb3_ppo_scratch.updates.kernels import Array
from sb3_ppo_scratch.updates.mlp import ActorCriticMlp, ActorCriticShape
from sb3_ppo_scratch.updates.network_inputs import NetworkInputs
from sb3_ppo_scratch.updates.trace_layers import TracedNetworks
from sb3_ppo_scratch.updates.update import NotCoveredError


def check_head(policy: ActorCriticPolicy, networks: TracedNetworks) -> None:
    """Check that the actor's outputs are what the action distribution's parameters are made of.

    Args:
        policy: The policy.
        networks: Its networks.

    Raises:
        NotCoveredError: If there is something between them, or a Gaussian's deviations are made otherwise.
    """
    last = networks.shape.actor[-1]
    if isinstance(policy.action_dist, DiagGaussianDistribution):
        log_std = policy.log_std
        if not isinstance(log_std, th.nn.Parameter) or policy._parameters.get("log_std") is not log_std:
            raise NotCoveredError("a log_std that is no parameter of the policy")
        if log_std.shape != (last.n_outputs,):
            raise NotCoveredError(f"a log_std of shape {tuple(log_std.shape)}")
    elif last.activation is not None and not isinstance(policy.action_dist, BernoulliDistribution):
        raise NotCoveredError("an activation between the actor's last layer and its logits")


def group_parameters(
    policy: ActorCriticPolicy, modules: Sequence[th.nn.Module], networks: TracedNetworks
) -> list[list[th.nn.Parameter]]:
    """Order a policy's parameters as the closed form wants them in memory.

    Args:
        policy: The policy.
        modules: It and all its parts, in the order of `policy.modules()`.
        networks: Its networks.

    Returns:
        The networks' parameters, in groups as for `FlatParameters`, then a Gaussian's log std.

    Raises:
        NotCoveredError: If there are others, or they are not float32 on the CPU, or have hooks.
    """
    # As `policy.parameters()`, but five times as fast.
    named = {id(p): (name, p) for module in modules for name, p in module._parameters.items() if p is not None}
    names, parameters = zip(*named.values(), strict=True)
    groups = networks.groups
    if type(policy.action_dist) is DiagGaussianDistribution:
        groups = [*groups, [list(named).index(id(policy.log_std))]]
    if sum(map(len, groups)) != len(parameters):
        others = [name for position, name in enumerate(names) if position not in set(itertools.chain(*groups))]
        raise NotCoveredError(f"a parameter `{others[0]}` outside actor and critic")
    for parameter in parameters:
        _check_parameter(parameter)
    return [[parameters[position] for position in group] for group in groups]


def _check_parameter(parameter: th.nn.Parameter) -> None:
    """Refuse a parameter that NumPy cannot work on, or whose gradient something else looks at.

    Args:
        parameter: Any shape.

    Raises:
        NotCoveredError: If it is one.
    """
    if parameter.dtype != th.float32 or not parameter.is_cpu:
        raise NotCoveredError(f"parameters of {parameter.dtype} on the device {parameter.device}")
    if parameter._backward_hooks or parameter._post_accumulate_grad_hooks:
        raise NotCoveredError("hooks on parameters")


def build_closed_form(policy: ActorCriticPolicy, networks: TracedNetworks, memory: FlatMemory) -> ClosedFormUpdate:
    """Build the closed form on top of flat memory.

    Args:
        policy: The policy.
        networks: Its networks.
        memory: Its parameters, laid out as `group_parameters` says.

    Returns:
        The update.
    """
    inputs = NetworkInputs(
        policy.observation_space, normalize_images=policy.normalize_images, normalizer=networks.normalizer
    )
    values, gradient = memory.parameters.values.numpy(), memory.parameters.gradient.numpy()
    objective = build_objective(policy.action_space, networks.shape, values, gradient)
    return ClosedFormUpdate(objective, inputs, memory)


def build_objective(
    action_space: spaces.Space[Any], shape: ActorCriticShape, parameters: Array, gradient: Array
) -> ClosedFormObjective:
    """Build the objective on given memory.

    Args:
        action_space: Discrete, MultiDiscrete, MultiBinary or Box.
        shape: The networks.
        parameters: Laid out as `group_parameters` says, shape (n,), any float dtype.
        gradient: Where derivatives go, same shape.

    Returns:
        The objective.
    """
    network = ActorCriticMlp(shape, parameters, gradient)
    n_outputs = shape.actor[-1].n_outputs
    head: Head
    if isinstance(action_space, spaces.Discrete):
        head = CategoricalHead([int(action_space.n)])
    elif isinstance(action_space, spaces.MultiDiscrete):
        head = CategoricalHead(action_space.nvec.tolist())
    elif isinstance(action_space, spaces.MultiBinary):
        head = BernoulliHead()
    else:
        head = GaussianHead(parameters[-n_outputs:, np.newaxis], gradient[-n_outputs:, np.newaxis])
    return ClosedFormObjective(network, head)
