"""What is done about NaN and infinity while learning.

What is here: the three ways, as a watch over one update. What is not: looking (`finite_checks.py`, `updates/`), and
writing down what led there (`scratch_algorithm.py`).
"""

import math
from typing import Any

import numpy as np
import torch as th
from numpy.typing import NDArray
from stable_baselines3.common.buffers import RolloutBuffer

from sb3_ppo_scratch.argument_checks import OnNan
from sb3_ppo_scratch.errors import NotFiniteError
from sb3_ppo_scratch.finite_checks import (
    Place,
    find_in_observations,
    find_in_rollout,
    name_of_not_finite,
    place_in_turn,
)
from sb3_ppo_scratch.updates.update import Figure, Update

MOST_IN_A_ROW = 10
"""Minibatches or updates left out one after the other; what goes wrong more often will not mend itself."""


def looks_at_once(on_nan: OnNan, device: th.device) -> bool:
    """Tell whether numbers are looked at as soon as they are asked for.

    Waiting for a GPU at each minibatch would cost more than the rest of a small update: there, numbers are looked at
    when the update is over, unless minibatches are to be left out.

    Args:
        on_nan: What is done.
        device: Where the policy is.

    Returns:
        Whether they are.
    """
    return on_nan == "skip" or device.type == "cpu"


class NanWatch:
    """Watches one update.

    Args:
        on_nan: What to do: `"raise"`, `"skip"` (leave the minibatch out) or `"restore"` (leave the whole update out).
        update: How the policy is improved.
        n_in_a_row: How many minibatches or updates have been left out last, one after the other.
        is_prompt: Whether to look at each number at once; else at the end of the update.
    """

    def __init__(self, on_nan: OnNan, update: Update, n_in_a_row: int, *, is_prompt: bool) -> None:
        self._on_nan, self.update, self._is_prompt = on_nan, update, is_prompt
        self._unread: list[tuple[str, tuple[int, int] | None, Figure]] = []
        self._minibatch: Any = None
        self._place: tuple[int, int] | None = None
        self._before = update.remember()
        self.n_in_a_row = n_in_a_row
        self.n_left_out = 0
        """Minibatches, or 1 for the update."""

    def check_rollout(self, buffer: RolloutBuffer, lengths: NDArray[np.int64] | None, last_observations: Any) -> None:
        """Look at what the environments have returned and got.

        Args:
            buffer: A full buffer, as it was filled.
            lengths: Steps of each environment, shape (n_envs,); None: they do not lie one behind the other.
            last_observations: What followed the last step, shape (n_envs, *shape), or a dict of such arrays.

        Raises:
            NotFiniteError: If an observation, reward or action is NaN or infinite.
        """
        place = find_in_rollout(buffer)
        if place is not None and lengths is not None:
            place = place_in_turn(place, lengths)
        env_index = find_in_observations(last_observations)
        if place is None and env_index is not None:
            place = Place("observation", buffer.buffer_size, env_index)
        if place is not None:
            raise NotFiniteError(place.quantity, f"in step {place.step} of environment {place.env_index}")

    def begin(self, minibatch: Any, *, epoch: int, index: int) -> None:
        """Say what is looked at from now on.

        Args:
            minibatch: The minibatch.
            epoch: Counted from 0.
            index: Of the minibatch in the epoch, counted from 0.
        """
        self._minibatch, self._place = minibatch, (index, epoch)

    def look(self, quantity: str, figure: Figure) -> None:
        """Look at a number of the minibatch: at once, or with all others at the end of the update.

        Args:
            quantity: What it is.
            figure: It.

        Raises:
            NotFiniteError: If it is NaN or infinite.
        """
        if not self._is_prompt:
            self._unread.append((quantity, self._place, figure))
        elif not math.isfinite(float(figure)):
            error = NotFiniteError(quantity, _name_minibatch(self._place))
            error.batch = self._minibatch
            raise error

    def applied(self) -> None:
        """Take note of a step that was taken."""
        self.n_in_a_row = 0

    def leave_out(self, error: NotFiniteError) -> None:
        """Go on without a minibatch.

        Args:
            error: What was found in it.

        Raises:
            NotFiniteError: It, if that is not what is to be done, or has been done too often.
        """
        if self._on_nan != "skip" or self.n_in_a_row >= MOST_IN_A_ROW:
            raise error
        self._count()

    def finish(self, policy: th.nn.Module) -> None:
        """Look at what has not been looked at, and at what the update has made of the policy.

        Args:
            policy: The policy.

        Raises:
            NotFiniteError: If a number or a parameter is NaN or infinite.
        """
        if self._unread:
            figures = th.stack([th.as_tensor(figure) for _, _, figure in self._unread])
            for (quantity, place, _), is_finite in zip(self._unread, figures.isfinite().tolist(), strict=True):
                if not is_finite:
                    raise NotFiniteError(quantity, _name_minibatch(place))
        if math.isfinite(self.update.sum_parameters()):
            return
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


def _name_minibatch(place: tuple[int, int] | None) -> str:
    """Say which minibatch of which epoch it is, if there are several."""
    return "" if place is None else "of minibatch {} in epoch {}".format(*place)
