"""Tests of `benchmark.comparison.gathering` and `report`, and what they write: the page, the Markdown, the results."""

import dataclasses
import html.parser
import re
import shutil
from pathlib import Path

import pytest

from sb3_ppo_scratch.benchmark.comparison.films import Film
from sb3_ppo_scratch.benchmark.comparison.gathering import gather
from sb3_ppo_scratch.benchmark.comparison.page import render_page
from sb3_ppo_scratch.benchmark.comparison.report import write_report
from sb3_ppo_scratch.benchmark.comparison.results import read_results
from sb3_ppo_scratch.benchmark.comparison.run import read_snapshot, write_snapshot
from sb3_ppo_scratch.benchmark.training.process import FAILURE_FILE
from sb3_ppo_scratch.benchmark.training.records import RECORD_FILE
from sb3_ppo_scratch.errors import ArgumentError
from tests.benchmark.comparison.made_up import COMPARISON, write_runs


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the runs of the made-up comparison and their report; one run has failed."""
    folder = write_runs(tmp_path_factory.mktemp("runs"))
    failed = folder / "CartPole-v1" / "stock" / "seed_6"
    (failed / RECORD_FILE).unlink()
    (failed / FAILURE_FILE).write_text("Traceback\nMemoryError: <no> room")
    write_report(folder, folder / "report")
    return folder


class Page(html.parser.HTMLParser):
    """What a browser would load for a page, and its tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note links and anchors."""
        if tag not in ("meta", "link", "img"):
            self.open.append(tag)
        for name, value in attrs:
            if name in ("href", "src", "xlink:href"):
                self.links.append(value or "")
            if name == "id":
                self.anchors.add(value or "")

    def handle_startendtag(self, _tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note links and anchors of what has no end."""
        self.anchors |= {value or "" for name, value in attrs if name == "id"}
        self.links += [value or "" for name, value in attrs if name in ("href", "src", "xlink:href")]

    def handle_endtag(self, tag: str) -> None:
        """Close what was opened last."""
        assert self.open.pop() == tag


def test_page_is_one_file_whose_links_lead_into_itself(runs: Path) -> None:
    page = Page((runs / "report" / "report.html").read_text())
    assert page.open == []
    assert page.links
    for link in page.links:
        assert link == "data:," or (link[0] == "#" and link[1:] in page.anchors), link


def test_page_says_what_was_compared_and_found_and_escapes_it(runs: Path) -> None:
    text = (runs / "report" / "report.html").read_text()
    assert "<title>Ours &amp; theirs &lt;made up&gt;</title>" in text
    assert "35 of 36 runs" in text
    assert "ours and stock PPO are equivalent: the difference of returns, 1.0 [1.0, 1.0], lies within ±5." in text
    assert "MemoryError: &lt;no&gt; room" in text
    assert text.count("<svg ") == 11
    assert "python -m rl_zoo3.train --seed SEED --env CartPole-v1" in text
    assert str(runs) not in text


def test_markdown_shows_the_same_and_names_pictures_that_are_there(runs: Path) -> None:
    text = (runs / "report" / "report.md").read_text()
    assert "ours and stock PPO are equivalent: the difference of returns, 1.0 [1.0, 1.0], lies within ±5." in text
    assert "- `CartPole-v1/stock/seed_6`: MemoryError: <no> room" in text
    pictures = re.findall(r"\]\(([^)]+)\)", text)
    assert len(pictures) == 11
    for name in pictures:
        assert (runs / "report" / name).read_bytes().startswith(b"\x89PNG"), name


def test_results_hold_what_the_pictures_show(runs: Path) -> None:
    results = read_results(runs)
    assert results == read_results(runs / "report" / "results.json")
    assert results["about"]["missing"] == {"CartPole-v1/stock/seed_6": "Traceback\nMemoryError: <no> room"}
    ours = results["environments"][0]["figures"][0]
    assert ours["by_steps"]["at"] == [0.0, 500.0, 1000.0]
    assert ours["by_steps"]["runs"][0] == [0.0, 41.0, 101.0]
    assert ours["against"][0]["reference"]["name"] == "stock"
    assert len((runs / "report" / "runs.csv").read_text().splitlines()) == 1 + 35


def test_the_same_runs_give_the_same_files_wherever_they_lie(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs, tmp_path / "moved")
    write_report(tmp_path / "moved", tmp_path / "again")
    names = sorted(path.name for path in (runs / "report").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "again").iterdir())
    for name in names:
        assert (tmp_path / "again" / name).read_bytes() == (runs / "report" / name).read_bytes(), name


def test_runs_made_with_other_settings_are_left_out(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs, tmp_path, dirs_exist_ok=True)
    longer = dataclasses.replace(COMPARISON.goals[0], n_timesteps=2000)
    write_snapshot(dataclasses.replace(COMPARISON, goals=(longer, COMPARISON.goals[1])), tmp_path)
    _, records = read_snapshot(tmp_path)
    assert {run.goal.env_id for run in records} == {"Acrobot-v1"}


def test_films_lie_in_the_page(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "film.mp4").write_bytes(b"moving")
    (tmp_path / "film.gif").write_bytes(b"pictures")
    films = {"CartPole-v1": Film(tmp_path / "film.mp4", "both"), "Acrobot-v1": Film(tmp_path / "film.gif", "both")}
    text = render_page(gather(*read_snapshot(runs), runs, lambda summary: films[summary.goal.env_id]))
    assert '<video src="data:video/mp4;base64,bW92aW5n"' in text
    assert '<img src="data:image/gif;base64,cGljdHVyZXM="' in text


def test_a_folder_without_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there are no runs in .*; `benchmark run` makes them"):
        write_report(tmp_path, tmp_path / "report")
    write_snapshot(COMPARISON, tmp_path)
    with pytest.raises(ArgumentError, match=r"no run in .* is finished"):
        write_report(tmp_path, tmp_path / "report")
    (tmp_path / "identities.json").write_text("[1]")
    with pytest.raises(ArgumentError, match=r"identities\.json is damaged; `benchmark run` writes it anew"):
        write_report(tmp_path, tmp_path / "report")
    with pytest.raises(NotADirectoryError, match="is a file; give a folder"):
        write_report(tmp_path, tmp_path / "plan.yml")
