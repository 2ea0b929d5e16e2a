"""A comparison made up for tests: a folder of finished runs, as `benchmark run` leaves them."""

from dataclasses import replace
from pathlib import Path

import yaml

from sb3_ppo_scratch.benchmark.comparison.run import write_snapshot
from sb3_ppo_scratch.benchmark.training.plan import RANDOM, Contestant, Goal, Run, TrainingPlan
from sb3_ppo_scratch.benchmark.training.process import identity
from sb3_ppo_scratch.benchmark.training.records import write_record
from tests.benchmark.training.synthetic import OURS, PLAN, STOCK, made_up_record

RANDOM_AGENT = Contestant("random", "random actions", RANDOM)
GOALS = (Goal("CartPole-v1", 1000, 500, solved=100.0, margin=5.0), Goal("Acrobot-v1", 1000, 500, solved=-100.0))
COMPARISON = TrainingPlan(
    "Ours & theirs <made up>", GOALS, (OURS, STOCK, RANDOM_AGENT), (1, 2, 3, 4, 5, 6), PLAN.evaluation
)


def write_runs(folder: Path, plan: TrainingPlan = COMPARISON) -> Path:
    """Write a comparison whose runs end at 100 + seed; stock's CartPole is 1 lower, all of stock three times slower."""
    write_snapshot(plan, folder)
    for run in plan.runs():
        write_run(run, folder)
    return folder


def write_run(run: Run, folder: Path) -> None:
    """Write one run's record, and what rl_zoo3 writes about its settings."""
    end = 100.0 + run.seed - (1.0 if run.contestant == STOCK and run.goal.env_id == "CartPole-v1" else 0.0)
    curve, seconds = ([end, end], 0.0) if run.contestant == RANDOM_AGENT else ([0.0, 40.0 + run.seed, end], 1.0)
    record = made_up_record(
        curve, seconds=3.0 * seconds if run.contestant == STOCK else seconds, identity=identity(run)
    )
    place = folder / run.folder
    if run.contestant != RANDOM_AGENT:
        settings = place / run.contestant.algorithm / f"{run.goal.env_id}_1" / run.goal.env_id
        settings.mkdir(parents=True)
        values = {"gamma": 0.99, "n_envs": 8 if run.contestant == OURS else 1, "n_timesteps": 1e6, "callback": "a.B"}
        (settings / "config.yml").write_text(yaml.safe_dump(values))
    place.mkdir(parents=True, exist_ok=True)
    write_record(replace(record, command=f"python -m rl_zoo3.train --seed {run.seed} --env {run.goal.env_id}"), place)
