"""Statistics over seeds: how well, how surely and how soon an algorithm learns, beside another one.

What is here: pure functions of numbers, one per run. A run is one seed; its many episodes are not independent and count
as one number. What is not: runs (`training/records.py`) and words (`comparison/`).

Sources: interquartile mean, probability of improvement and performance profiles as in Agarwal et al., Deep
Reinforcement Learning at the Edge of the Statistical Precipice (https://arxiv.org/abs/2108.13264); bootstrap intervals
(BCa) as in Efron and Tibshirani, An Introduction to the Bootstrap, chapter 14; equivalence as in Schuirmann 1987
(https://doi.org/10.1007/BF01068419), with the wider two-sided interval; runs that never get there as censored, in the
estimator of Kaplan and Meier 1958 (https://doi.org/10.2307/2281868).
"""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import integrate, stats

CONFIDENCE = 0.95
LEAST_SEEDS = 5
"""Runs below which no interval is given: a bootstrap of four numbers promises more than it knows."""
N_RESAMPLES = 10_000
SEED = 0
"""Of the bootstrap's resamples, so that the same runs give the same report."""
Verdict = Literal["better", "worse", "equivalent", "undecided"]


@dataclass(frozen=True)
class Estimate:
    """A figure and how surely it is known.

    Args:
        value: The figure.
        low: Lower end of the interval; NaN without one.
        high: Upper end of the interval; NaN without one.
        n_seeds: Runs, or pairs of runs, that it comes from.
    """

    value: float
    low: float
    high: float
    n_seeds: int

    @property
    def has_interval(self) -> bool:
        """Whether there were seeds enough for an interval."""
        return not math.isnan(self.low)


def interquartile_mean(values: ArrayLike, axis: int = -1) -> NDArray[np.float64]:
    """Average the middle half: a quarter of the runs, rounded down, is left out at either end.

    Args:
        values: Figures of runs, shape (..., n_seeds).
        axis: The axis of seeds.

    Returns:
        Their interquartile mean, without that axis.

    Example:
        >>> float(interquartile_mean([-500.0, 1.0, 2.0, 9.0]))
        1.5
    """
    return np.asarray(stats.trim_mean(np.asarray(values, np.float64), 0.25, axis=axis))


def estimate(samples: Sequence[Sequence[float]], statistic: Callable[..., Any], *, is_paired: bool = False) -> Estimate:
    """Compute a figure of one or several samples, with a bootstrap interval over seeds.

    Args:
        samples: Figures of runs; each sample is resampled by itself, or all alike if they are paired.
        statistic: Takes arrays of shape (..., n_seeds), one per sample, and `axis`; returns shape (...).
        is_paired: Whether the runs at one place of the samples belong together.

    Returns:
        The estimate; its interval is bias-corrected and accelerated (BCa) where that is defined, else of percentiles.
        Without an interval if a sample is shorter than `LEAST_SEEDS` or holds NaN.
    """
    arrays = [np.asarray(sample, np.float64) for sample in samples]
    low, high = _intervals(arrays, statistic, is_paired)
    return Estimate(float(statistic(*arrays, axis=-1)), float(low), float(high), min(map(len, arrays)))


