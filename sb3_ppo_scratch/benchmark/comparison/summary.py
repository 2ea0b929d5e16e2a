"""All figures of a comparison: what the report says and shows, and nothing else, stands in these.

What is here: records of runs turned into figures over seeds, environment by environment. What is not: the statistics
themselves (`benchmark/statistics.py`), words (`wording.py`) and pictures (`charts.py`).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sb3_ppo_scratch.benchmark.statistics import (
    Band,
    Estimate,
    TimeToThreshold,
    Verdict,
    area_under_curve,
    judge,
    paired_difference,
    performance_profile,
    probability_of_improvement,
    time_to_threshold,
    typical,
    typical_curve,
)
from sb3_ppo_scratch.benchmark.training.plan import Contestant, Goal, Run, TrainingPlan
from sb3_ppo_scratch.benchmark.training.records import RunRecord

N_POINTS = 61
"""Of a curve against seconds, and of a profile."""


@dataclass(frozen=True)
class Curve:
    """Returns while training, over seeds.

    Args:
        at: Steps or seconds, shape (n,).
        runs: Each seed's mean returns there, shape (n_seeds, n).
        band: Their interquartile mean.
    """

    at: NDArray[np.float64]
    runs: NDArray[np.float64]
    band: Band


@dataclass(frozen=True)
class Against:
    """An algorithm beside another one, over the seeds that both have.

    Args:
        reference: The other.
        difference: Of the final returns.
        verdict: What that means within the environment's margin.
        improvement: The probability that a run of this one ends higher.
        speedup: How many times more steps per second it trains.
    """

    reference: Contestant
    difference: Estimate
    verdict: Verdict
    improvement: Estimate
    speedup: Estimate


@dataclass(frozen=True)
class RunFigures:
    """One run: what all figures over seeds are made of.

    Args:
        seed: Its seed.
        final: Mean return of its last policy.
        area: Mean return over training: the area under its curve by its length.
        rate: Steps per second of training.
        steps: Steps until it was solved; infinity if it never was.
        seconds: Seconds of training until then.
        n_steps: Steps in all.
        n_seconds: Seconds of training in all.
        collecting: Microseconds that a step took while experience was collected.
        updating: Microseconds that the rest of training took, by step.
    """

    seed: int
    final: float
    area: float
    rate: float
    steps: float
    seconds: float
    n_steps: int
    n_seconds: float
    collecting: float
    updating: float


@dataclass(frozen=True)
class Figures:
    """One algorithm on one environment.

    Args:
        contestant: The algorithm.
        runs: Its finished runs, in the order of seeds.
        score: Interquartile mean of the last policies' mean returns.
        area: Interquartile mean of the mean return over training.
        rate: Interquartile mean of the steps per second of training.
        collecting: Interquartile mean of the microseconds that a step takes while experience is collected.
        updating: Interquartile mean of the microseconds that the rest of training takes, by step.
        steps: How many steps it took to solve.
        seconds: How many seconds of training it took to solve.
        by_steps: Returns against steps.
        by_seconds: Returns against seconds of training.
        profile: Share of runs that reach each of `EnvironmentSummary.profile_at`, shape (n,).
        against: Beside each of those that it is compared with, if they share a seed.
    """

    contestant: Contestant
    runs: tuple[RunFigures, ...]
    score: Estimate
    area: Estimate
    rate: Estimate
    collecting: Estimate
    updating: Estimate
    steps: TimeToThreshold
    seconds: TimeToThreshold
    by_steps: Curve
    by_seconds: Curve
    profile: NDArray[np.float64]
    against: tuple[Against, ...]

    @property
    def learns(self) -> bool:
        """Whether it trains at all, and so takes time."""
        return math.isfinite(self.rate.value)


@dataclass(frozen=True)
class EnvironmentSummary:
    """All algorithms on one environment.

    Args:
        goal: The environment.
        profile_at: Returns at which profiles are taken, shape (n,).
        figures: In the plan's order; those without a finished run are left out.
    """

    goal: Goal
    profile_at: NDArray[np.float64]
    figures: tuple[Figures, ...]


def summarize(plan: TrainingPlan, records: Mapping[Run, RunRecord]) -> list[EnvironmentSummary]:
    """Turn finished runs into figures.

    Args:
        plan: The comparison.
        records: Its finished runs.

    Returns:
        Environments in the plan's order; those without a finished run are left out.
    """
    summaries = []
    for goal in plan.goals:
        by_seed = {contestant: _by_seed(goal, contestant, records) for contestant in plan.contestants}
        found = {contestant: runs for contestant, runs in by_seed.items() if runs}
        if found:
            summaries.append(_summarize_environment(goal, found))
    return summaries


def _by_seed(goal: Goal, contestant: Contestant, records: Mapping[Run, RunRecord]) -> dict[int, RunRecord]:
    """Pick one algorithm's runs on one environment, in the order of seeds."""
    own = {run.seed: record for run, record in records.items() if (run.goal, run.contestant) == (goal, contestant)}
    return dict(sorted(own.items()))


