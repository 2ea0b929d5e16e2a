"""The speed benchmark: what the command does.

What is here: options turned into files. What is not: the command line's words (`commands.py`), the plan
(`main_table.py`, `growth.py`), processes (`execution.py`), the report (`report.py`).
"""

import importlib.util
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sb3_ppo_scratch.benchmark.machine import describe_machine
from sb3_ppo_scratch.benchmark.option_checks import check_counts, check_folders
from sb3_ppo_scratch.benchmark.progress import show
from sb3_ppo_scratch.benchmark.speed.execution import Measure, execute, measure_in_process
from sb3_ppo_scratch.benchmark.speed.growth import plan_growth
from sb3_ppo_scratch.benchmark.speed.main_table import plan_main_table
from sb3_ppo_scratch.benchmark.speed.plan import Task
from sb3_ppo_scratch.benchmark.speed.results import Results, load_results
from sb3_ppo_scratch.benchmark.speed.workloads import WORKLOADS
from sb3_ppo_scratch.errors import ArgumentError, check_known_names

QUICK_WORKLOADS = ("cartpole", "lander")
QUICK_ROUNDS, FULL_ROUNDS, GROWTH_ROUNDS = 2, 5, 3
OPTIONAL = {"sbx": "sbx-rl", "envpool": "envpool"}
"""A competitor and a VecEnv that not everybody has: name, which is also the module's, and package."""


@dataclass(frozen=True)
class SpeedOptions:
    """What `benchmark speed` was asked for.

    Args:
        workloads: Keys of `WORKLOADS`; empty: all, or the quick ones.
        rounds: Rounds of the main table; None: as many as usual.
        growth: Whether to measure the curves, too.
        growth_rounds: Rounds at each point of the curves.
        quick: Whether a first table in a few minutes is enough.
        out: Folder of the files; None: docs/results, or logs/benchmark for a quick run.
        resume: Whether to continue a run that was stopped.
    """

    workloads: tuple[str, ...] = ()
    rounds: int | None = None
    growth: bool = False
    growth_rounds: int = GROWTH_ROUNDS
    quick: bool = False
    out: Path | None = None
    resume: bool = False

    def completed(self) -> "SpeedOptions":
        """Check what was given, and fill in what was not.

        Returns:
            Options without gaps.

        Raises:
            ArgumentTypeError: If a workload is unknown.
            ArgumentError: If a number is too small.
            NotADirectoryError: If the folder is a file.
        """
        check_known_names(self.workloads, WORKLOADS, where="--workloads")
        rounds = (QUICK_ROUNDS if self.quick else FULL_ROUNDS) if self.rounds is None else self.rounds
        check_counts({"--rounds": rounds, "--growth-rounds": self.growth_rounds})
        out = self.out or Path("logs/benchmark" if self.quick else "docs/results")
        check_folders({"--out": out})
        workloads = tuple(dict.fromkeys(self.workloads)) or (QUICK_WORKLOADS if self.quick else tuple(WORKLOADS))
        return replace(self, workloads=workloads, rounds=rounds, out=out)

    def command(self) -> str:
        """Say the command that makes the measurements.

        Returns:
            The command line, without where the files go.
        """
        words = ["python -m sb3_ppo_scratch benchmark speed"]
        if self.quick:
            words.append("--quick")
        if self.workloads not in ((), QUICK_WORKLOADS if self.quick else tuple(WORKLOADS)):
            words += ["--workloads", *self.workloads]
        words += ["--rounds", str(self.rounds)]
        if self.growth:
            words += ["--growth", "--growth-rounds", str(self.growth_rounds)]
        return " ".join(words)


def run_speed(options: SpeedOptions, measure: Measure = measure_in_process) -> Path:
    """Measure, and write the results file and the report.

    Args:
        options: What was asked for.
        measure: Makes one measurement.

    Returns:
        The report.

    Raises:
        ArgumentError: If an option is wrong, or there is nothing that could be continued.
        FileExistsError: If a stopped run would be lost.
    """
    from sb3_ppo_scratch.benchmark.speed.report import write_report

    options = options.completed()
    assert options.out is not None
    finished = options.out / "speed.json"
    partial = finished.with_suffix(".partial.json")
    results = _begin(options, partial)
    try:
        execute(lambda known: plan_everything(options, known), results, partial, measure)
    except KeyboardInterrupt:
        show(f"\nStopped after measurement {len(results.measurements)}; all are kept in {partial}.")
        show("The same command with --resume goes on from there; --report-only with that file reports what there is.")
        raise
    results.save(partial)
    partial.replace(finished)
    return write_report(load_results(finished), finished)


def plan_everything(options: SpeedOptions, known: Results) -> list[Task]:
    """List all measurements that were asked for.

    Args:
        options: What was asked for, completed.
        known: What is known so far.

    Returns:
        Tasks in the order of execution.
    """
    tasks = plan_main_table(options.workloads, options.rounds or 0, known, quick=options.quick)
    return tasks + (plan_growth(options.growth_rounds, known.environment["cores"]) if options.growth else [])


def _begin(options: SpeedOptions, partial: Path) -> Results:
    """Start a new results file, or open the one of a stopped run.

    Raises:
        FileExistsError: If a stopped run would be lost.
        FileNotFoundError: If there is none to continue.
        ArgumentError: If it is of another machine or other code.
    """
    skipped = {name: f"not installed (pip install {package})" for name, package in OPTIONAL.items() if not _has(name)}
    machine = describe_machine()
    if not options.resume:
        if partial.exists():
            raise FileExistsError(f"{partial} is a run that was stopped: continue it with --resume, or delete it.")
        return Results(machine, options.command(), options.rounds or 0, skipped)
    results = load_results(partial)
    changed = [
        f"{name} {results.environment.get(name)!r} is now {value!r}"
        for name, value in machine.items()
        if name != "date" and results.environment.get(name) != value
    ]
    if changed:
        raise ArgumentError(
            f"--resume: measurements of different code or machines do not mix: {'; '.join(changed)}. "
            f"Delete {partial} to start anew."
        )
    results.failures.clear()  # what failed may work now
    if options.command() not in results.command.splitlines():
        results.command += f"\n{options.command()} --resume"
    results.rounds, results.skipped = options.rounds or 0, skipped
    return results


def _has(name: str) -> bool:
    """Tell whether a competitor or VecEnv that not everybody has can take part."""
    return importlib.util.find_spec(name) is not None


def report_only(path: Path) -> Path:
    """Write the report of a results file anew.

    Args:
        path: The results file.

    Returns:
        The report.

    Raises:
        FileNotFoundError: If there is no such file.
        ArgumentError: If it is something else.
    """
    from sb3_ppo_scratch.benchmark.speed.report import write_report

    return write_report(load_results(path), path)


def options_from(words: Any) -> SpeedOptions:
    """Read the command line.

    Args:
        words: The parsed words of `benchmark speed`.

    Returns:
        The options.
    """
    return SpeedOptions(
        workloads=tuple(words.workloads),
        rounds=words.rounds,
        growth=words.growth,
        growth_rounds=words.growth_rounds,
        quick=words.quick,
        out=words.out,
        resume=words.resume,
    )
