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
from typing import Any, NamedTuple

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
from sb3_ppo_scratch.updates.closed_form import ClosedFormUpdate
from sb3_ppo_scratch.updates.closed_form_of_policy import build_closed_form, check_head, group_parameters
from sb3_ppo_scratch.updates.flat_memory import check_flat, keep_flat
from sb3_ppo_scratch.updates.minibatches import is_passed_over_as_sb3_does
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


class _Basis(NamedTuple):
    """What was looked at."""

    objects: list[Any]
    values: list[Any]

    def is_same(self, other: "_Basis") -> bool:
        """Tell whether the other has the very same objects, and equal values."""
        return (
            len(self.objects) == len(other.objects)
            and all(map(operator.is_, self.objects, other.objects))
            and self.values == other.values
        )


class UpdateChoice:
    """Chooses, and keeps what was chosen for as long as it fits."""

    def __init__(self) -> None:
        self._seen = _Basis([], [])
        self._traced: TracedNetworks | str = "networks that were not looked at"
        self._closed_form: ClosedFormUpdate | None = None
        self._autograd: AutogradUpdate | None = None
        self.description = ""
        """What was chosen last, and why."""

    def __reduce__(self) -> tuple[type["UpdateChoice"], tuple[()]]:
        """Copy and pickle as one that has seen nothing: what is remembered is about this very policy."""
        return UpdateChoice, ()

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
        check_head(policy, networks)
        groups = group_parameters(policy, modules, networks)
        check_flat(list(itertools.chain(*groups)), policy.optimizer)
        return networks, groups

    def _trace(self, policy: ActorCriticPolicy, modules: list[th.nn.Module]) -> TracedNetworks:
        """Trace a policy's networks, or remember what was found.

        Raises:
            NotCoveredError: If they are no MLPs.
        """
        now = _basis_of_networks(policy, modules)
        seen = now.is_same(self._seen)
        # Code that is not SB3's might do something else today; then the closed form would be wrong.
        changeable = not all(type(module).__module__.startswith(KNOWN_CODE) for module in modules)
        if not seen or (changeable and not isinstance(self._traced, str)):
            before, self._seen = self._traced, now
            try:
                self._traced = trace_networks(policy, ObservationNormalizer)
            except NotCoveredError as error:
                self._traced = str(error)
            if not seen or self._traced != before:
                self._closed_form = None
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


def _basis_of_networks(policy: ActorCriticPolicy, modules: Sequence[th.nn.Module]) -> _Basis:
    """List what decides what a policy's networks do, the code of its modules excepted.

    Args:
        policy: The policy.
        modules: It and all its parts.

    Returns:
        How the parts are put together, and the shapes of their parameters.
    """
    parts = [part for module in modules for part in module._modules.values()]
    parameters = [parameter for module in modules for parameter in module._parameters.values()]
    shapes = [None if parameter is None else parameter.shape for parameter in parameters]
    return _Basis([policy, *parts, *parameters], [policy.normalize_images, *shapes])


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
