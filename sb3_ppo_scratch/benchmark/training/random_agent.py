"""`python -m sb3_ppo_scratch.benchmark.training.random_agent`: a run of an agent that draws its actions.

What is here: playing it on the seeds on which all others are evaluated, and writing that down as they do. What is not:
the others (`evaluation.py`), starting the process (`process.py`).
"""

import argparse
import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from sb3_ppo_scratch.benchmark.training.evaluation import play_on_seeds
from sb3_ppo_scratch.benchmark.training.records import EVALUATIONS_FILE
from sb3_ppo_scratch.safe_writing import write_safely
from sb3_ppo_scratch.zoo.saved_run import make_environments


class RandomAgent:
    """Draws actions from the action space, whatever it sees.

    Args:
        action_space: The space.
        seed: Of what is drawn.
    """

    def __init__(self, action_space: spaces.Space[Any], seed: int) -> None:
        self._space = action_space
        self._space.seed(seed)

    def predict(
        self, _observations: Any, *, episode_start: NDArray[np.bool_], **_others: Any
    ) -> tuple[NDArray[Any], None]:
        """Choose an action for each environment, as SB3's models do.

        Args:
            episode_start: Whose episodes have just begun, shape (n_envs,).

        Returns:
            Actions, shape (n_envs, *action_shape), and no state.
        """
        return np.stack([self._space.sample() for _ in episode_start]), None


def main(arguments: Sequence[str] | None = None) -> None:
    """Play, and write an evaluation before the first step and the same after the last.

    Args:
        arguments: The command line; None: the process's own.
    """
    parser = argparse.ArgumentParser(prog="python -m sb3_ppo_scratch.benchmark.training.random_agent")
    parser.add_argument("--env", required=True, metavar="ID")
    parser.add_argument("--gym-packages", nargs="+", default=(), metavar="NAME")
    parser.add_argument("--folder", required=True, type=Path, help="where to write")
    for name in ("seed", "n-timesteps", "n-episodes", "n-final-episodes", "first-seed"):
        parser.add_argument(f"--{name}", required=True, type=int, metavar="N")
    words = parser.parse_args(arguments)
    for package in words.gym_packages:
        importlib.import_module(package)
    env = make_environments(words.env, None, words.first_seed, n_envs=words.n_episodes, trusted=True)
    agent = RandomAgent(env.action_space, words.seed)
    returns, lengths = play_on_seeds(agent, env, words.first_seed, words.n_final_episodes)
    env.close()
    evaluations = [
        {"steps": steps, "seconds": 0.0, "rollout_seconds": 0.0, "returns": returns, "lengths": lengths}
        for steps in (0, words.n_timesteps)
    ]
    write_safely(words.folder / EVALUATIONS_FILE, json.dumps(evaluations).encode())


if __name__ == "__main__":
    main()
