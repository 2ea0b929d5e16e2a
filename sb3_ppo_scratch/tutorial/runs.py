"""Trains with many seeds, several processes at a time, and keeps what a figure needs.

What is here: plain `learn` calls in a pool of processes, and what happened in them. What is not: figures
(`drawing.py`); runs through rl_zoo3 with the times that they take (`benchmark/training`).
"""

import functools
import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import gymnasium
import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from sb3_ppo_scratch.torch_threads import threads_restored, use_threads
from sb3_ppo_scratch.value_checks import check_positive_integer
from sb3_ppo_scratch.vec_env.cores import available_cores

Item = TypeVar("Item")
Result = TypeVar("Result")

FIRST_EVALUATION_SEED = 1_000_000
"""Training uses small seeds, playing afterwards those from here on."""
NOT_RENDERED = {"render_mode": None}
"""SB3 has environments made for rendering unless told otherwise; LunarLander then simulates the sparks of its engines,
which takes several times as long as the flight."""
UPDATE_FIGURES = "train/"
"""What the logged figures of an update begin with."""


@dataclass(frozen=True)
class Variant:
    """One way to learn one thing.

    Args:
        algorithm: The algorithm's class.
        env_id: The environment.
        n_timesteps: Steps of a run, over all environments.
        arguments: The algorithm's arguments, beside policy, environment and seed.
        policy: The policy's name.
        n_envs: Environments side by side.
        wrapper: Put around each environment while training; None: nothing.
    """

    algorithm: type[OnPolicyAlgorithm]
    env_id: str
    n_timesteps: int
    arguments: Mapping[str, Any] = field(default_factory=dict, hash=False)
    policy: str = "MlpPolicy"
    n_envs: int = 8
    wrapper: Callable[[gymnasium.Env[Any, Any]], gymnasium.Env[Any, Any]] | None = None


class Episode(NamedTuple):
    """An episode that was played after training."""

    total: float
    """Its return, undiscounted, in the environment's own units."""
    length: int
    """Its steps."""
    last_reward: float
    """The reward of its last step."""
    truncated: bool
    """Whether it ended by the time limit."""


class SeedRun(NamedTuple):
    """What happened in one run."""

    seed: int
    """The seed."""
    steps: NDArray[np.int64]
    """When each training episode ended, in steps over all environments, shape (episodes,)."""
    returns: NDArray[np.float64]
    """The return of each, in the environment's own units, shape (episodes,)."""
    updates: dict[str, NDArray[np.float64]]
    """Numbers that updates logged, by name without `train/`; NaN where one logged nothing, shape (updates,)."""
    played: list[Episode]
    """Episodes with the final policy's most likely actions."""


def for_each(function: Callable[[Item], Result], items: Sequence[Item], *, jobs: int | None = None) -> list[Result]:
    """Call a function with each item, in several processes, each of which computes on one core.

    Args:
        function: What to call. It is sent to other processes: it, and what it is given, must be importable.
        items: With what, for example seeds.
        jobs: Processes at a time; None: one per core; 1: this process.

    Returns:
        What it returned, in the order of the items.

    Raises:
        ValueError: If `jobs` is no positive number.
    """
    if jobs is not None:
        check_positive_integer("jobs", jobs, remedy="None means one per core")
    if jobs == 1:
        with threads_restored():
            use_threads(1)
            return [function(item) for item in items]
    pool = ProcessPoolExecutor(jobs or available_cores(), multiprocessing.get_context("spawn"), use_threads, (1,))
    try:
        return list(pool.map(function, items))
    finally:
        pool.shutdown(cancel_futures=True)


def train_with_seeds(
    variants: Mapping[str, Variant],
    seeds: Sequence[int],
    *,
    n_played: int = 0,
    jobs: int | None = None,
    folder: Path | None = None,
) -> dict[str, list[SeedRun]]:
    """Train every variant with every seed.

    Args:
        variants: What to train, by title. They are sent to other processes: classes and functions must be importable.
        seeds: With which seeds.
        n_played: Episodes to play with each final policy, the same ones for all.
        jobs: Processes at a time; None: one per core; 1: this process.
        folder: Where each final model is saved as `TITLE/SEED.zip`; None: nowhere.

    Returns:
        The runs of each variant, in the order of the seeds.

    Raises:
        ValueError: If `jobs` is no positive number.
    """
    pairs = [(title, seed) for title in variants for seed in seeds]
    runs = for_each(functools.partial(_train_pair, variants, n_played, folder), pairs, jobs=jobs)
    return {title: [run for (of, _), run in zip(pairs, runs, strict=True) if of == title] for title in variants}


