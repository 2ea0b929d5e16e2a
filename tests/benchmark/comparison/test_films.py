"""Tests of `benchmark.comparison.films`."""

from dataclasses import replace
from pathlib import Path

import imageio.v3 as imageio
import pytest
from stable_baselines3 import PPO

from sb3_ppo_scratch import PPOScratch
from sb3_ppo_scratch.benchmark.comparison.films import film_pair, median_run
from sb3_ppo_scratch.benchmark.comparison.run import read_snapshot
from sb3_ppo_scratch.benchmark.comparison.summary import EnvironmentSummary, summarize
from sb3_ppo_scratch.benchmark.training.plan import Contestant
from tests.benchmark.comparison.made_up import COMPARISON, RANDOM_AGENT, write_runs
from tests.benchmark.training.synthetic import OURS, STOCK


def comparison(folder: Path, *contestants: Contestant) -> EnvironmentSummary:
    """A comparison on CartPole whose median runs have saved an agent."""
    plan = replace(COMPARISON, goals=COMPARISON.goals[:1], contestants=contestants)
    write_runs(folder, plan)
    [summary] = summarize(*read_snapshot(folder))
    for contestant, algorithm in ((OURS.name, PPOScratch), (STOCK.name, PPO)):
        for config in folder.glob(
            f"CartPole-v1/{contestant}/seed_4/*/*/*/config.yml"
        ):  # the fourth of six in the middle
            model = algorithm("MlpPolicy", "CartPole-v1", seed=0, device="cpu")
            model.save(config.parent.with_name("CartPole-v1.zip"))
    return summary


@pytest.mark.slow
def test_two_agents_play_the_same_episode_side_by_side(tmp_path: Path) -> None:
    summary = comparison(tmp_path, OURS, STOCK)
    film = film_pair(summary, tmp_path, 7, tmp_path, trusted=True)
    assert film is not None
    assert film.path == tmp_path / "CartPole-v1_film.mp4"
    assert "played by ours (seed 4) and stock PPO (seed 4)" in film.caption
    pictures = imageio.imread(film.path)
    assert pictures.shape[2] == 640
    assert len(pictures) > 50  # an episode of an agent that knows nothing yet, and a second that stands still


@pytest.mark.slow
def test_an_agent_beside_random_actions_is_alone(tmp_path: Path) -> None:
    summary = comparison(tmp_path, replace(OURS, against=("random",)), RANDOM_AGENT)
    film = film_pair(summary, tmp_path, 7, tmp_path, trusted=False)
    assert film is not None
    assert film.path is not None
    assert imageio.imread(film.path).shape[2] == 320


def test_it_is_said_why_there_is_no_film(tmp_path: Path) -> None:
    summary = comparison(tmp_path, OURS, STOCK)
    film = film_pair(summary, tmp_path, 7, tmp_path, trusted=False)
    assert film is not None
    assert film.path is None
    assert "No film: only unpickling can read a file of ppo; --trusted does" in film.caption
    for model in tmp_path.rglob("*.zip"):
        model.unlink()
    without = film_pair(summary, tmp_path, 7, tmp_path, trusted=True)
    assert without is not None
    assert without.caption == "No film: ours has left no model."


def test_nothing_is_filmed_where_nothing_is_compared(tmp_path: Path) -> None:
    assert film_pair(comparison(tmp_path, STOCK), tmp_path, 7, tmp_path, trusted=True) is None


def test_the_median_run_is_in_the_middle(tmp_path: Path) -> None:
    ours = comparison(tmp_path, replace(OURS, against=())).figures[0]
    assert median_run(ours).final == 104.0
    assert median_run(replace(ours, runs=ours.runs[:3])).final == 102.0
