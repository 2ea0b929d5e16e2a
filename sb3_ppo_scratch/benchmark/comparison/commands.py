"""The words of `python -m sb3_ppo_scratch benchmark run …`, `… report …` and `… compare …`.

What is here: the options and their help. What is not: what they do, imported only when a command runs.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from sb3_ppo_scratch.benchmark.progress import INTERRUPTED
from sb3_ppo_scratch.command_words import add_command
from sb3_ppo_scratch.zoo.trusted_option import add_trusted_option


def add_comparison_commands(kinds: Any) -> None:
    """Describe `benchmark run`, `benchmark report` and `benchmark compare`.

    Args:
        kinds: The subparsers of `benchmark`.
    """
    _add_run(kinds)
    _add_report(kinds)
    _add_compare(kinds)


def _add_run(kinds: Any) -> None:
    """Describe `benchmark run`."""
    parser = add_command(
        kinds,
        "run",
        purpose="train ppo_scratch, stock PPO and others side by side",
        description="Train every algorithm of a plan on every environment with every seed, each in a process of the "
        "unmodified rl_zoo3. Runs that are finished are not made again, whatever has become of the code meanwhile: the "
        "same command goes on after Ctrl-C or a crash; --runs begins elsewhere.",
        examples=(
            "benchmark run                      the default plan: hours of one core",
            "benchmark run small                CartPole, five seeds: minutes (make bench)",
            "benchmark run my_plan.yml --seeds 3 --jobs 4",
            "benchmark run --ray auto           on all machines of a Ray cluster",
        ),
    )
    parser.add_argument(
        "plan",
        nargs="?",
        default="default",
        metavar="PLAN",
        help="a plan file, or default (the default), ladder, small",
    )
    parser.add_argument("--contestants", nargs="+", default=(), metavar="NAME", help="only these")
    parser.add_argument("--envs", nargs="+", default=(), metavar="ID", help="only these environments")
    parser.add_argument("--seeds", type=int, metavar="N", help="how many seeds (default: the plan's)")
    parser.add_argument("--share", type=int, default=1, metavar="N", help="train for 1/N of the steps (default: 1)")
    parser.add_argument("--jobs", type=int, metavar="N", help="runs at a time (default: one per core)")
    parser.add_argument("--runs", type=Path, metavar="DIR", help="where runs lie (default: logs/benchmark/PLAN)")
    parser.add_argument("--ray", metavar="ADDRESS", help="make runs on a Ray cluster: its address, or auto")
    parser.set_defaults(run=run_run_command)


def _add_report(kinds: Any) -> None:
    """Describe `benchmark report`."""
    parser = add_command(
        kinds,
        "report",
        purpose="turn runs into a report: a web page, Markdown, results.json",
        description="Write what the runs of `benchmark run` have come to: report.html (one file, to be opened in a "
        "browser), report.md with pictures, results.json and runs.csv.",
        examples=(
            "benchmark report logs/benchmark/small --trusted",
            "benchmark report logs/benchmark/default --out docs/results/comparison",
        ),
    )
    parser.add_argument("runs", type=Path, metavar="DIR", help="the folder of the runs")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where the report goes (default: DIR/report)")
    parser.add_argument("--no-films", action="store_true", help="leave out the films of agents")
    add_trusted_option(parser)
    parser.set_defaults(run=run_report_command)


def _add_compare(kinds: Any) -> None:
    """Describe `benchmark compare`."""
    parser = add_command(
        kinds,
        "compare",
        purpose="say what has changed between two reports beyond noise",
        description="Compare two reports figure by figure. The exit status is 1 if something got worse, else 0.",
        examples=("benchmark compare old/results.json new/results.json",),
    )
    for name in ("old", "new"):
        parser.add_argument(name, type=Path, metavar=name.upper(), help="results.json, or the folder that holds it")
    parser.set_defaults(run=run_compare_command)


def run_run_command(words: argparse.Namespace) -> int:
    """Run `benchmark run`.

    Args:
        words: The parsed command line.

    Returns:
        The exit status; 1 if a run has failed.
    """
    from sb3_ppo_scratch.benchmark.comparison.run import RunOptions, make_runs

    names = ("plan", "contestants", "envs", "seeds", "share", "jobs", "runs", "ray")
    options = RunOptions(**{name: getattr(words, name) for name in names})
    try:
        records, failures = make_runs(options)
    except KeyboardInterrupt:
        print("Stopped; finished runs are kept, and the same command goes on from there.", file=sys.stderr)
        return INTERRUPTED
    print(f"{len(records)} runs in {options.folder}, {len(failures)} failed.")
    print(f"For a report: python -m sb3_ppo_scratch benchmark report {options.folder}")
    return 1 if failures else 0


def run_report_command(words: argparse.Namespace) -> int:
    """Run `benchmark report`.

    Args:
        words: The parsed command line.

    Returns:
        The exit status.
    """
    from sb3_ppo_scratch.benchmark.comparison.report import write_report
    from sb3_ppo_scratch.benchmark.comparison.results import REPORT_FOLDER

    out = words.out or words.runs / REPORT_FOLDER
    for path in write_report(words.runs, out, with_films=not words.no_films, trusted=words.trusted):
        print(path)
    return 0


def run_compare_command(words: argparse.Namespace) -> int:
    """Run `benchmark compare`.

    Args:
        words: The parsed command line.

    Returns:
        The exit status; 1 if something got worse.
    """
    from sb3_ppo_scratch.benchmark.comparison.compare import compare_results, render_changes
    from sb3_ppo_scratch.benchmark.comparison.results import read_results

    comparison = compare_results(read_results(words.old), read_results(words.new))
    print(render_changes(comparison))
    return 1 if comparison.is_worse else 0
