"""Figures in words: numbers with their intervals, and what a comparison has found, in sentences.

What is here: text, the same for the web page and for Markdown. What is not: the figures (`summary.py`).
"""

import math
from collections.abc import Iterator, Sequence

from sb3_ppo_scratch.benchmark.comparison.summary import Against, EnvironmentSummary, Figures
from sb3_ppo_scratch.benchmark.statistics import LEAST_SEEDS, Estimate, TimeToThreshold
from sb3_ppo_scratch.benchmark.training.plan import TrainingPlan

NOTHING, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"
"""The first stands where there is no figure."""
NEVER = "never"


def show_number(value: float, digits: int = 1) -> str:
    """Show a number.

    Args:
        value: It.
        digits: After the point.

    Returns:
        It, with a true minus sign; a dash for NaN or infinity.

    Example:
        >>> show_number(1234.56)
        '1,234.6'
    """
    if not math.isfinite(value):
        return NOTHING
    return f"{round(value, digits) + 0.0:,.{digits}f}".replace("-", MINUS)


def show_estimate(estimate: Estimate, digits: int = 1, unit: str = "") -> str:
    """Show a figure with its interval.

    Args:
        estimate: The figure.
        digits: After the point.
        unit: What follows the figure.

    Returns:
        For example "12.3 [10.0, 14.5]"; without an interval where there is none.
    """
    value = show_number(estimate.value, digits)
    if value == NOTHING or not estimate.has_interval:
        return value if value == NOTHING else f"{value}{unit}"
    return f"{value}{unit} [{show_number(estimate.low, digits)}, {show_number(estimate.high, digits)}]"


def show_time(time: TimeToThreshold, digits: int = 0, unit: str = "") -> str:
    """Show how long it took to solve.

    Args:
        time: The median over runs.
        digits: After the point.
        unit: What follows the number.

    Returns:
        For example "12,000"; a dash if fewer than half of the runs have.
    """
    return f"{show_number(time.median, digits)}{unit}" if math.isfinite(time.median) else NOTHING


def show_rounded(value: float) -> str:
    """Show a positive number with three digits.

    Args:
        value: It.

    Returns:
        For example "0.512", "12.3" or "1,234".
    """
    if not math.isfinite(value) or value <= 0.0:
        return show_number(value)
    return show_number(value, max(0, 2 - math.floor(math.log10(value))))


def verdicts(summary: EnvironmentSummary) -> Iterator[str]:
    """Say what a comparison has found on one environment.

    Args:
        summary: Its figures.

    Yields:
        A paragraph for each pair that was to be compared.
    """
    for figures in summary.figures:
        for against in figures.against:
            yield " ".join(_sentences(summary, figures, against))


def _sentences(summary: EnvironmentSummary, figures: Figures, against: Against) -> Iterator[str]:
    """Say how one algorithm does beside another: returns, time to solve, speed."""
    ours, theirs = figures.contestant.title, against.reference.title
    yield _on_returns(ours, theirs, against, summary.goal.margin)
    other = next((each for each in summary.figures if each.contestant == against.reference), None)
    if other is not None:
        yield _on_solving(figures, other, theirs)
    if math.isfinite(against.speedup.value):
        yield f"{show_estimate(against.speedup, 2)} times the steps per second."


def _on_returns(ours: str, theirs: str, against: Against, margin: float) -> str:
    """Say what the difference of returns means."""
    difference = against.difference
    shown = show_estimate(difference)
    if not difference.has_interval:
        place = "above" if difference.value >= 0.0 else "below"
        return (
            f"In the mean of {_seeds(difference.n_seeds)}, {ours} ended {show_number(abs(difference.value))} {place} "
            f"{theirs}; fewer than {LEAST_SEEDS} seeds give no interval and no verdict."
        )
    found = {
        "equivalent": f"{ours} and {theirs} are equivalent: the difference of returns, {shown}, lies within "
        f"±{margin:g}.",
        "better": f"{ours} ends higher than {theirs}, by {shown}.",
        "worse": f"{ours} ends lower than {theirs}: the difference is {shown}.",
        "undecided": f"{_seeds(difference.n_seeds)} do not tell {ours} from {theirs}: the difference is {shown}, which "
        f"reaches to both sides of 0{f' and beyond ±{margin:g}' if margin > 0.0 else ''}.",
    }
    return found[against.verdict]


def _on_solving(figures: Figures, other: Figures, theirs: str) -> str:
    """Say how soon both solve it."""
    if figures.seconds.n_reached == other.seconds.n_reached == 0:
        return "Neither solves it."
    how_soon = _how_soon(figures)
    return f"{'Never solved' if how_soon == NEVER else f'Solved {how_soon}'}; by {theirs} {_how_soon(other)}."


def _how_soon(figures: Figures) -> str:
    """Say how soon, and by how many seeds."""
    n_reached, n_seeds = figures.seconds.n_reached, figures.seconds.n_seeds
    if n_reached == 0:
        return NEVER
    median = figures.seconds.median
    after = f"after {show_rounded(median)} s" if math.isfinite(median) else "late"
    return f"{after} ({n_reached} of {_seeds(n_seeds)})"


def _seeds(number: int) -> str:
    """Count seeds."""
    return f"{number} seed{'' if number == 1 else 's'}"


def what_was_compared(plan: TrainingPlan, n_runs: int) -> str:
    """Say in a sentence what a comparison is.

    Args:
        plan: The comparison.
        n_runs: Finished runs.

    Returns:
        The sentence.
    """
    names = [f"{each.title} ({each.about})" if each.about else each.title for each in plan.contestants]
    environments = [goal.env_id for goal in plan.goals]
    return (
        f"{_list(names)} on {_list(environments)}, with {_seeds(len(plan.seeds))}: {n_runs} of {len(plan.runs())} runs "
        "finished, each a process of the unmodified rl_zoo3 on one core."
    )


def intervals_missing(plan: TrainingPlan) -> list[str]:
    """Warn where there are too few seeds for intervals.

    Args:
        plan: The comparison.

    Returns:
        The warning, or nothing.
    """
    if len(plan.seeds) >= LEAST_SEEDS:
        return []
    return [f"Fewer than {LEAST_SEEDS} seeds: no intervals, and no verdicts. What differs here may be chance."]


def how_measured(plan: TrainingPlan) -> list[str]:
    """Say how figures come about.

    Args:
        plan: The comparison.

    Returns:
        Paragraphs.
    """
    evaluation = plan.evaluation
    last = evaluation.first_seed + evaluation.n_final_episodes - 1
    return [
        "A seed is one number in every figure: its many episodes are not independent. Returns are means over "
        f"{evaluation.n_episodes} whole episodes with the most likely actions, {evaluation.n_final_episodes} at the "
        f"end, on the seeds {evaluation.first_seed} to {last}, which training never uses. The last policy counts, "
        "never the best.",
        "Seconds are those of the processor while training, without evaluations, of one process on one thread. "
        "Solved is the first evaluation at or above the threshold.",
        "Return at the end and over training, steps/s: interquartile mean over seeds with its 95 % bootstrap interval "
        "(BCa). Difference: mean over pairs with the same seed, with the same kind of interval; equivalent: the whole "
        "interval lies within the margin, "
        + ", ".join(f"±{goal.margin:g} on {goal.env_id}" for goal in plan.goals)
        + ". Steps and seconds to solve: the median as Kaplan and Meier estimate it; runs that never solve stay in. "
        "Below ten seeds or so bootstrap intervals are too narrow rather than too wide.",
    ]


def _list(words: Sequence[str]) -> str:
    """Join words as a sentence does."""
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))
