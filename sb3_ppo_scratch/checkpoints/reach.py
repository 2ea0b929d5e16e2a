"""Calling a function with an environment, wherever that lives.

`VecEnv.env_method` calls the method of the outermost layer that has it; layers below that have one of the same name
cannot be called, and no layer comes out of a worker whole. `VecEnv.env_is_wrapped`, however, shows the outermost
wrapper to a class of the caller's choice: SB3's VecEnvs and `ShardedVecEnv` ask `isinstance(wrapper, class)` where it
lives.

What is here: that way in. What is not: what is called (`layer_states.py`).
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from stable_baselines3.common.vec_env import VecEnv

from sb3_ppo_scratch.errors import ArgumentError

NAME = "call_with_itself"
NO_SUCH_QUESTION = (ArgumentError, AttributeError, NotImplementedError, TypeError)
"""Raised by VecEnvs that have no single environments to ask."""


class _Way:
    """In the place of a class: gives the wrapper that it is shown a method for one call."""

    def __instancecheck__(self, wrapper: Any) -> bool:
        setattr(wrapper, NAME, partial(_call_once, wrapper))
        return True


def _call_once(wrapper: Any, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function with a wrapper that has been given this method, and take that away."""
    delattr(wrapper, NAME)
    return function(wrapper, *arguments)


def call_with_environment(env: VecEnv, index: int, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function with one of the environments.

    Args:
        env: The environments.
        index: Which.
        function: It is called with the environment, its wrappers included, and must be one that workers can import.
        *arguments: What it is called with, too.

    Returns:
        What it returns; None if the environment is in no wrapper, or `env` knows no single environments.
    """
    way: Any = _Way()
    try:
        is_reached = env.env_is_wrapped(way, indices=index)[0]
    except NO_SUCH_QUESTION:
        return None
    return env.env_method(NAME, function, *arguments, indices=index)[0] if is_reached else None
