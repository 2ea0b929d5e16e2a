"""Checks of constructor arguments: each names the argument, the value received and what to do.

What is here: one function per kind of argument, and `check_arguments` for all those of `PPOScratch`. What is not:
anything that runs on the load path, where files with other values (rl_zoo3 plays with `clip_range=0`) have to work.
"""

import math
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from numbers import Integral, Real
from typing import Any

import numpy as np
from gymnasium import spaces


class ArgumentError(ValueError, AssertionError):
    """A wrong value for an argument.

    Also an `AssertionError`, because that is what SB3's own PPO raises in several of these places: code written for it
    (among it rl_zoo3's hyperparameter search, which prunes such a trial) keeps working.
    """


def check_arguments(arguments: Mapping[str, Any]) -> None:
    """Check every argument of `PPOScratch` that can be checked without the environment.

    Args:
        arguments: The constructor's arguments by name; other names are ignored.

    Raises:
        TypeError: If one has a wrong type.
        ArgumentError: If one has an unusable value.
    """
    for name in ("n_steps", "batch_size", "n_epochs", "stats_window_size"):
        check_positive_integer(name, arguments[name])
    for name in ("gamma", "gae_lambda"):
        check_fraction(name, arguments[name])
    for name in ("ent_coef", "vf_coef"):
        check_finite(name, arguments[name])
    check_positive("max_grad_norm", arguments["max_grad_norm"], remedy="float('inf') turns clipping off")
    check_schedule("learning_rate", arguments["learning_rate"], zero_allowed=True)
    check_schedule("clip_range", arguments["clip_range"], zero_allowed=False)
    for name, check in (("clip_range_vf", _check_value_clip), ("target_kl", _check_target_kl)):
        if arguments[name] is not None:
            check(arguments[name])
    for name in ("normalize_advantage", "use_sde", "normalize_observations"):
        check_choice(name, arguments[name], (True, False))
    if arguments["torch_threads"] not in ("auto", None):
        check_positive_integer("torch_threads", arguments["torch_threads"])
    if arguments["normalize_advantage"] and arguments["batch_size"] == 1:
        raise ArgumentError(
            "`batch_size` must be greater than 1 with normalize_advantage=True, got 1: normalising a single "
            "advantage gives NaN. Raise batch_size or pass normalize_advantage=False."
        )


def _check_value_clip(value: Any) -> None:
    check_schedule("clip_range_vf", value, zero_allowed=False, remedy="None turns value clipping off")


def _check_target_kl(value: Any) -> None:
    check_positive("target_kl", value, remedy="None turns early stopping off")


def check_positive_integer(name: str, value: Any) -> None:
    """Accept 1, 2, 3, ...

    Args:
        name: The argument's name.
        value: The value received.

    Raises:
        TypeError: If the value is no integer (a bool and 64.0 are none).
        ArgumentError: If it is below 1.
    """
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, Integral):
        raise TypeError(f"`{name}` must be an integer of at least 1, got {value!r}; pass for example {name}=64.")
    if value < 1:
        raise ArgumentError(f"`{name}` must be at least 1, got {value!r}.")


def check_number(name: str, value: Any, *, remedy: str = "pass a float") -> None:
    """Accept any number but NaN.

    Args:
        name: The argument's name.
        value: The value received.
        remedy: What the message advises.

    Raises:
        TypeError: If the value is no number (a bool is none).
        ArgumentError: If it is NaN.
    """
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, Real):
        raise TypeError(f"`{name}` must be a number, got {value!r}; {remedy}.")
    if math.isnan(value):
        raise ArgumentError(f"`{name}` must be a number, got NaN; {remedy}.")


def check_fraction(name: str, value: Any) -> None:
    """Accept numbers in [0, 1].

    Args:
        name: The argument's name.
        value: The value received.

    Raises:
        TypeError: If the value is no number.
        ArgumentError: If it lies outside [0, 1] or is NaN.
    """
    check_number(name, value)
    if not 0.0 <= value <= 1.0:
        raise ArgumentError(f"`{name}` must lie in [0, 1], got {value!r}.")


def check_finite(name: str, value: Any) -> None:
    """Accept finite numbers of either sign.

    Args:
        name: The argument's name.
        value: The value received.

    Raises:
        TypeError: If the value is no number.
        ArgumentError: If it is NaN or infinite.
    """
    check_number(name, value)
    if not math.isfinite(value):
        raise ArgumentError(f"`{name}` must be finite, got {value!r}.")


def check_positive(name: str, value: Any, *, remedy: str = "pass a number above 0") -> None:
    """Accept numbers above 0, infinity included.

    Args:
        name: The argument's name.
        value: The value received.
        remedy: What the message advises.

    Raises:
        TypeError: If the value is no number.
        ArgumentError: If it is 0, negative or NaN.
    """
    check_number(name, value, remedy=remedy)
    if value <= 0:
        raise ArgumentError(f"`{name}` must be positive, got {value!r}; {remedy}.")


