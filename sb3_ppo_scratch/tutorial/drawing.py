"""The kinds of picture that the tutorial is made of, drawn with matplotlib; the same for the same runs.

What is here: drawing into given axes. What is not: training (`runs.py`), and what the pictures are to show, which the
tutorial itself says.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from sb3_ppo_scratch.benchmark.figure_files import DOTS_PER_INCH
from sb3_ppo_scratch.benchmark.figure_files import save_figure as save_figure
from sb3_ppo_scratch.tutorial.runs import SeedRun

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Of Okabe and Ito's palette, which colour-blind readers tell apart."""
EPISODES_AVERAGED = 20
GRID_POINTS = 60


def new_figure(n_panels: int, *, width: float = 9.0, height: float = 3.2) -> "tuple[Figure, list[Axes]]":
    """Make a figure of panels side by side.

    Args:
        n_panels: How many.
        width: Of the figure, in inches.
        height: Of the figure, in inches.

    Returns:
        The figure and its axes, from left to right.
    """
    figure = Figure(figsize=(width, height), dpi=DOTS_PER_INCH, layout="constrained")
    grid = figure.subplots(1, n_panels, squeeze=False)
    for axes in grid.flat:
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    return figure, list(grid.flat)


def learning_curve(run: SeedRun, grid: NDArray[np.float64]) -> NDArray[np.float64]:
    """Smooth one run's returns: the mean of the last episodes, at given steps.

    Args:
        run: The run.
        grid: Steps, shape (points,).

    Returns:
        Mean returns of at most 20 episodes before each, shape (points,); NaN before the first episode has ended.
    """
    sums = np.concatenate([[0.0], np.cumsum(run.returns)])
    ended = np.searchsorted(run.steps, grid, side="right")
    first = np.maximum(ended - EPISODES_AVERAGED, 0)
    with np.errstate(invalid="ignore"):  # 0 / 0 where no episode has ended
        smoothed: NDArray[np.float64] = (sums[ended] - sums[first]) / (ended - first)
    return smoothed


def draw_learning(axes: "Axes", runs: Mapping[str, Sequence[SeedRun]], n_timesteps: int) -> None:
    """Draw returns against steps: for each variant the median over seeds, and the middle half of them as a band.

    Args:
        axes: Where to.
        runs: By title.
        n_timesteps: Where the horizontal axis ends.
    """
    grid = np.linspace(0, n_timesteps, GRID_POINTS + 1)[1:]
    draw_bands(axes, grid / 1000, {title: [learning_curve(run, grid) for run in of] for title, of in runs.items()})
    axes.set_xlabel("thousand steps", fontsize=8)
    axes.set_ylabel(f"return, mean of {EPISODES_AVERAGED} episodes", fontsize=8)


def draw_updates(axes: "Axes", runs: Mapping[str, Sequence[SeedRun]], figure_name: str) -> None:
    """Draw a logged figure against updates: for each variant the median over seeds, and the middle half as a band.

    Args:
        axes: Where to; without a legend, since it stands beside what `draw_learning` draws of the same runs.
        runs: By title.
        figure_name: The figure's name in the log, without `train/`.
    """
    shortest = min(len(run.updates[figure_name]) for of in runs.values() for run in of)
    curves = {title: [run.updates[figure_name][:shortest] for run in of] for title, of in runs.items()}
    draw_bands(axes, np.arange(1, shortest + 1, dtype=np.float64), curves, legend=False)
    axes.set_xlabel("update", fontsize=8)


def draw_bands(
    axes: "Axes",
    horizontal: NDArray[np.float64],
    curves: Mapping[str, Sequence[NDArray[np.float64]]],
    *,
    legend: bool = True,
) -> None:
    """Draw the median of several curves as a line, and the middle half of them as a band.

    Args:
        axes: Where to.
        horizontal: Shape (points,).
        curves: By title, each of shape (points,); points at which one is NaN are left out.
        legend: Whether the titles are shown.
    """
    for colour, (title, of) in zip(COLOURS, curves.items(), strict=False):
        stacked = np.stack(of)
        known = ~np.isnan(stacked).any(axis=0)
        low, middle, high = np.quantile(stacked[:, known], [0.25, 0.5, 0.75], axis=0)
        axes.fill_between(horizontal[known], low, high, color=colour, alpha=0.2, linewidth=0)
        axes.plot(horizontal[known], middle, color=colour, linewidth=1.5, label=title)
    if legend:
        axes.legend(fontsize=7, frameon=False)


def draw_dots(axes: "Axes", values: Mapping[str, Sequence[float]], *, reference: str | None = None) -> None:
    """Draw a row per variant: a dot per seed and a bar at their median.

    Args:
        axes: Where to.
        values: By title, from top to bottom.
        reference: The variant whose median is drawn through all rows; None: none.
    """
    rows = list(values)
    for row, title in enumerate(rows):
        axes.plot(values[title], [row] * len(values[title]), "o", color=COLOURS[0], markersize=4, alpha=0.4, mew=0)
        axes.plot(np.median(values[title]), row, "|", color="black", markersize=12, mew=1.5)
    if reference is not None:
        axes.axvline(float(np.median(values[reference])), color="0.6", linewidth=0.8, zorder=0)
    axes.set_yticks(range(len(rows)), rows, fontsize=8)
    axes.invert_yaxis()


def draw_shares(axes: "Axes", shares: Mapping[str, Mapping[str, float]]) -> None:
    """Draw a bar per variant, split into shares.

    Args:
        axes: Where to.
        shares: By title from top to bottom, then by name of the share; those of a variant sum to 1.
    """
    rows = list(shares)
    left = np.zeros(len(rows))
    for colour, name in zip(COLOURS, shares[rows[0]], strict=False):
        widths = np.array([shares[row][name] for row in rows])
        axes.barh(range(len(rows)), widths, left=left, color=colour, label=name, height=0.6)
        left += widths
    axes.set_yticks(range(len(rows)), rows, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.legend(fontsize=7, frameon=False, loc="upper center", bbox_to_anchor=(0.5, 1.15), ncols=len(shares[rows[0]]))
