"""Markdown of reports.

What is here: tables. What is not: what stands in them (`speed/report.py`, `training/ladder_report.py`).
"""

from collections.abc import Iterable, Sequence


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lay out a Markdown table.

    Args:
        header: Titles of the columns.
        rows: As many cells each.

    Returns:
        Its lines.
    """
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
