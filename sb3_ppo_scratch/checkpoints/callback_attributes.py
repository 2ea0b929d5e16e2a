"""What a callback holds, sorted by what becomes of it when a run goes on.

What is here: which attributes are kept, which hold environments, which cannot be kept, and the callbacks below one.
What is not: reading and writing them (`callback_states.py`).
"""

import functools
import inspect
import io
from collections.abc import Iterator
from pathlib import PurePath
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch as th
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import KVWriter, Logger
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from sb3_ppo_scratch.checkpoints.layer_states import vec_envs
from sb3_ppo_scratch.checkpoints.state_tree import PLAIN, State, is_state

NOT_KEPT = ("model", "parent", "locals", "globals", "verbose", "training_env")
"""What a callback is given anew each time."""
WITHOUT_STATE = (
    *(type(None), str, PurePath, type, ModuleType, FunctionType, BuiltinFunctionType, MethodType, functools.partial),
    *(BaseCallback, Logger, KVWriter, io.IOBase, gym.Space, th.device, th.dtype, np.dtype),
)
"""What whoever makes a callback gives it anew, what only reports, and callbacks, which are looked at by themselves."""
REPORTING = ("_csv", "_thread", "logging", "mlflow", "optuna", "rich", "tempfile", "threading", "tqdm", "wandb")
"""Packages whose objects report or wait, and have nothing that learning depends on."""
WRITER = "torch.utils.tensorboard"


class Attributes(NamedTuple):
    """What a callback holds."""

    values: dict[str, State]
    """What is kept, by attribute."""
    environments: dict[str, VecEnv]
    """Its own environments, by attribute and place in it (`envs[0]`)."""
    lost: tuple[str, ...]
    """Attributes with something that cannot be kept."""


def sort_attributes(callback: BaseCallback) -> Attributes:
    """Sort what a callback holds.

    Paths stay those of the new callback, for a run may go on elsewhere; so does text that a constructor is given.
    What belongs to the model is looked after there.

    Args:
        callback: It, during a run.

    Returns:
        Its attributes.
    """
    values: dict[str, State] = {}
    environments: dict[str, VecEnv] = {}
    lost: dict[str, None] = {}
    given, of_run = constructor_arguments(type(callback)), _ids_of_run(vars(callback).get("model"))
    for name, value in vars(callback).items():
        if name in NOT_KEPT or id(value) in of_run:
            continue
        if is_state(value):
            if not stays_as_given(name, value, given):
                values[name] = value
            continue
        for place, leaf in _leaves(name, value):
            if id(getattr(leaf, "unwrapped", leaf)) in of_run or _is_without_state(leaf):
                continue
            env = _vectorised(leaf)
            if env is None:
                lost[name] = None
            else:
                environments[place] = env
    return Attributes(values, environments, tuple(lost))


def _vectorised(value: Any) -> VecEnv | None:
    """Look at a single environment as SB3 does: as at several; None: it is none, or one that SB3 could not play in."""
    if isinstance(value, VecEnv):
        return value
    try:
        return DummyVecEnv([lambda: value]) if isinstance(value, gym.Env) else None
    except (AttributeError, TypeError):  # no spaces, or observations without a shape
        return None


def stays_as_given(name: str, value: State, given: set[str]) -> bool:
    """Tell whether a new callback's attribute stays: text that its constructor was given, or that is a path.

    Args:
        name: The attribute's.
        value: Another callback's.
        given: What the constructor is given, by name.

    Returns:
        Whether it does.
    """
    return isinstance(value, str) and (name in given or "/" in value or "\\" in value)


def constructor_arguments(kind: type) -> set[str]:
    """Name what a class and those that it inherits from are constructed with.

    Args:
        kind: The class.

    Returns:
        The parameters' names.
    """
    constructors = [vars(each)["__init__"] for each in kind.__mro__[:-1] if "__init__" in vars(each)]
    return {name for constructor in constructors for name in inspect.signature(constructor).parameters}


def callbacks_below(callback: BaseCallback) -> Iterator[BaseCallback]:
    """List a callback and all that it holds, in a fixed order, each once.

    Args:
        callback: The outermost.

    Yields:
        Each.
    """
    yield from _not_yet_seen(callback, set())


def _not_yet_seen(callback: BaseCallback, seen: set[int]) -> Iterator[BaseCallback]:
    """List a callback and all that it holds, without those seen before."""
    if id(callback) in seen:
        return
    seen.add(id(callback))
    yield callback
    for name, value in sorted(vars(callback).items()):
        if name not in NOT_KEPT and not is_state(value):
            for _, each in _leaves(name, value):
                if isinstance(each, BaseCallback):
                    yield from _not_yet_seen(each, seen)


def _leaves(place: str, value: Any, above: tuple[int, ...] = ()) -> Iterator[tuple[str, Any]]:
    """List what lies in lists, tuples and dicts, with its place; other values are their own only leaf."""
    if not isinstance(value, list | tuple | dict) or id(value) in above:
        yield place, value
        return
    for key, each in value.items() if isinstance(value, dict) else enumerate(value):
        yield from _leaves(f"{place}[{key!r}]", each, (*above, id(value)))


def _is_without_state(value: Any) -> bool:
    """Tell whether nothing is lost if a value is made anew."""
    module = type(value).__module__
    return isinstance(value, WITHOUT_STATE) or module.split(".")[0] in REPORTING or module.startswith(WRITER)


def _ids_of_run(model: Any) -> set[int]:
    """List identities of what belongs to the model and its environments, which are looked after by themselves."""
    if model is None:
        return set()
    env = model.get_env()
    layers = [] if env is None else vec_envs(env)
    owners = [model, *layers, *filter(None, [getattr(model, "rollout_buffer", None)])]
    parts = [*owners, *(part for owner in owners for part in vars(owner).values())]
    parts += [each.unwrapped for layer in layers for each in getattr(layer, "envs", ())]
    parts += [*model.policy.modules(), *model.policy.parameters(), model.policy.optimizer]
    return {id(part) for part in parts if not isinstance(part, (*PLAIN, np.generic, tuple))}
