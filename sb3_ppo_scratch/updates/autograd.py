"""One minibatch step of PPO for any policy on any device, its gradient taken by torch.

What is here: evaluating the objective on a minibatch, and applying its gradient. What is not: the formulas
(`losses.py`) and the loop over epochs and minibatches (`ppo_scratch.py`).
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import DictRolloutBufferSamples, RolloutBufferSamples

from sb3_ppo_scratch.updates import losses


@dataclass(frozen=True)
class UpdateSettings:
    """The numbers that one whole update uses, read from the algorithm (schedules evaluated) when the update begins."""

    clip_range: float
    clip_range_vf: float | None
    normalize_advantage: bool
    ent_coef: float
    vf_coef: float
    max_grad_norm: float
    target_kl: float | None


class MinibatchFigures(NamedTuple):
    """What one minibatch yields: the loss (with its graph) and what is logged about it, all 0-d tensors."""

    loss: th.Tensor
    policy_gradient_loss: th.Tensor
    value_loss: th.Tensor
    entropy_loss: th.Tensor
    approx_kl: th.Tensor
    clip_fraction: th.Tensor


def actions_as_taken(actions: th.Tensor, action_space: spaces.Space[Any]) -> th.Tensor:
    """Undo the buffer's storage format, in which every action is a row of floats.

    Args:
        actions: Stored actions, shape (batch, action_dim).
        action_space: The space that they come from.

    Returns:
        For a Discrete space shape (batch,), int64: with shape (batch, 1) the log-probabilities would broadcast to
        (batch, batch) without an error. Else the actions as they are, shape (batch, action_dim).
    """
    return actions.long().flatten() if isinstance(action_space, spaces.Discrete) else actions


def evaluate_minibatch(
    policy: ActorCriticPolicy, batch: RolloutBufferSamples | DictRolloutBufferSamples, settings: UpdateSettings
) -> MinibatchFigures:
    """Evaluate PPO's objective on one minibatch.

    Args:
        policy: The policy to be improved.
        batch: Transitions of the last rollout, each field with shape (batch, ...).
        settings: Clip ranges and weights of the terms.

    Returns:
        The loss, ready for `backward`, and the figures to log.

    Source:
        The paper's equation 9, with the signs turned for minimisation.
    """
    actions = actions_as_taken(batch.actions, policy.action_space)
    values, log_prob, entropy = policy.evaluate_actions(batch.observations, actions)
    advantages = batch.advantages
    if settings.normalize_advantage:
        advantages = losses.normalize_advantages(advantages)
    log_ratio = log_prob - batch.old_log_prob
    ratio = log_ratio.exp()
    policy_gradient_loss = losses.clipped_surrogate_loss(ratio, advantages, settings.clip_range)
    value_loss = losses.value_loss(values.flatten(), batch.old_values, batch.returns, settings.clip_range_vf)
    entropy_loss = losses.entropy_loss(entropy, log_prob)
    loss = policy_gradient_loss + settings.ent_coef * entropy_loss + settings.vf_coef * value_loss
    with th.no_grad():
        approx_kl = losses.approximate_kl(log_ratio)
        clip_fraction = losses.clip_fraction(ratio, settings.clip_range)
    return MinibatchFigures(loss, policy_gradient_loss, value_loss, entropy_loss, approx_kl, clip_fraction)


def apply_gradient(policy: ActorCriticPolicy, loss: th.Tensor, max_grad_norm: float) -> None:
    """Take one optimiser step along the loss's gradient, its norm over all parameters clipped.

    Args:
        policy: The policy, which owns its optimiser.
        loss: The loss with its graph, a 0-d tensor (no shape).
        max_grad_norm: Largest L2 norm of the gradient over all parameters together.
    """
    policy.optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call] # torch leaves it unannotated
    th.nn.utils.clip_grad_norm_(policy.parameters(), max_grad_norm)
    policy.optimizer.step()


def free_graph(policy: ActorCriticPolicy) -> None:
    """Detach what the policy's action distribution keeps of the last evaluation from its graph.

    SB3's distributions remember the last batch, graph included; torch refuses to deepcopy such tensors.

    Args:
        policy: The policy; its behaviour does not change.
    """
    _detach_attributes(policy.action_dist)


def _detach_attributes(distribution: Any) -> None:
    """Detach a distribution's tensors (any shape), also those of the torch distributions inside it."""
    for name, value in vars(distribution).items():
        if isinstance(value, th.Tensor):
            setattr(distribution, name, value.detach())
        elif isinstance(value, th.distributions.Distribution):
            _detach_attributes(value)
        elif isinstance(value, list):
            for part in value:
                if isinstance(part, th.distributions.Distribution):
                    _detach_attributes(part)
