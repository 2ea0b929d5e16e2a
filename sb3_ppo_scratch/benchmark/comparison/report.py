"""From the folder of a comparison's runs to its report: what `benchmark report` does.

What is here: writing its files. What is not: what they show (`gathering.py`), and how (`page.py`,
`markdown_report.py`, `results.py`).
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from sb3_ppo_scratch.benchmark.comparison.drawing import write_png
from sb3_ppo_scratch.benchmark.comparison.films import film_pair
from sb3_ppo_scratch.benchmark.comparison.gathering import Report, gather
from sb3_ppo_scratch.benchmark.comparison.markdown_report import render_markdown
from sb3_ppo_scratch.benchmark.comparison.page import render_page
from sb3_ppo_scratch.benchmark.comparison.results import write_results
from sb3_ppo_scratch.benchmark.comparison.run import read_snapshot
from sb3_ppo_scratch.benchmark.option_checks import check_folders
from sb3_ppo_scratch.benchmark.training.plan import Run
from sb3_ppo_scratch.benchmark.training.records import RunRecord
from sb3_ppo_scratch.errors import ArgumentError
from sb3_ppo_scratch.safe_writing import write_safely

PAGE_FILE, MARKDOWN_FILE = "report.html", "report.md"


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
