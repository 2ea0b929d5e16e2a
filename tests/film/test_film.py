"""Tests of films: what is played, what the pictures show, and the command on files that rl_zoo3 wrote."""

import os
import re
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import imageio.v2 as imageio
import numpy as np
import pytest
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from sb3_ppo_scratch import PPOScratch, ReinforceScratch
from sb3_ppo_scratch.__main__ import main
from sb3_ppo_scratch.errors import ArgumentError
from sb3_ppo_scratch.film import pictures, playing
from sb3_ppo_scratch.film.making import check_rendering
from sb3_ppo_scratch.film.pictures import caption_pictures, hold_last, shrink, side_by_side, write_film, write_text
from sb3_ppo_scratch.film.playing import Episode, Moment, play_episode, rank_episodes, show_episode
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
    again = list(show_episode(model, env, 5, deterministic=False))
    moments, shown = [moment for moment, _ in again], [picture for _, picture in again]
    assert moments[0] == Moment(0, 0.0, ended=False)
    assert moments[-1] == Moment(first.n_steps, first.total, ended=True)
    assert [moment.step for moment in moments] == list(range(first.n_steps + 1))
    assert shown[0].shape == (400, 600, 3)
    assert not np.array_equal(shown[0], shown[-1])
    assert shown[-1] is shown[-2], "what the last step led to cannot be seen any more"
    env.close()


def test_returns_are_in_the_environments_units_under_vec_normalize() -> None:
    env = VecNormalize(make_vec_env("CartPole-v1"))
    env.training = False
    model = PPOScratch("MlpPolicy", env, n_steps=8, batch_size=8, seed=0)
    episode = play_episode(model, env, 0)
    assert episode.total == episode.n_steps


def test_best_median_and_worst_are_chosen_by_return() -> None:
    episodes = [Episode(seed, float(total), 1) for seed, total in enumerate([3, 1, 5, 2, 4])]
    chosen = rank_episodes(episodes, ("best", "median", "worst"))
    assert {rank: episode.total for rank, episode in chosen.items()} == {"best": 5, "median": 3, "worst": 1}
    assert list(rank_episodes(episodes[:1], ("worst",))) == ["worst"]


class Remembers:
    """Stands in for a recurrent model: its memory is the number of its choice, and it notes what it is handed."""

    def __init__(self) -> None:
        self.handed: list[tuple[int | None, bool]] = []

    def predict(self, observation: Any, state: Any, episode_start: Any, deterministic: bool) -> tuple[Any, Any]:
        self.handed.append((state, bool(episode_start[0])))
        return np.array([0]), len(self.handed)


def test_memory_is_handed_on_within_an_episode_and_not_beyond() -> None:
    env, model = make_vec_env("CartPole-v1"), Remembers()
    n_steps = play_episode(model, env, 0).n_steps  # type: ignore[arg-type]
    assert model.handed == [(None, True), *((number, False) for number in range(1, n_steps))]
    model.handed.clear()
    play_episode(model, env, 1)  # type: ignore[arg-type]
    assert model.handed[0] == (None, True)


def test_recurrent_models_play_as_sb3_evaluates_them() -> None:
    from sb3_contrib import RecurrentPPO

    env = make_vec_env("Pendulum-v1")
    model = RecurrentPPO("MlpLstmPolicy", env, n_steps=8, batch_size=8, seed=0, device="cpu")
    env.seed(3)
    (wanted,), (n_steps,) = evaluate_policy(model, env, n_eval_episodes=1, return_episode_rewards=True)
    episode = play_episode(model, env, 3)
    assert episode.n_steps == n_steps
    assert abs(episode.total - wanted) < 1e-3


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
    moments = [Moment(0, 0.0, ended=False), Moment(1, 1.0, ended=False), Moment(2, 3.5, ended=True)]
    shown = list(caption_pictures([(moment, picture(moment.step)) for moment in moments], "best"))
    assert [each[0, 0, 0] for each in shown] == [0, 1, 2]
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
    assert write_film(map(picture, (0, 80, 160, 240)), path, rate, 60) == 4
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    frames = imageio.mimread(path)
    assert len(frames) == n_shown
    assert frames[0].shape[:2] == (40, 60)
    assert abs(int(frames[-1].max()) - (240 if n_shown == 4 else 160)) < 10


class Alive:
    """Counts how many of the arrays that it has seen are still in memory."""

    def __init__(self) -> None:
        self.seen: list[weakref.ref[np.ndarray]] = []
        self.most = 0

    def see(self, array: np.ndarray) -> np.ndarray:
        self.seen.append(weakref.ref(array))
        self.most = max(self.most, sum(each() is not None for each in self.seen))
        return array


@pytest.mark.parametrize("ending", [".gif", ".mp4"])
def test_pictures_are_written_as_they_come(ending: str, tmp_path: Path) -> None:
    alive, rng = Alive(), np.random.default_rng(0)

    def noisy_pictures() -> Iterator[np.ndarray]:
        for _ in range(20):
            yield alive.see(rng.integers(0, 256, (80, 120, 3), dtype=np.uint8))

    write_film(noisy_pictures(), tmp_path / f"film{ending}", 30, 60)
    assert alive.most <= 3


def test_film_that_fails_on_the_way_leaves_the_earlier_one_alone(tmp_path: Path) -> None:
    def broken() -> Iterator[np.ndarray]:
        yield picture(0)
        raise KeyError("no more")

    path = tmp_path / "film.gif"
    path.write_text("earlier")
    with pytest.raises(KeyError, match="no more"):
        write_film(broken(), path, 30, 60)
    assert path.read_text() == "earlier"
    assert [file.name for file in tmp_path.iterdir()] == ["film.gif"]


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


