"""The terms of PPO's objective, their derivatives, and its diagnostics, as pure torch functions.

What is here: everything that can be written as a formula of one minibatch. What is not: the networks, the optimiser and
the loop over minibatches (`autograd.py`, `ppo_scratch.py`). All tensors have shape (batch,), all results are 0-d unless
stated otherwise. The derivatives are derived in docs/closed-form.md.

Source: Schulman et al., Proximal Policy Optimization Algorithms (https://arxiv.org/abs/1707.06347), "the paper" below.
"""

import torch as th
from torch.nn import functional

ADVANTAGE_EPSILON = 1e-8
"""Added to the standard deviation, so that equal advantages become 0 rather than NaN (value: SB3's)."""


def normalize_advantages(advantages: th.Tensor) -> th.Tensor:
    """Shift and scale a minibatch's advantages to mean 0 and (unbiased) standard deviation 1.

    Args:
        advantages: Shape (batch,).

    Returns:
        Normalised advantages, shape (batch,). A single advantage is returned as it is: it has no deviation.
    """
    if len(advantages) <= 1:
        return advantages
    return (advantages - advantages.mean()) / (advantages.std() + ADVANTAGE_EPSILON)


def clipped_surrogate_loss(ratio: th.Tensor, advantages: th.Tensor, clip_range: float) -> th.Tensor:
    """Negative clipped surrogate objective, to be minimised.

    Taking the smaller of the clipped and the unclipped term removes the reward for moving the ratio out of
    [1 - clip_range, 1 + clip_range], and keeps the penalty where the move made things worse.

    Args:
        ratio: New over old probability of the actions taken, shape (batch,).
        advantages: Advantages of those actions, shape (batch,).
        clip_range: Half width of the trust interval around a ratio of 1.

    Returns:
        The loss, a 0-d tensor.

    Source:
        The paper, equation 7.
    """
    clipped_ratio = ratio.clamp(1 - clip_range, 1 + clip_range)
    return -th.minimum(ratio * advantages, clipped_ratio * advantages).mean()


def surrogate_derivative(ratio: th.Tensor, advantages: th.Tensor, clip_range: float) -> th.Tensor:
    """Derivative of the clipped surrogate loss by the log-probabilities of the actions taken.

    Args:
        ratio: New over old probability of the actions taken, shape (batch,).
        advantages: Advantages of those actions, shape (batch,).
        clip_range: Half width of the trust interval around a ratio of 1.

    Returns:
        Shape (batch,): `-ratio * advantage / batch`, and 0 where clipping makes the surrogate constant.
    """
    unclipped = ratio * advantages
    clipped = ratio.clamp(1 - clip_range, 1 + clip_range) * advantages
    return (advantages * (-1 / len(ratio)) * ratio) * (unclipped <= clipped)


def value_loss(
    values: th.Tensor, old_values: th.Tensor, returns: th.Tensor, clip_range_vf: float | None = None
) -> th.Tensor:
    """Mean squared error of the value function, if wanted with its change since the rollout clipped.

    Args:
        values: Current estimates, shape (batch,).
        old_values: Estimates at rollout time, shape (batch,).
        returns: Targets (advantage plus old value), shape (batch,).
        clip_range_vf: Largest change of an estimate that counts, in units of the reward; None: no clipping.

    Returns:
        The loss, a 0-d tensor.

    Source:
        The paper, section 5 (L^VF of equation 9). Clipping is from OpenAI baselines:
        https://github.com/openai/baselines/blob/ea25b9e8b234e6ee1bca43083f8f3cf974143998/baselines/ppo2/model.py#L68-L75
        (there the larger of both errors counts, here, as in SB3, the clipped one).
    """
    if clip_range_vf is not None:
        values = old_values + (values - old_values).clamp(-clip_range_vf, clip_range_vf)
    return functional.mse_loss(values, returns)


def value_loss_derivative(
    values: th.Tensor, old_values: th.Tensor, returns: th.Tensor, clip_range_vf: float | None = None
) -> th.Tensor:
    """Derivative of the value loss by the current estimates.

    Args:
        values: Current estimates, shape (batch,).
        old_values: Estimates at rollout time, shape (batch,).
        returns: Targets, shape (batch,).
        clip_range_vf: Largest change of an estimate that counts; None: no clipping.

    Returns:
        Shape (batch,): `2 * error / batch`, and 0 where clipping holds the estimate.
    """
    scale = 2 / len(values)
    if clip_range_vf is None:
        return (values - returns) * scale
    change = values - old_values
    clipped_change = change.clamp(-clip_range_vf, clip_range_vf)
    return (old_values + clipped_change - returns) * scale * (change == clipped_change)


def entropy_loss(entropy: th.Tensor | None, log_prob: th.Tensor) -> th.Tensor:
    """Negative mean entropy: added to the loss with a positive weight, it keeps the policy exploring.

    Args:
        entropy: Entropy of each action distribution, shape (batch,); None if it has no closed form (squashed gSDE),
            in which case the actions' own log-probabilities estimate it.
        log_prob: Log-probabilities of the actions taken, shape (batch,).

    Returns:
        The loss, a 0-d tensor.

    Source:
        The paper, equation 9 (the term S).
    """
    return log_prob.mean() if entropy is None else -entropy.mean()


def approximate_kl(log_ratio: th.Tensor) -> th.Tensor:
    """Estimate KL(old || new) from the old policy's samples: unbiased, never negative, little variance.

    Args:
        log_ratio: New minus old log-probability of the actions taken, shape (batch,).

    Returns:
        The mean of `ratio - 1 - log_ratio`, a 0-d tensor.

    Source:
        The estimator k3 of http://joschu.net/blog/kl-approx.html.
    """
    return (log_ratio.exp() - 1 - log_ratio).mean()


def approximate_kl_derivative(ratio: th.Tensor) -> th.Tensor:
    """Derivative of that estimate by the log-probabilities of the actions taken.

    Args:
        ratio: New over old probability of the actions taken, shape (batch,).

    Returns:
        `(ratio - 1) / batch`, shape (batch,).
    """
    return (ratio - 1) / len(ratio)


def clip_fraction(ratio: th.Tensor, clip_range: float) -> th.Tensor:
    """Share of the minibatch whose ratio lies outside the trust interval.

    Args:
        ratio: New over old probability of the actions taken, shape (batch,).
        clip_range: Half width of the interval.

    Returns:
        A 0-d tensor in [0, 1].
    """
    return ((ratio - 1).abs() > clip_range).float().mean()
