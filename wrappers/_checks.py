"""Checks of numbers that users pass to the wrappers, from Python or from YAML.

Here: conversions that either return a finite float (array) or raise an error that names the parameter and the value.
Not here: what a single wrapper demands beyond that (ranges, shapes), which is checked where it is used.
"""

from __future__ import annotations

import math
import numbers
from typing import Any

import numpy as np
from numpy.typing import NDArray


def as_finite_number(name: str, value: object) -> float:
    """Return `value` as a Python float if it is a finite real number.

    Args:
        name: The parameter's name, for the error message.
        value: What the user passed: a Python or NumPy number.

    Returns:
        The same number as a float.

    Raises:
        TypeError: If `value` is a bool or not a real number (a string, an array, a list, None).
        ValueError: If `value` is NaN, infinite or too large for a float.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        # PyYAML follows YAML 1.1, where 1e-2 (without a point) is a string.
        hint = "; in YAML write 1.0e-2 instead of 1e-2" if isinstance(value, str) else ""
        raise TypeError(f"{name}={value!r} must be a number, not of type {type(value).__name__}{hint}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{name}={value!r} must be finite")
    return number


def as_positive_number(name: str, value: object) -> float:
    """Return `value` as a Python float if it is a finite number above zero.

    Args:
        name: The parameter's name, for the error message.
        value: What the user passed: a Python or NumPy number.

    Returns:
        The same number as a float.

    Raises:
        TypeError: If `value` is a bool or not a real number.
        ValueError: If `value` is not finite, or not above zero.
    """
    number = as_finite_number(name, value)
    if number <= 0.0:
        raise ValueError(f"{name}={value!r} must be greater than 0")
    return number


def as_finite_array(name: str, value: object) -> NDArray[np.float64]:
    """Return `value` as a new float64 array if it holds finite real numbers only.

    Args:
        name: The parameter's name, for the error message.
        value: A number, a (nested) list of numbers, or an array of any shape and of integer or float dtype.

    Returns:
        The numbers, shape as in `value`, dtype float64.

    Raises:
        TypeError: If `value` holds a bool or something that is not a number, or if nested lists differ in length.
        ValueError: If a number is NaN or infinite.
    """
    if not isinstance(value, np.ndarray):
        # Element by element: as an array, [0.5, True] would become [0.5, 1.0] unnoticed.
        objects = np.array(value, dtype=object)
        numbers_found = [as_finite_number(name, element) for element in objects.ravel().tolist()]
        return np.array(numbers_found).reshape(objects.shape)
    if value.dtype.kind not in ("i", "u", "f"):
        raise TypeError(f"{name}={value!r} must hold numbers, not dtype {value.dtype}")
    if not np.isfinite(value).all():
        raise ValueError(f"{name}={value.tolist()!r} must be finite")
    return np.array(value, dtype=np.float64)


def as_whole_number(name: str, value: Any, advice: str) -> int:
    """Return `value` as a Python int if it is an integer.

    Args:
        name: The parameter's name, for the error message.
        value: What the user passed: a Python or NumPy integer.
        advice: What to do instead, for the error message.

    Returns:
        The same number as an int.

    Raises:
        TypeError: If `value` is a bool or not an integer (a float such as 3.0 neither).
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name}={value!r} must be an integer, not of type {type(value).__name__}: {advice}")
    return int(value)
