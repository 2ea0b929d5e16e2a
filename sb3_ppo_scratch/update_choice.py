"""Chooses the update: the closed form where it covers everything that a policy does, else autograd.

What is here: every condition under which the closed form gives what autograd would, in words for the user. What is not:
the updates themselves (`updates/`).

A policy is covered if its networks do what an MLP does (traced, see `updates/trace_layers.py`) and all else about it is
SB3's own code, which the closed form stands for. Looking that up takes milliseconds, so `UpdateChoice` remembers what
it has seen and looks again when something has changed.
"""

import itertools
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.distributions import (
    BernoulliDistribution,
    CategoricalDistribution,
    DiagGaussianDistribution,
    MultiCategoricalDistribution,
)
from stable_baselines3.common.policies import ActorCriticPolicy
from torch.nn.modules import module as global_hooks

from sb3_ppo_scratch.argument_checks import UpdateName
from sb3_ppo_scratch.errors import ArgumentError
from sb3_ppo_scratch.observation_normalizer import ObservationNormalizer
from sb3_ppo_scratch.updates.autograd import AutogradUpdate
from sb3_ppo_scratch.updates.closed_form import ClosedFormObjective, ClosedFormUpdate
from sb3_ppo_scratch.updates.flat_memory import FlatMemory, check_flat, keep_flat
from sb3_ppo_scratch.updates.heads import BernoulliHead, CategoricalHead, GaussianHead, Head
from sb3_ppo_scratch.updates.kernels import Array
from sb3_ppo_scratch.updates.minibatches import is_passed_over_as_sb3_does
from sb3_ppo_scratch.updates.mlp import ActorCriticMlp, ActorCriticShape
from sb3_ppo_scratch.updates.network_inputs import NetworkInputs
from sb3_ppo_scratch.updates.trace_layers import TracedNetworks, trace_networks
from sb3_ppo_scratch.updates.update import NotCoveredError

METHODS = frozenset({
    "__call__", "_call_impl", "evaluate_actions", "extract_features", "forward", "get_distribution",
    "_get_action_dist_from_latent", "parameters", "predict_values", "set_training_mode", "train", "zero_grad",
})  # fmt: skip
"""What the closed form stands for, or what could change what it stands for."""
KNOWN_CODE = ("torch.nn.", "stable_baselines3.", "sb3_ppo_scratch.")
"""Modules from here do the same each time; networks with others are traced anew for each update."""
GLOBAL_HOOKS = (
    global_hooks._global_forward_hooks,
    global_hooks._global_forward_pre_hooks,
    global_hooks._global_backward_hooks,
    global_hooks._global_backward_pre_hooks,
)
"""torch's, on every module there is."""
DISTRIBUTIONS = (
    CategoricalDistribution,
    MultiCategoricalDistribution,
    BernoulliDistribution,
    DiagGaussianDistribution,
)


