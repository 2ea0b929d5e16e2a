"""Whether a policy that nobody vouches for fits its parameters.

What is here: looking at a policy's settings before it is built, and at its optimiser once that is loaded. What is not:
the parameters' bytes (`torch_files.py`), and the memory that building takes (`bounded_memory.py`).
"""

import math
from collections.abc import Mapping
from typing import Any

import torch as th
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy

from sb3_ppo_scratch.untrusted.torch_files import Tensor
from sb3_ppo_scratch.zip_members import UnsafeFileError

ENTRIES_PER_PARAMETER = 4
"""Settings that a policy may have; each layer has a weight and a bias."""
ENTRIES_ANYWAY, SIZE_ANYWAY = 64, 1 << 16
"""Settings, and a size, that any policy may have."""


def check_policy(policy_class: Any, settings: Any, parameters: Mapping[str, Tensor]) -> None:
    """Refuse what is no policy, and settings that its parameters do not need.

    Args:
        policy_class: The policy's class, or its name.
        settings: Its keyword arguments.
        parameters: What the file says of its parameters.

    Raises:
        UnsafeFileError: If it is none, or has a number that is larger than all parameters together, or too many.
    """
    if not isinstance(policy_class, str) and not issubclass(policy_class, ActorCriticPolicy):
        raise UnsafeFileError(f"its policy is a {policy_class}")
    largest = sum(math.prod(tensor.shape) for tensor in parameters.values()) + SIZE_ANYWAY
    most, left, n_seen = ENTRIES_PER_PARAMETER * len(parameters) + ENTRIES_ANYWAY, [settings], 0
    while left:
        each = left.pop()
        n_seen += 1
        if n_seen > most:
            raise UnsafeFileError(f"its policy has more than {most} settings for {len(parameters)} parameters")
        if isinstance(each, dict):
            left.extend(each.values())
        elif isinstance(each, list | tuple):
            left.extend(each)
        elif isinstance(each, int) and abs(each) > largest:
            raise UnsafeFileError(f"its policy's settings ask for {each}, but it has no {largest} parameters")


def check_optimizer(policy: BasePolicy) -> None:
    """Refuse an optimiser whose state is not that of its parameters.

    Args:
        policy: A loaded policy.

    Raises:
        UnsafeFileError: If a tensor of the state has another shape than its parameter.
    """
    for parameter, state in policy.optimizer.state.items():
        for name, each in state.items():
            if isinstance(each, th.Tensor) and each.ndim and each.shape != parameter.shape:
                raise UnsafeFileError(
                    f"its optimiser has a {name} of the shape {tuple(each.shape)} for a parameter of "
                    f"{tuple(parameter.shape)}"
                )
