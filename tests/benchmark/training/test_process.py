"""Tests of `benchmark/training/process.py`."""

import shlex
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from stable_baselines3 import PPO

from sb3_ppo_scratch import hyperparams
from sb3_ppo_scratch.benchmark.training.plan import Contestant, Evaluation, Goal, Run
from sb3_ppo_scratch.benchmark.training.process import (
    LOG_FILE,
    TrainingError,
    _run,
    identity,
    own_callbacks,
    run_words,
    shown_command,
    train_in_process,
)
from sb3_ppo_scratch.benchmark.training.records import read_record

GOAL = Goal("CartPole-v1", n_timesteps=256, evaluate_every=128, solved=475)
STOCK = Run(Contestant("stock", "stock PPO", "ppo", "rl_zoo3"), GOAL, 5, Evaluation(2, 4, 77))


def test_the_command_is_rl_zoo3s_with_a_callback_that_looks_on() -> None:
    words = run_words(STOCK)
    assert words[:2] == ["-m", "rl_zoo3.train"]
    given = dict(zip(words[2::2], words[3::2], strict=True))  # one word after -params, since nothing is changed
    assert given["--algo"] == "ppo"
    assert (given["--seed"], given["-n"], given["--eval-freq"]) == ("5", "256", "-1")
    assert "'first_seed': 77" in given["-params"]
    assert "'n_episodes': 2, 'n_final_episodes': 4" in given["-params"]


def test_a_contestant_may_change_some_of_its_files_settings() -> None:
    changes = {"n_steps": 9, "policy_kwargs": "dict(net_arch=[4])", "env_wrapper": None}
    words = run_words(Run(Contestant("it", "it", "ppo", "rl_zoo3", hyperparams=changes), GOAL, 5, STOCK.evaluation))
    start = words.index("-params") + 1
    assert words[start : start + 3] == ["n_steps:9", "policy_kwargs:'dict(net_arch=[4])'", "env_wrapper:None"]
    assert words[start + 3].startswith("callback:[")


def test_further_options_reach_rl_zoo3() -> None:
    words = run_words(replace(STOCK, options=("--tensorboard-log", "tb", "--track")))
    assert words == [*run_words(STOCK), "--tensorboard-log", "tb", "--track"]


def test_callbacks_of_the_file_stay(tmp_path: Path) -> None:
    one, several = tmp_path / "one.yml", tmp_path / "several.yml"
    one.write_text(yaml.safe_dump({"default": {"callback": "a.B"}, "CartPole-v1": {}}))
    several.write_text(yaml.safe_dump({"CartPole-v1": {"callback": ["a.B", {"c.D": {"e": 1}}]}}))
    assert own_callbacks(one, "CartPole-v0") == ["a.B"]
    assert own_callbacks(one, "CartPole-v1") == ["a.B"]
    assert own_callbacks(several, "CartPole-v1") == ["a.B", {"c.D": {"e": 1}}]
    assert own_callbacks(several, "CartPole-v0") == []


def test_what_is_shown_and_what_identifies_a_run_hold_no_path_of_this_machine() -> None:
    ours = Run(Contestant("ours", "ours", "ppo_scratch", "ppo_scratch.yml"), GOAL, 5, STOCK.evaluation)
    for run, file in ((STOCK, "ppo.yml"), (ours, "hyperparams/ppo_scratch.yml")):
        assert file in shlex.split(shown_command(run))
        assert str(Path(hyperparams.__file__).parent) not in identity(run)
        assert "site-packages" not in identity(run)


def test_settings_identify_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sb3_ppo_scratch.benchmark.training.plan.hyperparams_folder", lambda: tmp_path)
    run = Run(Contestant("ours", "ours", "ppo_scratch", "mine.yml"), GOAL, 5, STOCK.evaluation)
    (tmp_path / "mine.yml").write_text("CartPole-v1: {n_steps: 8}")
    before = identity(run)
    assert identity(run) == before
    (tmp_path / "mine.yml").write_text("CartPole-v1: {n_steps: 9}")
    assert identity(run) != before


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["ppo", "ppo_scratch"])
def test_a_run_is_trained_evaluated_and_recorded(algorithm: str, tmp_path: Path) -> None:
    run = Run(Contestant("it", "it", algorithm, "rl_zoo3"), GOAL, 5, STOCK.evaluation)
    if algorithm == "ppo_scratch":
        changes = {"policy_kwargs": "dict(net_arch=[4])"}
        run = Run(Contestant("it", "it", algorithm, "ppo_scratch.yml", hyperparams=changes), GOAL, 5, STOCK.evaluation)
    processes: list[Any] = []
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "left over").write_text("")
    record = train_in_process(run, tmp_path / "run", processes.append)
    assert len(processes) == 1
    assert record == read_record(tmp_path / "run")
    assert record.identity == identity(run)
    assert record.evaluations[0].steps == 0
    assert record.final.steps >= 256
    assert len(record.final.returns) == 4
    assert record.machine["versions"]["rl-zoo3"]
    assert (tmp_path / "run" / algorithm / "CartPole-v1_1" / "CartPole-v1.zip").is_file()
    assert not (tmp_path / "run" / "left over").exists()
    model = PPO.load(tmp_path / "run" / algorithm / "CartPole-v1_1" / "CartPole-v1.zip", device="cpu")
    assert model.policy.action_net.in_features == (4 if algorithm == "ppo_scratch" else 64)


def test_processes_know_our_algorithms_even_where_the_plug_in_is_switched_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SB3_PPO_SCRATCH_AUTOLOAD", "0")
    code = "import rl_zoo3.utils; assert 'ppo_scratch' in rl_zoo3.utils.ALGOS"
    assert _run(["-c", code], tmp_path / "log", lambda _process: None) == 0, (tmp_path / "log").read_text()


def test_a_run_that_fails_says_why_and_leaves_no_record(tmp_path: Path) -> None:
    run = Run(STOCK.contestant, Goal("NoSuchEnvironment-v0", 10, 5, 1), 5, STOCK.evaluation)
    with pytest.raises(TrainingError, match="NoSuchEnvironment-v0"):
        train_in_process(run, tmp_path / "run", lambda _process: None)
    assert read_record(tmp_path / "run") is None
    assert "NoSuchEnvironment" in (tmp_path / "run" / LOG_FILE).read_text()


TRAINS_FOR_LONG = """
import sys
from pathlib import Path
from sb3_ppo_scratch.benchmark.training.process import _run
code = "import socket, sys, time; line = socket.create_connection(('127.0.0.1', int(sys.argv[1]))); time.sleep(60)"
_run(["-c", code, sys.argv[1]], Path(sys.argv[2], "log"), lambda _process: None)
"""
"""A program that starts another, which connects to a port and does nothing."""


def test_a_training_process_ends_with_the_one_that_started_it_however_that_dies(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        words = [sys.executable, "-c", TRAINS_FOR_LONG, str(server.getsockname()[1]), str(tmp_path)]
        with subprocess.Popen(words) as starter:
            server.settimeout(60)
            line, _ = server.accept()
            starter.kill()
    with line:
        line.settimeout(20)
        assert line.recv(1) == b""  # closed, by the system
