"""Episodes of an agent, played with or without pictures.

What is here: playing one episode from a seed, and choosing which to show. What is not: what the pictures look like
(`pictures.py`).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch as th
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv, VecNormalize, unwrap_vec_normalize

from sb3_ppo_scratch.errors import ArgumentError

Picture = NDArray[np.uint8]
"""RGB, shape (height, width, 3)."""


class Episode(NamedTuple):
    """One episode."""

    seed: int
    rewards: list[float]
    """Of each step, in the environment's own units."""
    pictures: list[Picture]
    """Before each step and after the last; empty if none were wanted."""

    @property
    def total(self) -> float:
        """The episode's return, undiscounted."""
        return sum(self.rewards)


def play_episode(
    model: BaseAlgorithm | None, env: VecEnv, seed: int, *, deterministic: bool = True, with_pictures: bool = False
) -> Episode:
    """Play one episode; the same seed plays the same.

    Args:
        model: Acts; None: actions are drawn from the action space.
        env: One environment.
        seed: Seed of everything random in the episode.
        deterministic: Whether the model takes its most likely actions.
        with_pictures: Whether to render.

    Returns:
        The episode.
    """
    env.seed(seed)
    env.action_space.seed(seed)
    th.manual_seed(seed)
    observations: Any = env.reset()
    normalize = unwrap_vec_normalize(env)
    pictures, rewards, done = [_picture_of(env)] if with_pictures else [], [], False
    while not done:
        if model is None:
            actions = np.array([env.action_space.sample()])
        else:
            actions, _ = model.predict(observations, deterministic=deterministic)
        observations, scaled, dones, _ = env.step(actions)
        rewards.append(float(_in_own_units(normalize, scaled)[0]))
        done = bool(dones[0])
        if with_pictures and not done:  # by then the environment has been reset, and the last picture is gone
            pictures.append(_picture_of(env))
    return Episode(seed, rewards, pictures)


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


def _picture_of(env: VecEnv) -> Picture:
    """Render the environment, shape (height, width, 3).

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
