"""One measurement in this process: `python -m sb3_ppo_scratch.benchmark.speed.measure --workload … --competitor …`.

What is here: its command line; the last line that it prints is JSON. What is not: the clock (`timing.py`), which is
imported only once the number of threads is settled.
"""

import argparse
import json
import os
from collections.abc import Sequence
from typing import Any, get_args

from sb3_ppo_scratch.benchmark.speed.workloads import ALL_WORKLOADS, COMPETITORS, VecEnvKind, Workload
from sb3_ppo_scratch.benchmark.threads import THREAD_VARIABLES


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line.

    Returns:
        The parser.
    """
    parser = argparse.ArgumentParser(prog="python -m sb3_ppo_scratch.benchmark.speed.measure", description=__doc__)
    parser.add_argument("--workload", required=True, choices=sorted(ALL_WORKLOADS))
    parser.add_argument("--competitor", required=True, choices=sorted(COMPETITORS))
    parser.add_argument("--vec-env", choices=get_args(VecEnvKind), help="default: the workload's")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, help="of torch and BLAS; default: leave them alone")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=NUMBER", help="change the workload")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print.

    Args:
        arguments: The command line; None: this process's.
    """
    words = build_parser().parse_args(arguments)
    if words.threads is not None:
        os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(words.threads)))
    settings = {name: int(value) for name, _, value in (setting.partition("=") for setting in words.set)}
    workload = ALL_WORKLOADS[words.workload].with_settings(settings)
    print(json.dumps(_measure(workload, words)))


def _measure(workload: Workload, words: argparse.Namespace) -> dict[str, Any]:
    """Load torch and all the rest, now that the environment variables are set, and measure."""
    import torch as th

    from sb3_ppo_scratch.benchmark.speed.timing import time_learning, time_stepping

    if words.threads is not None:
        th.set_num_threads(words.threads)
    kind = words.vec_env or workload.vec_envs[0]
    if not COMPETITORS[words.competitor].algorithm:
        return time_stepping(workload, kind, words.seed)
    return time_learning(workload, COMPETITORS[words.competitor], kind, words.seed)


if __name__ == "__main__":
    main()
