"""The report of the speed benchmark: Markdown from a results file, the same for the same file.

What is here: tables and their words. What is not: the statistics (`summaries.py`), the figures (`figures.py`).
"""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from sb3_ppo_scratch.benchmark.markdown import table
from sb3_ppo_scratch.benchmark.speed.growth import AXES, FLOOR, Point, curve
from sb3_ppo_scratch.benchmark.speed.plan import variant_title
from sb3_ppo_scratch.benchmark.speed.results import Measurement, Results
from sb3_ppo_scratch.benchmark.speed.summaries import (
    Agreement,
    CompetitorSummary,
    Spread,
    agreement,
    fastest_stocks,
    memory_ratios,
    paired,
    rate_shares,
    returns_of,
    speedups,
    spread,
    summarize_competitors,
    usual_variant,
)
from sb3_ppo_scratch.benchmark.speed.workloads import WORKLOADS, Part, VecEnvKind

NEEDED_MEMORY = 1.1
"""Peak memory may be this multiple of stock's."""
PART_TITLES: dict[Part, str] = {"learn": "whole `learn`", "update": "updates alone"}

METHOD = """\
- Every measurement is a process of its own: environments and model are made, one or two rollouts with their updates
  are the warm-up, then one whole `learn` is timed. Competitors run in turn (A B A B), round after round; a round is
  also the seed.
- Ratios are stock's time by ours within a round; shown are the median over rounds and, in brackets, the range.
- Stock is measured in every round with one thread, and with the number of threads (and, where it has a choice, the
  VecEnv) that was fastest in a short trial before; in each round the faster of the two counts. Ours runs as it comes:
  nothing is said about threads.
- The split of the time is taken from outside, by the same two timers for every competitor: stepping is the time in
  the VecEnv's step, updating the time in `train`, acting the rest.
- The limit is the speed of stepping the same environments with random actions and no algorithm. It is no exact bound:
  a trained policy has longer episodes and so fewer resets.
- Returns are means of the last 100 episodes. They disagree if Welch's test of the means over seeds finds a difference,
  at a level of 5 % for the whole table (p below 0.05 divided by the number of lines). "Same" counts the seeds on which
  a competitor and stock with one thread have the same return, hence the same trajectory. Equal algorithms part where
  float rounding differs: torch rounds the initial weights differently with more threads, and ours as it comes sets its
  threads only once it learns.
- Memory is the peak of the process and its children, against the stock that counts. The bound is for environments in
  the same process; each worker process imports what its environments import.
- Where ours is measured with several VecEnvs, the fastest counts, which is named.
"""


def write_report(results: Results, source: Path) -> Path:
    """Write the Markdown and the figures beside a results file.

    Args:
        results: What stands in it.
        source: The file.

    Returns:
        The Markdown file.
    """
    from sb3_ppo_scratch.benchmark.speed.figures import draw_growth, draw_speed

    report = source.with_suffix(".md")
    pictures = {"speed": source.with_suffix(".png"), "growth": source.with_suffix(".growth.png")}
    drawn = []
    if draw_speed(results, pictures["speed"]):
        drawn.append("speed")
    if draw_growth(results, pictures["growth"]):
        drawn.append("growth")
    report.write_text(render(results, {name: pictures[name].name for name in drawn}))
    return report


