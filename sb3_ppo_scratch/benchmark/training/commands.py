"""The words of `python -m sb3_ppo_scratch benchmark ladder …`.

What is here: the options and their help. What is not: what they do (`ladder.py`), imported only when a command runs.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from sb3_ppo_scratch.benchmark.progress import INTERRUPTED
from sb3_ppo_scratch.command_words import add_command


def add_ladder_command(kinds: Any) -> None:
    """Describe `benchmark ladder`.

    Args:
        kinds: The subparsers of `benchmark`.
    """
    ladder = add_command(
        kinds,
        "ladder",
        purpose="REINFORCE to PPO, rung by rung, beside stock PPO",
        description="Train every rung of the ladder from REINFORCE to PPO with the unmodified rl_zoo3, and stock PPO "
        "beside them; write a table of steps and seconds to solve and of the returns reached, with curves. Runs that "
        "are finished are not made again: the same command goes on after Ctrl-C.",
        examples=(
            "benchmark ladder",
            "benchmark ladder --rungs reinforce stock --envs CartPole-v1 --seeds 2",
            "benchmark ladder --report-only",
        ),
    )
    ladder.add_argument("--rungs", nargs="+", default=(), metavar="NAME", help="only these (see the plan file)")
    ladder.add_argument("--envs", nargs="+", default=(), metavar="ID", help="only these environments")
    ladder.add_argument("--seeds", type=int, metavar="N", help="how many seeds (default: the plan's)")
    ladder.add_argument("--jobs", type=int, metavar="N", help="runs at a time (default: one per core)")
    ladder.add_argument("--share", type=int, default=1, metavar="N", help="train for 1/N of the steps (default: 1)")
    ladder.add_argument(
        "--runs", type=Path, default=Path("logs/ladder"), metavar="DIR", help="where runs lie (default: logs/ladder)"
    )
    ladder.add_argument(
        "--out",
        type=Path,
        default=Path("docs/results"),
        metavar="DIR",
        help="where the report goes (default: docs/results)",
    )
    ladder.add_argument("--plan", type=Path, metavar="FILE", help="another plan file")
    ladder.add_argument("--report-only", action="store_true", help="train nothing; report the runs that there are")
    ladder.set_defaults(run=run_ladder_command)


def run_ladder_command(words: argparse.Namespace) -> int:
    """Run `benchmark ladder`.

    Args:
        words: The parsed command line.

    Returns:
        The exit status; 1 if a run has failed.
    """
    from sb3_ppo_scratch.benchmark.training.ladder import LadderOptions, climb

    names = ("rungs", "envs", "seeds", "jobs", "share", "runs", "out", "plan", "report_only")
    try:
        report, failures = climb(LadderOptions(**{name: getattr(words, name) for name in names}))
    except KeyboardInterrupt:
        print("Stopped; finished runs are kept, and the same command goes on from there.", file=sys.stderr)
        return INTERRUPTED
    print(report.read_text())
    print(f"Written to {report}", file=sys.stderr)
    return 1 if failures else 0
