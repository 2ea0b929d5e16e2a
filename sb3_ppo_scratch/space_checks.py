"""Checks of spaces: those that the policy cannot take, or would get wrong without an error.

What is here: one function for observations and one for actions. What is not: checks of values (`value_checks.py`).
"""

from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy, MultiInputActorCriticPolicy

from sb3_ppo_scratch.errors import ArgumentError, UnsupportedSpaceError


def check_spaces(
    observation_space: spaces.Space[Any], action_space: spaces.Space[Any], policy: str | type[BasePolicy]
) -> None:
    """Check an environment's spaces; those of environments for old gym only once SB3 has converted them.

    Args:
        observation_space: The observation space.
        action_space: The action space.
        policy: The policy's name or class.

    Raises:
        ArgumentError: If a space cannot be used.
    """
    if isinstance(observation_space, spaces.Space) and isinstance(action_space, spaces.Space):
        check_action_space(action_space)
        check_observation_space(observation_space, policy)


def check_action_space(space: spaces.Space[Any]) -> None:
    """Refuse action spaces whose actions the policy would get wrong without an error.

    SB3's distributions count categories from 0 and keep them in one row: a `Discrete` that starts elsewhere would
    receive actions that are all off by its start.

    Args:
        space: An action space of a supported kind.

    Raises:
        ArgumentError: If a Discrete or MultiDiscrete space does not start at 0, a MultiDiscrete or MultiBinary space
            has more than one dimension, or a Box has no element.
    """
    start = getattr(space, "start", 0)
    if np.any(np.asarray(start) != 0):
        raise ArgumentError(
            f"The action space {space} does not start at 0, which SB3's policies cannot express; "
            "subtract the start in a wrapper (gymnasium.wrappers.TransformAction)."
        )
    if isinstance(space, (spaces.MultiDiscrete, spaces.MultiBinary)) and len(space.shape) > 1:
        raise ArgumentError(
            f"The action space {space} has {len(space.shape)} dimensions; only one is supported. "
            "Flatten it in a wrapper (gymnasium.wrappers.TransformAction)."
        )
    if isinstance(space, spaces.Box) and 0 in space.shape:
        raise ArgumentError(f"The action space {space} has no element: there is nothing to learn.")


def check_observation_space(space: spaces.Space[Any], policy: str | type[BasePolicy]) -> None:
    """Refuse observation spaces that the policy cannot take, or that one-hot encoding would get wrong.

    Args:
        space: The observation space.
        policy: The policy's name or class.

    Raises:
        UnsupportedSpaceError: If the space, or a part of a Dict, is no Box, Discrete, MultiDiscrete or MultiBinary.
        ArgumentError: If a Discrete or MultiDiscrete space does not start at 0, a Box has no dimension, a MultiDiscrete
            more than one, or the whole space no element, or if the policy wants a Dict.
    """
    for_dicts = policy == "MultiInputPolicy" or policy is MultiInputActorCriticPolicy
    if for_dicts and not isinstance(space, spaces.Dict):
        raise ArgumentError(
            f"`policy='MultiInputPolicy'` needs a Dict observation space, got {space}; use 'MlpPolicy'."
        )
    parts = space.spaces.items() if isinstance(space, spaces.Dict) else [("", space)]
    for key, part in parts:
        name = f"The observation space {part}{f' (key {key!r})' if key else ''}"
        if not isinstance(part, spaces.Box | spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary):
            raise UnsupportedSpaceError(
                f"{name} is not supported; flatten it in a wrapper (gymnasium.wrappers.FlattenObservation)."
            )
        if np.any(np.asarray(getattr(part, "start", 0)) != 0):
            raise ArgumentError(
                f"{name} does not start at 0, which SB3's one-hot encoding cannot express; "
                "subtract the start in a wrapper (gymnasium.wrappers.TransformObservation)."
            )
        _check_dimensions(part, name)
    if isinstance(space, spaces.Box) and 0 in space.shape:
        raise ArgumentError(f"The observation space {space} has no element: there is nothing to act upon.")


def _check_dimensions(space: spaces.Space[Any], name: str) -> None:
    """Refuse what cannot be flattened: batches of numbers, and of tables of categories.

    Raises:
        ArgumentError: If a Box has no dimension, or a MultiDiscrete space more than one.
    """
    if isinstance(space, spaces.MultiDiscrete) and len(space.shape) > 1:
        raise ArgumentError(
            f"{name} has {len(space.shape)} dimensions; only one is supported. "
            "Flatten it in a wrapper (gymnasium.wrappers.TransformObservation)."
        )
    if isinstance(space, spaces.Box) and space.shape == ():
        raise ArgumentError(
            f"{name} has no dimension. Give it one in a wrapper (gymnasium.wrappers.ReshapeObservation(env, (1,)))."
        )
