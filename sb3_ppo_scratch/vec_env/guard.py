"""Stepping environments so that what goes wrong in one of them is noticed, and named.

What is here: the step, and the time limit on it. What is not: saying which environment it was (`faults.py`), and the
thread that ends this process if an environment in it hangs (`watchdog.py`).

On CartPole, stepping through this takes as long as without.
"""

import functools
import math
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import wait
from typing import Any

import numpy.typing as npt
from stable_baselines3.common.vec_env import SubprocVecEnv, VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn

from sb3_ppo_scratch.errors import EnvironmentFaultError
from sb3_ppo_scratch.vec_env.checked_results import check_results
from sb3_ppo_scratch.vec_env.clean_statistics import Stepping, statistics_kept_clean
from sb3_ppo_scratch.vec_env.faults import OF_ENVIRONMENTS, end_workers, name_fault
from sb3_ppo_scratch.vec_env.sharded_vec_env import ShardedVecEnv
from sb3_ppo_scratch.vec_env.step_values import check_reward
from sb3_ppo_scratch.vec_env.watchdog import Watchdog

LOOK_SECONDS = 0.5
"""How often it is looked whether every process lives."""


@contextmanager
def guarded(env: VecEnv, step_timeout: float | None) -> Iterator[Stepping]:
    """Let steps raise what is wrong with an environment.

    Args:
        env: The environments.
        step_timeout: Seconds that a step of all of them may take; None: any time. Workers that take longer are ended;
            if the environments are in this process, it ends.

    Yields:
        A function that steps them, as `VecEnv.step`. It raises an `EnvironmentFaultError`, which is also of the type of
        what the environment has raised.
    """
    with ExitStack() as stack:
        stack.callback(check_results(env))
        step = stack.enter_context(_limited(env, step_timeout))
        step = stack.enter_context(statistics_kept_clean(env, step))
        yield functools.partial(_step, step, env)


def _step(step: Stepping, env: VecEnv, actions: npt.NDArray[Any]) -> VecEnvStepReturn:
    """Step environments, and look at what all of them have returned."""
    try:
        observations, rewards, dones, infos = step(actions)
    except OF_ENVIRONMENTS as error:
        fault = name_fault(error, env)
        if isinstance(error, SystemExit) and fault.env_index is None:
            raise
        fault.batch = {"actions": actions}
        if fault is error:
            raise
        raise fault from error
    if rewards.dtype.kind not in "biuf":
        for index, reward in enumerate(rewards.tolist()):
            check_reward(reward, index)
    return observations, rewards, dones, infos


@contextmanager
def _limited(env: VecEnv, step_timeout: float | None) -> Iterator[Stepping]:
    """Choose how the time of a step is limited."""
    inner = env.unwrapped
    if isinstance(inner, ShardedVecEnv):
        before, inner.step_timeout = inner.step_timeout, step_timeout or inner.step_timeout
        try:
            yield env.step
        finally:
            inner.step_timeout = before
    elif isinstance(inner, SubprocVecEnv) and type(env).step is VecEnv.step and (step_timeout or _hides_deaths(inner)):
        yield functools.partial(_step_in_time, env, inner, step_timeout or math.inf)
    elif step_timeout is None:
        yield env.step
    else:
        with Watchdog(step_timeout) as watchdog:
            yield functools.partial(watchdog.watch, env.step)


def _hides_deaths(env: SubprocVecEnv) -> bool:
    """Tell whether a process that has ended looks like one that works: forked ones hold each other's pipes open."""
    return any(getattr(process, "_start_method", None) == "fork" for process in env.processes)


def _step_in_time(
    env: VecEnv, inner: SubprocVecEnv, step_timeout: float, actions: npt.NDArray[Any]
) -> VecEnvStepReturn:
    """Step environments, but wait for their processes no longer than the limit, and for none that has ended.

    Raises:
        EOFError: If a process has ended, as SB3 where it notices.
        EnvironmentFaultError: If one has not answered in time; all have been ended.
    """
    env.step_async(actions)
    waiting, deadline = list(inner.remotes), time.monotonic() + step_timeout
    while waiting:
        answered = wait(waiting, max(0.0, min(LOOK_SECONDS, deadline - time.monotonic())))
        waiting = [remote for remote in waiting if remote not in answered]
        if answered:
            continue
        if not all(process.is_alive() for process in inner.processes):
            raise EOFError
        if time.monotonic() >= deadline:
            index = inner.remotes.index(waiting[0])
            end_workers(inner)
            raise EnvironmentFaultError(
                f"environment {index} has not answered for {step_timeout:g} s; all processes have been ended", index
            )
    return env.step_wait()
