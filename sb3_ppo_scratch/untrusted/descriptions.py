"""Objects described by data: spaces, schedules, and classes by name, out of a list of those that are known.

What is here: both directions. What is described can be made again without unpickling anything, and only out of the
classes listed here. What is not: which of a model's attributes are described (`saved_model.py`).
"""

import importlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch as th

from sb3_ppo_scratch.checkpoints.state_tree import State, count_items, is_state
from sb3_ppo_scratch.errors import ArgumentError
from sb3_ppo_scratch.zip_members import UnsafeFileError

FIELDS: dict[str, tuple[str, ...]] = {
    "gymnasium.spaces.box.Box": ("low", "high", "shape", "dtype"),
    "gymnasium.spaces.discrete.Discrete": ("n", "start", "dtype"),
    "gymnasium.spaces.multi_discrete.MultiDiscrete": ("nvec", "start", "dtype"),
    "gymnasium.spaces.multi_binary.MultiBinary": ("n",),
    "gymnasium.spaces.dict.Dict": ("spaces",),
    "gymnasium.spaces.tuple.Tuple": ("spaces",),
    "stable_baselines3.common.utils.ConstantSchedule": ("val",),
    "stable_baselines3.common.utils.LinearSchedule": ("start", "end", "end_fraction"),
    "stable_baselines3.common.utils.FloatSchedule": ("value_schedule",),
    "rl_zoo3.utils.SimpleLinearSchedule": ("initial_value",),
}
"""Classes whose objects are described, and the arguments that make such an object again."""
CLASSES = frozenset(
    {
        *(f"torch.nn.modules.activation.{name}" for name in th.nn.modules.activation.__all__),
        "torch.nn.modules.linear.Identity",
        *(f"{kind.__module__}.{name}" for name, kind in vars(th.optim).items() if isinstance(kind, type)),
        "stable_baselines3.common.sb2_compat.rmsprop_tf_like.RMSpropTFLike",
        "stable_baselines3.common.torch_layers.FlattenExtractor",
        "stable_baselines3.common.torch_layers.NatureCNN",
        "stable_baselines3.common.torch_layers.CombinedExtractor",
        "stable_baselines3.common.policies.ActorCriticPolicy",
        "stable_baselines3.common.policies.ActorCriticCnnPolicy",
        "stable_baselines3.common.policies.MultiInputActorCriticPolicy",
        "stable_baselines3.common.buffers.RolloutBuffer",
        "stable_baselines3.common.buffers.DictRolloutBuffer",
        "sb3_ppo_scratch.policies.BinnedMlpPolicy",
        "sb3_ppo_scratch.policies.OrdinalMlpPolicy",
        "sb3_ppo_scratch.policies.GaussianMlpPolicy",
        "sb3_ppo_scratch.rollout_buffers.ScratchRolloutBuffer",
        "sb3_ppo_scratch.rollout_buffers.ScratchDictRolloutBuffer",
    }
)
"""Classes that are described by their names."""
OBJECT, CLASS = "an object of", "the class"
"""Keys of a dict that stands for something that is no data."""
DTYPES = "biuf"
"""Kinds of numbers that spaces are made of."""
LARGEST_SPACE = 1 << 22
"""Numbers in one observation or action; a picture of 1024 x 1024 pixels in four colours has as many."""


class NotDescribableError(ArgumentError):
    """Something that cannot be described by data."""


def describe(value: Any) -> State:
    """Describe something by data.

    Args:
        value: Numbers, text, arrays, known classes and objects of them, in lists, tuples and dicts.

    Returns:
        The description.

    Raises:
        NotDescribableError: If there is anything else in it.
    """
    known = _describe_known(value)
    if known is not None:
        return known
    if isinstance(value, Mapping) and not {OBJECT, CLASS} & set(value):
        return {key: describe(each) for key, each in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(describe, value))
    if isinstance(value, list | tuple | Mapping) or not is_state(value):
        raise NotDescribableError(_name_of(value if isinstance(value, type) else type(value)))
    return value


def _describe_known(value: Any) -> State:
    """Describe a class or object that is listed here, or a type of numbers; None: it is none."""
    if isinstance(value, np.dtype):
        return value.str
    if isinstance(value, type):
        return {CLASS: _name_of(value)} if _name_of(value) in CLASSES else None
    name = _name_of(type(value))
    if name not in FIELDS:
        return None
    return {OBJECT: name, **{field: describe(_field(value, field)) for field in FIELDS[name]}}


def describe_all(values: Mapping[str, Any]) -> tuple[dict[str, State], dict[str, str]]:
    """Describe whatever can be.

    Args:
        values: By name.

    Returns:
        The descriptions by name, and what the others are.
    """
    described, others = {}, {}
    for name, value in sorted(values.items()):
        try:
            described[name] = describe(value)
        except NotDescribableError as error:  # noqa: PERF203 # a handful of values
            others[name] = str(error)
    return described, others


def _name_of(kind: type) -> str:
    """Name a class."""
    return f"{kind.__module__}.{kind.__qualname__}"


def _field(value: Any, name: str) -> Any:
    """Read an argument that makes an object again; of equal bounds one."""
    field = getattr(value, name)
    if isinstance(field, np.ndarray) and field.size > 1 and name in ("low", "high") and (field == field.flat[0]).all():
        return field.flat[0]
    return field


def make_described(description: State) -> Any:
    """Make what has been described.

    Args:
        description: What `describe` has returned, or anybody has made up.

    Returns:
        The object.

    Raises:
        UnsafeFileError: If it names a class that is not listed here, or spaces are too large.
        Exception: Whatever the classes raise for other arguments than theirs.
    """
    n_numbers = _count_numbers(description)
    if n_numbers > LARGEST_SPACE:
        raise UnsafeFileError(f"its spaces claim {n_numbers} numbers")
    return _make(description)


def _count_numbers(description: State) -> int:
    """Count the numbers of an element of all spaces in a description."""
    if isinstance(description, list | tuple):
        return sum(map(_count_numbers, description))
    if not isinstance(description, dict):
        return 0
    own = count_items(_sizes(description.get("shape", description.get("n", ())))) if OBJECT in description else 0
    return own + sum(map(_count_numbers, description.values()))


def _sizes(value: State) -> list[int]:
    """Read a shape, or a single size."""
    return [int(size) for size in (value if isinstance(value, list | tuple) else np.ravel(value))]


def _make(description: State) -> Any:
    """Make what has been described, whatever its size."""
    if isinstance(description, list | tuple):
        return type(description)(map(_make, description))
    if not isinstance(description, dict):
        return description
    if CLASS in description:
        return _find_class(description[CLASS], CLASSES)
    if OBJECT not in description:
        return {key: _make(each) for key, each in description.items()}
    kind = _find_class(description[OBJECT], FIELDS)
    arguments = {name: _make(description[name]) for name in FIELDS[description[OBJECT]]}
    if "dtype" in arguments:
        arguments["dtype"] = _check_dtype(arguments["dtype"])
    return kind(**arguments)


def _check_dtype(name: Any) -> Any:
    """Look a type of numbers up.

    Raises:
        UnsafeFileError: If it is none.
    """
    dtype = np.dtype(name)
    if dtype.kind not in DTYPES or dtype.shape or dtype.names:
        raise UnsafeFileError(f"a space of {name!r}")
    return dtype.type


def _find_class(name: Any, known: frozenset[str] | Mapping[str, Any]) -> Any:
    """Look a class up.

    Raises:
        UnsafeFileError: If it is not listed.
    """
    if not isinstance(name, str) or name not in known:
        raise UnsafeFileError(f"it names {name!r}, which is none of the classes that files may name")
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)
