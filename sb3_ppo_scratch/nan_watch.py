"""What is done about NaN and infinity while learning.

What is here: the three ways, as a watch over one update. What is not: looking (`finite_checks.py`, `updates/`), and
writing down what led there (`scratch_algorithm.py`).
"""

import math
from typing import Any

import torch as th
from stable_baselines3.common.buffers import RolloutBuffer

from sb3_ppo_scratch.argument_checks import OnNan
from sb3_ppo_scratch.errors import NotFiniteError
from sb3_ppo_scratch.finite_checks import Place, find_in_observations, find_in_rollout, name_of_not_finite
from sb3_ppo_scratch.updates.update import MinibatchFigures, Update

MOST_IN_A_ROW = 10
"""Minibatches or updates left out one after the other; what goes wrong more often will not mend itself."""


class NanWatch:
    """Watches one update.

    Args:
        on_nan: What to do: `"raise"`, `"skip"` (leave the minibatch out) or `"restore"` (leave the whole update out).
        update: How the policy is improved.
        n_in_a_row: How many minibatches or updates have been left out last, one after the other.
    """

    def __init__(self, on_nan: OnNan, update: Update, n_in_a_row: int) -> None:
        self._on_nan, self.update = on_nan, update
        self._before = update.remember()
        self.n_in_a_row = n_in_a_row
        self.n_left_out = 0
        """Minibatches, or 1 for the update."""

    def check_rollout(self, buffer: RolloutBuffer, last_observations: Any) -> None:
        """Look at what the environments have returned and got.

        Args:
            buffer: A full buffer, as it was filled.
            last_observations: What followed the last step, shape (n_envs, *shape), or a dict of such arrays.

        Raises:
            NotFiniteError: If an observation, reward or action is NaN or infinite.
        """
        place = find_in_rollout(buffer)
        env_index = find_in_observations(last_observations)
        if place is None and env_index is not None:
            place = Place("observation", buffer.buffer_size, env_index)
        if place is not None:
            raise NotFiniteError(place.quantity, f"in step {place.step} of environment {place.env_index}")

    def check_loss(self, figures: MinibatchFigures) -> None:
        """Look at a minibatch's loss.

        Args:
            figures: What was found.

        Raises:
            NotFiniteError: If it is NaN or infinite.
        """
        if not math.isfinite(float(figures.loss)):
            raise NotFiniteError("loss")

    def applied(self) -> None:
        """Take note of a step that was taken."""
        self.n_in_a_row = 0

    def leave_out(self, error: NotFiniteError, minibatch: Any, *, epoch: int, index: int) -> None:
        """Go on without a minibatch.

        Args:
            error: What was found in it.
            minibatch: It.
            epoch: Counted from 0.
            index: Of the minibatch in the epoch, counted from 0.

        Raises:
            NotFiniteError: With the place, if that is not what is to be done, or has been done too often.
        """
        located = NotFiniteError(error.quantity, f"of minibatch {index} in epoch {epoch}")
        located.batch = minibatch
        if self._on_nan != "skip" or self.n_in_a_row >= MOST_IN_A_ROW:
            raise located from error
        self._count()

    def check_parameters(self, policy: th.nn.Module) -> None:
        """Look at what the update has made of the policy.

        Args:
            policy: The policy.

        Raises:
            NotFiniteError: If a parameter is NaN or infinite.
        """
        name = name_of_not_finite(policy.named_parameters())
        if name is not None:
            raise NotFiniteError("parameter", name)

    def leave_out_update(self) -> bool:
        """Return to what was before the update.

        Returns:
            Whether learning goes on with that.
        """
        self.update.restore(self._before)
        if self._on_nan == "raise" or self.n_in_a_row >= MOST_IN_A_ROW:
            return False
        self._count()
        return True

    def _count(self) -> None:
        self.n_left_out += 1
        self.n_in_a_row += 1