@pytest.fixture(scope="module")
def cartpole_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model for CartPole, outside of rl_zoo3's folders."""
    path = tmp_path_factory.mktemp("models") / "model.zip"
    PPOScratch("MlpPolicy", "CartPole-v1", n_steps=8, batch_size=8, seed=0, device="cpu").save(path)
    return path


def test_everything_about_a_run_is_found_in_its_folder(zoo_model: Path) -> None:
    run = find_run(zoo_model)
    assert (run.algorithm, run.env_id) == ("ppo_scratch", "CartPole-v1")
    model, env = open_run(run, seed=0)
    assert isinstance(env, VecNormalize)
    assert not env.training
    assert isinstance(model, PPOScratch)
    episode = play_episode(model, env, 0)
    assert episode.total == episode.n_steps


@pytest.mark.slow
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


def test_a_film_of_any_length_holds_a_few_rendered_pictures_at_a_time(
    zoo_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive, render = Alive(), playing.picture_of
    monkeypatch.setattr(playing, "picture_of", lambda env: alive.see(render(env)))
    words = ["--episodes", "1", "--show", "best", "--random", "--width", "60"]
    assert main(["film", str(zoo_model), "--out", str(tmp_path / "film.gif"), *words]) == 0
    assert len(alive.seen) > 20
    assert alive.most <= 6


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


def without(monkeypatch: pytest.MonkeyPatch, package: str, *importers: str) -> None:
    """Let a package be missing, also for modules that have imported it."""
    for name in [name for name in sys.modules if name.startswith(importers)] if importers else []:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)


def test_missing_package_for_rendering_is_named_before_anything_is_played(
    cartpole_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    without(monkeypatch, "pygame")
    arguments = ["--env", "CartPole-v1", "--out", str(tmp_path / "film.gif")]
    assert main(["film", str(cartpole_model), *arguments]) == 2
    *_, last = (error := capsys.readouterr().err).splitlines()
    assert last.startswith("error: CartPole-v1 cannot be rendered: pygame is not installed, run `pip install")
    assert "playing" not in error
    assert not (tmp_path / "film.gif").exists()


def test_missing_package_for_the_environment_is_named(
    cartpole_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    without(monkeypatch, "Box2D", "gymnasium.envs.box2d")
    assert main(["film", str(cartpole_model), "--env", "LunarLander-v3"]) == 2
    *_, last = capsys.readouterr().err.splitlines()
    assert last.startswith("error: LunarLander-v3 cannot be made: Box2D is not installed, you can install it by run")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--env", "CartPol-v1"],
            r"CartPol-v1 cannot be made: Environment `CartPol` doesn't exist.*--env names another",
        ),
        (["--env", "CartPole-v9"], r"CartPole-v9 cannot be made: .*`v9`.* doesn't exist.*--env names another"),
        (["--env", "mine/Pole-v1"], r"mine/Pole-v1 cannot be made: Namespace mine not found.*--env names another"),
        (
            ["--env", "Acrobot-v1"],
            r"cannot be loaded as ppo_scratch for Acrobot-v1: Observation spaces do not match.*--env",
        ),
        (
            ["--env", "CartPole-v1", "--algo", "dqn", "--trusted"],
            r"cannot be loaded as dqn for CartPole-v1: .*--algo",
        ),
        (["--env", "CartPole-v1", "--algo", "pppo"], r"`algorithm='pppo'` is none of"),
    ],
)
@pytest.mark.parametrize("command", ["film", "export"])
def test_what_does_not_fit_ends_with_one_line(
    command: str, arguments: list[str], message: str, cartpole_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, str(cartpole_model), *arguments]) == 2
    *_, last = capsys.readouterr().err.splitlines()
    assert re.search(f"^error: .*{message}", last)


def test_other_files_and_statistics_of_another_environment_end_with_one_line(
    zoo_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.zip").write_text("no model")
    assert main(["film", str(tmp_path / "text.zip"), "--env", "CartPole-v1"]) == 2
    assert re.search(
        r"error: .*text.zip is not loaded: it is no sound zip file: File is not a zip file\n$", capsys.readouterr().err
    )
    assert main(["film", str(zoo_model), "--env", "Acrobot-v1"]) == 2
    assert re.search(r"error: .*vecnormalize\.pkl normalises .* \(4,\); those .* \(6,\)\.\n$", capsys.readouterr().err)


class Unseen(gym.Env[Any, Any]):
    """An environment that has not thought of rendering."""

    observation_space = action_space = gym.spaces.Discrete(2)

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode

    def reset(self, **_: Any) -> tuple[int, dict[str, Any]]:
        return 0, {}


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is always a screen")
@pytest.mark.parametrize(("screen", "expected"), [(None, "dummy"), ("DISPLAY", None), ("WAYLAND_DISPLAY", None)])
def test_nothing_looks_for_a_screen_where_there_is_none(
    screen: str | None, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.setenv(name, "")  # restored at the end
        monkeypatch.delenv(name)
    if screen is not None:
        monkeypatch.setenv(screen, ":0")
    with pytest.raises(ArgumentError, match="cannot be rendered"):
        check_rendering(DummyVecEnv([lambda: Unseen("rgb_array")]), "Unseen-v0")
    assert os.environ.get("SDL_VIDEODRIVER") == expected


def test_environments_that_render_nothing_end_with_one_line() -> None:
    env = DummyVecEnv([lambda: Unseen("rgb_array")])
    with pytest.raises(ArgumentError, match=r"^Unseen-v0 cannot be rendered: NotImplementedError$"):
        check_rendering(env, "Unseen-v0")


def test_the_file_that_the_zoo_wrote_says_what_it_holds(zoo_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(zoo_model)]) == 0
    said = capsys.readouterr().out
    assert "it loads with trusted=False" in said
    assert "\naction_space                 Discrete(2)\n" in said
