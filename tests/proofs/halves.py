"""One process of the proof that two halves are a whole: a run undisturbed, its first half, or its second half.

What is here: `python -m tests.proofs.halves PART FOLDER TOTAL ENVIRONMENT VEC_ENV UPDATE KL_MODE`. What is not:
starting the three processes, and comparing what they leave (`resume.py`).
"""

import multiprocessing
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import configure
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv

from sb3_ppo_scratch import PPOScratch
from sb3_ppo_scratch.argument_checks import KlMode, UpdateName
from sb3_ppo_scratch.vec_env import ShardedVecEnv

WHOLE, FIRST, SECOND = "whole", "first", "second"
PARTS = (WHOLE, FIRST, SECOND)
N_ENVS, N_STEPS, SEED = 8, 128, 1
TARGET_KL = 0.01
VEC_ENVS: dict[str, Any] = {each.__name__: each for each in (DummyVecEnv, ShardedVecEnv, SubprocVecEnv)}
BOUNDARY = "LunarLander"
"""Begins the ids of environments whose state cannot be read, so that a checkpoint begins all episodes anew."""


class Case(NamedTuple):
    """What a run is made of."""

    env_id: str
    vec_env: str
    """A key of `VEC_ENVS`."""
    update: UpdateName
    kl_mode: KlMode


class HalfWay(BaseCallback):
    """Asks for a checkpoint at one step, and ends the run there, or does not.

    Args:
        at: The step of each environment; 0: never.
        path: The checkpoint.
        stops: Whether the run ends.
    """

    def __init__(self, at: int, path: Path, *, stops: bool) -> None:
        super().__init__()
        self.at, self.path, self.stops = at, path, stops

    def _on_step(self) -> bool:
        if self.n_calls != self.at:
            return True
        cast(PPOScratch, self.model).save_checkpoint(self.path)
        return not self.stops


def run_part(part: str, folder: Path, total: int, case: Case) -> None:
    """Run one of the three, and leave its log and, at the end, its model in the folder.

    Args:
        part: One of `PARTS`.
        folder: Where the parts of one case lie; each has a folder of its own in it for the log.
        total: Steps of the whole.
        case: What it is made of.
    """
    checkpoint = folder / "half.zip"
    saves = part != WHOLE or case.env_id.startswith(BOUNDARY)
    callback = HalfWay(total // 2 // N_ENVS if saves else 0, checkpoint, stops=part != WHOLE)
    env = make_vec_env(
        case.env_id, N_ENVS, seed=SEED, vec_env_cls=VEC_ENVS[case.vec_env], env_kwargs={"render_mode": None}
    )
    model = PPOScratch.load_checkpoint(checkpoint, env=env, device="cpu") if part == SECOND else make_model(case, env)
    model.set_logger(configure(str(folder / part), ["csv"]))
    if part == SECOND:
        model.resume(callback)
    else:
        model.learn(total, callback)
    model.save(folder / f"{part}.zip")
    env.close()


def make_model(case: Case, env: VecEnv) -> PPOScratch:
    """Make the model that a run begins with; its learning rate and clip range fall linearly.

    Args:
        case: What the run is made of.
        env: Its environments.

    Returns:
        The model.
    """
    return PPOScratch(
        "MlpPolicy",
        env,
        learning_rate=LinearSchedule(2e-3, 0.0, 1.0),
        clip_range=LinearSchedule(0.3, 0.05, 1.0),
        n_steps=N_STEPS,
        batch_size=512,
        n_epochs=4,
        seed=SEED,
        device="cpu",
        update=case.update,
        kl_mode=case.kl_mode,
        target_kl=None if case.kl_mode == "none" else TARGET_KL,
    )


def main(arguments: Sequence[str]) -> None:
    """Run the command.

    Args:
        arguments: The command line.
    """
    part, folder, total, *case = arguments
    multiprocessing.set_forkserver_preload(["sb3_ppo_scratch.vec_env"])
    warnings.simplefilter("error", UserWarning)  # a run that goes on otherwise than it began says so
    run_part(part, Path(folder), int(total), Case(*case))  # type: ignore[arg-type]


if __name__ == "__main__":
    main(sys.argv[1:])
