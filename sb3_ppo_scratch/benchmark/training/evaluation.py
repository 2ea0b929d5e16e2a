"""Looks at a policy while it trains, from inside rl_zoo3's process, and writes down what it sees.

What is here: a callback for any SB3 algorithm; rl_zoo3 takes it by its key `callback`. What is not: starting that
process (`process.py`), reading what was written (`records.py`).
"""

import copy
import json
import time
from pathlib import Path
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecEnv, unwrap_vec_normalize

from sb3_ppo_scratch.benchmark.training.records import EVALUATIONS_FILE
from sb3_ppo_scratch.errors import ArgumentError
from sb3_ppo_scratch.safe_writing import write_safely
from sb3_ppo_scratch.value_checks import check_positive_integer
from sb3_ppo_scratch.zoo.saved_run import make_environments, settings_below


class EvaluationRecorder(BaseCallback):
    """Plays whole episodes on fixed seeds every so many steps, and keeps the time that this takes out of training's.

    It changes nothing for training: it draws no random number of those that training draws, and its environments are
    its own, made with the wrappers and normalisation of rl_zoo3's run.

    Args:
        folder: Where rl_zoo3 logs (`-f`), a folder of this run alone; what is seen is written there at the end.
        every: Steps from one evaluation to the next; the first is before the first step, the last after the last.
        n_episodes: Episodes of an evaluation, played side by side.
        n_final_episodes: Episodes of the last one, a multiple of that.
        first_seed: Seed of the first episode; the others follow.
        verbose: 1: print each evaluation.
    """

    def __init__(
        self,
        folder: str,
        every: int,
        n_episodes: int = 20,
        n_final_episodes: int = 100,
        first_seed: int = 1_000_000,
        verbose: int = 0,
    ) -> None:
        """Check and store the arguments.

        Raises:
            ValueError: If a number is too small, or `n_final_episodes` is no multiple of `n_episodes`.
            TypeError: If an argument has a wrong type.
        """
        super().__init__(verbose)
        for name, value in (("every", every), ("n_episodes", n_episodes), ("n_final_episodes", n_final_episodes)):
            check_positive_integer(name, value, remedy="20 is usual for episodes, 5000 for steps")
        if n_final_episodes % n_episodes:
            raise ArgumentError(
                f"`n_final_episodes={n_final_episodes}` must be a multiple of `n_episodes={n_episodes}`."
            )
        self.folder, self.every, self.first_seed = Path(folder), every, first_seed
        self.n_episodes, self.n_final_episodes = n_episodes, n_final_episodes
        self.evaluations: list[dict[str, Any]] = []
        self._env: VecEnv | None = None
        self._started = self._paused = self._collected = self._rollout_began = 0.0
        self._next = 0

    def _on_training_start(self) -> None:
        """Start the clock, and look at the policy before it has learned anything."""
        self._started, self._paused, self._next = time.process_time(), 0.0, self.num_timesteps + self.every
        self._collected = 0.0
        self._evaluate(self.n_episodes)

    def _on_rollout_start(self) -> None:
        """Start the clock of collecting experience."""
        self._rollout_began = self._seconds(time.process_time())

    def _on_rollout_end(self) -> None:
        """Stop that clock."""
        self._collected += self._seconds(time.process_time()) - self._rollout_began

    def _seconds(self, now: float) -> float:
        """Seconds trained until a point of time."""
        return now - self._started - self._paused

    def _on_step(self) -> bool:
        """Look at the policy if it is time.

        Returns:
            True: training goes on.
        """
        if self.num_timesteps >= self._next:
            self._next += self.every * ((self.num_timesteps - self._next) // self.every + 1)
            self._evaluate(self.n_episodes)
        return True

    def _on_training_end(self) -> None:
        """Look at the last policy, and write everything down; once, though rl_zoo3 calls it twice."""
        if self._env is None:
            return
        self._evaluate(self.n_final_episodes)
        self._env.close()
        self._env = None
        write_safely(self.folder / EVALUATIONS_FILE, json.dumps(self.evaluations).encode())

    def _evaluate(self, n_episodes: int) -> None:
        """Play episodes while the clock stands still."""
        began = time.process_time()
        if self._env is None:
            self._env = self._make_env()
        normalizer, own = self.model.get_vec_normalize_env(), unwrap_vec_normalize(self._env)
        if normalizer is not None and own is not None:
            own.obs_rms = copy.deepcopy(normalizer.obs_rms)
        returns, lengths = play_on_seeds(self.model, self._env, self.first_seed, n_episodes)
        self.evaluations.append(
            {
                "steps": self.num_timesteps,
                "seconds": self._seconds(began),
                "rollout_seconds": self._collected,
                "returns": returns,
                "lengths": lengths,
            }
        )
        if self.verbose >= 1:
            print(f"{self.num_timesteps} steps: mean return {sum(returns) / n_episodes:.1f} over {n_episodes} episodes")
        self._paused += time.process_time() - began

    def _make_env(self) -> VecEnv:
        """Make environments like those of training, from what rl_zoo3 has written about the run.

        Raises:
            FileNotFoundError: If rl_zoo3 has written no settings there, or those of several runs.
        """
        settings = [found for run in self.folder.glob("*/*") for found in settings_below(run)]
        if len(settings) != 1:
            raise FileNotFoundError(
                f"`folder={str(self.folder)!r}` must hold the settings of this one run of rl_zoo3, not of "
                f"{len(settings)}."
            )
        normalizer = self.model.get_vec_normalize_env()
        if normalizer is not None:
            normalizer.save(str(settings[0] / "vecnormalize.pkl"))  # rl_zoo3 writes the same file at the end
        return make_environments(settings[0].name, settings[0], self.first_seed, n_envs=self.n_episodes, trusted=True)


def play_on_seeds(model: Any, env: VecEnv, first_seed: int, n_episodes: int) -> tuple[list[float], list[int]]:
    """Play whole episodes with a policy's most likely actions, one per seed.

    Args:
        model: Has SB3's `predict`.
        env: Environments that `Monitor` watches from inside their wrappers; `n_episodes` is a multiple of their number.
        first_seed: Seed of the first episode; the others follow.
        n_episodes: How many.

    Returns:
        Returns in the environments' own units, and lengths in steps; both in the order in which episodes ended.
    """
    returns: list[float] = []
    lengths: list[int] = []
    for start in range(0, n_episodes, env.num_envs):
        env.seed(first_seed + start)
        played = evaluate_policy(model, env, n_eval_episodes=env.num_envs, return_episode_rewards=True)
        assert isinstance(played[0], list)
        assert isinstance(played[1], list)
        returns += map(float, played[0])
        lengths += map(int, played[1])
    return returns, lengths
