"""What every way of updating the policy has in common.

What is here: the numbers that go into an update and come out of it, and the steps that `PPOScratch.train` calls. What
is not: the ways themselves (`autograd.py`, `closed_form.py`) and the choice between them (`update_choice.py`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch as th
from stable_baselines3.common.buffers import RolloutBuffer

Remembered = Any
"""Copies of parameters and optimiser state; each way has its own."""
Figure = float | th.Tensor
"""A number; as a 0-d tensor it may still be on its way from the device."""


@dataclass(frozen=True)
class UpdateSettings:
    """The numbers that one whole update uses, read from the algorithm (schedules evaluated) when the update begins."""

    clip_range: float
    clip_range_vf: float | None
    normalize_advantage: bool
    ent_coef: float
    vf_coef: float
    max_grad_norm: float
    kl_coef: float = 0.0


class MinibatchFigures(NamedTuple):
    """What is logged about one minibatch: the loss, its terms, and how far the policy has moved."""

    loss: Figure
    policy_gradient_loss: Figure
    value_loss: Figure
    entropy_loss: Figure
    approx_kl: Figure
    clip_fraction: Figure
    kl: Figure
    """The exact divergence from the policy of the rollout if the rollout was read for that, else `approx_kl`."""


class NotCoveredError(Exception):
    """A faster way does not cover something; the message says what."""


class Rollout(Protocol):
    """A full rollout buffer, made ready for one way of updating."""

    why_kl_is_estimated: str
    """Why `MinibatchFigures.kl` is an estimate though an exact divergence was asked for; empty if it is none."""

    def minibatches(self, batch_size: int) -> Iterator[Any]:
        """Pass once over it in random order.

        Args:
            batch_size: Transitions per minibatch; the last may have fewer.

        Yields:
            Minibatches as this way's `evaluate` takes them; each has `returns`, shape (batch,).
        """


class Update(Protocol):
    """One way of improving the policy, minibatch by minibatch."""

    def read(self, rollout_buffer: RolloutBuffer, *, exact_kl: bool = False) -> Rollout:
        """Make a full rollout buffer ready, at the beginning of an update; if asked, to measure KL divergences."""

    def evaluate(self, minibatch: Any, settings: UpdateSettings) -> MinibatchFigures:
        """Evaluate PPO's objective on a minibatch, and remember what `step` needs."""

    def differentiate(self, settings: UpdateSettings) -> Figure:
        """Compute the gradient of what was evaluated last, clip its norm, and return the norm that it had before."""

    def step(self) -> None:
        """Take one step of the optimiser along it."""

    def sum_parameters(self) -> float:
        """Add up all parameters: NaN or infinite if one of them is, and hardly ever else."""

    def remember(self) -> Remembered:
        """Copy parameters and optimiser state as they are now, for `restore`."""

    def restore(self, remembered: Remembered) -> None:
        """Return to what was remembered."""
