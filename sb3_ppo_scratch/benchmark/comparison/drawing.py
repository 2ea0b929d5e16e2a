"""How charts look: colours, labels at the ends of lines, and SVG that takes the page's own colours.

What is here: what all charts share. What is not: what they show (`charts.py`), the page (`page.py`).

All colours stand out from the page, and any two from each other, for colour-blind readers too: the first three are
Okabe and Ito's (https://jfly.uni-koeln.de/color/), the others were searched for; tests/benchmark/comparison/
test_colours.py measures both.
"""

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib as mpl
from matplotlib.figure import Figure

from sb3_ppo_scratch.benchmark.comparison.summary import EnvironmentSummary, Figures
from sb3_ppo_scratch.benchmark.figure_files import DOTS_PER_INCH, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#9487b0", "#7d3711", "#222a60")
"""By place among those that learn; after the last, the first again with other dashes."""
DARK_COLOURS = ("#56b4e9", "#f0803c", "#02ffd4", "#ab7f9a", "#f0e442", "#876fff")
"""In their places on a dark page."""
NEUTRAL = "#737373"
"""Of what learns nothing."""
INK, LINES = "#1a1a1a", "#b3b3b3"
"""Of text, and of axes."""
DASHES = ("-", "--", "-.")
SIZE = 4.4, 3.0
"""Of a chart, inches: about as wide as a phone's screen."""
FONT_SIZE = 8.5
LABEL_GAP = 0.062
"""Between two labels, as a share of the axes' height."""


class Style(NamedTuple):
    """How one algorithm is drawn."""

    colour: str
    line: str


def style_of(summary: EnvironmentSummary, figures: Figures) -> Style:
    """Choose how an algorithm is drawn.

    Args:
        summary: All that are drawn with it.
        figures: The algorithm's.

    Returns:
        Its style.
    """
    if not figures.learns:
        return Style(NEUTRAL, ":")
    learning = [each.contestant.name for each in summary.figures if each.learns]
    turn, place = divmod(learning.index(figures.contestant.name), len(COLOURS))
    return Style(COLOURS[place], DASHES[turn % len(DASHES)])


STYLE: dict[Any, Any] = {
    **mpl.rcParamsDefault,
    "backend": "agg",
    "font.size": FONT_SIZE,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": LINES,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": LINES,
    "ytick.color": LINES,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
}


@contextmanager
def chart(height: float = SIZE[1]) -> Iterator[tuple[Figure, "Axes"]]:
    """Draw a chart, in the same style whatever the user's settings are.

    Args:
        height: Inches.

    Yields:
        The figure and its axes.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(SIZE[0], height), dpi=DOTS_PER_INCH, layout="constrained")
        yield figure, figure.subplots()


def label_ends(axes: "Axes", ends: Sequence[tuple[float, str, str]]) -> None:
    """Write names at the right edge beside lines, below each other where they would meet.

    Args:
        axes: Where the lines are; their limits are set.
        ends: For each line where it ends (y), name and colour.
    """
    low, high = axes.get_ylim()
    gap = LABEL_GAP * (high - low)
    for (_, name, colour), y in zip(ends, spread([min(max(y, low), high) for y, _, _ in ends], gap), strict=True):
        axes.annotate(
            name,
            (1.0, y),
            (4, 0),
            xycoords=axes.get_yaxis_transform(),
            textcoords="offset points",
            va="center",
            color=colour,
            annotation_clip=False,
        )


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Move numbers apart as little as this simple way can: what meets is laid out around its middle.

    Args:
        places: Numbers.
        gap: The least distance of two.

    Returns:
        As many numbers in the same order of size.

    Example:
        >>> spread([1.0, 1.0, 9.0], 2.0)
        [0.0, 2.0, 9.0]
    """
    groups: list[list[int]] = []
    centres: list[float] = []
    for index in sorted(range(len(places)), key=lambda index: places[index]):
        groups.append([index])
        centres.append(places[index])
        while len(groups) > 1 and centres[-1] - centres[-2] < gap * (len(groups[-1]) + len(groups[-2])) / 2:
            last, centre = groups.pop(), centres.pop()
            centres[-1] = (centres[-1] * len(groups[-1]) + centre * len(last)) / (len(groups[-1]) + len(last))
            groups[-1] += last
    moved = {
        index: centre + gap * (place - (len(group) - 1) / 2)
        for group, centre in zip(groups, centres, strict=True)
        for place, index in enumerate(group)
    }
    return [moved[index] for index in range(len(places))]


def write_png(figure: Figure, path: Path) -> None:
    """Write a chart as a PNG file.

    Args:
        figure: The chart.
        path: The file.
    """
    with mpl.rc_context(STYLE):
        save_figure(figure, path)


def as_svg(figure: Figure, name: str) -> str:
    """Write a chart for a page: text stays text, and colours are the page's.

    Args:
        figure: The chart.
        name: Of the chart; no other one on the page has it.

    Returns:
        An `svg` element. For `COLOURS` it names `var(--c0)` and so on, for the others `var(--neutral)`, `var(--ink)`
        and `var(--lines)`.
    """
    text = io.StringIO()
    with mpl.rc_context({**STYLE, "svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    svg = text.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    variables = {**{colour: f"--c{place}" for place, colour in enumerate(COLOURS)}, NEUTRAL: "--neutral"}
    variables |= {INK: "--ink", LINES: "--lines", "#000000": "--ink"}
    for colour, variable in variables.items():
        svg = svg.replace(colour, f"var({variable})")
    svg = re.sub(r"font: ([0-9.]+)px [^;\"]*", r"font-size: \1px", svg)
    svg = re.sub(r"\b(id=\"|url\(#|href=\"#)", rf"\1{name}-", svg)
    svg = re.sub(r'<svg ([^>]*?)width="[0-9.]+pt" height="[0-9.]+pt"', r"<svg \1", svg, count=1)
    return re.sub(r'<svg ([^>]*?)height="[0-9.]+pt"([^>]*?)width="[0-9.]+pt"', r"<svg \1\2", svg, count=1)
