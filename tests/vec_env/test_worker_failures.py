"""What happens when environments raise or hang, workers die, and users press Ctrl-C: no test here may take long."""

import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sb3_ppo_scratch.vec_env import ShardedVecEnv, worker_pool
from sb3_ppo_scratch.vec_env.remote_errors import WorkerDiedError, WorkerError
from tests.vec_env.environments import RandomEnv, makers, makers_with_one_failing

ACTIONS = np.zeros(5, np.int64)
SECONDS = 20.0
"""Far more than anything here needs, far less than for ever."""


def is_running(pid: int) -> bool:
    """Whether a process exists and has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_pool, "LOOK_SECONDS", 0.05)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ends what hangs soon."""
    monkeypatch.setattr(worker_pool, "CLOSE_SECONDS", 0.2)
    monkeypatch.setattr(worker_pool, "EXIT_SECONDS", 0.2)


def wait_until(condition: Callable[[], bool]) -> bool:
    """Whether something becomes true in time."""
    end = time.monotonic() + SECONDS
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def assert_nothing_is_left(env: ShardedVecEnv) -> None:
    assert not any(process.is_alive() for process in env._pool.processes)


# -- exceptions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["reset", "step"])
def test_exception_keeps_its_type_and_names_the_environment_and_its_line(where: str) -> None:
    env = ShardedVecEnv(makers_with_one_failing(5, 4, where, "raise"), n_workers=2)
    if where == "step":
        env.reset()
    with pytest.raises(ZeroDivisionError, match="the environment's own message") as caught:
        env.reset() if where == "reset" else env.step(ACTIONS)
    assert isinstance(caught.value.__cause__, WorkerError)
    told = str(caught.value.__cause__)
    assert told.startswith(f"environment 4 raised in `{where}`:")
    assert re.search(r"environments\.py\", line \d+, in _misbehave", told)
    assert env.env_method("add", 1) == [1] * 5  # as in a DummyVecEnv, the environments live on
    env.close()
    assert_nothing_is_left(env)


def test_exception_that_cannot_be_rebuilt_comes_as_a_worker_error() -> None:
    env = ShardedVecEnv(makers_with_one_failing(5, 1, "reset", "raise_unpicklable"), n_workers=2)
    with pytest.raises(WorkerError, match=r"environment 1 raised in `reset`:[\s\S]*UnpicklableError: 1 and 2"):
        env.reset()
    env.close()


@pytest.mark.parametrize(
    ("what", "error", "message"),
    [
        ("raise", ZeroDivisionError, "own message"),
        ("exit", WorkerDiedError, "the worker of environments 3 to 4 exited with status 7 while it made them"),
        ("die", WorkerDiedError, "the worker of environments 3 to 4 was ended by SIGKILL while it made them"),
    ],
)
def test_failed_construction_leaves_no_process(
    what: str, error: type[Exception], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Any] = []
    start = worker_pool.WorkerPool._start

    def recorded(self: Any, *arguments: Any) -> None:
        start(self, *arguments)
        started.extend(self.processes)

    monkeypatch.setattr(worker_pool.WorkerPool, "_start", recorded)
    with pytest.raises(error, match=message) as caught:
        ShardedVecEnv(makers_with_one_failing(5, 3, "construction", what), n_workers=2)
    if what == "raise":
        assert str(caught.value.__cause__).startswith("environment 3 could not be made:")
    assert len(started) >= 2
    assert not any(process.is_alive() for process in started)


@pytest.mark.usefixtures("impatient")
def test_failed_construction_is_told_also_while_another_worker_is_still_at_it() -> None:
    def make_slowly() -> RandomEnv:
        time.sleep(2 * SECONDS)
        return RandomEnv()

    failing = makers_with_one_failing(1, 0, "construction", "raise")
    begun = time.monotonic()
    with pytest.raises(ZeroDivisionError, match="own message"):
        ShardedVecEnv([make_slowly, *failing], n_workers=2)
    assert time.monotonic() - begun < SECONDS


def test_failed_construction_is_told_by_nobody_but_the_one_who_asked(capfd: pytest.CaptureFixture[str]) -> None:
    failing = makers_with_one_failing(3, 0, "construction", "raise")
    with pytest.raises(ZeroDivisionError, match="own message"):
        ShardedVecEnv(failing, n_workers=3, start_method="spawn")
    assert capfd.readouterr().err == ""


def test_same_environment_twice_is_refused() -> None:
    env = RandomEnv()
    del env.unpicklable
    with pytest.raises(ValueError, match="two of `env_fns` returned the same environment; each has to make a new one"):
        ShardedVecEnv([lambda: env] * 2, n_workers=1)


