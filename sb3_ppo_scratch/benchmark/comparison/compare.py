"""Which figures of a comparison have changed since another one, beyond what seeds explain: a gate against regressions.

What is here: which figures are compared, and the verdicts. What is not: the test (`benchmark/permutation.py`), the
command (`commands.py`), the files (`results.py`).

Two runs of one seed are as different as two seeds once rounding has parted them, so runs then and now are compared as
independent. A run that was never solved counts as one that took as long as the longest run, then or now.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from sb3_ppo_scratch.benchmark.markdown import table
from sb3_ppo_scratch.benchmark.permutation import Samples, adjusted_p_values, least_p_value
from sb3_ppo_scratch.benchmark.training.plan import run_folder
from sb3_ppo_scratch.errors import ArgumentError

SIGNIFICANCE = 0.05
"""Chance that any figure of the whole comparison is called changed though it is not."""
HIGHER_IS_BETTER = {"final": True, "area": True, "steps": False, "seconds": False, "rate": True}
"""The figures of a run that are compared, and which way is better."""
OF_THE_MACHINE = frozenset({"seconds", "rate"})
"""Figures that another machine changes by itself."""
LENGTHS = {"steps": "n_steps", "seconds": "n_seconds"}
"""How long runs were: the longest length stands in for figures of runs that were never solved."""
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
        p_value: Of the test that nothing has changed, adjusted for all figures; NaN: not tested.
        verdict: What follows.
    """

    env_id: str
    contestant: str
    figure: str
    old: float
    new: float
    p_value: float
    verdict: Verdict


class Comparison(NamedTuple):
    """What has become of a comparison."""

    changes: tuple[Change, ...]
    lost: tuple[str, ...]
    """Runs that were finished then, and are asked for and not finished now."""

    @property
    def is_worse(self) -> bool:
        """Whether anything got worse."""
        return bool(self.lost) or any(change.verdict == "worse" for change in self.changes)


class _Pair(NamedTuple):
    """One algorithm's runs on one environment, then and now, as `RunFigures` in plain values."""

    env_id: str
    contestant: str
    old: Sequence[dict[str, Any]]
    new: Sequence[dict[str, Any]]


def compare_results(old: dict[str, Any], new: dict[str, Any]) -> Comparison:
    """Compare all figures that both have.

    Args:
        old: What `read_results` has read.
        new: The same of now.

    Returns:
        What has changed.

    Raises:
        ArgumentError: If they have nothing in common, or have trained or evaluated differently.
    """
    _check_goals(old, new)
    _check_evaluations(old, new)
    before, now = _by_name(old), _by_name(new)
    pairs = [_Pair(*name, runs, now[name]) for name, runs in before.items() if name in now]
    if not pairs:
        raise ArgumentError("the two results have no environment with an algorithm of the same name in common.")
    cpus = old["about"]["cpus"]
    is_same = len(cpus) == 1 and cpus == new["about"]["cpus"]
    comparable = [name for name in HIGHER_IS_BETTER if is_same or name not in OF_THE_MACHINE]
    p_values = _test([pair for pair in pairs if _has_seeds_enough(pair)], comparable)
    changes = (
        _judge(pair, figure, values, p_values.get((*pair[:2], figure)), is_comparable=figure in comparable)
        for pair in pairs
        for figure in HIGHER_IS_BETTER
        if (values := _values(pair, figure)) is not None
    )
    return Comparison(tuple(changes), _lost(old, new))


def _check_goals(old: dict[str, Any], new: dict[str, Any]) -> None:
    """Compare how long was trained, and what counts as solved.

    Raises:
        ArgumentError: If that is not the same on all environments that both have.
    """
    before, now = ({each["goal"]["env_id"]: each["goal"] for each in results["environments"]} for results in (old, new))
    for env_id, goal in before.items():
        for name in ("n_timesteps", "evaluate_every", "solved"):
            if env_id in now and goal[name] != now[env_id][name]:
                raise ArgumentError(
                    f"{env_id} has {name} {goal[name]:,} in the old results and {now[env_id][name]:,} in the new ones; "
                    "figures of different trainings are not compared."
                )


def _check_evaluations(old: dict[str, Any], new: dict[str, Any]) -> None:
    """Compare how policies were evaluated, which decides when one counts as solved.

    Raises:
        ArgumentError: If that is not the same.
    """
    before, now = (results["about"]["plan"]["evaluation"] for results in (old, new))
    for name, value in before.items():
        if now[name] != value:
            raise ArgumentError(
                f"evaluations have {name} {value:,} in the old results and {now[name]:,} in the new ones."
            )


