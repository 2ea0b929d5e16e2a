"""Runs made up for tests, with figures that can be checked by hand."""

from collections.abc import Sequence
from pathlib import Path

import yaml

from sb3_ppo_scratch.benchmark.training.plan import Contestant, Evaluation, Goal, Run, TrainingPlan
from sb3_ppo_scratch.benchmark.training.records import EvaluationPoint, RunRecord
from tests.benchmark.speed.synthetic import ENVIRONMENT

GOAL = Goal("CartPole-v1", n_timesteps=1000, evaluate_every=500, solved=100.0)
OURS = Contestant("ours", "ours", "ppo_scratch", "ppo_scratch.yml", about="the new one", against=("stock",))
STOCK = Contestant("stock", "stock PPO", "ppo", "rl_zoo3", about="the old one")
PLAN = TrainingPlan("A comparison", (GOAL,), (OURS, STOCK), (1, 2, 3), Evaluation(2, 4))


def made_up_record(means: Sequence[float], *, seconds: float = 1.0, identity: str = "") -> RunRecord:
    """A record with an evaluation every 500 steps, whose two episodes lie 1 below and above each of the means.

    Of the time, three quarters go into collecting experience.
    """
    points = [
        EvaluationPoint(500 * place, seconds * place, 0.75 * seconds * place, (mean - 1.0, mean + 1.0), (10, 12))
        for place, mean in enumerate(means)
    ]
    return RunRecord(identity, "python -m rl_zoo3.train", dict(ENVIRONMENT), 1, tuple(points))


def made_up_runs(*curves: Sequence[float], contestant: Contestant = OURS, seconds: float = 1.0) -> dict[Run, RunRecord]:
    """One contestant's runs, a curve for each seed from 1 on."""
    return {
        Run(contestant, GOAL, seed, PLAN.evaluation): made_up_record(curve, seconds=seconds)
        for seed, curve in enumerate(curves, start=1)
    }


def write_plan(path: Path, **changes: object) -> Path:
    """Write a small plan file, with some of its entries replaced, or left out if they are None."""
    entries = {
        "title": "A comparison",
        "environments": {"CartPole-v1": {"n_timesteps": 256, "evaluate_every": 128, "solved": 475}},
        "contestants": {
            "ours": {"title": "ours", "algorithm": "ppo_scratch", "config": "ppo_scratch.yml"},
            "stock": {"title": "stock PPO", "algorithm": "ppo", "config": "rl_zoo3"},
        },
        "seeds": [1, 2],
        "evaluation": {"n_episodes": 2, "n_final_episodes": 4},
        **changes,
    }
    path.write_text(yaml.safe_dump({name: value for name, value in entries.items() if value is not None}))
    return path