def test_function_that_cannot_be_pickled_is_named() -> None:
    lock = threading.Lock()

    def make_with_a_lock() -> RandomEnv:
        with lock:
            return RandomEnv()

    with pytest.raises(TypeError, match=r"`env_fns\[1\]` cannot be pickled .*; it must make within itself"):
        ShardedVecEnv([RandomEnv, make_with_a_lock], n_workers=2)


def test_exception_at_closing_is_raised_when_all_have_ended() -> None:
    env = ShardedVecEnv(makers_with_one_failing(5, 2, "close", "raise"), n_workers=2)
    with pytest.raises(ZeroDivisionError, match="own message") as caught:
        env.close()
    assert str(caught.value.__cause__).startswith("environment 2 raised in `close`:")
    assert_nothing_is_left(env)
    env.close()


# -- death -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("semaphores", [True, False], ids=["semaphores", "pipes"])
def test_worker_that_dies_in_a_step_is_named(semaphores: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_pool, "have_shared_semaphores", lambda: semaphores)
    env = ShardedVecEnv(makers_with_one_failing(5, 3, "step", "die"), n_workers=2)
    env.reset()
    begun = time.monotonic()
    expected = r"environments 3 to 4 was ended by SIGKILL \(last at work on environment 3\)"
    with pytest.raises(WorkerDiedError, match=expected):
        env.step(ACTIONS)
    assert time.monotonic() - begun < SECONDS
    assert_nothing_is_left(env)
    with pytest.raises(RuntimeError, match="is closed; make a new one"):
        env.step(ACTIONS)
    env.close()


@pytest.mark.parametrize("request_", ["step", "reset", "get_attr"])
def test_worker_killed_between_calls_is_noticed_by_the_next(request_: str) -> None:
    env = ShardedVecEnv(makers(5), n_workers=2)
    env.reset()
    os.kill(env._pool.processes[0].pid or 0, signal.SIGKILL)
    env._pool.processes[0].join()
    with pytest.raises(WorkerDiedError, match="environments 0 to 2 was ended by SIGKILL"):
        {"step": lambda: env.step(ACTIONS), "reset": env.reset, "get_attr": lambda: env.get_attr("label")}[request_]()
    assert_nothing_is_left(env)


@pytest.mark.usefixtures("impatient")
def test_other_worker_that_hangs_does_not_hide_a_death() -> None:
    fails = makers_with_one_failing(5, 0, "step", "hang")
    fails[4] = makers_with_one_failing(1, 0, "step", "die")[0]
    env = ShardedVecEnv(fails, n_workers=2)
    env.reset()
    with pytest.raises(WorkerDiedError, match="environments 3 to 4 was ended by SIGKILL"):
        env.step(ACTIONS)
    assert_nothing_is_left(env)


# -- closing -----------------------------------------------------------------------------------------------------------


def test_closing_twice_and_in_the_middle_of_a_step_is_fine() -> None:
    env = ShardedVecEnv(makers(5), n_workers=2)
    env.reset()
    env.step_async(ACTIONS)
    env.close()
    env.close()
    assert_nothing_is_left(env)


@pytest.mark.usefixtures("impatient")
def test_environment_that_hangs_is_ended_at_closing() -> None:
    env = ShardedVecEnv(makers_with_one_failing(5, 0, "step", "hang"), n_workers=2)
    env.reset()
    env.step_async(ACTIONS)
    env.close()
    assert_nothing_is_left(env)


@pytest.mark.usefixtures("impatient")
def test_ctrl_c_while_closing_ends_every_process(monkeypatch: pytest.MonkeyPatch) -> None:
    env = ShardedVecEnv(makers_with_one_failing(5, 0, "step", "hang"), n_workers=2)
    env.reset()
    env.step_async(ACTIONS)
    wait = env._pool.dones[0].wait

    def interrupted_wait(seconds: float) -> bool:
        signal.raise_signal(signal.SIGINT)
        return wait(seconds)

    monkeypatch.setattr(env._pool.dones[0], "wait", interrupted_wait)
    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        env.close()
    assert_nothing_is_left(env)
    env.close()


def test_forgotten_environments_end_with_their_object() -> None:
    env = ShardedVecEnv(makers(2), n_workers=2)
    processes = env._pool.processes
    del env
    assert not any(process.is_alive() for process in processes)