def _lost(old: dict[str, Any], new: dict[str, Any]) -> tuple[str, ...]:
    """List what is no longer finished; what the new plan does not ask for is not lost."""
    finished = {run_folder(*name, run["seed"]).as_posix() for name, runs in _by_name(old).items() for run in runs}
    return tuple(name for name in new["about"]["missing"] if name in finished)


def _by_name(results: dict[str, Any]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Sort runs by environment and algorithm."""
    return {
        (environment["goal"]["env_id"], figures["contestant"]["name"]): figures["runs"]
        for environment in results["environments"]
        for figures in environment["figures"]
    }


def _has_seeds_enough(pair: _Pair) -> bool:
    """Say whether any difference could be told from chance."""
    sizes = len(pair.old), len(pair.new)
    return min(sizes) > 1 and least_p_value(*sizes) <= SIGNIFICANCE


def _values(pair: _Pair, figure: str) -> tuple[list[float], list[float]] | None:
    """List a figure of all runs, then and now; None for a rate of what takes no time.

    What is missing elsewhere is as bad as the worst.
    """
    both = (*pair.old, *pair.new)
    known = [run[LENGTHS.get(figure, figure)] for run in both if run[LENGTHS.get(figure, figure)] is not None]
    if not known or (figure == "rate" and len(known) < len(both)):
        return None
    worst = max(known) if figure in LENGTHS else min(known)
    old, new = ([worst if run[figure] is None else run[figure] for run in runs] for runs in (pair.old, pair.new))
    return old, new


def _test(pairs: Sequence[_Pair], figures: Sequence[str]) -> dict[tuple[str, str, str], float]:
    """Test figures of all pairs together: p-values by environment, algorithm and figure."""
    tested = [{figure: _values(pair, figure) for figure in figures} for pair in pairs]
    known = [{figure: values for figure, values in each.items() if values is not None} for each in tested]
    p_values = adjusted_p_values([Samples(*map(np.array, zip(*each.values(), strict=True))) for each in known])
    return {
        (pair.env_id, pair.contestant, figure): float(p_value)
        for pair, each, of_pair in zip(pairs, known, p_values, strict=True)
        for figure, p_value in zip(each, of_pair, strict=True)
    }


def _judge(
    pair: _Pair, figure: str, values: tuple[list[float], list[float]], p_value: float | None, *, is_comparable: bool
) -> Change:
    """Say what a p-value means; None: there were too few seeds for one."""
    old, new = map(np.array, values)
    verdict: Verdict = "same"
    if not is_comparable:
        verdict = "another machine"
    elif p_value is None:
        verdict = "same" if sorted(old) == sorted(new) else "too few seeds"
    elif p_value <= SIGNIFICANCE:
        # By what the test looks at: values, and ranks. Where most are better and the mean is not, some are much worse.
        rises = np.array([new.mean() - old.mean(), np.sign(new[:, None] - old).sum()])
        gains = rises if HIGHER_IS_BETTER[figure] else -rises
        verdict = "worse" if gains.min() < 0.0 else "better"
    return Change(
        env_id=pair.env_id,
        contestant=pair.contestant,
        figure=figure,
        old=_median(pair.old, figure),
        new=_median(pair.new, figure),
        p_value=math.nan if p_value is None else p_value,
        verdict=verdict,
    )


def _median(runs: Sequence[dict[str, Any]], figure: str) -> float:
    """Take the middle of a figure; what never happened is infinity."""
    values = [math.inf if run[figure] is None else run[figure] for run in runs]
    return float(np.quantile(values, 0.5, method="higher"))


def render_changes(comparison: Comparison) -> str:
    """Write what has changed.

    Args:
        comparison: What `compare_results` has found.

    Returns:
        A table of the figures that have changed, and of those of which nothing can be said, with a count of the others.
    """
    changes = comparison.changes
    told = [change for change in changes if change.verdict in ("better", "worse")]
    unsaid = [change for change in changes if change.verdict in ("too few seeds", "another machine")]
    counts = f"{len(changes)} figures compared: {len(told)} changed beyond noise, {len(unsaid)} cannot be told."
    header = ("environment", "algorithm", "figure", "old median", "new median", "p", "verdict")
    rows = [_row(change) for change in (*told, *unsaid)]
    lost = [f"- {name}" for name in comparison.lost]
    parts = [counts, table(header, rows) if rows else "", "\n".join(["No longer finished:", *lost]) if lost else ""]
    return "\n\n".join(part for part in parts if part)


def _row(change: Change) -> tuple[str, ...]:
    """Fill one line."""
    medians = (f"{value:,.4g}" if math.isfinite(value) else "never" for value in (change.old, change.new))
    p_value = "" if math.isnan(change.p_value) else f"{change.p_value:.2g}"
    return (change.env_id, change.contestant, TITLES[change.figure], *medians, p_value, change.verdict)
