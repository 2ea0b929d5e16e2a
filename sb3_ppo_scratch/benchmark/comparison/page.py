"""The report as one web page that needs no network: pictures and films lie in it.

What is here: what the template gets. What is not: how it is laid out (`templates/report.html`), tables (`tables.py`),
sentences (`wording.py`), pictures (`charts.py`, `drawing.py`).
"""

import base64
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from sb3_ppo_scratch.benchmark.comparison.charts import Chart
from sb3_ppo_scratch.benchmark.comparison.drawing import COLOURS, DARK_COLOURS, as_svg
from sb3_ppo_scratch.benchmark.comparison.films import Film
from sb3_ppo_scratch.benchmark.comparison.gathering import Report, Section
from sb3_ppo_scratch.benchmark.comparison.tables import pairs_table, returns_table, settings_table
from sb3_ppo_scratch.benchmark.comparison.wording import how_measured, intervals_missing, verdicts, what_was_compared

TEMPLATE = "report.html"


def render_page(report: Report) -> str:
    """Write the page.

    Args:
        report: All that it shows.

    Returns:
        HTML.
    """
    environment = Environment(
        loader=PackageLoader("sb3_ppo_scratch.benchmark.comparison"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(TEMPLATE).render(
        title=report.plan.title,
        what=what_was_compared(report.plan, report.n_runs),
        warnings=intervals_missing(report.plan),
        missing=report.missing,
        overview=_picture(report.overview),
        sections=[_section(section) for section in report.sections],
        how=how_measured(report.plan),
        commands=report.commands,
        machines=report.machines,
        colours=list(zip(COLOURS, DARK_COLOURS, strict=True)),
    )


def _section(section: Section) -> dict[str, Any]:
    """Turn all about one environment into what the template shows."""
    summary = section.summary
    return {
        "name": summary.goal.env_id,
        "goal": summary.goal,
        "verdicts": list(verdicts(summary)),
        "charts": [_picture(chart) for chart in section.charts],
        "returns": returns_table(summary),
        "pairs": pairs_table(summary),
        "film": _film(section.film),
        "settings": settings_table(section.settings.names, section.settings.different),
        "same": section.settings.same,
    }


def _picture(chart: Chart) -> dict[str, Any]:
    """Turn a chart into SVG, whose text matplotlib has escaped."""
    return {"title": chart.title, "caption": chart.caption, "svg": Markup(as_svg(chart.figure, chart.name))}


def _film(film: Film | None) -> dict[str, str] | None:
    """Put a film into the page itself."""
    if film is None or film.path is None:
        return None if film is None else {"caption": film.caption, "kind": "", "source": ""}
    kind = "image/gif" if film.path.suffix == ".gif" else "video/mp4"
    return {"caption": film.caption, "kind": kind, "source": f"data:{kind};base64,{_base64(film.path)}"}


def _base64(path: Path) -> str:
    """Encode a file."""
    return base64.b64encode(path.read_bytes()).decode()
