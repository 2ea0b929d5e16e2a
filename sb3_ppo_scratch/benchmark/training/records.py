"""What is kept of a training run, and what it says.

What is here: reading and writing the record, and looking things up in one. What is not: making one (`process.py`),
comparing many (`ladder_report.py`).
"""

import hashlib
import json
import math
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sb3_ppo_scratch.safe_writing import write_safely
from sb3_ppo_scratch.zoo.plain_yaml import read_plain_yaml

EVALUATIONS_FILE = "evaluations.json"
"""What the process of a run writes at its end."""
RECORD_FILE = "run.json"
"""What is written once that process has ended well: a run that has it is finished."""
FORMAT = "sb3-ppo-scratch training run 2"


@dataclass(frozen=True)
class EvaluationPoint:
    """One look at a policy.

    Args:
        steps: Steps trained, over all environments.
        seconds: Seconds of processor time trained, without those of evaluations.
        rollout_seconds: Those of them in which experience was collected.
        returns: Of each episode, in the environment's own units.
        lengths: Of each episode, in steps.
    """

    steps: int
    seconds: float
    rollout_seconds: float
    returns: tuple[float, ...]
    lengths: tuple[int, ...]

    @property
    def mean_return(self) -> float:
        """Mean over the episodes."""
        return float(np.mean(self.returns))


@dataclass(frozen=True)
class RunRecord:
    """All that is known about a finished run.

    Args:
        identity: What was asked for: the command, and a digest of the hyperparameter file.
        command: The command that trained it, without paths.
        machine: What it ran on, and the versions.
        threads: Threads of torch and BLAS.
        evaluations: In the order of steps; the last is the one that counts.
        model_digest: Of the saved model; empty: none was saved.
    """

    identity: str
    command: str
    machine: dict[str, Any]
    threads: int
    evaluations: tuple[EvaluationPoint, ...]
    model_digest: str = ""

    @property
    def final(self) -> EvaluationPoint:
        """The last policy's evaluation."""
        return self.evaluations[-1]

    @property
    def rate(self) -> float:
        """Steps per second of training; NaN if it took no time."""
        return self.final.steps / self.final.seconds if self.final.seconds > 0.0 else math.nan

    def solved_at(self, threshold: float) -> tuple[float, float]:
        """Find when the mean return of an evaluation first reached a threshold.

        Args:
            threshold: The mean return.

        Returns:
            Steps and seconds; infinity if it never did.
        """
        for point in self.evaluations:
            if point.mean_return >= threshold:
                return float(point.steps), point.seconds
        return math.inf, math.inf


def read_evaluations(folder: Path) -> tuple[EvaluationPoint, ...]:
    """Read what the process of a run has written.

    Args:
        folder: The run's folder.

    Returns:
        Its evaluations.

    Raises:
        FileNotFoundError: If it has written nothing.
    """
    return tuple(_point(entry) for entry in json.loads((folder / EVALUATIONS_FILE).read_text()))


def _point(entry: dict[str, Any]) -> EvaluationPoint:
    """Build an evaluation from JSON."""
    lists = {name: tuple(entry[name]) for name in ("returns", "lengths")}
    return EvaluationPoint(**{**entry, **lists})


def write_record(record: RunRecord, folder: Path) -> None:
    """Write a run's record; a crash while writing leaves none.

    Args:
        record: It.
        folder: The run's folder.
    """
    write_safely(folder / RECORD_FILE, json.dumps({"format": FORMAT, **asdict(record)}).encode())


def read_record(folder: Path) -> RunRecord | None:
    """Read a run's record.

    Args:
        folder: The run's folder.

    Returns:
        It; None if the run is not finished, or its record or its model is damaged.
    """
    try:
        written = json.loads((folder / RECORD_FILE).read_text())
        if written.pop("format") != FORMAT:
            return None
        record = RunRecord(**{**written, "evaluations": tuple(_point(entry) for entry in written["evaluations"])})
        model = find_model(folder)
        return record if record.model_digest == (digest_of(model) if model is not None else "") else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def find_model(folder: Path) -> Path | None:
    """Find the model that rl_zoo3 has saved at the end of a run.

    Args:
        folder: The run's folder.

    Returns:
        The file, which is named like the folder of settings beside it; None if there is none.
    """
    models = [config.parent.with_name(f"{config.parent.name}.zip") for config in _configs(folder)]
    return next((model for model in models if model.is_file()), None)


def find_settings(folder: Path) -> dict[str, Any] | None:
    """Find the settings that rl_zoo3 has given a run's algorithm.

    Args:
        folder: The run's folder.

    Returns:
        They, by name; None if there are none, or they are no plain values.
    """
    for config in _configs(folder):
        with suppress(ValueError):
            return read_plain_yaml(config)
    return None


def _configs(folder: Path) -> list[Path]:
    """Find what rl_zoo3 has written below a run's folder: `ALGORITHM/ENVIRONMENT_1/ENVIRONMENT/config.yml`."""
    return sorted(folder.glob("*/*/*/config.yml"))


def digest_of(path: Path) -> str:
    """Digest a file.

    Args:
        path: It.

    Returns:
        Sixteen hexadecimal digits.
    """
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
