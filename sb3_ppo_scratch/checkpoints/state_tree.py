"""State as data: numbers, text, arrays and what is made of them, written as JSON beside the arrays' bytes.

What is here: both directions, exact to the bit, and nothing that could run code. What is not: kinds that are made of
simpler ones (`state_kinds.py`), the file (`checkpoint_file.py`), and what belongs to a run (`run_state.py`).
"""

import json
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch as th

from sb3_ppo_scratch.checkpoints.state_kinds import KINDS, NAMES
from sb3_ppo_scratch.errors import ArgumentTypeError

State = Any
"""None, bool, int, float, str, a NumPy scalar or array of numbers, a tensor, or a list, a dict or one of `KINDS` of
these. Each comes back as the type that it was, not as a relative of it. Tensors come back on the CPU and without
gradients, arrays dense with their axes in the same order in memory, and what was held twice is there twice."""
NUMBERS = "biufc"
"""Of arrays' types: booleans, integers and floating-point numbers."""
PLAIN = (bool, int, float, str, type(None))
"""What JSON knows itself. Python's JSON keeps every bit of a float, and knows NaN, infinities and long integers."""
MOST_AXES, LONGEST_AXIS = 64, 1 << 62
"""Of an array; NumPy has no more. Longer ones would take hours to multiply."""
TYPE_NAME = re.compile(r"[<>|=]?[biufc]\d{1,2}")
"""As NumPy writes the types of numbers; it would read other names as an expression."""
LONGEST_INTEGER = 2048
"""Bits; Python may refuse to write longer ones as text."""
DEEPEST = 50
"""Lists within lists. More of them could be written, and not be read where less of Python's stack is left."""
LONG = 16
"""Longer lists of numbers of one type are written as arrays; those of a monitor have one for each episode."""
ARRAYS: dict[str, Callable[[np.ndarray], State]] = {
    "array": lambda array: array,
    "scalar": lambda array: array[()],
    "tensor": th.from_numpy,
    "bfloat16": lambda array: th.from_numpy(array).view(th.bfloat16),
    "numbers": lambda array: array.tolist(),
    "scalars": list,
}
"""What is written as bytes, and what becomes of them."""


class StateError(ValueError):
    """Text or bytes that are no state."""


def is_state(value: Any) -> bool:
    """Tell whether a value can be written.

    Args:
        value: Anything.

    Returns:
        Whether it is a `State`.
    """
    try:
        _to_json(value, None, ())
    except ArgumentTypeError:
        return False
    return True


def encode(state: State) -> tuple[str, bytes]:
    """Write state as text and bytes.

    Args:
        state: What is to be written.

    Returns:
        JSON, and the bytes of all arrays, one behind the other.

    Raises:
        ArgumentTypeError: If something in it is none of the types above, is nested too deeply, or holds itself.
    """
    data = bytearray()
    return json.dumps(_to_json(state, data, ()), separators=(",", ":")), bytes(data)


def _to_json(value: State, data: bytearray | None, above: tuple[int, ...]) -> Any:
    """Turn a value into what JSON knows; each list says first what it stands for.

    Args:
        value: It.
        data: Takes the arrays' bytes; None: they are not wanted.
        above: Identities of what the value lies in.

    Raises:
        ArgumentTypeError: If the value is no `State`.
    """
    kind = type(value)
    if _is_plain(value):
        return value
    named = _as_array(value)
    if named is not None:
        return [named[0], *_store(named[1], data)]
    if len(above) == DEEPEST or id(value) in above:
        raise ArgumentTypeError(f"a checkpoint holds no lists and dicts in themselves or more than {DEEPEST} deep.")
    above = (*above, id(value))
    if kind is list:
        return ["list", *(_to_json(each, data, above) for each in value)]
    if kind is dict:
        return ["dict", *([_to_json(key, data, above), _to_json(each, data, above)] for key, each in value.items())]
    if kind in NAMES:
        name = NAMES[kind]
        return [name, _to_json(KINDS[name].take_apart(value), data, above)]
    raise ArgumentTypeError(f"a checkpoint holds numbers, text, arrays and what is made of them, not {kind}.")


def _is_plain(value: Any) -> bool:
    """Tell whether JSON knows a value itself; integers up to a length that Python reads again."""
    return type(value) in PLAIN and not (type(value) is int and value.bit_length() > LONGEST_INTEGER)


def _as_array(value: Any) -> tuple[str, np.ndarray] | None:
    """Say how a value is written as bytes, and which; None: it is not."""
    kind = type(value)
    if kind is th.Tensor:
        return _tensor_as_array(value.detach())
    if kind is np.ndarray:
        return ("array", value) if value.dtype.kind in NUMBERS else None
    if isinstance(value, np.generic):
        return ("scalar", np.asarray(value)) if kind is value.dtype.type and value.dtype.kind in NUMBERS else None
    return _list_as_array(value) if kind is list and len(value) > LONG else None


