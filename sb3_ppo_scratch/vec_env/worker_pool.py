"""The worker processes, seen from the process that they work for.

What is here: starting them, telling them what to do, noticing that one is gone, ending them. What is not: what the
answers mean to SB3 (`sharded_vec_env.py`), and the workers' own code (`worker.py`).
"""

import contextlib
import math
import multiprocessing
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, NoReturn

import cloudpickle

from sb3_ppo_scratch.errors import ArgumentTypeError
from sb3_ppo_scratch.vec_env.cores import available_cores
from sb3_ppo_scratch.vec_env.ctrl_c import CtrlCHeld
from sb3_ppo_scratch.vec_env.remote_errors import RemoteError, WorkerDiedError, WorkerHungError, describe_exit
from sb3_ppo_scratch.vec_env.shard import shard_bounds
from sb3_ppo_scratch.vec_env.shared_memory import SharedMemory
from sb3_ppo_scratch.vec_env.signals import SemaphoreSignal, Signal, have_shared_semaphores
from sb3_ppo_scratch.vec_env.step_arrays import StepArrays, StepLayout
from sb3_ppo_scratch.vec_env.worker import MESSAGE, READ_REQUEST, STEP, WorkerRecipe, run_worker, worker_signals

PATCHING_MODULES = ("rl_zoo3.gym_patches",)
"""Modules that change Gymnasium when they are imported: workers import those that are loaded here."""
LOOK_SECONDS = 0.5
"""How often a waiting parent looks whether every worker lives."""
CLOSE_SECONDS = 5.0
"""How long closing environments may take before their process is ended."""
EXIT_SECONDS = 2.0
"""How long a process may take to exit once it has nothing more to do."""
OUTPUT_HINT = "What it printed, or the system's log (out of memory?), may say why."
MAIN_GUARD_HINT = (
    f'{OUTPUT_HINT} If it is about "the bootstrapping phase": scripts that start processes need '
    'an `if __name__ == "__main__":` around what they do.'
)
SPIN_SECONDS = 1e-3
"""How long to look for work before sleeping: longer than a policy takes to choose, shorter than an update."""


