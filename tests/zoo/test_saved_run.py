"""Tests of `sb3_ppo_scratch/zoo/saved_run.py`; films and exports of what it opens are tested in their folders."""

from pathlib import Path

import pytest
from stable_baselines3 import PPO

from sb3_ppo_scratch import PPOScratch
from sb3_ppo_scratch.errors import ArgumentError
from sb3_ppo_scratch.zoo.saved_run import find_run, in_one_line, open_run
from tests.zoo.processes import run_python

OWN_ENVIRONMENT = """
import gymnasium as gym

class Own(gym.Env):
    observation_space, action_space = gym.spaces.Box(-1.0, 1.0, (2,)), gym.spaces.Discrete(2)

    def __init__(self, length):
        self.length = length

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = self.length
        return self.observation_space.sample(), {}

    def step(self, action):
        self.left -= 1
        return self.observation_space.sample(), 1.0, self.left == 0, False, {}

gym.register("Own-v0", Own)
"""


@pytest.mark.slow
def test_an_environment_of_ones_own_is_found_with_its_package_and_arguments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_environment.py").write_text(OWN_ENVIRONMENT)
    (tmp_path / "config.yml").write_text("Own-v0:\n  n_timesteps: 64\n  policy: MlpPolicy\n  n_steps: 64\n")
    run_python(
        "-m", "rl_zoo3.train", "--algo", "ppo_scratch", "--env", "Own-v0", "-conf", "config.yml", "-f", "logs",
        "--eval-freq", "-1", "--gym-packages", "own_environment", "--env-kwargs", "length:4", folder=tmp_path,
    )  # fmt: skip
    monkeypatch.syspath_prepend(tmp_path)
    model_path = next(tmp_path.glob("logs/ppo_scratch/*/Own-v0.zip"))
    with pytest.raises(ArgumentError, match="imports the package 'own_environment'; --trusted"):
        open_run(find_run(model_path), seed=0)
    _, env = open_run(find_run(model_path, trusted=True), seed=0)
    env.reset()
    assert [bool(env.step([0])[2][0]) for _ in range(4)] == [False, False, False, True]


def test_errors_of_others_become_one_line_and_all_else_stays() -> None:
    message = r"^the sky: cannot be moved \(move the earth\)$"
    with (
        pytest.raises(ArgumentError, match=message),
        in_one_line("the sky", KeyError, OSError, remedy="move the earth"),
    ):
        raise OSError("cannot\n be   moved")
    with pytest.raises(ZeroDivisionError, match="by zero"), in_one_line("the sky", OSError):
        raise ZeroDivisionError("by zero")
    with pytest.raises(ArgumentError, match=r"^ours$"), in_one_line("the sky", ValueError):
        raise ArgumentError("ours")


def test_settings_with_objects_are_refused_unless_trusted(tmp_path: Path) -> None:
    PPOScratch("MlpPolicy", "CartPole-v1").save(tmp_path / "model.zip")
    settings, canary = tmp_path / "CartPole-v1", tmp_path / "canary"
    settings.mkdir()
    (settings / "config.yml").write_text(f"!!python/object/apply:os.system ['touch {canary}']")
    with pytest.raises(ArgumentError, match=r"config\.yml holds more than plain settings.*--trusted"):
        open_run(find_run(tmp_path / "model.zip", "CartPole-v1"), seed=0)
    (settings / "args.yml").write_text(f"!!python/object/apply:os.system ['touch {canary}']")
    with pytest.raises(ArgumentError, match=r"args\.yml holds more than plain settings.*--trusted"):
        find_run(tmp_path / "model.zip", "CartPole-v1")
    assert not canary.exists()


def test_files_that_can_only_be_unpickled_are_refused_unless_trusted(tmp_path: Path) -> None:
    PPO("MlpPolicy", "CartPole-v1").save(tmp_path / "model.zip")
    with pytest.raises(ArgumentError, match="only unpickling can read a file of ppo; --trusted"):
        open_run(find_run(tmp_path / "model.zip", "CartPole-v1", "ppo"), seed=0)
    model, _ = open_run(find_run(tmp_path / "model.zip", "CartPole-v1", "ppo", trusted=True), seed=0)
    assert isinstance(model, PPO)
    with pytest.raises(ArgumentError, match=r"which only unpickling can read.*--trusted"):
        open_run(find_run(tmp_path / "model.zip", "CartPole-v1"), seed=0)