def check_schedule(name: str, value: Any, *, zero_allowed: bool, remedy: str = "pass a float or a callable") -> None:
    """Accept a constant, or a callable of the remaining progress, which is tried once at its start (1.0).

    Args:
        name: The argument's name.
        value: The constant or callable received.
        zero_allowed: Whether a constant 0 makes sense. A callable may always begin at 0 (warm-up).
        remedy: What the message advises.

    Raises:
        TypeError: If the value is neither a number nor a callable, or the callable returns no number.
        ArgumentError: If the constant or the callable's first value is negative, infinite or NaN, or is a constant 0
            that is not allowed.
    """
    if not callable(value):
        check_number(name, value, remedy=remedy)
        if not math.isfinite(value) or value < 0 or (value == 0 and not zero_allowed):
            raise ArgumentError(
                f"`{name}` must be {'finite and not negative' if zero_allowed else 'finite and positive'}, "
                f"got {value!r}; {remedy}."
            )
        return
    first = value(1.0)
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
    if not any(value is choice or (type(value) is type(choice) and value == choice) for choice in allowed):
        raise ArgumentError(f"`{name}` must be one of {allowed}, got {value!r}.")


def check_known_names(names: Iterable[str], known: Iterable[str], *, where: str) -> None:
    """Refuse names that nothing would read.

    Args:
        names: The names received.
        known: The names that mean something.
        where: What they were given to, for the message.

    Raises:
        TypeError: If a name is unknown; the message names the nearest known one.
    """
    known = sorted(known)
    for name in names:
        if name not in known:
            nearest = get_close_matches(name, known, n=1)
            hint = f"did you mean `{nearest[0]}`?" if nearest else f"known are: {', '.join(known)}."
            raise TypeError(f"{where} does not know `{name}`; {hint}")


def check_minibatches(n_steps: int, n_envs: int, batch_size: int, *, normalize_advantage: bool) -> str | None:
    """Check that a rollout divides into minibatches that can be learned from.

    Args:
        n_steps: Steps of a rollout in each environment.
        n_envs: Environments.
        batch_size: Transitions of a minibatch.
        normalize_advantage: Whether advantages are normalised, which takes at least two.

    Returns:
        A warning if the last minibatch of an epoch is shorter than the others, else None.

    Raises:
        ArgumentError: If advantages are normalised over a single transition.
    """
    buffer_size = n_steps * n_envs
    if normalize_advantage and buffer_size <= 1:
        raise ArgumentError(
            f"`n_steps * n_envs` must be greater than 1, got n_steps={n_steps} and n_envs={n_envs}: "
            "normalising a single advantage gives NaN. Raise n_steps or pass normalize_advantage=False."
        )
    remainder = buffer_size % batch_size
    if remainder == 0:
        return None
    return (
        f"You have specified a mini-batch size of {batch_size}, which does not divide the rollout of "
        f"n_steps * n_envs = {n_steps} * {n_envs} = {buffer_size} transitions: after {buffer_size // batch_size} full "
        f"mini-batches there will be a truncated mini-batch of size {remainder}, which weighs as much as a full one. "
        "We recommend a `batch_size` that divides `n_steps * n_envs`."
    )


def check_action_space(space: spaces.Space[Any]) -> None:
    """Refuse action spaces whose actions the policy would get wrong without an error.

    SB3's distributions count categories from 0 and keep them in one row: a `Discrete` that starts elsewhere would
    receive actions that are all off by its start.

    Args:
        space: An action space of a supported kind.

    Raises:
        ArgumentError: If a Discrete or MultiDiscrete space does not start at 0, or a MultiDiscrete or MultiBinary
            space has more than one dimension.
    """
    start = getattr(space, "start", 0)
    if np.any(np.asarray(start) != 0):
        raise ArgumentError(
            f"The action space {space} does not start at 0, which SB3's policies cannot express; "
            "subtract the start in a wrapper (gymnasium.wrappers.TransformAction)."
        )
    if isinstance(space, (spaces.MultiDiscrete, spaces.MultiBinary)) and len(space.shape) > 1:
        raise ArgumentError(
            f"The action space {space} has {len(space.shape)} dimensions; only one is supported. "
            "Flatten it in a wrapper (gymnasium.wrappers.TransformAction)."
        )


def check_observation_space(space: spaces.Space[Any]) -> None:
    """Refuse observation spaces that one-hot encoding would get wrong.

    Args:
        space: The observation space, possibly a Dict of spaces.

    Raises:
        ArgumentError: If a Discrete or MultiDiscrete space (also inside a Dict) does not start at 0.
    """
    parts = space.spaces.items() if isinstance(space, spaces.Dict) else [("", space)]
    for key, part in parts:
        if np.any(np.asarray(getattr(part, "start", 0)) != 0):
            raise ArgumentError(
                f"The observation space {part}{f' (key {key!r})' if key else ''} does not start at 0, which SB3's "
                "one-hot encoding cannot express; subtract the start in a wrapper "
                "(gymnasium.wrappers.TransformObservation)."
            )
