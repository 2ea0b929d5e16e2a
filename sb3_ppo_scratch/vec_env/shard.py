"""Some of the environments of a vectorised one, with the semantics of SB3's `DummyVecEnv`.

What is here: stepping, resetting and asking them, in whatever process they live. What is not: that process
(`worker.py`).
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from sb3_ppo_scratch.vec_env.observation_rows import ObservationRows
from sb3_ppo_scratch.vec_env.step_arrays import RAW_KINDS, StepArrays
from sb3_ppo_scratch.vec_env.step_values import USUAL_ENDS, USUAL_REWARDS, as_number, check_end, check_reward
from sb3_ppo_scratch.wrappers.scale_reward import RAW_REWARD_KEY

Environment = gym.Env[Any, Any]


class Extra(NamedTuple):
    """What an environment says at a step beyond what the shared arrays hold.

    Args:
        environment: Its number among all.
        info: Its complete info.
        reset_info: The info of the reset that followed; None if the episode goes on.
    """

    environment: int
    info: dict[str, Any]
    reset_info: dict[str, Any] | None


class Shard:
    """Environments number `start` to `start + len(environments) - 1`, and their rows of the shared arrays.

    Args:
        environments: The environments.
        start: The first one's number among all.
        worker: The worker's number.
        arrays: The arrays of all environments.
    """

    def __init__(self, environments: Sequence[Environment], start: int, worker: int, arrays: StepArrays) -> None:
        self.environments = environments
        self.start = start
        self.arrays = arrays
        self.rows = slice(start, start + len(environments))
        self.progress = arrays.progress[worker : worker + 1]
        self._observation_rows = ObservationRows(arrays.observations)

    @property
    def current(self) -> int:
        """The number of the environment that was touched last."""
        return int(self.progress[0])

    def step_shared_actions(self) -> list[Extra]:
        """Step every environment with its row of the shared actions.

        Returns:
            What the shared arrays do not hold.
        """
        assert self.arrays.actions is not None
        # A copy, because environments may keep their action, and the next ones are written to the same place.
        return self.step(self.arrays.actions[self.rows].copy())

    def step(self, actions: Sequence[Any] | npt.NDArray[Any]) -> list[Extra]:
        """Step every environment; those whose episode ends are reset.

        Args:
            actions: One per environment of this shard, (n_environments, *action shape) if they are arrays.

        Returns:
            What the shared arrays do not hold: most steps of most environments say nothing more.

        Raises:
            EnvironmentFaultError: If an observation does not fit, a reward is no number or an end no bool.
        """
        extras = []
        arrays, progress = self.arrays, self.progress
        rewards, dones, cut_offs = arrays.rewards, arrays.dones, arrays.cut_offs
        arrays.raw_kinds[self.rows] = 0
        for index, (environment, action) in enumerate(zip(self.environments, actions, strict=True), self.start):
            progress[0] = index
            observation, reward, terminated, truncated, info = environment.step(action)
            if type(reward) not in USUAL_REWARDS:
                check_reward(reward, index)
                reward = as_number(reward)
            ended, cut_off = terminated or truncated, truncated and not terminated
            if type(ended) not in USUAL_ENDS:
                check_end(ended, index)
            rewards[index], dones[index], cut_offs[index] = reward, bool(ended), cut_off
            reset_info = None
            if ended:
                info["terminal_observation"] = observation
                observation, reset_info = environment.reset()
            if info and not self._share_raw_reward(index, info):
                info["TimeLimit.truncated"] = cut_off
                extras.append(Extra(index, info, reset_info))
            self._observation_rows.write(index, observation)
        return extras

    def reset(self, seeds: Sequence[int | None], options: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Reset every environment.

        Args:
            seeds: One per environment.
            options: One per environment; an empty one is not passed on.

        Returns:
            The infos.
        """
        infos = []
        for index, (environment, seed, chosen) in enumerate(
            zip(self.environments, seeds, options, strict=True), self.start
        ):
            self.progress[0] = index
            observation, info = environment.reset(seed=seed, **({"options": chosen} if chosen else {}))
            self._observation_rows.write(index, observation)
            infos.append(info)
        return infos

    def render(self) -> list[Any]:
        """Render every environment.

        Returns:
            What each one's `render` returns.
        """
        return self._each(range(self.rows.start, self.rows.stop), lambda environment: environment.render())

    def get_attr(self, name: str, indices: Sequence[int]) -> list[Any]:
        """Read an attribute, through all wrappers.

        Args:
            name: Its name.
            indices: Which environments.

        Returns:
            The values.
        """
        return self._each(indices, lambda environment: environment.get_wrapper_attr(name))

    def has_attr(self, name: str, indices: Sequence[int]) -> list[bool]:
        """Look for an attribute, through all wrappers; its value stays here.

        Args:
            name: Its name.
            indices: Which environments.

        Returns:
            Whether each has it.
        """

        def found(environment: Environment) -> bool:
            try:
                environment.get_wrapper_attr(name)
            except AttributeError:
                return False
            return True

        return self._each(indices, found)

    def set_attr(self, name: str, value: Any, indices: Sequence[int]) -> list[None]:
        """Set an attribute of the outermost wrapper, as `DummyVecEnv` does.

        Args:
            name: Its name.
            value: Its new value.
            indices: Which environments.

        Returns:
            Nothing for each.
        """
        return self._each(indices, lambda environment: setattr(environment, name, value))

    def env_method(
        self, name: str, arguments: tuple[Any, ...], keywords: dict[str, Any], indices: Sequence[int]
    ) -> list[Any]:
        """Call a method, found through all wrappers.

        Args:
            name: Its name.
            arguments: Positional arguments.
            keywords: Keyword arguments.
            indices: Which environments.

        Returns:
            The results.
        """
        return self._each(indices, lambda environment: environment.get_wrapper_attr(name)(*arguments, **keywords))

    def env_is_wrapped(self, wrapper_class: type[Any], indices: Sequence[int]) -> list[bool]:
        """Look for a wrapper.

        Args:
            wrapper_class: The class.
            indices: Which environments.

        Returns:
            Whether each is wrapped with it, or with a subclass.
        """
        return self._each(indices, lambda environment: is_wrapped(environment, wrapper_class))

    def close(self) -> list[None]:
        """Close every environment.

        Returns:
            Nothing for each.
        """
        return self._each(range(self.rows.start, self.rows.stop), lambda environment: environment.close())

    def _each(self, indices: Sequence[int], action: Callable[[Environment], Any]) -> list[Any]:
        results = []
        for index in indices:
            self.progress[0] = index
            results.append(action(self.environments[index - self.start]))
        return results

    def _share_raw_reward(self, index: int, info: dict[str, Any]) -> bool:
        """Put into shared memory what is in every step's info with `ScaleReward`, if there is nothing else in it."""
        raw = info.get(RAW_REWARD_KEY)
        if len(info) > 1 or type(raw) not in RAW_KINDS[1:]:
            return False
        self.arrays.raw_rewards[index] = raw
        self.arrays.raw_kinds[index] = RAW_KINDS.index(type(raw))
        return True


