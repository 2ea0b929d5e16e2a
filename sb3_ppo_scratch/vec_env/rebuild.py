"""From the `DummyVecEnv` that rl_zoo3 has made to faster environments that do the same.

What is here: the functions for the key `vec_env_wrapper` of rl_zoo3's YAML files. What is not: the faster environments,
and taking the given ones apart (`environment_recipe.py`).
"""

from pathlib import Path
from typing import Any

import gymnasium as gym
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from sb3_ppo_scratch.errors import ArgumentError
from sb3_ppo_scratch.vec_env.environment_recipe import EnvironmentRecipe, around_monitor, environment_recipe
from sb3_ppo_scratch.vec_env.envpool_vec_env import EnvPoolVecEnv
from sb3_ppo_scratch.vec_env.sharded_vec_env import ShardedVecEnv
from sb3_ppo_scratch.wrappers import ScaleReward


def rebuild_sharded(env: VecEnv, n_workers: int | None = None, start_method: str | None = None) -> VecEnv:
    """Move the environments that rl_zoo3 trains in to worker processes; leave those for evaluation where they are.

    In YAML::

        vec_env_wrapper: sb3_ppo_scratch.vec_env.rebuild_sharded

    Args:
        env: rl_zoo3's `DummyVecEnv`. If its environments write no monitor files (evaluation, `enjoy`, trials of
            `-optimize`), it is returned as it is.
        n_workers: As of `ShardedVecEnv`; more than environments are as many as environments.
        start_method: As of `ShardedVecEnv`.

    Returns:
        A `ShardedVecEnv` with the same environments, monitor files and seeds, or `env`.

    Raises:
        ArgumentError: If something cannot be rebuilt; it is named.
    """
    environments = _training_environments(env)
    if environments is None:
        return env
    recipes = [environment_recipe(*pair) for pair in zip(environments, env._seeds, strict=True)]
    env.close()
    workers = n_workers if n_workers is None or isinstance(n_workers, bool) else min(n_workers, len(recipes))
    return _seeded(ShardedVecEnv(recipes, n_workers=workers, start_method=start_method), env)


def rebuild_envpool(env: VecEnv, n_threads: int | None = None) -> VecEnv:
    """Replace the environments that rl_zoo3 trains in by EnvPool's; leave those for evaluation where they are.

    In YAML::

        vec_env_wrapper: sb3_ppo_scratch.vec_env.rebuild_envpool

    Args:
        env: rl_zoo3's `DummyVecEnv`. If its environments write no monitor files, it is returned as it is.
        n_threads: As of `EnvPoolVecEnv`.

    Returns:
        An `EnvPoolVecEnv` with the same id, seeds and monitor files, or `env`.

    Raises:
        ArgumentError: If EnvPool cannot do the same; what it cannot is named.
    """
    environments = _training_environments(env)
    if environments is None:
        return env
    recipe = environment_recipe(environments[0], None)
    env.close()
    pool = EnvPoolVecEnv(
        recipe.spec.id,
        env.num_envs,
        n_threads,
        reward_scale=_reward_scale(recipe),
        monitor_dir=Path(recipe.monitor_path).parent,
        **_envpool_options(recipe),
    )
    return _seeded(pool, env)


def _training_environments(env: VecEnv) -> list[gym.Env[Any, Any]] | None:
    """Take out rl_zoo3's training environments, which write monitor files; None if it is not they that were given.

    Raises:
        ArgumentError: If it is no `DummyVecEnv`.
    """
    if not isinstance(env, DummyVecEnv):
        raise ArgumentError(
            f"the environments can be rebuilt from a DummyVecEnv, not from a {type(env).__name__}: leave out "
            "`--vec-env subproc`, and put this first in the list of `vec_env_wrapper`."
        )
    _, monitor = around_monitor(env.envs[0])
    return env.envs if isinstance(monitor, Monitor) and monitor.results_writer is not None else None


def _seeded(new: VecEnv, old: VecEnv) -> VecEnv:
    """Hand over the seeds that wait for the first reset."""
    new._seeds = list(old._seeds)
    return new


def _reward_scale(recipe: EnvironmentRecipe) -> float | None:
    """Read the reward's scale, the one thing that a wrapper may do here.

    Raises:
        ArgumentError: If there is another wrapper.
    """
    scale: float | None = None
    for wrapper, arguments in recipe.wrappers:
        if wrapper is not ScaleReward:
            raise ArgumentError(
                f"EnvPool's environments cannot be wrapped in {wrapper.__name__}, of all wrappers only in ScaleReward: "
                "leave it out, or use `--vec-env sharded`."
            )
        scale = float(arguments.get("scale", 0.01))
    return scale


def _envpool_options(recipe: EnvironmentRecipe) -> dict[str, Any]:
    """Translate what Gymnasium was told beyond the id's own settings.

    Raises:
        ArgumentError: If the environments are to be rendered.
    """
    own = gym.spec(recipe.spec.id).kwargs if recipe.spec.id in gym.registry else {}
    options = {name: value for name, value in recipe.spec.kwargs.items() if own.get(name, None) != value}
    if options.pop("render_mode", None) is not None:
        raise ArgumentError("EnvPool's environments are not rendered here: leave out `render_mode`.")
    if recipe.monitor_keywords["info_keywords"] or recipe.monitor_keywords["reset_keywords"]:
        raise ArgumentError("EnvPool's environments have no infos for `monitor_kwargs`: leave them out.")
    if recipe.spec.max_episode_steps is not None:
        options["max_episode_steps"] = recipe.spec.max_episode_steps
    return options
