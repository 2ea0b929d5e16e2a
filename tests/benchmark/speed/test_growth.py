"""Tests of `benchmark/speed/growth.py`."""

from sb3_ppo_scratch.benchmark.speed.growth import AXES, curve, plan_growth, point_settings, stock_settings
from sb3_ppo_scratch.benchmark.speed.results import Measurement
from sb3_ppo_scratch.benchmark.speed.summaries import Spread
from tests.benchmark.speed.synthetic import made_up

ENVIRONMENTS, WIDTH, MINIBATCH, WORKERS = AXES


def test_the_grid_covers_what_the_readme_promises() -> None:
    assert (ENVIRONMENTS.values[0], ENVIRONMENTS.values[-1]) == (1, 256)
    assert (WIDTH.values[0], WIDTH.values[-1]) == (32, 1024)
    assert (MINIBATCH.values[0], MINIBATCH.values[-1]) == (64, 4096)
    assert WORKERS.values == (1, 2, 3, 4)


def test_every_point_has_stock_with_one_thread_and_all_cores_and_ours_in_every_round() -> None:
    tasks = plan_growth(rounds=2, cores=4)
    for axis in AXES[:3]:
        for value in axis.values:
            here = [
                task for task in tasks if task.workload == axis.workload and dict(task.settings)[axis.setting] == value
            ]
            one_round = [("stock", "dummy", 1), ("auto", "dummy", None), ("stock", "dummy", 4)]
            assert [task.variant for task in here] == one_round * 2
            assert [task.round for task in here] == [1] * 3 + [2] * 3


def test_stock_stands_once_for_all_numbers_of_workers() -> None:
    tasks = [task for task in plan_growth(rounds=1, cores=2) if task.workload == WORKERS.workload]
    assert sorted(task.variant for task in tasks if task.competitor == "stock") == [
        ("stock", "dummy", 1),
        ("stock", "dummy", 2),
        ("stock", "subproc", 1),
    ]
    assert [dict(task.settings)["n_workers"] for task in tasks if task.competitor == "auto"] == [1, 2, 3, 4]


def test_runs_are_at_least_two_whole_rollouts_that_minibatches_divide() -> None:
    for task in plan_growth(rounds=1, cores=1):
        workload = task.built_workload
        assert workload.steps % workload.rollout == 0
        assert workload.steps >= 2 * workload.rollout
        assert workload.rollout % min(workload.batch_size, workload.rollout) == 0


def at(value: int, competitor: str, round_: int, seconds: float, threads: int | None) -> Measurement:
    settings = (stock_settings if competitor == "stock" else point_settings)(ENVIRONMENTS, value)
    return made_up(
        competitor, round_, seconds, workload=ENVIRONMENTS.workload, threads=threads, settings=settings, steps=1200
    )


def test_a_curve_has_paired_ratios_to_the_better_stock_of_each_round() -> None:
    measurements = [
        at(4, "stock", 1, 6.0, 1),
        at(4, "auto", 1, 2.0, None),
        at(4, "stock", 1, 4.0, 2),
        at(4, "stock", 2, 3.0, 1),
        at(4, "auto", 2, 3.0, None),
        at(4, "stock", 2, 12.0, 2),
        at(8, "stock", 1, 6.0, 1),  # ours is missing: no point
    ]
    [point] = curve(ENVIRONMENTS, measurements)
    assert point.value == 4
    assert point.ratio == Spread(median=1.5, low=1.0, high=2.0)
    assert point.ours == Spread(median=500.0, low=400.0, high=600.0)
    assert point.stock == Spread(median=350.0, low=300.0, high=400.0)
    assert curve(WIDTH, measurements) == []
