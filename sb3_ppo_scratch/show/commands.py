"""The words of `python -m sb3_ppo_scratch show …`.

What is here: the arguments and their help. What is not: what they do (`contents.py`), imported only when it runs.
"""

import argparse
from pathlib import Path

from sb3_ppo_scratch.command_words import add_command


def add_show_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Describe the command.

    Args:
        commands: Where it is added.
    """
    parser = add_command(
        commands,
        "show",
        purpose="say what a saved file holds, without running any of it",
        description="Say what a saved model or checkpoint holds: algorithm, spaces, settings, parameters, how far its "
        "run is. Nothing is unpickled, so this is safe for files from anywhere; what can only be unpickled is named.",
        examples=(
            "show model.zip",
            "show logs/ppo_scratch/LunarLander-v2_1/LunarLander-v2.zip",
        ),
    )
    parser.add_argument("file", metavar="FILE.zip", type=Path, help="the saved model or checkpoint")
    parser.set_defaults(run=run_show_command)


def run_show_command(words: argparse.Namespace) -> int:
    """Run `show`.

    Args:
        words: The parsed command line.

    Returns:
        The exit status.
    """
    from sb3_ppo_scratch.show.contents import show_file

    print(show_file(words.file))
    return 0
