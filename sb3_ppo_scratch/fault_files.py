"""What is written down when learning has to stop: the numbers that it stopped at.

What is here: naming the arrays of a minibatch or rollout of any form. What is not: writing them, and the checkpoint
beside them (`resumable_run.py`).
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from numpy.typing import NDArray
from stable_baselines3.common.buffers import RolloutBuffer

OF_A_ROLLOUT = ("observations", "actions", "rewards", "episode_starts", "values", "log_probs")
"""Arrays of a buffer that say what has happened."""


def arrays_of(batch: Any, name: str = "") -> dict[str, NDArray[Any]]:
    """Name the arrays of a minibatch.

    Args:
        batch: Named tuples, dicts, arrays and tensors, in each other.
        name: Of the batch itself.

    Returns:
        Arrays by their names, joined by dots; what is none of these is left out.
    """
    if isinstance(batch, th.Tensor):
        return {name: batch.detach().cpu().numpy()}
    if isinstance(batch, np.ndarray):
        return {name: batch}
    if hasattr(batch, "_asdict"):
        batch = batch._asdict()
    if isinstance(batch, dict):
        parts = (arrays_of(each, f"{name}.{key}" if name else str(key)) for key, each in batch.items())
        return {key: array for part in parts for key, array in part.items()}
    return {}


def arrays_of_rollout(buffer: RolloutBuffer, last_observations: Any) -> dict[str, NDArray[Any]]:
    """Name the arrays of a rollout.

    Args:
        buffer: A buffer, full or being filled.
        last_observations: What the environments have returned last, shape (n_envs, *shape), or a dict of such arrays.

    Returns:
        Arrays by name, shape (n_steps, n_envs, ...).
    """
    of_buffer = {name: getattr(buffer, name) for name in OF_A_ROLLOUT}
    return arrays_of({**of_buffer, "last_observations": last_observations})


def choose_folder(wanted: str | Path | None, log_folder: str | None) -> Path:
    """Choose where to write; a new temporary folder if nobody has said.

    Args:
        wanted: What the user says.
        log_folder: That of the log.

    Returns:
        The folder; it exists.
    """
    folder = Path(wanted or log_folder or tempfile.mkdtemp(prefix="sb3_ppo_scratch_"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder
