"""Tests of `distributions.py` against the paper's formula, torch's distributions and finite differences, in float64."""

from typing import Any

import numpy as np
import pytest
import torch as th
from hypothesis import given
from hypothesis import strategies as st

from sb3_ppo_scratch.distributions import BinnedDistribution, OrdinalDistribution, ordinal_logits

ATOMS = (np.array([-1.0, 0.0, 0.5, 2.0], np.float32), np.array([0.0, 1.0], np.float32))
NUMBERS = (np.arange(4), np.arange(2))


def random_logits(batch: int = 7, seed: int = 0, n_outputs: int = 6) -> th.Tensor:
    return th.as_tensor(np.random.default_rng(seed).normal(0, 2, (batch, n_outputs)))


def ordinal_by_definition(logits: np.ndarray) -> np.ndarray:
    """The paper's equation, one number after the other: log-probabilities of one dimension, shape (batch, n)."""
    sigmoid = 1 / (1 + np.exp(-logits))
    scores = np.array(
        [[sum(np.log(row[: i + 1])) + sum(np.log(1 - row[i + 1 :])) for i in range(len(row))] for row in sigmoid]
    )
    return scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))


@given(seed=st.integers(0, 2**16), n=st.integers(2, 9))
def test_ordinal_log_probabilities_equal_the_papers_formula_and_sum_to_one(seed: int, n: int) -> None:
    logits = random_logits(5, seed, n)
    log_p = th.distributions.Categorical(logits=ordinal_logits(logits)).logits
    np.testing.assert_allclose(log_p, ordinal_by_definition(logits.numpy()), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(log_p.exp().sum(dim=1), 1.0, rtol=1e-12)


def test_huge_logits_stay_finite() -> None:
    logits = th.tensor([[1e4, -1e4, 1e4], [-1e4, -1e4, -1e4]])
    assert ordinal_logits(logits).isfinite().all()


def test_raising_one_output_moves_probability_upwards_over_its_boundary_only() -> None:
    logits = random_logits(1, 3, 5)
    raised = logits.clone()
    raised[0, 2] += 1.0
    before, after = (th.distributions.Categorical(logits=ordinal_logits(each)).probs[0] for each in (logits, raised))
    assert (after[2:] > before[2:]).all()
    assert (after[:2] < before[:2]).all()
    # Within either side nothing but the common factor changes: neighbours move together.
    th.testing.assert_close(after[2:] / before[2:], (after[2] / before[2]).expand(3))
    th.testing.assert_close(after[:2] / before[:2], (after[0] / before[0]).expand(2))


def test_gradient_of_ordinal_log_probabilities_equals_finite_differences() -> None:
    assert th.autograd.gradcheck(ordinal_logits, random_logits(3).requires_grad_())


@pytest.mark.parametrize("kind", [BinnedDistribution, OrdinalDistribution])
@pytest.mark.parametrize("atoms", [ATOMS, NUMBERS], ids=["values", "numbers"])
def test_log_probability_and_entropy_are_the_sum_over_dimensions(kind: type[BinnedDistribution], atoms: Any) -> None:
    logits = random_logits()
    distribution = kind(atoms).proba_distribution(logits)
    th.manual_seed(0)
    actions = distribution.sample()
    parts = [logits[:, :4], logits[:, 4:]]
    if kind is OrdinalDistribution:
        parts = [ordinal_logits(part) for part in parts]
    singles = [th.distributions.Categorical(logits=part) for part in parts]
    columns = [
        [list(values).index(action) for action in column]
        for values, column in zip(atoms, actions.T.tolist(), strict=True)
    ]
    expected = sum(single.log_prob(th.tensor(column)) for single, column in zip(singles, columns, strict=True))
    th.testing.assert_close(distribution.log_prob(actions), expected)
    th.testing.assert_close(distribution.entropy(), sum(single.entropy() for single in singles))


def test_stored_actions_find_their_atom_after_rounding() -> None:
    distribution = BinnedDistribution((np.linspace(-1, 1, 11),)).proba_distribution(random_logits(11, n_outputs=11))
    stored = th.as_tensor(np.linspace(-1, 1, 11).astype(np.float32))[:, None] + 1e-6
    assert distribution.indices_of(stored).flatten().tolist() == list(range(11))


@pytest.mark.parametrize(("deterministic", "expected"), [("mode", 2.0), ("mean", 0.8), ("median", 0.5)])
def test_what_stands_for_a_distribution(deterministic: Any, expected: float) -> None:
    # -1 with probability 0.1, 0 with 0.3, 0.5 with 0.2, 2 with 0.4.
    logits = th.log(th.tensor([[0.1, 0.3, 0.2, 0.4]]))
    distribution = BinnedDistribution(ATOMS[:1], deterministic).proba_distribution(logits)
    assert distribution.get_actions(deterministic=True).item() == pytest.approx(expected)
    assert distribution.get_actions(deterministic=False).item() in ATOMS[0]


def test_numbers_stay_integers() -> None:
    for deterministic in ("mode", "mean", "median"):
        distribution = OrdinalDistribution(NUMBERS, deterministic).proba_distribution(random_logits())
        assert distribution.get_actions(deterministic=True).dtype == th.int64
    assert distribution.sample().dtype == th.int64


def test_samples_follow_the_probabilities() -> None:
    logits = random_logits(1, 5, 4).expand(20_000, 4)
    distribution = OrdinalDistribution(ATOMS[:1]).proba_distribution(logits)
    th.manual_seed(0)
    drawn = distribution.indices_of(distribution.sample()).flatten()
    shares = th.bincount(drawn, minlength=4) / len(drawn)
    th.testing.assert_close(shares, distribution.distribution[0].probs[0].float(), atol=0.015, rtol=0)
