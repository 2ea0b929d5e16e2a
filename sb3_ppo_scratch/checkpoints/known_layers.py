"""What environments and wrappers of Gymnasium, SB3 and rl_zoo3 keep: the attributes that a reset does not make anew.

What is here: the table, and finding a layer in it. What is not: reading and writing (`layer_states.py`).
"""

from typing import Any

MONITOR = ("rewards", "needs_reset", "episode_returns", "episode_lengths", "episode_times", "total_steps")
STATISTICS = ("episode_count", "episode_returns", "episode_lengths", "time_queue", "return_queue", "length_queue")
STICKY = ("last_action", "is_sticky_actions", "num_repeats", "repeats_taken")
KEPT: dict[str, dict[str, tuple[str, ...]]] = {
    "gymnasium": {
        "CartPoleEnv": ("state", "steps_beyond_terminated"),
        "MountainCarEnv": ("state",),
        "Continuous_MountainCarEnv": ("state",),
        "PendulumEnv": ("state", "last_u"),
        "AcrobotEnv": ("state",),
        "FrozenLakeEnv": ("s", "lastaction"),
        "CliffWalkingEnv": ("s", "lastaction"),
        "TaxiEnv": ("s", "lastaction", "fickle_step", "taxi_orientation"),
        "BlackjackEnv": ("player", "dealer"),
        "TimeLimit": ("_elapsed_steps",),
        "Autoreset": ("autoreset",),
        "RecordEpisodeStatistics": STATISTICS,
        "StickyAction": STICKY,
        "DelayObservation": ("observation_queue",),
        "TimeAwareObservation": ("timesteps",),
        "FrameStackObservation": ("obs_queue", "padding_value"),
        "MaxAndSkipObservation": ("_obs_buffer",),
        "NormalizeObservation": ("obs_rms", "_update_running_mean"),
        "NormalizeReward": ("return_rms", "discounted_reward", "_update_running_mean"),
        "RecordVideo": ("step_id", "episode_id"),
        "RenderCollection": (),
        "HumanRendering": (),
        "AddWhiteNoise": (),
        "ObstructView": (),
        "PassiveEnvChecker": (),
        "OrderEnforcing": (),
        "AtariPreprocessing": (),
        "RepeatAction": (),
        "TransformAction": (),
        "ClipAction": (),
        "RescaleAction": (),
        "DiscretizeAction": (),
        "TransformObservation": (),
        "FilterObservation": (),
        "FlattenObservation": (),
        "GrayscaleObservation": (),
        "ResizeObservation": (),
        "ReshapeObservation": (),
        "RescaleObservation": (),
        "DtypeObservation": (),
        "AddRenderObservation": (),
        "DiscretizeObservation": (),
        "TransformReward": (),
        "ClipReward": (),
    },
    "stable_baselines3": {
        "Monitor": (*MONITOR, "current_reset_info", "t_start"),
        "StickyActionEnv": ("_sticky_action",),
        "EpisodicLifeEnv": ("lives", "was_real_done"),
        "MaxAndSkipEnv": ("_obs_buffer",),
        "NoopResetEnv": (),
        "FireResetEnv": (),
        "ClipRewardEnv": (),
        "WarpFrame": (),
        "AtariWrapper": (),
        "VecNormalize": ("obs_rms", "ret_rms", "returns", "old_obs", "old_reward"),
        "VecFrameStack": ("stacked_obs",),
        "VecMonitor": ("episode_returns", "episode_lengths", "episode_count", "t_start"),
        "VecVideoRecorder": ("step_id",),
        "VecTransposeImage": (),
        "VecExtractDictObs": (),
        "VecCheckNan": (),
    },
    "sb3_contrib": {"TimeFeatureWrapper": ("_current_step",), "ActionMasker": ()},
    "rl_zoo3": {
        "PatchedTimeLimit": ("_elapsed_steps",),
        "TruncatedOnSuccessWrapper": ("current_successes",),
        "ActionSmoothingWrapper": ("smoothed_action",),
        "DelayedRewardWrapper": ("current_step", "accumulated_reward"),
        "HistoryWrapper": ("obs_history", "action_history"),
        "HistoryWrapperObsDict": ("obs_history", "action_history"),
        "ActionNoiseWrapper": (),
        "FrameSkip": (),
        "MaskVelocityWrapper": (),
        "YAMLCompatResizeObservation": (),
    },
    "sb3_ppo_scratch": {"ScaleReward": (), "BinAction": ()},
}
"""Package, class, and where its state is. Classes themselves are not compared: rl_zoo3 puts a time limit of its own in
the place of Gymnasium's, and workers may have the other one."""
SOMETIMES = {"VecNormalize": {"obs_rms", "old_obs"}, "StickyActionEnv": {"_sticky_action"}}
"""Attributes that are not always there: `obs_rms` only if observations are normalised, the others after a reset."""
SAME = {"PatchedTimeLimit": "TimeLimit"}
"""Classes that stand for another."""
RESET_WHOLLY = {"gymnasium"}
"""Packages whose environments keep nothing beyond a seeded reset."""


def layer_name(layer: Any) -> str:
    """Name a layer.

    Args:
        layer: An environment or wrapper.

    Returns:
        Its class's name, or that of the class it stands for.
    """
    name = type(layer).__name__
    return SAME.get(name, name)


def kept_attributes(layer: Any) -> tuple[str, ...]:
    """Say where a layer's state is.

    Args:
        layer: An environment or wrapper.

    Returns:
        The attributes of the nearest class in the table, as far as they are there; empty if there is none.
    """
    for kind in type(layer).__mro__:
        names = _find(kind)
        if names is not None:
            return tuple(name for name in names if hasattr(layer, name))
    return ()


def is_known(layer: Any) -> bool:
    """Tell whether a layer's own class, not only one above it, is in the table, and has what stands there.

    Args:
        layer: An environment or wrapper.

    Returns:
        Whether its attributes are its whole state.
    """
    names = _find(type(layer))
    return names is not None and set(names) - set(kept_attributes(layer)) <= SOMETIMES.get(layer_name(layer), set())


def is_reset_wholly(environment: Any) -> bool:
    """Tell whether an environment is known to keep nothing beyond a seeded reset.

    Args:
        environment: It, without wrappers.

    Returns:
        Whether it is.
    """
    return _package(type(environment)) in RESET_WHOLLY


def _find(kind: type) -> tuple[str, ...] | None:
    """Look a class up."""
    return KEPT.get(_package(kind), {}).get(kind.__name__)


def _package(kind: type) -> str:
    """Name the package that a class comes from."""
    return kind.__module__.split(".")[0]
