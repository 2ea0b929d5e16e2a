"""Curves of returns against steps, drawn with matplotlib; the same for the same runs.

What is here: drawing. What is not: the figures of tables (`ladder_report.py`).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from sb3_ppo_scratch.benchmark.figure_files import DOTS_PER_INCH, save_figure
from sb3_ppo_scratch.benchmark.training.plan import Contestant, Goal, Run
from sb3_ppo_scratch.benchmark.training.records import RunRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = 4
OWN, REFERENCE = "#0072B2", "0.6"
"""Blue of Okabe and Ito's palette, which colour-blind readers tell from grey; and that grey."""


def draw_rungs(
    goal: Goal, records: Mapping[Run, RunRecord], reference: str, path: Path, contestants: Sequence[Contestant]
) -> bool:
    """Draw a panel per contestant: every seed faint, their mean, and the reference's mean in grey.

    Args:
        goal: The environment.
        records: Finished runs, of any environments.
        reference: The contestant that all others are shown beside.
        path: The PNG file.
        contestants: Whom to show, in order.

    Returns:
        Whether there was anything to draw.
    """
    curves = {each.name: curves_of(goal, each, records) for each in contestants}
    shown = [each for each in contestants if curves[each.name]]
    if not shown:
        return False
    n_rows = -(-len(shown) // COLUMNS)
    figure = Figure(figsize=(3.0 * COLUMNS, 2.1 * n_rows + 0.4), dpi=DOTS_PER_INCH, layout="constrained")
    grid = figure.subplots(n_rows, COLUMNS, squeeze=False, sharex=True, sharey=True)
    for axes, contestant in zip(grid.flat, shown, strict=False):
        if contestant.name != reference:
            _draw_mean(axes, goal, curves.get(reference, []), REFERENCE)
        _draw_seeds(axes, curves[contestant.name])
        _draw_mean(axes, goal, curves[contestant.name], OWN)
        axes.axhline(goal.solved, color="black", linewidth=0.6, linestyle=":")
        axes.set_title(contestant.title, fontsize=8, loc="left")
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in list(grid.flat)[max(0, len(shown) - COLUMNS) : len(shown)]:
        axes.tick_params(labelbottom=True)  # also where nothing stands below
    for axes in list(grid.flat)[len(shown) :]:
        axes.set_axis_off()
    grid[0, 0].set_ylim(bottom=max(-400.0, grid[0, 0].get_ylim()[0]))
    figure.supxlabel(f"thousand steps of {goal.env_id}", fontsize=8)
    figure.supylabel("return (blue: mean over seeds, faint: each seed, grey: stock PPO)", fontsize=8)
    save_figure(figure, path)
    return True


def curves_of(goal: Goal, contestant: Contestant, records: Mapping[Run, RunRecord]) -> list[NDArray[np.float64]]:
    """Collect one contestant's curves.

    Args:
        goal: The environment.
        contestant: Who.
        records: Finished runs, of anything.

    Returns:
        For each seed steps and mean returns, shape (2, evaluations).
    """
    return [
        np.array([(point.steps, point.mean_return) for point in record.evaluations], dtype=np.float64).T
        for run, record in records.items()
        if (run.goal, run.contestant) == (goal, contestant)
    ]


def mean_curve(goal: Goal, curves: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Average curves whose evaluations lie at slightly different steps: rollouts end where they end.

    Args:
        goal: The environment, whose evaluations' steps are the grid.
        curves: Each of shape (2, evaluations).

    Returns:
        Steps and mean over curves, shape (2, points).
    """
    grid = np.arange(0, goal.n_timesteps + 1, goal.evaluate_every, dtype=np.float64)
    return np.array([grid, np.mean([np.interp(grid, *curve) for curve in curves], axis=0)])


def _draw_seeds(axes: "Axes", curves: Sequence[NDArray[np.float64]]) -> None:
    """Draw every seed's curve, each of shape (2, evaluations)."""
    for steps, returns in curves:
        axes.plot(steps / 1000, returns, color=OWN, linewidth=0.5, alpha=0.35)


def _draw_mean(axes: "Axes", goal: Goal, curves: Sequence[NDArray[np.float64]], colour: str) -> None:
    """Draw the mean of curves, each of shape (2, evaluations), if there are any."""
    if curves:
        steps, returns = mean_curve(goal, curves)
        axes.plot(steps / 1000, returns, color=colour, linewidth=1.6)
