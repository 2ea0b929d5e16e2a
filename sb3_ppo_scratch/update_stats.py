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
        columns = zip(*self._rows, strict=True)
        return {name: _mean(column) for name, column in zip(MinibatchFigures._fields, columns, strict=False)}

    def maximum(self, name: str) -> float:
        """Find a figure's largest value.

        Args:
            name: A field of `MinibatchFigures`.

        Returns:
            The value.
        """
        return max(float(getattr(row, name)) for row in self._rows)

    def last(self, name: str) -> float:
        """Give a figure's value in the last minibatch.

        Args:
            name: A field of `MinibatchFigures`.

        Returns:
            The value.
        """
        return float(getattr(self._rows[-1], name))

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


def _mean(figures: Sequence[Figure]) -> float:
    """Average numbers or 0-d tensors, which are fetched from their device at once."""
    if isinstance(figures[0], th.Tensor):
        return float(th.stack([th.as_tensor(figure) for figure in figures]).cpu().double().mean())
    return sum(map(float, figures)) / len(figures)


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
