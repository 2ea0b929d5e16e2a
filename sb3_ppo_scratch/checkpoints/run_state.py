"""The state of a run between two steps, read from an algorithm and written into another.

What is here: everything that an algorithm keeps beyond what SB3 saves with a model. What is not: the single parts
(`environment_states.py`, `callback_states.py`, `random_states.py`, `made_with.py`), the file (`checkpoint_file.py`),
and when this is done (`resumable_run.py`).
"""

from collections import deque
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger

from sb3_ppo_scratch.checkpoints.callback_states import read_callbacks, write_callbacks
from sb3_ppo_scratch.checkpoints.environment_states import (
    begin_anew,
    read_environments,
    read_what_answers,
    warn_of_losses,
    write_environments,
)
from sb3_ppo_scratch.checkpoints.random_states import read_random_states, write_random_states
from sb3_ppo_scratch.checkpoints.state_tree import State, is_state
from sb3_ppo_scratch.checkpoints.tensorboard_log import log_folder

COUNTERS = (
    "num_timesteps",
    "_total_timesteps",
    "_n_updates",
    "_episode_num",
    "_current_progress_remaining",
    "_iteration",
    "_log_interval",
)
"""Attributes of every algorithm that say how far the run is."""
EPISODES = ("ep_info_buffer", "ep_success_buffer")
"""What the log's means are taken over."""
NOISE = ("exploration_mat", "exploration_matrices")
"""gSDE's noise, which is drawn for many steps at a time."""
PENDING = ("name_to_value", "name_to_count", "name_to_excluded")
"""What the logger has recorded and not yet written."""


def read_run(model: Any, callback: BaseCallback | None, seed: int | None, *, may_be_lost: bool = False) -> State:
    """Read the state of a run, and say once what its environments keep and no checkpoint holds.

    Args:
        model: The algorithm, between two steps.
        callback: The outermost callback; None: there has been none.
        seed: If the environments cannot be read: of the episodes that now begin.
        may_be_lost: Whether environments may not answer any more.

    Returns:
        The state.
    """
    if not may_be_lost:
        warn_of_losses(model.env)
    return {
        "made_with": model._made_with,
        "log_folder": log_folder(model),
        "counters": {name: getattr(model, name) for name in COUNTERS},
        "episodes": {name: [each for each in getattr(model, name) if is_state(each)] for name in EPISODES},
        "environments": read_what_answers(model.env) if may_be_lost else read_environments(model.env),
        "seed": seed,
        "last_observations": None if seed is not None else model._last_obs,
        "last_episode_starts": model._last_episode_starts,
        "noise": [getattr(model.policy.action_dist, name) for name in NOISE] if model.use_sde else None,
        "rollout": model.read_rollout(),
        "log": {name: _recorded(model.logger, name) for name in PENDING},
        **read_companions(callback),
    }


def read_companions(callback: BaseCallback | None) -> State:
    """Read what is outside the algorithm, and is touched when a run is set up again.

    Args:
        callback: The outermost callback; None: there has been none.

    Returns:
        The state of callbacks and random generators.
    """
    return {"callbacks": [] if callback is None else read_callbacks(callback), "random": read_random_states()}


def write_companions(callback: BaseCallback, state: State) -> None:
    """Set it; the random generators last.

    Args:
        callback: The outermost callback.
        state: What `read_companions` has read.
    """
    write_callbacks(callback, state["callbacks"])
    write_random_states(state["random"])


def _recorded(logger: Logger, name: str) -> dict[str, State]:
    """Read what the logger holds, without pictures and the like."""
    return {key: value for key, value in getattr(logger, name).items() if is_state(value)}


def write_run(model: Any, callback: BaseCallback, state: State) -> None:
    """Bring a run to where another was; the random generators last, but for what began anew after they were read.

    Args:
        model: A loaded algorithm, whose run has been set up.
        callback: The outermost callback.
        state: What `read_run` has read.
    """
    vars(model).update({name: value for name, value in state["counters"].items() if name in COUNTERS})
    for name in EPISODES:
        setattr(model, name, deque(state["episodes"][name], maxlen=getattr(model, name).maxlen))
    write_environments(model.env, state["environments"])
    model._last_obs, model._last_episode_starts = state["last_observations"], state["last_episode_starts"]
    for name, noise in zip(NOISE, state["noise"] or (), strict=False):
        setattr(model.policy.action_dist, name, noise.to(model.device))
    model.write_rollout(state["rollout"])
    for name in PENDING:
        getattr(model.logger, name).update(state["log"][name])
    write_companions(callback, state)
    if state["seed"] is not None:
        model._last_obs = begin_anew(model.env, state["seed"])


def draw_seed() -> int:
    """Draw the seed of the episodes that begin at a checkpoint, from the run's own stream.

    Returns:
        It.
    """
    return int(np.random.randint(2**31 - 1))
