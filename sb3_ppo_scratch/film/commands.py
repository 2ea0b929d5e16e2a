"""The command `film`.

What is here: its arguments, and the way from a saved model to a film. What is not: the steps of that way (`playing.py`,
`pictures.py`, `saved_run.py`).
"""

import argparse
from collections.abc import Iterable
from pathlib import Path
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
from sb3_ppo_scratch.film.playing import RANKS, Picture, play_episode, rank_episodes
from sb3_ppo_scratch.film.saved_run import find_run, open_run

DEFAULT_RATE = 30
"""Pictures per second where an environment names no rate."""


def add_film_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Describe the command.

    Args:
        commands: Where it is added.
    """
    parser = commands.add_parser(
        "film",
        help="film a saved agent (GIF or MP4)",
        description="Play a saved agent, and film its best, median and worst episode. Wrappers, normalisation and "
        "environment are found in the folder that rl_zoo3 wrote the model to.",
    )
    parser.add_argument("model", metavar="MODEL.zip", type=Path, help="the saved model")
    parser.add_argument("--env", metavar="ID", help="the environment (default: that of rl_zoo3's folder)")
    parser.add_argument("--algo", metavar="NAME", help="the algorithm (default: that of rl_zoo3's folder)")
    parser.add_argument("--out", metavar="FILE", type=Path, default=Path("film.gif"), help="where to, .gif or .mp4")
    parser.add_argument("--episodes", metavar="N", type=int, default=10, help="episodes to choose from (default: 10)")
    parser.add_argument("--show", nargs="+", choices=RANKS, default=RANKS, help="which of them (default: all three)")
    parser.add_argument("--random", action="store_true", help="show random actions beside the agent")
    parser.add_argument("--stochastic", action="store_true", help="draw actions in place of taking the most likely")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first episode (default: 0)")
    parser.add_argument("--width", metavar="PIXELS", type=int, default=400, help="of one agent (default: 400)")
    parser.set_defaults(run=run_film_command)


def run_film_command(words: argparse.Namespace) -> int:
    """Run `film`.

    Args:
        words: The parsed command line.

    Returns:
        The exit status.
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
    return 0


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
