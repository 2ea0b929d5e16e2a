"""Tests of films: what is played, what the pictures show, and the command on files that rl_zoo3 wrote."""

from pathlib import Path
from typing import Any

import imageio.v2 as imageio
import numpy as np
import pytest
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

from sb3_ppo_scratch import PPOScratch, ReinforceScratch
from sb3_ppo_scratch.__main__ import main
from sb3_ppo_scratch.film import pictures
from sb3_ppo_scratch.film.pictures import caption_pictures, hold_last, shrink, side_by_side, write_film, write_text
from sb3_ppo_scratch.film.playing import Episode, play_episode, rank_episodes
from sb3_ppo_scratch.zoo.saved_run import find_run, open_run
from tests.zoo.processes import run_python


def picture(shade: int, height: int = 40, width: int = 60) -> np.ndarray:
    return np.full((height, width, 3), shade, dtype=np.uint8)


# -- playing -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("of_model", [True, False], ids=["model", "random"])
def test_same_seed_plays_the_same_episode_with_and_without_pictures(of_model: bool) -> None:
    env = make_vec_env("CartPole-v1", env_kwargs={"render_mode": "rgb_array"})
    model = PPOScratch("MlpPolicy", env, n_steps=8, batch_size=8, seed=0) if of_model else None
    first = play_episode(model, env, 5, deterministic=False)
    play_episode(model, env, 6, deterministic=False)
    again = play_episode(model, env, 5, deterministic=False, with_pictures=True)
    assert again.rewards == first.rewards
    assert first.pictures == []
    assert len(again.pictures) == len(again.rewards)
    assert again.pictures[0].shape == (400, 600, 3)
    assert not np.array_equal(again.pictures[0], again.pictures[-1])
    env.close()


def test_returns_are_in_the_environments_units_under_vec_normalize() -> None:
    env = VecNormalize(make_vec_env("CartPole-v1"))
    env.training = False
    model = PPOScratch("MlpPolicy", env, n_steps=8, batch_size=8, seed=0)
    episode = play_episode(model, env, 0)
    assert episode.total == len(episode.rewards)


def test_best_median_and_worst_are_chosen_by_return() -> None:
    episodes = [Episode(seed, [float(reward)], []) for seed, reward in enumerate([3, 1, 5, 2, 4])]
    chosen = rank_episodes(episodes, ("best", "median", "worst"))
    assert {rank: episode.total for rank, episode in chosen.items()} == {"best": 5, "median": 3, "worst": 1}
    assert list(rank_episodes(episodes[:1], ("worst",))) == ["worst"]


# -- pictures ----------------------------------------------------------------------------------------------------------


def test_caption_changes_a_stripe_at_the_top_and_nothing_else() -> None:
    before = picture(200, 100, 300)
    after = write_text(before, "step 3   return 12.5")
    assert after.shape == before.shape
    assert (after[0:9] != before[0:9]).any()
    np.testing.assert_array_equal(after[12:], before[12:])
    assert (before == 200).all()


def test_long_caption_is_made_to_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    narrow = write_text(picture(200, 400, 160), "median of 10   step 321   return -123.4")
    assert (narrow[:30, -3:] == [30, 30, 30]).all(), "text runs into the border"


def test_captions_tell_step_and_return_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    texts: list[str] = []
    monkeypatch.setattr(pictures, "write_text", lambda each, text: texts.append(text) or each)
    shown = list(caption_pictures(Episode(0, [1.0, 2.5], [picture(0), picture(1)]), "best"))
    assert len(shown) == 3
    assert texts == ["best   step 0   return 0.0", "best   step 1   return 1.0", "best   step 2   return 3.5   end"]


def test_shorter_film_stands_still_beside_the_longer_one() -> None:
    frames = list(side_by_side([picture(1), picture(2), picture(3)], [picture(9)]))
    assert [frame[0, 0, 0] for frame in frames] == [1, 2, 3]
    assert [frame[0, -1, 0] for frame in frames] == [9, 9, 9]
    assert frames[0].shape == (40, 120, 3)


def test_last_picture_is_held() -> None:
    assert [frame[0, 0, 0] for frame in hold_last([picture(1), picture(2)], 3)] == [1, 2, 2, 2, 2]
    assert list(hold_last([], 3)) == []


