"""Checks of constructor arguments: each names the argument, the value received and what to do.

What is here: one function per kind of argument, and `check_arguments` for all those of an algorithm. What is not:
anything that runs on the load path, where files with other values (rl_zoo3 plays with `clip_range=0`) have to work.
"""

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from numbers import Integral, Real
from typing import Any, Literal, get_args

import numpy as np
from gymnasium import spaces
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


@contextmanager
def sb3_errors_named(what: str) -> Iterator[None]:
    """Turn what SB3 raises about arguments inside the block into this project's errors.

    Args:
        what: What cannot be done, naming the argument.

    Yields:
        Nothing.

    Raises:
        ArgumentError: In place of an `AssertionError`.
        UnsupportedSpaceError: In place of a `NotImplementedError`.
    """
    try:
        yield
    except ArgumentError:
        raise
    except AssertionError as error:
        raise ArgumentError(f"{what}: {error}") from error
    except NotImplementedError as error:
        raise UnsupportedSpaceError(f"{what}: {error}") from error


def check_arguments(arguments: Mapping[str, Any]) -> None:
    """Check every argument of `PPOScratch` that can be checked without the environment, kl_mode's target excepted.

    Args:
        arguments: The constructor's arguments by name; other names are ignored.

    Raises:
        ArgumentTypeError: If one has a wrong type.
        ArgumentError: If one has an unusable value.
    """
    check_common_arguments(arguments)
    for name, example in (("n_steps", 2048), ("n_epochs", 10)):
        check_positive_integer(name, arguments[name], remedy=f"pass for example {name}={example}")
    check_unless_none(check_positive_integer, "batch_size", arguments, remedy="pass for example batch_size=64")
    check_fraction("gae_lambda", arguments["gae_lambda"], remedy="0.95 is usual")
    for name, what in (("clip_range", "clipping"), ("clip_range_vf", "value clipping")):
        check_unless_none(check_schedule, name, arguments, zero_allowed=False, remedy=f"None turns {what} off")
    if arguments["sde_sample_freq"] != -1:
        check_positive_integer("sde_sample_freq", arguments["sde_sample_freq"], remedy="-1 means once per rollout")
    check_unless_none(check_positive, "target_kl", arguments, remedy="None turns early stopping off")
    check_choice("kl_mode", arguments["kl_mode"], (None, *get_args(KlMode)))
    check_positive("kl_coef", arguments["kl_coef"])
    check_choice("advantage", arguments["advantage"], get_args(AdvantageName))
    for name in ("normalize_advantage", "use_sde", "critic", "timeout_bootstrap", "store_clipped_actions"):
        check_choice(name, arguments[name], (True, False))
    check_combinations(arguments)
    check_storage(arguments)


def check_combinations(arguments: Mapping[str, Any]) -> None:
    """Check arguments of `PPOScratch` that depend on each other.

    Args:
        arguments: The constructor's arguments by name, each checked for itself.

    Raises:
        ArgumentError: If two do not go together.
    """
    if arguments["normalize_returns"] and arguments["advantage"] != "monte_carlo":
        raise ArgumentError(
            "`normalize_returns=True` needs advantage='monte_carlo': GAE's returns contain value estimates."
        )
    if arguments["normalize_advantage"] and arguments["batch_size"] == 1:
        raise ArgumentError(
            "`batch_size` must be greater than 1 with normalize_advantage=True, got 1: normalising a single "
            "advantage gives NaN. Raise batch_size or pass normalize_advantage=False."
        )


def check_storage(arguments: Mapping[str, Any]) -> None:
    """Check what `PPOScratch` is told about how transitions are stored.

    Args:
        arguments: The constructor's arguments by name, each checked for itself.

    Raises:
        ArgumentError: If two do not go together.
    """
    if arguments["store_clipped_actions"] and (arguments["policy_kwargs"] or {}).get("squash_output"):
        raise ArgumentError("`store_clipped_actions=True` has no meaning with squash_output=True: nothing is clipped.")
    buffer_class = arguments["rollout_buffer_class"]
    if arguments["advantage"] != "gae" and buffer_class is not None and not hasattr(buffer_class, "estimator"):
        raise ArgumentError(
            f"`advantage={arguments['advantage']!r}` would be ignored by rollout_buffer_class={buffer_class!r}, "
            "which estimates advantages its own way; leave out the one or the other."
        )


def check_unless_none(check: Callable[..., None], name: str, arguments: Mapping[str, Any], **options: Any) -> None:
    """Apply a check to an argument that may also be None.

    Args:
        check: One of the functions of this file.
        name: The argument's name.
        arguments: The constructor's arguments by name.
        **options: Further arguments of the check.
    """
    if arguments[name] is not None:
        check(name, arguments[name], **options)


def check_common_arguments(arguments: Mapping[str, Any]) -> None:
    """Check the arguments that all algorithms have.

    Args:
        arguments: The constructor's arguments by name; other names are ignored.

    Raises:
        ArgumentTypeError: If one has a wrong type.
        ArgumentError: If one has an unusable value.
    """
    check_unless_none(check_positive_integer, "n_episodes", arguments, remedy="pass for example n_episodes=4")
    check_positive_integer("stats_window_size", arguments["stats_window_size"], remedy="100 is usual")
    check_fraction("gamma", arguments["gamma"], remedy="0.99 is usual")
    for name in ("ent_coef", "vf_coef"):
        check_finite(name, arguments[name])
    check_positive("max_grad_norm", arguments["max_grad_norm"], remedy="float('inf') turns clipping off")
    check_schedule("learning_rate", arguments["learning_rate"], zero_allowed=True)
    check_unless_none(check_positive, "adam_epsilon", arguments, remedy="1e-5 is usual")
    check_positive("observation_clip", arguments["observation_clip"], remedy="float('inf') turns clipping off")
    for name in ("normalize_observations", "normalize_returns", "share_features", "orthogonal_init"):
        check_choice(name, arguments[name], (True, False))
    check_objects(arguments)


