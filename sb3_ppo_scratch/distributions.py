"""Discrete action distributions over values that have an order: bins of a continuous action space.

What is here: choosing among atoms, independently in each dimension, with free or with ordinal logits. What is not: the
policies that have such a distribution (`policies.py`), and where atoms come from (`wrappers/bin_action.py`).
"""

from collections.abc import Sequence
from typing import Any, Literal, TypeVar

import numpy as np
import torch as th
from numpy.typing import NDArray
from stable_baselines3.common.distributions import MultiCategoricalDistribution
from torch.distributions import Categorical
from torch.nn import functional

SelfBinned = TypeVar("SelfBinned", bound="BinnedDistribution")
Deterministic = Literal["mode", "mean", "median"]
"""What stands for a distribution where nothing is to be drawn from it."""
ROUNDING = 1e-5
"""Up to where float32 may differ: actions from their atom (by the largest atom's size), sums of probabilities."""


def ordinal_logits(logits: th.Tensor) -> th.Tensor:
    """Let each output of a network speak for all categories from its own on.

    `F[i] = sum over j <= i of log s[j] + sum over j > i of log(1 - s[j])` with `s = sigmoid(logits)`: category i is
    likely if everything up to it says yes and everything beyond it says no, so neighbours become likely together.

    Args:
        logits: Shape (batch, n_categories).

    Returns:
        Logits of a categorical distribution, same shape.

    Source:
        Tang and Agrawal, Discretizing continuous action space for on-policy optimization,
        https://arxiv.org/abs/1901.10500, section 4.3 (equation 5); in logarithms throughout, so that nothing overflows.
    """
    yes, no = functional.logsigmoid(logits), functional.logsigmoid(-logits)
    # Summed from behind: terms of one sign only, so that nothing cancels (sum minus running sum would).
    no_from_here = no.flip(1).cumsum(dim=1).flip(1)
    return yes.cumsum(dim=1) + functional.pad(no_from_here[:, 1:], (0, 1))


class BinnedDistribution(MultiCategoricalDistribution):
    """One categorical distribution per action dimension, over values ("atoms") rather than over their numbers.

    Values that are no atoms have probability 0; the mean is one of these, as a rule.

    Args:
        atoms: For each dimension its values in ascending order, shape (n_atoms,), which differ as float32.
        deterministic: What `get_actions(deterministic=True)` returns.
    """

    def __init__(self, atoms: Sequence[NDArray[Any]], deterministic: Deterministic = "mode") -> None:
        super().__init__([len(values) for values in atoms])
        self.deterministic = deterministic
        largest = max(self.action_dims)
        # Rows of unequal length are filled up with NaN, which is nearest to nothing.
        rows = [
            np.pad(values.astype(np.float64), (0, largest - len(values)), constant_values=np.nan) for values in atoms
        ]
        self._is_integer = all(values.dtype.kind in "iu" for values in atoms)
        self._atoms = th.as_tensor(np.stack(rows)).to(th.float32)
        self._tolerance = ROUNDING * self._atoms.nan_to_num().abs().amax(dim=1)
        self._dimensions = th.arange(len(atoms))

    def proba_distribution(self: SelfBinned, action_logits: th.Tensor) -> SelfBinned:
        """Take a network's outputs, shape (batch, n_outputs), as parameters."""
        device = action_logits.device
        self._atoms, self._tolerance = self._atoms.to(device), self._tolerance.to(device)
        self._dimensions = self._dimensions.to(device)
        splits = th.split(action_logits, list(self.action_dims), dim=1)
        self.distribution = [Categorical(logits=self._logits(split)) for split in splits]
        return self

    def log_prob(self, actions: th.Tensor) -> th.Tensor:
        """Evaluate actions, shape (batch, n_dimensions), to log-probabilities, shape (batch,); of non-atoms to -inf."""
        distances, indices = self.nearest_atoms(actions)
        are_atoms = (distances <= self._tolerance).all(dim=1)
        return super().log_prob(indices).masked_fill(~are_atoms, -th.inf)

    def sample(self) -> th.Tensor:
        """Draw atoms, shape (batch, n_dimensions)."""
        return self._values_of(super().sample())

    def mode(self) -> th.Tensor:
        """Give the most likely atoms, shape (batch, n_dimensions)."""
        return self._values_of(super().mode())

    def mean(self) -> th.Tensor:
        """Give the expected values, shape (batch, n_dimensions), rounded if atoms are integers."""
        pairs = zip(self.distribution, self._atoms, strict=True)
        means = th.stack([each.probs @ atoms[: each.probs.shape[1]].to(each.probs) for each, atoms in pairs], dim=1)
        return means.round().long() if self._is_integer else means

    def median(self) -> th.Tensor:
        """Give the first atoms up to which half of the probability lies, shape (batch, n_dimensions)."""
        below = [each.probs.cumsum(dim=1) < 0.5 - ROUNDING for each in self.distribution]
        return self._values_of(th.stack([each.sum(dim=1) for each in below], dim=1))

    def get_actions(self, deterministic: bool = False) -> th.Tensor:
        """Draw atoms, or give what stands for the distributions, shape (batch, n_dimensions)."""
        actions: th.Tensor = getattr(self, self.deterministic)() if deterministic else self.sample()
        return actions

    def nearest_atoms(self, actions: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        """Find the atoms nearest to actions.

        Args:
            actions: Shape (batch, n_dimensions), or with one dimension (batch,).

        Returns:
            How far they are (infinitely from NaN), and their numbers, int64; both of shape (batch, n_dimensions).
        """
        columns = actions.reshape(-1, len(self.action_dims), 1)
        distances, indices = (columns - self._atoms).abs().nan_to_num(nan=th.inf).min(dim=2)
        return distances, indices

    def _values_of(self, indices: th.Tensor) -> th.Tensor:
        """Look atoms up by their numbers, shape (batch, n_dimensions)."""
        values = self._atoms[self._dimensions, indices]
        return values.long() if self._is_integer else values

    def _logits(self, outputs: th.Tensor) -> th.Tensor:
        """Turn one dimension's outputs, shape (batch, n_atoms), into logits."""
        return outputs


class OrdinalDistribution(BinnedDistribution):
    """A `BinnedDistribution` whose logits know the order of the atoms; see `ordinal_logits`."""

    def _logits(self, outputs: th.Tensor) -> th.Tensor:
        """Turn one dimension's outputs, shape (batch, n_atoms), into logits."""
        return ordinal_logits(outputs)
