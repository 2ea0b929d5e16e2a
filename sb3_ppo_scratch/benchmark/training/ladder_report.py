"""The table of the ladder: every rung beside the others and beside stock PPO; the same for the same runs.

What is here: figures over seeds, and their words. What is not: making the runs (`execution.py`), the curves
(`figures.py`).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sb3_ppo_scratch.benchmark.machine import in_words
from sb3_ppo_scratch.benchmark.markdown import table
from sb3_ppo_scratch.benchmark.training.plan import ZOO, Contestant, Goal, Run, TrainingPlan
from sb3_ppo_scratch.benchmark.training.records import RunRecord

METHOD = """## How it is measured

- A run is one process of the unmodified `rl_zoo3.train` with the hyperparameter file named below and one thread; as
  many ran side by side as there are cores, unless `--jobs` said otherwise.
- Policies are judged by whole episodes with their most likely actions, on seeds that training never uses:
  {n_episodes} episodes for each point of the curves, {n_final_episodes} at the end. The last policy counts, never the
  best.
- Solved: the first evaluation with a mean return of at least the threshold. Medians over seeds, in which a run that
  never gets there counts as longer than all others; in brackets the range.
- Seconds are the processor time of training alone, so that other work on the machine counts little: evaluations stop
  the clock, and the start of the process is not counted. What else runs slows them only by sharing caches.
- The return is the mean over seeds of the last policies' means, with the standard deviation over seeds."""


@dataclass(frozen=True)
class RungSummary:
    """One contestant's figures on one environment.

    Args:
        contestant: Who.
        seeds: Finished runs.
        solved: Runs that have solved it.
        steps: Median, lowest and highest number of steps until then; infinity where it was not solved.
        seconds: The same of seconds.
        mean: Mean over seeds of the last policies' mean returns.
        deviation: Its standard deviation over seeds; NaN for one seed.
        rate: Median steps per second of training.
    """

    contestant: Contestant
    seeds: int
    solved: int
    steps: tuple[float, float, float]
    seconds: tuple[float, float, float]
    mean: float
    deviation: float
    rate: float


def summarize_rung(contestant: Contestant, goal: Goal, records: Sequence[RunRecord]) -> RungSummary:
    """Summarise a contestant's runs on one environment.

    Args:
        contestant: Who.
        goal: The environment.
        records: At least one run.

    Returns:
        Its figures.
    """
    times = [record.solved_at(goal.solved) for record in records]
    finals = [record.final.mean_return for record in records]
    return RungSummary(
        contestant=contestant,
        seeds=len(records),
        solved=sum(math.isfinite(steps) for steps, _ in times),
        steps=_median_and_range([steps for steps, _ in times]),
        seconds=_median_and_range([seconds for _, seconds in times]),
        mean=float(np.mean(finals)),
        deviation=float(np.std(finals, ddof=1)) if len(finals) > 1 else math.nan,
        rate=float(np.median([record.rate for record in records])),
    )


def _median_and_range(values: Sequence[float]) -> tuple[float, float, float]:
    """Compute median, lowest and highest, of which infinity may be one; of an even number the upper median."""
    ordered = sorted(values)
    return ordered[len(ordered) // 2], ordered[0], ordered[-1]


def summarize(plan: TrainingPlan, records: Mapping[Run, RunRecord]) -> dict[str, list[RungSummary]]:
    """Summarise all runs.

    Args:
        plan: The comparison.
        records: Its finished runs.

    Returns:
        Summaries in the plan's order, by environment; contestants without a finished run are left out.
    """
    found: dict[str, list[RungSummary]] = {}
    for goal in plan.goals:
        for contestant in plan.contestants:
            made = [record for run, record in records.items() if (run.goal, run.contestant) == (goal, contestant)]
            if made:
                found.setdefault(goal.env_id, []).append(summarize_rung(contestant, goal, made))
    return found


def render(
    plan: TrainingPlan,
    records: Mapping[Run, RunRecord],
    failures: Mapping[Run, str],
    command: str,
    pictures: Mapping[str, str],
) -> str:
    """Write the report.

    Args:
        plan: The comparison.
        records: Its finished runs.
        failures: Messages of the failed ones.
        command: The command that makes it.
        pictures: File names of the figures, by environment.

    Returns:
        Markdown.
    """
    parts = [f"# {plan.title}", f"```\n{command}\n```"]
    goals = {goal.env_id: goal for goal in plan.goals}
    for env_id, summaries in summarize(plan, records).items():
        parts.append(_render_goal(goals[env_id], summaries))
        if env_id in pictures:
            parts.append(f"![Return against steps on {env_id}, a panel per rung]({pictures[env_id]})")
    if not records:
        parts.append("No run is finished yet.")
    if failures:
        parts.append(
            "## Failed\n\n" + "\n".join(f"- {run.folder}: {_last_line(text)}" for run, text in failures.items())
        )
    parts += [METHOD.format(**vars(plan.evaluation)), _render_settings(plan, records)]
    return "\n\n".join(parts) + "\n"


def _render_goal(goal: Goal, summaries: Sequence[RungSummary]) -> str:
    """Write one environment's table."""
    header = ("rung", "what is new", "solved", "steps to solve", "seconds to solve", "return at the end", "steps/s")
    title = f"## {goal.env_id}\n\n{goal.n_timesteps:,} steps; solved at {goal.solved:g}.\n\n"
    return title + table(header, [_row(goal, summary) for summary in summaries])


def _row(goal: Goal, summary: RungSummary) -> list[str]:
    """Fill one line."""
    spread = "" if math.isnan(summary.deviation) else f" ± {summary.deviation:.1f}"
    return [
        summary.contestant.title,
        summary.contestant.about,
        f"{summary.solved} of {summary.seeds}",
        show_times(summary.steps, goal.n_timesteps, ",.0f"),
        show_times(summary.seconds, None, ",.1f"),
        f"{summary.mean:.1f}{spread}",
        f"{summary.rate:,.0f}",
    ]


def show_times(times: tuple[float, float, float], limit: int | None, form: str) -> str:
    """Show how long solving took.

    Args:
        times: Median, lowest and highest; infinity where it was not solved.
        limit: What a run has at most, of the same unit; None: not said.
        form: Format of a number.

    Returns:
        For example "12,000 (9,000 to 15,000)"; "never" where no run has.
    """

    def show(value: float) -> str:
        if math.isfinite(value):
            return format(value, form)
        return "never" if limit is None else f"over {limit:,}"

    median, low, high = times
    return "never" if math.isinf(low) else f"{show(median)} ({show(low)} to {show(high)})"


def _render_settings(plan: TrainingPlan, records: Mapping[Run, RunRecord]) -> str:
    """Say which files, seeds, machine and versions it was made with."""
    rows = [
        [each.title, f"`{each.algorithm}`", f"rl_zoo3's `{each.algorithm}.yml`" if each.config == ZOO else each.config]
        for each in plan.contestants
    ]
    parts = [f"## Made with\n\nSeeds {', '.join(map(str, plan.seeds))}.", table(("rung", "`--algo`", "file"), rows)]
    machines = {f"- {in_words(record.machine)}" for record in records.values()}
    return "\n\n".join([*parts, "\n".join(sorted(machines))])


def _last_line(text: str) -> str:
    """Take the last line of a message."""
    return text.strip().splitlines()[-1]
