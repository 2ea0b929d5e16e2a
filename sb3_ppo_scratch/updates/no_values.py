"""The critic of a policy that has none.

What is here: a module in a value network's place. What is not: putting it there (`networks.py`).
"""

import torch as th


class NoValues(th.nn.Module):
    """Estimates 0 for every observation, without parameters."""

    def forward(self, latent: th.Tensor) -> th.Tensor:
        """Return zeros, shape (batch, 1), for anything of shape (batch, n)."""
        return latent.new_zeros((len(latent), 1))
