"""Which settings the algorithms of a comparison were trained with, and which of them differ.

What is here: reading what rl_zoo3 has written down about runs. What is not: hyperparameter files as such (`zoo/`).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sb3_ppo_scratch.benchmark.comparison.summary import EnvironmentSummary
from sb3_ppo_scratch.benchmark.training.plan import run_folder
from sb3_ppo_scratch.benchmark.training.records import find_settings

OF_THE_COMPARISON = frozenset({"callback", "n_timesteps"})
"""Settings that the comparison gives itself: how runs are looked at, and how long they are."""
UNSAID = ""
"""Stands for what is left to the algorithm's own default."""


class Settings(NamedTuple):
    """Settings on one environment."""

    names: tuple[str, ...]
    """Titles of the algorithms."""
    different: dict[str, tuple[str, ...]]
    """By setting what each algorithm has."""
    same: dict[str, str]
    """By setting what all have."""


def settings_of(summary: EnvironmentSummary, folder: Path) -> Settings:
    """Compare the settings of all algorithms on one environment.

    Args:
        summary: Its figures.
        folder: The folder of the comparison's runs.

    Returns:
        Settings of those that rl_zoo3 has trained.
    """
    found = {}
    for figures in summary.figures:
        settings = find_settings(
            folder / run_folder(summary.goal.env_id, figures.contestant.name, figures.runs[0].seed)
        )
        if settings is not None:
            own = {name: value for name, value in settings.items() if name not in OF_THE_COMPARISON}
            found[figures.contestant.title] = {"algorithm": figures.contestant.algorithm, **own}
    return compare_settings(found)


def compare_settings(settings: Mapping[str, Mapping[str, Any]]) -> Settings:
    """Tell settings that differ from those that do not.

    Args:
        settings: By title what an algorithm was given.

    Returns:
        Both kinds, by name.

    Example:
        >>> compare_settings({"ours": {"gamma": 0.9, "n_envs": 8}, "stock": {"gamma": 0.9}}).different
        {'n_envs': ('8', '')}
    """
    names = dict.fromkeys(sorted({name for each in settings.values() for name in each}))
    shown = {name: tuple(_show(each, name) for each in settings.values()) for name in names}
    return Settings(
        names=tuple(settings),
        different={name: values for name, values in shown.items() if len(set(values)) > 1},
        same={name: values[0] for name, values in shown.items() if len(set(values)) == 1},
    )


def _show(settings: Mapping[str, Any], name: str) -> str:
    """Show a setting as YAML would; whole numbers without a point."""
    value = settings.get(name, UNSAID)
    return f"{value:g}" if isinstance(value, float) and value.is_integer() else str(value)
