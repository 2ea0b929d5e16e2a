"""Tests of `zoo/vec_env_option.py`, and of the YAML line that does the same with unmodified rl_zoo3."""

from pathlib import Path

import gymnasium as gym
import pytest
import torch as th
import yaml
from rl_zoo3.gym_patches import PatchedTimeLimit
from stable_baselines3 import PPO

from sb3_ppo_scratch.vec_env import ShardedVecEnv
from sb3_ppo_scratch.zoo.vec_env_option import take_vec_env, training_in
from tests.zoo.processes import run_python

SETTINGS = {"n_timesteps": 512, "policy": "MlpPolicy", "n_envs": 3, "n_steps": 64, "batch_size": 64, "n_epochs": 2,
            "env_wrapper": [{"sb3_ppo_scratch.wrappers.ScaleReward": {"scale": 0.1}}]}  # fmt: skip
TRAIN = ("train", "--env", "CartPole-v1", "-conf", "mine.yml", "--seed", "3")
EVALUATE = ("--eval-freq", "200", "--eval-episodes", "1")


@pytest.mark.parametrize(
    ("words", "taken", "left"),
    [
        (["--vec-env", "sharded"], "sharded", []),
        (["-P", "--vec-env=envpool", "--env", "X-v0"], "envpool", ["-P", "--env", "X-v0"]),
        (["--vec-env", "subproc", "-P"], None, ["--vec-env", "subproc", "-P"]),
        (["--vec-env", "no_such"], None, ["--vec-env", "no_such"]),
        (["-P", "--vec-env"], None, ["-P", "--vec-env"]),
        (["--env", "sharded"], None, ["--env", "sharded"]),
    ],
    ids=["two_words", "one_word", "rl_zoo3s", "unknown", "without_value", "other_option"],
)
def test_only_our_own_values_are_taken_off_the_command_line(
    words: list[str], taken: str | None, left: list[str]
) -> None:
    assert take_vec_env(words) == (taken, left)


def test_rl_zoo3_is_as_before_when_the_command_has_ended() -> None:
    class Manager:
        def create_envs(self) -> None:
            pass

    before = Manager.create_envs
    with training_in(Manager, "sharded"):
        assert Manager.create_envs is not before
    assert Manager.create_envs is before
    with training_in(Manager, None):
        assert Manager.create_envs is before


def test_environments_in_workers_have_rl_zoo3s_time_limit_where_rl_zoo3_is_loaded() -> None:
    env = ShardedVecEnv([lambda: gym.make("CartPole-v1")], n_workers=1)
    assert env.env_is_wrapped(PatchedTimeLimit) == [True]
    env.close()


@pytest.fixture(scope="module")
def trained_in_dummy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with config files, and a training by rl_zoo3's own means."""
    folder = tmp_path_factory.mktemp("vec_env")
    with_line = {**SETTINGS, "vec_env_wrapper": [{"sb3_ppo_scratch.vec_env.rebuild_sharded": {"n_workers": 2}}]}
    for name, settings in (("mine.yml", SETTINGS), ("line.yml", with_line)):
        (folder / name).write_text(yaml.safe_dump({"CartPole-v1": settings}))
    run_python("-m", "sb3_ppo_scratch", *TRAIN, *EVALUATE, "-f", "dummy", folder=folder)
    return folder


def run_of(folder: Path, log_folder: str) -> Path:
    return folder / log_folder / "ppo_scratch" / "CartPole-v1_1"


def assert_trained_alike(folder: Path, log_folder: str) -> None:
    """The same parameters, and the same episodes in the monitor files, as in rl_zoo3's DummyVecEnv."""
    models, files = [], []
    for name in ("dummy", log_folder):
        run = run_of(folder, name)
        models.append(PPO.load(run / "CartPole-v1.zip", device="cpu").policy.state_dict())
        rows = [(run / f"{index}.monitor.csv").read_text().splitlines()[1:] for index in range(3)]
        files.append([[row.rsplit(",", 1)[0] for row in own] for own in rows])
    assert all(th.equal(value, models[1][name]) for name, value in models[0].items())
    assert files[0] == files[1]
    assert all(len(own) > 2 for own in files[0])


@pytest.mark.slow
def test_own_command_trains_in_worker_processes_what_it_trains_in_dummy(trained_in_dummy: Path) -> None:
    words = (*TRAIN, *EVALUATE, "-f", "sharded", "--vec-env", "sharded")
    run_python("-m", "sb3_ppo_scratch", *words, folder=trained_in_dummy)
    assert_trained_alike(trained_in_dummy, "sharded")


@pytest.mark.slow
def test_yaml_line_does_so_for_unmodified_rl_zoo3_and_enjoy_plays_it(trained_in_dummy: Path) -> None:
    words = ("--algo", "ppo_scratch", *TRAIN[1:3], "-conf", "line.yml", "--seed", "3", *EVALUATE, "-f", "line")
    run_python("-m", "rl_zoo3.train", *words, folder=trained_in_dummy)
    assert_trained_alike(trained_in_dummy, "line")
    words = ("--algo", "ppo_scratch", "--env", "CartPole-v1", "-f", "line", "--no-render", "-n", "200")
    assert "Episode Reward" in run_python("-m", "rl_zoo3.enjoy", *words, folder=trained_in_dummy).stdout


@pytest.mark.slow
def test_subproc_and_the_yaml_line_together_are_refused(trained_in_dummy: Path) -> None:
    words = (*TRAIN[:3], "-conf", "line.yml", "--eval-freq", "-1", "-f", "refused", "-params", "n_envs:1")
    words = (*words, "--vec-env", "subproc")
    finished = run_python("-m", "sb3_ppo_scratch", *words, folder=trained_in_dummy, check=False)
    assert finished.returncode == 2
    assert "error: the environments can be rebuilt from a DummyVecEnv, not from a SubprocVecEnv" in finished.stderr


def test_envpool_trains_and_is_evaluated_in_dummy(trained_in_dummy: Path) -> None:
    pytest.importorskip("envpool")
    words = (*TRAIN, *EVALUATE, "-f", "envpool", "--vec-env", "envpool")
    run_python("-m", "sb3_ppo_scratch", *words, folder=trained_in_dummy)
    run = run_of(trained_in_dummy, "envpool")
    assert (run / "CartPole-v1.zip").is_file()
    assert (run / "evaluations.npz").is_file()
    assert sum(len((run / f"{index}.monitor.csv").read_text().splitlines()) - 2 for index in range(3)) > 5
