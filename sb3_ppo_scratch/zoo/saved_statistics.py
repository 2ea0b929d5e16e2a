"""The statistics that rl_zoo3 saves beside a model, `vecnormalize.pkl`, read without unpickling them.

What is here: finding means and variances in the pickle of a `VecNormalize`, and normalising an environment with them.
What is not: how pickles are read as data (`untrusted/inert_pickle.py`).
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from sb3_ppo_scratch.checkpoints.state_kinds import make_moments
from sb3_ppo_scratch.errors import ArgumentError
from sb3_ppo_scratch.untrusted.inert_pickle import AnythingUnknown, Unknown, read_inertly
from sb3_ppo_scratch.untrusted.saved_model import refusing
from sb3_ppo_scratch.zip_members import UnsafeFileError

FLOATS, BYTE_ORDERS = ("f4", "f8"), ("<", ">", "=", "|")


class Moments(NamedTuple):
    """Of one entry of the observations."""

    mean: NDArray[np.float64]
    """Shape (*shape)."""
    var: NDArray[np.float64]
    """Shape (*shape)."""
    n: float
    """How many observations."""


class Statistics(NamedTuple):
    """What a `VecNormalize` needs to normalise observations."""

    moments: dict[str, Moments]
    """By the key of a Dict space, or by the empty name of another space; nothing: observations are left alone."""
    clip_obs: float
    epsilon: float


def read_statistics(path: Path) -> Statistics:
    """Read the statistics.

    Args:
        path: `vecnormalize.pkl`.

    Returns:
        What it holds.

    Raises:
        FileNotFoundError: If there is no such file.
        UnsafeFileError: If it is no such pickle.
    """
    content = path.read_bytes()
    with refusing(path):
        saved = read_inertly(content, AnythingUnknown())
        if not isinstance(saved, Unknown) or not saved.name.endswith(".VecNormalize"):
            raise UnsafeFileError("it holds no VecNormalize")
        state = saved.state
        moments = state["obs_rms"] if state["norm_obs"] else {}
        by_name = moments if isinstance(moments, dict) else {"": moments}
        return Statistics(
            {name: _moments(each.state) for name, each in by_name.items()},
            _number(state["clip_obs"]),
            _number(state["epsilon"]),
        )


def _moments(state: dict[str, Any]) -> Moments:
    """Read one `RunningMeanStd`."""
    return Moments(_array(state["mean"]), _array(state["var"]), _number(state["count"]))


def _number(value: Any) -> float:
    """Read a number, Python's or NumPy's."""
    return float(value) if isinstance(value, int | float) else float(_array(value))


def _array(value: Any) -> NDArray[np.float64]:
    """Read an array, or a scalar, out of what NumPy pickles of it.

    Raises:
        UnsafeFileError: If it is none of floating-point numbers.
    """
    order: Any = "C"
    if value.name.endswith(".scalar"):
        (dtype, data), shape = value.arguments, ()
    elif value.name.endswith("._frombuffer"):  # from protocol 5 on
        data, dtype, shape, order = value.arguments
    else:
        _, shape, dtype, is_fortran, data = value.state
        order = "F" if is_fortran else "C"
    kind, byte_order = dtype.arguments[0], dtype.state[1]
    if kind not in FLOATS or byte_order not in BYTE_ORDERS:
        raise UnsafeFileError("its statistics are no floating-point numbers")
    return np.frombuffer(data, dtype=byte_order + kind).reshape(shape, order=order).astype(np.float64)


def normalized(env: VecEnv, path: Path) -> VecNormalize:
    """Normalise observations as in a run, with its statistics standing still.

    Args:
        env: The environments.
        path: `vecnormalize.pkl`.

    Returns:
        The environments, normalised; rewards are left alone.

    Raises:
        FileNotFoundError: If there is no such file.
        ArgumentError: If it is no such pickle, or does not fit the observations.
    """
    saved = read_statistics(path)
    space, names = env.observation_space, [name for name in saved.moments if name]
    for name, moments in saved.moments.items():
        entry = space.spaces.get(name) if isinstance(space, spaces.Dict) else space
        if entry is None or entry.shape != moments.mean.shape or moments.var.shape != moments.mean.shape:
            raise ArgumentError(
                f"{path} normalises observations of the shape {moments.mean.shape}; those of the environment have "
                f"{getattr(entry, 'shape', None)}."
            )
    normalize = VecNormalize(
        env,
        training=False,
        norm_obs=bool(saved.moments),
        norm_reward=False,
        clip_obs=saved.clip_obs,
        epsilon=saved.epsilon,
        norm_obs_keys=names or None,
    )
    if saved.moments:
        running: Any = {name: make_moments(moments) for name, moments in saved.moments.items()}
        normalize.obs_rms = running if names else running[""]
    return normalize
