"""Everything that a report shows, as files that programs read: `results.json`, and a table of single runs as CSV.

What is here: figures to plain values and into files. What is not: the figures (`summary.py`), and comparing two such
files (`compare.py`).
"""

import csv
import dataclasses
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sb3_ppo_scratch.benchmark.comparison.summary import EnvironmentSummary, RunFigures
from sb3_ppo_scratch.errors import ArgumentError
from sb3_ppo_scratch.safe_writing import write_safely

FORMAT = "sb3-ppo-scratch comparison 1"
RESULTS_FILE = "results.json"
RUNS_FILE = "runs.csv"
REPORT_FOLDER = "report"
"""Below the folder of the runs, unless another one is asked for."""


def as_plain(value: Any) -> Any:
    """Turn figures into what JSON holds.

    Args:
        value: Dataclasses, arrays, lists, dicts, numbers and text, in each other.

    Returns:
        The same as dicts, lists, numbers and text; NaN and infinity are None.

    Example:
        >>> as_plain({"times": np.array([1.0, np.inf])})
        {'times': [1.0, None]}
    """
    if dataclasses.is_dataclass(value):
        return {field.name: as_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(name): as_plain(each) for name, each in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [as_plain(each) for each in value]
    is_number = isinstance(value, float | np.floating)
    return (float(value) if math.isfinite(value) else None) if is_number else value


def write_results(summaries: Sequence[EnvironmentSummary], about: Mapping[str, Any], folder: Path) -> None:
    """Write both files.

    Args:
        summaries: All figures.
        about: What they were made with: plan, commands, machine, versions.
        folder: Where to.
    """
    results = {"format": FORMAT, "about": as_plain(about), "environments": as_plain(summaries)}
    write_safely(folder / RESULTS_FILE, json.dumps(results, allow_nan=False, indent=1).encode())
    write_safely(folder / RUNS_FILE, list_runs(summaries).encode())


def list_runs(summaries: Sequence[EnvironmentSummary]) -> str:
    """List single runs, a line for each.

    Args:
        summaries: All figures.

    Returns:
        CSV with a header; what never happened is empty.
    """
    columns = [field.name for field in dataclasses.fields(RunFigures)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["environment", "contestant", *columns])
    for summary in summaries:
        for figures in summary.figures:
            for run in figures.runs:
                cells = as_plain(run)
                writer.writerow([summary.goal.env_id, figures.contestant.name, *(cells[name] for name in columns)])
    return text.getvalue()


def read_results(path: Path) -> dict[str, Any]:
    """Read what `write_results` has written.

    Args:
        path: The JSON file, the report's folder that holds it, or the folder of the runs with the report below it.

    Returns:
        Its content.

    Raises:
        FileNotFoundError: If there is none.
        ArgumentError: If it is something else.
    """
    places = (path, path / RESULTS_FILE, path / REPORT_FOLDER / RESULTS_FILE)
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise FileNotFoundError(f"there are no results at {path}; `benchmark report` writes {RESULTS_FILE}.")
    try:
        results = json.loads(found.read_text())
    except ValueError as error:
        raise ArgumentError(f"{found} is no JSON: {error}") from error
    if not isinstance(results, dict) or results.get("format") != FORMAT:
        raise ArgumentError(f"{found} holds no results of `benchmark report` in the format {FORMAT!r}.")
    return results
