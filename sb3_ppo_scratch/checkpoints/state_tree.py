"""State as data: numbers, text, arrays and tensors in lists and dicts, written as JSON beside the arrays' bytes.

What is here: both directions, exact to the bit, and nothing that could run code. What is not: the file
(`checkpoint_file.py`), and what belongs to a run (`run_state.py`).
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch as th

from sb3_ppo_scratch.errors import ArgumentTypeError

State = Any
"""None, bool, int, float, str, a NumPy scalar or array of numbers, a CPU tensor, or a list, tuple or dict of these."""
KINDS = "biufc"
"""Of arrays' types: booleans, integers and floating-point numbers."""
PLAIN = (bool, int, float, str, type(None))
"""What JSON knows itself. Python's JSON keeps every bit of a float, and knows NaN, infinities and long integers."""


LONG = 16
"""Longer lists of floats are written as arrays; those of a monitor have one for each episode."""
ARRAYS: dict[str, Callable[[np.ndarray], State]] = {
    "array": lambda array: array,
    "scalar": lambda array: array[()],
    "tensor": th.from_numpy,
    "floats": lambda array: array.tolist(),
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
    if isinstance(value, list | tuple):
        return all(is_state(each) for each in value)
    if isinstance(value, Mapping):
        return all(isinstance(key, int | str) and is_state(each) for key, each in value.items())
    if isinstance(value, np.ndarray | np.generic):
        return value.dtype.kind in KINDS
    return isinstance(value, (*PLAIN, th.Tensor))


def encode(state: State) -> tuple[str, bytes]:
    """Write state as text and bytes.

    Args:
        state: What is to be written.

    Returns:
        JSON, and the bytes of all arrays, one behind the other.

    Raises:
        ArgumentTypeError: If something in it is none of the types above.
    """
    data = bytearray()
    return json.dumps(_to_json(state, data), separators=(",", ":")), bytes(data)


def _to_json(value: State, data: bytearray) -> Any:
    """Turn a value into what JSON knows; each list says first what it stands for.

    Raises:
        ArgumentTypeError: If the value is no `State`.
    """
    if type(value) in PLAIN:
        return value
    if isinstance(value, Mapping):
        return ["dict", *([_check_key(key), _to_json(each, data)] for key, each in value.items())]
    kind = _kind_of_array(value)
    if kind is not None:
        array = value.detach().cpu().numpy() if isinstance(value, th.Tensor) else np.asarray(value)
        return [kind, *_store(array, data)]
    if isinstance(value, list | tuple):
        return ["list" if isinstance(value, list) else "tuple", *(_to_json(each, data) for each in value)]
    raise ArgumentTypeError(f"a checkpoint holds numbers, text and arrays in lists and dicts, not {type(value)}.")


def _kind_of_array(value: Any) -> str | None:
    """Say how a value is written as bytes; None: it is not."""
    if isinstance(value, th.Tensor):
        return "tensor"
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in KINDS:
        return "array" if isinstance(value, np.ndarray) else "scalar"
    if type(value) is list and len(value) > LONG and set(map(type, value)) == {float}:
        return "floats"
    return None


def _check_key(key: Any) -> int | str:
    """Refuse keys that JSON would change.

    Raises:
        ArgumentTypeError: If the key is neither an integer nor text.
    """
    if type(key) not in (int, str):
        raise ArgumentTypeError(f"a checkpoint's dicts have integers or text as keys, not {key!r}.")
    checked: int | str = key
    return checked


def _store(array: np.ndarray, data: bytearray) -> tuple[str, list[int], int]:
    """Append an array's bytes, and say its type, shape and place."""
    place = len(data)
    data += array.tobytes()
    return array.dtype.str, list(array.shape), place


def decode(text: str, data: bytes) -> State:
    """Read what `encode` has written.

    Args:
        text: JSON.
        data: The arrays' bytes.

    Returns:
        The state; arrays are copies.

    Raises:
        StateError: If the text is no such JSON, or an array does not lie within the bytes.
    """
    try:
        return _from_json(json.loads(text), memoryview(data))
    except StateError:
        raise
    except (ValueError, TypeError, IndexError, KeyError, RecursionError, OverflowError) as error:
        raise StateError(f"no state of a run: {error}") from error


def _from_json(value: Any, data: memoryview) -> State:
    """Turn what JSON knows into a value.

    Raises:
        StateError: If a list does not say what it stands for.
    """
    if not isinstance(value, list):
        return value
    kind, *content = value
    if kind in ("list", "tuple"):
        items = [_from_json(each, data) for each in content]
        return items if kind == "list" else tuple(items)
    if kind == "dict":
        return {key: _from_json(each, data) for key, each in content}
    if kind not in ARRAYS:
        raise StateError(f"no state of a run: unknown kind {kind!r}")
    return ARRAYS[kind](_load(*content, data=data))


def _load(type_name: str, shape: list[int], place: int, *, data: memoryview) -> np.ndarray:
    """Copy an array of the given shape out of the bytes; no more memory is taken than it has bytes there.

    Raises:
        StateError: If it is none of numbers, or does not lie within the bytes.
    """
    dtype = np.dtype(type_name)
    if dtype.kind not in KINDS or dtype.hasobject:
        raise StateError(f"no state of a run: an array of {type_name!r}")
    size = dtype.itemsize
    for length in shape:
        if type(length) is not int or length < 0:
            raise StateError(f"no state of a run: an array of shape {shape}")
        size *= length
    if type(place) is not int or place < 0 or place + size > len(data):
        raise StateError(f"no state of a run: an array of {size} bytes at {place} in {len(data)}")
    return np.frombuffer(data[place : place + size], dtype=dtype).reshape(shape).copy()
