"""The words of `python -m sb3_ppo_scratch film …`.

What is here: the arguments and their help. What is not: what they do (`making.py`), imported only when it runs.
"""

import argparse
from pathlib import Path

from sb3_ppo_scratch.command_words import add_command
from sb3_ppo_scratch.zoo.trusted_option import add_trusted_option

RANKS = ("best", "median", "worst")
"""Of all episodes played, those that may be shown."""


def add_film_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Describe the command.

    Args:
        commands: Where it is added.
    """
    parser = add_command(
        commands,
        "film",
        purpose="film a saved agent (GIF or MP4)",
        description="Play a saved agent, and film its best, median and worst episode. Wrappers, normalisation and "
        "environment are found in the folder that rl_zoo3 wrote the model to.",
        examples=(
            "film logs/ppo_scratch/LunarLander-v2_1/LunarLander-v2.zip --out lander.gif --random",
            "film logs/ppo_scratch/LunarLander-v2_1/LunarLander-v2.zip --show best --out best.mp4",
        ),
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
    add_trusted_option(parser)
    parser.set_defaults(run=run_film_command)


def run_film_command(words: argparse.Namespace) -> int:
    """Run `film`.

    Args:
        words: The parsed command line.

    Returns:
        The exit status.
    """
    from sb3_ppo_scratch.film.making import make_film

    make_film(words)
    return 0