def _intervals(
    arrays: Sequence[NDArray[np.float64]], statistic: Callable[..., Any], is_paired: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Bootstrap arrays of shape (..., n_seeds), each place of (...) by itself; NaN for too few seeds.

    BCa is not defined where all resamples are equal; there the percentiles are, too, and the interval has no width.
    """
    if min(array.shape[-1] for array in arrays) < LEAST_SEEDS or any(np.isnan(array).any() for array in arrays):
        nothing = np.full(arrays[0].shape[:-1], math.nan)
        return nothing, nothing
    with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        best, plain = (
            stats.bootstrap(
                arrays,
                statistic,
                paired=is_paired,
                vectorized=True,
                axis=-1,
                n_resamples=N_RESAMPLES,
                confidence_level=CONFIDENCE,
                method=method,
                rng=np.random.default_rng(SEED),
            ).confidence_interval
            for method in ("BCa", "percentile")
        )
    is_defined = np.isfinite(best.low) & np.isfinite(best.high)
    return np.where(is_defined, best.low, plain.low), np.where(is_defined, best.high, plain.high)


@dataclass(frozen=True)
class Band:
    """A curve and how surely it is known, place by place.

    Args:
        values: The curve, shape (n,).
        low: Lower ends of the intervals, shape (n,); NaN without.
        high: Upper ends of the intervals, shape (n,); NaN without.
    """

    values: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def typical_curve(curves: ArrayLike) -> Band:
    """Estimate the interquartile mean of curves at each of their places.

    Args:
        curves: A curve for each run, shape (n_seeds, n).

    Returns:
        Curve and intervals, of which each holds for its place alone, not for all at once.
    """
    by_place = np.asarray(curves, np.float64).T
    return Band(interquartile_mean(by_place), *_intervals([by_place], interquartile_mean, False))


def typical(values: Sequence[float]) -> Estimate:
    """Estimate the interquartile mean.

    Args:
        values: A figure of each run.

    Returns:
        The estimate.
    """
    return estimate([values], interquartile_mean)


def paired_difference(ours: Sequence[float], theirs: Sequence[float]) -> Estimate:
    """Estimate how much higher a figure is than another algorithm's with the same seeds, in the mean.

    Args:
        ours: A figure of each run.
        theirs: The same of the other's, seed by seed.

    Returns:
        The estimate of the mean difference.

    Raises:
        ValueError: If the numbers of runs differ.
    """
    differences = [one - other for one, other in zip(ours, theirs, strict=True)]
    return estimate([differences], np.mean)


def judge(difference: Estimate, margin: float) -> Verdict:
    """Say what an interval of a difference means.

    Args:
        difference: Ours less theirs.
        margin: The largest difference that makes none, in the figure's own unit.

    Returns:
        "equivalent" if the whole interval lies within the margin, "better" or "worse" if it lies on one side of 0 and
        not within the margin, else "undecided", also without an interval.

    Example:
        >>> judge(Estimate(value=4.0, low=-3.0, high=11.0, n_seeds=10), margin=25.0)
        'equivalent'
    """
    if not difference.has_interval:
        return "undecided"
    if -margin <= difference.low and difference.high <= margin:
        return "equivalent"
    if difference.low > 0.0:
        return "better"
    return "worse" if difference.high < 0.0 else "undecided"


def probability_of_improvement(ours: Sequence[float], theirs: Sequence[float]) -> Estimate:
    """Estimate how probable it is that a run of ours beats one of theirs; a tie counts half.

    Args:
        ours: A figure of each run.
        theirs: The same of the other's.

    Returns:
        The estimate, in [0, 1].
    """
    return estimate([ours, theirs], _share_of_wins)


def _share_of_wins(ours: NDArray[np.float64], theirs: NDArray[np.float64], axis: int = -1) -> NDArray[np.float64]:
    """Count pairs, shape (..., n) and (..., m) to (...): the statistic of Mann and Whitney over n m."""
    assert axis == -1
    first, second = ours[..., :, None], theirs[..., None, :]
    return np.asarray(((first > second) + 0.5 * (first == second)).mean(axis=(-2, -1)))


def performance_profile(values: Sequence[float], thresholds: ArrayLike) -> NDArray[np.float64]:
    """Compute which share of the runs reaches each of some figures.

    Args:
        values: A figure of each run.
        thresholds: Figures, shape (n,).

    Returns:
        Shares in [0, 1], shape (n,).

    Example:
        >>> performance_profile([100.0, 200.0], [100.0, 150.0, 250.0]).tolist()
        [1.0, 0.5, 0.0]
    """
    return np.asarray((np.asarray(values)[:, None] >= np.asarray(thresholds)).mean(axis=0))


@dataclass(frozen=True)
class TimeToThreshold:
    """How long runs took to get somewhere.

    Args:
        times: When the share rises, ascending.
        shares: Share of runs that have got there by then, as Kaplan and Meier estimate it; as many.
        median: The time by which half of them have; infinity if fewer do.
        n_reached: Runs that have got there.
        n_seeds: All runs.
    """

    times: tuple[float, ...]
    shares: tuple[float, ...]
    median: float
    n_reached: int
    n_seeds: int


def time_to_threshold(times: Sequence[float], lengths: Sequence[float]) -> TimeToThreshold:
    """Estimate how soon runs get somewhere; those that never do count as not there when they ended.

    Args:
        times: When each run got there; infinity if it never did.
        lengths: How long each run was, in the same unit.

    Returns:
        The estimate.

    Raises:
        ValueError: If the numbers differ, or there are none.
    """
    if len(times) != len(lengths) or not times:
        raise ValueError(f"there must be as many times as lengths, and one at least; got {len(times)}, {len(lengths)}")
    reached = [time for time in times if math.isfinite(time)]
    unfinished = [length for time, length in zip(times, lengths, strict=True) if not math.isfinite(time)]
    if not reached:
        return TimeToThreshold((), (), math.inf, 0, len(times))
    found = stats.ecdf(stats.CensoredData(uncensored=reached, right=unfinished)).cdf
    rises = np.diff(found.probabilities, prepend=0.0) > 0.0
    at, shares = found.quantiles[rises], found.probabilities[rises]
    half = np.flatnonzero(shares >= 0.5)
    median = float(at[half[0]]) if len(half) else math.inf
    return TimeToThreshold(tuple(at.tolist()), tuple(shares.tolist()), median, len(reached), len(times))


def area_under_curve(steps: ArrayLike, values: ArrayLike) -> float:
    """Average a curve over training: the area under its straight lines, divided by its length.

    Args:
        steps: Where it was measured, ascending, shape (n,) with n of at least 2.
        values: What was measured there, shape (n,).

    Returns:
        The mean height, in the values' unit.

    Example:
        >>> area_under_curve([0, 10, 20], [0.0, 10.0, 10.0])
        7.5
    """
    at = np.asarray(steps, np.float64)
    return float(integrate.trapezoid(np.asarray(values, np.float64), at) / (at[-1] - at[0]))
