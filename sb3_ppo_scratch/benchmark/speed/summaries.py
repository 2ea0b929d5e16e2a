"""Statistics of measurements: medians with their range, ratios pair by pair, agreement of returns.

What is here: pure functions of measurements. What is not: words and tables (`report.py`).
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.stats import ttest_ind

from sb3_ppo_scratch.benchmark.speed.plan import TRIAL_ROUND
from sb3_ppo_scratch.benchmark.speed.results import Measurement
from sb3_ppo_scratch.benchmark.speed.workloads import COMPETITORS, Part

SAME_RETURN = 1e-6
"""Relative difference up to which two mean returns count as the same: those of the same trajectory."""
SIGNIFICANCE = 0.05
"""Probability that any of a table's comparisons disagrees by chance."""


@dataclass(frozen=True)
class Spread:
    """Several rounds' values of one figure.

    Args:
        median: Their median.
        low: The lowest.
        high: The highest.
    """

    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread | None:
    """Summarise values.

    Args:
        values: Any number of them.

    Returns:
        Their median and range; None if there are none.

    Example:
        >>> spread([3.0, 1.0, 2.0])
        Spread(median=2.0, low=1.0, high=3.0)
    """
    return Spread(float(np.median(values)), min(values), max(values)) if values else None


def by_round(measurements: Iterable[Measurement]) -> dict[int, list[Measurement]]:
    """Sort measurements into rounds; the trial round is no round.

    Args:
        measurements: Of one workload.

    Returns:
        Measurements by round, in the order of rounds.
    """
    rounds: dict[int, list[Measurement]] = {}
    for measurement in sorted(measurements, key=lambda made: made.task.round):
        if measurement.task.round != TRIAL_ROUND:
            rounds.setdefault(measurement.task.round, []).append(measurement)
    return rounds


def part_seconds(measurement: Measurement, part: Part) -> float:
    """Pick the time that a ratio compares.

    Args:
        measurement: The measurement.
        part: The whole of `learn`, or the updates alone.

    Returns:
        Seconds.
    """
    return measurement.seconds if part == "learn" else measurement.updating


def fastest_stock(one_round: Iterable[Measurement], part: Part) -> Measurement | None:
    """Find what everything in a round is compared with.

    Args:
        one_round: The measurements of one round.
        part: What is compared.

    Returns:
        Stock's measurement with the least time; None if there is none.
    """
    stock = [measurement for measurement in one_round if measurement.task.competitor == "stock"]
    return min(stock, key=lambda measurement: part_seconds(measurement, part), default=None)


def fastest_stocks(measurements: Iterable[Measurement], part: Part = "learn") -> list[Measurement]:
    """Find, round by round, what everything is compared with.

    Args:
        measurements: Of one workload.
        part: What is compared.

    Returns:
        One measurement for each round that has one.
    """
    found = (fastest_stock(one_round, part) for one_round in by_round(measurements).values())
    return [measurement for measurement in found if measurement is not None]


def usual_variant(measurements: Sequence[Measurement]) -> tuple[str, str, int | None]:
    """Find the variant that most of some measurements have.

    Args:
        measurements: At least one.

    Returns:
        The variant; of equally frequent ones the first.
    """
    return Counter(measurement.task.variant for measurement in measurements).most_common(1)[0][0]


def paired(
    measurements: Iterable[Measurement], variant: tuple[str, str, int | None], part: Part = "learn"
) -> list[tuple[Measurement, Measurement]]:
    """Pair a competitor's measurements with the fastest stock of the same round.

    Args:
        measurements: Of one workload.
        variant: The competitor's `Task.variant`.
        part: What is compared.

    Returns:
        Pairs of the competitor's and stock's, one for each round that has both.
    """
    pairs = []
    for one_round in by_round(measurements).values():
        stock = fastest_stock(one_round, part)
        ours = [measurement for measurement in one_round if measurement.task.variant == variant]
        if stock is not None and ours:
            pairs.append((ours[0], stock))
    return pairs


def speedups(pairs: Iterable[tuple[Measurement, Measurement]], part: Part = "learn") -> list[float]:
    """Compute how many times faster the first of each pair is.

    Per step, so that a round in which the two had different numbers of steps would not mislead.

    Args:
        pairs: What `paired` found.
        part: What is compared.

    Returns:
        Stock's seconds per step divided by the competitor's, for each pair.
    """
    return [
        part_seconds(stock, part) * ours.steps / (part_seconds(ours, part) * stock.steps)
        for ours, stock in pairs
        if part_seconds(ours, part) > 0.0
    ]


def memory_ratios(pairs: Iterable[tuple[Measurement, Measurement]]) -> list[float]:
    """Compute how many times more memory the first of each pair takes.

    Args:
        pairs: What `paired` found.

    Returns:
        The ratio of the peaks, for each pair.
    """
    return [ours.peak_mib / stock.peak_mib for ours, stock in pairs]


def rate_shares(measurements: Iterable[Measurement], competitor: str, other: str) -> list[float]:
    """Compute how much of another competitor's speed one reaches.

    Args:
        measurements: Of one workload, with at most one variant of either.
        competitor: A key of `COMPETITORS`.
        other: Another one.

    Returns:
        The ratio of steps per second, for each round that has both.
    """
    shares = []
    for one_round in by_round(measurements).values():
        rates = {made.task.competitor: made.rate for made in one_round}
        if competitor in rates and other in rates:
            shares.append(rates[competitor] / rates[other])
    return shares


