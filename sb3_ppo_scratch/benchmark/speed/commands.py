"""The words of `python -m sb3_ppo_scratch benchmark speed …`.

What is here: the options and their help. What is not: what they do (`run.py`), imported only when a command runs.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from sb3_ppo_scratch.benchmark.progress import INTERRUPTED
from sb3_ppo_scratch.benchmark.speed.workloads import WORKLOADS
from sb3_ppo_scratch.command_words import add_command


def add_speed_command(kinds: Any) -> None:
    """Describe `benchmark speed`.

    Args:
        kinds: The subparsers of `benchmark`.
    """
    speed = add_command(
        kinds,
        "speed",
        purpose="steps per second, memory and returns",
        description="Measure speed, memory and returns beside stock PPO. All workloads with 5 rounds take about "
        "40 minutes on two cores, with growth 75; leave the machine alone meanwhile. Ctrl-C keeps what has been "
        "measured.",
        examples=(
            "benchmark speed --quick",
            "benchmark speed --workloads cartpole lander --rounds 3",
            "benchmark speed --resume",
        ),
    )
    speed.add_argument("--workloads", nargs="+", default=(), metavar="NAME", help=f"some of: {', '.join(WORKLOADS)}")
    speed.add_argument("--rounds", type=int, metavar="N", help="rounds of the main table (default: 5; quick: 2)")
    speed.add_argument(
        "--growth", action="store_true", help="also the curves along environments, width, minibatch, workers"
    )
    speed.add_argument(
        "--growth-rounds", type=int, default=3, metavar="N", help="rounds at each of their points (default: 3)"
    )
    speed.add_argument("--quick", action="store_true", help="a first table of two workloads in about two minutes")
    speed.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="where speed.json, .md and .png go (default: docs/results; quick: logs/benchmark)",
    )
    speed.add_argument("--resume", action="store_true", help="continue a run that was stopped")
    speed.add_argument(
        "--report-only", type=Path, metavar="FILE", help="measure nothing; write the report of a results file anew"
    )
    speed.set_defaults(run=run_speed_command)


def run_speed_command(words: argparse.Namespace) -> int:
    """Run `benchmark speed`.

    Args:
        words: The parsed command line.

    Returns:
        The exit status.
    """
    from sb3_ppo_scratch.benchmark.speed.run import options_from, report_only, run_speed

    try:
        report = report_only(words.report_only) if words.report_only else run_speed(options_from(words))
    except KeyboardInterrupt:
        return INTERRUPTED
    print(report.read_text())
    print(f"Written to {report}", file=sys.stderr)
    return 0
