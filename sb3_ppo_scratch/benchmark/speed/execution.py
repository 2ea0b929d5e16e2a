"""Runs a plan: one process per measurement, everything kept as soon as it is known.

What is here: processes, progress, what happens if one fails. What is not: what is run (`main_table.py`,
`growth.py`).
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from sb3_ppo_scratch.benchmark.progress import show, show_duration
from sb3_ppo_scratch.benchmark.speed.plan import TRIAL_ROUND, Task
from sb3_ppo_scratch.benchmark.speed.results import Measurement, Results, measurement_from
from sb3_ppo_scratch.benchmark.threads import variables_with_threads

TIMEOUT = 1800.0
"""Seconds after which a measurement is given up."""
GUESSED_SECONDS = 15.0
"""A measurement's duration as long as none has been made."""

Plan = Callable[[Results], Sequence[Task]]
"""All tasks, given what is known so far; later ones may depend on earlier ones' results."""
Measure = Callable[[Task], Measurement]
"""Makes one measurement, or raises `MeasurementError`."""


class MeasurementError(RuntimeError):
    """A competitor that failed; the message is the end of what it wrote."""


def measure_in_process(task: Task) -> Measurement:
    """Measure in a process of its own.

    Args:
        task: What.

    Returns:
        The measurement.

    Raises:
        MeasurementError: If the process fails or takes longer than `TIMEOUT`.
    """
    started = time.perf_counter()
    try:
        finished = subprocess.run(
            [sys.executable, "-m", "sb3_ppo_scratch.benchmark.speed.measure", *task.words()],
            env=variables_with_threads(task.threads),
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise MeasurementError(f"no result after {TIMEOUT:.0f} s") from None
    if finished.returncode != 0 or not finished.stdout.strip():
        written = (finished.stderr or finished.stdout).strip().splitlines()
        raise MeasurementError("\n".join(written[-12:]) or f"exit status {finished.returncode}")
    figures = json.loads(finished.stdout.strip().splitlines()[-1])
    return measurement_from(task, {**figures, "process_seconds": time.perf_counter() - started})


def execute(plan: Plan, results: Results, path: Path, measure: Measure = measure_in_process) -> None:
    """Make every measurement of a plan that has not been made, and write the file after each.

    A competitor that fails is not tried again in later rounds.

    Args:
        plan: What to run.
        results: What is known; extended in place.
        path: The results file.
        measure: Makes one measurement.
    """
    while True:
        tasks = list(plan(results))
        left = [task for task in tasks if not _settled(task, results)]
        if not left:
            return
        task = left[0]
        show(f"[{len(tasks) - len(left) + 1:>3}/{len(tasks)}] {describe(task)} … ", end="")
        try:
            measurement = measure(task)
        except MeasurementError as error:
            results.failures[task] = str(error).splitlines()[-1]
            show(f"FAILED, the others go on:\n{error}")
        else:
            results.measurements[task] = measurement
            took, left_over = measurement.process_seconds, seconds_left(left[1:], results)
            show(f"{measurement.rate:,.0f} steps/s ({took:.0f} s; about {show_duration(left_over)} left)")
        results.save(path)


def _settled(task: Task, results: Results) -> bool:
    """Tell whether nothing is to be done for a task: it was made, or its like has failed."""
    failed = {(other.workload, other.settings, other.variant) for other in results.failures}
    return task in results.measurements or (task.workload, task.settings, task.variant) in failed


def describe(task: Task) -> str:
    """Say what is running.

    Args:
        task: What.

    Returns:
        For example "cartpole, round 2: stock SB3 PPO, 1 thread".
    """
    settings = "".join(f", {name}={value}" for name, value in task.settings if name not in ("steps", "warmup_rollouts"))
    round_ = "trial" if task.round == TRIAL_ROUND else f"round {task.round}"
    return f"{task.workload}{settings}, {round_}: {task.title}"


def seconds_left(tasks: Sequence[Task], results: Results) -> float:
    """Estimate how long tasks take, each as long as its like has taken so far.

    Args:
        tasks: What is left.
        results: What is known.

    Returns:
        Seconds.
    """
    made = results.measurements.values()
    return sum(_expected_seconds(task, list(made)) for task in tasks)


def _expected_seconds(task: Task, made: Sequence[Measurement]) -> float:
    """Estimate one task's seconds from those most like it."""
    for alike in (_same_but_for_round, _same_competitor, _same_workload):
        near = [each for each in made if alike(each.task, task)]
        if near:
            per_step = sum(each.seconds for each in near) / sum(each.steps for each in near)
            beside = sum(each.process_seconds - each.seconds for each in near) / len(near)
            return beside + per_step * task.built_workload.steps
    return GUESSED_SECONDS


def _same_but_for_round(task: Task, other: Task) -> bool:
    return replace(task, round=other.round) == other


def _same_competitor(task: Task, other: Task) -> bool:
    return _same_workload(task, other) and task.competitor == other.competitor


def _same_workload(task: Task, other: Task) -> bool:
    return task.workload == other.workload
