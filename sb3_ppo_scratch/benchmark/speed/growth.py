"""How speed grows with environments, layer width, minibatch and workers.

What is here: the grid, its tasks and its curves. What is not: running them (`execution.py`), drawing them
(`figures.py`).
"""

from collections.abc import Iterable
from dataclasses import dataclass

from sb3_ppo_scratch.benchmark.speed.plan import Task, sorted_settings
from sb3_ppo_scratch.benchmark.speed.results import Measurement
from sb3_ppo_scratch.benchmark.speed.summaries import Spread, fastest_stocks, paired, speedups, spread
from sb3_ppo_scratch.benchmark.speed.workloads import GROWTH_WORKLOADS, VecEnvKind, Workload

FLOOR = 0.95
"""Nowhere on the grid should ours fall below this multiple of stock's speed."""
SECONDS_PER_POINT = 1.5
"""About how long the timed `learn` of stock takes."""
DEFAULT_WIDTH = 64
"""Units of a hidden layer of SB3's MlpPolicy."""


@dataclass(frozen=True)
class Axis:
    """One number that grows.

    Args:
        title: What it is, for axes and tables.
        setting: The workload's field.
        values: Where it is measured.
        workload: A key of `GROWTH_WORKLOADS`.
    """

    title: str
    setting: str
    values: tuple[int, ...]
    workload: str


AXES = (
    Axis("environments", "n_envs", (1, 2, 4, 8, 16, 32, 64, 128, 256), "growth-environments"),
    Axis("layer width (units)", "width", (32, 64, 128, 256, 512, 1024), "growth-width"),
    Axis("minibatch (transitions)", "batch_size", (64, 128, 256, 512, 1024, 2048, 4096), "growth-minibatch"),
    Axis("workers", "n_workers", (1, 2, 3, 4), "growth-workers"),
)


def plan_growth(rounds: int, cores: int) -> list[Task]:
    """List the measurements of all curves.

    Args:
        rounds: Rounds at each point.
        cores: Usable cores; stock is measured with 1 thread and with as many.

    Returns:
        Tasks in the order of execution: round by round, so that a run that is stopped has whole curves.
    """
    tasks = [
        task
        for round_ in range(1, rounds + 1)
        for axis in AXES
        for value in axis.values
        for task in _point(axis, value, round_, cores)
    ]
    return list(dict.fromkeys(tasks))  # stock knows no workers, so it stands at all points of that curve


def _point(axis: Axis, value: int, round_: int, cores: int) -> list[Task]:
    """List one round's tasks at one point: stock with 1 thread, ours, stock's other variants."""
    workload = GROWTH_WORKLOADS[axis.workload]
    ours, stock = point_settings(axis, value), stock_settings(axis, value)

    def stock_task(kind: VecEnvKind, threads: int) -> Task:
        return Task(axis.workload, "stock", kind, threads, round_, stock)

    # Several processes and several threads would contend for the same cores.
    others = [stock_task(kind, 1) for kind in workload.stock_vec_envs[1:]]
    if cores > 1:
        others.append(stock_task(workload.stock_vec_envs[0], cores))
    return [
        stock_task(workload.stock_vec_envs[0], 1),
        Task(axis.workload, "auto", workload.vec_envs[0], None, round_, ours),
        *others,
    ]


def point_settings(axis: Axis, value: int) -> tuple[tuple[str, int], ...]:
    """Say what a point changes of the axis' workload for ours.

    Args:
        axis: The axis.
        value: Where on it.

    Returns:
        A task's settings: the number that grows, and as many steps as take stock about `SECONDS_PER_POINT`.
    """
    settings = {axis.setting: value}
    steps = _short_run(GROWTH_WORKLOADS[axis.workload].with_settings(settings))
    return sorted_settings({**settings, "steps": steps})


def stock_settings(axis: Axis, value: int) -> tuple[tuple[str, int], ...]:
    """Say what a point changes of the axis' workload for stock.

    Args:
        axis: The axis.
        value: Where on it.

    Returns:
        A task's settings: as for ours, but for workers, which stock has none of.
    """
    return tuple(pair for pair in point_settings(axis, value) if pair[0] != "n_workers")


def _short_run(workload: Workload) -> int:
    """Choose steps that take stock about `SECONDS_PER_POINT`, by rough costs on one core; at least two rollouts."""
    width = workload.width or DEFAULT_WIDTH
    collecting = workload.n_steps * (2e-4 + 2e-5 * workload.n_envs)
    minibatches = workload.n_epochs * -(-workload.rollout // workload.batch_size)
    updating = minibatches * (1e-3 + 12 * min(workload.batch_size, workload.rollout) * width**2 / 2e10)
    return workload.rollout * max(2, round(SECONDS_PER_POINT / (collecting + updating)))


@dataclass(frozen=True)
class Point:
    """One point of a curve.

    Args:
        value: Where on the axis.
        ours: Steps per second.
        stock: The same of the fastest stock of each round.
        ratio: Ours to stock's, pair by pair.
    """

    value: int
    ours: Spread
    stock: Spread
    ratio: Spread


def curve(axis: Axis, measurements: Iterable[Measurement]) -> list[Point]:
    """Summarise one axis.

    Args:
        axis: The axis.
        measurements: Any; those of other axes are ignored.

    Returns:
        The points at which both have been measured.
    """
    made = [measurement for measurement in measurements if measurement.task.workload == axis.workload]
    points = []
    for value in axis.values:
        here = [
            measurement
            for measurement in made
            if measurement.task.settings
            == (stock_settings if measurement.task.competitor == "stock" else point_settings)(axis, value)
        ]
        pairs = paired(here, ("auto", GROWTH_WORKLOADS[axis.workload].vec_envs[0], None))
        ratio = spread(speedups(pairs))
        ours = spread([pair[0].rate for pair in pairs])
        stock = spread([measurement.rate for measurement in fastest_stocks(here)])
        if ratio and ours and stock:
            points.append(Point(value, ours, stock, ratio))
    return points
