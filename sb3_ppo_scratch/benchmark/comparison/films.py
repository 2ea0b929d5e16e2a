"""Films of two agents side by side: an algorithm, and the first that it is compared with.

What is here: which agents and which episode. What is not: playing and pictures (`film/`).
"""

import contextlib
import importlib.util
from pathlib import Path
from typing import NamedTuple

from sb3_ppo_scratch.benchmark.comparison.summary import EnvironmentSummary, Figures, RunFigures
from sb3_ppo_scratch.benchmark.training.plan import RANDOM, run_folder
from sb3_ppo_scratch.benchmark.training.records import find_model
from sb3_ppo_scratch.errors import ArgumentError
from sb3_ppo_scratch.film.making import check_rendering, rate_of
from sb3_ppo_scratch.film.pictures import FORMATS, PAUSE_SECONDS, caption_pictures, hold_last, side_by_side, write_film
from sb3_ppo_scratch.film.playing import show_episode
from sb3_ppo_scratch.zoo.saved_run import SavedRun, find_run, open_run

WIDTH = 320
"""Pixels of one agent."""


class Film(NamedTuple):
    """A film, or why there is none."""

    path: Path | None
    caption: str


def film_pair(summary: EnvironmentSummary, runs: Path, seed: int, folder: Path, *, trusted: bool) -> Film | None:
    """Film two agents on the same episode.

    Args:
        summary: The environment's figures.
        runs: The folder of the comparison's runs.
        seed: Of the episode.
        folder: Where to.
        trusted: Whether to unpickle models; those of other algorithms than this project's cannot be read otherwise.

    Returns:
        The film; None if nothing is compared with anything.
    """
    figures = next((each for each in summary.figures if each.against), None)
    if figures is None:
        return None
    reference = figures.against[0].reference
    other = next(each for each in summary.figures if each.contestant == reference)
    pair = [each for each in (figures, other) if each.contestant.algorithm != RANDOM]
    target = folder / f"{summary.goal.env_id}_film{_ending()}"
    titles = [each.contestant.title for each in pair]
    try:
        _film([_agent_of(summary, each, runs, trusted) for each in pair], titles, seed, target)
    except ArgumentError as error:
        return Film(None, f"No film: {error}")
    medians = " and ".join(f"{each.contestant.title} (seed {median_run(each).seed})" for each in pair)
    caption = f"The same episode, played by {medians}: of each algorithm the seed with the median return."
    return Film(target, caption)


def median_run(figures: Figures) -> RunFigures:
    """Choose the run that ended in the middle.

    Args:
        figures: An algorithm's.

    Returns:
        The run with the median final return; of an even number the higher one.
    """
    return sorted(figures.runs, key=lambda run: run.final)[len(figures.runs) // 2]


def _agent_of(summary: EnvironmentSummary, figures: Figures, runs: Path, trusted: bool) -> SavedRun:
    """Find an algorithm's median agent.

    Raises:
        ArgumentError: If it has saved none.
    """
    contestant = figures.contestant
    model = find_model(runs / run_folder(summary.goal.env_id, contestant.name, median_run(figures).seed))
    if model is None:
        raise ArgumentError(f"{contestant.title} has left no model.")
    return find_run(model, summary.goal.env_id, contestant.algorithm, trusted=trusted)


def _film(agents: list[SavedRun], titles: list[str], seed: int, path: Path) -> None:
    """Play agents on the same episode, and write the film.

    Raises:
        ArgumentError: If one cannot be loaded, or the environment cannot be rendered.
    """
    with contextlib.ExitStack() as opened:
        shown = []
        for agent, title in zip(agents, titles, strict=True):
            model, env = open_run(agent, seed, render_mode="rgb_array")
            opened.callback(env.close)
            check_rendering(env, agent.env_id)
            shown.append(caption_pictures(show_episode(model, env, seed), title))
        pictures = shown[0] if len(shown) == 1 else side_by_side(*shown)
        rate = rate_of(env)
        write_film(hold_last(pictures, round(PAUSE_SECONDS * rate)), path, rate, WIDTH * len(shown))


def _ending() -> str:
    """Choose the format: MP4 where it can be written, which takes a tenth of a GIF's room."""
    return ".mp4" if importlib.util.find_spec(FORMATS[".mp4"]) is not None else ".gif"
