"""Count, mean and variance of a stream of arrays.

Here: `RunningMoments`, which knows nothing of environments. Not here: what is done with the moments (see
`normalize_observation`), and moving averages that forget.
"""

from __future__ import annotations

import io
import math
import os
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._checks import as_finite_array, as_whole_number

_MEMBERS = ["count", "mean", "var"]


class RunningMoments:
    """Count, mean and population variance of everything seen so far, in float64, without keeping the data.

    Batches and other statistics are merged by the pairwise formula, so that the result does not depend on how the data
    were cut into batches, nor on the order (up to rounding). Before the first update the mean is 0 and the variance 1.

    Source: Chan, Golub and LeVeque, "Algorithms for Computing the Sample Variance: Analysis and Recommendations", The
    American Statistician 37(3), 1983, equation 2.1.

    Example:
        >>> from sb3_ppo_scratch.wrappers import RunningMoments
        >>> moments = RunningMoments(shape=(2,))
        >>> moments.update([[1.0, 10.0], [3.0, 10.0]])
        >>> moments.update([[5.0, 10.0], [7.0, 10.0]])
        >>> moments
        RunningMoments(count=4, mean=[4.0, 10.0], var=[5.0, 0.0])
        >>> RunningMoments.merged([moments, moments]).count
        8
    """

    def __init__(self, shape: int | Sequence[int] = ()) -> None:
        """Start without any observation.

        Args:
            shape: The shape of one observation; an int n stands for (n,).

        Raises:
            TypeError: If `shape` holds something else than integers.
            ValueError: If `shape` holds a negative length.
        """
        lengths = shape if isinstance(shape, Sequence) else (shape,)
        self._shape = tuple(as_whole_number("shape", length, "give an int or a tuple of ints") for length in lengths)
        if any(length < 0 for length in self._shape):
            raise ValueError(f"shape={shape!r} must not hold negative lengths")
        self._count = 0
        self._mean: NDArray[np.float64] = np.zeros(self._shape)
        self._var: NDArray[np.float64] = np.ones(self._shape)
        self._frozen = False
        self._process_id = os.getpid()

    @classmethod
    def from_values(cls, count: int, mean: ArrayLike, var: ArrayLike) -> RunningMoments:
        """Make statistics from their three values.

        Args:
            count: Number of observations, at least 0.
            mean: Their mean, shape (*shape).
            var: Their population variance, shape (*shape), at least 0.

        Returns:
            Statistics that go on from these values, not frozen.

        Raises:
            TypeError: If `count` is not an integer, or if `mean` or `var` hold something else than numbers.
            ValueError: If `count` or a variance is negative, a number is not finite, the shapes differ, or `count` is 0
                and the mean is not 0 or the variance not 1.
        """
        count = as_whole_number("count", count, "give the number of observations")
        mean_array, var_array = as_finite_array("mean", mean), as_finite_array("var", var)
        if count < 0:
            raise ValueError(f"count={count} must not be negative")
        if mean_array.shape != var_array.shape:
            raise ValueError(f"mean has shape {mean_array.shape}, but var has shape {var_array.shape}")
        if (var_array < 0.0).any():
            raise ValueError(f"var={var_array.tolist()!r} must not be negative")
        if count == 0 and (mean_array.any() or (var_array != 1.0).any()):
            raise ValueError(
                f"count=0 goes with mean 0 and var 1, not with mean={mean_array.tolist()!r}, var={var_array.tolist()!r}"
            )
        moments = cls(mean_array.shape)
        moments._count, moments._mean, moments._var = count, mean_array, var_array
        return moments

    @classmethod
    def merged(cls, parts: Iterable[RunningMoments]) -> RunningMoments:
        """Merge statistics, for example those that came back from worker processes.

        Args:
            parts: At least one; all of the same shape. They stay as they are and may be frozen.

        Returns:
            New statistics of all their observations together, not frozen.

        Raises:
            TypeError: If a part is not a `RunningMoments`.
            ValueError: If there is no part, or if their shapes differ.
        """
        parts = list(parts)
        if not parts:
            raise ValueError("parts=[] holds no statistics to merge")
        result = cls(_as_moments("parts[0]", parts[0]).shape)
        for part in parts:
            result.merge(part)
        return result

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one observation."""
        return self._shape

    @property
    def count(self) -> int:
        """The number of observations seen."""
        return self._count

    @property
    def mean(self) -> NDArray[np.float64]:
        """A copy of the mean, shape (*shape); 0 before the first update."""
        return self._mean.copy()

    @property
    def var(self) -> NDArray[np.float64]:
        """A copy of the population variance, shape (*shape); 1 before the first update."""
        return self._var.copy()

    @property
    def frozen(self) -> bool:
        """Whether updates are refused."""
        return self._frozen

    @property
    def process_id(self) -> int:
        """The process that made these statistics; a pickled or forked copy keeps its original's."""
        return self._process_id

    def freeze(self) -> None:
        """Refuse every later update and merge. `RunningMoments.merged([frozen])` is a copy that learns again."""
        self._frozen = True

    def update(self, batch: ArrayLike) -> None:
        """Take in a batch of observations; an empty batch changes nothing.

        Args:
            batch: Shape (n, *shape), any integer, bool or float dtype, finite.

        Raises:
            TypeError: If `batch` does not hold numbers.
            ValueError: If the statistics are frozen, the shape is wrong, a number is not finite or too large to be
                squared. The statistics are unchanged then.
        """
        self._refuse_if_frozen()
        observations = self._as_batch(batch)
        # Overflow is found by _absorb, as an error instead of a warning.
        with np.errstate(over="ignore", invalid="ignore"):
            if len(observations) == 1:
                self._absorb(1, observations[0], np.zeros(self._shape))
            elif len(observations):
                self._absorb(len(observations), observations.mean(axis=0), observations.var(axis=0))

    def merge(self, other: RunningMoments) -> None:
        """Take in what other statistics have seen; `other` stays as it is.

        Args:
            other: Statistics of the same shape, frozen or not.

        Raises:
            TypeError: If `other` is not a `RunningMoments`.
            ValueError: If these statistics are frozen, or if the shapes differ.
        """
        self._refuse_if_frozen()
        _as_moments("other", other)
        if other.shape != self._shape:
            raise ValueError(f"other has shape {other.shape}, but these statistics have shape {self._shape}")
        if other.count > 0:
            with np.errstate(over="ignore"):
                self._absorb(other.count, other._mean, other._var)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the statistics to an `.npz` file, which is replaced as a whole or not at all.

        Args:
            path: The file's exact name; its folder must exist.
        """
        target = Path(path)
        temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        try:
            with temporary.open("wb") as file:
                np.savez(file, count=np.int64(self._count), mean=self._mean, var=self._var)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> RunningMoments:
        """Read statistics that `save` wrote. Nothing in the file is executed (no pickle).

        Args:
            path: The file's exact name.

        Returns:
            Statistics that go on from the saved values, not frozen.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the file is damaged, is something else, or holds impossible values.
        """
        members = _read_members(Path(path))
        try:
            return cls.from_values(members["count"].tolist(), members["mean"], members["var"])
        except (TypeError, ValueError) as error:
            raise ValueError(f"{os.fspath(path)!r} holds impossible statistics: {error}") from error

    def get_state(self) -> dict[str, Any]:
        """Say all that is kept, in types that a checkpoint holds.

        Returns:
            "count", "mean" and "var", the arrays of shape (*shape), and "frozen".
        """
        return {"count": self._count, "mean": self.mean, "var": self.var, "frozen": self._frozen}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Take over what other statistics have said; whoever shares these sees it.

        Args:
            state: What `get_state` has returned.

        Raises:
            ValueError: If the shape is another, or the values are impossible.
        """
        other = type(self).from_values(state["count"], state["mean"], state["var"])
        if other.shape != self._shape:
            raise ValueError(f"state={state!r} has shape {other.shape}, but these statistics have shape {self._shape}")
        self._count, self._mean, self._var = other._count, other._mean, other._var
        self._frozen = state["frozen"]

    def __repr__(self) -> str:
        return f"{type(self).__name__}(count={self._count}, mean={self._mean.tolist()}, var={self._var.tolist()})"

    def _refuse_if_frozen(self) -> None:
        """Guard every change.

        Raises:
            ValueError: If the statistics are frozen.
        """
        if self._frozen:
            raise ValueError("these statistics are frozen; RunningMoments.merged([frozen]) is a copy that learns again")

    def _as_batch(self, batch: ArrayLike) -> NDArray[np.float64]:
        """Convert a batch and check it.

        Args:
            batch: Shape (n, *shape), any integer, bool or float dtype.

        Returns:
            The batch, shape (n, *shape), float64.

        Raises:
            TypeError: If `batch` does not hold numbers.
            ValueError: If the shape is wrong or a number is not finite.
        """
        array = np.asarray(batch)
        if array.dtype.kind not in ("b", "i", "u", "f"):
            raise TypeError(f"batch={batch!r} must hold numbers, not dtype {array.dtype}")
        if array.ndim == 0 or array.shape[1:] != self._shape:
            expected = ", ".join(["n", *map(str, self._shape)])
            raise ValueError(f"batch has shape {array.shape}, expected ({expected})")
        if not np.isfinite(array).all():
            position = tuple(int(index) for index in np.argwhere(~np.isfinite(array))[0])
            where = ", ".join(map(str, position))
            raise ValueError(f"batch[{where}]={array[position]} must be finite, else the statistics would be spoilt")
        return np.asarray(array, np.float64)

    def _absorb(self, count: int, mean: NDArray[np.float64], var: NDArray[np.float64]) -> None:
        """Merge the moments of another sample into these: Chan et al., equation 2.1, divided by the total count.

        Args:
            count: Size of the other sample, at least 1.
            mean: Its mean, shape (*shape).
            var: Its population variance, shape (*shape).

        Raises:
            ValueError: If the variance overflows; the statistics are unchanged then.
        """
        share = count / (self._count + count)
        delta = mean - self._mean
        # np.asarray: arithmetic with 0-d arrays yields scalars.
        new_mean = np.asarray(self._mean + share * delta)
        new_var = np.asarray((1.0 - share) * self._var + share * var + share * (1.0 - share) * delta * delta)
        if not np.isfinite(new_var).all():
            raise ValueError(f"observations with mean {mean.tolist()!r} are too large: their variance overflows")
        self._count, self._mean, self._var = self._count + count, new_mean, new_var