def _tensor_as_array(tensor: th.Tensor) -> tuple[str, np.ndarray] | None:
    """Say how a tensor is written; None: it is of a type or a layout that NumPy does not have (sparse, say)."""
    is_short = tensor.dtype is th.bfloat16
    try:
        plain = tensor.cpu().resolve_conj().resolve_neg()
        return "bfloat16" if is_short else "tensor", (plain.view(th.int16) if is_short else plain).numpy()
    except (TypeError, RuntimeError):
        return None


def _list_as_array(values: list[Any]) -> tuple[str, np.ndarray] | None:
    """Say how a list of numbers of one type is written; None: it is none, or its integers are too long."""
    kinds = set(map(type, values))
    kind = kinds.pop()
    if kinds:
        return None
    if kind in (bool, float):
        return "numbers", np.array(values, dtype=kind)
    if kind is int:
        try:
            return "numbers", np.array(values, dtype=np.int64)
        except OverflowError:
            return None
    if issubclass(kind, np.generic):
        scalars = np.array(values)
        return ("scalars", scalars) if scalars.dtype.kind in NUMBERS and scalars.dtype.type is kind else None
    return None


def _store(array: np.ndarray, data: bytearray | None) -> list[Any]:
    """Append an array's bytes, and say its type, its shape, its place, and the order of its axes if it is not C's.

    The order matters: convolutions round otherwise over transposed images.
    """
    order = sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis]))
    said = [array.dtype.str, list(array.shape), 0 if data is None else len(data)]
    if data is not None:
        data += array.transpose(order).tobytes()
    return said if order == list(range(array.ndim)) else [*said, order]


def decode(text: str, data: bytes) -> State:
    """Read what `encode` has written.

    Args:
        text: JSON.
        data: The arrays' bytes.

    Returns:
        The state; arrays are copies.

    Raises:
        StateError: If the text is no such JSON, or an array does not lie behind the one before it, within the bytes.
    """
    try:
        return _from_json(json.loads(text), _Arrays(data))
    except StateError:
        raise
    except Exception as error:  # what is put together from wrong parts raises all kinds
        raise StateError(f"no state of a run: {error or type(error).__name__}") from error


class _Arrays:
    """The arrays' bytes, each of which belongs to one array: no file becomes larger than it is.

    Args:
        data: All of them.
    """

    def __init__(self, data: bytes) -> None:
        self._data, self._taken = memoryview(data), 0

    def load(self, type_name: str, shape: list[int], place: int, order: list[int] | None = None) -> np.ndarray:
        """Copy the next array.

        Args:
            type_name: Of its numbers, as NumPy names them.
            shape: Its own.
            place: Where its bytes begin.
            order: Its axes as they lie in memory; None: C's order.

        Returns:
            The array.

        Raises:
            StateError: If it is none of numbers, or does not lie within the bytes, behind the one before it.
        """
        if not TYPE_NAME.fullmatch(type_name):
            raise StateError(f"no state of a run: an array of {type_name!r:.100}")
        dtype = np.dtype(type_name)
        end = place + dtype.itemsize * count_items(shape)
        if type(place) is not int or not self._taken <= place <= end <= len(self._data):
            raise StateError(f"no state of a run: an array of {end - place} bytes at {place} in {len(self._data)}")
        self._taken = end
        flat = np.frombuffer(self._data[place:end], dtype=dtype)
        if order is None:
            return flat.reshape(shape).copy()
        return flat.reshape([shape[axis] for axis in order]).copy().transpose(np.argsort(order))


def _from_json(value: Any, arrays: _Arrays) -> State:
    """Turn what JSON knows into a value.

    Raises:
        StateError: If a list does not say what it stands for.
    """
    if not isinstance(value, list):
        return value
    kind, *content = value
    if kind == "list":
        return [_from_json(each, arrays) for each in content]
    if kind == "dict":
        return {_from_json(key, arrays): _from_json(each, arrays) for key, each in content}
    if kind in ARRAYS:
        return ARRAYS[kind](arrays.load(*content))
    if kind not in KINDS:
        raise StateError(f"no state of a run: unknown kind {kind!r}")
    (parts,) = content
    return KINDS[kind].put_together(_from_json(parts, arrays))


def count_items(shape: Sequence[int]) -> int:
    """Multiply the lengths of a shape that nobody vouches for.

    Args:
        shape: It.

    Returns:
        How many numbers such an array has.

    Raises:
        StateError: If it is no shape of an array.
    """
    if len(shape) > MOST_AXES or any(type(n) is not int or not 0 <= n <= LONGEST_AXIS for n in shape):
        raise StateError("an array of no shape that an array can have")
    return math.prod(shape)
