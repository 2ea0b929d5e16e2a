"""SB3's own vectorised environments, made to refuse what an environment must not return.

What is here: taking their places where single environments' results are put together. What is not: telling what fits
(`observation_rows.py`, `step_values.py`), and this project's own environments, which refuse by themselves (`shard.py`).
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from sb3_ppo_scratch.vec_env.observation_rows import ObservationRows, check_fits, is_kept_by_type, part_of
from sb3_ppo_scratch.vec_env.step_values import (
    USUAL_ENDS,
    USUAL_REWARDS,
    as_ends,
    as_number,
    as_rewards,
    check_end,
    check_reward,
)


def check_results(env: VecEnv) -> Callable[[], None]:
    """Let environments refuse what does not fit their spaces, rewards that are no numbers, and ends that are no bools.

    Not a context manager: one that is made of a generator cannot pass on the errors of frozen dataclasses.

    Args:
        env: The environments. Of other classes than SB3's `DummyVecEnv` and `SubprocVecEnv`, nothing changes.

    Returns:
        A function that makes them what they were.
    """
    inner: Any = env.unwrapped
    attributes: dict[str, Any] = vars(inner)
    changed = _checked_attributes(inner)
    before = {name: attributes[name] for name in changed if name in attributes}
    attributes.update(changed)

    def undo() -> None:
        for name in changed:
            attributes.pop(name, None)
        attributes.update(before)

    return undo


def _checked_attributes(env: Any) -> dict[str, Any]:
    """Make what takes the place of an environment's own attributes."""
    if isinstance(env, DummyVecEnv) and type(env)._save_obs is DummyVecEnv._save_obs:
        return {
            "_save_obs": ObservationRows(env.buf_obs).write,
            **({"step_wait": partial(step_in_turn, env)} if type(env).step_wait is DummyVecEnv.step_wait else {}),
        }
    if isinstance(env, SubprocVecEnv):
        ours = {"step_wait": _step_wait, "reset": _reset}
        return {
            name: partial(function, env)
            for name, function in ours.items()
            if getattr(type(env), name) is getattr(SubprocVecEnv, name)
        }
    return {}


def step_in_turn(env: DummyVecEnv) -> VecEnvStepReturn:
    """`DummyVecEnv.step_wait`, with a look at each result before it is of the arrays' types.

    Args:
        env: The environments; actions are there.

    Returns:
        What `step_wait` returns.

    Raises:
        EnvironmentFaultError: If an observation does not fit, a reward is no number or an end no bool.
    """
    for env_idx, environment in enumerate(env.envs):
        observation, reward, terminated, truncated, info = environment.step(env.actions[env_idx])
        ended = terminated or truncated
        if type(reward) not in USUAL_REWARDS:
            check_reward(reward, env_idx)
            reward = as_number(reward)
        if type(ended) not in USUAL_ENDS:
            check_end(ended, env_idx)
        env.buf_rews[env_idx], env.buf_dones[env_idx], env.buf_infos[env_idx] = reward, bool(ended), info
        info["TimeLimit.truncated"] = truncated and not terminated
        if ended:
            info["terminal_observation"] = observation
            observation, env.reset_infos[env_idx] = environment.reset()
        env._save_obs(env_idx, observation)
    return env._obs_from_buf(), env.buf_rews.copy(), env.buf_dones.copy(), deepcopy(env.buf_infos)


def _step_wait(env: SubprocVecEnv) -> VecEnvStepReturn:
    """`SubprocVecEnv.step_wait`, with a look at the results while it is known whose they are."""
    results = [remote.recv() for remote in env.remotes]
    env.waiting = False
    observations, rewards, ends, infos, reset_infos = zip(*results, strict=True)
    env.reset_infos = list(reset_infos)
    stacked = _stack_observations(observations, env.observation_space)
    return stacked, as_rewards(rewards), as_ends(ends), infos  # type: ignore[return-value]


def _reset(env: SubprocVecEnv) -> VecEnvObs:
    """`SubprocVecEnv.reset`, with the same look."""
    for remote, seed, options in zip(env.remotes, env._seeds, env._options, strict=True):
        remote.send(("reset", (seed, options)))
    observations, infos = zip(*[remote.recv() for remote in env.remotes], strict=True)
    env.reset_infos = list(infos)
    env._reset_seeds()
    env._reset_options()
    stacked: VecEnvObs = _stack_observations(observations, env.observation_space)
    return stacked


def _stack_observations(observations: Sequence[Any], space: spaces.Space[Any]) -> Any:
    """Stack observations as SB3 does; those of a Dict part by part.

    Raises:
        EnvironmentFaultError: If one does not fit.
    """
    if not isinstance(space, spaces.Dict):
        return _stack(observations, space)
    return {
        key: _stack([part_of(each, key, index) for index, each in enumerate(observations)], part, key)
        for key, part in space.spaces.items()
    }


def _stack(values: Sequence[Any], space: spaces.Space[Any], key: str | None = None) -> npt.NDArray[Any]:
    """Stack arrays; one by one they are looked at only if all together do not fit.

    Raises:
        EnvironmentFaultError: If one does not fit.
    """
    dtype = np.dtype(space.dtype)
    stacked = _stacked(values)
    if stacked is None or stacked.shape[1:] != space.shape or not is_kept_by_type(stacked.dtype, dtype):
        for index, value in enumerate(values):
            check_fits(value, space.shape or (), dtype, index=index, key=key)
    return np.stack(values) if stacked is None else stacked


def _stacked(values: Sequence[Any]) -> npt.NDArray[Any] | None:
    """Stack arrays; None if they are of different shapes, or if something in them cannot be turned into arrays."""
    try:
        return np.stack(values)
    except Exception:  # noqa: BLE001 # whatever a foreign object raises
        return None