def test_pictures_are_made_smaller_never_larger() -> None:
    assert shrink(picture(5, 400, 600), 300).shape == (200, 300, 3)
    assert shrink(picture(5, 40, 60), 300).shape == (40, 60, 3)
    assert shrink(picture(5, 41, 61), 300, multiple_of=2).shape == (40, 60, 3)


@pytest.mark.parametrize(("ending", "rate", "n_shown"), [(".gif", 30, 4), (".gif", 100, 2), (".mp4", 30, 4)])
def test_film_is_written_with_its_pictures_and_speed(ending: str, rate: int, n_shown: int, tmp_path: Path) -> None:
    path = tmp_path / "new" / f"film{ending}"
    write_film([picture(shade) for shade in (0, 80, 160, 240)], path, rate, 60)
    frames = imageio.mimread(path)
    assert len(frames) == n_shown
    assert frames[0].shape[:2] == (40, 60)
    assert abs(int(frames[-1].max()) - (240 if n_shown == 4 else 160)) < 10


@pytest.mark.parametrize(("name", "message"), [("a.avi", "must end in .gif or .mp4"), ("gif", "must end in")])
def test_other_formats_are_refused_before_anything_is_played(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        pictures.check_output(tmp_path / name)


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "imageio_ffmpeg", None)
    with pytest.raises(ValueError, match="needs the package imageio-ffmpeg: pip install imageio-ffmpeg"):
        pictures.check_output(Path("a.mp4"))


# -- the command -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def zoo_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that rl_zoo3 trained with a wrapper and VecNormalize."""
    folder = tmp_path_factory.mktemp("zoo")
    config = folder / "config.yml"
    config.write_text(
        "CartPole-v1:\n  n_timesteps: 256\n  policy: MlpPolicy\n  n_steps: 64\n  normalize: true\n"
        "  env_wrapper:\n    - sb3_ppo_scratch.wrappers.ScaleReward:\n        scale: 0.01\n"
    )
    run_python(
        "-m", "rl_zoo3.train", "--algo", "ppo_scratch", "--env", "CartPole-v1", "-f", "logs", "-conf", str(config),
        "--eval-freq", "-1", folder=folder,
    )  # fmt: skip
    return folder / "logs" / "ppo_scratch" / "CartPole-v1_1" / "CartPole-v1.zip"


def test_everything_about_a_run_is_found_in_its_folder(zoo_model: Path) -> None:
    run = find_run(zoo_model)
    assert (run.algorithm, run.env_id) == ("ppo_scratch", "CartPole-v1")
    model, env = open_run(run, seed=0)
    assert isinstance(env, VecNormalize)
    assert not env.training
    assert isinstance(model, PPOScratch)
    episode = play_episode(model, env, 0)
    assert episode.total == len(episode.rewards)


def test_film_shows_best_median_and_worst_beside_random(
    zoo_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "film.gif"
    arguments = ["film", str(zoo_model), "--out", str(out), "--episodes", "3", "--random", "--width", "120"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert all(f"{rank} of 3 episodes: return" in printed for rank in ("best", "median", "worst"))
    frames = imageio.mimread(out, memtest=False)
    assert frames[0].shape[:2] == (80, 240)
    assert len(frames) > 60


def test_model_outside_of_rl_zoo3s_folders_needs_an_environment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = ReinforceScratch("MlpPolicy", "CartPole-v1", seed=0).learn(10)
    model.save(tmp_path / "model.zip")
    assert main(["film", str(tmp_path / "model.zip"), "--out", str(tmp_path / "a.gif")]) == 2
    assert "say with --env which environment it is for" in capsys.readouterr().err
    assert find_run(tmp_path / "model.zip", "CartPole-v1").algorithm == "reinforce_scratch"
    arguments: list[Any] = ["--env", "CartPole-v1", "--episodes", "1", "--show", "best"]
    assert main(["film", str(tmp_path / "model.zip"), "--out", str(tmp_path / "a.mp4"), *arguments]) == 0
    assert len(imageio.mimread(tmp_path / "a.mp4", memtest=False)) > 30


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing.zip"], "there is no file nothing.zip"),
        (["nothing.zip", "--out", "film.txt"], "must end in .gif or .mp4"),
        (["nothing.zip", "--episodes", "0"], "`episodes` must be at least 1, got 0"),
    ],
)
def test_mistakes_end_with_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["film", *arguments]) == 2
    assert message in capsys.readouterr().err
