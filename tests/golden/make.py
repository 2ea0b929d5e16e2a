"""`python -m tests.golden.make VERSION`: writes the files of a release, once, when it is made.

A model, a checkpoint from the middle of a run, an observation normaliser's statistics, and what they have to give.
Files of versions that are released are never written again; those of one that is not are, when its format changes.
"""

import json
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import gymnasium as gym
import numpy as np
from stable_baselines3.common.callbacks import CallbackList, ConvertCallback, EveryNTimesteps
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from sb3_ppo_scratch import PPOScratch
from sb3_ppo_scratch.wrappers import NormalizeObservation

FOLDER = Path(__file__).parent
TOTAL, SAVED_AT = 128, 72


def make_env() -> VecEnv:
    """Environments whose state can be read, with statistics around them."""
    return VecNormalize(make_vec_env("Pendulum-v1", 2, seed=1))


def make_callback(path: Path | None) -> CallbackList:
    """What saves a checkpoint in the middle of the second rollout; None: nothing does."""

    def save(local: dict[str, Any], _: dict[str, Any]) -> bool:
        if path is not None and local["self"].num_timesteps == SAVED_AT:
            local["self"].save_checkpoint(path)
        return True

    return CallbackList([EveryNTimesteps(SAVED_AT, ConvertCallback(save))])


def predict(model: PPOScratch, observations: np.ndarray) -> list[list[float]]:
    """Say what a model does."""
    actions, _ = model.predict(observations, deterministic=True)
    return [list(map(float, action)) for action in actions]


def make_model() -> PPOScratch:
    """A model small enough to be kept for ever, without functions that a file would have to hold."""
    settings: dict[str, Any] = {"n_steps": 32, "batch_size": 32, "n_epochs": 2, "policy_kwargs": {"net_arch": [8]}}
    return PPOScratch("MlpPolicy", make_env(), seed=1, device="cpu", **settings)


def write(folder: Path) -> None:
    """Write everything.

    Args:
        folder: Where; it is made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model = make_model().learn(TOTAL, callback=make_callback(folder / "checkpoint.zip"))
    model.save(folder / "model.zip")
    observations = np.random.default_rng(0).uniform(-1, 1, (8, 3)).astype(np.float32)
    env = NormalizeObservation(gym.make("Pendulum-v1"))
    env.reset(seed=1)
    for _ in map(env.step, [np.zeros(1, np.float32)] * 10):
        pass
    env.save(folder / "moments.npz")
    expected = {
        "python": list(sys.version_info[:2]),
        "observations": observations.tolist(),
        "actions": predict(model, observations),
        "mean": env.mean.tolist(),
        "std": env.std.tolist(),
    }
    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    with mock.patch("platform.platform", return_value="any"), mock.patch("platform.version", return_value=""):
        write(FOLDER / sys.argv[1])  # SB3 names the machine in its zip otherwise