def check_reinforce_arguments(arguments: Mapping[str, Any]) -> None:
    """Check every argument of `ReinforceScratch` that can be checked without the environment.

    Args:
        arguments: The constructor's arguments by name; other names are ignored.

    Raises:
        ArgumentTypeError: If one has a wrong type.
        ArgumentError: If one has an unusable value.
    """
    check_common_arguments(arguments)
    check_positive_integer("n_episodes", arguments["n_episodes"], remedy="pass for example n_episodes=4")
    check_choice("reward_to_go", arguments["reward_to_go"], (True, False))
    check_choice("baseline", arguments["baseline"], get_args(Baseline))


def check_objects(arguments: Mapping[str, Any]) -> None:
    """Check those arguments that are no numbers of the algorithm.

    Args:
        arguments: The constructor's arguments by name; other names are ignored.

    Raises:
        ArgumentTypeError: If one has a wrong type.
        ArgumentError: If one has an unusable value.
    """
    check_policy_and_environment(arguments["policy"], arguments["env"], needed=arguments["_init_setup_model"])
    for name in ("policy_kwargs", "rollout_buffer_kwargs"):
        if not isinstance(arguments.get(name), Mapping | None):
            raise ArgumentTypeError(f"`{name}` must be a dict or None, got {arguments[name]!r}.")
    if not isinstance(arguments["tensorboard_log"], str | os.PathLike | None):
        raise ArgumentTypeError(f"`tensorboard_log` must be a folder or None, got {arguments['tensorboard_log']!r}.")
    check_choice("update", arguments["update"], get_args(UpdateName))
    if arguments["torch_threads"] not in ("auto", None):
        remedy = "pass 'auto', None or a number of threads"
        check_positive_integer("torch_threads", arguments["torch_threads"], remedy=remedy)


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
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, Integral):
        raise ArgumentTypeError(f"`{name}` must be an integer of at least 1, got {value!r}; {remedy}.")
    if value < 1:
        raise ArgumentError(f"`{name}` must be at least 1, got {value!r}; {remedy}.")


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


def check_finite(name: str, value: Any) -> None:
    """Accept finite numbers of either sign.

    Args:
        name: The argument's name.
        value: The value received.

    Raises:
        ArgumentTypeError: If the value is no number.
        ArgumentError: If it is NaN or infinite.
    """
    check_number(name, value)
    if not math.isfinite(value):
        raise ArgumentError(f"`{name}` must be finite, got {value!r}; 0 turns the term off.")


def check_positive(name: str, value: Any, *, remedy: str = "pass a number above 0") -> None:
    """Accept numbers above 0, infinity included.

    Args:
        name: The argument's name.
        value: The value received.
        remedy: What the message advises.

    Raises:
        ArgumentTypeError: If the value is no number.
        ArgumentError: If it is 0, negative or NaN.
    """
    check_number(name, value, remedy=remedy)
    if value <= 0:
        raise ArgumentError(f"`{name}` must be positive, got {value!r}; {remedy}.")


def check_schedule(name: str, value: Any, *, zero_allowed: bool, remedy: str = "pass a float or a callable") -> None:
    """Accept a constant (SB3's constant schedule too), or a callable of the remaining progress, tried once at 1.0.

    Args:
        name: The argument's name.
        value: The constant or callable received.
        zero_allowed: Whether a constant 0 makes sense. A callable may always begin at 0 (warm-up).
        remedy: What the message advises.

    Raises:
        ArgumentTypeError: If the value is neither a number nor a callable, or the callable returns no number.
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


def check_observation_space(space: spaces.Space[Any], policy: str | type[BasePolicy]) -> None:
    """Refuse observation spaces that the policy cannot take, or that one-hot encoding would get wrong.

    Args:
        space: The observation space.
        policy: The policy's name or class.

    Raises:
        UnsupportedSpaceError: If the space, or a part of a Dict, is no Box, Discrete, MultiDiscrete or MultiBinary.
        ArgumentError: If a Discrete or MultiDiscrete space does not start at 0, or the policy wants a Dict.
    """
    for_dicts = policy == "MultiInputPolicy" or policy is MultiInputActorCriticPolicy
    if for_dicts and not isinstance(space, spaces.Dict):
        raise ArgumentError(
            f"`policy='MultiInputPolicy'` needs a Dict observation space, got {space}; use 'MlpPolicy'."
        )
    parts = space.spaces.items() if isinstance(space, spaces.Dict) else [("", space)]
    for key, part in parts:
        name = f"{part}{f' (key {key!r})' if key else ''}"
        if not isinstance(part, spaces.Box | spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary):
            raise UnsupportedSpaceError(
                f"The observation space {name} is not supported; flatten it in a wrapper "
                "(gymnasium.wrappers.FlattenObservation)."
            )
        if np.any(np.asarray(getattr(part, "start", 0)) != 0):
            raise ArgumentError(
                f"The observation space {name} does not start at 0, which SB3's one-hot encoding cannot express; "
                "subtract the start in a wrapper (gymnasium.wrappers.TransformObservation)."
            )
