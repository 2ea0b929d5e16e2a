"""Checks of the constructors' arguments: each names the argument, the value received and what to do.

What is here: which check each argument gets, and which arguments contradict each other. What is not: the checks of
single values (`value_checks.py`) and spaces (`space_checks.py`), and when all that is checked (`scratch_algorithm.py`).
"""

import os
from collections.abc import Mapping
from functools import partial
from typing import Any, Literal, get_args

from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.policies import BasePolicy

from sb3_ppo_scratch.advantages import Baseline
from sb3_ppo_scratch.errors import ArgumentError, ArgumentTypeError
from sb3_ppo_scratch.value_checks import (
    YES_OR_NO,
    Check,
    check_arguments,
    check_choice,
    check_device,
    check_finite,
    check_fraction,
    check_positive,
    check_positive_integer,
    check_schedule,
    check_seed,
    check_subclass,
    check_type,
    check_unless,
    check_verbosity,
    or_none,
)

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


_DICT_OR_NONE = partial(check_type, types=Mapping | None, what="a dict or None")

SB3_CHECKS: Mapping[str, Check] = {
    "learning_rate": partial(check_schedule, zero_allowed=True),
    "n_steps": partial(check_positive_integer, remedy="pass for example n_steps=2048"),
    "batch_size": or_none(partial(check_positive_integer, remedy="pass for example batch_size=64")),
    "n_epochs": partial(check_positive_integer, remedy="pass for example n_epochs=10"),
    "gamma": partial(check_fraction, remedy="0.99 is usual"),
    "gae_lambda": partial(check_fraction, remedy="0.95 is usual"),
    "clip_range": or_none(partial(check_schedule, zero_allowed=False, remedy="None turns clipping off")),
    "clip_range_vf": or_none(partial(check_schedule, zero_allowed=False, remedy="None turns value clipping off")),
    "normalize_advantage": YES_OR_NO,
    "ent_coef": check_finite,
    "vf_coef": check_finite,
    "max_grad_norm": partial(check_positive, remedy="float('inf') turns clipping off"),
    "use_sde": YES_OR_NO,
    "sde_sample_freq": partial(
        check_unless, (-1,), partial(check_positive_integer, remedy="-1 means once per rollout")
    ),
    "rollout_buffer_class": or_none(partial(check_subclass, base=RolloutBuffer)),
    "rollout_buffer_kwargs": _DICT_OR_NONE,
    "target_kl": or_none(partial(check_positive, remedy="None turns early stopping off")),
    "stats_window_size": partial(check_positive_integer, remedy="100 is usual"),
    "tensorboard_log": partial(check_type, types=str | os.PathLike | None, what="a folder or None"),
    "policy_kwargs": _DICT_OR_NONE,
    "verbose": check_verbosity,
    "seed": or_none(check_seed),
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
    "n_episodes": or_none(partial(check_positive_integer, remedy="pass for example n_episodes=4")),
    "critic": YES_OR_NO,
    "share_features": YES_OR_NO,
    "timeout_bootstrap": YES_OR_NO,
    "store_clipped_actions": YES_OR_NO,
    "orthogonal_init": YES_OR_NO,
    "adam_epsilon": or_none(partial(check_positive, remedy="1e-5 is usual")),
    "kl_mode": partial(check_choice, choices=(None, *get_args(KlMode))),
    "kl_coef": partial(check_positive, finite=True),
    "on_nan": partial(check_choice, choices=get_args(OnNan)),
    "step_timeout": or_none(partial(check_positive, finite=True, remedy="None sets no limit")),
    "reward_to_go": YES_OR_NO,
    "baseline": partial(check_choice, choices=get_args(Baseline)),
}
"""Those of this project's own arguments."""
CHECKS: Mapping[str, Check] = {**SB3_CHECKS, **OWN_CHECKS}
"""The check of each argument of either algorithm, by name."""
