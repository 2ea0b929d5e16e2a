"""Which measurements the main table of the speed benchmark is made of.

What is here: pure functions from numbers to tasks. What is not: the curves' tasks (`growth.py`), running any of them
(`execution.py`).
"""

from collections.abc import Sequence

from sb3_ppo_scratch.benchmark.speed.plan import TRIAL_ROUND, Task, sorted_settings
from sb3_ppo_scratch.benchmark.speed.results import Results
from sb3_ppo_scratch.benchmark.speed.workloads import WORKLOADS, Workload

TRIAL_SHARE, QUICK_SHARE = 8, 4
"""The trial has an eighth of the steps, a quick run a quarter."""
REFERENCE_THREADS = 1
"""Stock is measured in every round with as many, and its returns are compared at as many."""


def plan_main_table(names: Sequence[str], rounds: int, known: Results, *, quick: bool = False) -> list[Task]:
    """List every measurement of the main table.

    Args:
        names: Keys of `WORKLOADS`.
        rounds: Rounds after the trial.
        known: What is known so far: the trial decides which variant of stock takes part in the rounds.
        quick: Whether to take fewer steps, and only those competitors that the comparison with stock needs.

    Returns:
        Tasks in the order of execution: the trial, then round by round, competitors in turn.
    """
    scale = QUICK_SHARE if quick else 1
    tasks = [task for name in names for task in plan_trial(name, known.environment["cores"], scale)]
    for round_ in range(1, rounds + 1):
        for name in names:
            repeats = 1 if quick else WORKLOADS[name].repeats
            for own_round in range((round_ - 1) * repeats + 1, round_ * repeats + 1):
                tasks += plan_round(name, own_round, best_stock(known, name), scale, skipped=tuple(known.skipped))
    return tasks


def thread_counts(cores: int) -> list[int]:
    """List the numbers of threads to try for stock.

    Args:
        cores: Usable cores, which is also torch's default.

    Returns:
        1, 2, 4, … up to the cores, and those.

    Example:
        >>> thread_counts(6)
        [1, 2, 4, 6]
    """
    doubled = [2**power for power in range(cores.bit_length()) if 2**power < cores]
    return [*doubled, cores]


def plan_trial(name: str, cores: int, scale: int = 1) -> list[Task]:
    """List the short measurements that find stock's best number of threads, and its best VecEnv if it has a choice.

    Args:
        name: A key of `WORKLOADS`.
        cores: Usable cores.
        scale: What all numbers of steps are divided by.

    Returns:
        One task per variant of stock; none if there is but one.
    """
    workload = WORKLOADS[name]
    settings = sorted_settings({"steps": _shortened(workload, scale * TRIAL_SHARE), "warmup_rollouts": 1})
    tasks = [
        Task(name, "stock", kind, threads, TRIAL_ROUND, settings)
        for kind in workload.stock_vec_envs
        for threads in thread_counts(cores)
    ]
    return tasks if len(tasks) > 1 else []


def best_stock(known: Results, name: str) -> tuple[str, int]:
    """Find the variant of stock that was fastest in the trial round.

    Args:
        known: What is known so far.
        name: A key of `WORKLOADS`.

    Returns:
        VecEnv and threads; the first VecEnv with one thread as long as nothing is known.
    """
    made = [m for task, m in known.measurements.items() if task.workload == name and task.round == TRIAL_ROUND]
    fastest = max(made, key=lambda measurement: measurement.rate, default=None)
    if fastest is None or fastest.task.threads is None:
        return WORKLOADS[name].stock_vec_envs[0], REFERENCE_THREADS
    return fastest.task.vec_env, fastest.task.threads


def plan_round(
    name: str, round_: int, best: tuple[str, int], scale: int = 1, *, skipped: Sequence[str] = ()
) -> list[Task]:
    """List one round of one workload.

    Args:
        name: A key of `WORKLOADS`.
        round_: From 1.
        best: Stock's best VecEnv and threads.
        scale: What all numbers of steps are divided by; above 1, only what the main table needs is measured.
        skipped: Competitors and VecEnvs that cannot take part.

    Returns:
        Tasks in turn: stock with one thread, ours, stock at its best if that is something else, then the others.
    """
    workload = WORKLOADS[name]
    settings = sorted_settings({"steps": _shortened(workload, scale)}) if scale > 1 else ()

    def task(competitor: str, kind: str, threads: int | None) -> Task:
        return Task(name, competitor, kind, threads, round_, settings)

    reference = task("stock", workload.stock_vec_envs[0], REFERENCE_THREADS)
    ours = [task(workload.updates[0], kind, None) for kind in workload.vec_envs]
    # Said outright, since torch's threads also decide the last bits of the initial weights: with as many as the
    # reference, what is equal stays equal.
    further = [task(update, workload.vec_envs[0], REFERENCE_THREADS) for update in workload.updates[1:]]
    at_best = task("stock", *best)
    others = further if scale == 1 else []
    if scale == 1 and workload.suits_sbx:
        others = [*others, task("sbx", workload.stock_vec_envs[0], None)]
    stepping = [task("stepping", kind, REFERENCE_THREADS) for kind in workload.vec_envs]
    tasks = [reference, *ours, at_best, *others, *stepping]
    return [each for each in dict.fromkeys(tasks) if not {each.competitor, each.vec_env} & set(skipped)]


def _shortened(workload: Workload, divisor: int) -> int:
    """Divide a workload's steps, to whole rollouts; at least one."""
    return workload.rollout * max(1, workload.steps // divisor // workload.rollout)
