"""Tests of `benchmark.comparison.drawing` and `.charts`."""

import re
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sb3_ppo_scratch.benchmark.comparison.charts import Chart, charts_of, draw_overview
from sb3_ppo_scratch.benchmark.comparison.drawing import COLOURS, NEUTRAL, as_svg, chart, spread, style_of
from sb3_ppo_scratch.benchmark.comparison.run import read_snapshot
from sb3_ppo_scratch.benchmark.comparison.summary import EnvironmentSummary, summarize
from tests.benchmark.comparison.made_up import write_runs

PLACES = st.lists(st.floats(-100, 100), min_size=1, max_size=8)


@pytest.fixture(scope="module")
def summaries(tmp_path_factory: pytest.TempPathFactory) -> list[EnvironmentSummary]:
    """Figures of the made-up comparison."""
    return summarize(*read_snapshot(write_runs(tmp_path_factory.mktemp("runs"))))


@given(PLACES, st.floats(0.1, 10))
def test_numbers_are_moved_apart_in_their_order_around_where_they_were(places: list[float], gap: float) -> None:
    moved = spread(places, gap)
    order = np.argsort(places, kind="stable")
    assert (np.diff(np.array(moved)[order]) >= gap - 1e-9).all()
    assert np.mean(moved) == pytest.approx(np.mean(places), abs=1e-9)
    if len(places) == 1 or np.diff(np.sort(places)).min() >= gap:
        assert moved == pytest.approx(places)


def test_algorithms_that_learn_have_colours_of_their_own(summaries: list[EnvironmentSummary]) -> None:
    styles = [style_of(summaries[0], figures) for figures in summaries[0].figures]
    assert [style.colour for style in styles] == [COLOURS[0], COLOURS[1], NEUTRAL]


def all_charts(summaries: list[EnvironmentSummary]) -> list[Chart]:
    """Every chart of a report."""
    return [draw_overview(summaries), *(each for summary in summaries for each in charts_of(summary))]


def test_every_axis_has_a_title_and_every_algorithm_its_name(summaries: list[EnvironmentSummary]) -> None:
    charts = all_charts(summaries)
    assert len({each.name for each in charts}) == len(charts) == 11
    for each in charts:
        [axes] = each.figure.axes
        assert axes.get_xlabel(), each.name
        assert axes.get_ylabel() or not len(axes.get_yticks()), each.name
        words = " ".join(text.get_text() for text in axes.texts)
        assert "ours" in words, each.name
        assert "stock PPO" in words, each.name
        assert each.caption
        assert each.title


def test_lines_show_the_figures(summaries: list[EnvironmentSummary]) -> None:
    charts = {each.name: each.figure.axes[0] for each in charts_of(summaries[0])}
    ours, stock, _ = summaries[0].figures
    drawn = [line.get_xydata() for line in charts["CartPole-v1_returns_by_steps"].lines]
    for figures in (ours, stock):
        expected = np.stack([figures.by_steps.at / 1000, figures.by_steps.band.values], axis=1)
        assert sum(np.array_equal(line, expected) for line in drawn) >= 1
    bars = [bar.get_width() for bar in charts["CartPole-v1_throughput"].patches]
    assert bars == pytest.approx([1500.0, 500.0, 4500.0, 1500.0])
    seconds = charts["CartPole-v1_time_to_solve"].lines
    assert seconds[0].get_xydata().tolist() == [[0.0, 0.0], [2.0, 1.0], [2.0, 1.0]]


def test_svg_is_the_same_each_time_well_formed_and_takes_the_pages_colours(summaries: list[EnvironmentSummary]) -> None:
    seen: set[str] = set()
    for one, other in zip(all_charts(summaries), all_charts(summaries), strict=True):
        svg = as_svg(one.figure, one.name)
        assert svg == as_svg(other.figure, other.name)
        root = ElementTree.fromstring(svg)
        assert "width" not in root.attrib
        assert "viewBox" in root.attrib
        assert "var(--ink)" in svg
        assert not {colour for colour in (*COLOURS, NEUTRAL) if colour in svg}
        ids = set(re.findall(r'\bid="([^"]+)"', svg))
        assert not ids & seen
        assert set(re.findall(r"url\(#([^)]+)\)", svg)) <= ids
        seen |= ids


def test_charts_do_not_look_like_the_users_settings() -> None:
    def draw() -> str:
        with chart() as (figure, axes):
            axes.plot([0, 1], [0, 1])
            axes.set_xlabel("x")
        return as_svg(figure, "it")

    before = draw()
    with mpl.rc_context({"axes.facecolor": "red", "font.size": 30, "lines.linewidth": 9}):
        assert draw() == before