def test_interrupted_step_is_finished_before_the_next_request(monkeypatch: pytest.MonkeyPatch) -> None:
    env = ShardedVecEnv(makers(5), n_workers=2)
    env.seed(0)
    env.reset()

    def interrupt(seconds: float | None = None) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(env._pool.dones[1], "wait", interrupt)
        with pytest.raises(KeyboardInterrupt, match=r"^$"):
            env.step(ACTIONS)
    assert env.env_method("add", 2, 3) == [5] * 5
    assert [len(kept) for kept in env.env_method("kept")] == [1] * 5
    env.close()


@pytest.mark.parametrize("moment", ["turns", "dones"])
def test_ctrl_c_at_the_worst_moment_loses_nothing(moment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Just before a worker is told, or just after it was heard: told or heard it would be again, and wait for ever."""
    env = ShardedVecEnv(makers(5), n_workers=2)
    env.reset()
    own_signal: Any = getattr(env._pool, moment)[1]
    notify, wait = own_signal.notify, own_signal.wait

    def interrupted_notify() -> None:
        signal.raise_signal(signal.SIGINT)
        notify()

    def interrupted_wait(seconds: float) -> bool:
        heard: bool = wait(seconds)
        signal.raise_signal(signal.SIGINT)
        return heard

    with monkeypatch.context() as patch:
        patch.setattr(own_signal, "notify", interrupted_notify)
        patch.setattr(own_signal, "wait", interrupted_wait)
        with pytest.raises(KeyboardInterrupt, match=r"^$"):
            env.step(ACTIONS)
    finishing = threading.Thread(target=env._pool.finish_pending, daemon=True)
    finishing.start()
    finishing.join(SECONDS)
    assert not finishing.is_alive()
    assert [len(kept) for kept in env.env_method("kept")] == [1] * 5
    env.close()


# -- whole programs ----------------------------------------------------------------------------------------------------

PROGRAM = """
    if __name__ == "__main__":
        import sys
        import numpy as np
        from sb3_ppo_scratch.vec_env import ShardedVecEnv
        from tests.vec_env.environments import makers, makers_with_one_failing
        how = sys.argv[1]
        fns = makers_with_one_failing(4, 2, "step", "hang") if how == "hang" else makers(4)
        env = ShardedVecEnv(fns, n_workers=2, start_method=sys.argv[2])
        env.reset()
        print(*(process.pid for process in env._pool.processes), flush=True)
        if how == "raise":
            raise ValueError("the program's own")
        if how == "exit":
            sys.exit(0)
        while True:
            env.step(np.zeros(4, np.int64))
"""


@pytest.fixture
def start_program(tmp_path: Path) -> Callable[..., tuple[subprocess.Popen[str], list[int]]]:
    """Starts the program above in a process group of its own; returns it and its workers' numbers."""

    def start(how: str, start_method: str) -> tuple[subprocess.Popen[str], list[int]]:
        file = tmp_path / "program.py"
        file.write_text(textwrap.dedent(PROGRAM))
        process = subprocess.Popen(
            [sys.executable, str(file), how, start_method],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )
        assert process.stdout is not None
        return process, [int(word) for word in process.stdout.readline().split()]

    return start


@pytest.mark.parametrize(
    ("how", "ended_by", "start_method"),
    [
        ("step", signal.SIGINT, "forkserver"),
        ("step", signal.SIGINT, "spawn"),
        ("step", signal.SIGKILL, "spawn"),
        ("hang", signal.SIGKILL, "forkserver"),
        ("raise", None, "forkserver"),
        ("exit", None, "spawn"),
    ],
    ids=["ctrl_c_forkserver", "ctrl_c_spawn", "sigkill", "sigkill_while_hanging", "exception", "exit"],
)
def test_no_process_outlives_the_program_and_nothing_is_complained_of(
    how: str, ended_by: signal.Signals | None, start_method: str, start_program: Any
) -> None:
    program, workers = start_program(how, start_method)
    assert len(workers) == 2
    if ended_by is not None:
        time.sleep(0.2)  # it steps meanwhile, or hangs
    if ended_by is signal.SIGINT:
        os.killpg(program.pid, signal.SIGINT)  # as a terminal does
    elif ended_by is not None:
        os.kill(program.pid, ended_by)
    try:
        _, errors = program.communicate(timeout=SECONDS)
    finally:
        program.kill()
    assert wait_until(lambda: not any(is_running(pid) for pid in workers))
    last_line = {"ctrl_c": "KeyboardInterrupt", "raise": "ValueError: the program's own"}.get(
        "ctrl_c" if ended_by is signal.SIGINT else how, ""
    )
    assert errors.strip().splitlines()[-1:] == ([last_line] if last_line else []), errors
    assert "leaked" not in errors
    assert errors.count("Traceback") == (1 if last_line else 0), errors
