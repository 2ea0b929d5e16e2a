"""Tests of `benchmark.permutation`, beside all permutations one by one and SciPy's test of Student."""

import itertools
import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from sb3_ppo_scratch.benchmark import permutation
from sb3_ppo_scratch.benchmark.permutation import Samples, adjusted_p_values, least_p_value

FAR = (np.arange(5.0)[None], 1000.0 + np.arange(5.0)[None])


def squared_t(old: NDArray[np.float64], new: NDArray[np.float64]) -> float:
    """How far apart two lists are: by their values or their ranks, whichever is more; SciPy's t."""
    ranks = stats.rankdata([*old, *new])
    by_values, by_ranks = stats.ttest_ind(old, new), stats.ttest_ind(ranks[: len(old)], ranks[len(old) :])
    return float(max(by_values.statistic**2, by_ranks.statistic**2))


def p_values_one_by_one(groups: list[tuple[NDArray[np.float64], NDArray[np.float64]]]) -> list[list[float]]:
    """The definition: in all ways to part the runs of all groups, how often something is as far apart.

    Among the figures that are not farther apart than this one; and no p-value is below one of a figure that is.
    """
    all_ways = []
    for old, new in groups:
        both, n_old = np.concatenate([old, new], axis=1), old.shape[1]
        ways = []
        for chosen in itertools.combinations(range(both.shape[1]), n_old):
            others = [place for place in range(both.shape[1]) if place not in chosen]
            ways.append([squared_t(row[list(chosen)], row[others]) for row in both])
        all_ways.append(np.array(ways))
    observed = [[squared_t(*rows) for rows in zip(old, new, strict=True)] for old, new in groups]
    joint = [np.concatenate(way) for way in itertools.product(*all_ways)]
    sizes = np.concatenate(observed)
    raw = [np.mean([way[sizes <= size].max() >= size * (1.0 - 1e-7) for way in joint]) for size in sizes]
    adjusted = iter([max(p for p, other in zip(raw, sizes, strict=True) if other >= size) for size in sizes])
    return [[next(adjusted) for _ in each] for each in observed]


@pytest.mark.parametrize("seed", range(3))
def test_p_values_are_those_of_all_permutations_one_by_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups = [
        (rng.normal(size=(3, 3)), rng.normal([[1.0], [0.0], [0.0]], size=(3, 2))),
        (rng.normal(size=(1, 3)), rng.normal(size=(1, 3)) + 1.0),
    ]
    found = adjusted_p_values([Samples(*group) for group in groups])
    for ours, theirs in zip(found, p_values_one_by_one(groups), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_runs_that_are_far_apart_have_the_least_p_value() -> None:
    for old, new in (FAR, FAR[::-1]):
        [[p_value]] = adjusted_p_values([Samples(old, new)])
        assert p_value == pytest.approx(2 / 252) == pytest.approx(least_p_value(5, 5))
    [[p_value]] = adjusted_p_values([Samples(FAR[0], FAR[1][:, :3])])
    assert p_value == pytest.approx(1 / 56) == pytest.approx(least_p_value(5, 3))


def test_five_runs_are_enough_beside_twenty_figures_that_are_the_same() -> None:
    rng = np.random.default_rng(0)
    same = [Samples(rng.normal(size=(5, 5)), rng.normal(size=(5, 5))) for _ in range(4)]
    [p_value], *others = adjusted_p_values([Samples(*FAR), *same])
    assert p_value < 0.02
    assert min(map(min, others)) > 0.05


def test_a_run_that_went_astray_hides_no_shift_of_the_others() -> None:
    old = np.append(250.0 + np.arange(9.0), -400.0)[None]
    [[p_value]] = adjusted_p_values([Samples(old, old - 40.0)])
    assert stats.ttest_ind(old[0], old[0] - 40.0).pvalue > 0.5
    assert p_value < 0.01


def test_what_is_equal_has_a_p_value_of_one() -> None:
    old, changed = np.full((2, 6), 0.1), np.full((1, 6), 0.3)
    [same, different] = adjusted_p_values([Samples(old, old), Samples(old[:1], changed)])
    assert same.tolist() == [1.0, 1.0]
    assert different[0] == pytest.approx(least_p_value(6, 6))


@pytest.mark.parametrize(("n_old", "n_new"), [(4, 10), (5, 10), (6, 8), (5, 20), (10, 30)])
@pytest.mark.parametrize("value", [0.1, 0.95, 499.8])
def test_equal_values_of_unequal_numbers_of_runs_are_equal(n_old: int, n_new: int, value: float) -> None:
    rng = np.random.default_rng(3)
    old, new = rng.normal(size=n_old), 5.0 + rng.normal(size=n_new)
    samples = Samples(np.stack([old, np.full(n_old, value)]), np.stack([new, np.full(n_new, value)]))
    [p_values] = adjusted_p_values([samples])
    assert p_values[1] == 1.0
    assert (1.0 - 1e-9) * least_p_value(n_old, n_new) <= p_values[0] < 0.01


def test_the_order_of_runs_and_their_unit_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    old, new = rng.normal(size=(3, 5)), 0.8 + rng.normal(size=(3, 5))
    [expected] = adjusted_p_values([Samples(old, new)])
    for other in (Samples(old[:, ::-1], new), Samples(new, old), Samples(1e6 * old + 7.0, 1e6 * new + 7.0)):
        np.testing.assert_allclose(adjusted_p_values([other])[0], expected, rtol=1e-12)
    monkeypatch.setattr(permutation, "N_PERMUTATIONS", 200)
    drawn = adjusted_p_values([Samples(old, new)])[0]
    assert np.abs(drawn - expected).max() < 0.15
    assert drawn.min() >= 1 / 201


def test_chance_raises_alarms_as_seldom_as_promised() -> None:
    rng = np.random.default_rng(2)
    n_tries, alarms = 500, 0
    for _ in range(n_tries):
        shared = rng.standard_t(df=2, size=(3, 1, 8))  # figures of a run hang together, and have outliers
        figures = shared + 0.5 * rng.normal(size=(3, 4, 8))
        groups = [Samples(each[:, :4], each[:, 4:]) for each in figures]
        alarms += min(map(min, adjusted_p_values(groups))) <= 0.05
    surely = stats.binomtest(alarms, n_tries, 0.05, alternative="greater").pvalue
    assert surely > 0.001
    assert alarms / n_tries > 0.01  # a test that never says anything keeps its promise, too


def test_least_p_values() -> None:
    assert [round(least_p_value(n, n), 3) for n in (1, 2, 3, 4)] == [1.0, 0.333, 0.1, 0.029]
    assert least_p_value(2, 3) == 1 / math.comb(5, 2)
