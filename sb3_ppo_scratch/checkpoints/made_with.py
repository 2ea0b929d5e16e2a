"""What a run was made with: a run that goes on with something else is refused, or warned of.

What is here: the record of environments, algorithm, device, threads and versions, and comparing two. What is not: how
the environments are wrapped, which is compared where their state is written (`environment_states.py`).
"""

import platform
import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import stable_baselines3
import torch as th

from sb3_ppo_scratch import __version__
from sb3_ppo_scratch.checkpoints.environment_states import name_environments
from sb3_ppo_scratch.checkpoints.state_tree import State
from sb3_ppo_scratch.errors import ArgumentError

VERSIONED = (stable_baselines3, th, np, gym)
ENVIRONMENTS = "environments"


def read_record(model: Any) -> State:
    """Record what a run is made with.

    Args:
        model: The algorithm, with its environments.

    Returns:
        Each thing by name, in words or numbers.
    """
    return {
        ENVIRONMENTS: f"{model.n_envs} of {name_environments(model.env)}",
        "algorithm": type(model).__name__,
        "device": str(model.device),
        "torch threads": model.count_threads(),
        "sb3_ppo_scratch": __version__,
        "Python": platform.python_version(),
        **{module.__name__: str(module.__version__) for module in VERSIONED},
    }


def check_record(model: Any, record: State) -> None:
    """Compare what a run was made with to what it would go on with.

    Args:
        model: The algorithm that would go on.
        record: The run's.

    Raises:
        ArgumentError: If the environments are others, or more or fewer.
    """
    now = read_record(model)
    if now[ENVIRONMENTS] != record[ENVIRONMENTS]:
        raise ArgumentError(f"`env` is {now[ENVIRONMENTS]}, the run's was {record[ENVIRONMENTS]}; make it as that.")
    others = [f"{name} {now[name]} (was {before})" for name, before in record.items() if now[name] != before]
    if others:
        warnings.warn(f"The run goes on with {', '.join(others)}: equality bit for bit is not promised.", stacklevel=3)
