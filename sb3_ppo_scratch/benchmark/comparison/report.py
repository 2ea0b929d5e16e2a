"""From the folder of a comparison's runs to its report: what `benchmark report` does.

What is here: gathering everything that a report shows, and writing its files. What is not: how the web page and the
Markdown look (`page.py`, `markdown_report.py`), the figures (`summary.py`), the pictures (`charts.py`).
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from sb3_ppo_scratch.benchmark.comparison.charts import Chart, charts_of, draw_overview
from sb3_ppo_scratch.benchmark.comparison.drawing import write_png
from sb3_ppo_scratch.benchmark.comparison.films import Film, film_pair
from sb3_ppo_scratch.benchmark.comparison.results import write_results
from sb3_ppo_scratch.benchmark.comparison.run import read_snapshot
from sb3_ppo_scratch.benchmark.comparison.settings import Settings, settings_of
from sb3_ppo_scratch.benchmark.comparison.summary import EnvironmentSummary, summarize
from sb3_ppo_scratch.benchmark.machine import in_words
from sb3_ppo_scratch.benchmark.option_checks import check_folders
from sb3_ppo_scratch.benchmark.training.plan import Run, TrainingPlan
from sb3_ppo_scratch.benchmark.training.process import FAILURE_FILE
from sb3_ppo_scratch.benchmark.training.records import RunRecord
from sb3_ppo_scratch.errors import ArgumentError
from sb3_ppo_scratch.safe_writing import write_safely

PAGE_FILE, MARKDOWN_FILE = "report.html", "report.md"


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


def write_report(runs: Path, out: Path, *, with_films: bool = True, trusted: bool = False) -> list[Path]:
    """Write the report of a comparison.

    Args:
        runs: The folder of its runs.
        out: Where to.
        with_films: Whether to film agents, which takes some seconds for each environment.
        trusted: Whether to unpickle models for that; stock PPO's cannot be read otherwise.

    Returns:
        The files.

    Raises:
        FileNotFoundError: If there are no runs.
        ArgumentError: If none is finished, or the comparison's files are damaged.
        NotADirectoryError: If `out` is a file.
    """
    from sb3_ppo_scratch.benchmark.comparison.markdown_report import render_markdown
    from sb3_ppo_scratch.benchmark.comparison.page import render_page

    check_folders({"--out": out})
    plan, records = read_snapshot(runs)
    if not records:
        raise ArgumentError(f"no run in {runs} is finished; `benchmark run` goes on with them.")
    out.mkdir(parents=True, exist_ok=True)
    film = partial(film_pair, runs=runs, seed=plan.evaluation.first_seed, folder=out, trusted=trusted)
    report = gather(plan, records, runs, film if with_films else lambda _: None)
    for chart in (report.overview, *(chart for section in report.sections for chart in section.charts)):
        write_png(chart.figure, out / f"{chart.name}.png")
    write_results([section.summary for section in report.sections], about(report, records), out)
    write_safely(out / MARKDOWN_FILE, render_markdown(report).encode())
    write_safely(out / PAGE_FILE, render_page(report).encode())
    return [out / name for name in (PAGE_FILE, MARKDOWN_FILE)]


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


def about(report: Report, records: Mapping[Run, RunRecord]) -> dict[str, Any]:
    """Say what `results.json` was made with.

    Args:
        report: The report.
        records: Its finished runs.

    Returns:
        Plan, commands, machines, runs that are missing.
    """
    return {
        "title": report.plan.title,
        "plan": report.plan,
        "cpus": sorted({f"{each.machine['cpu']}, {each.machine['cores']} cores" for each in records.values()}),
        "machines": report.machines,
        "commands": report.commands,
        "missing": dict(report.missing),
        "n_runs": report.n_runs,
    }
