"""Lets discrete-action algorithms act in continuous action spaces.

Here: `BinAction`, which offers a finite set of values ("atoms") for each action dimension. Not here: policies with an
ordinal or other discrete head over an unchanged Box space, and the way back from a value to its bin.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import gymnasium as gym
import numpy as np
from gymnasium.core import ObsType
from gymnasium.spaces import Box, Discrete, MultiDiscrete
from gymnasium.utils import RecordConstructorArgs
from numpy.typing import NDArray

from ._checks import as_finite_number, as_whole_number

BinIndex: TypeAlias = int | np.integer[Any] | NDArray[np.integer[Any]]
Atoms: TypeAlias = NDArray[np.floating[Any]]
Bins: TypeAlias = int | list[int | list[float]]

_LARGEST_INDEX = int(np.iinfo(np.int64).max)
_ADVICE = "give a count, or one list of atoms per action dimension, e.g. bins=[[-1.0, 0.0, 1.0]]"


class BinAction(gym.ActionWrapper[ObsType, BinIndex, Atoms], RecordConstructorArgs):
    """Replaces a continuous Box action space by the choice of one atom per action dimension.

    The new space is a `MultiDiscrete` with one entry per element of the Box, in row-major order (always 1-D, since SB3
    supports no other), or with `flat=True` one `Discrete` over all combinations, numbered as `np.ravel_multi_index`
    does. A count n gives n evenly spaced atoms that include both bounds; on a range symmetric about 0 they are exactly
    antisymmetric, so that an odd count has an atom at exactly 0.

    Explicit atoms spare useless choices. In LunarLanderContinuous the main engine is off for all values up to 0, and
    the side engines are off for all values up to 0.5 in size. From an rl_zoo3 YAML file::

        env_wrapper:
          - sb3_ppo_scratch.wrappers.BinAction:
              bins: [[0.0, 0.25, 0.5, 0.75, 1.0], [-1.0, -0.75, 0.0, 0.75, 1.0]]

    Attributes:
        atoms: For each action dimension in row-major order its values, shape (n_bins,), in the Box's dtype, ascending.
        flat: Whether the action space is one `Discrete`.

    Example:
        >>> import gymnasium as gym
        >>> from sb3_ppo_scratch.wrappers import BinAction
        >>> env = BinAction(gym.make("Pendulum-v1"), bins=5)
        >>> env.action_space
        MultiDiscrete([5])
        >>> env.action([4])
        array([2.], dtype=float32)
        >>> BinAction(gym.make("Pendulum-v1"), bins=[[-2.0, 0.0, 0.5]], flat=True).action(2)
        array([0.5], dtype=float32)
    """

    def __init__(
        self,
        env: gym.Env[ObsType, Atoms],
        bins: Bins,
        flat: bool = False,
    ) -> None:
        """Wrap `env`.

        Args:
            env: An environment with a bounded Box action space of float dtype and any shape.
            bins: A count (at least 2) for every action dimension, or a list with one entry per action dimension, in
                row-major order whatever the Box's shape: each entry a count or an ascending list of atoms.
            flat: Whether to offer one `Discrete` space instead of a `MultiDiscrete`.

        Raises:
            TypeError: If the action space is not a Box of floats, a count is not an integer, an atom not a number, or
                `flat` not a bool.
            ValueError: If the Box is unbounded or empty, `bins` has the wrong length, a count is below 2 or too fine
                for the dtype, atoms are fewer than 2, not finite, not ascending or outside the Box, or if with `flat`
                there are more combinations than an int64 can number.
        """
        gym.ActionWrapper.__init__(self, env)
        self._box = _as_bounded_box(env.action_space)
        if not isinstance(flat, bool):
            raise TypeError(f"flat={flat!r} must be True or False")
        RecordConstructorArgs.__init__(self, bins=_as_entries(bins, self._box.low.size)[1], flat=flat)

        self.flat = flat
        self.atoms = make_atoms(self._box, bins)
        self._n_bins = np.array([len(values) for values in self.atoms])
        self._dimensions = np.arange(len(self.atoms))
        # Rows of unequal length are filled up with zeros, which no checked index can reach.
        self._table = np.zeros((len(self.atoms), self._n_bins.max()), dtype=self._box.dtype)
        for row, values in zip(self._table, self.atoms, strict=True):
            row[: len(values)] = values
        self._limit: int | NDArray[np.int64] = self._n_bins
        self.action_space = MultiDiscrete(self._n_bins)
        if flat:
            self._limit = _count_combinations(self._n_bins)
            self.action_space = Discrete(self._limit)

    def action(self, action: BinIndex) -> Atoms:
        """Look up the atoms that the indices stand for.

        Args:
            action: Integer indices, shape (n_dimensions,); with `flat` one integer (Python, NumPy or 0-d array).

        Returns:
            The continuous action, with the Box's shape (*shape) and dtype.

        Raises:
            TypeError: If `action` does not hold integers.
            ValueError: If `action` has the wrong shape or an index is out of range; it neither wraps nor clamps.
        """
        indices = np.asarray(action)
        if indices.dtype.kind not in ("i", "u"):
            raise TypeError(f"action={action!r} must hold integers, not dtype {indices.dtype}")
        expected_shape = () if self.flat else self._n_bins.shape
        if indices.shape != expected_shape:
            raise ValueError(f"action={action!r} has shape {indices.shape}, expected {expected_shape}")
        if (indices < 0).any() or (indices >= self._limit).any():
            raise ValueError(f"action={action!r} is out of range: indices run from 0 to below {self._limit}")
        if self.flat:
            indices = np.array(np.unravel_index(int(indices), self._n_bins))
        chosen: Atoms = self._table[self._dimensions, indices]
        return chosen.reshape(self._box.shape)


def make_atoms(space: gym.Space[Any], bins: Bins) -> tuple[Atoms, ...]:
    """Choose the values that stand for each dimension of a continuous action space.

    Args:
        space: A bounded Box of floats, any shape.
        bins: As for `BinAction`.

    Returns:
        For each action dimension in row-major order its values, shape (n_bins,), in the Box's dtype, ascending.

    Raises:
        TypeError: If the space is not a Box of floats, a count is not an integer or an atom not a number.
        ValueError: If the Box is unbounded or empty, or `bins` does not fit it.
    """
    box = _as_bounded_box(space)
    entries, _ = _as_entries(bins, box.low.size)
    bounds = zip(box.low.ravel(), box.high.ravel(), strict=True)
    return tuple(
        _make_atoms(f"bins[{dimension}]", entry, low, high)
        for dimension, (entry, (low, high)) in enumerate(zip(entries, bounds, strict=True))
    )


def _as_bounded_box(space: gym.Space[Any]) -> Box:
    """Return the action space if it can be binned.

    Args:
        space: The wrapped environment's action space.

    Returns:
        The same space.

    Raises:
        TypeError: If it is not a Box, or a Box of integers or bools, which is discrete already.
        ValueError: If it is unbounded or has no element.
    """
    if not isinstance(space, Box):
        raise TypeError(f"BinAction needs a Box action space, not {space}")
    if space.dtype is None or space.dtype.kind != "f":
        raise TypeError(
            f"BinAction needs a continuous Box, but {space} has dtype {space.dtype}, which is discrete already"
        )
    if not (np.isfinite(space.low).all() and np.isfinite(space.high).all()):
        raise ValueError(f"BinAction needs finite bounds, not {space}; bound it with Gymnasium's TransformAction")
    if space.low.size == 0:
        raise ValueError(f"BinAction needs at least one action dimension, not {space}")
    return space


def _as_entries(bins: Any, n_dimensions: int) -> tuple[list[Any], Any]:
    """Bring `bins` into the form of one entry per action dimension.

    Args:
        bins: A count, or a list, tuple or array of counts and lists of atoms.
        n_dimensions: Number of action dimensions.

    Returns:
        One entry per action dimension, each an int or a list of floats, and `bins` in plain Python types for the spec.

    Raises:
        TypeError: If a count is not an integer or an atom not a number.
        ValueError: If a count is below 2, an atom is not finite, or the length is not `n_dimensions`.
    """
    if isinstance(bins, np.ndarray):
        bins = bins.tolist()
    if not isinstance(bins, list | tuple):
        count = _as_count("bins", bins)
        return [count] * n_dimensions, count
    if len(bins) != n_dimensions:
        raise ValueError(
            f"bins={bins!r} has {len(bins)} entries for {n_dimensions} action dimensions (row-major order)"
        )
    entries = [_as_entry(f"bins[{dimension}]", entry) for dimension, entry in enumerate(bins)]
    return entries, entries


def _as_entry(name: str, entry: Any) -> int | list[float]:
    """Check what is given for one action dimension.

    Args:
        name: The entry's name, for the error message.
        entry: A count, or a list, tuple or array of atoms, shape (n_bins,).

    Returns:
        The count, or the atoms as a list.

    Raises:
        TypeError: If a count is not an integer or an atom not a number.
        ValueError: If a count is below 2, there are fewer than 2 atoms, or one is not finite.
    """
    if isinstance(entry, np.ndarray):
        entry = entry.tolist()
    if not isinstance(entry, list | tuple):
        return _as_count(name, entry)
    atoms = [as_finite_number(f"{name}[{position}]", atom) for position, atom in enumerate(entry)]
    if len(atoms) < 2:
        raise ValueError(f"{name}={atoms!r} must hold at least 2 atoms")
    return atoms


def _as_count(name: str, value: Any) -> int:
    """Return `value` if it is a number of bins.

    Args:
        name: The entry's name, for the error message.
        value: What the user passed.

    Returns:
        The count as an int.

    Raises:
        TypeError: If it is a bool or not an integer.
        ValueError: If it is below 2.
    """
    count = as_whole_number(name, value, _ADVICE)
    if count < 2:
        raise ValueError(f"{name}={count} must be at least 2: {_ADVICE}")
    return count


def _make_atoms(name: str, entry: int | list[float], low: np.number[Any], high: np.number[Any]) -> Atoms:
    """Make the atoms of one action dimension.

    Args:
        name: The entry's name, for the error message.
        entry: The number of atoms, at least 2, or the atoms themselves.
        low: The lower bound, in the Box's dtype.
        high: The upper bound, in the Box's dtype.

    Returns:
        The atoms, shape (n_bins,), in the bounds' dtype, strictly ascending, within the bounds, read-only.

    Raises:
        ValueError: If atoms are not strictly ascending or outside the bounds, after rounding to the dtype.
    """
    # Atoms are rounded to the Box's dtype before they are compared: as a float32, the bound 0.7 is below the float 0.7.
    with np.errstate(over="ignore"):
        atoms = _spread(entry, low, high) if isinstance(entry, int) else np.array(entry).astype(low.dtype)
    if (atoms < low).any() or (atoms > high).any():
        raise ValueError(f"{name}={entry!r} must lie within the action space's bounds [{low}, {high}]")
    if not (np.diff(atoms) > 0.0).all():
        raise ValueError(
            f"{name}={entry!r} must give strictly ascending atoms, without duplicates after rounding to {low.dtype}, "
            f"within [{low}, {high}]"
        )
    atoms.flags.writeable = False
    return atoms


def _spread(count: int, low: np.number[Any], high: np.number[Any]) -> Atoms:
    """Space atoms evenly from bound to bound.

    Args:
        count: Number of atoms, at least 2.
        low: The lower bound.
        high: The upper bound, of the same dtype.

    Returns:
        The atoms, shape (count,), in the bounds' dtype, from `low` to `high`.
    """
    wide = np.promote_types(low.dtype, np.float64)
    weights = np.arange(count, dtype=wide) / (count - 1)
    # The same weights forwards and backwards, so that a symmetric range gives exactly antisymmetric atoms and an exact
    # 0 (np.linspace does not), and no overflow of high - low.
    atoms: Atoms = low.astype(wide) * weights[::-1] + high.astype(wide) * weights
    return np.clip(atoms.astype(low.dtype), low, high)  # a sum may be rounded beyond the bound


def _count_combinations(n_bins: NDArray[np.int64]) -> int:
    """Count the combinations of one atom per action dimension.

    Args:
        n_bins: Number of atoms of each action dimension, shape (n_dimensions,).

    Returns:
        The number of combinations.

    Raises:
        ValueError: If there are more than an int64 can number.
    """
    combinations: int = math.prod(n_bins.tolist())
    if combinations > _LARGEST_INDEX:
        raise ValueError(
            f"flat=True with bins={n_bins.tolist()} has {combinations} combinations, more than int64 holds"
        )
    return combinations
