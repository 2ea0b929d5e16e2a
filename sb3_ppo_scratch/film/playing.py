"""Episodes of an agent, played with or without pictures, of which only the last is kept.

What is here: playing one episode from a seed, and choosing which to show. What is not: what the pictures look like
(`pictures.py`).
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch as th
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv, VecNormalize, unwrap_vec_normalize

from sb3_ppo_scratch.errors import ArgumentError

Picture = NDArray[np.uint8]
"""RGB, shape (height, width, 3)."""


class Moment(NamedTuple):
    """Where an episode stands."""

    step: int
    """Steps so far."""
    total: float
    """The return so far, undiscounted, in the environment's own units."""
    ended: bool


class Episode(NamedTuple):
    """What is remembered of an episode: enough to play it again."""

    seed: int
    total: float
    """The return, undiscounted, in the environment's own units."""
    n_steps: int


def play_moments(
    model: BaseAlgorithm | None, env: VecEnv, seed: int, *, deterministic: bool = True
) -> Iterator[Moment]:
    """Play one episode, step by step; the same seed plays the same.

    Args:
        model: Acts; None: actions are drawn from the action space.
        env: One environment.
        seed: Seed of everything random in the episode.
        deterministic: Whether the model takes its most likely actions.

    Yields:
        Where it stands after the reset and after each step. The environment stands there, too, but for the last:
        by then it has been reset.
    """
    env.seed(seed)
    env.action_space.seed(seed)
    if model is not None:
        th.manual_seed(seed)
    observations: Any = env.reset()
    normalize = unwrap_vec_normalize(env)
    memory, dones = None, np.ones(env.num_envs, dtype=bool)
    moment = Moment(0, 0.0, ended=False)
    yield moment
    while not moment.ended:
        if model is None:
            actions = np.array([env.action_space.sample()])
        else:
            actions, memory = model.predict(
                observations, state=memory, episode_start=dones, deterministic=deterministic
            )
        observations, scaled, dones, _ = env.step(actions)
        reward = float(_in_own_units(normalize, scaled)[0])
        moment = Moment(moment.step + 1, moment.total + reward, ended=bool(dones[0]))
        yield moment


def play_episode(model: BaseAlgorithm | None, env: VecEnv, seed: int, *, deterministic: bool = True) -> Episode:
    """Play one episode to its end.

    Args:
        model: As for `play_moments`.
        env: As for `play_moments`.
        seed: As for `play_moments`.
        deterministic: As for `play_moments`.

    Returns:
        The episode.
    """
    for moment in play_moments(model, env, seed, deterministic=deterministic):
        last = moment
    return Episode(seed, last.total, last.step)


def show_episode(
    model: BaseAlgorithm | None, env: VecEnv, seed: int, *, deterministic: bool = True
) -> Iterator[tuple[Moment, Picture]]:
    """Play one episode, and render it while it is played.

    Args:
        model: As for `play_moments`.
        env: One environment, which renders arrays.
        seed: As for `play_moments`.
        deterministic: As for `play_moments`.

    Yields:
        Where it stands, and a picture of that; at the end that before the last step, since what that led to cannot be
        seen any more.

    Raises:
        ArgumentError: If the environment gives no picture.
    """
    for moment in play_moments(model, env, seed, deterministic=deterministic):
        if not moment.ended:
            picture = picture_of(env)
        yield moment, picture


def rank_episodes(episodes: Sequence[Episode], ranks: Sequence[str]) -> dict[str, Episode]:
    """Choose episodes by their returns.

    Args:
        episodes: At least one.
        ranks: Some of `RANKS` (`commands.py`).

    Returns:
        For each rank its episode.
    """
    ordered = sorted(episodes, key=lambda episode: episode.total, reverse=True)
    places = {"best": 0, "median": (len(ordered) - 1) // 2, "worst": -1}
    return {rank: ordered[places[rank]] for rank in ranks}


def picture_of(env: VecEnv) -> Picture:
    """Render an environment.

    Args:
        env: One environment, which has been reset.

    Returns:
        Shape (height, width, 3).

    Raises:
        ArgumentError: If it gives no picture.
    """
    picture = env.get_images()[0]
    if picture is None:
        raise ArgumentError("the environment renders no pictures (render_mode='rgb_array').")
    return np.asarray(picture, dtype=np.uint8)


def _in_own_units(normalize: VecNormalize | None, rewards: NDArray[np.float32]) -> NDArray[np.float32]:
    """Undo VecNormalize's scaling of rewards, shape (n_envs,)."""
    return rewards if normalize is None else normalize.get_original_reward()
