"""The state of callbacks: what they have counted and found, and the random generators of their environments.

What is here: finding all callbacks below one, reading and writing what they keep. What is not: SB3's and rl_zoo3's
callbacks themselves. A callback of one's own may say by `get_state` and `set_state` what it keeps; else it is every
attribute that is made of numbers and arrays.
"""

import warnings
from collections.abc import Iterator
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback, CallbackList, ConvertCallback, ProgressBarCallback
from stable_baselines3.common.vec_env import VecEnv

from sb3_ppo_scratch.checkpoints.environment_states import read_generators, write_generators
from sb3_ppo_scratch.checkpoints.state_tree import State, is_state

NOT_KEPT = ("model", "parent", "locals", "globals", "verbose", "training_env")
"""What a callback is given anew each time."""

KEEP_NOTHING = (CallbackList, ConvertCallback, ProgressBarCallback)
"""Callbacks that may be there or not."""


def callbacks_below(callback: BaseCallback) -> Iterator[BaseCallback]:
    """List a callback and all that it calls, in a fixed order.

    Args:
        callback: The outermost.

    Yields:
        Each.
    """
    yield callback
    for name, value in sorted(vars(callback).items()):
        if name not in NOT_KEPT:
            for each in value if isinstance(value, list) else [value]:
                if isinstance(each, BaseCallback):
                    yield from callbacks_below(each)


def read_callbacks(callback: BaseCallback) -> State:
    """Read what callbacks keep.

    Args:
        callback: The outermost.

    Returns:
        The state of each, with its class's name.
    """
    return [{"name": type(each).__name__, **_read(each)} for each in callbacks_below(callback)]


def _read(callback: Any) -> dict[str, State]:
    """Read what one callback keeps."""
    if callable(getattr(callback, "get_state", None)):
        return {"own": callback.get_state()}
    attributes = {name: value for name, value in vars(callback).items() if name not in NOT_KEPT}
    return {
        "values": {name: value for name, value in attributes.items() if is_state(value) and not isinstance(value, str)},
        "generators": {
            name: read_generators(value) for name, value in attributes.items() if _is_own_env(callback, value)
        },
    }


def write_callbacks(callback: BaseCallback, states: State) -> None:
    """Give callbacks what others have kept, and warn if they are not the same ones.

    Args:
        callback: The outermost of new ones.
        states: What `read_callbacks` has read. The first of each name gets the first's, and so on.
    """
    left: dict[str, list[State]] = {}
    for state in states:
        left.setdefault(state["name"], []).append(state)
    new = []
    for each in callbacks_below(callback):
        name = type(each).__name__
        if left.get(name):
            _write(each, left[name].pop(0))
        elif type(each) not in KEEP_NOTHING:
            new.append(name)
    missing = [name for name, others in left.items() if others and name not in {kind.__name__ for kind in KEEP_NOTHING}]
    if new or missing:
        warnings.warn(
            f"The run that goes on had other callbacks: {new} begin anew, {missing} are missing. What is learned is "
            "the same unless they have a part in it.",
            stacklevel=2,
        )


def _write(callback: Any, state: State) -> None:
    """Give one callback what another has kept."""
    if "own" in state:
        callback.set_state(state["own"])
        return
    vars(callback).update(state["values"])
    for name, generators in state["generators"].items():
        if _is_own_env(callback, vars(callback).get(name)):
            write_generators(vars(callback)[name], generators)


def _is_own_env(callback: BaseCallback, value: Any) -> bool:
    """Tell whether something is a callback's environments, not those of training, which others look after."""
    return isinstance(value, VecEnv) and value.unwrapped is not callback.training_env.unwrapped
