"""Tests of `updates/exact_kl.py` against the definition in float64 (Gaussians: `test_gaussian_distribution.py`)."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.distributions import (
    BernoulliDistribution,
    CategoricalDistribution,
    Distribution,
    MultiCategoricalDistribution,
)

from sb3_ppo_scratch.updates.exact_kl import describe_distribution, kl_from

KINDS: dict[str, Any] = {
    "categorical": lambda: CategoricalDistribution(6),
    "multi_categorical": lambda: MultiCategoricalDistribution([1, 3, 2]),
    "bernoulli": lambda: BernoulliDistribution(6),
}


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Log-probabilities, shape (batch, n)."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def log_probabilities(kind: str, logits: np.ndarray) -> list[np.ndarray]:
    """Those of each independent choice, shape (batch, n)."""
    if kind == "bernoulli":
        return [np.stack([-np.logaddexp(0, -each), -np.logaddexp(0, each)], axis=1) for each in logits.T]
    return [log_softmax(part) for part in (np.split(logits, [1, 4], axis=1) if "multi" in kind else [logits])]


def divergences(old: Distribution, new: Distribution) -> th.Tensor:
    described = describe_distribution(old)
    assert described is not None
    return kl_from(described, new)


@pytest.mark.parametrize("size", [0.01, 1.0, 20.0, 300.0])
@pytest.mark.parametrize("kind", KINDS)
def test_divergences_are_those_by_definition_however_small_probabilities_become(kind: str, size: float) -> None:
    generator = np.random.default_rng(0)
    old_logits, new_logits = (th.as_tensor(generator.normal(0, size, (50, 6))).float() for _ in range(2))
    pairs = zip(*(log_probabilities(kind, logits.double().numpy()) for logits in (old_logits, new_logits)), strict=True)
    expected = sum((np.exp(log_p) * (log_p - log_q)).sum(axis=1) for log_p, log_q in pairs)
    new_logits.requires_grad_()
    found = divergences(*(KINDS[kind]().proba_distribution(logits) for logits in (old_logits, new_logits)))
    np.testing.assert_allclose(found.detach(), expected, rtol=1e-4, atol=1e-6)
    found.sum().backward()
    assert new_logits.grad is not None
    assert new_logits.grad.isfinite().all()


def test_impossible_actions_count_nothing_until_they_become_possible() -> None:
    masked, free = th.tensor([[0.0, 1.0, -th.inf]]), th.tensor([[0.0, 1.0, 2.0]])
    some, all_ = (CategoricalDistribution(3).proba_distribution(logits) for logits in (masked, free))
    p, q = (th.softmax(logits.double(), dim=1)[0, :2] for logits in (masked, free))
    assert divergences(some, some).item() == pytest.approx(0.0, abs=1e-7)
    assert divergences(some, all_).item() == pytest.approx((p * (p / q).log()).sum().item(), rel=1e-6)
    assert divergences(all_, some).item() == np.inf


def gaussians(kind: str, seed: int) -> tuple[Any, np.ndarray, np.ndarray]:
    """Some of SB3's or ours, with their means, shape (5, 3), and covariances, shape (5, 3, 3)."""
    means, scales = (th.as_tensor(each) for each in np.random.default_rng(seed).normal(size=(2, 5, 3, 1)))
    means, deviations = means[..., 0], scales[..., 0].exp()
    if kind == "diagonal":
        part: Any = th.distributions.Normal(means, deviations)
        covariances = th.diag_embed(deviations**2)
    else:
        tril = th.diag_embed(deviations) + 0.5 * th.ones(3, 3, dtype=th.float64).tril(-1)
        part, covariances = th.distributions.MultivariateNormal(means, scale_tril=tril), tril @ tril.mT
    return SimpleNamespace(distribution=part), means.numpy(), covariances.numpy()


@pytest.mark.parametrize("kind", ["diagonal", "full"])
def test_divergences_of_gaussians_are_those_by_definition(kind: str) -> None:
    (old, old_mean, old_cov), (new, mean, cov) = gaussians(kind, 0), gaussians(kind, 1)
    precision, move = np.linalg.inv(cov), mean - old_mean
    expected = np.einsum("bij,bji->b", precision, old_cov) + np.einsum("bi,bij,bj->b", move, precision, move) - 3
    expected += np.linalg.slogdet(cov)[1] - np.linalg.slogdet(old_cov)[1]
    np.testing.assert_allclose(divergences(old, new), expected / 2, rtol=1e-10)


def test_distributions_of_another_kind_have_no_description() -> None:
    assert describe_distribution(SimpleNamespace()) is None
    assert describe_distribution(SimpleNamespace(distribution=th.distributions.Laplace(0.0, 1.0))) is None
