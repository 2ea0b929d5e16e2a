"""Everything that a report of a comparison shows, gathered from the folder of its runs.

What is here: that. What is not: how the web page and the Markdown look (`page.py`, `markdown_report.py`), the figures
(`summary.py`), the pictures (`charts.py`), and writing it all (`report.py`).
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from sb3_ppo_scratch.benchmark.comparison.charts import Chart, charts_of, draw_overview
from sb3_ppo_scratch.benchmark.comparison.films import Film
from sb3_ppo_scratch.benchmark.comparison.settings import Settings, settings_of
from sb3_ppo_scratch.benchmark.comparison.summary import EnvironmentSummary, summarize
from sb3_ppo_scratch.benchmark.machine import in_words
from sb3_ppo_scratch.benchmark.training.plan import Run, TrainingPlan
from sb3_ppo_scratch.benchmark.training.process import FAILURE_FILE
from sb3_ppo_scratch.benchmark.training.records import RunRecord


class Section(NamedTuple):
    """All about one environment."""

    summary: EnvironmentSummary
    charts: tuple[Chart, ...]
    film: Film | None
    settings: Settings


class Report(NamedTuple):
    """All that a report shows."""

    plan: TrainingPlan
    overview: Chart
    sections: tuple[Section, ...]
    commands: tuple[str, ...]
    """Of one run of each algorithm on each environment."""
    machines: tuple[str, ...]
    """What runs were made on and with, in words."""
    missing: Mapping[str, str]
    """By name the runs that are not finished, with what they have said at last."""
    n_runs: int
    """Finished runs."""


def gather(
    plan: TrainingPlan, records: Mapping[Run, RunRecord], runs: Path, film: Callable[[EnvironmentSummary], Film | None]
) -> Report:
    """Gather everything that a report shows.

    Args:
        plan: The comparison.
        records: Its finished runs.
        runs: The folder of all its runs.
        film: Films agents of an environment; None: there is nothing to be seen.

    Returns:
        The report.
    """
    summaries = summarize(plan, records)
    sections = tuple(
        Section(summary, tuple(charts_of(summary)), film(summary), settings_of(summary, runs)) for summary in summaries
    )
    return Report(
        plan=plan,
        overview=draw_overview(summaries),
        sections=sections,
        commands=tuple(dict.fromkeys(_of_any_seed(run, record) for run, record in records.items())),
        machines=tuple(sorted({in_words(record.machine) for record in records.values()})),
        missing={run.folder.as_posix(): _last_words(runs / run.folder) for run in plan.runs() if run not in records},
        n_runs=len(records),
    )


def _of_any_seed(run: Run, record: RunRecord) -> str:
    """Show a run's command with a word in place of its seed."""
    return record.command.replace(f"--seed {run.seed} ", "--seed SEED ")


def _last_words(folder: Path) -> str:
    """Read how a run has failed."""
    failure = folder / FAILURE_FILE
    return failure.read_text(errors="replace") if failure.is_file() else "not finished"
