"""The report as Markdown, with pictures beside it: for a repository.

What is here: how it is laid out. What is not: tables (`tables.py`), sentences (`wording.py`), pictures (`charts.py`).
"""

from collections.abc import Iterator

from sb3_ppo_scratch.benchmark.comparison.gathering import Report, Section
from sb3_ppo_scratch.benchmark.comparison.tables import Table, pairs_table, returns_table, settings_table
from sb3_ppo_scratch.benchmark.comparison.wording import how_measured, intervals_missing, verdicts, what_was_compared
from sb3_ppo_scratch.benchmark.markdown import table


def render_markdown(report: Report) -> str:
    """Write the report.

    Args:
        report: All that it shows.

    Returns:
        Markdown; pictures lie beside it.
    """
    parts = [
        f"# {report.plan.title}",
        what_was_compared(report.plan, report.n_runs),
        *intervals_missing(report.plan),
        _missing(report),
        *(
            f"**{section.summary.goal.env_id}.** {text}"
            for section in report.sections
            for text in verdicts(section.summary)
        ),
        f"![{report.overview.title}]({report.overview.name}.png)\n\n{report.overview.caption}",
        *(part for section in report.sections for part in _section(section)),
        "## How it is measured",
        *how_measured(report.plan),
        "## Commands",
        "```\n" + "\n".join(report.commands) + "\n```",
        "## Made with",
        "\n".join(f"- {machine}" for machine in report.machines),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _missing(report: Report) -> str:
    """Say which runs are not there."""
    lines = (f"- `{name}`: {text.strip().splitlines()[-1]}" for name, text in report.missing.items())
    return "Not finished, and so left out:\n\n" + "\n".join(lines) if report.missing else ""


def _section(section: Section) -> Iterator[str]:
    """Write all about one environment."""
    goal = section.summary.goal
    yield f"## {goal.env_id}"
    yield f"{goal.n_timesteps:,} steps; solved at a mean return of {goal.solved:g}."
    yield _lay_out(returns_table(section.summary))
    pairs = pairs_table(section.summary)
    if pairs is not None:
        yield _lay_out(pairs)
    for chart in section.charts:
        yield f"![{chart.title}, {goal.env_id}]({chart.name}.png)\n\n{chart.title}. {chart.caption}"
    if section.film is not None:
        name = section.film.path.name if section.film.path is not None else ""
        yield f"[Film]({name}). {section.film.caption}" if name else section.film.caption
    settings = section.settings
    if settings.different:
        yield "Settings that differ (a dash: the algorithm's default):"
        yield _lay_out(settings_table(settings.names, settings.different))
    if settings.same:
        yield "The same for all: " + ", ".join(f"{name} {value}" for name, value in settings.same.items()) + "."


def _lay_out(rows: Table) -> str:
    """Lay a table out."""
    return table(rows.header, [[cell.replace("|", "\\|") for cell in row] for row in rows.rows])
