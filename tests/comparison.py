"""Comparing what two runs have come to, bit for bit.

What is here: models, logs, evaluations and episodes as named arrays, and comparing two sets of those. What is not:
making the runs.
"""

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sb3_ppo_scratch import PPOScratch

Figures = Mapping[str, np.ndarray]
"""Arrays by name."""
COUNTERS = ("num_timesteps", "_n_updates", "kl_coef_scale", "kl_rate_scale")
"""Attributes of a model that learning changes, beside its policy; the last two are PPOScratch's."""


class Comparison(NamedTuple):
    """What comparing two sets of arrays has come to."""

    compared: int
    """Names in either set."""
    differing: list[str]
    """Names of arrays that are in one set only, or not the same to the last bit."""
    largest: float
    """Largest absolute difference; infinity where arrays cannot be subtracted."""


def compare(one: Figures, other: Figures) -> Comparison:
    """Compare two sets of arrays bit for bit.

    Args:
        one: The first set.
        other: The second.

    Returns:
        The outcome.
    """
    names = list(dict.fromkeys([*one, *other]))
    differing = [name for name in names if not _is_same(one.get(name), other.get(name))]
    return Comparison(
        len(names), differing, max((_distance(one.get(name), other.get(name)) for name in differing), default=0.0)
    )


def _is_same(one: np.ndarray | None, other: np.ndarray | None) -> bool:
    """Tell whether two arrays are there and have the same type, shape and bits."""
    if one is None or other is None:
        return False
    return (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())


def _distance(one: np.ndarray | None, other: np.ndarray | None) -> float:
    """Find the largest absolute difference of two arrays; infinity if there is none."""
    if one is None or other is None or one.shape != other.shape:
        return np.inf
    try:
        difference = np.abs(one.astype(np.float64) - other.astype(np.float64)).max(initial=0.0)
    except ValueError:  # words
        return np.inf
    return np.inf if np.isnan(difference) else float(difference)


def figures_of_model(model: Any) -> Figures:
    """List what a model has learned.

    Args:
        model: An algorithm.

    Returns:
        Its parameters, buffers, optimiser's state and settings, and counters.
    """
    figures = {f"policy.{name}": value.detach().cpu().numpy() for name, value in model.policy.state_dict().items()}
    optimizer = model.policy.optimizer.state_dict()
    for index, state in optimizer["state"].items():
        figures |= {f"optimizer.{index}.{name}": np.asarray(value) for name, value in state.items()}
    for index, group in enumerate(optimizer["param_groups"]):
        figures[f"optimizer.learning_rate.{index}"] = np.asarray(group["lr"])
    return figures | {name: np.asarray(getattr(model, name)) for name in COUNTERS if hasattr(model, name)}


def figures_of_log(*parts: Path) -> Figures:
    """List the cells of a log in `progress.csv`, but for times.

    Args:
        *parts: The files of one run, the first first.

    Returns:
        Each cell that is not empty, as text, under its row and column.
    """
    rows: list[dict[str, str]] = []
    for path in parts:
        with path.open(newline="") as file:
            rows += csv.DictReader(file)
    return {
        f"{index}: {column}": np.asarray(cell)
        for index, row in enumerate(rows)
        for column, cell in row.items()
        if cell and not column.startswith("time/")
    }


def figures_of_evaluations(path: Path) -> Figures:
    """List what evaluations have come to.

    Args:
        path: SB3's `evaluations.npz`.

    Returns:
        Its arrays.
    """
    with np.load(path) as arrays:
        return dict(arrays)


def figures_of_episodes(paths: Iterable[Path]) -> Figures:
    """List all episodes that `Monitor` has written down, but for their times.

    Args:
        paths: Its files.

    Returns:
        For each file the returns and lengths, float64 (episodes, 2).
    """
    return {path.name: np.loadtxt(path, delimiter=",", skiprows=2, usecols=(0, 1), ndmin=2) for path in paths}


def compare_runs(one: Path, other: Path, env_id: str) -> dict[str, Comparison]:
    """Compare what two runs have come to.

    Args:
        one: The first run's folder.
        other: The second's.
        env_id: The environment.

    Returns:
        Comparisons of the last models, the evaluations and the episodes of training.
    """
    models = [figures_of_model(PPOScratch.load(run / f"{env_id}.zip", device="cpu")) for run in (one, other)]
    evaluations = [figures_of_evaluations(run / "evaluations.npz") for run in (one, other)]
    episodes = [figures_of_episodes(run.glob("*.monitor.csv")) for run in (one, other)]
    return {
        "parameters, optimiser's state and counters": compare(*models),
        "`evaluations.npz`": compare(*evaluations),
        "returns and lengths of all episodes": compare(*episodes),
    }
