"""What the settings of a run may name although nobody vouches for them.

What is here: wrappers that do nothing but change observations, actions and rewards. What is not: those that write
files, and anything that has to be imported from elsewhere.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sb3_ppo_scratch.errors import ArgumentError
from sb3_ppo_scratch.zoo.wrapper_lists import entries

NAMES: Mapping[str, str] = {
    "sb3_ppo_scratch.wrappers": "BinAction NormalizeObservation ScaleReward",
    "gymnasium.wrappers": "AddWhiteNoise AtariPreprocessing ClipAction ClipReward DelayObservation DiscretizeAction "
    "DiscretizeObservation DtypeObservation FilterObservation FlattenObservation FrameStackObservation "
    "GrayscaleObservation MaxAndSkipObservation NormalizeObservation NormalizeReward RepeatAction RescaleAction "
    "RescaleObservation ReshapeObservation ResizeObservation StickyAction TimeAwareObservation TimeLimit",
    "stable_baselines3.common.atari_wrappers": "AtariWrapper ClipRewardEnv EpisodicLifeEnv FireResetEnv MaxAndSkipEnv "
    "NoopResetEnv StickyActionEnv WarpFrame",
    "stable_baselines3.common.vec_env": "VecCheckNan VecExtractDictObs VecFrameStack VecTransposeImage",
    "rl_zoo3.wrappers": "ActionNoiseWrapper ActionSmoothingWrapper DelayedRewardWrapper FrameSkip HistoryWrapper "
    "HistoryWrapperObsDict MaskVelocityWrapper ResizeObservation TimeFeatureWrapper TruncatedOnSuccessWrapper "
    "YAMLCompatResizeObservation",
}
"""Classes by module."""
HARMLESS = frozenset(f"{module}.{name}" for module, names in NAMES.items() for name in names.split())
MOST_FRAMES = 64
REMEDY = "--trusted imports it, and runs what it does."


def check_names(env_id: str, packages: Sequence[Any], hyperparams: Mapping[str, Any]) -> None:
    """Refuse to import anything that a file names.

    Args:
        env_id: The environment.
        packages: Packages to import (`--gym-packages`).
        hyperparams: The run's settings.

    Raises:
        ArgumentError: If one of them would.
    """
    if ":" in env_id:
        raise ArgumentError(f"the environment {env_id!r} imports a module; {REMEDY}")
    if packages:
        raise ArgumentError(f"the run imports the package {packages[0]!r}; {REMEDY}")
    n_frames = hyperparams.get("frame_stack") or 0
    if not isinstance(n_frames, int) or not 0 <= n_frames <= MOST_FRAMES:
        raise ArgumentError(f"the run stacks {n_frames!r} frames; up to {MOST_FRAMES} are stacked without --trusted.")
    for key in ("env_wrapper", "vec_env_wrapper"):
        for name, _ in entries(hyperparams.get(key)):
            if not isinstance(name, str) or name not in HARMLESS:
                raise ArgumentError(f"the run's `{key}` names {name!r}; {REMEDY}")