@dataclass(frozen=True)
class Agreement:
    """Whether two competitors have learned equally well on the same seeds.

    Args:
        ours: Mean return over seeds.
        stock: The same of stock.
        standard_error: Of the difference of the two; NaN if there are too few seeds to estimate it.
        p_value: Of Welch's test of equal means; 1 if all returns are the same, NaN if there are too few seeds.
        same: Seeds on which both returns are the same.
        seeds: Seeds that both have.
    """

    ours: float
    stock: float
    standard_error: float
    p_value: float
    same: int
    seeds: int

    def verdict(self, comparisons: int) -> Literal["agree", "disagree", "unknown"]:
        """Judge it as one of several comparisons, of which one in twenty would otherwise disagree by chance.

        Args:
            comparisons: How many are judged together (Bonferroni's correction).

        Returns:
            "disagree" if the test finds a difference at `SIGNIFICANCE` over all comparisons; "unknown" without a test.
        """
        if np.isnan(self.p_value):
            return "unknown"
        return "disagree" if self.p_value < SIGNIFICANCE / comparisons else "agree"


def agreement(ours: Mapping[int, float], stock: Mapping[int, float]) -> Agreement | None:
    """Compare the returns of two competitors on the seeds that both have.

    Equal algorithms with equal seeds have the same trajectory until float rounding parts them; from then on two runs of
    one seed are as different as two seeds, so the test is that of independent samples (Welch).

    Args:
        ours: Mean return by seed.
        stock: The same of stock.

    Returns:
        The comparison; None if they share no seed.
    """
    seeds = sorted(set(ours) & set(stock))
    if not seeds:
        return None
    first, second = (np.array([returns[seed] for seed in seeds]) for returns in (ours, stock))
    same = int(np.isclose(first, second, rtol=SAME_RETURN, atol=SAME_RETURN).sum())
    error = p_value = float("nan")
    if len(seeds) > 1:
        error = float(np.sqrt((first.var(ddof=1) + second.var(ddof=1)) / len(seeds)))
        p_value = float(ttest_ind(first, second, equal_var=False).pvalue) if error > 0.0 else 0.0
    if same == len(seeds):
        p_value = 1.0
    return Agreement(float(first.mean()), float(second.mean()), error, p_value, same, len(seeds))


def returns_of(measurements: Iterable[Measurement], **fields: Any) -> dict[int, float]:
    """Collect one competitor's returns.

    Args:
        measurements: Of one workload.
        **fields: What the task has to be, for example `competitor="auto"`.

    Returns:
        Mean return by round, which is the seed; of several variants the first.
    """
    returns: dict[int, float] = {}
    for one_round in by_round(measurements).values():
        for made in one_round:
            if made.mean_return is not None and all(getattr(made.task, name) == fields[name] for name in fields):
                returns.setdefault(made.task.round, made.mean_return)
    return returns


@dataclass(frozen=True)
class CompetitorSummary:
    """One competitor's figures over all rounds of a workload.

    Args:
        title: Its name, with threads and VecEnv where that needs saying.
        competitor: Its key in `COMPETITORS`.
        rate: Steps per second.
        speedup: Against the fastest stock of the same round; None if no round has one.
        stepping: Median microseconds per step in the VecEnv's step.
        acting: The same of all that is neither stepping nor updating.
        updating: The same in `train`.
        peak_mib: Median peak memory, MiB.
    """

    title: str
    competitor: str
    rate: Spread
    speedup: Spread | None
    stepping: float
    acting: float
    updating: float
    peak_mib: float


def summarize_competitors(measurements: Sequence[Measurement]) -> list[CompetitorSummary]:
    """Summarise every competitor of a workload.

    Args:
        measurements: Of one workload.

    Returns:
        One for each variant that took part in a round, in the order of `COMPETITORS`.
    """
    by_variant: dict[tuple[str, str, int | None], list[Measurement]] = {}
    for measurement in measurements:
        if measurement.task.round != TRIAL_ROUND:
            by_variant.setdefault(measurement.task.variant, []).append(measurement)
    ordered = sorted(by_variant, key=lambda variant: list(COMPETITORS).index(variant[0]))
    return [_summarize(by_variant[variant], spread(speedups(paired(measurements, variant)))) for variant in ordered]


def _summarize(own: Sequence[Measurement], speedup: Spread | None) -> CompetitorSummary:
    """Summarise one competitor's measurements, of which there is at least one."""
    rate = spread([made.rate for made in own])
    assert rate is not None

    def per_step(seconds: Iterable[float]) -> float:
        return float(np.median([1e6 * value / made.steps for value, made in zip(seconds, own, strict=True)]))

    return CompetitorSummary(
        title=own[0].task.title,
        competitor=own[0].task.competitor,
        rate=rate,
        speedup=speedup,
        stepping=per_step(made.stepping for made in own),
        acting=per_step(made.acting for made in own),
        updating=per_step(made.updating for made in own),
        peak_mib=float(np.median([made.peak_mib for made in own])),
    )
