"""Checks of `policy_kwargs` that SB3's policies would take without a word, or refuse without saying which of them.

What is here: the values of the arguments that SB3's actor-critic policies have. What is not: what only building a
policy shows (`scratch_algorithm.py`), and arguments of policies with a constructor of their own.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from numbers import Integral
from typing import Any

import numpy as np
from stable_baselines3.common.policies import (
    ActorCriticCnnPolicy,
    ActorCriticPolicy,
    BasePolicy,
    MultiInputActorCriticPolicy,
)

from sb3_ppo_scratch.errors import ArgumentError, ArgumentTypeError
from sb3_ppo_scratch.value_checks import YES_OR_NO, Check, check_arguments, check_finite

SB3_POLICIES = (ActorCriticPolicy, ActorCriticCnnPolicy, MultiInputActorCriticPolicy)


def check_policy_kwargs(policy: str | type[BasePolicy], policy_kwargs: Mapping[str, Any] | None) -> None:
    """Check each value by itself; a class of the user's may understand something else by these names.

    Args:
        policy: A policy's name, which stands for one of SB3's or this project's, or a class.
        policy_kwargs: Its arguments.

    Raises:
        ArgumentTypeError: If one has a wrong type.
        ArgumentError: If one has an unusable value.
    """
    if isinstance(policy, str) or policy in SB3_POLICIES:
        named = {f"policy_kwargs[{name!r}]": value for name, value in (policy_kwargs or {}).items()}
        check_arguments(named, {f"policy_kwargs[{name!r}]": check for name, check in CHECKS.items()})


def check_net_arch(name: str, value: Any) -> None:
    """Accept lists of widths, and dicts of such lists by "pi" and "vf" (old files have these in a list).

    Args:
        name: The argument's name.
        value: The value received.

    Raises:
        ArgumentTypeError: If it is neither, or a width is no integer.
        ArgumentError: If a width is below 1, or a key is another.
    """
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], Mapping):
        value = value[0]
    if not isinstance(value, Mapping):
        if value is not None:
            _check_widths(name, value)
        return
    for key, widths in value.items():
        if key not in ("pi", "vf"):
            raise ArgumentError(f"`{name}` has layers for {key!r}, which no policy has; pass them for 'pi' and 'vf'.")
        _check_widths(f"{name}[{key!r}]", widths)


def _check_widths(name: str, value: Any) -> None:
    """Accept sequences of positive integers; raises as `check_net_arch` does."""
    is_sequence = isinstance(value, Sequence | np.ndarray) and not isinstance(value, str | bytes)
    if not is_sequence or any(isinstance(width, bool) or not isinstance(width, Integral) for width in value):
        raise ArgumentTypeError(f"`{name}` must be a list of widths, got {value!r}; pass for example [64, 64].")
    if any(width < 1 for width in value):
        raise ArgumentError(f"`{name}` must hold widths of at least 1, got {value!r}; leave such layers out.")


CHECKS: Mapping[str, Check] = {
    "net_arch": check_net_arch,
    "log_std_init": partial(check_finite, remedy="0 is usual"),
    **dict.fromkeys(
        ("ortho_init", "full_std", "use_expln", "squash_output", "share_features_extractor", "normalize_images"),
        YES_OR_NO,
    ),
}
"""The check of each argument by name; the classes among them and what these are given, show when they are used."""
