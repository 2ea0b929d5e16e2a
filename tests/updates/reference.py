"""PPO's loss by its definition, for torch to differentiate: what the update's own derivatives are compared with.

Also a way to have either library carry out the operations of the update.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import torch as th
from stable_baselines3.common.distributions import kl_divergence
from stable_baselines3.common.policies import ActorCriticPolicy

from sb3_ppo_scratch.updates import kernels, losses
from sb3_ppo_scratch.updates.autograd import Samples, actions_as_taken
from sb3_ppo_scratch.updates.update import UpdateSettings


def loss_of_minibatch(
    policy: ActorCriticPolicy, batch: Samples, settings: UpdateSettings, old_policy: ActorCriticPolicy | None = None
) -> th.Tensor:
    """Compute the paper's equation 9 (signs turned), with its graph, from the terms that `test_losses.py` tests.

    The KL penalty of its equation 8 is SB3's own divergence from an old policy, and without one SB3's estimate.
    """
    actions = actions_as_taken(batch.actions, policy.action_space)
    values, log_prob, entropy = policy.evaluate_actions(batch.observations, actions)
    advantages = batch.advantages
    if settings.normalize_advantage:
        advantages = losses.normalize_advantages(advantages)
    log_ratio = log_prob - batch.old_log_prob
    ratio = log_ratio.exp()
    if old_policy is None:
        kl = losses.approximate_kl(log_ratio)
    else:
        kl = mean_divergence(old_policy, policy, batch.observations)
    return (
        settings.kl_coef * kl
        + losses.clipped_surrogate_loss(ratio, advantages, settings.clip_range)
        + settings.ent_coef * losses.entropy_loss(entropy, log_prob)
        + settings.vf_coef
        * losses.value_loss(values.flatten(), batch.old_values, batch.returns, settings.clip_range_vf)
    )


def mean_divergence(old_policy: ActorCriticPolicy, policy: ActorCriticPolicy, observations: th.Tensor) -> th.Tensor:
    """Average KL(old || new) over observations, by SB3's function."""
    with th.no_grad():
        old = old_policy.get_distribution(observations)
    divergences = kl_divergence(old, policy.get_distribution(observations))
    return divergences.reshape(len(observations), -1).sum(dim=1).mean()


@contextmanager
def use_kernels_of(library: str) -> Iterator[None]:
    """Let `"numpy"` or `"torch"` carry out every operation inside the block, whatever its size."""
    limit = math.inf if library == "numpy" else 0
    with mock.patch.multiple(kernels, LARGE_PRODUCT=limit, LARGE_ARRAY=limit):
        yield
