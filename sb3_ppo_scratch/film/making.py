"""From a saved model to a film.

What is here: the way from the parsed command line to the file. What is not: the steps of that way (`playing.py`,
`pictures.py`, `saved_run.py`).
"""

import argparse
from collections.abc import Iterable
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv
from tqdm import tqdm

from sb3_ppo_scratch.argument_checks import check_positive_integer
from sb3_ppo_scratch.film.pictures import (
    PAUSE_SECONDS,
    caption_pictures,
    check_output,
    hold_last,
    side_by_side,
    write_film,
)
from sb3_ppo_scratch.film.playing import Picture, play_episode, rank_episodes
from sb3_ppo_scratch.zoo.saved_run import find_run, open_run

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
    run = find_run(words.model, words.env, words.algo)
    model, env = open_run(run, words.seed, render_mode="rgb_array")
    try:
        pictures, rate = list(film_of(model, env, words)), rate_of(env)
    finally:
        env.close()
    write_film(pictures, words.out, rate, words.width * (2 if words.random else 1))
    print(f"{words.out}: {len(pictures)} pictures, {words.out.stat().st_size / 2**20:.1f} MiB")


def rate_of(env: VecEnv) -> float:
    """Look up how fast an environment's pictures follow each other.

    Args:
        env: The environment.

    Returns:
        Pictures per second.
    """
    rate: Any = env.metadata.get("render_fps")
    return float(rate or DEFAULT_RATE)


def film_of(model: BaseAlgorithm, env: VecEnv, words: argparse.Namespace) -> Iterable[Picture]:
    """Play an agent and make the pictures of its film.

    Args:
        model: The agent.
        env: One environment, which renders arrays.
        words: The parsed command line.

    Yields:
        Pictures, shape (height, width, 3).
    """
    deterministic, seeds = not words.stochastic, range(words.seed, words.seed + words.episodes)
    played = [play_episode(model, env, seed, deterministic=deterministic) for seed in tqdm(seeds, desc="playing")]
    pause = round(PAUSE_SECONDS * rate_of(env))
    for rank, episode in tqdm(rank_episodes(played, words.show).items(), desc="filming"):
        print(f"{rank} of {len(played)} episodes: return {episode.total:.1f} in {len(episode.rewards)} steps")
        shown = play_episode(model, env, episode.seed, deterministic=deterministic, with_pictures=True)
        pictures = caption_pictures(shown, f"{rank} of {len(played)}")
        if words.random:
            beside = play_episode(None, env, episode.seed, with_pictures=True)
            pictures = side_by_side(pictures, caption_pictures(beside, "random"))
        yield from hold_last(pictures, pause)
