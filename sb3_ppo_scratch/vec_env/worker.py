"""The process that steps a shard of the environments.

What is here: its life from the first message to the last. What is not: the other side (`worker_pool.py`), and what the
environments are asked (`shard.py`). Nothing here imports SB3 or torch; the environments may, and so does rl_zoo3,
which is imported where the parent has it.
"""

import contextlib
import importlib
import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import cloudpickle
import gymnasium as gym

from sb3_ppo_scratch.errors import EnvironmentFaultError
from sb3_ppo_scratch.short_texts import describe_error
from sb3_ppo_scratch.vec_env.bad_reward import find_bad_reward
from sb3_ppo_scratch.vec_env.remote_errors import RemoteError
from sb3_ppo_scratch.vec_env.shard import Environment, Shard, build_environments
from sb3_ppo_scratch.vec_env.shared_memory import SharedMemory
from sb3_ppo_scratch.vec_env.signals import SIGNAL_BYTES, PipeSignal, SemaphoreSignal, Signal
from sb3_ppo_scratch.vec_env.step_arrays import StepArrays, StepLayout
from sb3_ppo_scratch.vec_env.step_values import describe_bad_reward

STEP, READ_REQUEST = 0, 1
"""Commands: step with the shared actions; read a request from the connection."""
NO_MESSAGE, MESSAGE = 0, 1
"""Replies: everything is in the shared arrays; a message follows."""


@dataclass(frozen=True)
class WorkerRecipe:
    """What a worker process is started with.

    Args:
        number: The worker's number.
        start: The number of its first environment among all.
        makers: The functions that make its environments, in cloudpickle's bytes.
        semaphores: Whether to use signals in shared memory; else the connection is used.
        spin_seconds: How long to look for work before sleeping.
        patches: Modules to import before the environments are made, for what that changes.
    """

    number: int
    start: int
    makers: bytes
    semaphores: bool
    spin_seconds: float
    patches: tuple[str, ...]


@dataclass(frozen=True)
class Ready:
    """What a worker says when its environments stand: what its first one is like."""

    observation_space: gym.Space[Any]
    action_space: gym.Space[Any]
    metadata: dict[str, Any]


def run_worker(connection: Connection, recipe: WorkerRecipe) -> None:
    """Build the environments, then do what is asked until told to close, or until the parent process is gone.

    Args:
        connection: This side's end.
        recipe: What to build.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the parent decides what it means
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    os.environ["OMP_NUM_THREADS"] = "1"
    with contextlib.suppress(EOFError, ConnectionError):  # the parent has given up, because another worker failed, say
        environments = _build(connection, recipe)
        if environments is not None:
            layout: StepLayout = connection.recv()
            memory = SharedMemory.receive(connection)
            shard = Shard(environments, recipe.start, recipe.number, StepArrays.within(memory, layout))
            connection.send(None)
            _serve(connection, shard, recipe, memory)


def worker_signals(connection: Connection, recipe: WorkerRecipe, memory: SharedMemory) -> tuple[Signal, Signal]:
    """Make the two signals between a worker and its parent, seen from either side.

    Args:
        connection: This side's end.
        recipe: The worker's.
        memory: The shared memory, which begins with the semaphores, two for each worker.

    Returns:
        That it is the worker's turn, and that the worker is done.
    """
    if not recipe.semaphores:
        return PipeSignal(connection), PipeSignal(connection)
    offset = 2 * SIGNAL_BYTES * recipe.number
    return (
        SemaphoreSignal(memory.map, offset, recipe.spin_seconds),
        SemaphoreSignal(memory.map, offset + SIGNAL_BYTES, recipe.spin_seconds),
    )


def _build(connection: Connection, recipe: WorkerRecipe) -> list[Environment] | None:
    """Build the environments and tell the parent what they are like, or what went wrong; None if something did."""
    current = recipe.start

    def at(position: int) -> None:
        nonlocal current
        current = recipe.start + position

    try:
        for module in recipe.patches:
            importlib.import_module(module)
        makers: list[Callable[[], Any]] = cloudpickle.loads(recipe.makers)
        environments = build_environments(makers, at)
        first = environments[0]
        report = pickle.dumps(Ready(first.observation_space, first.action_space, first.metadata))
    except Exception as error:  # noqa: BLE001 # whatever it is, the parent raises it
        connection.send(RemoteError.capture(error, f"environment {current} could not be made", current))
        return None
    _use_one_torch_thread()
    connection.send_bytes(report)
    return environments


def _serve(connection: Connection, shard: Shard, recipe: WorkerRecipe, memory: SharedMemory) -> None:
    """Answer commands until one of them is to close."""
    turn, done = worker_signals(connection, recipe, memory)
    commands, replies = shard.arrays.commands, shard.arrays.replies
    request = "step"
    while request != "close":
        turn.wait()
        if commands[recipe.number] == STEP:
            request, arguments = "step_shared_actions", ()
        else:
            request, arguments = cloudpickle.loads(connection.recv_bytes())
        message = _answer(shard, request, arguments)
        replies[recipe.number] = NO_MESSAGE if message is None else MESSAGE
        done.notify()  # before the message: a large one waits in `send_bytes` until the parent reads it
        if message is not None:
            connection.send_bytes(message)


def _answer(shard: Shard, request: str, arguments: tuple[Any, ...]) -> bytes | None:
    """Do what is asked, and write down the result or the error; None if there is nothing to say."""
    named = f"({arguments[0]!r})" if request in ("env_method", "get_attr", "set_attr") else ""
    asked = f"{request.removesuffix('_shared_actions')}{named}"
    try:
        result = getattr(shard, request)(*arguments)
        if request == "step_shared_actions" and not result:
            return None
    except Exception as error:  # noqa: BLE001 # whatever it is, the parent raises it
        where = f"environment {shard.current} raised in `{asked}`"
        return pickle.dumps(RemoteError.capture(_name_bad_reward(error, shard.current), where, shard.current))
    try:
        return pickle.dumps(result)
    except Exception as error:  # noqa: BLE001 # whatever a foreign object's pickling raises
        where = f"what the environments answered to `{asked}` cannot be pickled, so it cannot leave their process"
        return pickle.dumps(RemoteError.capture(error, where))


def _name_bad_reward(error: Exception, index: int) -> Exception:
    """Say so if it was a reward that is no number, which only this process can see."""
    reward = find_bad_reward(error)
    if not reward:
        return error
    named = describe_bad_reward(index, reward, describe_error(error))
    return EnvironmentFaultError(named, index).with_traceback(error.__traceback__)


def _exit_with_parent() -> None:
    """End this process, at once and whatever it is doing, when its parent is gone, also by SIGKILL."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _use_one_torch_thread() -> None:
    """Keep each worker to its own core, if its environments have loaded torch (SB3's `Monitor` does)."""
    torch: Any = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)
