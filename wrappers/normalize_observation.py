"""Normalises observations.

Here: `NormalizeObservation`, with fixed or with running statistics, and the guard against statistics that differ
between environments without anyone noticing. Not here: the statistics themselves (`running_moments`), and
normalisation of rewards.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import sys
import warnings
from collections.abc import Mapping
from types import FrameType
from typing import Any
from weakref import WeakSet

import gymnasium as gym
import numpy as np
from gymnasium.core import ActType
from gymnasium.spaces import Box
from gymnasium.utils import RecordConstructorArgs
from numpy.typing import ArrayLike, NDArray

from ._checks import as_finite_array, as_positive_number
from .running_moments import RunningMoments

_REMEDY = (
    "Let PPOScratch normalise inside the policy (normalize_observations=True), or use SB3's VecNormalize, or share one "
    "RunningMoments of this process between all environments (moments=), or read saved statistics (stats_path=)"
)

_MIN_STD = 1e-4

# How an environment's spec, and hence JSON, records running statistics.
_VALUES = ("count", "mean", "var", "frozen")

# All living wrappers with running statistics, to find out whether somebody else normalises differently.
_RUNNING: WeakSet[NormalizeObservation[Any]] = WeakSet()


class NormalizeObservation(
    gym.ObservationWrapper[NDArray[np.float32], ActType, NDArray[Any]],
    RecordConstructorArgs,
):
    """Subtracts a mean from each observation, divides by a standard deviation, and clips to [-clip, clip].

    **Fixed mode** (`mean` and `std` given) has no state: training, evaluation and a saved agent's `enjoy` see the same.
    From an rl_zoo3 YAML file::

        env_wrapper:
          - sb3_ppo_scratch.wrappers.NormalizeObservation:
              mean: [0.0, 0.0, 0.0, 0.0]
              std: [1.0, 0.5, 0.1, 0.5]

    **Running mode** (neither given) learns both from the observations. A policy is worth nothing without the statistics
    that it was trained with, so every environment must use the same ones, also in evaluation and after loading:

    - One environment in a plain Gymnasium script keeps its own statistics; `freeze` and `save` them.
    - Several environments of one process share one object: `moments=RunningMoments(shape)`. An evaluation environment
      shares it too and calls `freeze()`, which stops only its own updates.
    - A file that `save` wrote is read with `stats_path=`: frozen, hence safe everywhere, also in rl_zoo3 and
      SubprocVecEnv.

    Statistics that differ between environments are never silent. The first `reset` raises if rl_zoo3 built the wrapper
    with statistics of its own, whatever the number of environments: evaluation and, in a later process, `enjoy` would
    start from nothing; and if frozen statistics have seen nothing. It warns about

    - statistics of its own beside another living wrapper with the same observation space and other statistics;
    - statistics of its own in a worker process;
    - a shared object that was copied into another process.

    A copied or unpickled wrapper, or one that `gym.make` rebuilt from a spec, counts as one with statistics of its own.
    In all these cases use fixed mode, a file, PPOScratch's `normalize_observations=True` or SB3's `VecNormalize`.

    Observations become float32, so that SB3 no longer takes a normalised image for an image.

    Attributes:
        moments: The running statistics; None in fixed mode.
        min_std: Floor under the running standard deviation: inputs that hardly vary, such as LunarLander's leg
            contacts, are amplified by at most 1 / min_std.
        clip: The largest absolute value that is returned.

    Example:
        >>> import gymnasium as gym
        >>> from sb3_ppo_scratch.wrappers import NormalizeObservation, RunningMoments
        >>> env = NormalizeObservation(gym.make("MountainCar-v0"), mean=[-0.5, 0.0], std=[0.1, 0.02])
        >>> env.reset(seed=0)[0].round(2)
        array([0.27, 0.  ], dtype=float32)
        >>> moments = RunningMoments(shape=2)
        >>> train_env = NormalizeObservation(gym.make("MountainCar-v0"), moments=moments)
        >>> eval_env = NormalizeObservation(gym.make("MountainCar-v0"), moments=moments)
        >>> eval_env.freeze()
        >>> _ = train_env.reset(seed=0), eval_env.reset(seed=0)
        >>> moments.count
        1
    """

    def __init__(
        self,
        env: gym.Env[NDArray[Any], ActType],
        mean: ArrayLike | None = None,
        std: ArrayLike | None = None,
        *,
        moments: RunningMoments | Mapping[str, Any] | None = None,
        stats_path: str | os.PathLike[str] | None = None,
        min_std: float = _MIN_STD,
        clip: float = 10.0,
    ) -> None:
        """Wrap `env`. Give `mean` and `std`, or `moments`, or `stats_path`, or none of them.

        Args:
            env: An environment with a Box observation space of any shape and dtype.
            mean: Fixed mean, shape (*shape) of an observation, or one number for all elements.
            std: Fixed standard deviation, likewise; greater than 0.
            moments: Running statistics to share with other environments of this process. A mapping with "count",
                "mean", "var" and "frozen", which is how the environment's spec records them (as they are when `env` is
                wrapped), starts statistics of its own from there.
            stats_path: File of saved statistics, which are used frozen.
            min_std: Floor under the running standard deviation, greater than 0, in units of the observation; not for a
                fixed one.
            clip: Bound of what is returned, greater than 0.

        Raises:
            FileNotFoundError: If `stats_path` does not exist.
            TypeError: If the observation space is not a Box, or an argument has the wrong type.
            ValueError: If arguments contradict each other, have the wrong shape, or hold impossible values.
        """
        gym.ObservationWrapper.__init__(self, env)
        shape = _get_box_shape(env.observation_space)
        _check_mode(mean, std, moments, stats_path)
        self.min_std = as_positive_number("min_std", min_std)
        self.clip = as_positive_number("clip", clip)
        self.moments: RunningMoments | None = None
        self._frozen = False
        self._is_private = not isinstance(moments, RunningMoments)
        self._is_built_by_zoo = _is_called_by("rl_zoo3")
        self._sharing_checked = False
        self._fixed: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None
        if mean is not None:  # then there is a std, too
            if self.min_std != _MIN_STD:
                raise ValueError(
                    f"min_std={min_std!r} goes with running statistics; raise the small values of std instead"
                )
            self._fixed = _as_fixed(mean, std, shape)
        else:
            self.moments = _make_moments(moments, stats_path, shape)
            _RUNNING.add(self)
        RecordConstructorArgs.__init__(
            self,
            mean=None if self._fixed is None else self._fixed[0].tolist(),
            std=None if self._fixed is None else self._fixed[1].tolist(),
            moments=None if moments is None or self.moments is None else _as_plain_values(self.moments),
            stats_path=None if stats_path is None else os.fspath(stats_path),
            min_std=self.min_std,
            clip=self.clip,
        )
        self.observation_space = Box(-self.clip, self.clip, shape=shape, dtype=np.float32)

    @property
    def frozen(self) -> bool:
        """Whether this wrapper leaves the statistics alone; always in fixed mode."""
        return self.moments is None or self._frozen or self.moments.frozen

    @property
    def mean(self) -> NDArray[np.float64]:
        """The mean in use, shape (*shape)."""
        return self._get_mean_and_std()[0].copy()

    @property
    def std(self) -> NDArray[np.float64]:
        """The standard deviation in use, shape (*shape); in running mode at least `min_std`."""
        return self._get_mean_and_std()[1].copy()

    def freeze(self) -> None:
        """Stop this wrapper's updates; those of others that share its statistics go on, until `moments.freeze()`."""
        self._frozen = True

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the running statistics to an `.npz` file, for `stats_path=`, `load` and `RunningMoments.load`.

        Args:
            path: The file's exact name; its folder must exist.

        Raises:
            ValueError: In fixed mode, which has nothing to save.
        """
        if self.moments is None:
            raise ValueError("fixed mean and std are constructor arguments; there are no running statistics to save")
        self.moments.save(path)

    def load(self, path: str | os.PathLike[str]) -> None:
        """Use saved statistics, frozen, from now on. Wrappers that shared statistics with this one keep theirs.

        Args:
            path: A file that `save` wrote.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: In fixed mode, or if the file is damaged, empty of observations, or of another shape.
        """
        if self.moments is None:
            raise ValueError(
                f"fixed mean and std cannot be replaced by {os.fspath(path)!r}; use stats_path= instead of them"
            )
        self.moments = _load_frozen(path, self.moments.shape)

    def get_state(self) -> dict[str, Any] | None:
        """Say what this wrapper keeps, so that a run that stops can go on with the same statistics.

        Returns:
            The running statistics, and whether this wrapper has been frozen; None in fixed mode, which keeps nothing.
        """
        return None if self.moments is None else {"moments": self.moments.get_state(), "frozen": self._frozen}

    def set_state(self, state: Mapping[str, Any] | None) -> None:
        """Take over what another wrapper, made in the same way, has kept; shared statistics stay shared.

        Args:
            state: What `get_state` has returned.

        Raises:
            ValueError: If the other was in another mode, or its observations had another shape.
        """
        if state is None and self.moments is None:
            return
        if state is None or self.moments is None:
            raise ValueError(f"state={state!r} is of another mode: one wrapper has running statistics, one has not")
        self.moments.set_state(state["moments"])
        self._frozen = state["frozen"]

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Reset the environment; the first time, make sure that no other environment normalises differently.

        Args:
            seed: Passed on.
            options: Passed on.

        Returns:
            The normalised observation, shape (*shape), and the environment's info.

        Raises:
            ValueError: If rl_zoo3 built this wrapper with statistics of its own, or they are frozen and empty.
        """
        if not self._sharing_checked:
            self._check_sharing()
            self._sharing_checked = True
        return super().reset(seed=seed, options=options)

    def observation(self, observation: NDArray[Any]) -> NDArray[np.float32]:
        """Normalise one observation, after learning from it if the statistics are running.

        Args:
            observation: Shape (*shape), any integer, bool or float dtype.

        Returns:
            The normalised observation, shape (*shape), float32 within [-clip, clip].

        Raises:
            ValueError: If the observation has the wrong shape or is not finite.
        """
        values = np.asarray(observation)
        if values.shape != self.observation_space.shape:
            raise ValueError(f"observation has shape {values.shape}, expected {self.observation_space.shape}")
        if not np.isfinite(values).all():
            raise ValueError(f"observation={values.tolist()!r} must be finite; the environment is at fault")
        if self.moments is not None and not self.frozen:
            self.moments.update(values[np.newaxis])
        mean, std = self._get_mean_and_std()
        # Not np.clip, which takes three times as long for small arrays.
        clipped = np.minimum(np.maximum((values - mean) / std, -self.clip), self.clip)
        return np.asarray(clipped, dtype=np.float32)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        # A copy has statistics of its own from now on, also where its original shared them.
        self._is_private = True
        self._sharing_checked = False
        if self.moments is not None:
            _RUNNING.add(self)

    def _get_mean_and_std(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Look up the statistics in use.

        Returns:
            Mean and standard deviation, each of shape (*shape).
        """
        if self._fixed is not None:
            return self._fixed
        assert self.moments is not None
        return self.moments.mean, np.maximum(np.sqrt(self.moments.var), self.min_std)

    def _check_sharing(self) -> None:
        """Make sure that nobody takes this wrapper's statistics for those of every other environment.

        Raises:
            ValueError: If rl_zoo3 built this wrapper with statistics of its own, or they are frozen and empty.
        """
        if self.moments is None:
            return
        if self.frozen and self.moments.count == 0:
            raise ValueError(f"the statistics are frozen, but have seen no observation (count=0). {_REMEDY}")
        if self.moments.frozen or (self._frozen and self._is_private):
            return
        if self._is_private and self._is_built_by_zoo:
            raise ValueError(
                "running statistics would be separate: rl_zoo3's training, evaluation and enjoy environments would "
                f"each have their own. {_REMEDY}"
            )
        reason = self._find_separation()
        if reason is not None:
            warnings.warn(f"running statistics are separate: {reason}. {_REMEDY}", stacklevel=3)

    def _find_separation(self) -> str | None:
        """Say why other environments would have other statistics than this one, if so.

        Returns:
            The reason as a clause, or None.
        """
        assert self.moments is not None
        if not self._is_private:
            # Statistics from another process are a copy, whose updates nobody else sees.
            elsewhere = self.moments.process_id != os.getpid()
            return "moments= was made in another process (RunningMoments.merged makes a new one)" if elsewhere else None
        if multiprocessing.parent_process() is not None:
            return "this is a worker process, and each worker would have its own"
        if self._has_rival():
            # A forgotten environment may only wait for the collector, held by a cycle of the algorithm that used it.
            gc.collect()
        return "another environment with the same observation space has its own" if self._has_rival() else None

    def _has_rival(self) -> bool:
        """Tell whether another living wrapper over the same observation space has other running statistics."""
        return any(
            other.moments is not self.moments
            and other.moments is not None
            and not other.moments.frozen
            and other.env.observation_space == self.env.observation_space
            for other in _RUNNING
        )


def _is_called_by(package: str) -> bool:
    """Tell whether any function of a package is among the callers.

    Args:
        package: The package's name.

    Returns:
        Whether it is.
    """
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if str(frame.f_globals.get("__name__")).split(".")[0] == package:
            return True
        frame = frame.f_back
    return False


def _get_box_shape(space: gym.Space[Any]) -> tuple[int, ...]:
    """Return the shape of an observation.

    Args:
        space: The wrapped environment's observation space.

    Returns:
        The Box's shape.

    Raises:
        TypeError: If the space is not a Box.
    """
    if not isinstance(space, Box):
        raise TypeError(
            f"NormalizeObservation needs a Box observation space, not {space}: put Gymnasium's FlattenObservation "
            "below it, or use SB3's VecNormalize (with norm_obs_keys for a Dict)"
        )
    return space.shape


def _check_mode(mean: object, std: object, moments: object, stats_path: object) -> None:
    """Make sure that the statistics have one source.

    Args:
        mean: As in the constructor.
        std: As in the constructor.
        moments: As in the constructor.
        stats_path: As in the constructor.

    Raises:
        ValueError: If only one of `mean` and `std` is given, or more than one source.
    """
    if (mean is None) != (std is None):
        raise ValueError(f"mean={mean!r} and std={std!r} must be given together, or neither (running statistics)")
    given = [
        name
        for name, value in (("mean and std", mean), ("moments", moments), ("stats_path", stats_path))
        if value is not None
    ]
    if len(given) > 1:
        raise ValueError(
            f"give only one of {', '.join(given)}: mean={mean!r}, moments={moments!r}, stats_path={stats_path!r}"
        )


def _as_fixed(mean: object, std: object, shape: tuple[int, ...]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Check fixed statistics.

    Args:
        mean: Shape (*shape), or one number for all elements.
        std: Likewise, greater than 0.
        shape: The shape of an observation.

    Returns:
        Mean and standard deviation, each of shape (*shape).

    Raises:
        TypeError: If they hold something else than numbers.
        ValueError: If a shape is wrong, a number is not finite, or a standard deviation not greater than 0.
    """
    arrays = {name: as_finite_array(name, value) for name, value in (("mean", mean), ("std", std))}
    for name, array in arrays.items():
        if array.shape not in ((), shape):
            raise ValueError(f"{name}={array.tolist()!r} has shape {array.shape}, but an observation has shape {shape}")
    if (arrays["std"] <= 0.0).any():
        raise ValueError(
            f"std={arrays['std'].tolist()!r} must be greater than 0 everywhere; use 1 where nothing varies"
        )
    return np.broadcast_to(arrays["mean"], shape).copy(), np.broadcast_to(arrays["std"], shape).copy()


def _make_moments(
    moments: RunningMoments | Mapping[str, Any] | None,
    stats_path: str | os.PathLike[str] | None,
    shape: tuple[int, ...],
) -> RunningMoments:
    """Find or make the running statistics.

    Args:
        moments: Shared statistics, or values to start from.
        stats_path: File of saved statistics.
        shape: The shape of an observation.

    Returns:
        The statistics to use; those of a file are frozen.

    Raises:
        FileNotFoundError: If `stats_path` does not exist.
        TypeError: If `moments` is neither a `RunningMoments` nor a mapping.
        ValueError: If the statistics have another shape or impossible values.
    """
    if stats_path is not None:
        return _load_frozen(stats_path, shape)
    if moments is None:
        return RunningMoments(shape)
    if isinstance(moments, Mapping):
        moments = _from_plain_values(moments)
    if not isinstance(moments, RunningMoments):
        raise TypeError(f"moments={moments!r} must be a RunningMoments, or a mapping of {list(_VALUES)}")
    if moments.shape != shape:
        raise ValueError(f"moments={moments!r} has shape {moments.shape}, but an observation has shape {shape}")
    return moments


def _load_frozen(path: str | os.PathLike[str], shape: tuple[int, ...]) -> RunningMoments:
    """Read saved statistics and freeze them.

    Args:
        path: A file that `RunningMoments.save` wrote.
        shape: The shape of an observation.

    Returns:
        The statistics.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged, holds no observation, or has another shape.
    """
    moments = RunningMoments.load(path)
    if moments.shape != shape:
        raise ValueError(f"{os.fspath(path)!r} holds shape {moments.shape}, but an observation has shape {shape}")
    if moments.count == 0:
        raise ValueError(f"{os.fspath(path)!r} holds statistics that have seen no observation (count=0)")
    moments.freeze()
    return moments


def _as_plain_values(moments: RunningMoments) -> dict[str, Any]:
    """Write statistics in types that JSON knows, as they are now.

    Args:
        moments: The statistics.

    Returns:
        The values named in `_VALUES`, the arrays as lists.
    """
    state = moments.get_state()
    return {**state, "mean": state["mean"].tolist(), "var": state["var"].tolist()}


def _from_plain_values(values: Mapping[str, Any]) -> RunningMoments:
    """Undo `_as_plain_values`.

    Args:
        values: The values named in `_VALUES`.

    Returns:
        New statistics.

    Raises:
        TypeError: If a value has the wrong type.
        ValueError: If the names are others, or the values impossible.
    """
    if set(values) != set(_VALUES):
        raise ValueError(f"moments={values!r} must hold exactly {list(_VALUES)}")
    if not isinstance(values["frozen"], bool):
        raise TypeError(f"moments['frozen']={values['frozen']!r} must be True or False")
    moments = RunningMoments.from_values(values["count"], values["mean"], values["var"])
    if values["frozen"]:
        moments.freeze()
    return moments
