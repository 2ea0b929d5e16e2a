"""Tests of Ctrl-C while learning: obeyed when the step is complete, a second one at once, and nothing left changed."""

import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import SubprocVecEnv

from sb3_ppo_scratch import PPOScratch
from sb3_ppo_scratch.interrupts import interrupts_held, keep_from_new_workers
from sb3_ppo_scratch.vec_env.faults import end_workers
from tests.checkpoints.test_resume import assert_same_end


class InterruptAt(BaseCallback):
    """Presses Ctrl-C within a step."""

    def __init__(self, at: int, times: int = 1) -> None:
        super().__init__()
        self.at, self.times = at, times

    def _on_step(self) -> bool:
        if self.n_calls == self.at:
            for _ in range(self.times):
                signal.raise_signal(signal.SIGINT)
        return True


def small_model() -> PPOScratch:
    return PPOScratch("MlpPolicy", make_vec_env("CartPole-v1", 2, seed=3), n_steps=32, seed=1)


def test_the_step_is_completed_and_the_run_can_go_on(tmp_path: Path) -> None:
    whole = small_model().learn(192)
    model = small_model()
    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        model.learn(192, callback=InterruptAt(40))
    assert model.num_timesteps == 80
    assert model.rollout_buffer.pos == 8
    model.save_checkpoint(tmp_path / "run.zip")
    assert_same_end(model.resume(), whole)
    loaded = PPOScratch.load_checkpoint(tmp_path / "run.zip", env=make_vec_env("CartPole-v1", 2))
    assert_same_end(loaded.resume(), whole)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_one_acts_at_once() -> None:
    model = small_model()
    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        model.learn(192, callback=InterruptAt(40, times=2))
    assert model.rollout_buffer.pos == 7  # the step's transition has not been stored
    with pytest.raises(ValueError, match="middle of a step or an update by KeyboardInterrupt"):
        model.resume()


def test_one_in_the_last_step_comes_after_the_last_update() -> None:
    model = small_model()
    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        model.learn(64, callback=InterruptAt(32))
    assert model._n_updates == 10


def test_handlers_of_ones_own_are_left_alone() -> None:
    heard = []
    before = signal.signal(signal.SIGINT, lambda *_: heard.append(True))
    try:
        small_model().learn(64, callback=InterruptAt(3))
    finally:
        signal.signal(signal.SIGINT, before)
    assert heard == [True]


def test_other_threads_learn_too() -> None:
    model = small_model()
    thread = threading.Thread(target=model.learn, args=(64,))
    thread.start()
    thread.join()
    assert model.num_timesteps == 64


def test_new_workers_inherit_that_ctrl_c_is_ignored_and_this_process_still_hears_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at_start: list[Any] = []
    monkeypatch.setattr("multiprocessing.get_all_start_methods", lambda: ["spawn", "forkserver"])
    monkeypatch.setattr(
        "multiprocessing.forkserver.ensure_running", lambda: at_start.append(signal.getsignal(signal.SIGINT))
    )
    keep_from_new_workers()
    assert at_start == [signal.SIG_IGN]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("error", [EOFError, BrokenPipeError, ConnectionResetError])
def test_workers_that_ended_with_ctrl_c_are_no_other_error(error: type[Exception]) -> None:
    waiting: list[Any] = []

    def lose_worker(*, with_ctrl_c: bool) -> None:
        with interrupts_held(waiting.append):
            if with_ctrl_c:
                signal.raise_signal(signal.SIGINT)
            raise error("worker 3")

    with pytest.raises(
        KeyboardInterrupt, match="has ended processes of the environments, too; go on from the run's last"
    ):
        lose_worker(with_ctrl_c=True)
    assert len(waiting) == 1
    with pytest.raises(error, match="worker 3"):
        lose_worker(with_ctrl_c=False)


def test_after_ctrl_c_has_ended_its_workers_a_run_cannot_be_written_and_the_remedy_is_named(tmp_path: Path) -> None:
    env = make_vec_env("CartPole-v1", 1, vec_env_cls=SubprocVecEnv, vec_env_kwargs={"start_method": "fork"})
    model = PPOScratch("MlpPolicy", env, n_steps=8, batch_size=8, seed=1).learn(8)
    os.kill(env.processes[0].pid, signal.SIGINT)
    env.processes[0].join()
    with pytest.raises(ValueError, match=r"processes of the environments have ended.*; go on from the run's last"):
        model.save_checkpoint(tmp_path / "run.zip")
    assert not list(tmp_path.iterdir())
    end_workers(env)
