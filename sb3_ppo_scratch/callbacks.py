"""Callbacks for any SB3 algorithm.

What is here: the end of a run that has reached its goal, and checkpoints from which a run goes on. What is not: SB3's
own callbacks.
"""

import functools
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecMonitor, is_vecenv_wrapped

from sb3_ppo_scratch.checkpoints.folder import PREFIX, checkpoint_path, thin_out
from sb3_ppo_scratch.errors import ArgumentTypeError
from sb3_ppo_scratch.value_checks import check_finite, check_positive_integer


class StopWhenSolved(BaseCallback):
    """Ends training once the mean return of the last episodes reaches a threshold.

    Returns are those of SB3's `Monitor`, in the environment's own units if that stands inside all wrappers that change
    rewards, as rl_zoo3 and `make_vec_env` place it. No evaluation episodes are needed. Every `learn` counts its own
    episodes only. In a hyperparameter file of rl_zoo3, such as `ladder/stop_when_solved.yml`:
    `callback: [{sb3_ppo_scratch.callbacks.StopWhenSolved: {threshold: 195}}]`.

    Args:
        threshold: The mean return to be reached.
        n_episodes: Episodes that it is averaged over; fewer are not enough.
        verbose: 1: say so when it happens.

    Example:
        >>> from sb3_ppo_scratch import ReinforceScratch
        >>> from sb3_ppo_scratch.callbacks import StopWhenSolved
        >>> model = ReinforceScratch("MlpPolicy", "CartPole-v1", seed=0)
        >>> model = model.learn(100_000, callback=StopWhenSolved(threshold=15, n_episodes=5))
        >>> model.num_timesteps < 1000
        True
    """

    def __init__(self, threshold: float, n_episodes: int = 100, verbose: int = 0) -> None:
        super().__init__(verbose)
        check_finite("threshold", threshold)
        check_positive_integer("n_episodes", n_episodes, remedy="100 is usual")
        self.threshold, self.n_episodes = threshold, n_episodes
        self._returns: list[float] = []
        self._looked_for_monitor = False

    def _on_training_start(self) -> None:
        """Forget the episodes of an earlier run."""
        self._returns, self._looked_for_monitor = [], False

    def _on_step(self) -> bool:
        """Look at the episodes that have ended with this step.

        Returns:
            False once the threshold is reached.
        """
        for done, info in zip(self.locals["dones"], self.locals["infos"], strict=True):
            if "episode" in info:
                self._returns.append(float(info["episode"]["r"]))
            elif done and not self._returns:
                self._warn_without_monitor()
        del self._returns[: -self.n_episodes]
        if len(self._returns) < self.n_episodes or np.mean(self._returns) < self.threshold:
            return True
        if self.verbose >= 1:
            print(
                f"Solved: mean return {np.mean(self._returns):.1f} over the last {self.n_episodes} episodes "
                f"after {self.num_timesteps} steps"
            )
        return False

    def _warn_without_monitor(self) -> None:
        """Warn that nothing reports returns, unless a `Monitor` will: where a life is lost, the game may go on."""
        if self._looked_for_monitor:
            return
        self._looked_for_monitor = True
        env = self.training_env
        if not is_vecenv_wrapped(env, VecMonitor) and not any(env.env_is_wrapped(Monitor)):
            warnings.warn(
                "StopWhenSolved has seen an episode end without its return, so training will never count as solved: "
                "wrap each environment in stable_baselines3.common.monitor.Monitor, or the VecEnv in VecMonitor.",
                stacklevel=2,
            )


class SaveCheckpoints(BaseCallback):
    """Writes checkpoints from which a run goes on as if nothing had happened (`PPOScratch.load_checkpoint`).

    Each is a model's file, too, with the name that SB3's `CheckpointCallback` gives it. If one cannot be written (the
    disk is full, say), that is said, and training goes on.

    Args:
        save_freq: Calls, which are steps of each environment, from one to the next.
        save_path: Where they go; the folder is made.
        name_prefix: Begins their names.
        keep: How many stay; of older ones that this run has written only the model is kept.
        verbose: 1: say so each time.
    """

    def __init__(
        self, save_freq: int, save_path: str | Path, name_prefix: str = PREFIX, keep: int = 3, verbose: int = 0
    ) -> None:
        """Check and store the arguments.

        Raises:
            ValueError: If a number is too small.
            TypeError: If it is no integer.
        """
        super().__init__(verbose)
        check_positive_integer("save_freq", save_freq, remedy="10000 is usual")
        check_positive_integer("keep", keep, remedy="3 is usual")
        self.save_freq, self.save_path, self.name_prefix, self.keep = save_freq, Path(save_path), name_prefix, keep
        self._written: list[Path] = []

    def _init_callback(self) -> None:
        """Check that the model can write checkpoints.

        Raises:
            ArgumentTypeError: If it is no algorithm of this project.
        """
        if not hasattr(self.model, "save_checkpoint"):
            raise ArgumentTypeError(f"{type(self.model).__name__} writes no checkpoints; PPOScratch does.")

    def _on_step(self) -> bool:
        """Have one written, at the end of this step, if it is time.

        Returns:
            True: training goes on.
        """
        if self.n_calls % self.save_freq == 0:
            model: Any = self.model
            model.do_between_steps(functools.partial(self.save, model))
        return True

    def save(self, model: Any) -> None:
        """Write one.

        Args:
            model: The algorithm.
        """
        path = checkpoint_path(self.save_path, model.num_timesteps, self.name_prefix)
        try:
            model.save_checkpoint(path)
            self._written = [*self._written, path][-self.keep - 1 :]
            thin_out(self._written, self.keep)
        except OSError as error:
            warnings.warn(f"{path} could not be written ({error}); training goes on.", stacklevel=2)
        else:
            if self.verbose >= 1:
                print(f"Saving a checkpoint to {path}")
