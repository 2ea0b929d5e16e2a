"""The words of `python -m sb3_ppo_scratch benchmark …`.

What is here: which kinds of benchmark there are. What is not: the words of each (`comparison/commands.py`,
`speed/commands.py`, `training/commands.py`).
"""

from typing import Any

from sb3_ppo_scratch.benchmark.comparison.commands import add_comparison_commands
from sb3_ppo_scratch.benchmark.speed.commands import add_speed_command
from sb3_ppo_scratch.benchmark.training.commands import add_ladder_command


def add_benchmark_commands(commands: Any) -> None:
    """Describe `benchmark` and what stands below it.

    Args:
        commands: The subparsers of the command line. Every parser sets `run`: what to call with the parsed words.
    """
    benchmark = commands.add_parser("benchmark", help="measure this project beside stock PPO")
    kinds = benchmark.add_subparsers(dest="benchmark", metavar="KIND", required=True)
    add_comparison_commands(kinds)
    add_speed_command(kinds)
    add_ladder_command(kinds)
