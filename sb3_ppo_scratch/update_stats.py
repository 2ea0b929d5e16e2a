"""What an update reports: means over its minibatches, and the value function's explained variance.

What is here: collecting figures without waiting for the device at each minibatch. What is not: the formulas of the
figures (`updates/losses.py`).
"""

from collections.abc import Collection, Sequence

import numpy as np
import torch as th
from numpy.typing import NDArray
from stable_baselines3.common.logger import Logger

from sb3_ppo_scratch.updates.update import Figure, MinibatchFigures


class UpdateStats:
    """Collects the figures of each minibatch and logs their means over the whole update."""

    def __init__(self) -> None:
        self._rows: list[MinibatchFigures] = []

    def add(self, figures: MinibatchFigures) -> None:
        """Remember one minibatch's figures; those on a device stay there until `means`."""
        self._rows.append(figures)

    def means(self) -> dict[str, float]:
        """Average every figure over the minibatches seen, each minibatch counting once.

        Returns:
            Figure name to mean; empty if nothing was added.
        """
        return {name: self.mean(name) for name in MinibatchFigures._fields} if self._rows else {}

    def mean(self, name: str, sizes: Sequence[int] | None = None) -> float:
        """Average a figure over the minibatches seen.

        Args:
            name: A field of `MinibatchFigures`.
            sizes: Transitions of each minibatch, which then counts by its size; None: each counts once.

        Returns:
            The mean.
        """
        numbers = self._numbers(name)
        if sizes is None:
            return sum(numbers) / len(numbers)
        return sum(number * size for number, size in zip(numbers, sizes, strict=True)) / sum(sizes)

    def maximum(self, name: str) -> float:
        """Find a figure's largest value.

        Args:
            name: A field of `MinibatchFigures`.

        Returns:
            The value; NaN if one of them is.
        """
        return float(np.max(self._numbers(name)))

    def last(self, name: str) -> float:
        """Give a figure's value in the last minibatch.

        Args:
            name: A field of `MinibatchFigures`.

        Returns:
            The value.
        """
        return float(getattr(self._rows[-1], name))

    def _numbers(self, name: str) -> list[float]:
        """List a figure's values; those on a device are fetched at once."""
        figures: list[Figure] = [getattr(row, name) for row in self._rows]
        if isinstance(figures[0], th.Tensor):
            return list(th.stack([th.as_tensor(figure) for figure in figures]).cpu().double().tolist())
        return list(map(float, figures))

    def __len__(self) -> int:
        """Count the minibatches seen."""
        return len(self._rows)

    def record(self, logger: Logger, *, without: Collection[str] = ()) -> None:
        """Write means as `train/<figure>`.

        Args:
            logger: SB3's logger; its keys for these figures are the same as stock PPO's.
            without: Figures to leave out.
        """
        for name, mean in self.means().items():
            if name not in without:
                logger.record(f"train/{name}", mean)


def explained_variance(predictions: NDArray[np.float32], targets: NDArray[np.float32]) -> float:
    """Share of the targets' variance that the predictions explain.

    1 is a perfect prediction, 0 is as good as a constant, below 0 is worse than a constant.

    Args:
        predictions: Shape (n,).
        targets: Shape (n,).

    Returns:
        `1 - Var[targets - predictions] / Var[targets]`; NaN if the targets do not vary.
    """
    variance = np.var(targets)
    return float("nan") if variance == 0 else float(1 - np.var(targets - predictions) / variance)
