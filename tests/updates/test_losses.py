"""Tests of `sb3_ppo_scratch.updates.losses`: the oracles are closed forms and float64 sums."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch as th
from hypothesis import given, settings
from hypothesis import strategies as st

from sb3_ppo_scratch.updates import losses

# ratio, advantage, expected objective with clip_range 0.2 (the paper's figure 1, both signs, and both edges)
SURROGATE_CASES = [
    (1.0, 2.0, 2.0),
    (1.1, 2.0, 2.2),
    (1.5, 2.0, 2.4),
    (0.5, 2.0, 1.0),
    (1.5, -2.0, -3.0),
    (0.9, -2.0, -1.8),
    (0.5, -2.0, -1.6),
    (1.0, 0.0, 0.0),
]


@pytest.mark.parametrize(("ratio", "advantage", "objective"), SURROGATE_CASES)
def test_surrogate_of_one_transition_is_the_papers(ratio: float, advantage: float, objective: float) -> None:
    loss = losses.clipped_surrogate_loss(th.tensor([ratio]), th.tensor([advantage]), clip_range=0.2)
    assert loss.item() == pytest.approx(-objective)


@pytest.mark.parametrize(
    ("ratio", "advantage", "slope"), [(1.5, 2.0, 0.0), (1.1, 2.0, 2.0), (0.5, -2.0, 0.0), (1.5, -2.0, -2.0)]
)
def test_surrogate_has_no_slope_where_clipping_took_the_reward_away(
    ratio: float, advantage: float, slope: float
) -> None:
    variable = th.tensor([ratio], requires_grad=True)
    losses.clipped_surrogate_loss(variable, th.tensor([advantage]), clip_range=0.2).backward()
    assert variable.grad is not None
    assert variable.grad.item() == pytest.approx(-slope)


def test_surrogate_averages_over_the_minibatch() -> None:
    ratios, advantages, objectives = (th.tensor(column) for column in zip(*SURROGATE_CASES, strict=True))
    loss = losses.clipped_surrogate_loss(ratios, advantages, clip_range=0.2)
    assert loss.item() == pytest.approx(-objectives.mean().item())


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-100, 100), min_size=2, max_size=20).filter(lambda values: np.std(values) > 1e-2))
def test_normalised_advantages_have_mean_zero_and_unbiased_deviation_one(values: list[float]) -> None:
    normalised = losses.normalize_advantages(th.tensor(values, dtype=th.float64)).numpy()
    assert normalised.mean() == pytest.approx(0, abs=1e-9)
    assert normalised.std(ddof=1) == pytest.approx(1, abs=1e-5)
    assert np.all(np.diff(normalised[np.argsort(values)]) >= 0)


def test_a_single_advantage_is_left_as_it_is_and_equal_ones_become_zero() -> None:
    assert losses.normalize_advantages(th.tensor([3.0])).item() == 3.0
    assert losses.normalize_advantages(th.full((4,), 3.0)).tolist() == [0.0] * 4


@pytest.mark.parametrize(
    ("value", "clip_range_vf", "expected"),
    [(2.0, None, 1.0), (2.0, 0.5, 2.25), (1.2, 0.5, 1.8**2), (-1.0, 0.5, 2.5**2), (2.0, 1.0, 1.0)],
)
def test_value_loss_of_one_transition(value: float, clip_range_vf: float | None, expected: float) -> None:
    old, target = th.tensor([1.0]), th.tensor([3.0])
    loss = losses.value_loss(th.tensor([value]), old, target, clip_range_vf)
    assert loss.item() == pytest.approx(expected)


def test_clipped_value_change_has_no_gradient() -> None:
    values = th.tensor([2.0, 1.1], requires_grad=True)
    losses.value_loss(values, th.ones(2), th.full((2,), 3.0), clip_range_vf=0.5).backward()
    assert values.grad is not None
    np.testing.assert_allclose(values.grad.numpy(), [0.0, (1.1 - 3.0)], rtol=1e-6)


def test_entropy_loss_is_the_negative_mean_or_estimated_from_the_actions() -> None:
    log_prob = th.tensor([-1.0, -3.0])
    assert losses.entropy_loss(th.tensor([0.5, 1.5]), log_prob).item() == -1.0
    assert losses.entropy_loss(None, log_prob).item() == -2.0


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-3, 3), min_size=1, max_size=20))
def test_approximate_kl_is_never_negative_and_equals_the_float64_sum(log_ratios: list[float]) -> None:
    estimate = losses.approximate_kl(th.tensor(log_ratios, dtype=th.float64)).item()
    expected = math.fsum(math.exp(x) - 1 - x for x in log_ratios) / len(log_ratios)
    assert estimate >= -1e-15  # float64 rounding of exp(x) - 1 - x near 0
    assert estimate == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_derivative_of_the_approximate_kl_equals_autograds() -> None:
    log_prob = th.linspace(-2, 1, 7, dtype=th.float64, requires_grad=True)
    log_ratio = log_prob + 0.5
    losses.approximate_kl(log_ratio).backward()
    th.testing.assert_close(losses.approximate_kl_derivative(log_ratio.exp().detach()), log_prob.grad)


def test_approximate_kl_agrees_with_the_exact_divergence_of_two_gaussians() -> None:
    old, new = th.distributions.Normal(0.0, 1.0), th.distributions.Normal(0.3, 1.2)
    th.manual_seed(0)
    samples = old.sample((400_000,))
    estimate = losses.approximate_kl(new.log_prob(samples) - old.log_prob(samples)).item()
    exact = math.log(1.2) + (1 + 0.3**2) / (2 * 1.2**2) - 0.5
    assert estimate == pytest.approx(exact, rel=0.02)


def test_clip_fraction_counts_ratios_strictly_outside_the_interval() -> None:
    ratios = th.tensor([0.5, 0.75, 1.0, 1.25, 1.5], dtype=th.float64)
    assert losses.clip_fraction(ratios, clip_range=0.25).item() == pytest.approx(2 / 5)


def derivative_by_autograd(loss: Callable[[th.Tensor], th.Tensor], at: th.Tensor) -> th.Tensor:
    variable = at.clone().requires_grad_()
    (derivative,) = th.autograd.grad(loss(variable), variable)
    return derivative


NUMBERS = st.lists(st.tuples(*[st.floats(-3, 3)] * 3), min_size=1, max_size=20)


@settings(max_examples=60, deadline=None)
@given(NUMBERS, st.sampled_from([0.1, 0.5, 2.0]))
def test_derivative_of_the_surrogate_by_the_log_probabilities_is_autograds(
    rows: list[tuple[float, float, float]], clip_range: float
) -> None:
    log_prob, old, advantages = th.tensor(rows, dtype=th.float64).T
    expected = derivative_by_autograd(
        lambda variable: losses.clipped_surrogate_loss((variable - old).exp(), advantages, clip_range), log_prob
    )
    found = losses.surrogate_derivative((log_prob - old).exp(), advantages, clip_range)
    th.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("ratio", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("advantage", [-1.0, 0.0, 1.0])
def test_derivative_of_the_surrogate_at_the_ends_of_the_interval_is_autograds(ratio: float, advantage: float) -> None:
    # Powers of two, so that the ends are hit exactly: 1 - 0.5 and, with a range of 1, 2.
    clip_range = 1.0 if ratio == 2.0 else 0.5
    log_prob, advantages = th.tensor([math.log(ratio)], dtype=th.float64), th.tensor([advantage], dtype=th.float64)
    expected = derivative_by_autograd(
        lambda variable: losses.clipped_surrogate_loss(variable.exp(), advantages, clip_range), log_prob
    )
    th.testing.assert_close(losses.surrogate_derivative(log_prob.exp(), advantages, clip_range), expected)


@pytest.mark.parametrize("clip_range", [0.1, 0.5, 2.0])
@pytest.mark.parametrize("advantage", [-1.5, 1.5])
def test_derivative_of_the_surrogate_is_autograds_along_the_whole_range_of_ratios(
    advantage: float, clip_range: float
) -> None:
    log_prob = th.linspace(-3, 3, 401, dtype=th.float64)
    advantages = th.full_like(log_prob, advantage)
    expected = derivative_by_autograd(
        lambda variable: losses.clipped_surrogate_loss(variable.exp(), advantages, clip_range), log_prob
    )
    found = losses.surrogate_derivative(log_prob.exp(), advantages, clip_range)
    th.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(NUMBERS, st.sampled_from([None, 0.0, 0.25, 1.0]))
def test_derivative_of_the_value_loss_is_autograds(
    rows: list[tuple[float, float, float]], clip_range_vf: float | None
) -> None:
    values, old_values, returns = th.tensor(rows, dtype=th.float64).T
    expected = derivative_by_autograd(
        lambda variable: losses.value_loss(variable, old_values, returns, clip_range_vf), values
    )
    found = losses.value_loss_derivative(values, old_values, returns, clip_range_vf)
    th.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