def _as_moments(name: str, value: object) -> RunningMoments:
    """Return `value` if it is a `RunningMoments`.

    Args:
        name: The parameter's name, for the error message.
        value: What the user passed.

    Returns:
        The same object.

    Raises:
        TypeError: If it is something else.
    """
    if not isinstance(value, RunningMoments):
        raise TypeError(f"{name}={value!r} must be a RunningMoments")
    return value


def _read_members(path: Path) -> dict[str, NDArray[Any]]:
    """Read the three arrays of a statistics file.

    Args:
        path: The file.

    Returns:
        The arrays "count", "mean" and "var", each with the shape that the file gives it, not yet checked.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file cannot be read as an `.npz` file without pickle, or holds other names.
    """
    with path.open("rb") as file:
        try:
            if file.read(len(np.lib.format.MAGIC_PREFIX)) == np.lib.format.MAGIC_PREFIX:
                raise TypeError("it holds a single array")
            with zipfile.ZipFile(file) as archive:
                names = sorted(name.removesuffix(".npy") for name in archive.namelist())
                members = {name: _read_array(archive, f"{name}.npy") for name in _MEMBERS} if names == _MEMBERS else {}
        # A damaged file makes zipfile, zlib and NumPy raise errors of some ten unrelated types.
        except Exception as error:
            raise ValueError(f"{str(path)!r} is damaged or not an .npz file of RunningMoments.save: {error}") from error
    if not members:
        raise ValueError(f"{str(path)!r} holds {names}, expected {_MEMBERS} as RunningMoments.save writes")
    return members


def _read_array(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    """Read an array, unless it would take more memory than it has bytes.

    Args:
        archive: The `.npz` file.
        name: The array's in it.

    Returns:
        The array.

    Raises:
        ValueError: If it is compressed, or claims more numbers than are there.
        Exception: Whatever zipfile and NumPy say of damaged files.
    """
    if archive.getinfo(name).compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{name} is compressed")
    content = io.BytesIO(archive.read(name))
    np.lib.format.read_magic(content)
    shape, _, dtype = np.lib.format.read_array_header_1_0(content)
    if math.prod(shape) * dtype.itemsize > len(content.getbuffer()) - content.tell():
        raise ValueError(f"{name} claims the shape {shape}, which is not there")
    content.seek(0)
    array: NDArray[Any] = np.lib.format.read_array(content, allow_pickle=False)
    return array