class WorkerPool:
    """Worker processes, each with its share of the environments.

    Args:
        makers: One function per environment.
        n_workers: Number of processes.
        start_method: A start method of `multiprocessing`.
    """

    def __init__(self, makers: Sequence[Callable[[], Any]], n_workers: int, start_method: str) -> None:
        self.bounds = shard_bounds(len(makers), n_workers)
        self.processes: list[BaseProcess] = []
        self.connections: list[Connection] = []
        self.turns: list[Signal] = []
        self.dones: list[Signal] = []
        self.waiting_for: set[int] = set()
        self.closed = False
        self._arrays: StepArrays | None = None
        recipes = self._write_recipes(makers)
        try:
            for recipe in recipes:
                self._start(recipe, multiprocessing.get_context(start_method))
            self.ready = [self._receive_while_starting(worker) for worker in range(n_workers)]
        except BaseException:
            self.close()
            raise
        self._recipes = recipes

    def share(self, layout: StepLayout) -> StepArrays:
        """Give the workers the memory that steps go through, and let them begin.

        Args:
            layout: What is to lie in it.

        Returns:
            The arrays.
        """
        memory = SharedMemory.create(layout.fields())
        try:
            for worker in range(len(self.processes)):
                self._hand_over(worker, memory, layout)
            for worker in range(len(self.processes)):
                self._receive_while_starting(worker)
        except BaseException:
            self.close()
            raise
        memory.forget_file()
        self._arrays = StepArrays.within(memory, layout)
        return self._arrays

    def start_step(self) -> None:
        """Let every worker step its environments with the shared actions."""
        self._open_arrays().commands.fill(STEP)
        with CtrlCHeld():
            for worker, turn in enumerate(self.turns):
                self.waiting_for.add(worker)
                try:
                    turn.notify()
                except OSError:
                    self._fail(worker)

    def ask(self, worker: int, request: str, *arguments: Any) -> None:
        """Let one worker do something else; its answer is what `answers` returns.

        Args:
            worker: Its number.
            request: A method of `Shard`.
            *arguments: The method's arguments.

        Raises:
            WorkerDiedError: If it is gone.
        """
        self._open_arrays()
        if not self._tell(worker, request, arguments):
            self._fail(worker)

    def answers(self, workers: Sequence[int] | None = None, timeout: float | None = None) -> list[Any]:
        """Wait for the answers of several workers.

        Args:
            workers: Their numbers; None: all.
            timeout: Seconds that they may take; None: any time.

        Returns:
            What each says: None, or the result.

        Raises:
            BaseException: What the first of them to raise has raised; all have answered then.
            WorkerDiedError: If one is gone, within a second of its death.
            WorkerHungError: If one has not answered in time.
        """
        asked = range(len(self.processes)) if workers is None else workers
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        replies = [self._answer(worker, deadline) for worker in asked]
        if not self.waiting_for.isdisjoint(asked):
            self._end_hung(timeout)
        for reply in replies:
            if isinstance(reply, RemoteError):
                reply.raise_here()
        return replies

    def finish_pending(self) -> None:
        """Wait for answers that nobody waited for, after Ctrl-C in the middle of a step, say; they are dropped."""
        for worker in sorted(self.waiting_for):
            self._answer(worker)

    def close(self) -> list[RemoteError]:
        """Close the environments and end the processes, by force those that do not answer. Calling it again is fine.

        Ctrl-C ends the waiting for the environments, but not before every process has ended.

        Returns:
            What closing the environments raised.
        """
        if self.closed:
            return []
        self.closed = True
        try:
            return self._close_environments()
        finally:
            with CtrlCHeld():
                self._end_processes()

    def _end_processes(self) -> None:
        """Wait a moment for every process to exit, and end those that do not."""
        self._arrays = None
        for connection in self.connections:
            connection.close()
        deadline = time.monotonic() + EXIT_SECONDS
        for process in self.processes:
            process.join(max(0.0, deadline - time.monotonic()))
            for end_it in (process.terminate, process.kill):
                if process.is_alive():
                    end_it()
                    process.join(EXIT_SECONDS)

    def _write_recipes(self, makers: Sequence[Callable[[], Any]]) -> list[WorkerRecipe]:
        # Where there are more workers than cores, one that looks for work keeps another from doing its own.
        spin_seconds = SPIN_SECONDS if len(self.bounds) <= available_cores() else 0.0
        semaphores = have_shared_semaphores()
        patches = tuple(name for name in PATCHING_MODULES if name in sys.modules)
        return [
            WorkerRecipe(worker, start, pickle_makers(makers[start:stop], start), semaphores, spin_seconds, patches)
            for worker, (start, stop) in enumerate(self.bounds)
        ]

    def _start(self, recipe: WorkerRecipe, context: Any) -> None:
        ours, theirs = context.Pipe()
        self.connections.append(ours)
        process = context.Process(target=run_worker, args=(theirs, recipe), daemon=True)
        process.start()
        self.processes.append(process)
        theirs.close()

    def _hand_over(self, worker: int, memory: SharedMemory, layout: StepLayout) -> None:
        """Give one worker the memory, and make the signals in it."""
        connection = self.connections[worker]
        for own_signal, signals in zip(
            worker_signals(connection, self._recipes[worker], memory), (self.turns, self.dones), strict=True
        ):
            if isinstance(own_signal, SemaphoreSignal):
                own_signal.initialise()
                # Only where the workers leave a core free may this process look for their answers without sleeping.
                own_signal.spin_seconds = SPIN_SECONDS if len(self.processes) < available_cores() else 0.0
            signals.append(own_signal)
        try:
            connection.send(layout)
            memory.send(connection, self.processes[worker].pid or 0)
        except OSError:
            self._fail(worker)

    def _receive_while_starting(self, worker: int) -> Any:
        """Receive a worker's message before there is shared memory."""
        try:
            while not self.connections[worker].poll(LOOK_SECONDS):
                self._check_that_all_live()
            message = self.connections[worker].recv()
        except (EOFError, OSError):
            self._fail(worker)
        if isinstance(message, RemoteError):
            message.raise_here()
        return message

    def _tell(self, worker: int, request: str, arguments: tuple[Any, ...]) -> bool:
        """Send a request; False if there is nobody to receive it."""
        assert self._arrays is not None
        message = cloudpickle.dumps((request, arguments))
        self._arrays.commands[worker] = READ_REQUEST
        with CtrlCHeld():
            self.waiting_for.add(worker)
            try:
                self.turns[worker].notify()
                self.connections[worker].send_bytes(message)
            except OSError:
                return False
        return True

    def _answer(self, worker: int, deadline: float = math.inf) -> Any:
        """Wait for a worker's answer; None if it does not come before a time on the monotonic clock."""
        arrays = self._open_arrays()
        while True:
            try:
                with CtrlCHeld():  # who forgets an answer waits for it for ever
                    if self.dones[worker].wait(min(LOOK_SECONDS, max(0.0, deadline - time.monotonic()))):
                        self.waiting_for.discard(worker)
                        return self.connections[worker].recv() if arrays.replies[worker] == MESSAGE else None
            except (EOFError, OSError):
                self._fail(worker)
            self._check_that_all_live()
            if time.monotonic() >= deadline:
                return None

    def _close_environments(self) -> list[RemoteError]:
        """Let all workers close their environments; what cannot be had in time is left."""
        if self._arrays is None:
            return []
        deadline = time.monotonic() + CLOSE_SECONDS
        replies = []
        for request in (None, "close"):  # first let those finish who are in the middle of something
            for worker, process in enumerate(self.processes):
                if request is not None and worker not in self.waiting_for and process.is_alive():
                    self._tell(worker, request, ())
            for worker in sorted(self.waiting_for):
                with contextlib.suppress(WorkerDiedError):
                    replies.append(self._answer(worker, deadline))
        return [reply for reply in replies if isinstance(reply, RemoteError)]

    def _check_that_all_live(self) -> None:
        for worker, process in enumerate(self.processes):
            if not process.is_alive():
                self._fail(worker)

    def _fail(self, worker: int) -> NoReturn:
        """End everything because a worker is gone.

        Raises:
            BaseException: What it raised while it made its environments, if that is why it is gone.
            WorkerDiedError: Else.
        """
        if self._arrays is None:
            self._raise_last_words(worker)
        process, (start, stop) = self.processes[worker], self.bounds[worker]
        process.join(EXIT_SECONDS)
        if self._arrays is None:
            env_index, doing, hint = None, "while it made them", MAIN_GUARD_HINT
        else:
            env_index = int(self._arrays.progress[worker])
            doing, hint = f"(last at work on environment {env_index})", OUTPUT_HINT
        self.waiting_for.discard(worker)
        self.close()
        ending = describe_exit(process.exitcode)
        message = f"the worker of environments {start} to {stop - 1} {ending} {doing}. {hint}"
        raise WorkerDiedError(message, env_index)

    def _end_hung(self, timeout: float | None) -> NoReturn:
        """End everything because workers have not answered in time.

        Raises:
            WorkerHungError: Always; it names the environment that the first of them is at.
        """
        env_index = int(self._open_arrays().progress[min(self.waiting_for)])
        for worker in self.waiting_for:
            self.processes[worker].kill()
            self.processes[worker].join()
        self.waiting_for.clear()
        self.close()
        raise WorkerHungError(
            f"environment {env_index} has not answered for {timeout:g} s; all workers have been ended.", env_index
        )

    def _raise_last_words(self, worker: int) -> None:
        """Raise what kept a worker from making its environments, if it could still say so.

        Raises:
            BaseException: That.
        """
        message = None
        with contextlib.suppress(EOFError, OSError):
            if self.connections[worker].poll():
                message = self.connections[worker].recv()
        if isinstance(message, RemoteError):
            message.raise_here()

    def _open_arrays(self) -> StepArrays:
        """Return the arrays.

        Raises:
            RuntimeError: If this is closed.
        """
        if self._arrays is None:
            raise RuntimeError("this ShardedVecEnv is closed; make a new one.")
        return self._arrays


def pickle_makers(makers: Sequence[Callable[[], Any]], start: int) -> bytes:
    """Write down the functions that make a worker's environments.

    Args:
        makers: The functions.
        start: The number of the first one's environment.

    Returns:
        Their bytes; what several of them share is shared in the worker, too.

    Raises:
        ArgumentTypeError: If one cannot be written; it is named.
    """
    try:
        written: bytes = cloudpickle.dumps(list(makers))
    except Exception:
        for index, make in enumerate(makers, start):
            try:
                cloudpickle.dumps(make)
            except Exception as error:  # noqa: PERF203 # it ends the loop
                raise ArgumentTypeError(
                    f"`env_fns[{index}]` cannot be pickled ({type(error).__name__}: {error}), so it cannot reach a "
                    "worker process; it must make within itself what cannot be pickled, not bring it along."
                ) from error
        raise
    return written
