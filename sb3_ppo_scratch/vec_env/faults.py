"""Errors of environments, named by the environment that they come from.

What is here: finding out which it was, in SB3's vectorised environments and this project's, and ending SB3's workers
when one of them is lost. What is not: noticing (`guard.py`), and what is saved then (`resumable_run.py`).
"""

import signal
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait
from types import CodeType, FrameType
from typing import Any

from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv

from sb3_ppo_scratch.errors import EnvironmentFaultError
from sb3_ppo_scratch.short_texts import describe_error
from sb3_ppo_scratch.vec_env.bad_reward import find_bad_reward
from sb3_ppo_scratch.vec_env.checked_results import check_results, step_in_turn
from sb3_ppo_scratch.vec_env.remote_errors import WorkerError, describe_exit
from sb3_ppo_scratch.vec_env.step_values import describe_bad_reward

EXIT_SECONDS = 2.0
"""How long a process may take to exit."""


def _code(function: Any) -> CodeType:
    code: CodeType = function.__code__
    return code


IN_TURN = {_code(DummyVecEnv.step_wait), _code(DummyVecEnv.reset), _code(step_in_turn)}
"""Functions that go through environments in this process, and count them in `env_idx`."""
OF_ENVIRONMENTS = (Exception, SystemExit)
"""What environments may raise. `sys.exit` is what games call when their window is closed."""


@contextmanager
def faults_named(env: VecEnv) -> Iterator[None]:
    """Let errors name the environment that they come from.

    Args:
        env: The environments that are asked for something.

    Yields:
        Nothing.

    Raises:
        EnvironmentFaultError: If one of them fails; also of the type of what it has raised. Other errors are left.
    """
    undo = check_results(env)
    try:
        yield
    except OF_ENVIRONMENTS as error:
        fault = name_fault(error, env)
        if fault is error or fault.env_index is None:
            raise
        raise fault from error
    finally:
        undo()


def name_fault(error: BaseException, env: VecEnv) -> EnvironmentFaultError:
    """Name the environment that an error comes from; workers of a `SubprocVecEnv` of which one is lost are ended.

    Args:
        error: What stepping or resetting the environments has raised.
        env: The environments.

    Returns:
        The error to raise.
    """
    if isinstance(error, EnvironmentFaultError):
        return error
    inner = env.unwrapped
    if isinstance(inner, SubprocVecEnv) and isinstance(error, Exception):
        fault = _of_subprocesses(error, inner)
        if fault is not None:
            return fault
    index = _find_index(error)
    return EnvironmentFaultError.of(error, describe(error, index), index)


def _find_index(error: BaseException) -> int | None:
    """Find out which environment has raised an error; None: it is unknown, or it was none."""
    for each in (error.__cause__, error):
        if isinstance(each, WorkerError) and each.env_index is not None:
            return each.env_index
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    if isinstance(error, SystemExit) and _is_of_a_signal(frames):
        return None
    return index_in(frames)


def _is_of_a_signal(frames: Iterable[FrameType]) -> bool:
    """Tell whether one of several functions handles a signal, which may come while an environment steps."""
    handlers = (signal.getsignal(number) for number in signal.valid_signals())
    codes = {getattr(handler, "__code__", None) for handler in handlers}
    return any(frame.f_code in codes for frame in frames)


def describe(error: BaseException, index: int | None) -> str:
    """Say what an environment has done.

    Args:
        error: What has come of it.
        index: The environment's number; None: unknown.

    Returns:
        A sentence without its full stop.
    """
    if isinstance(error, WorkerError):
        return str(error).splitlines()[0]
    what = describe_error(error)
    if index is None:
        return f"stepping the environments raised {what}"
    reward = find_bad_reward(error)
    if reward:
        return describe_bad_reward(index, reward, what)
    last = [frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)][-1:]
    if last and last[0] in IN_TURN:
        return f"environment {index} returned what a DummyVecEnv cannot take ({what})"
    return f"environment {index} raised {what}"


def index_in(frames: Iterable[FrameType]) -> int | None:
    """Find the environment that a `DummyVecEnv` is at.

    Args:
        frames: Functions under way, the outermost first.

    Returns:
        Its number; None: none of them is a `DummyVecEnv`'s.
    """
    for frame in frames:
        if frame.f_code in IN_TURN:
            return frame.f_locals.get("env_idx")
    return None


def _of_subprocesses(error: Exception, env: SubprocVecEnv) -> EnvironmentFaultError | None:
    """Name the environment whose process is lost; None if none is."""
    if not env.waiting and not isinstance(error, EOFError | ConnectionError):
        return None
    ended = wait([process.sentinel for process in env.processes], EXIT_SECONDS)
    for process in env.processes:
        if process.sentinel in ended:
            process.join(EXIT_SECONDS)  # it is about to end
    lost = [index for index, process in enumerate(env.processes) if not process.is_alive()]
    codes = [env.processes[index].exitcode for index in lost]
    end_workers(env)
    if not lost:
        return None
    message = f"the process of environment {lost[0]} {describe_exit(codes[0])}; what it printed may say why"
    return EnvironmentFaultError.of(error, message, lost[0])


def end_workers(env: SubprocVecEnv) -> None:
    """End all processes, whatever they are doing, so that `close` has nothing left to wait for.

    Args:
        env: The environments; they cannot be used any more.
    """
    for process in env.processes:
        process.terminate()
    for process in env.processes:
        process.join(EXIT_SECONDS)
        if process.is_alive():
            process.kill()
            process.join()
    for remote in env.remotes:
        remote.close()
    env.waiting, env.closed = False, True
