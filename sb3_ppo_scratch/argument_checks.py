"""Checks of arguments and spaces: each names the argument, the value received and what to do.

What is here: one function per kind of argument, which of them each argument gets, and which arguments contradict each
other. What is not: when that is checked (`scratch_algorithm.py`).
"""

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from numbers import Integral, Real
from typing import Any, Literal, get_args

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.policies import BasePolicy, MultiInputActorCriticPolicy
from stable_baselines3.common.utils import ConstantSchedule, FloatSchedule

from sb3_ppo_scratch.advantages import Baseline
from sb3_ppo_scratch.errors import ArgumentError, ArgumentTypeError, UnsupportedSpaceError

UpdateName = Literal["auto", "autograd", "closed_form"]
"""Ways of updating."""
AdvantageName = Literal["gae", "monte_carlo"]
"""Ways of judging actions."""
KlMode = Literal["none", "early_stop", "penalty", "adaptive_lr", "rollback"]
"""Nothing; stop before a minibatch (SB3's `target_kl`); a term of the loss; a factor of the learning rate; stop and
return to the last parameters inside the bound."""
OnNan = Literal["raise", "skip", "restore"]
"""Raise; leave out the minibatch; leave out the whole update."""
KL_COEF = 1.0
"""The penalty's weight unless another is given."""
Check = Callable[[str, Any], None]
"""Takes an argument's name and the value received, and raises if that is unusable."""


@contextmanager
def sb3_errors_named(what: str) -> Iterator[None]:
    """Turn what SB3 raises about arguments inside the block into this project's errors.

    Args:
        what: What cannot be done, naming the argument.

    Yields:
        Nothing.

    Raises:
        ArgumentError: In place of an `AssertionError` or `ValueError`, or of a `RuntimeError` of torch's about shapes.
        ArgumentTypeError: In place of a `TypeError`.
        UnsupportedSpaceError: In place of a `NotImplementedError`.
    """
    try:
        yield
    except (ArgumentError, ArgumentTypeError):
        raise
    except (AssertionError, ValueError) as error:
        raise ArgumentError(f"{what}: {error}") from error
    except TypeError as error:
        raise ArgumentTypeError(f"{what}: {error}") from error
    except NotImplementedError as error:
        raise UnsupportedSpaceError(f"{what}: {error}") from error
    except RuntimeError as error:
        if type(error) is not RuntimeError:  # too little memory, for one, is no mistake of arguments
            raise
        raise ArgumentError(f"{what}: {error}") from error


def check_constructor_arguments(arguments: Mapping[str, Any]) -> None:
    """Check every argument of a constructor by itself.

    Args:
        arguments: The arguments by name; other names are ignored.

    Raises:
        ArgumentTypeError: If one has a wrong type.
        ArgumentError: If one has an unusable value.
    """
    check_policy_and_environment(arguments["policy"], arguments["env"], needed=arguments["_init_setup_model"])
    check_arguments(arguments, CHECKS)


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


def check_combinations(settings: Mapping[str, Any]) -> None:
    """Check settings of `PPOScratch` that depend on each other, kl_mode's target excepted.

    What a search of hyperparameters draws without asking (`gae_lambda`, `vf_coef`) contradicts nothing.

    Args:
        settings: A model's attributes by name, each checked by itself.

    Raises:
        ArgumentError: If two do not go together.
    """
    if settings["normalize_returns"] and settings["advantage"] != "monte_carlo":
        raise ArgumentError(
            "`normalize_returns=True` needs advantage='monte_carlo': GAE's returns contain value estimates."
        )
    if settings["normalize_advantage"] and settings["batch_size"] == 1:
        raise ArgumentError(
            "`batch_size` must be greater than 1 with normalize_advantage=True, got 1: normalising a single "
            "advantage gives NaN. Raise batch_size or pass normalize_advantage=False."
        )
    if settings["clip_range_vf"] is not None and not settings["critic"]:
        raise ArgumentError("`clip_range_vf` contradicts critic=False: there are no values to clip; leave it out.")
    if settings["kl_coef"] != KL_COEF and settings["kl_mode"] != "penalty":
        raise ArgumentError(
            f"`kl_coef={settings['kl_coef']!r}` is looked at by kl_mode='penalty' alone, not by "
            f"kl_mode={settings['kl_mode']!r}; leave it at {KL_COEF}."
        )


