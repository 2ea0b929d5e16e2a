"""The pictures of a comparison, drawn with matplotlib; the same for the same figures.

What is here: what each chart shows. What is not: colours, files and SVG (`drawing.py`), the figures (`summary.py`).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from sb3_ppo_scratch.benchmark.comparison.drawing import chart, label_ends, style_of
from sb3_ppo_scratch.benchmark.comparison.summary import Curve, EnvironmentSummary, Figures
from sb3_ppo_scratch.benchmark.comparison.wording import show_rounded

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BAR = 0.8
"""Height of a bar; 1 is from one to the next."""


class Chart(NamedTuple):
    """A picture and what it says."""

    name: str
    """Of its file, without the ending."""
    title: str
    caption: str
    figure: Figure


def charts_of(summary: EnvironmentSummary) -> Iterator[Chart]:
    """Draw everything about one environment.

    Args:
        summary: Its figures.

    Yields:
        The charts, in the order in which they are shown.
    """
    for name, title, caption, draw in _CHARTS:
        with chart() as (figure, axes):
            draw(axes, summary)
        yield Chart(f"{summary.goal.env_id}_{name}", title, caption.format(solved=f"{summary.goal.solved:g}"), figure)


def draw_overview(summaries: Sequence[EnvironmentSummary]) -> Chart:
    """Draw how soon each algorithm solves each environment, beside each other.

    Args:
        summaries: All figures.

    Returns:
        The chart.
    """
    rows = [(summary, figures) for summary in summaries for figures in _trained(summary)]
    n_lines = len(rows) + len(summaries)
    with chart(height=0.6 + 0.27 * n_lines) as (figure, axes):
        place, limits = 0.0, _limits(rows)
        for summary in summaries:
            title = f"{summary.goal.env_id}, solved at {summary.goal.solved:g}"
            axes.text(0.0, place, title, transform=axes.get_yaxis_transform(), fontweight="bold", va="center")
            for figures in _trained(summary):
                place += 1.0
                _draw_solving(axes, summary, figures, place, limits[0])
            place += 1.0
        axes.set(ylim=(place - 0.4, -0.6), yticks=[], xscale="log", xlim=limits)
        axes.xaxis.set_major_formatter(lambda seconds, _: f"{seconds:g}")
        axes.set_xlabel("seconds of training, one core (logarithmic)")
    caption = "Stroke: median over seeds; dots: single seeds; open: seeds that had not solved it when their run ended."
    return Chart("overview", "How soon it is solved", caption, figure)


def _trained(summary: EnvironmentSummary) -> list[Figures]:
    """List those that learn."""
    return [figures for figures in summary.figures if figures.learns]


def _limits(rows: Sequence[tuple[EnvironmentSummary, Figures]]) -> tuple[float, float]:
    """Choose the ends of an axis of seconds, with room for the labels."""
    seconds = [min(run.seconds, run.n_seconds) for _, figures in rows for run in figures.runs]
    positive = [each for each in seconds if each > 0.0] or [1.0]
    return 0.4 * min(positive), 4.0 * max(positive)


def _draw_solving(axes: "Axes", summary: EnvironmentSummary, figures: Figures, place: float, left: float) -> None:
    """Draw one algorithm's line of the overview; what took less than the axis has begins at its left end."""
    colour, median = style_of(summary, figures).colour, figures.seconds.median
    solved = [max(left, run.seconds) for run in figures.runs if math.isfinite(run.seconds)]
    unsolved = [max(left, run.n_seconds) for run in figures.runs if not math.isfinite(run.seconds)]
    ends = min(solved + unsolved), max(solved + unsolved)
    axes.plot(ends, (place, place), color=colour, alpha=0.3, linewidth=5.0, solid_capstyle="round")
    axes.plot(solved, [place] * len(solved), "o", color=colour, markersize=2.5, markeredgewidth=0)
    axes.plot(unsolved, [place] * len(unsolved), "o", color=colour, markersize=2.5, markerfacecolor="none")
    shown = f"{figures.seconds.n_reached} of {len(figures.runs)} seeds"
    if math.isfinite(median):
        axes.plot(max(left, median), place, "|", color=colour, markersize=9.0, markeredgewidth=2.0)
        shown = f"{show_rounded(median)} s"
    label = f"{figures.contestant.title}  {shown}"
    axes.annotate(label, (ends[1], place), (8, 0), textcoords="offset points", va="center")


