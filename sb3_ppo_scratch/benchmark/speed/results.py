"""The results file: every measurement with the machine it was made on, as JSON.

What is here: what a measurement says, and reading and writing the file so that nothing measured is lost. What is not:
statistics (`summaries.py`).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sb3_ppo_scratch.benchmark.speed.plan import Task, task_from_dict
from sb3_ppo_scratch.errors import ArgumentError
from sb3_ppo_scratch.safe_writing import write_safely

FORMAT = "sb3-ppo-scratch speed, version 1"
"""Says that a JSON file is one of ours."""


@dataclass(frozen=True)
class Measurement:
    """What one process has measured.

    Args:
        task: What was run.
        seconds: Wall-clock seconds of the timed `learn`.
        stepping: Seconds of it in the VecEnv's step.
        updating: Seconds of it in `train`.
        steps: Steps of it, over all environments.
        peak_mib: Peak memory of the process and its children, MiB.
        mean_return: Mean return of the last 100 episodes; None if none has ended.
        torch_threads: Threads that torch had before `learn`.
        process_seconds: Wall-clock seconds of the whole process, for the estimate of what is left.
    """

    task: Task
    seconds: float
    stepping: float
    updating: float
    steps: int
    peak_mib: float
    mean_return: float | None
    torch_threads: int
    process_seconds: float

    @property
    def acting(self) -> float:
        """Seconds in neither: choosing actions, storing transitions, estimating advantages, logging."""
        return self.seconds - self.stepping - self.updating

    @property
    def rate(self) -> float:
        """Steps per second."""
        return self.steps / self.seconds

    def as_dict(self) -> dict[str, Any]:
        """Say it in JSON's types.

        Returns:
            A flat record, the task's keys first.
        """
        figures = {name: value for name, value in vars(self).items() if name != "task"}
        return {**self.task.as_dict(), **figures}


def measurement_from(task: Task, figures: Mapping[str, Any]) -> Measurement:
    """Build a measurement from a record.

    Args:
        task: What was run.
        figures: The other fields by name; further keys are ignored.

    Returns:
        The measurement.
    """
    names = [name for name in Measurement.__dataclass_fields__ if name != "task"]
    return Measurement(task, **{name: figures[name] for name in names})


@dataclass
class Results:
    """All that a benchmark has found so far.

    Args:
        environment: The machine, the versions and the code, by name.
        command: The command that makes the measurements.
        rounds: Rounds planned.
        skipped: Competitors and VecEnvs that could not take part, with the reason.
        measurements: By task.
        failures: Last line of the error by task.
    """

    environment: dict[str, Any]
    command: str
    rounds: int
    skipped: dict[str, str] = field(default_factory=dict)
    measurements: dict[Task, Measurement] = field(default_factory=dict)
    failures: dict[Task, str] = field(default_factory=dict)

    def of_workload(self, name: str) -> list[Measurement]:
        """Pick one workload's measurements.

        Args:
            name: The workload.

        Returns:
            Its measurements, in the order in which they were made.
        """
        return [made for task, made in self.measurements.items() if task.workload == name]

    def save(self, path: Path) -> None:
        """Write the file; a crash while writing leaves the old one.

        Args:
            path: Where.
        """
        record = {
            "format": FORMAT,
            "command": self.command,
            "rounds": self.rounds,
            "environment": self.environment,
            "skipped": self.skipped,
            "failures": [{**task.as_dict(), "error": error} for task, error in self.failures.items()],
            "measurements": [measurement.as_dict() for measurement in self.measurements.values()],
        }
        write_safely(path, _compact(record).encode())


def load_results(path: Path) -> Results:
    """Read a file that `Results.save` wrote.

    Args:
        path: The file.

    Returns:
        What stands in it.

    Raises:
        FileNotFoundError: If there is none.
        ArgumentError: If it is something else.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}; `benchmark speed` writes one as it measures.")
    try:
        record = json.loads(path.read_text())
        if record["format"] != FORMAT:
            raise ValueError(f"its format is {record['format']!r}, not {FORMAT!r}")
        tasks = [task_from_dict(entry) for entry in record["measurements"]]
        made = zip(tasks, record["measurements"], strict=True)
        return Results(
            environment=record["environment"],
            command=record["command"],
            rounds=record["rounds"],
            skipped=record["skipped"],
            measurements={task: measurement_from(task, entry) for task, entry in made},
            failures={task_from_dict(entry): entry["error"] for entry in record["failures"]},
        )
    except (ValueError, KeyError, TypeError) as error:
        raise ArgumentError(f"{path} is no results file of `benchmark speed`: {error!r}.") from error


def _compact(record: Mapping[str, Any]) -> str:
    """Write JSON with one line per measurement, so that two files can be compared line by line."""
    lines = [f'  "{key}": {json.dumps(value)}' for key, value in record.items() if not isinstance(value, list)]
    for key, entries in record.items():
        if isinstance(entries, list):
            listed = ",\n    ".join(json.dumps(entry) for entry in entries)
            lines.append(f'  "{key}": [\n    {listed}\n  ]' if entries else f'  "{key}": []')
    return "{\n" + ",\n".join(lines) + "\n}\n"