def check_storage(settings: Mapping[str, Any]) -> None:
    """Check what `PPOScratch` is told about how transitions are stored.

    `store_clipped_actions` goes with every action space: what has no bounds reaches the environments as it was drawn.

    Args:
        settings: A model's attributes by name, each checked by itself.

    Raises:
        ArgumentError: If two do not go together.
    """
    if settings["store_clipped_actions"] and (settings["policy_kwargs"] or {}).get("squash_output"):
        raise ArgumentError("`store_clipped_actions=True` has no meaning with squash_output=True: nothing is clipped.")
    buffer_class = type(settings["rollout_buffer"])
    if settings["advantage"] != "gae" and not hasattr(buffer_class, "estimator"):
        raise ArgumentError(
            f"`advantage={settings['advantage']!r}` would be ignored by rollout_buffer_class={buffer_class!r}, "
            "which estimates advantages its own way; leave out the one or the other."
        )


def check_baseline(settings: Mapping[str, Any]) -> None:
    """Check that a model of `ReinforceScratch` has what its baseline is computed by.

    Args:
        settings: A model's attributes by name, each checked by itself.

    Raises:
        ArgumentError: If it has not.
    """
    if settings["baseline"] == "value" and not settings["critic"]:
        raise ArgumentError(
            "`baseline='value'` needs a value network, and this model was built without; make a new model."
        )


def check_policy_and_environment(policy: Any, env: Any, *, needed: bool) -> None:
    """Check that both are what their names say.

    Args:
        policy: A policy's name or class.
        env: An environment, a VecEnv, an id, or None.
        needed: Whether there must be an environment (SB3's `load` makes a model without one).

    Raises:
        ArgumentTypeError: If one has a wrong type.
        ArgumentError: If a needed environment is missing.
    """
    if not isinstance(policy, str) and not (isinstance(policy, type) and issubclass(policy, BasePolicy)):
        raise ArgumentTypeError(f"`policy` must be a name or a policy class, got {policy!r}; pass 'MlpPolicy'.")
    wanted = "`env` must be an environment, a VecEnv or a registered id"
    if env is None and needed:
        raise ArgumentError(f"{wanted}, got None.")
    if env is not None and not isinstance(env, str) and not hasattr(env, "action_space"):
        raise ArgumentTypeError(f"{wanted}, got {env!r}.")


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


def check_spaces(
    observation_space: spaces.Space[Any], action_space: spaces.Space[Any], policy: str | type[BasePolicy]
) -> None:
    """Check an environment's spaces; those of environments for old gym only once SB3 has converted them.

    Args:
        observation_space: The observation space.
        action_space: The action space.
        policy: The policy's name or class.

    Raises:
        ArgumentError: If a space cannot be used.
    """
    if isinstance(observation_space, spaces.Space) and isinstance(action_space, spaces.Space):
        check_action_space(action_space)
        check_observation_space(observation_space, policy)


