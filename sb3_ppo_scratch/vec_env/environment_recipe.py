"""What an environment of SB3's `make_vec_env` can be made from again, in another process.

What is here: taking such an environment apart, and making it again. What is not: what for (`rebuild.py`).
"""

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils import RecordConstructorArgs
from stable_baselines3.common.monitor import Monitor

from sb3_ppo_scratch.errors import ArgumentError


@dataclass(frozen=True)
class EnvironmentRecipe:
    """What an environment of `make_vec_env` can be made from again, in another process.

    Args:
        spec: What Gymnasium makes.
        monitor_path: The file that episodes are written to.
        monitor_start: When it was begun, in seconds since 1970.
        monitor_keywords: Arguments of `Monitor`.
        wrappers: Class and arguments of the wrappers around `Monitor`, the innermost first.
        action_seed: Seed of the action space; None: it has none.
    """

    spec: EnvSpec
    monitor_path: str
    monitor_start: float
    monitor_keywords: dict[str, Any]
    wrappers: tuple[tuple[type[gym.Wrapper[Any, Any, Any, Any]], dict[str, Any]], ...]
    action_seed: int | None

    def __call__(self) -> gym.Env[Any, Any]:
        """Make the environment.

        Returns:
            It, as it was.
        """
        made = gym.make(self.spec)
        if self.action_seed is not None:
            made.action_space.seed(self.action_seed)
        # The file has its header already; Monitor would begin it anew.
        monitor = Monitor(made, self.monitor_path, override_existing=False, **self.monitor_keywords)
        monitor.t_start = self.monitor_start
        environment: gym.Env[Any, Any] = monitor
        for wrapper, arguments in self.wrappers:
            environment = wrapper(environment, **arguments)
        return environment


def environment_recipe(environment: gym.Env[Any, Any], seed: int | None) -> EnvironmentRecipe:
    """Take apart an environment that SB3's `make_vec_env` has made.

    Args:
        environment: The environment: wrappers around a `Monitor` with a file, around what Gymnasium has made.
        seed: Seed of its action space; None: it has none.

    Returns:
        What it can be made from again.

    Raises:
        ArgumentError: If a part cannot be made again; it is named.
    """
    wrappers, environment = around_monitor(environment)
    if not isinstance(environment, Monitor) or environment.results_writer is None:
        raise ArgumentError("the environments have no `Monitor` with a file: use `ShardedVecEnv` directly.")
    spec = environment.env.spec
    if spec is None:
        raise ArgumentError(
            f"{environment.env} was not made by `gym.make`, so it cannot be made again: use `ShardedVecEnv` directly, "
            "or `python -m sb3_ppo_scratch train --vec-env sharded`."
        )
    return EnvironmentRecipe(
        spec=spec,
        monitor_path=environment.results_writer.file_handler.name,
        monitor_start=environment.t_start,
        monitor_keywords={
            "allow_early_resets": environment.allow_early_resets,
            "reset_keywords": environment.reset_keywords,
            "info_keywords": environment.info_keywords,
        },
        wrappers=tuple((type(wrapper), recorded_arguments(wrapper)) for wrapper in reversed(wrappers)),
        action_seed=seed,
    )


def around_monitor(environment: gym.Env[Any, Any]) -> tuple[list[gym.Wrapper[Any, Any, Any, Any]], gym.Env[Any, Any]]:
    """Part the wrappers around a `Monitor` from it.

    Args:
        environment: The outermost wrapper.

    Returns:
        The wrappers, the outermost first, and the `Monitor`; without one, all of them and what they wrap.
    """
    wrappers = []
    while isinstance(environment, gym.Wrapper) and not isinstance(environment, Monitor):
        wrappers.append(environment)
        environment = environment.env
    return wrappers, environment


def recorded_arguments(wrapper: gym.Wrapper[Any, Any, Any, Any]) -> dict[str, Any]:
    """Read the arguments that a wrapper was made with.

    Args:
        wrapper: The wrapper.

    Returns:
        Its arguments by name, without the environment.

    Raises:
        ArgumentError: If it does not record them (`gymnasium.utils.RecordConstructorArgs`) and may have some.
    """
    if isinstance(wrapper, RecordConstructorArgs):
        return {name: value for name, value in wrapper._saved_kwargs.items() if name != "env"}
    raise ArgumentError(
        f"the wrapper {type(wrapper).__module__}.{type(wrapper).__qualname__} does not record the arguments that it "
        "was made with (gymnasium.utils.RecordConstructorArgs), so it cannot be made again in a worker: record them, "
        "or use `python -m sb3_ppo_scratch train --vec-env sharded`, which makes it in the worker in the first place."
    )
