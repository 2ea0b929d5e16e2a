"""Tests of `updates/exact_kl.py` against the definition in float64 (Gaussians: `test_gaussian_distribution.py`)."""

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
    "multi_categorical": lambda: MultiCategoricalDistribution([4, 2]),
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
    return [log_softmax(part) for part in ([logits[:, :4], logits[:, 4:]] if "multi" in kind else [logits])]


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
