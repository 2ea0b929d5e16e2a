"""Which figures of a comparison have changed since another one, beyond what seeds explain: a gate against regressions.

What is here: tests of every figure and their verdicts. What is not: the command (`commands.py`), the files
(`results.py`).

Two runs of one seed are as different as two seeds once rounding has parted them, so samples are compared as
independent, by the test of Mann and Whitney, to which a run that never solves is one that takes longer than all others.
Holm's correction keeps the chance of any false alarm in the whole comparison at five percent.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from scipy import stats

from sb3_ppo_scratch.benchmark.markdown import table
from sb3_ppo_scratch.errors import ArgumentError

SIGNIFICANCE = 0.05
"""Chance that any figure of the whole comparison is called changed though it is not."""
HIGHER_IS_BETTER = {"final": True, "area": True, "steps": False, "seconds": False, "rate": True}
"""The figures of a run that are compared, and which way is better."""
OF_THE_MACHINE = frozenset({"seconds", "rate"})
"""Figures that another machine changes by itself."""
TITLES = {
    "final": "return at the end",
    "area": "return over training",
    "steps": "steps to solve",
    "seconds": "seconds to solve",
    "rate": "steps per second",
}
Verdict = Literal["better", "worse", "same", "too few seeds", "another machine"]


@dataclass(frozen=True)
class Change:
    """One figure of one algorithm on one environment, then and now.

    Args:
        env_id: The environment.
        contestant: The algorithm's name.
        figure: A key of `TITLES`.
        old: Median over seeds; infinity: fewer than half have solved it.
        new: The same now.
        p_value: Of the test that nothing has changed.
        least_p_value: The least that so few seeds can give.
        verdict: What follows.
    """

    env_id: str
    contestant: str
    figure: str
    old: float
    new: float
    p_value: float
    least_p_value: float
    verdict: Verdict = "same"


def compare_results(old: dict[str, Any], new: dict[str, Any]) -> list[Change]:
    """Compare all figures that both have.

    Args:
        old: What `read_results` has read.
        new: The same of now.

    Returns:
        A change for each figure.

    Raises:
        ArgumentError: If they have nothing in common.
    """
    same_machine = all(
        old["about"]["machine"].get(name) == new["about"]["machine"].get(name) for name in ("cpu", "cores")
    )
    changes = [_compare(*each) for each in _pairs(old, new)]
    if not changes:
        raise ArgumentError("the two results have no environment with an algorithm of the same name in common.")
    judged = [change for change in changes if same_machine or change.figure not in OF_THE_MACHINE]
    verdicts = iter(judge_changes(judged))
    return [next(verdicts) if change in judged else replace(change, verdict="another machine") for change in changes]


def _pairs(old: dict[str, Any], new: dict[str, Any]) -> Iterator[tuple[str, str, str, list[float], list[float]]]:
    """List what both have: environment, algorithm, figure, and its values then and now."""
    before = _by_name(old)
    for (env_id, contestant), runs in _by_name(new).items():
        for figure in HIGHER_IS_BETTER if (env_id, contestant) in before else ():
            old_values, new_values = (_values(each, figure) for each in (before[env_id, contestant], runs))
            if old_values and new_values:
                yield env_id, contestant, figure, old_values, new_values


def _values(runs: Sequence[dict[str, Any]], figure: str) -> list[float]:
    """List a figure of all runs; what never happened is infinity, and what takes no time has no rate."""
    missing = [] if figure == "rate" else [math.inf]
    return [value for run in runs for value in (missing if run[figure] is None else [run[figure]])]


def _by_name(results: dict[str, Any]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Sort runs by environment and algorithm."""
    return {
        (environment["goal"]["env_id"], figures["contestant"]["name"]): figures["runs"]
        for environment in results["environments"]
        for figures in environment["figures"]
    }


def _compare(env_id: str, contestant: str, figure: str, old: Sequence[float], new: Sequence[float]) -> Change:
    """Test one figure."""
    before, now = (float(np.quantile(values, 0.5, method="higher")) for values in (old, new))
    is_same = sorted(old) == sorted(new)
    p_value = 1.0 if is_same else float(stats.mannwhitneyu(_ranked(old, new), _ranked(new, old)).pvalue)
    return Change(env_id, contestant, figure, before, now, p_value, 2.0 / math.comb(len(old) + len(new), len(old)))


def _ranked(values: Sequence[float], others: Sequence[float]) -> list[float]:
    """Put a number above all others in the place of infinity, which SciPy does not order."""
    finite = [value for value in (*values, *others) if math.isfinite(value)]
    above = max(finite, default=0.0) + 1.0
    return [value if math.isfinite(value) else above for value in values]


def judge_changes(changes: Sequence[Change]) -> list[Change]:
    """Call figures changed by Holm's procedure: the k-th smallest p-value has to be below the level over those left.

    Args:
        changes: All that are judged together.

    Returns:
        The same with verdicts.

    Source:
        Holm 1979, A simple sequentially rejective multiple test procedure (https://www.jstor.org/stable/4615733).
    """
    verdicts: dict[int, Verdict] = {}
    goes_on = True
    for place, index in enumerate(sorted(range(len(changes)), key=lambda index: changes[index].p_value)):
        change, level = changes[index], SIGNIFICANCE / (len(changes) - place)
        goes_on = goes_on and change.p_value <= level
        is_better = (change.new > change.old) == HIGHER_IS_BETTER[change.figure]
        if goes_on:
            verdicts[index] = "better" if is_better else "worse"
        elif change.p_value < 1.0 and change.least_p_value > SIGNIFICANCE / len(changes):
            verdicts[index] = "too few seeds"
    return [replace(change, verdict=verdicts.get(index, "same")) for index, change in enumerate(changes)]


def render_changes(changes: Sequence[Change]) -> str:
    """Write what has changed.

    Args:
        changes: All figures.

    Returns:
        A table of the figures that have changed, and of those of which nothing can be said, with a count of the others.
    """
    told = [change for change in changes if change.verdict in ("better", "worse")]
    unsaid = [change for change in changes if change.verdict in ("too few seeds", "another machine")]
    counts = f"{len(changes)} figures compared: {len(told)} changed beyond noise, {len(unsaid)} cannot be told."
    header = ("environment", "algorithm", "figure", "old median", "new median", "p", "verdict")
    rows = [_row(change) for change in (*told, *unsaid)]
    return f"{counts}\n\n{table(header, rows)}" if rows else counts


def _row(change: Change) -> tuple[str, ...]:
    """Fill one line."""
    medians = (f"{value:,.4g}" if math.isfinite(value) else "never" for value in (change.old, change.new))
    return (change.env_id, change.contestant, TITLES[change.figure], *medians, f"{change.p_value:.2g}", change.verdict)
