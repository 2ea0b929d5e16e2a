"""A Gaussian over continuous actions whose spread may depend on the state and on the other actions.

What is here: SB3's diagonal Gaussian with one or both of its two simplifications undone. What is not: the policy that
has such a distribution (`policies.py`). Batches are asked for their `shape[0]`, since `len` of a tensor is a constant
to torch's tracer, and an exported file would take batches of that size only.
"""

from typing import Any, TypeVar

import torch as th
from stable_baselines3.common.distributions import DiagGaussianDistribution
from torch.distributions import MultivariateNormal, Normal

SelfGaussian = TypeVar("SelfGaussian", bound="GaussianDistribution")
LOG_STD_RANGE = (-20.0, 2.0)
"""Where a log std that depends on the state is kept (values: SB3's SAC)."""


class GaussianHead(th.nn.Module):
    """The last layer of the actor: means, and what the spread is made of beyond the log std that all states share.

    Args:
        latent_dim: Units of the layer before.
        action_dim: Dimensions of the actions.
        state_dependent_std: Whether the log std gets a part that depends on the state.
        independent_components: Whether actions are drawn independently in each dimension.
    """

    def __init__(
        self, latent_dim: int, action_dim: int, *, state_dependent_std: bool, independent_components: bool
    ) -> None:
        super().__init__()
        self.mean = th.nn.Linear(latent_dim, action_dim)
        self.log_std_change = th.nn.Linear(latent_dim, action_dim) if state_dependent_std else None
        n_below = 0 if independent_components else action_dim * (action_dim - 1) // 2
        self.below_diagonal = th.nn.Parameter(th.zeros(n_below))

    def forward(self, latent: th.Tensor) -> th.Tensor:
        """Compute everything side by side.

        Args:
            latent: Shape (batch, latent_dim).

        Returns:
            Means, changes of the log std if there are any, and elements below the diagonal; shape (batch, n).
        """
        parts = [self.mean(latent)]
        if self.log_std_change is not None:
            parts.append(self.log_std_change(latent))
        return th.cat([*parts, self.below_diagonal.expand(latent.shape[0], -1)], dim=1)


class GaussianDistribution(DiagGaussianDistribution):
    """SB3's Gaussian, with a std that depends on the state, or components that depend on each other, or both.

    The covariance is `L L'` with `L = diag(std) (I + B)`, and `B` below the diagonal: any covariance can be written so.

    Args:
        action_dim: Dimensions of the actions.
        state_dependent_std: Whether the std depends on the state.
        independent_components: Whether `B` is 0.
    """

    def __init__(self, action_dim: int, *, state_dependent_std: bool, independent_components: bool) -> None:
        super().__init__(action_dim)
        self.state_dependent_std, self.independent_components = state_dependent_std, independent_components

    def proba_distribution_net(self, latent_dim: int, log_std_init: float = 0.0) -> tuple[Any, th.nn.Parameter]:
        """Build what the distribution is computed by.

        Args:
            latent_dim: Units of the layer before.
            log_std_init: Where the log std begins.

        Returns:
            The head, and the log std that all states share, shape (action_dim,).
        """
        head = GaussianHead(
            latent_dim,
            self.action_dim,
            state_dependent_std=self.state_dependent_std,
            independent_components=self.independent_components,
        )
        return head, th.nn.Parameter(th.full((self.action_dim,), log_std_init))

    def proba_distribution(self: SelfGaussian, mean_actions: th.Tensor, log_std: th.Tensor) -> SelfGaussian:
        """Take parameters.

        Args:
            mean_actions: What the head has put out, shape (batch, n).
            log_std: The log std that all states share, shape (action_dim,).

        Returns:
            Itself.
        """
        mean, rest = mean_actions[:, : self.action_dim], mean_actions[:, self.action_dim :]
        if self.state_dependent_std:
            log_std = (log_std + rest[:, : self.action_dim]).clamp(*LOG_STD_RANGE)
            rest = rest[:, self.action_dim :]
        std = log_std.exp().expand_as(mean)
        if self.independent_components:
            self.distribution = Normal(mean, std)
            return self
        below = mean.new_zeros(mean.shape[0], self.action_dim, self.action_dim)
        row, column = th.tril_indices(self.action_dim, self.action_dim, offset=-1, device=mean.device)
        below = below.index_put((th.arange(mean.shape[0], device=mean.device)[:, None], row, column), rest)
        factor = std[:, :, None] * (below + th.eye(self.action_dim, dtype=mean.dtype, device=mean.device))
        self.distribution = MultivariateNormal(mean, scale_tril=factor)  # type: ignore[assignment] # not SB3's Normal
        return self

    def log_prob(self, actions: th.Tensor) -> th.Tensor:
        """Evaluate actions, shape (batch, action_dim), to log-probabilities, shape (batch,)."""
        log_prob: th.Tensor = self.distribution.log_prob(actions)  # type: ignore[no-untyped-call] # torch's
        return log_prob.sum(dim=1) if self.independent_components else log_prob

    def entropy(self) -> th.Tensor:
        """Compute the entropies, shape (batch,)."""
        entropy: th.Tensor = self.distribution.entropy()  # type: ignore[no-untyped-call] # torch's
        return entropy.sum(dim=1) if self.independent_components else entropy
