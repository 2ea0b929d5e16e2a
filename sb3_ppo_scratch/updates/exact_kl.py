"""Exact KL divergences between SB3's action distributions, where they have a closed form.

What is here: describing a policy's distributions by a tensor, and measuring from that description. What is not: SB3's
estimate from the actions taken (`losses.py`), and the same without torch (`heads.py`).
"""

import functools
from typing import Any

import torch as th
from stable_baselines3.common.distributions import Distribution
from torch import distributions
from torch.nn import functional


def describe_distribution(distribution: Distribution) -> th.Tensor | None:
    """Describe a batch of distributions.

    Args:
        distribution: SB3's, of any kind.

    Returns:
        Its parameters, shape (batch, n_parameters); None if their divergences have no closed form.
    """
    rows = [_parameters(part) for part in _parts(distribution)]
    return None if any(row is None for row in rows) else th.cat(rows, dim=1)  # type: ignore[arg-type] # no None left


def kl_from(old: th.Tensor, distribution: Distribution) -> th.Tensor:
    """Measure how far distributions are from others of the same kind: KL(old || these).

    Args:
        old: What `describe_distribution` has returned for the others, shape (batch, n_parameters).
        distribution: These.

    Returns:
        Divergences, shape (batch,), with a graph if the distributions have one.
    """
    divergences: list[th.Tensor] = []
    start = 0
    for part in _parts(distribution):
        parameters = _parameters(part)
        assert parameters is not None
        described = old[:, start : start + parameters.shape[1]]
        start += parameters.shape[1]
        each = _divergence(_rebuild(part, described), part)
        divergences.append(each.reshape(len(old), -1).sum(dim=1))
    return functools.reduce(th.add, divergences)


def _divergence(old: Any, new: Any) -> th.Tensor:
    """Compute KL(old || new); of discrete ones from logits, as torch takes what underflows in `new` for impossible.

    Args:
        old: One of torch's distributions.
        new: Another of the same kind.

    Returns:
        Divergences, shape (batch,) or, of independent components, (batch, n).
    """
    divergence: th.Tensor
    if isinstance(new, distributions.Categorical):
        terms = old.probs * (old.logits - new.logits)
        divergence = terms.masked_fill(old.probs == 0, 0.0).sum(dim=1)
    elif isinstance(new, distributions.Bernoulli):
        yes = old.probs * (functional.logsigmoid(old.logits) - functional.logsigmoid(new.logits))
        no = th.sigmoid(-old.logits) * (functional.logsigmoid(-old.logits) - functional.logsigmoid(-new.logits))
        divergence = yes + no
    else:
        divergence = distributions.kl_divergence(old, new)
    return divergence


def _parts(distribution: Distribution) -> list[Any]:
    """List the torch distributions inside one of SB3's; one per dimension where SB3 keeps them apart."""
    inside = getattr(distribution, "distribution", None)
    return list(inside) if isinstance(inside, list) else [inside]


def _parameters(part: Any) -> th.Tensor | None:
    """Describe one of torch's distributions by a tensor of shape (batch, n); None if it is of another kind."""
    if isinstance(part, distributions.Normal):
        return th.cat([part.mean, part.stddev], dim=1)
    if isinstance(part, distributions.MultivariateNormal):
        return th.cat([part.mean, part.scale_tril.flatten(1)], dim=1)
    if isinstance(part, distributions.Categorical | distributions.Bernoulli):
        return part.logits
    return None


def _rebuild(part: Any, parameters: th.Tensor) -> distributions.Distribution:
    """Make a distribution of the same kind from its description, shape (batch, n)."""
    if isinstance(part, distributions.Normal):
        mean, std = parameters.chunk(2, dim=1)
        return distributions.Normal(mean, std)
    if isinstance(part, distributions.MultivariateNormal):
        n = part.mean.shape[1]
        return distributions.MultivariateNormal(parameters[:, :n], scale_tril=parameters[:, n:].reshape(-1, n, n))
    rebuilt: distributions.Distribution = type(part)(logits=parameters)
    return rebuilt
