"""The figures of the speed benchmark, drawn with matplotlib; the same for the same results.

What is here: drawing. What is not: the statistics that are drawn (`summaries.py`, `growth.py`).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from sb3_ppo_scratch.benchmark.figure_files import DOTS_PER_INCH, save_figure
from sb3_ppo_scratch.benchmark.speed.growth import AXES, FLOOR, Axis, Point, curve
from sb3_ppo_scratch.benchmark.speed.results import Results
from sb3_ppo_scratch.benchmark.speed.summaries import CompetitorSummary, summarize_competitors
from sb3_ppo_scratch.benchmark.speed.workloads import GROWTH_WORKLOADS, WORKLOADS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PARTS = (("stepping", "0.35", ""), ("acting", "0.65", "////"), ("updating", "0.92", "...."))
"""What the time goes to, with a grey and a hatch, so that the parts differ on paper too."""
INCHES_PER_BAR, INCHES_PER_PANEL = 0.27, 0.6


def draw_speed(results: Results, path: Path) -> bool:
    """Draw microseconds per step of every competitor, split into its parts: a panel per workload.

    Args:
        results: What was measured.
        path: The PNG file.

    Returns:
        Whether there was anything to draw.
    """
    panels = {workload.title: summarize_competitors(results.of_workload(name)) for name, workload in WORKLOADS.items()}
    panels = {title: lines for title, lines in panels.items() if lines}
    if not panels:
        return False
    rows = [len(lines) for lines in panels.values()]
    height = sum(rows) * INCHES_PER_BAR + len(rows) * INCHES_PER_PANEL + 0.4
    figure = Figure(figsize=(9.0, height), dpi=DOTS_PER_INCH, layout="constrained")
    grid = figure.subplots(len(panels), 1, squeeze=False, gridspec_kw={"height_ratios": rows})
    for axes, (title, lines) in zip(grid[:, 0], panels.items(), strict=True):
        _draw_bars(axes, title, lines)
    grid[-1, 0].set_xlabel("µs per step (less is faster); medians over rounds")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(PARTS), frameon=False)
    save_figure(figure, path)
    return True


def _draw_bars(axes: "Axes", title: str, lines: Sequence[CompetitorSummary]) -> None:
    """Draw one workload's bars, the first competitor on top."""
    places = range(len(lines))
    left = [0.0] * len(lines)
    for part, grey, hatch in PARTS:
        widths = [getattr(line, part) for line in lines]
        axes.barh(places, widths, left=left, color=grey, hatch=hatch, edgecolor="black", linewidth=0.6, label=part)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    for place, (line, end) in enumerate(zip(lines, left, strict=True)):
        axes.text(end + 0.01 * max(left), place, _bar_label(line), va="center", fontsize=8)
    axes.set_yticks(places, [line.title for line in lines], fontsize=8)
    axes.tick_params(axis="x", labelsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0.0, 1.32 * max(left))
    axes.set_title(title, fontsize=10, loc="left")
    axes.spines[["top", "right"]].set_visible(False)


def _bar_label(line: CompetitorSummary) -> str:
    """Say what a bar means for the user."""
    ratio = f" ({line.speedup.median:.2f} times stock)" if line.speedup and line.competitor != "stock" else ""
    return f"{line.rate.median:,.0f} steps/s{ratio}"


def draw_growth(results: Results, path: Path) -> bool:
    """Draw steps per second of ours and stock along every axis, and below it their ratio.

    Args:
        results: What was measured.
        path: The PNG file.

    Returns:
        Whether there was anything to draw.
    """
    found = [(axis, curve(axis, results.measurements.values())) for axis in AXES]
    found = [(axis, points) for axis, points in found if points]
    if not found:
        return False
    figure = Figure(figsize=(3.4 * len(found) + 0.6, 5.6), dpi=DOTS_PER_INCH, layout="constrained")
    grid = figure.subplots(2, len(found), squeeze=False, sharex="col", gridspec_kw={"height_ratios": [3, 2]})
    for column, (axis, points) in enumerate(found):
        _draw_rates(grid[0, column], axis, points)
        _draw_ratio(grid[1, column], axis, points)
    grid[0, 0].set_ylabel("steps per second")
    grid[1, 0].set_ylabel("ours / stock, paired")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2, frameon=False)
    save_figure(figure, path)
    return True


def _draw_rates(axes: "Axes", axis: Axis, points: Sequence[Point]) -> None:
    """Draw both curves with the range over rounds, both scales logarithmic."""
    values = [point.value for point in points]
    styles = (("ours", "o", "-", "black", "black"), ("stock SB3 PPO at its best", "s", "--", "0.45", "white"))
    for label, marker, dashes, color, face in styles:
        spreads = [point.ours if label == "ours" else point.stock for point in points]
        medians = [summary.median for summary in spreads]
        errors = [
            [summary.median - summary.low for summary in spreads],
            [summary.high - summary.median for summary in spreads],
        ]
        axes.errorbar(
            values,
            medians,
            errors,
            label=label,
            marker=marker,
            ls=dashes,
            color=color,
            mfc=face,
            ms=5,
            capsize=2,
            lw=1.2,
        )
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda rate, _: f"{rate / 1000:g}k" if rate >= 1000 else f"{rate:g}"))
    axes.set_title(GROWTH_WORKLOADS[axis.workload].title.partition(",")[0], fontsize=10)
    axes.grid(color="0.9")


def _draw_ratio(axes: "Axes", axis: Axis, points: Sequence[Point]) -> None:
    """Draw the paired ratio with its range, and the line below which it must not fall."""
    values = [point.value for point in points]
    medians = [point.ratio.median for point in points]
    errors = [
        [point.ratio.median - point.ratio.low for point in points],
        [point.ratio.high - point.ratio.median for point in points],
    ]
    axes.errorbar(values, medians, errors, marker="o", ls="-", color="black", ms=5, capsize=2, lw=1.2)
    axes.axhline(FLOOR, color="black", ls=":", lw=1.2)
    axes.annotate(
        f"{FLOOR}",
        (1.0, FLOOR),
        (-2, -3),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        ha="right",
        va="top",
        fontsize=8,
    )
    axes.set_yscale("log", base=2)
    lowest = min(FLOOR, *(point.ratio.low for point in points))
    axes.set_ylim(bottom=0.7 * lowest)
    axes.yaxis.set_major_locator(FixedLocator([0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda ratio, _: f"{ratio:g}"))
    axes.xaxis.set_major_locator(FixedLocator(values))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.tick_params(axis="x", labelsize=8, rotation=45 if max(values) > 999 else 0)
    axes.set_xlabel(axis.title)
    axes.grid(color="0.9")
