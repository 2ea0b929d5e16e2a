"""Commands whose `--help` shows examples.

What is here: adding one. What is not: the options of each (`*/commands.py`).
"""

import argparse
import shutil
import textwrap
from collections.abc import Sequence
from typing import Any

PROGRAM = "python -m sb3_ppo_scratch"


def add_command(
    commands: Any, name: str, *, purpose: str, description: str, examples: Sequence[str]
) -> argparse.ArgumentParser:
    """Add a command to a command line.

    Args:
        commands: Subparsers of argparse, to which it is added.
        name: Its name.
        purpose: It in a few words, without a capital.
        description: It in sentences.
        examples: Command lines without the program's name.

    Returns:
        Its parser.
    """
    width = max(40, shutil.get_terminal_size().columns - 2)
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=purpose,
        description=textwrap.fill(description, width),
        epilog="\n".join(["examples:", *(f"  {PROGRAM} {example}" for example in examples)]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser
