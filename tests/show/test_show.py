"""`show` says what a file holds, whoever has written it."""

from pathlib import Path

import pytest
from stable_baselines3 import PPO

from sb3_ppo_scratch import PPOScratch
from sb3_ppo_scratch.__main__ import main
from sb3_ppo_scratch.callbacks import SaveCheckpoints


def shown(path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Run the command."""
    capsys.readouterr()
    assert main(["show", str(path)]) == 0
    return capsys.readouterr().out


def test_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    PPOScratch("MlpPolicy", "CartPole-v1", gamma=0.98, policy_kwargs={"net_arch": [8]}).save(tmp_path / "model.zip")
    text = shown(tmp_path / "model.zip", capsys)
    assert text.startswith("a model, written with Stable-Baselines3 ")
    assert "everything is described by data: it loads with trusted=False" in text
    assert "\naction_space                 Discrete(2)\n" in text
    assert "\ngamma                        0.98\n" in text
    assert "\n107 parameters:\n" in text
    assert "policy_net.0.weight  8 x 4" in text


def test_a_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = PPOScratch("MlpPolicy", "CartPole-v1", n_steps=16, batch_size=16)
    model.learn(64, callback=SaveCheckpoints(20, tmp_path))
    text = shown(tmp_path / "rl_model_20_steps.zip", capsys)
    assert text.startswith("a checkpoint, from which a run goes on, written with")
    assert "its run: step 20 of 64\n  4 steps into a rollout" in text


def test_a_file_of_stocks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    PPO("MlpPolicy", "CartPole-v1").save(tmp_path / "stock.zip")
    text = shown(tmp_path / "stock.zip", capsys)
    assert "only unpickling can read: action_space, clip_range, observation_space, policy_class" in text
    assert "(pickled) <class 'gymnasium.spaces.discrete.Discrete'>" in text


def test_control_characters_do_not_reach_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = PPOScratch("MlpPolicy", "CartPole-v1")
    model.tensorboard_log = "\x1b]0;title\x07\x1b[2J"
    model.rollout_buffer_kwargs = {"\x1b[31m": "red"}
    model.save(tmp_path / "model.zip")
    assert "\x1b" not in shown(tmp_path / "model.zip", capsys)


def test_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(tmp_path / "none.zip")]) == 2
    assert capsys.readouterr().err == f"error: there is no file {tmp_path / 'none.zip'}\n"
