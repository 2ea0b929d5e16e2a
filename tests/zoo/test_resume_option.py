"""Runs of `python -m sb3_ppo_scratch train` that are killed or stopped, and go on to the end of one that was not."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.classic_control import CartPoleEnv
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv

from sb3_ppo_scratch import PPOScratch
from sb3_ppo_scratch.__main__ import main
from sb3_ppo_scratch.checkpoints.checkpoint_file import holds_run
from sb3_ppo_scratch.checkpoints.environment_states import read_environments
from sb3_ppo_scratch.checkpoints.folder import list_checkpoints, newest_checkpoint
from sb3_ppo_scratch.zoo.folder_lock import locked
from sb3_ppo_scratch.zoo.plain_yaml import read_plain_yaml
from sb3_ppo_scratch.zoo.resume_option import RECORD, cut_monitor_files, take_resume
from sb3_ppo_scratch.zoo.stopping import STOPPED, stopping_cleanly
from tests.comparison import compare_runs
from tests.zoo.processes import start_python

SECONDS = 120
OPTIONS = ("--eval-freq", "3000", "--eval-episodes", "2", "--save-freq", "1000", "--seed", "1", "-n", "12000")


def train(env: str, *options: str) -> None:
    """Train in this process, in the working directory."""
    main(["train", "--env", env, *OPTIONS, *options])


def train_until(
    run: Path, env: str, number: signal.Signals, *options: str, send: Callable[[int, int], None] = os.kill
) -> int:
    """Train in another process, send it a signal once it has written two checkpoints, and return its exit status."""
    process = start_python("-m", "sb3_ppo_scratch", "train", "--env", env, *OPTIONS, *options)
    end = time.monotonic() + SECONDS
    while len(list(run.glob("rl_model_*_steps.zip"))) < 2 and process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    send(process.pid, number)
    return process.wait(SECONDS)


def assert_same_run(one: Path, other: Path, env: str) -> None:
    """Assert that two runs have come to the same: parameters, evaluations, and all episodes but for their times."""
    for what, comparison in compare_runs(one, other, env).items():
        assert comparison.differing == [], what
        assert comparison.compared > 0


@pytest.mark.slow
@pytest.mark.parametrize("env", ["CartPole-v1", "LunarLander-v2"])
def test_a_run_that_was_killed_goes_on_as_if_nothing_had_happened(
    env: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    train(env)
    one, other = (Path("logs", "ppo_scratch", f"{env}_{number}") for number in (1, 2))
    train_until(other, env, signal.SIGKILL)
    assert not (other / f"{env}.zip").exists()
    assert main(["train", "--resume", str(other)]) == 0
    assert_same_run(one, other, env)


def test_a_run_that_was_stopped_says_so_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    train("CartPole-v1")
    one, other = (Path("logs", "ppo_scratch", f"CartPole-v1_{number}") for number in (1, 2))
    status = train_until(other, "CartPole-v1", signal.SIGTERM)
    assert status == STOPPED
    assert newest_checkpoint(other)[0].name == list_checkpoints(other)[0].name
    assert main(["train", "--resume", str(other)]) == 0
    assert_same_run(one, other, "CartPole-v1")


@pytest.mark.parametrize(
    ("vec_env", "number", "send"),
    [
        pytest.param("dummy", signal.SIGINT, os.killpg, id="dummy-ctrl-c"),
        pytest.param("subproc", signal.SIGINT, os.killpg, id="subproc-ctrl-c", marks=pytest.mark.slow),
        pytest.param("sharded", signal.SIGINT, os.killpg, id="sharded-ctrl-c", marks=pytest.mark.slow),
        pytest.param("subproc", signal.SIGTERM, os.kill, id="subproc-terminated", marks=pytest.mark.slow),
        pytest.param("sharded", signal.SIGTERM, os.kill, id="sharded-terminated", marks=pytest.mark.slow),
    ],
)
def test_ctrl_c_reaches_all_processes_and_yet_completes_the_step(
    vec_env: str,
    number: signal.Signals,
    send: Callable[[int, int], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    run = Path("logs", "ppo_scratch", "CartPole-v1_1")
    few = ("--vec-env", vec_env, "-params", "n_envs:2", "--eval-freq", "-1", "-n", "60000")
    assert train_until(run, "CartPole-v1", number, *few, send=send) == STOPPED
    assert newest_checkpoint(run)[1]["counters"]["num_timesteps"] >= 2000
    assert not (run / "CartPole-v1.zip").exists()


def send_twice_at(call: int, number: signal.Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let both signals come within one step."""
    step, calls = CartPoleEnv.step, []

    def slow_step(self: CartPoleEnv, action: Any) -> Any:
        calls.append(0)
        if len(calls) == call:
            signal.raise_signal(number)
            signal.raise_signal(number)
        return step(self, action)

    monkeypatch.setattr(CartPoleEnv, "step", slow_step)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_second_signal_ends_a_run_at_once_and_it_does_not_look_finished(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as slow:
        send_twice_at(700, number, slow)
        with pytest.raises(SystemExit, match=f"^{128 + number}$"):
            train("CartPole-v1", "--eval-freq", "-1", "--save-freq", "512", "-n", "1024")
    run = Path("logs", "ppo_scratch", "CartPole-v1_1")
    assert not (run / "CartPole-v1.zip").exists()
    assert "Saving to" not in capsys.readouterr().out
    assert main(["train", "--resume", str(run)]) == 0
    assert PPOScratch.load(run / "CartPole-v1.zip").num_timesteps == 1024


def test_a_second_signal_after_the_checkpoint_changes_nothing(tmp_path: Path) -> None:
    model = PPOScratch("MlpPolicy", "CartPole-v1", n_steps=64, seed=1)

    def learn() -> None:
        with stopping_cleanly(model, tmp_path):
            try:
                model.learn(64, callback=lambda *_: signal.raise_signal(signal.SIGTERM) is None)
            finally:
                signal.raise_signal(signal.SIGTERM)

    with pytest.raises(SystemExit, match=f"^{STOPPED}$"):
        learn()
    assert [path.name for path in list_checkpoints(tmp_path)] == ["rl_model_1_steps.zip"]


def test_a_second_signal_waits_for_no_step_of_other_processes(tmp_path: Path) -> None:
    env = make_vec_env("CartPole-v1", 1, vec_env_cls=SubprocVecEnv, vec_env_kwargs={"start_method": "fork"})
    model = PPOScratch("MlpPolicy", env, n_steps=64, seed=1)

    def hang(*_: Any) -> bool:
        env.step_async(np.zeros(1, dtype=int))
        env.remotes[0].recv()  # the answer, for which `close` would wait
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        return True

    def learn() -> None:
        with stopping_cleanly(model, tmp_path):
            model.learn(64, callback=hang)

    with pytest.raises(SystemExit, match=f"^{128 + signal.SIGTERM}$"):
        learn()
    assert not env.processes[0].is_alive()
    env.close()


def test_an_interrupt_of_the_environments_own_is_not_the_end_of_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(*_: Any) -> Any:
        raise KeyboardInterrupt("of its own")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(CartPoleEnv, "step", step)
    with pytest.raises(KeyboardInterrupt, match="of its own"):
        train("CartPole-v1", "--eval-freq", "-1")
    assert not Path("logs", "ppo_scratch", "CartPole-v1_1", "CartPole-v1.zip").exists()


def test_files_saved_during_a_run_continue_it_and_others_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    train("CartPole-v1")
    run = Path("logs", "ppo_scratch", "CartPole-v1_1")
    main(["train", "--env", "CartPole-v1", "-i", str(run / "rl_model_11000_steps.zip"), "--eval-freq", "-1"])
    assert (
        "rl_model_11000_steps.zip was saved during a run, which goes on: step 11000 of 12000" in capsys.readouterr().out
    )
    assert (
        PPOScratch.load(run / "CartPole-v1.zip").num_timesteps
        == PPOScratch.load(run.with_name("CartPole-v1_2") / "CartPole-v1.zip").num_timesteps
    )
    main(["train", "--env", "CartPole-v1", "-i", str(run / "CartPole-v1.zip"), "-n", "512", "--eval-freq", "-1"])
    assert PPOScratch.load(run.with_name("CartPole-v1_3") / "CartPole-v1.zip").num_timesteps == 512
    assert "goes on" not in capsys.readouterr().out


def test_stock_ppo_is_trained_as_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    main(["train", "--algo", "ppo", "--env", "CartPole-v1", "-n", "256", "--save-freq", "256", "--eval-freq", "-1"])
    run = Path("logs", "ppo", "CartPole-v1_1")
    assert PPO.load(run / "CartPole-v1.zip").num_timesteps == 256
    assert not holds_run(run / "rl_model_256_steps.zip")


def test_the_option_stands_alone() -> None:
    assert take_resume(["--resume", "logs/x"]) == (Path("logs/x"), [])
    assert take_resume(["--resume=logs/x"]) == (Path("logs/x"), [])
    with pytest.raises(ValueError, match="stands alone"):
        take_resume(["--resume", "logs/x", "--seed", "1"])
    with pytest.raises(ValueError, match="stands alone"):
        take_resume(["--resume"])


def test_a_folder_of_no_run_ends_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--resume", str(tmp_path)]) == 2
    assert "is no folder of a run that" in capsys.readouterr().err


def test_a_folder_is_one_process_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "CartPole-v1").mkdir()
    (tmp_path / "CartPole-v1" / "config.yml").touch()
    (tmp_path / "CartPole-v1" / RECORD).write_text('{"arguments": []}')
    with locked(tmp_path):
        assert main(["train", "--resume", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"error: another process is training in {tmp_path}; let it end first.\n"
    assert main(["train", "--resume", str(tmp_path)]) == 2
    assert "holds no checkpoint of a run" in capsys.readouterr().err


def test_a_folder_is_released_by_a_process_that_is_killed(tmp_path: Path) -> None:
    hold = f"""
import pathlib, time
from sb3_ppo_scratch.zoo.folder_lock import locked
with locked(pathlib.Path({str(tmp_path)!r})):
    print("held", flush=True)
    time.sleep({SECONDS})
"""
    with subprocess.Popen([sys.executable, "-c", hold], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(ValueError, match="another process is training in"), locked(tmp_path):
            pass
        process.kill()
    with locked(tmp_path):
        pass


def test_a_run_keeps_others_out_of_the_folder_that_it_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def learn(model: PPOScratch, *_: Any, **__: Any) -> PPOScratch:
        with pytest.raises(ValueError, match="another process is training in") as refused, locked(run):
            pass
        asked.append(str(refused.value))
        return model

    run = Path("logs", "ppo_scratch", "CartPole-v1_1")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(PPOScratch, "learn", learn)
    train("CartPole-v1")
    assert len(asked) == 1
    with locked(run):
        pass


def test_monitor_files_are_cut_as_they_are_or_stay_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, kept = tmp_path / "0.monitor.csv", b"#{}\nr,l,t\r\n1.0,5,0.1\r\n"
    env = DummyVecEnv([lambda: Monitor(gym.make("CartPole-v1")), lambda: gym.make("CartPole-v1")])
    env.set_attr("episode_times", [0.1], indices=0)
    state = {"environments": read_environments(env)}
    other = tmp_path / "1.monitor.csv"
    other.write_bytes(kept)
    path.write_bytes(kept + b"2.0,6,0.2\r\n3.0,")
    before = path.read_bytes()

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(Path, "replace", fail)
        with pytest.raises(OSError, match="No space left"):
            cut_monitor_files(tmp_path, state)
    assert path.read_bytes() == before
    cut_monitor_files(tmp_path, state)
    assert path.read_bytes() == kept
    assert other.read_bytes() == kept, "whoever has written it, no Monitor has counted its episodes"


def test_plain_yaml_reads_what_rl_zoo3_writes_and_nothing_that_runs(tmp_path: Path) -> None:
    path = tmp_path / "config.yml"
    path.write_text("!!python/object/apply:collections.OrderedDict\n- - - n_steps\n    - 8\n  - - pair\n    - [1, 2]\n")
    assert read_plain_yaml(path) == {"n_steps": 8, "pair": [1, 2]}
    canary = tmp_path / "canary"
    for hostile in (
        f"!!python/object/apply:os.system ['touch {canary}']",
        f"a: !!python/name:os.system ''\nb: {canary}",
    ):
        path.write_text(hostile)
        with pytest.raises(ValueError, match=r"config\.yml holds more than plain settings"):
            read_plain_yaml(path)
    path.write_text("- 1")
    with pytest.raises(ValueError, match="holds no settings"):
        read_plain_yaml(path)
    assert not canary.exists()


def test_a_run_that_a_fault_has_ended_goes_on_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    step, calls = CartPoleEnv.step, []

    def failing_step(self: CartPoleEnv, action: Any) -> Any:
        calls.append(0)
        if len(calls) == 2500:
            raise OSError("the simulator is gone")
        return step(self, action)

    monkeypatch.setattr(CartPoleEnv, "step", failing_step)
    with pytest.raises(
        OSError, match=r"^environment \d raised OSError: the simulator is gone; logs/.*CartPole-v1_1/fault_"
    ):
        train("CartPole-v1", "--eval-freq", "-1")
    run = Path("logs", "ppo_scratch", "CartPole-v1_1")
    [checkpoint] = run.glob("fault_*_steps.zip")
    assert main(["train", "--resume", str(run)]) == 0
    assert f"{checkpoint} was saved during a run, which goes on: step {checkpoint.stem.split('_')[1]}" in (
        capsys.readouterr().out
    )
    assert PPOScratch.load(run / "CartPole-v1.zip").num_timesteps >= 12000