def check_action_space(space: spaces.Space[Any]) -> None:
    """Refuse action spaces whose actions the policy would get wrong without an error.

    SB3's distributions count categories from 0 and keep them in one row: a `Discrete` that starts elsewhere would
    receive actions that are all off by its start.

    Args:
        space: An action space of a supported kind.

    Raises:
        ArgumentError: If a Discrete or MultiDiscrete space does not start at 0, a MultiDiscrete or MultiBinary space
            has more than one dimension, or a Box has no element.
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
    if isinstance(space, spaces.Box) and 0 in space.shape:
        raise ArgumentError(f"The action space {space} has no element: there is nothing to learn.")


def check_observation_space(space: spaces.Space[Any], policy: str | type[BasePolicy]) -> None:
    """Refuse observation spaces that the policy cannot take, or that one-hot encoding would get wrong.

    Args:
        space: The observation space.
        policy: The policy's name or class.

    Raises:
        UnsupportedSpaceError: If the space, or a part of a Dict, is no Box, Discrete, MultiDiscrete or MultiBinary.
        ArgumentError: If a Discrete or MultiDiscrete space does not start at 0, a Box has no dimension, a MultiDiscrete
            more than one, or the whole space no element, or if the policy wants a Dict.
    """
    for_dicts = policy == "MultiInputPolicy" or policy is MultiInputActorCriticPolicy
    if for_dicts and not isinstance(space, spaces.Dict):
        raise ArgumentError(
            f"`policy='MultiInputPolicy'` needs a Dict observation space, got {space}; use 'MlpPolicy'."
        )
    parts = space.spaces.items() if isinstance(space, spaces.Dict) else [("", space)]
    for key, part in parts:
        name = f"The observation space {part}{f' (key {key!r})' if key else ''}"
        if not isinstance(part, spaces.Box | spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary):
            raise UnsupportedSpaceError(
                f"{name} is not supported; flatten it in a wrapper (gymnasium.wrappers.FlattenObservation)."
            )
        if np.any(np.asarray(getattr(part, "start", 0)) != 0):
            raise ArgumentError(
                f"{name} does not start at 0, which SB3's one-hot encoding cannot express; "
                "subtract the start in a wrapper (gymnasium.wrappers.TransformObservation)."
            )
        _check_dimensions(part, name)
    if isinstance(space, spaces.Box) and 0 in space.shape:
        raise ArgumentError(f"The observation space {space} has no element: there is nothing to act upon.")


def _check_dimensions(space: spaces.Space[Any], name: str) -> None:
    """Refuse what cannot be flattened: batches of numbers, and of tables of categories.

    Raises:
        ArgumentError: If a Box has no dimension, or a MultiDiscrete space more than one.
    """
    if isinstance(space, spaces.MultiDiscrete) and len(space.shape) > 1:
        raise ArgumentError(
            f"{name} has {len(space.shape)} dimensions; only one is supported. "
            "Flatten it in a wrapper (gymnasium.wrappers.TransformObservation)."
        )
    if isinstance(space, spaces.Box) and space.shape == ():
        raise ArgumentError(
            f"{name} has no dimension. Give it one in a wrapper (gymnasium.wrappers.ReshapeObservation(env, (1,)))."
        )


def _or_none(check: Check) -> Check:
    """Let None pass, too."""
    return partial(check_unless, (None,), check)


YES_OR_NO: Check = partial(check_choice, choices=(True, False))
"""Accepts True and False only."""
_DICT_OR_NONE = partial(check_type, types=Mapping | None, what="a dict or None")

SB3_CHECKS: Mapping[str, Check] = {
    "learning_rate": partial(check_schedule, zero_allowed=True),
    "n_steps": partial(check_positive_integer, remedy="pass for example n_steps=2048"),
    "batch_size": _or_none(partial(check_positive_integer, remedy="pass for example batch_size=64")),
    "n_epochs": partial(check_positive_integer, remedy="pass for example n_epochs=10"),
    "gamma": partial(check_fraction, remedy="0.99 is usual"),
    "gae_lambda": partial(check_fraction, remedy="0.95 is usual"),
    "clip_range": _or_none(partial(check_schedule, zero_allowed=False, remedy="None turns clipping off")),
    "clip_range_vf": _or_none(partial(check_schedule, zero_allowed=False, remedy="None turns value clipping off")),
    "normalize_advantage": YES_OR_NO,
    "ent_coef": check_finite,
    "vf_coef": check_finite,
    "max_grad_norm": partial(check_positive, remedy="float('inf') turns clipping off"),
    "use_sde": YES_OR_NO,
    "sde_sample_freq": partial(
        check_unless, (-1,), partial(check_positive_integer, remedy="-1 means once per rollout")
    ),
    "rollout_buffer_class": _or_none(partial(check_subclass, base=RolloutBuffer)),
    "rollout_buffer_kwargs": _DICT_OR_NONE,
    "target_kl": _or_none(partial(check_positive, remedy="None turns early stopping off")),
    "stats_window_size": partial(check_positive_integer, remedy="100 is usual"),
    "tensorboard_log": partial(check_type, types=str | os.PathLike | None, what="a folder or None"),
    "policy_kwargs": _DICT_OR_NONE,
    "verbose": check_verbosity,
    "seed": _or_none(check_seed),
    "device": check_device,
    "_init_setup_model": YES_OR_NO,
}
"""Those of the arguments that SB3's PPO has, too. A file may hold values that they refuse: rl_zoo3 plays with
`clip_range=0`."""
OWN_CHECKS: Mapping[str, Check] = {
    "normalize_observations": YES_OR_NO,
    "observation_clip": partial(check_positive, remedy="float('inf') turns clipping off"),
    "torch_threads": partial(
        check_unless,
        ("auto", None),
        partial(check_positive_integer, remedy="pass 'auto', None or a number of threads"),
    ),
    "update": partial(check_choice, choices=get_args(UpdateName)),
    "advantage": partial(check_choice, choices=get_args(AdvantageName)),
    "normalize_returns": YES_OR_NO,
    "n_episodes": _or_none(partial(check_positive_integer, remedy="pass for example n_episodes=4")),
    "critic": YES_OR_NO,
    "share_features": YES_OR_NO,
    "timeout_bootstrap": YES_OR_NO,
    "store_clipped_actions": YES_OR_NO,
    "orthogonal_init": YES_OR_NO,
    "adam_epsilon": _or_none(partial(check_positive, remedy="1e-5 is usual")),
    "kl_mode": partial(check_choice, choices=(None, *get_args(KlMode))),
    "kl_coef": partial(check_positive, finite=True),
    "on_nan": partial(check_choice, choices=get_args(OnNan)),
    "step_timeout": _or_none(partial(check_positive, finite=True, remedy="None sets no limit")),
    "reward_to_go": YES_OR_NO,
    "baseline": partial(check_choice, choices=get_args(Baseline)),
}
"""Those of this project's own arguments."""
CHECKS: Mapping[str, Check] = {**SB3_CHECKS, **OWN_CHECKS}
"""The check of each argument of either algorithm, by name."""
