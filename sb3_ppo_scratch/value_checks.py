"""Checks of values: each names the argument, the value received and what to do.

What is here: one function per kind of argument. What is not: which of them each argument gets (`argument_checks.py`).
"""

import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.utils import ConstantSchedule, FloatSchedule

from sb3_ppo_scratch.errors import ArgumentError, ArgumentTypeError

Check = Callable[[str, Any], None]
"""Takes an argument's name and the value received, and raises if that is unusable."""


def check_arguments(arguments: Mapping[str, Any], checks: Mapping[str, Check]) -> None:
    """Check arguments, each by itself.

    Args:
        arguments: Their values by name.
        checks: The check of each by name; what stands in one of the two mappings alone is passed over.

    Raises:
        ArgumentTypeError: If one has a wrong type.
        ArgumentError: If one has an unusable value.
    """
    for name, check in checks.items():
        if name in arguments:
            check(name, arguments[name])


def check_type(name: str, value: Any, *, types: Any, what: str) -> None:
    """Accept objects of some types.

    Args:
        name: The argument's name.
        value: The value received.
        types: What `isinstance` takes.
        what: The same in words.

    Raises:
        ArgumentTypeError: If the value is of another type.
    """
    if not isinstance(value, types):
        raise ArgumentTypeError(f"`{name}` must be {what}, got {value!r}.")


def check_unless(exceptions: tuple[Any, ...], check: Check, name: str, value: Any) -> None:
    """Apply a check to a value that may also be one of a few exceptions.

    Args:
        exceptions: Integers, strings or None.
        check: What all other values have to pass.
        name: The argument's name.
        value: The value received.
    """
    if not isinstance(value, Integral | str | None) or value not in exceptions:
        check(name, value)


def check_positive_integer(name: str, value: Any, *, remedy: str) -> None:
    """Accept 1, 2, 3, ...

    Args:
        name: The argument's name.
        value: The value received.
        remedy: What the message advises.

    Raises:
        ArgumentTypeError: If the value is no integer (a bool and 64.0 are none).
        ArgumentError: If it is below 1.
    """
    _check_integer(name, value, "an integer of at least 1", remedy=remedy)
    if value < 1:
        raise ArgumentError(f"`{name}` must be at least 1, got {value!r}; {remedy}.")


