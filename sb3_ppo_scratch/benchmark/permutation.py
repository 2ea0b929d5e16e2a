"""Which of many figures differ between two sets of runs: p-values that hold for all figures together.

What is here: the permutation test of Westfall and Young, pure functions of numbers. What is not: which figures
(`comparison/compare.py`), and estimates with intervals (`statistics.py`).

Each run brings all of its figures along when it changes sides, so the test knows how figures hang together: many
figures of few runs cost little more than one. Five runs on either side are enough for a clear answer, which corrections
of single p-values (Bonferroni, Holm) never give there: the least p-value of five against five is 0.008.

Source: Westfall and Young 1993, Resampling-Based Multiple Testing; step-down maxT in Ge, Dudoit and Speed 2003,
Resampling-based multiple testing for microarray data analysis (https://doi.org/10.1007/BF02595811).
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

N_PERMUTATIONS = 9_999
"""Of each set; all of them, if there are fewer."""
SEED = 0
"""Of the permutations, so that the same results give the same answer."""
DIGITS = 9
"""To which shares of variance are rounded: the same runs in another order give the same one."""


class Samples(NamedTuple):
    """Runs then and now.

    Args:
        old: Figures of runs, shape (n_figures, n_old).
        new: The same figures of others, shape (n_figures, n_new).
    """

    old: ArrayLike
    new: ArrayLike


class _Permuted(NamedTuple):
    """How different two sets are, and would be if runs belonged to either by chance."""

    observed: NDArray[np.float64]
    """Shape (n_figures,)."""
    by_chance: NDArray[np.float64]
    """Shape (n_permutations, n_figures); holds the observed ones."""


def least_p_value(n_old: int, n_new: int) -> float:
    """Compute the least p-value that so many runs can give, however different they are.

    Args:
        n_old: Runs then.
        n_new: Runs now.

    Returns:
        One by the number of ways to part them, two of which are as far apart if the numbers are equal.

    Example:
        >>> round(least_p_value(5, 5), 4), round(least_p_value(3, 3), 4)
        (0.0079, 0.1)
    """
    return (2.0 if n_old == n_new else 1.0) / math.comb(n_old + n_new, n_old)


def adjusted_p_values(groups: Sequence[Samples]) -> list[NDArray[np.float64]]:
    """Test every figure of every group, together.

    Args:
        groups: Runs whose figures belong together, one algorithm on one environment each: two at least on either side,
            and three in all.

    Returns:
        For each group a p-value for each figure, shape (n_figures,). If all up to 0.05 are called different, the chance
        that any is called so wrongly is 5 % at most, where groups are independent or go up and down together.
    """
    permuted = [_permute(samples) for samples in groups]
    places = [(group, figure) for group, each in enumerate(permuted) for figure in range(len(each.observed))]
    by_size = sorted(places, key=lambda place: permuted[place[0]].observed[place[1]])
    largest = [np.zeros(len(each.by_chance)) for each in permuted]
    p_values = [np.ones(len(each.observed)) for each in permuted]
    for group, figure in by_size:  # those that differ less than this one, and this one
        largest[group] = np.maximum(largest[group], permuted[group].by_chance[:, figure])
        observed = permuted[group].observed[figure]
        p_values[group][figure] = 1.0 - math.prod(float(np.mean(each < observed)) for each in largest)
    largest_p_value = 0.0
    for group, figure in reversed(by_size):  # none is surer than one that differs more
        largest_p_value = max(largest_p_value, p_values[group][figure])
        p_values[group][figure] = largest_p_value
    return p_values


def _permute(samples: Samples) -> _Permuted:
    """Part the runs of both sets in all ways, or in many."""
    old, new = (np.asarray(each, np.float64) for each in samples)
    n_figures, n_old = old.shape
    both = _centred(np.concatenate([old, new], axis=1))
    rows = np.concatenate([both, stats.rankdata(both, axis=1)])  # ranks see past a single run that went astray
    result = stats.permutation_test(
        (rows[:, :n_old], rows[:, n_old:]),
        _separation,
        vectorized=True,
        axis=-1,
        n_resamples=N_PERMUTATIONS,
        alternative="greater",
        rng=np.random.default_rng(SEED),
    )
    observed, by_chance = (
        np.maximum(each[..., :n_figures], each[..., n_figures:])
        for each in (result.statistic, result.null_distribution)
    )
    holds_observed = len(by_chance) == math.comb(both.shape[1], n_old)
    return _Permuted(observed, by_chance if holds_observed else np.concatenate([by_chance, observed[None]]))


def _centred(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Move and scale each row, shape (n_rows, n), into [0, 1]: values that are all equal become exactly so."""
    moved: NDArray[np.float64] = rows - rows.min(axis=1, keepdims=True)
    largest = moved.max(axis=1, keepdims=True)
    return moved / np.where(largest > 0.0, largest, 1.0)


def _separation(old: NDArray[np.float64], new: NDArray[np.float64], axis: int = -1) -> NDArray[np.float64]:
    """Compute the square of Student's t, shape (..., n_old) and (..., n_new) to (...).

    It is 0 if all are equal, and a large number if all on either side are.
    """
    between = old.mean(axis=axis) - new.mean(axis=axis)
    n_old, n_new = old.shape[axis], new.shape[axis]
    squares = between**2 * n_old * n_new / (n_old + n_new)
    within = n_old * old.var(axis=axis) + n_new * new.var(axis=axis)
    share = np.round(squares / np.maximum(squares + within, np.finfo(np.float64).tiny), DIGITS)
    return np.asarray((n_old + n_new - 2) * share / np.maximum(1.0 - share, 0.1**DIGITS))