class UpdateChoice:
    """Chooses, and keeps what was chosen for as long as it fits."""

    def __init__(self) -> None:
        self._modules: list[th.nn.Module] = []
        self._traced: TracedNetworks | str = "networks that were not looked at"
        self._closed_form: ClosedFormUpdate | None = None
        self._autograd: AutogradUpdate | None = None
        self.description = ""
        """What was chosen last, and why."""

    def explain(self, name: UpdateName, policy: ActorCriticPolicy, rollout_buffer: RolloutBuffer) -> str:
        """Choose for what there is now, and leave everything as it is.

        Args:
            name: The algorithm's `update`.
            policy: Its policy.
            rollout_buffer: Its buffer.

        Returns:
            What is chosen, and why.

        Raises:
            ArgumentError: If the name is `"closed_form"`, and that does not cover the policy.
        """
        self._find_covered(name, policy, rollout_buffer)
        return self.description

    def choose(
        self, name: UpdateName, policy: ActorCriticPolicy, rollout_buffer: RolloutBuffer
    ) -> AutogradUpdate | ClosedFormUpdate:
        """Choose for what there is now.

        Args:
            name: The algorithm's `update`.
            policy: Its policy.
            rollout_buffer: Its buffer.

        Returns:
            The update.

        Raises:
            ArgumentError: If the name is `"closed_form"`, and that does not cover the policy.
        """
        covered = self._find_covered(name, policy, rollout_buffer)
        if covered is None:
            self._closed_form = None
            if self._autograd is None or self._autograd.policy is not policy:
                self._autograd = AutogradUpdate(policy)
            return self._autograd
        networks, groups = covered
        before = self._closed_form
        memory = keep_flat(before.memory if before else None, groups, policy.optimizer)
        if before is not None and before.memory.parameters is memory.parameters:
            before.memory = memory
            return before
        self._closed_form = build_closed_form(policy, networks, memory)
        return self._closed_form

    def _find_covered(
        self, name: UpdateName, policy: ActorCriticPolicy, rollout_buffer: RolloutBuffer
    ) -> tuple[TracedNetworks, list[list[th.nn.Parameter]]] | None:
        """Decide, and describe the decision; None means autograd.

        Raises:
            ArgumentError: As `choose` does.
        """
        reason = "as asked for" if name != "auto" else "auto: an MLP on the CPU"
        if name != "autograd":
            try:
                covered = self._check_covered(policy, rollout_buffer)
            except NotCoveredError as error:
                if name == "closed_form":
                    raise ArgumentError(
                        f"`update='closed_form'` does not cover {error}; use update='auto', which takes the closed "
                        "form where it can, or update='autograd'."
                    ) from error
                reason = f"auto: the closed form does not cover {error}"
            else:
                self.description = f"closed-form update ({reason})"
                return covered
        self.description = f"autograd update ({reason})"
        return None

    def _check_covered(
        self, policy: ActorCriticPolicy, rollout_buffer: RolloutBuffer
    ) -> tuple[TracedNetworks, list[list[th.nn.Parameter]]]:
        """Find a policy's layers and parameters for the closed form.

        Raises:
            NotCoveredError: If it does not cover them.
        """
        check_policy(policy)
        if not is_passed_over_as_sb3_does(rollout_buffer):
            raise NotCoveredError(f"minibatches of the rollout buffer {type(rollout_buffer).__name__}")
        modules = list(policy.modules())
        for module in modules:
            check_hooks(module)
        networks = self._trace(policy, modules)
        groups = group_parameters(policy, modules, networks)
        check_flat(list(itertools.chain(*groups)), policy.optimizer)
        return networks, groups

    def _trace(self, policy: ActorCriticPolicy, modules: list[th.nn.Module]) -> TracedNetworks:
        """Trace a policy's networks, or remember what was found.

        Raises:
            NotCoveredError: If they are no MLPs.
        """
        seen = len(modules) == len(self._modules) and all(map(operator.is_, modules, self._modules))
        # Code that is not SB3's might do something else today; then the closed form would be wrong.
        changeable = not all(type(module).__module__.startswith(KNOWN_CODE) for module in modules)
        if not seen or (changeable and not isinstance(self._traced, str)):
            self._modules, self._closed_form = modules, None
            try:
                self._traced = trace_networks(policy, ObservationNormalizer)
            except NotCoveredError as error:
                self._traced = str(error)
        if isinstance(self._traced, str):
            raise NotCoveredError(self._traced)
        return self._traced


def check_policy(policy: ActorCriticPolicy) -> None:
    """Check everything about a policy but its networks' layers.

    Args:
        policy: The policy.

    Raises:
        NotCoveredError: If it does anything that SB3's `ActorCriticPolicy` for vectors on the CPU does not.
    """
    if any(GLOBAL_HOOKS):
        raise NotCoveredError("hooks on all modules")
    overridden = _overridden_methods(type(policy)) + [name for name in METHODS if name in vars(policy)]
    if overridden:
        raise NotCoveredError(f"the method `{overridden[0]}` of {type(policy).__name__}")
    if type(policy.action_dist) not in DISTRIBUTIONS:
        raise NotCoveredError(f"the action distribution {type(policy.action_dist).__name__}")
    if isinstance(policy.observation_space, spaces.Dict):
        raise NotCoveredError("Dict observations")


def _overridden_methods(policy_class: type[ActorCriticPolicy]) -> list[str]:
    """List what a class does in another way than SB3's policy for actors and critics.

    Args:
        policy_class: The policy's class.

    Returns:
        Names of methods, without those that only build.
    """
    if ActorCriticPolicy not in policy_class.__mro__:  # a compiled policy, for one
        return ["__call__"]
    subclasses = policy_class.__mro__[: policy_class.__mro__.index(ActorCriticPolicy)]
    own = {name for subclass in subclasses for name in vars(subclass)}
    return sorted(name for name in own & METHODS)


def check_hooks(module: th.nn.Module) -> None:
    """Refuse modules that do more than their `forward`, our own normaliser's hook excepted.

    Args:
        module: Any part of a policy.

    Raises:
        NotCoveredError: If there is a hook, or the module is compiled.
    """
    foreign = module._forward_pre_hooks and [
        hook
        for hook in module._forward_pre_hooks.values()
        if not isinstance(getattr(hook, "__self__", None), ObservationNormalizer)
    ]
    if foreign or module._forward_hooks or module._backward_hooks or module._backward_pre_hooks:
        raise NotCoveredError(f"hooks on {type(module).__name__}")
    if module._compiled_call_impl is not None or "forward" in vars(module):
        raise NotCoveredError(f"a {type(module).__name__} whose forward pass was replaced")


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
        other = next(name for position, name in enumerate(names) if position not in itertools.chain(*groups))
        raise NotCoveredError(f"a parameter `{other}` outside actor and critic")
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