def _train_pair(
    variants: Mapping[str, Variant], n_played: int, folder: Path | None, title_and_seed: tuple[str, int]
) -> SeedRun:
    """Train one variant with one seed."""
    title, seed = title_and_seed
    return train_once(variants[title], seed, n_played, folder and folder / title / f"{seed}.zip")


def train_once(variant: Variant, seed: int, n_played: int, path: Path | None) -> SeedRun:
    """Train once, in this process.

    Args:
        variant: What.
        seed: Of everything random.
        n_played: Episodes to play with the final policy.
        path: Where the model is saved; None: nowhere.

    Returns:
        What happened.
    """
    env = make_vec_env(
        variant.env_id, variant.n_envs, seed=seed, wrapper_class=variant.wrapper, env_kwargs=NOT_RENDERED
    )
    model = variant.algorithm(variant.policy, env, seed=seed, device="cpu", **variant.arguments)
    recorder = RunRecorder()
    model.learn(variant.n_timesteps, callback=recorder)
    env.close()
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        model.save(path)
    played = play(model, variant.env_id, n_played) if n_played else []
    return SeedRun(
        seed, np.array(recorder.steps, np.int64), np.array(recorder.returns), recorder.updates_by_name(), played
    )


class RunRecorder(BaseCallback):
    """Writes down every episode and what every update logged."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[int] = []
        self.returns: list[float] = []
        self.updates: list[dict[str, float]] = []

    def _on_step(self) -> bool:
        """Write down the episodes that ended with this step.

        Returns:
            True: training goes on.
        """
        for info in self.locals["infos"]:
            if "episode" in info:
                self.steps.append(self.num_timesteps)
                self.returns.append(float(info["episode"]["r"]))
        return True

    def _on_rollout_start(self) -> None:
        """Write down what the last update logged."""
        self._look()

    def _on_training_end(self) -> None:
        """Write down what the very last update logged."""
        self._look()

    def _look(self) -> None:
        """Read the logger's figures, of which there are none before the first update."""
        logged: Mapping[str, Any] = self.logger.name_to_value
        figures = {
            name.removeprefix(UPDATE_FIGURES): float(value)
            for name, value in logged.items()
            if name.startswith(UPDATE_FIGURES) and not isinstance(value, str)
        }
        if figures:
            self.updates.append(figures)

    def updates_by_name(self) -> dict[str, NDArray[np.float64]]:
        """Turn what updates logged into an array per name.

        Returns:
            By name; NaN where an update did not log it, shape (updates,) each.
        """
        names = dict.fromkeys(name for update in self.updates for name in update)
        return {name: np.array([update.get(name, np.nan) for update in self.updates]) for name in names}


def play(model: OnPolicyAlgorithm, env_id: str, n_episodes: int, n_envs: int = 10) -> list[Episode]:
    """Play whole episodes with a policy's most likely actions, always the same ones.

    Args:
        model: The policy's algorithm.
        env_id: The environment; nothing is wrapped around it but what Gymnasium and `Monitor` do.
        n_episodes: How many.
        n_envs: Environments side by side, at most.

    Returns:
        The episodes, in the order in which they ended.
    """
    env = make_vec_env(env_id, min(n_envs, n_episodes), seed=FIRST_EVALUATION_SEED, env_kwargs=NOT_RENDERED)
    played: list[Episode] = []
    evaluate_policy(model, env, n_episodes, callback=functools.partial(_keep_episode, played))
    env.close()
    return played


def _keep_episode(played: list[Episode], local: dict[str, Any], _: dict[str, Any]) -> None:
    """Keep an episode that has just ended; a callback of `evaluate_policy`."""
    if local["done"]:
        info = local["info"]
        total, length = float(info["episode"]["r"]), int(info["episode"]["l"])
        played.append(Episode(total, length, float(local["reward"]), bool(info.get("TimeLimit.truncated", False))))
