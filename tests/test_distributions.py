"""Tests of `distributions.py` against the paper's formula, torch's distributions and finite differences, in float64."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch as th
from hypothesis import assume, given
from hypothesis import strategies as st

from sb3_ppo_scratch.distributions import BinnedDistribution, OrdinalDistribution, ordinal_logits
from sb3_ppo_scratch.updates.exact_kl import describe_distribution, kl_from

ATOMS = (np.array([-1.0, 0.0, 0.5, 2.0], np.float32), np.array([0.0, 1.0], np.float32))
NUMBERS = (np.arange(4), np.arange(2))


def random_logits(batch: int = 7, seed: int = 0, n_outputs: int = 6) -> th.Tensor:
    return th.as_tensor(np.random.default_rng(seed).normal(0, 2, (batch, n_outputs)))


def ordinal_by_definition(logits: np.ndarray) -> np.ndarray:
    """The paper's equation 5, one number after the other, in float64, shape (batch, n)."""
    yes, no = -np.logaddexp(0, -logits), -np.logaddexp(0, logits)
    n = logits.shape[1]
    return np.stack([yes[:, : i + 1].sum(axis=1) + no[:, i + 1 :].sum(axis=1) for i in range(n)], axis=1)


def log_softmax(scores: np.ndarray) -> np.ndarray:
    """Log-probabilities, shape (batch, n), of scores that exp can take."""
    return scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))


def log_probabilities(kind: type[BinnedDistribution], logits: np.ndarray) -> list[np.ndarray]:
    """Those of both dimensions of `ATOMS`, by definition, shapes (batch, 4) and (batch, 2)."""
    parts = [logits[:, :4], logits[:, 4:]]
    return [log_softmax(ordinal_by_definition(part) if kind is OrdinalDistribution else part) for part in parts]