def is_wrapped(environment: Any, wrapper_class: type[Any]) -> bool:
    """Tell whether a wrapper is anywhere around an environment.

    Args:
        environment: The environment.
        wrapper_class: The wrapper.

    Returns:
        Whether it is (SB3's own function would make every worker import torch).
    """
    while isinstance(environment, gym.Wrapper):
        if isinstance(environment, wrapper_class):
            return True
        environment = environment.env
    return False


def build_environments(makers: Sequence[Callable[[], Any]], on_next: Callable[[int], None]) -> list[Environment]:
    """Call each maker once.

    Args:
        makers: Functions that return an environment.
        on_next: Called with a maker's position before it is called.

    Returns:
        The environments; those of old Gym converted by SB3.

    Raises:
        ValueError: If two makers return the same environment.
    """
    environments: list[Environment] = []
    for position, make in enumerate(makers):
        on_next(position)
        environment = make()
        if not isinstance(environment, gym.Env):
            from stable_baselines3.common.vec_env.patch_gym import _patch_env

            environment = _patch_env(environment)
        if any(environment.unwrapped is other.unwrapped for other in environments):
            raise ValueError(
                "two of `env_fns` returned the same environment; each has to make a new one: "
                "`[lambda: gym.make(...) for _ in range(n)]`, not `[lambda: env] * n`."
            )
        environments.append(environment)
    return environments


def shard_bounds(n_envs: int, n_workers: int) -> list[tuple[int, int]]:
    """Deal environments to workers in order, as evenly as can be.

    Args:
        n_envs: Number of environments.
        n_workers: Number of workers, at most that of environments.

    Returns:
        First environment and the one after the last, for each worker.

    Example:
        >>> shard_bounds(5, 2)
        [(0, 3), (3, 5)]
    """
    parts = np.array_split(np.arange(n_envs), n_workers)
    return [(int(part[0]), int(part[-1]) + 1) for part in parts]
