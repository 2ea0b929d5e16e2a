"""Keeping NaN and infinity out of the running statistics of `VecNormalize`, which would never get rid of them.

What is here: leaving the statistics as they are for a step that brings such a number. It then shows in the environment
that it comes from alone, and is found there like any other. What is not: finding it (`finite_checks.py`).
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
from stable_baselines3.common.vec_env import VecEnv, VecNormalize
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn

from sb3_ppo_scratch.checkpoints.layer_states import vec_envs
from sb3_ppo_scratch.finite_checks import find_in_observations, is_finite, with_others

Stepping = Callable[[npt.NDArray[Any]], VecEnvStepReturn]
"""Steps environments with actions, shape (n_envs, *action_shape)."""


@contextmanager
def statistics_kept_clean(env: VecEnv, step: Stepping) -> Iterator[Stepping]:
    """Let every `VecNormalize` pass over steps that bring NaN or infinity.

    Args:
        env: The environments with all their wrappers.
        step: Steps them.

    Yields:
        What steps them so.
    """
    normalizers = [layer for layer in vec_envs(env) if isinstance(layer, VecNormalize)]
    if not normalizers:
        yield step
        return
    passing_over: list[VecNormalize] = []

    def step_and_learn_again(actions: npt.NDArray[Any]) -> VecEnvStepReturn:
        try:
            return step(actions)
        finally:
            while passing_over:
                passing_over.pop().training = True

    with ExitStack() as stack:
        for normalizer in normalizers:
            stack.enter_context(_looked_at(normalizer, passing_over))
        yield step_and_learn_again


@contextmanager
def _looked_at(normalizer: VecNormalize, passing_over: list[VecNormalize]) -> Iterator[None]:
    """Look at what a `VecNormalize` gets before it does; if that is not finite, it learns nothing from this step."""
    inner = normalizer.venv
    step_wait = inner.step_wait

    def look() -> VecEnvStepReturn:
        observations, rewards, dones, infos = step_wait()
        if is_finite(rewards) and find_in_observations(observations) is None:
            return observations, rewards, dones, infos
        if normalizer.training:
            normalizer.training = False
            passing_over.append(normalizer)
        # Clipping would make infinity look like a number, but leaves NaN.
        return with_others(observations, np.nan), with_others(rewards, np.nan), dones, infos

    own = {name: value for name, value in vars(inner).items() if name == "step_wait"}
    inner.step_wait = look  # type: ignore[method-assign]
    try:
        yield
    finally:
        del inner.step_wait
        vars(inner).update(own)
