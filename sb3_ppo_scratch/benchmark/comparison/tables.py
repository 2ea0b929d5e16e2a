"""The tables of a report, as cells of text: the same for the web page and for Markdown.

What is here: rows. What is not: how they are laid out.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from sb3_ppo_scratch.benchmark.comparison.summary import EnvironmentSummary, Figures
from sb3_ppo_scratch.benchmark.comparison.wording import NOTHING, show_estimate, show_number, show_rounded, show_time


class Table(NamedTuple):
    """A table of text."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def returns_table(summary: EnvironmentSummary) -> Table:
    """List how well, how surely and how soon each algorithm has learned.

    Args:
        summary: An environment's figures.

    Returns:
        A row for each algorithm.
    """
    header = (
        "algorithm",
        "return at the end",
        "lowest seed",
        "return over training",
        "solved",
        "steps",
        "seconds",
        "steps/s",
    )
    return Table(header, tuple(_returns_row(figures) for figures in summary.figures))


def _returns_row(figures: Figures) -> tuple[str, ...]:
    """Fill one line."""
    return (
        name_of(figures),
        show_estimate(figures.score),
        show_number(min(run.final for run in figures.runs)),
        show_estimate(figures.area),
        f"{figures.steps.n_reached} of {figures.steps.n_seeds}",
        show_time(figures.steps),
        f"{show_rounded(figures.seconds.median)}"
        if math.isfinite(figures.seconds.median) and figures.learns
        else NOTHING,
        show_estimate(figures.rate, 0),
    )


def pairs_table(summary: EnvironmentSummary) -> Table | None:
    """List what was compared, seed by seed.

    Args:
        summary: An environment's figures.

    Returns:
        A row for each pair; None if there are none.
    """
    header = (
        "algorithm",
        "compared with",
        "seeds",
        "difference of returns",
        "verdict",
        "ends higher with probability",
        "steps/s, times",
    )
    rows = tuple(
        (
            figures.contestant.title,
            against.reference.title,
            str(against.difference.n_seeds),
            show_estimate(against.difference),
            against.verdict,
            show_estimate(against.improvement, 2),
            show_estimate(against.speedup, 2),
        )
        for figures in summary.figures
        for against in figures.against
    )
    return Table(header, rows) if rows else None


def name_of(figures: Figures) -> str:
    """Name an algorithm with what is special about it.

    Args:
        figures: Its figures.

    Returns:
        Title and remark.
    """
    about = figures.contestant.about
    return f"{figures.contestant.title} ({about})" if about else figures.contestant.title


def settings_table(names: Sequence[str], different: dict[str, tuple[str, ...]]) -> Table:
    """List settings that differ.

    Args:
        names: Titles of the algorithms.
        different: By setting what each has.

    Returns:
        A row for each setting.
    """
    rows = tuple((name, *(value or NOTHING for value in values)) for name, values in different.items())
    return Table(("setting", *names), rows)
