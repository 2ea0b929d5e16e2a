"""The clock: times one `learn`, split from outside and in the same way for every competitor.

What is here: what runs inside the process of one measurement. What is not: that process's command line (`measure.py`).
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from sb3_ppo_scratch.benchmark.machine import peak_memory_mib
from sb3_ppo_scratch.benchmark.speed.building import build_model, build_vec_env
from sb3_ppo_scratch.benchmark.speed.workloads import Competitor, VecEnvKind, Workload

RANDOM_ACTIONS = 256
"""Random actions are drawn before the clock starts, for this many steps of all environments, and then repeated."""


class TimedVecEnv(VecEnvWrapper):
    """Adds up the time that its VecEnv takes to step, and changes nothing.

    Sending actions and waiting for their outcome are timed apart, so that what an algorithm does in between is not
    charged to the environments.

    Args:
        venv: The VecEnv.
    """

    def __init__(self, venv: VecEnv) -> None:
        super().__init__(venv)
        self.seconds = 0.0

    def reset(self) -> VecEnvObs:
        """Reset all environments.

        Returns:
            Their first observations.
        """
        return self.venv.reset()

    def step_async(self, actions: Any) -> None:
        """Hand the actions over, on the clock.

        Args:
            actions: One per environment.
        """
        started = time.perf_counter()
        self.venv.step_async(actions)
        self.seconds += time.perf_counter() - started

    def step_wait(self) -> VecEnvStepReturn:
        """Wait for the outcome, on the clock.

        Returns:
            What the VecEnv returned.
        """
        started = time.perf_counter()
        outcome = self.venv.step_wait()
        self.seconds += time.perf_counter() - started
        return outcome


class TimedCall:
    """Adds up the time that a function takes, and changes nothing.

    Args:
        function: The function, without arguments.
    """

    def __init__(self, function: Callable[[], None]) -> None:
        self._function = function
        self.seconds = 0.0

    def __call__(self) -> None:
        """Call it, on the clock."""
        started = time.perf_counter()
        self._function()
        self.seconds += time.perf_counter() - started


def time_learning(workload: Workload, competitor: Competitor, kind: VecEnvKind, seed: int) -> dict[str, Any]:
    """Warm up, then time one `learn`.

    Both are calls of `learn` on one model: what a competitor compiles or allocates at first belongs to the warm-up.

    Args:
        workload: What is learned.
        competitor: The algorithm.
        kind: What steps the environments.
        seed: Seed of all random generators.

    Returns:
        The figures of a `Measurement`, but for `process_seconds`.
    """
    env = TimedVecEnv(build_vec_env(workload, kind, seed))
    model = build_model(workload, competitor, env, seed)
    train = TimedCall(model.train)
    model.train = train  # type: ignore[method-assign] # a subclass for each competitor would say the same in more words
    torch_threads = th.get_num_threads()
    model.learn(workload.warmup_rollouts * workload.rollout)
    env.seconds = train.seconds = 0.0
    started = time.perf_counter()
    model.learn(workload.steps)
    seconds = time.perf_counter() - started
    returns = [episode["r"] for episode in model.ep_info_buffer or ()]
    figures = {
        "seconds": seconds,
        "stepping": env.seconds,
        "updating": train.seconds,
        "steps": model.num_timesteps,
        "peak_mib": peak_memory_mib(),
        "mean_return": float(np.mean(returns)) if returns else None,
        "torch_threads": torch_threads,
    }
    env.close()
    return figures


def time_stepping(workload: Workload, kind: VecEnvKind, seed: int) -> dict[str, Any]:
    """Time as many steps with random actions and no algorithm: what no algorithm can beat on these environments.

    Args:
        workload: What would be learned.
        kind: What steps the environments.
        seed: Seed of all random generators.

    Returns:
        The figures of a `Measurement`, but for `process_seconds`.
    """
    env = TimedVecEnv(build_vec_env(workload, kind, seed))
    env.action_space.seed(seed)
    actions = [np.stack([env.action_space.sample() for _ in range(workload.n_envs)]) for _ in range(RANDOM_ACTIONS)]
    env.reset()
    n_steps = workload.steps // workload.n_envs
    for step in range(min(n_steps, workload.n_steps)):
        env.step(actions[step % RANDOM_ACTIONS])
    env.seconds = 0.0
    started = time.perf_counter()
    for step in range(n_steps):
        env.step(actions[step % RANDOM_ACTIONS])
    seconds = time.perf_counter() - started
    figures = {
        "seconds": seconds,
        "stepping": seconds,
        "updating": 0.0,
        "steps": n_steps * workload.n_envs,
        "peak_mib": peak_memory_mib(),
        "mean_return": None,
        "torch_threads": th.get_num_threads(),
    }
    env.close()
    return figures
