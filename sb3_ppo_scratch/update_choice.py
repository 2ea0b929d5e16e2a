"""Chooses the update: the closed form where it covers everything that a policy does, else autograd.

What is here: every condition under which the closed form gives what autograd would, in words for the user. What is not:
the updates themselves (`updates/`).

A policy is covered if its networks do what an MLP does (traced, see `updates/trace_layers.py`) and all else about it is
SB3's own code, which the closed form stands for. Looking that up takes milliseconds, so `UpdateChoice` remembers what
it has seen and looks again when something has changed.
"""

import itertools
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
from sb3_ppo_scratch.updates.snapshot import Snapshot
from sb3_ppo_scratch.updates.trace_layers import TracedNetworks, trace_networks
from sb3_ppo_scratch.updates.update import NotCoveredError

Covered = tuple[TracedNetworks, list[list[th.nn.Parameter]]]
"""A policy's networks, and its parameters in groups as for `FlatParameters`."""
METHODS = frozenset({
    "__call__", "_call_impl", "evaluate_actions", "extract_features", "forward", "get_distribution",
    "_get_action_dist_from_latent", "parameters", "predict_values", "set_training_mode", "train", "zero_grad",
})  # fmt: skip
"""What the closed form stands for, or what could change what it stands for."""
KNOWN_CODE = ("torch.nn.", "stable_baselines3.", "sb3_ppo_scratch.")
"""Modules from here do the same each time; policies with others are looked at anew each time."""
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


class _Look(NamedTuple):
    """What was found when a policy was looked at."""

    snapshot: Snapshot
    """The policy then."""
    found: "Covered | str"
    """Its networks and groups of parameters, or what the closed form does not cover."""


class UpdateChoice:
    """Chooses, and keeps what was chosen for as long as it fits."""

    _built_for: tuple[Any, ...]
    """What the closed form was built for."""

    def __init__(self) -> None:
        self._looks: dict[bool, _Look] = {}
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
        (networks, groups), before = covered, self._closed_form
        memory = keep_flat(before.memory if before is not None else None, groups, policy.optimizer)
        built_for = (id(memory.parameters), id(policy.observation_space), policy.normalize_images, networks)
        if before is None or built_for != self._built_for:
            before, self._built_for = build_closed_form(policy, networks, memory), built_for
        before.memory = memory
        self._closed_form = before
        return before

    def _find_covered(
        self, name: UpdateName, policy: ActorCriticPolicy, rollout_buffer: RolloutBuffer
    ) -> Covered | None:
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

    def _check_covered(self, policy: ActorCriticPolicy, rollout_buffer: RolloutBuffer) -> Covered:
        """Find a policy's networks and parameters for the closed form.

        Raises:
            NotCoveredError: If it does not cover them.
        """
        check_policy(policy)
        if not is_passed_over_as_sb3_does(rollout_buffer):
            raise NotCoveredError(f"minibatches of the rollout buffer {type(rollout_buffer).__name__}")
        look = self._looks.get(policy.training)
        if look is None or not look.snapshot.is_current(policy):
            look = self._look(policy)
        if isinstance(look.found, str):
            raise NotCoveredError(look.found)
        return look.found

    def _look(self, policy: ActorCriticPolicy) -> _Look:
        """Look at everything anew, and remember it for as long as it cannot change unseen."""
        modules = list(policy.modules())
        found: Covered | str
        try:
            found = look_at_networks(policy, modules)
        except NotCoveredError as error:
            found = str(error)
        look = _Look(Snapshot(policy), found)
        # Code that is not SB3's might do something else tomorrow; then the closed form would be wrong.
        if isinstance(found, str) or all(type(module).__module__.startswith(KNOWN_CODE) for module in modules):
            self._looks[policy.training] = look  # SB3 switches that to and fro
        else:
            self._looks.clear()
        return look


def look_at_networks(policy: ActorCriticPolicy, modules: Sequence[th.nn.Module]) -> Covered:
    """Find a policy's networks, and its parameters as the closed form wants them in memory.

    Args:
        policy: The policy.
        modules: It and all its parts.

    Returns:
        Both.

    Raises:
        NotCoveredError: If the closed form does not cover them.
    """
    for module in modules:
        check_hooks(module)
    networks = trace_networks(policy, ObservationNormalizer)
    check_head(policy, networks)
    groups = group_parameters(policy, modules, networks)
    check_flat(list(itertools.chain(*groups)), policy.optimizer)
    return networks, groups


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
