"""Tests of `tutorial/drawing.py`: what the lines show, read back from the figure."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sb3_ppo_scratch.tutorial.drawing import (
    draw_bands,
    draw_dots,
    draw_learning,
    draw_shares,
    draw_updates,
    learning_curve,
    new_figure,
    save_figure,
)
from sb3_ppo_scratch.tutorial.runs import SeedRun


def run_with(steps: list[int], returns: list[float], kl: list[float] | None = None) -> SeedRun:
    """A run that happened so."""
    return SeedRun(0, np.array(steps), np.array(returns, float), {"approx_kl": np.array(kl or [])}, [])


def test_a_learning_curve_is_the_mean_of_the_last_twenty_episodes() -> None:
    run = run_with(list(range(10, 310, 10)), list(range(30)))
    curve = learning_curve(run, np.array([5.0, 10.0, 25.0, 300.0]))
    assert np.isnan(curve[0])
    assert curve[1:].tolist() == [0.0, 0.5, np.mean(range(10, 30))]


def test_the_line_is_the_median_and_the_band_the_middle_half() -> None:
    _, (axes,) = new_figure(1)
    curves = [np.array([value, np.nan if value == 2 else 7.0, 10 * value]) for value in (0.0, 1.0, 2.0, 3.0, 4.0)]
    draw_bands(axes, np.array([1.0, 2.0, 3.0]), {"a": curves})
    (line,) = axes.get_lines()
    assert line.get_xydata().tolist() == [[1.0, 2.0], [3.0, 20.0]]  # the point that one curve lacks is left out
    corners = axes.collections[0].get_paths()[0].vertices
    assert set(corners[corners[:, 0] == 3.0][:, 1]) == {10.0, 30.0}
    assert line.get_label() == "a"


def test_learning_is_drawn_up_to_the_last_step() -> None:
    _, (axes,) = new_figure(1)
    draw_learning(axes, {"a": [run_with([100, 900], [5, 6])]}, 1000)
    points = axes.get_lines()[0].get_xydata()
    assert points[-1].tolist() == [1.0, 5.5]
    assert points[0, 0] >= 0.1


def test_figures_of_updates_end_where_the_shortest_run_ends() -> None:
    _, (axes,) = new_figure(1)
    draw_updates(axes, {"a": [run_with([], [], [1, 2, 3]), run_with([], [], [3, 4])]}, "approx_kl")
    assert axes.get_lines()[0].get_xydata().tolist() == [[1.0, 2.0], [2.0, 3.0]]


def test_dots_show_every_seed_and_the_median() -> None:
    _, (axes,) = new_figure(1)
    draw_dots(axes, {"a": [1.0, 2.0, 6.0], "b": [3.0]}, reference="a")
    drawn = [line.get_xdata() for line in axes.get_lines()]
    assert np.asarray(drawn[0]).tolist() == [1.0, 2.0, 6.0]
    assert np.atleast_1d(drawn[1]).tolist() == [2.0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]
    assert axes.yaxis_inverted()


def test_shares_stand_side_by_side() -> None:
    _, (axes,) = new_figure(1)
    draw_shares(axes, {"a": {"x": 0.25, "y": 0.75}, "b": {"x": 1.0, "y": 0.0}})
    assert [(bar.get_x(), bar.get_width()) for bar in axes.patches] == [(0, 0.25), (0, 1.0), (0.25, 0.75), (1.0, 0.0)]


def test_the_same_figure_is_the_same_file(tmp_path: Path) -> None:
    files = [tmp_path / "new" / "1.png", tmp_path / "2.png"]
    for path in files:
        figure, (axes,) = new_figure(1, width=2, height=1)
        draw_dots(axes, {"a": [1.0]})
        save_figure(figure, path)
    assert files[0].read_bytes() == files[1].read_bytes()
    with Image.open(files[0]) as picture:
        assert picture.size == (240, 120)


@pytest.mark.parametrize("n_panels", [1, 3])
def test_panels_stand_side_by_side(n_panels: int) -> None:
    _, panels = new_figure(n_panels)
    assert len(panels) == n_panels