def _draw_curves(axes: "Axes", summary: EnvironmentSummary, curve_of: Callable[[Figures], Curve], scale: float) -> None:
    """Draw returns: the interquartile mean, its interval, and single seeds faint."""
    ends = []
    for figures in summary.figures:
        curve, style = curve_of(figures), style_of(summary, figures)
        at = curve.at / scale
        if not at[-1] > 0.0:
            axes.axhline(figures.score.value, color=style.colour, linestyle=style.line, linewidth=1.0)
            ends.append((figures.score.value, figures.contestant.title, style.colour))
            continue
        for returns in curve.runs:
            axes.plot(at, returns, color=style.colour, linewidth=0.5, alpha=0.3)
        axes.fill_between(at, curve.band.low, curve.band.high, color=style.colour, alpha=0.18, linewidth=0)
        axes.plot(at, curve.band.values, color=style.colour, linestyle=style.line, linewidth=1.6)
        ends.append((curve.band.values[-1], figures.contestant.title, style.colour))
    axes.axhline(summary.goal.solved, color="black", linewidth=0.6, linestyle=":")
    axes.set(ylabel="mean return", xlim=(0.0, None), ylim=_range_of_returns(summary))
    label_ends(axes, ends)


def _range_of_returns(summary: EnvironmentSummary) -> tuple[float, float]:
    """Choose the ends of an axis of returns: what happens in the first steps need not be seen whole."""
    bands = [figures.by_steps.band.values for figures in summary.figures]
    low = min(float(np.quantile(band, 0.05)) for band in bands)
    high = max(summary.goal.solved, *(float(figures.by_steps.runs.max()) for figures in summary.figures))
    return low - 0.05 * (high - low), high + 0.05 * (high - low)


def _draw_by_steps(axes: "Axes", summary: EnvironmentSummary) -> None:
    """Draw returns against steps."""
    _draw_curves(axes, summary, lambda figures: figures.by_steps, 1000.0)
    axes.set_xlabel("thousand steps")


def _draw_by_seconds(axes: "Axes", summary: EnvironmentSummary) -> None:
    """Draw returns against seconds."""
    _draw_curves(axes, summary, lambda figures: figures.by_seconds, 1.0)
    axes.set_xlabel("seconds of training, one core")


def _draw_time_to_solve(axes: "Axes", summary: EnvironmentSummary) -> None:
    """Draw which share of the seeds has solved it by then."""
    ends = []
    for figures in _trained(summary):
        style, solving = style_of(summary, figures), figures.seconds
        end = max(run.n_seconds for run in figures.runs)
        at, shares = [0.0, *solving.times, end], [0.0, *solving.shares, solving.shares[-1] if solving.shares else 0.0]
        axes.step(at, shares, where="post", color=style.colour, linestyle=style.line, linewidth=1.6)
        ends.append((shares[-1], figures.contestant.title, style.colour))
    axes.set(xlabel="seconds of training, one core", ylabel="share of seeds", ylim=(-0.03, 1.03), xlim=(0.0, None))
    label_ends(axes, ends)


def _draw_profile(axes: "Axes", summary: EnvironmentSummary) -> None:
    """Draw which share of the seeds ends at least at a return."""
    ends = []
    for figures in summary.figures:
        style = style_of(summary, figures)
        at = summary.profile_at
        axes.step(at, figures.profile, where="post", color=style.colour, linestyle=style.line, linewidth=1.6)
        rank = sum(other.score.value < figures.score.value for other in summary.figures)
        ends.append((rank / len(summary.figures), figures.contestant.title, style.colour))
    axes.set(xlabel="return of the last policy", ylabel="share of seeds that reach it", ylim=(-0.03, 1.03))
    label_ends(axes, ends)  # from the best down: where lines end they meet


def _draw_throughput(axes: "Axes", summary: EnvironmentSummary) -> None:
    """Draw where the time of a step goes."""
    trained = _trained(summary)
    for place, figures in enumerate(trained):
        style = style_of(summary, figures)
        collecting, updating = figures.collecting.value, figures.updating.value
        axes.barh(place, collecting, BAR * 0.6, color=style.colour, linewidth=0)
        axes.barh(place, updating, BAR * 0.6, left=collecting, color=style.colour, alpha=0.4, linewidth=0)
        shown = f"{figures.contestant.title}: {show_rounded(collecting)} + {show_rounded(updating)} µs"
        axes.text(0.0, place - 0.42, shown, va="center", ha="left")
    axes.set(xlabel="microseconds per step", yticks=[], ylim=(len(trained) - 0.4, -0.8))


_CHARTS: tuple[tuple[str, str, str, Callable[["Axes", EnvironmentSummary], None]], ...] = (
    (
        "returns_by_steps",
        "Return against steps",
        "Line: interquartile mean over seeds; band: its 95 % interval, place by place; faint: single seeds; dotted: "
        "solved at {solved}.",
        _draw_by_steps,
    ),
    ("returns_by_seconds", "Return against seconds", "The same against training's own clock.", _draw_by_seconds),
    (
        "time_to_solve",
        "Time to solve",
        "Share of seeds whose evaluation has reached {solved}, as Kaplan and Meier estimate it.",
        _draw_time_to_solve,
    ),
    ("profile", "Performance profile", "Share of seeds whose last policy reaches a mean return.", _draw_profile),
    (
        "throughput",
        "Where a step's time goes",
        "Dark: collecting experience (environments and acting); light: updating the policy.",
        _draw_throughput,
    ),
)
