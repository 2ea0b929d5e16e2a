"""Measurements made up for tests, with figures that can be checked by hand."""

from sb3_ppo_scratch.benchmark.speed.plan import Task
from sb3_ppo_scratch.benchmark.speed.results import Measurement, Results

ENVIRONMENT = {
    "cpu": "a CPU",
    "cores": 2,
    "system": "Linux x86_64",
    "python": "3.11.0",
    "versions": {"torch": "2.8.0"},
    "revision": "abc1234",
    "date": "2026-01-02",
}


def made_up(
    competitor: str,
    round_: int,
    seconds: float,
    *,
    workload: str = "cartpole",
    vec_env: str = "dummy",
    threads: int | None = None,
    settings: tuple[tuple[str, int], ...] = (),
    updating: float = 0.0,
    steps: int = 1000,
    peak_mib: float = 100.0,
    mean_return: float | None = 200.0,
) -> Measurement:
    """A measurement with half of what is left after updating spent in stepping."""
    return Measurement(
        task=Task(workload, competitor, vec_env, threads, round_, settings),
        seconds=seconds,
        stepping=(seconds - updating) / 2,
        updating=updating,
        steps=steps,
        peak_mib=peak_mib,
        mean_return=mean_return,
        torch_threads=threads or 2,
        process_seconds=seconds + 3.0,
    )


def results_of(*measurements: Measurement, rounds: int = 1) -> Results:
    """Results that hold just these measurements."""
    made = {measurement.task: measurement for measurement in measurements}
    return Results(dict(ENVIRONMENT), "python -m sb3_ppo_scratch benchmark speed", rounds, measurements=made)


def measure_like_clockwork(task: Task) -> Measurement:
    """Stand in for a process: stock takes 4 s with one thread and 5 s with more, everything else 1 s."""
    seconds = {1: 4.0}.get(task.threads or 0, 5.0) if task.competitor == "stock" else 1.0
    workload = task.built_workload
    return made_up(
        task.competitor,
        task.round,
        seconds,
        workload=task.workload,
        vec_env=task.vec_env,
        threads=task.threads,
        settings=task.settings,
        updating=0.0 if task.competitor == "stepping" else seconds / 2,
        steps=workload.steps,
    )
