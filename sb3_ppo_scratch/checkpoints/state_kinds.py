"""What state may hold beyond numbers, text, arrays, lists and dicts: each kind taken apart into these and put together.

What is here: one line for each kind. What is not: how lists, dicts and arrays are written (`state_tree.py`).
"""

import random
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch as th
from stable_baselines3.common.running_mean_std import RunningMeanStd

from sb3_ppo_scratch.checkpoints.random_states import (
    BIT_GENERATORS,
    make_generator,
    make_python,
    make_random_state,
    make_torch_generator,
    read_generator,
    read_python,
)
from sb3_ppo_scratch.errors import ArgumentTypeError

FACTORIES: dict[str, Callable[[], Any] | None] = {
    "none": None,
    **{kind.__name__: kind for kind in (bool, int, float, str, list, dict, set)},
}
"""What a `defaultdict` may begin its values with, by name."""


class Kind(NamedTuple):
    """How one type is written."""

    type: type
    """The very type; its subclasses may hold more."""
    take_apart: Callable[[Any], Any]
    put_together: Callable[[Any], Any]


def _take_default_dict_apart(value: defaultdict[Any, Any]) -> list[Any]:
    """Name what values begin with, and list what is there.

    Raises:
        ArgumentTypeError: If that has no name here.
    """
    for name, factory in FACTORIES.items():
        if factory is value.default_factory:
            return [name, dict(value)]
    raise ArgumentTypeError(f"a checkpoint holds a defaultdict of {', '.join(FACTORIES)}, not {value.default_factory}.")


def _take_generator_apart(value: np.random.Generator | np.random.RandomState) -> dict[str, Any]:
    """Read one of NumPy's generators.

    Raises:
        ArgumentTypeError: If its bits come from elsewhere.
    """
    state = read_generator(value) if isinstance(value, np.random.Generator) else value.get_state(legacy=False)
    if state["bit_generator"] not in BIT_GENERATORS:
        raise ArgumentTypeError(f"a checkpoint holds NumPy's own generators, not {state['bit_generator']}.")
    return state


def _take_torch_generator_apart(value: th.Generator) -> th.Tensor:
    """Read one of torch's generators.

    Raises:
        ArgumentTypeError: If it is a GPU's.
    """
    if value.device.type != "cpu":
        raise ArgumentTypeError(f"a checkpoint holds torch's generators of the CPU, not of {value.device}.")
    return value.get_state()


def make_moments(parts: Sequence[Any]) -> RunningMeanStd:
    """Put SB3's running moments together.

    Args:
        parts: Mean, variance (arrays of one shape) and count.

    Returns:
        The moments.
    """
    moments = RunningMeanStd()
    moments.mean, moments.var, moments.count = parts
    return moments


KINDS: dict[str, Kind] = {
    "tuple": Kind(tuple, list, tuple),
    "set": Kind(set, list, set),
    "frozenset": Kind(frozenset, list, frozenset),
    "deque": Kind(deque, lambda value: [value.maxlen, list(value)], lambda parts: deque(parts[1], parts[0])),
    "OrderedDict": Kind(OrderedDict, dict, OrderedDict),
    "Counter": Kind(Counter, dict, Counter),
    "defaultdict": Kind(
        defaultdict, _take_default_dict_apart, lambda parts: defaultdict(FACTORIES[parts[0]], parts[1])
    ),
    "random": Kind(random.Random, read_python, make_python),
    "generator": Kind(np.random.Generator, _take_generator_apart, make_generator),
    "random state": Kind(np.random.RandomState, _take_generator_apart, make_random_state),
    "torch generator": Kind(th.Generator, _take_torch_generator_apart, make_torch_generator),
    "running moments": Kind(RunningMeanStd, lambda value: [value.mean, value.var, value.count], make_moments),
}
"""All kinds, by the names that stand in a file."""
NAMES = {kind.type: name for name, kind in KINDS.items()}
