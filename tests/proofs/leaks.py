"""Memory does not grow over two million steps, and no file stays open over a thousand restarts of environments.

What is here: both measurements, each in this process. What is not: speed (`sb3_ppo_scratch.benchmark`).
"""

import gc
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv

from sb3_ppo_scratch import PPOScratch
from sb3_ppo_scratch.benchmark.markdown import table
from sb3_ppo_scratch.vec_env import ShardedVecEnv
from tests.proofs.report import Outcome, run_proof

TITLE = "Memory and open files of long runs"
MIB = 2**20
MOST_GROWTH = 1.0
"""MiB per million steps: less than a tenth of what one list entry per step would take."""
N_ENVS = 8
MEMORY = f"""\
Resident memory in MiB while PPOScratch learns in {N_ENVS} environments with a CSV and a TensorBoard log: after
a quarter of the run, at its end, and the slope of a line through all measurements since that quarter. Less than
{MOST_GROWTH:g} MiB per million steps is wanted.

Box2D itself keeps a few hundred bytes of every body that it has made, and some of every step, whoever steps it: the
last line is the environment alone, with random actions and nothing of this project. Learning is therefore measured
with the landers in worker processes, so that what grows in this process would be ours.

"""
FILES = """

Open file descriptors while environments are made, learned in for a rollout, closed and collected: after the second time
and after the last; and child processes at the end.

"""
ENVIRONMENTS: dict[str, type[VecEnv]] = {"CartPole-v1": DummyVecEnv, "LunarLander-v3": ShardedVecEnv}
LEAKING = "LunarLander-v3"
RESTARTED: dict[str, Callable[..., VecEnv]] = {
    "DummyVecEnv": DummyVecEnv,
    "SubprocVecEnv": SubprocVecEnv,
    "ShardedVecEnv": ShardedVecEnv,
}


def resident_memory() -> int:
    """Measure this process's resident memory.

    Returns:
        Bytes.
    """
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def open_files() -> int:
    """Count this process's open file descriptors.

    Returns:
        Their number.
    """
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


class MemoryEvery(BaseCallback):
    """Measures memory again and again.

    Args:
        interval: Steps between two measurements.
    """

    def __init__(self, interval: int) -> None:
        super().__init__()
        self.interval, self.measured = interval, list[tuple[int, int]]()

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        if self.num_timesteps >= self.interval * (len(self.measured) + 1):
            gc.collect()
            self.measured.append((self.num_timesteps, resident_memory()))


def growth(measured: Sequence[tuple[int, int]]) -> float:
    """Fit a line to memory by steps; the first quarter, in which caches fill, does not count.

    Args:
        measured: Steps and bytes.

    Returns:
        Slope, MiB per million steps.
    """
    points: NDArray[np.float64] = np.array(measured[len(measured) // 4 :], dtype=np.float64)
    return float(np.polyfit(points[:, 0] / 1e6, points[:, 1] / MIB, 1)[0])


def measure_memory(env_id: str, n_steps: int, folder: Path) -> list[tuple[int, int]]:
    """Learn, and measure memory forty times.

    Args:
        env_id: What to learn.
        n_steps: For how long.
        folder: Of the log.

    Returns:
        Steps and bytes.
    """
    callback = MemoryEvery(n_steps // 40)
    env = make_vec_env(env_id, N_ENVS, seed=0, vec_env_cls=ENVIRONMENTS[env_id], env_kwargs={"render_mode": None})
    model = PPOScratch("MlpPolicy", env, n_steps=256, batch_size=256, n_epochs=4, seed=0)
    model.set_logger(configure(str(folder / env_id), ["csv", "tensorboard"]))
    model.learn(n_steps, callback=callback)
    env.close()
    return callback.measured


def measure_alone(env_id: str, n_steps: int) -> list[tuple[int, int]]:
    """Act at random in one environment, and measure memory forty times.

    Args:
        env_id: The environment.
        n_steps: For how long.

    Returns:
        Steps and bytes.
    """
    env, measured = gym.make(env_id), []
    env.action_space.seed(0)
    env.reset(seed=0)
    for step in range(1, n_steps + 1):
        _, _, terminated, truncated, _ = env.step(env.action_space.sample())
        if terminated or truncated:
            env.reset()
        if step % (n_steps // 40) == 0:
            gc.collect()
            measured.append((step, resident_memory()))
    return measured


def memory_row(what: str, measured: Sequence[tuple[int, int]]) -> list[str]:
    """Show measurements.

    Args:
        what: Has been measured.
        measured: Steps and bytes.

    Returns:
        Cells.
    """
    quarter, end = (measured[index][1] / MIB for index in (len(measured) // 4, -1))
    return [what, f"{measured[-1][0]:,}", f"{quarter:.1f}", f"{end:.1f}", f"{growth(measured):+.2f}"]


def restarts(kind: str, n: int) -> Iterator[tuple[int, int]]:
    """Make environments, learn a rollout in them, close them and collect what nobody refers to, again and again.

    Args:
        kind: A key of `RESTARTED`.
        n: How often.

    Yields:
        Open files and living children, after each time.
    """
    start: dict[str, Any] = {} if kind == "DummyVecEnv" else {"start_method": "fork"}
    for _ in range(n):
        env = RESTARTED[kind]([lambda: gym.make("CartPole-v1")] * 2, **start)
        PPOScratch("MlpPolicy", env, n_steps=8, batch_size=16, n_epochs=1, device="cpu").learn(16)
        env.close()
        del env
        gc.collect()
        yield open_files(), count_children()


def count_children() -> int:
    """Count this process's children, those included that have ended and nobody has asked for.

    Returns:
        Their number.
    """
    own = str(os.getpid())
    parents = (_parent_of(path) for path in Path("/proc").iterdir() if path.name.isdigit())
    return sum(parent == own for parent in parents)


def _parent_of(process: Path) -> str:
    """Find a process's parent; empty if it has gone."""
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()[1]
    except OSError:
        return ""


def prove(short: bool, folder: Path) -> Outcome:
    """Measure both.

    Args:
        short: Whether to show only that it runs.
        folder: Where to work.

    Returns:
        The outcome.
    """
    n_steps, n_restarts = (100_000, 10) if short else (2_000_000, 1_000)
    memory, files, holds = [], [], True
    for env_id in ENVIRONMENTS:
        measured = measure_memory(env_id, n_steps, folder)
        holds &= short or growth(measured) < MOST_GROWTH
        memory.append(memory_row(f"learning in {env_id}, {ENVIRONMENTS[env_id].__name__}", measured))
    memory.append(memory_row(f"{LEAKING} alone", measure_alone(LEAKING, n_steps // 4)))
    for kind in RESTARTED:
        counts = list(restarts(kind, n_restarts))
        holds &= counts[-1] <= counts[1]
        files.append([kind, f"{n_restarts:,}", str(counts[1][0]), *map(str, counts[-1])])
    text = MEMORY + table(["what", "steps", "quarter", "end", "MiB per million steps"], memory)
    text += FILES + table(["kind", "restarts", "second", "last", "children"], files)
    return Outcome(text, bool(holds))


if __name__ == "__main__":
    sys.exit(run_proof("leaks", TITLE, prove))
