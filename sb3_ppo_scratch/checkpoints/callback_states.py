"""The state of callbacks: what they have counted and found, and that of their environments.

What is here: reading and writing what callbacks keep, and warnings of what cannot be kept. What is not: which of their
attributes that is (`callback_attributes.py`), and SB3's and rl_zoo3's callbacks themselves.
"""

import reprlib
import warnings
from typing import Any
from weakref import WeakValueDictionary

from stable_baselines3.common.callbacks import BaseCallback, CallbackList, ConvertCallback, ProgressBarCallback
from stable_baselines3.common.vec_env import VecEnv

from sb3_ppo_scratch.checkpoints.callback_attributes import (
    callbacks_below,
    constructor_arguments,
    sort_attributes,
    stays_as_given,
)
from sb3_ppo_scratch.checkpoints.environment_states import (
    OtherEnvironmentsError,
    read_environments,
    what_is_lost,
    why_unreadable,
    write_environments,
)
from sb3_ppo_scratch.checkpoints.state_tree import State, encode, is_state
from sb3_ppo_scratch.errors import ArgumentTypeError

KEEP_NOTHING = (CallbackList, ConvertCallback, ProgressBarCallback)
"""Callbacks that may be there or not."""
WARNED: WeakValueDictionary[int, BaseCallback] = WeakValueDictionary()
"""The outermost callbacks of runs in which a warning has said what cannot be kept, by identity."""


def read_callbacks(callback: BaseCallback) -> State:
    """Read what callbacks keep, and warn, once in a run, of what they hold and no checkpoint can.

    Args:
        callback: The outermost.

    Returns:
        The state of each, with its class's name.

    Raises:
        ArgumentTypeError: If a `get_state` returns what no checkpoint can hold.
    """
    states, lost = [], []
    for each in callbacks_below(callback):
        name = type(each).__name__
        state, lost_here = _read(each)
        states.append({"name": name, **state})
        lost += [f"{what} of {name}" for what in lost_here]
    if lost and WARNED.get(id(callback)) is not callback:
        WARNED[id(callback)] = callback
        warnings.warn(
            f"A checkpoint cannot hold {', '.join(lost)}: in a run that goes on from it, this begins anew. If it "
            "matters, give the callback or the layer `get_state`, which returns it as numbers, text and arrays in "
            "lists and dicts, and `set_state`, which takes that.",
            stacklevel=2,
        )
    return states


def _read(callback: Any) -> tuple[dict[str, State], list[str]]:
    """Read what one callback keeps, and name what it cannot.

    Raises:
        ArgumentTypeError: If its `get_state` returns what no checkpoint can hold.
    """
    attributes = sort_attributes(callback)
    environments = {place: read_environments(env) for place, env in attributes.environments.items()}
    state = {"values": attributes.values, "environments": environments}
    if not _has_own(callback):
        lost = [f"`{name}`" for name in attributes.lost]
        for place, env in attributes.environments.items():
            lost += _lost_of(place, env, environments[place])
        return state, lost
    own = callback.get_state()
    if not is_state(own):
        raise ArgumentTypeError(f"`get_state` of {type(callback).__name__} returns what no checkpoint can hold: {own}")
    return {**state, "own": own}, []


def _lost_of(place: str, env: VecEnv, state: State) -> list[str]:
    """Say what of a callback's environments cannot be kept; one that draws on from its generator can be reset."""
    if state["generators"] is None and why_unreadable(env):
        return [f"`{place}`"]
    layers = what_is_lost(env)
    return [f"what {layers} keep beyond a reset in `{place}`"] if layers else []


def _has_own(callback: Any) -> bool:
    """Tell whether a callback says itself what else it keeps."""
    return all(callable(getattr(callback, name, None)) for name in ("get_state", "set_state"))


def write_callbacks(callback: BaseCallback, states: State) -> None:
    """Give callbacks what others have kept, and warn if they are not the same ones or made otherwise.

    Args:
        callback: The outermost of new ones.
        states: What `read_callbacks` has read. The first of each name gets the first's, and so on.
    """
    left: dict[str, list[State]] = {}
    for state in states:
        left.setdefault(state["name"], []).append(state)
    new, changed = [], []
    for each in callbacks_below(callback):
        name = type(each).__name__
        if left.get(name):
            changed += _write(each, left[name].pop(0))
        elif type(each) not in KEEP_NOTHING:
            new.append(name)
    nothing_lost = {kind.__name__ for kind in KEEP_NOTHING}
    missing = [name for name, others in left.items() if others and name not in nothing_lost]
    _warn_of_others(new, missing, changed)


def _warn_of_others(new: list[str], missing: list[str], changed: list[str]) -> None:
    """Warn of callbacks that begin anew, are missing, or were made otherwise."""
    if new or missing:
        warnings.warn(
            f"The run that goes on had other callbacks: {new} begin anew, {missing} are missing. What is learned is "
            "the same unless they have a part in it.",
            stacklevel=3,
        )
    if changed:
        warnings.warn(
            f"The run goes on with its own values, not with those that new callbacks have: {'; '.join(changed)}.",
            stacklevel=3,
        )


def _write(callback: Any, state: State) -> list[str]:
    """Give one callback what another has kept, and say which arguments of its constructor that changes."""
    given, before = constructor_arguments(type(callback)), vars(callback).copy()
    values = {name: value for name, value in state["values"].items() if not stays_as_given(name, value, given)}
    changed = [
        f"`{name}` of {type(callback).__name__} is {reprlib.repr(value)}, not {reprlib.repr(before[name])}"
        for name, value in values.items()
        if name in given and name in before and not _are_same(before[name], value)
    ]
    vars(callback).update(values)
    for place, env in sort_attributes(callback).environments.items():
        if place in state["environments"]:
            _write_environments(env, state["environments"][place], f"`{place}` of {type(callback).__name__}")
    if "own" in state and _has_own(callback):
        callback.set_state(state["own"])
    return changed


def _write_environments(env: VecEnv, state: State, name: str) -> None:
    """Bring a callback's environments to where others were, or warn that they are made otherwise."""
    try:
        write_environments(env, state, name)
    except OtherEnvironmentsError as error:
        warnings.warn(f"{error} It begins anew.", stacklevel=4)


def _are_same(one: Any, other: State) -> bool:
    """Tell whether two values are the same to the last bit."""
    return is_state(one) and encode(one) == encode(other)
