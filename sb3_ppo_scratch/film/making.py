"""From a saved model to a film.

What is here: the way from the parsed command line to the file. What is not: the steps of that way (`playing.py`,
`pictures.py`, `saved_run.py`).
"""

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv
from tqdm import tqdm

from sb3_ppo_scratch.film.pictures import (
    PAUSE_SECONDS,
    caption_pictures,
    check_output,
    hold_last,
    side_by_side,
    write_film,
)
from sb3_ppo_scratch.film.playing import Picture, picture_of, play_episode, rank_episodes, show_episode
from sb3_ppo_scratch.value_checks import check_positive_integer
from sb3_ppo_scratch.zoo.saved_run import find_run, in_one_line, open_environment, open_run

DEFAULT_RATE = 30
"""Pictures per second where an environment names no rate."""


def make_film(words: argparse.Namespace) -> None:
    """Play a saved agent, write the film, and say what it holds.

    Args:
        words: The parsed command line.

    Raises:
        FileNotFoundError: If there is no such model.
        ArgumentError: If an argument cannot work.
    """
    check_output(words.out)
    for name in ("episodes", "width"):
        check_positive_integer(name, getattr(words, name), remedy=f"pass for example --{name} 10")
    run = find_run(words.model, words.env, words.algo, trusted=words.trusted)
    with contextlib.ExitStack() as opened:
        model, env = open_run(run, words.seed, render_mode="rgb_array")
        opened.callback(env.close)
        check_rendering(env, run.env_id)
        beside = open_environment(run, words.seed, render_mode="rgb_array") if words.random else None
        if beside is not None:
            opened.callback(beside.close)
        width = words.width * (1 if beside is None else 2)
        n_pictures = write_film(film_of(model, env, beside, words), words.out, rate_of(env), width)
    print(f"{words.out}: {n_pictures} pictures, {words.out.stat().st_size / 2**20:.1f} MiB")


def check_rendering(env: VecEnv, env_id: str) -> None:
    """Find out whether an environment can be rendered, before anything is played.

    Args:
        env: The environment, made to render arrays.
        env_id: Its id.

    Raises:
        ArgumentError: If it cannot, for example because a package is missing.
    """
    if sys.platform == "linux" and not os.environ.keys() & {"DISPLAY", "WAYLAND_DISPLAY"}:
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # or the library under pygame complains of a missing screen
    with in_one_line(f"{env_id} cannot be rendered", gym.error.Error, ImportError, NotImplementedError):
        env.reset()
        picture_of(env)


def rate_of(env: VecEnv) -> float:
    """Look up how fast an environment's pictures follow each other.

    Args:
        env: The environment.

    Returns:
        Pictures per second.
    """
    rate: Any = env.metadata.get("render_fps")
    return float(rate or DEFAULT_RATE)


def film_of(model: BaseAlgorithm, env: VecEnv, beside: VecEnv | None, words: argparse.Namespace) -> Iterator[Picture]:
    """Play an agent and make the pictures of its film, one at a time.

    Args:
        model: The agent.
        env: One environment, which renders arrays.
        beside: Another for random actions, at the same time; None: they are not shown.
        words: The parsed command line.

    Yields:
        Pictures, shape (height, width, 3).
    """
    deterministic, seeds = not words.stochastic, range(words.seed, words.seed + words.episodes)
    played = [play_episode(model, env, seed, deterministic=deterministic) for seed in tqdm(seeds, desc="playing")]
    pause = round(PAUSE_SECONDS * rate_of(env))
    for rank, episode in tqdm(rank_episodes(played, words.show).items(), desc="filming"):
        print(f"{rank} of {len(played)} episodes: return {episode.total:.1f} in {episode.n_steps} steps")
        shown = show_episode(model, env, episode.seed, deterministic=deterministic)
        pictures = caption_pictures(shown, f"{rank} of {len(played)}")
        if beside is not None:
            pictures = side_by_side(pictures, caption_pictures(show_episode(None, beside, episode.seed), "random"))
        yield from hold_last(pictures, pause)