def _summarize_environment(goal: Goal, found: Mapping[Contestant, Mapping[int, RunRecord]]) -> EnvironmentSummary:
    """Compute all algorithms' figures."""
    finals = [record.final.mean_return for runs in found.values() for record in runs.values()]
    at = np.linspace(min(finals), max(finals), N_POINTS)
    longest = max(np.median([record.final.seconds for record in runs.values()]) for runs in found.values())
    figures = tuple(_summarize_contestant(goal, contestant, found, at, float(longest)) for contestant in found)
    return EnvironmentSummary(goal, at, figures)


def _summarize_contestant(
    goal: Goal,
    contestant: Contestant,
    found: Mapping[Contestant, Mapping[int, RunRecord]],
    profile_at: NDArray[np.float64],
    longest: float,
) -> Figures:
    """Compute one algorithm's figures; `longest` are the seconds at which the time axis ends."""
    runs = found[contestant]
    records = list(runs.values())
    each = tuple(_summarize_run(seed, record, goal) for seed, record in runs.items())
    own_steps = np.arange(0, goal.n_timesteps + 1, goal.evaluate_every, dtype=np.float64)
    own_seconds = np.linspace(0.0, min(longest, max(run.n_seconds for run in each)), N_POINTS)
    others = [(other, found[other]) for other in found if other.name in contestant.against]
    return Figures(
        contestant=contestant,
        runs=each,
        score=_typical(each, "final"),
        area=_typical(each, "area"),
        rate=_typical(each, "rate"),
        collecting=_typical(each, "collecting"),
        updating=_typical(each, "updating"),
        steps=_time_to_solve(each, "steps"),
        seconds=_time_to_solve(each, "seconds"),
        by_steps=_summarize_curve(records, "steps", own_steps),
        by_seconds=_summarize_curve(records, "seconds", own_seconds),
        profile=performance_profile([run.final for run in each], profile_at),
        against=tuple(_compare(runs, theirs, other, goal.margin) for other, theirs in others if runs.keys() & theirs),
    )


def _typical(runs: Sequence[RunFigures], figure: str) -> Estimate:
    """Estimate the interquartile mean of a figure."""
    return typical([getattr(run, figure) for run in runs])


def _time_to_solve(runs: Sequence[RunFigures], unit: str) -> TimeToThreshold:
    """Estimate how long it took to solve, in "steps" or "seconds"."""
    return time_to_threshold([getattr(run, unit) for run in runs], [getattr(run, f"n_{unit}") for run in runs])


def _summarize_run(seed: int, record: RunRecord, goal: Goal) -> RunFigures:
    """Compute one run's figures."""
    steps, seconds = record.solved_at(goal.solved)
    return RunFigures(
        seed=seed,
        final=record.final.mean_return,
        area=area_under_curve(*_curve(record, "steps")),
        rate=record.rate,
        steps=steps,
        seconds=seconds,
        n_steps=record.final.steps,
        n_seconds=record.final.seconds,
        collecting=1e6 * record.final.rollout_seconds / record.final.steps,
        updating=1e6 * (record.final.seconds - record.final.rollout_seconds) / record.final.steps,
    )


def _curve(record: RunRecord, by: str) -> NDArray[np.float64]:
    """Read a run's returns by steps or seconds, shape (2, evaluations)."""
    points = [(getattr(point, by), point.mean_return) for point in record.evaluations]
    return np.array(points, dtype=np.float64).T


def _summarize_curve(records: Sequence[RunRecord], by: str, at: NDArray[np.float64]) -> Curve:
    """Interpolate runs at the same places, since rollouts end where they end; after its end a run stays as it was."""
    runs = np.array([np.interp(at, *_curve(record, by)) for record in records])
    return Curve(at, runs, typical_curve(runs))


def _compare(
    runs: Mapping[int, RunRecord], others: Mapping[int, RunRecord], reference: Contestant, margin: float
) -> Against:
    """Compare with another one, seed by seed."""
    seeds = [seed for seed in runs if seed in others]
    ours, theirs = ([each[seed].final.mean_return for seed in seeds] for each in (runs, others))
    difference = paired_difference(ours, theirs)
    return Against(
        reference=reference,
        difference=difference,
        verdict=judge(difference, margin),
        improvement=probability_of_improvement(ours, theirs),
        speedup=typical([runs[seed].rate / others[seed].rate for seed in seeds]),
    )