@given(seed=st.integers(0, 2**16), n=st.integers(2, 9))
def test_ordinal_log_probabilities_equal_the_papers_formula_and_sum_to_one(seed: int, n: int) -> None:
    logits = random_logits(5, seed, n)
    log_p = th.distributions.Categorical(logits=ordinal_logits(logits)).logits
    np.testing.assert_allclose(log_p, log_softmax(ordinal_by_definition(logits.numpy())), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(log_p.exp().sum(dim=1), 1.0, rtol=1e-12)


@pytest.mark.parametrize("magnitude", [1e-3, 1.0, 30.0, 1e2, 1e4, 1e6, 1e30])
@pytest.mark.parametrize("n", [2, 11, 51])
def test_ordinal_logits_of_any_size_are_as_exact_as_float32_can_be(magnitude: float, n: int) -> None:
    logits = (magnitude * random_logits(200, n, n)).float()
    expected = ordinal_by_definition(logits.double().numpy())
    np.testing.assert_allclose(ordinal_logits(logits), expected, rtol=1e-6, atol=1e-30)
    log_p = th.distributions.Categorical(logits=ordinal_logits(logits)).logits
    assert log_p.isfinite().all()


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


@given(seeds=st.tuples(st.integers(0, 2**16), st.integers(0, 2**16)), size=st.sampled_from([0.1, 1.0, 5.0]))
@pytest.mark.parametrize("kind", [BinnedDistribution, OrdinalDistribution])
def test_divergence_is_the_sum_over_all_joint_actions(
    kind: type[BinnedDistribution], seeds: tuple[int, int], size: float
) -> None:
    old_logits, new_logits = (size * random_logits(5, seed) for seed in seeds)
    old, new = (log_probabilities(kind, logits.numpy()) for logits in (old_logits, new_logits))
    expected = np.zeros(5)
    for i, j in itertools.product(range(4), range(2)):
        log_p, log_q = (first[:, i] + second[:, j] for first, second in (old, new))
        expected += np.exp(log_p) * (log_p - log_q)
    described = describe_distribution(kind(ATOMS).proba_distribution(old_logits))
    assert described is not None
    divergences = kl_from(described, kind(ATOMS).proba_distribution(new_logits))
    np.testing.assert_allclose(divergences, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", [BinnedDistribution, OrdinalDistribution])
def test_gradient_of_the_divergence_equals_finite_differences(kind: type[BinnedDistribution]) -> None:
    described = describe_distribution(kind(ATOMS).proba_distribution(random_logits(3, 1)))
    assert described is not None

    def divergence(logits: th.Tensor) -> th.Tensor:
        return kl_from(described, kind(ATOMS).proba_distribution(logits))

    assert th.autograd.gradcheck(divergence, random_logits(3, 2).requires_grad_())


@pytest.mark.parametrize("low", [-1.0, -1 / 3, 0.1, 1e6])
@pytest.mark.parametrize("n", [2, 11, 101])
def test_stored_actions_find_their_atom_again(low: float, n: int) -> None:
    atoms = np.linspace(low, low + max(1.0, abs(low)), n)  # float64: as float32 most lie beside these
    distribution = BinnedDistribution((atoms, atoms[:2])).proba_distribution(th.zeros(500, n + 2))
    th.manual_seed(0)
    drawn = distribution.sample()
    stored = th.as_tensor(drawn.numpy().astype(np.float64).astype(np.float32))
    numbers = [[int(np.abs(atoms - value).argmin()) for value in row] for row in drawn.double().tolist()]
    assert distribution.nearest_atoms(stored)[1].tolist() == numbers
    assert distribution.log_prob(stored).tolist() == pytest.approx([-np.log(n) - np.log(2)] * 500, rel=1e-5)
    slightly_off = stored * (1 + 1e-6)  # scaled to and fro, say
    assert th.equal(distribution.log_prob(slightly_off), distribution.log_prob(stored))


@pytest.mark.parametrize(
    ("atoms", "foreign"),
    [(ATOMS, [0.37, np.nan, 2.1, np.inf]), (NUMBERS, [4, -1])],
    ids=["values", "numbers"],
)
def test_what_is_no_atom_has_probability_zero(atoms: Any, foreign: list[float]) -> None:
    logits = random_logits(len(foreign) + 1).requires_grad_()
    distribution = BinnedDistribution(atoms).proba_distribution(logits)
    actions = th.as_tensor(np.array([[value, 1] for value in [2, *foreign]]))
    log_prob = distribution.log_prob(actions)
    assert log_prob[0].isfinite()
    assert log_prob[1:].tolist() == [-np.inf] * len(foreign)
    log_prob.exp().sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@given(seed=st.integers(0, 2**16))
@pytest.mark.parametrize("dtype", [th.float32, th.float64])
@pytest.mark.parametrize("kind", [BinnedDistribution, OrdinalDistribution])
def test_what_stands_for_a_distribution_is_that_by_definition(
    kind: type[BinnedDistribution], dtype: th.dtype, seed: int
) -> None:
    logits = random_logits(5, seed).to(dtype)
    probabilities = [np.exp(part) for part in log_probabilities(kind, logits.double().numpy())]
    for column, (atoms, p) in enumerate(zip(ATOMS, probabilities, strict=True)):
        below = np.cumsum(p, axis=1)
        likeliest = np.sort(p, axis=1)
        assume((np.abs(below[:, :-1] - 0.5) > 1e-4).all() and (likeliest[:, -1] - likeliest[:, -2] > 1e-5).all())
        expected = {
            "mode": [atoms[max(range(len(row)), key=row.__getitem__)] for row in p.tolist()],
            "mean": [sum(value * share for value, share in zip(atoms, row, strict=True)) for row in p.tolist()],
            "median": [next(atoms[i] for i in range(len(row)) if row[i] >= 0.5) for row in below.tolist()],
        }
        for deterministic, values in expected.items():
            distribution = kind(ATOMS, deterministic).proba_distribution(logits)  # type: ignore[arg-type] # one of three
            found = distribution.get_actions(deterministic=True)[:, column]
            np.testing.assert_allclose(found, values, rtol=1e-5, atol=1e-6)


def test_median_of_equal_probabilities_is_the_middle_atom_in_spite_of_rounding() -> None:
    for n in range(2, 200):
        distribution = BinnedDistribution((np.arange(n),), "median").proba_distribution(th.zeros(1, n))
        assert distribution.get_actions(deterministic=True).item() == (n + 1) // 2 - 1, n


@pytest.mark.parametrize(("deterministic", "expected"), [("mode", 2.0), ("mean", 0.8), ("median", 0.5)])
def test_what_stands_for_a_distribution(deterministic: Any, expected: float) -> None:
    # -1 with probability 0.1, 0 with 0.3, 0.5 with 0.2, 2 with 0.4.
    logits = th.log(th.tensor([[0.1, 0.3, 0.2, 0.4]]))
    distribution = BinnedDistribution(ATOMS[:1], deterministic).proba_distribution(logits)
    assert distribution.get_actions(deterministic=True).item() == pytest.approx(expected)
    assert distribution.get_actions(deterministic=False).item() in ATOMS[0]


@pytest.mark.parametrize("atoms", [ATOMS, NUMBERS], ids=["values", "numbers"])
def test_atoms_follow_the_logits_to_their_device(atoms: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(th.distributions.Distribution, "_validate_args", False)  # which would look at values
    distribution = OrdinalDistribution(atoms)
    for device in ("cpu", "meta", "meta"):  # a device without values, on which mixed operands are refused as on a GPU
        distribution.proba_distribution(th.zeros(3, 6, device=device))
        results = [distribution.sample(), distribution.mode(), distribution.mean(), distribution.median()]
        assert [result.device.type for result in results] == [device] * 4
        assert distribution.log_prob(results[0]).device.type == device


def test_numbers_stay_integers() -> None:
    for deterministic in ("mode", "mean", "median"):
        distribution = OrdinalDistribution(NUMBERS, deterministic).proba_distribution(random_logits())
        assert distribution.get_actions(deterministic=True).dtype == th.int64
    assert distribution.sample().dtype == th.int64


def test_samples_follow_the_probabilities() -> None:
    logits = random_logits(1, 5, 4).expand(20_000, 4)
    distribution = OrdinalDistribution(ATOMS[:1]).proba_distribution(logits)
    th.manual_seed(0)
    drawn = distribution.nearest_atoms(distribution.sample())[1].flatten()
    shares = th.bincount(drawn, minlength=4) / len(drawn)
    th.testing.assert_close(shares, distribution.distribution[0].probs[0].float(), atol=0.015, rtol=0)