def render(results: Results, pictures: dict[str, str]) -> str:
    """Write the whole report.

    Args:
        results: What was measured.
        pictures: File names of the figures "speed" and "growth", as far as they exist.

    Returns:
        Markdown.
    """
    parts = [
        "# Speed",
        "How fast `PPOScratch` learns beside stock PPO, with the same arguments and seeds, on the CPU.",
        f"```\n{results.command}\n```",
        render_targets(results),
        _picture("Microseconds per step of every competitor", pictures.get("speed")),
        render_equality(results),
        render_competitors(results),
        render_growth(results, _picture("Steps per second along four axes", pictures.get("growth"))),
        "## How it is measured\n\n" + METHOD.rstrip(),
        render_environment(results),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _picture(text: str, name: str | None) -> str:
    """Show a figure, if there is one."""
    return f"![{text}]({name})" if name else ""


def render_targets(results: Results) -> str:
    """Compare ours, as it comes, with stock and with what is needed: a line per workload and target.

    Args:
        results: What was measured.

    Returns:
        A Markdown section.
    """
    header = (
        "workload",
        "compared",
        "needed",
        "ours, times stock",
        "reached",
        "stepping alone, times stock",
        "ours of stepping alone",
        "ours",
        "stock",
    )
    rows = []
    for name, workload in WORKLOADS.items():
        for part, needed in workload.needed.items():
            cells = _target_cells(results, name, part)
            if cells:
                rows.append([workload.title, PART_TITLES[part], f"{needed:g}", *cells])
    return "## Against stock PPO\n\n" + (table(header, rows) if rows else "No round is complete yet.")


def _target_cells(results: Results, name: str, part: Part) -> list[str]:
    """Fill one line of the targets' table; nothing if nothing was measured."""
    made, workload = results.of_workload(name), WORKLOADS[name]
    found = {kind: paired(made, ("auto", kind, None), part) for kind in workload.vec_envs}
    ratios = {kind: ratio for kind, pairs in found.items() if (ratio := spread(speedups(pairs, part))) is not None}
    if not ratios:
        failed = any(task.workload == name for task in results.failures)
        return ["failed, see below", "**no**", "", "", "", ""] if failed else []
    kind = max(ratios, key=lambda each: ratios[each].median)
    by_kind = "" if len(workload.vec_envs) == 1 else f", {kind}"
    cells = [show_ratio(ratios[kind]) + by_kind, "yes" if ratios[kind].median >= workload.needed[part] else "**no**"]
    limit = _limit_cells(made, kind) if part == "learn" else ["", ""]
    return [*cells, *limit, _speed_cell([ours for ours, _ in found[kind]], part), _stock_cell(made, part)]


def _limit_cells(made: Sequence[Measurement], kind: VecEnvKind) -> list[str]:
    """Say how fast stepping alone is with the same VecEnv, and how much of that ours reaches."""
    stepping = [each for each in made if each.task.competitor == "stepping" and each.task.vec_env == kind]
    limit = spread(speedups(paired(made, stepping[0].task.variant))) if stepping else None
    ours = [each for each in made if each.task.competitor == "auto" and each.task.vec_env == kind]
    share = spread(rate_shares([*ours, *stepping], "auto", "stepping"))
    return [show_ratio(limit), f"{share.median:.0%}" if share else ""]


def _speed_cell(made: Sequence[Measurement], part: Part) -> str:
    """Say how fast measurements were in what is compared."""
    if part == "learn":
        return f"{show_rate(spread([measurement.rate for measurement in made]))} steps/s"
    return f"{show_ratio(spread([1e6 * measurement.updating / measurement.steps for measurement in made]))} µs/step"


def _stock_cell(made: Sequence[Measurement], part: Part) -> str:
    """Say stock's speed and with which variant."""
    stock = fastest_stocks(made, part)
    return f"{_speed_cell(stock, part)}, {variant_title(*usual_variant(stock)).partition(', ')[2]}"


def render_equality(results: Results) -> str:
    """Compare memory and returns of ours with stock's.

    Args:
        results: What was measured.

    Returns:
        A Markdown section; empty if nothing was measured.
    """
    made = {
        (workload.title, variant_title(update, kind, None)): (kind, *compared)
        for name, workload in WORKLOADS.items()
        for update in workload.updates
        for kind in workload.vec_envs
        if (compared := _compare(results.of_workload(name), update, kind)) is not None
    }
    comparisons = sum(found is not None for _, _, found in made.values())
    rows = [
        [*titles, *memory_cells(memory, kind), *agreement_cells(found, comparisons)]
        for titles, (kind, memory, found) in made.items()
    ]
    header = (
        "workload",
        "competitor",
        "memory, times stock's",
        f"at most {NEEDED_MEMORY}",
        "return",
        "stock's return",
        "standard error of the difference",
        "p",
        "same on",
        "verdict",
    )
    return "## Memory and returns\n\n" + table(header, rows) if rows else ""


def _compare(made: Sequence[Measurement], update: str, kind: VecEnvKind) -> tuple[Spread, Agreement | None] | None:
    """Compare one competitor's memory and returns with stock's; None if nothing was measured."""
    ours = [each for each in made if each.task.competitor == update and each.task.vec_env == kind]
    memory = spread(memory_ratios(paired(made, ours[0].task.variant))) if ours else None
    if memory is None:
        return None
    return memory, agreement(returns_of(ours, competitor=update), returns_of(made, competitor="stock", threads=1))


def memory_cells(memory: Spread, kind: VecEnvKind) -> list[str]:
    """Show how much memory a competitor takes.

    Args:
        memory: Its peak, times stock's.
        kind: What steps the environments: the bound is for those of the same process.

    Returns:
        The ratio, and whether it is within the bound.
    """
    verdict = "yes" if memory.median <= NEEDED_MEMORY else "**no**"
    return [show_ratio(memory), verdict if kind == "dummy" else ""]


def render_competitors(results: Results) -> str:
    """List every competitor with the split of its time.

    Args:
        results: What was measured.

    Returns:
        A Markdown section; empty if nothing was measured.
    """
    header = ("competitor", "steps/s", "times stock", "stepping, µs/step", "acting", "updating", "memory, MiB")
    sections = []
    for name, workload in WORKLOADS.items():
        rows = [_competitor_row(line) for line in summarize_competitors(results.of_workload(name))]
        if rows:
            sections.append(f"### {workload.title}\n\n{table(header, rows)}")
    return "\n\n".join(["## Every competitor", *sections]) if sections else ""


def _competitor_row(line: CompetitorSummary) -> list[str]:
    """Fill one line of a competitors' table."""
    split = [f"{line.stepping:.1f}", f"{line.acting:.1f}", f"{line.updating:.1f}"]
    if line.competitor == "stepping":
        split[1:] = ["", ""]
    return [line.title, show_rate(line.rate), show_ratio(line.speedup), *split, f"{line.peak_mib:.0f}"]


def render_growth(results: Results, picture: str) -> str:
    """List the curves' points, and name those at which ours is slower than it may be.

    Args:
        results: What was measured.
        picture: The figure, as Markdown.

    Returns:
        A Markdown section; empty if no curve was measured.
    """
    curves = {axis.title: curve(axis, results.measurements.values()) for axis in AXES}
    below = [
        f"{title} {point.value}: {show_ratio(point.ratio)}"
        for title, points in curves.items()
        for point in points
        if point.ratio.median < FLOOR
    ]
    n_points, n_planned = sum(map(len, curves.values())), sum(len(axis.values) for axis in AXES)
    if n_points == 0:
        return ""
    verdict = f"At none of the {n_points} points is ours below {FLOOR} of stock in the paired median."
    if below:
        verdict = f"**Below {FLOOR} of stock in the paired median:** " + "; ".join(below) + "."
    if n_points < n_planned:
        verdict += f" **Only {n_points} of {n_planned} points have been measured.**"
    sections = [_growth_table(title, points) for title, points in curves.items() if points]
    return "\n\n".join(part for part in ["## Growth", verdict, picture, *sections] if part)


def _growth_table(title: str, points: Iterable[Point]) -> str:
    """List one curve."""
    rows = [
        [f"{point.value}", show_rate(point.ours), show_rate(point.stock), show_ratio(point.ratio)] for point in points
    ]
    return table((title, "ours, steps/s", "stock, steps/s", "times stock"), rows)


def render_environment(results: Results) -> str:
    """Say where and with what it was measured, and what did not take part.

    Args:
        results: What was measured.

    Returns:
        A Markdown section.
    """
    known = results.environment
    versions = ", ".join(f"{name} {version}" for name, version in known["versions"].items())
    lines = [
        f"- {known['cpu']}, {known['cores']} usable cores, {known['system']}",
        f"- {known['date']}, revision {known['revision']}",
        f"- Python {known['python']}, {versions}",
        *(f"- `{name}` did not take part: {reason}." for name, reason in sorted(results.skipped.items())),
        *(
            f"- Failed: {task.workload}, {task.title}, round {task.round}: {error}"
            for task, error in results.failures.items()
        ),
    ]
    return "## Measured on\n\n" + "\n".join(lines)


def show_ratio(summary: Spread | None) -> str:
    """Show a ratio with its range.

    Args:
        summary: The ratio over rounds.

    Returns:
        For example "4.52 (4.40 to 4.71)"; empty if there is none.
    """
    return f"{summary.median:.2f} ({summary.low:.2f} to {summary.high:.2f})" if summary else ""


def show_rate(summary: Spread | None) -> str:
    """Show a speed with its range.

    Args:
        summary: Steps per second over rounds.

    Returns:
        For example "7,210 (7,020 to 7,300)"; empty if there is none.
    """
    return f"{summary.median:,.0f} ({summary.low:,.0f} to {summary.high:,.0f})" if summary else ""


def agreement_cells(found: Agreement | None, comparisons: int) -> list[str]:
    """Show whether the returns agree.

    Args:
        found: The comparison.
        comparisons: How many are judged together.

    Returns:
        Both means, the standard error of their difference, the test's p, the seeds with the same return, the verdict.
    """
    if found is None:
        return ["", "", "", "", "", "no episode has ended"]
    verdict = found.verdict(comparisons)
    return [
        f"{found.ours:.1f}",
        f"{found.stock:.1f}",
        "" if math.isnan(found.standard_error) else f"{found.standard_error:.1f}",
        "" if math.isnan(found.p_value) else f"{found.p_value:.2g}",
        f"{found.same} of {found.seeds} seeds",
        verdict if verdict == "agree" else f"**{verdict}**",
    ]
