"""Looks for mistakes in a plan that only the libraries can tell: before an hour is trained, not after.

What is here: names of environments, algorithms and hyperparameters. What is not: what can be seen in the plan alone
(`plan_files.py`). This imports rl_zoo3, which takes seconds.
"""

import importlib

import gymnasium as gym
import yaml

from sb3_ppo_scratch.benchmark.training.plan import RANDOM, Run, TrainingPlan, config_path
from sb3_ppo_scratch.benchmark.training.process import settings_for
from sb3_ppo_scratch.errors import ArgumentError, check_known_names
from sb3_ppo_scratch.zoo.commands import ConfigError, check_config


def check_names(plan: TrainingPlan) -> None:
    """Check that everything that a plan names exists.

    Args:
        plan: The plan.

    Raises:
        ArgumentTypeError: If an environment or an algorithm is unknown; the message names the nearest.
        ArgumentError: If a package cannot be imported, or a hyperparameter file says nothing about an environment, or
            something that its algorithm does not know.
    """
    from rl_zoo3.utils import ALGOS

    from sb3_ppo_scratch.zoo.register import register

    register()
    for goal in plan.goals:
        for package in goal.packages:
            _import(package, goal.env_id)
    check_known_names([goal.env_id for goal in plan.goals], gym.registry, where="Gymnasium")
    check_known_names([each.algorithm for each in plan.contestants], {*ALGOS, RANDOM}, where="rl_zoo3")
    for run in plan.runs():
        if run.contestant.algorithm != RANDOM and run.seed == plan.seeds[0]:
            _check_hyperparams(run)


def _import(package: str, env_id: str) -> None:
    """Let a package register an environment.

    Raises:
        ArgumentError: If it cannot be imported.
    """
    try:
        importlib.import_module(package)
    except ImportError as error:
        raise ArgumentError(f"{env_id}: the package {package} cannot be imported: {error}.") from error


def _check_hyperparams(run: Run) -> None:
    """Check one algorithm's settings for one environment.

    Raises:
        ArgumentError: If there are none, or something in them is unknown.
    """
    path = config_path(run.contestant)
    source = f"{run.contestant.name} ({path.name}, {run.goal.env_id})"
    try:
        own = settings_for(path, run.goal.env_id)
    except yaml.YAMLError as error:
        raise ArgumentError(f"{path} is no YAML: {' '.join(str(error).split())}.") from error
    if not own:
        raise ArgumentError(f"{source}: the file says nothing about this environment, and has no `default`.")
    try:
        check_config({**own, **run.contestant.hyperparams}, algorithm=run.contestant.algorithm, source=source)
    except ConfigError as error:
        raise ArgumentError(str(error)) from error
