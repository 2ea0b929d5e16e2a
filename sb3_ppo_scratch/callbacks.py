"""Callbacks for any SB3 algorithm.

What is here: the end of a run that has reached its goal. What is not: SB3's own callbacks.
"""

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback

from sb3_ppo_scratch.argument_checks import check_finite, check_positive_integer


class StopWhenSolved(BaseCallback):
    """Ends training once the mean return of the last episodes reaches a threshold.

    Returns are those of SB3's `Monitor`, in the environment's own units if that stands inside all wrappers that change
    rewards, as rl_zoo3 and `make_vec_env` place it. No evaluation episodes are needed. In a hyperparameter file of
    rl_zoo3: `callback: [{sb3_ppo_scratch.callbacks.StopWhenSolved: {threshold: 195}}]`.

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

    def _on_step(self) -> bool:
        """Look at the episodes that have ended with this step.

        Returns:
            False once the threshold is reached.
        """
        for info in self.locals["infos"]:
            if "episode" in info:
                self._returns.append(float(info["episode"]["r"]))
        del self._returns[: -self.n_episodes]
        if len(self._returns) < self.n_episodes or np.mean(self._returns) < self.threshold:
            return True
        if self.verbose >= 1:
            print(
                f"Solved: mean return {np.mean(self._returns):.1f} over the last {self.n_episodes} episodes "
                f"after {self.num_timesteps} steps"
            )
        return False