def _check_integer(name: str, value: Any, what: str, *, remedy: str) -> None:
    """Accept integers that are no bools."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, Integral):
        raise ArgumentTypeError(f"`{name}` must be {what}, got {value!r}; {remedy}.")


def check_number(name: str, value: Any, *, remedy: str = "pass a float") -> None:
    """Accept any number but NaN.

    Args:
        name: The argument's name.
        value: The value received.
        remedy: What the message advises.

    Raises:
        ArgumentTypeError: If the value is no number (a bool is none).
        ArgumentError: If it is NaN.
    """
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, Real):
        raise ArgumentTypeError(f"`{name}` must be a number, got {value!r}; {remedy}.")
    if math.isnan(value):
        raise ArgumentError(f"`{name}` must be a number, got NaN; {remedy}.")


def check_fraction(name: str, value: Any, *, remedy: str) -> None:
    """Accept numbers in [0, 1].

    Args:
        name: The argument's name.
        value: The value received.
        remedy: What the message advises.

    Raises:
        ArgumentTypeError: If the value is no number.
        ArgumentError: If it lies outside [0, 1] or is NaN.
    """
    check_number(name, value, remedy=remedy)
    if not 0.0 <= value <= 1.0:
        raise ArgumentError(f"`{name}` must lie in [0, 1], got {value!r}; {remedy}.")


def check_finite(name: str, value: Any, *, remedy: str = "0 turns the term off") -> None:
    """Accept finite numbers of either sign.

    Args:
        name: The argument's name.
        value: The value received.
        remedy: What the message advises.

    Raises:
        ArgumentTypeError: If the value is no number.
        ArgumentError: If it is NaN or infinite.
    """
    check_number(name, value)
    if not math.isfinite(value):
        raise ArgumentError(f"`{name}` must be finite, got {value!r}; {remedy}.")


def check_positive(name: str, value: Any, *, remedy: str = "pass a number above 0", finite: bool = False) -> None:
    """Accept numbers above 0.

    Args:
        name: The argument's name.
        value: The value received.
        remedy: What the message advises.
        finite: Whether infinity is refused.

    Raises:
        ArgumentTypeError: If the value is no number.
        ArgumentError: If it is 0, negative, NaN or refused.
    """
    check_number(name, value, remedy=remedy)
    if value <= 0 or (finite and math.isinf(value)):
        raise ArgumentError(f"`{name}` must be positive{' and finite' if finite else ''}, got {value!r}; {remedy}.")


def check_schedule(name: str, value: Any, *, zero_allowed: bool, remedy: str = "pass a float or a callable") -> None:
    """Accept a constant (SB3's constant schedule too), or a callable of the remaining progress, tried once at 1.0.

    Args:
        name: The argument's name.
        value: The constant or callable received.
        zero_allowed: Whether a constant 0 makes sense. A callable may always begin at 0 (warm-up).
        remedy: What the message advises.

    Raises:
        ArgumentTypeError: If the value is neither a number nor a callable, or the callable does not take the progress,
            or returns no number.
        ArgumentError: If the constant or the callable's first value is negative, infinite or NaN, or is a constant 0
            that is not allowed.
    """
    while isinstance(value, FloatSchedule | ConstantSchedule):  # what rl_zoo3 makes of a number in YAML
        value = value.value_schedule if isinstance(value, FloatSchedule) else value.val
    if not callable(value):
        check_number(name, value, remedy=remedy)
        if not math.isfinite(value) or value < 0 or (value == 0 and not zero_allowed):
            raise ArgumentError(
                f"`{name}` must be {'finite and not negative' if zero_allowed else 'finite and positive'}, "
                f"got {value!r}; {remedy}."
            )
        return
    try:
        first = value(1.0)
    except TypeError as error:
        raise ArgumentTypeError(
            f"`{name}` must be callable with the remaining progress (1 to 0), got {value!r}: {error}."
        ) from error
    check_number(f"{name}(1.0)", first, remedy="return a float from the schedule")
    if not math.isfinite(first) or first < 0:
        raise ArgumentError(f"`{name}` begins (progress 1.0) at {first!r}; a schedule must be finite and not negative.")


def check_choice(name: str, value: Any, choices: Iterable[Any]) -> None:
    """Accept one of a few values.

    Args:
        name: The argument's name.
        value: The value received.
        choices: The values allowed.

    Raises:
        ArgumentError: If the value is none of them.
    """
    allowed = list(choices)
    for choice in allowed:
        if value is choice or (type(value) is type(choice) and value == choice):
            return
    raise ArgumentError(f"`{name}` must be one of {allowed}, got {value!r}.")


def check_seed(name: str, value: Any) -> None:
    """Accept what NumPy's generator can be seeded with.

    Args:
        name: The argument's name.
        value: The value received.

    Raises:
        ArgumentTypeError: If the value is no integer (a bool is none).
        ArgumentError: If it lies outside [0, 2^32).
    """
    _check_integer(name, value, "an integer of at least 0", remedy="None seeds nothing")
    if not 0 <= value < 2**32:
        raise ArgumentError(f"`{name}` must lie in [0, 2**32 - 1], got {value!r}; None seeds nothing.")


def check_verbosity(name: str, value: Any) -> None:
    """Accept 0, 1, 2, ..., and bools, which SB3's users pass, too.

    Args:
        name: The argument's name.
        value: The value received.

    Raises:
        ArgumentTypeError: If the value is neither.
        ArgumentError: If it is negative.
    """
    if not isinstance(value, Integral):
        raise ArgumentTypeError(f"`{name}` must be 0, 1 or 2, got {value!r}.")
    if value < 0:
        raise ArgumentError(f"`{name}` must be 0, 1 or 2, got {value!r}.")


def check_device(name: str, value: Any) -> None:
    """Accept `"auto"` and what torch knows as a device, whether or not this machine has it.

    Args:
        name: The argument's name.
        value: The value received.

    Raises:
        ArgumentTypeError: If torch takes no such type for a device.
        ArgumentError: If torch knows no such device.
    """
    try:
        th.device("cpu" if isinstance(value, str) and value == "auto" else value)
    except TypeError as error:
        raise ArgumentTypeError(f"`{name}` must be a device, got {value!r}; pass 'auto' or 'cpu'.") from error
    except (RuntimeError, ValueError) as error:
        raise ArgumentError(f"`{name}` must be a device, got {value!r}; pass 'auto' or 'cpu': {error}") from error


def check_subclass(name: str, value: Any, *, base: type[Any]) -> None:
    """Accept subclasses of a class.

    Args:
        name: The argument's name.
        value: The value received.
        base: The class.

    Raises:
        ArgumentTypeError: If the value is no class, or another.
    """
    if not (isinstance(value, type) and issubclass(value, base)):
        raise ArgumentTypeError(f"`{name}` must be a subclass of {base.__name__}, got {value!r}.")


def or_none(check: Check) -> Check:
    """Let None pass, too.

    Args:
        check: What all other values have to pass.

    Returns:
        The check of both.
    """
    return partial(check_unless, (None,), check)


YES_OR_NO: Check = partial(check_choice, choices=(True, False))
"""Accepts True and False only."""
