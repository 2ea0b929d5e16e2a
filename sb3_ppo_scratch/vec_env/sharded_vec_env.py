"""Many environments, stepped by a few processes over shared memory.

What is here: SB3's `VecEnv` interface. What is not: the processes (`worker_pool.py`, `worker.py`) and what they do with
the environments (`shard.py`). When it is worth using: `docs/vec_env.md`.
"""

import multiprocessing
import sys
import warnings
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from stable_baselines3.common.vec_env.base_vec_env import VecEnv, VecEnvIndices, VecEnvObs, VecEnvStepReturn
from stable_baselines3.common.vec_env.util import dict_to_obs, obs_space_info

from sb3_ppo_scratch.errors import ArgumentError, ArgumentTypeError
from sb3_ppo_scratch.vec_env.cores import available_cores
from sb3_ppo_scratch.vec_env.step_arrays import RAW_KINDS, StepLayout, action_field, observation_fields
from sb3_ppo_scratch.vec_env.worker_pool import WorkerPool
from sb3_ppo_scratch.wrappers.scale_reward import RAW_REWARD_KEY


class ShardedVecEnv(VecEnv):
    """Steps many environments in a few worker processes, with exactly the results of SB3's `DummyVecEnv`.

    Observations, rewards, dones and actions go through shared memory; only infos that say something are pickled. An
    exception in an environment is raised here, with a `WorkerError` as its cause that names the environment and has
    the traceback. A worker that dies ends the call with a `WorkerDiedError`.

    Args:
        env_fns: Functions that each make one environment.
        n_workers: Number of processes, at most that of environments; None: one for each core that may be used.
        start_method: `"forkserver"`, `"spawn"` or `"fork"`; None: the first of these that the system has. With the
            first two, scripts need an `if __name__ == "__main__":`; the last is not safe where threads run.
        step_timeout: Seconds that a step may take before its worker is ended and a `WorkerHungError` names the
            environment; None: any time.

    Raises:
        ArgumentError: If a number or the start method cannot be.
        ArgumentTypeError: If an element of `env_fns` is no function or cannot be pickled.

    Example:
        >>> from stable_baselines3.common.env_util import make_vec_env
        >>> env = make_vec_env("CartPole-v1", 4, seed=0, vec_env_cls=ShardedVecEnv, vec_env_kwargs={"n_workers": 2})
        >>> env.reset().shape
        (4, 4)
        >>> observations, rewards, dones, infos = env.step([0, 1, 0, 1])
        >>> rewards
        array([1., 1., 1., 1.], dtype=float32)
        >>> env.close()
    """

    def __init__(
        self,
        env_fns: Sequence[Callable[[], gym.Env[Any, Any]]],
        n_workers: int | None = None,
        start_method: str | None = None,
        step_timeout: float | None = None,
    ) -> None:
        self.step_timeout = step_timeout
        env_fns = list(env_fns)
        _check_makers(env_fns)
        self.n_workers = _check_n_workers(n_workers, len(env_fns))
        self.start_method = _check_start_method(start_method)
        self._pool = WorkerPool(env_fns, self.n_workers, self.start_method)
        self._worker_of = [worker for worker, (start, stop) in enumerate(self._pool.bounds) for _ in range(start, stop)]
        self._finalizer = weakref.finalize(self, self._pool.close)
        try:
            first = self._pool.ready[0]
            keys, shapes, dtypes = obs_space_info(first.observation_space)
            fields = observation_fields(keys, shapes, dtypes, len(env_fns))
            actions = action_field(first.action_space, len(env_fns))
            self._arrays = self._pool.share(StepLayout(fields, actions, len(env_fns), self.n_workers))
            super().__init__(len(env_fns), first.observation_space, first.action_space)
        except BaseException:
            self._finalizer()
            raise
        self.metadata = first.metadata

    def step_async(self, actions: npt.NDArray[Any]) -> None:
        """Let the workers begin a step.

        Args:
            actions: One per environment, (n_envs, *action shape).
        """
        self._pool.finish_pending()
        shared = self._arrays.actions
        if shared is not None and getattr(actions, "dtype", None) == shared.dtype and actions.shape == shared.shape:
            shared[...] = actions
            self._pool.start_step()
            return
        # Anything else reaches the environments as it is, too: a list, another type of number, a Dict for each.
        for worker, (start, stop) in enumerate(self._pool.bounds):
            self._pool.ask(worker, "step", [actions[index] for index in range(start, stop)])

    def step_wait(self) -> VecEnvStepReturn:
        """Wait for the step that `step_async` began.

        Returns:
            Observations, (n_envs, *observation shape); rewards, (n_envs,), float32; dones, (n_envs,), bool; infos.
        """
        extras = self._pool.answers(timeout=self.step_timeout)
        infos: list[dict[str, Any]] = [{"TimeLimit.truncated": cut_off} for cut_off in self._arrays.cut_offs.tolist()]
        for index in np.flatnonzero(self._arrays.raw_kinds).tolist():
            kind: Any = RAW_KINDS[self._arrays.raw_kinds[index]]
            infos[index][RAW_REWARD_KEY] = kind(self._arrays.raw_rewards[index])
        for index, info, reset_info in (extra for shard in extras for extra in shard or ()):
            infos[index] = info
            if reset_info is not None:
                self.reset_infos[index] = reset_info
        return self._observations(), self._arrays.rewards.copy(), self._arrays.dones.copy(), infos

    def reset(self) -> VecEnvObs:
        """Reset all environments, with the seeds and options that were set since the last time.

        Returns:
            Observations, (n_envs, *observation shape).
        """
        self._pool.finish_pending()
        for worker, (start, stop) in enumerate(self._pool.bounds):
            self._pool.ask(worker, "reset", self._seeds[start:stop], self._options[start:stop])
        self.reset_infos = [info for infos in self._pool.answers() for info in infos]
        self._reset_seeds()
        self._reset_options()
        return self._observations()

    def close(self) -> None:
        """Close the environments and end the processes; doing so again is fine."""
        for error in self._pool.close():
            error.raise_here()

    def get_images(self) -> Sequence[npt.NDArray[Any] | None]:
        """Render every environment.

        Returns:
            Frames, shape (height, width, channels) each; None for each where the render mode is not `rgb_array`.
        """
        if self.render_mode != "rgb_array":
            warnings.warn(f"No images: they need the render mode rgb_array, this is {self.render_mode}.", stacklevel=2)
            return [None] * self.num_envs
        self._pool.finish_pending()
        for worker in range(self.n_workers):
            self._pool.ask(worker, "render")
        return [frame for frames in self._pool.answers() for frame in frames]

    def has_attr(self, attr_name: str) -> bool:
        """Tell whether every environment has an attribute, also one that cannot be pickled.

        Args:
            attr_name: Its name.

        Returns:
            Whether all have it.
        """
        return all(self._ask_each("has_attr", attr_name, indices=None))

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """Read an attribute, through all wrappers.

        Args:
            attr_name: Its name.
            indices: Which environments; None: all.

        Returns:
            Copies of the values.
        """
        return self._ask_each("get_attr", attr_name, indices=indices)

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Set an attribute of the outermost wrapper.

        Args:
            attr_name: Its name.
            value: Its new value.
            indices: Which environments; None: all.
        """
        self._ask_each("set_attr", attr_name, value, indices=indices)

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs: Any
    ) -> list[Any]:
        """Call a method of the environments, found through all wrappers.

        Args:
            method_name: Its name.
            *method_args: Positional arguments.
            indices: Which environments; None: all.
            **method_kwargs: Keyword arguments.

        Returns:
            The results.
        """
        return self._ask_each("env_method", method_name, method_args, method_kwargs, indices=indices)

    def env_is_wrapped(
        self, wrapper_class: type[gym.Wrapper[Any, Any, Any, Any]], indices: VecEnvIndices = None
    ) -> list[bool]:
        """Tell whether a wrapper is around the environments.

        Args:
            wrapper_class: The wrapper.
            indices: Which environments; None: all.

        Returns:
            Whether each is wrapped with it.
        """
        return self._ask_each("env_is_wrapped", wrapper_class, indices=indices)

    def _ask_each(self, request: str, *arguments: Any, indices: VecEnvIndices) -> list[Any]:
        """Ask some environments, each worker once, and put the answers in the order of `indices`."""
        self._pool.finish_pending()
        wanted = [range(self.num_envs)[index] for index in self._get_indices(indices)]
        by_worker: dict[int, list[int]] = {}
        for index in wanted:
            by_worker.setdefault(self._worker_of[index], []).append(index)
        for worker, own in by_worker.items():
            self._pool.ask(worker, request, *arguments, own)
        results = dict(zip(by_worker, map(iter, self._pool.answers(list(by_worker))), strict=True))
        return [next(results[self._worker_of[index]]) for index in wanted]

    def _observations(self) -> VecEnvObs:
        copies = OrderedDict((key, array.copy()) for key, array in self._arrays.observations.items())
        return dict_to_obs(self.observation_space, copies)


def _check_makers(env_fns: list[Any]) -> None:
    """Refuse what cannot make environments.

    Raises:
        ArgumentError: If there are none, or where the system cannot run this.
        ArgumentTypeError: If one is no function.
    """
    if sys.platform == "win32":
        raise ArgumentError("`ShardedVecEnv` needs Linux or macOS; use SB3's `SubprocVecEnv` here.")
    if not env_fns:
        raise ArgumentError("`env_fns` must hold at least one function, got none.")
    for index, make in enumerate(env_fns):
        if not callable(make):
            raise ArgumentTypeError(
                f"`env_fns[{index}]` must be a function that makes an environment, got {type(make).__name__}; "
                "write `lambda: gym.make(...)`."
            )


def _check_n_workers(n_workers: int | None, n_envs: int) -> int:
    """Choose or check the number of processes.

    Raises:
        ArgumentError: If there would be a worker without an environment, or none.
        ArgumentTypeError: If it is no integer.
    """
    if n_workers is None:
        return min(n_envs, available_cores())
    if isinstance(n_workers, bool) or not isinstance(n_workers, int | np.integer):
        raise ArgumentTypeError(f"`n_workers` must be an integer or None, got {n_workers!r}.")
    if not 1 <= n_workers <= n_envs:
        raise ArgumentError(
            f"`n_workers` must be at least 1 and at most the number of environments, {n_envs}, got {n_workers}; "
            "None chooses one for each core."
        )
    return int(n_workers)


def _check_start_method(start_method: str | None) -> str:
    """Choose or check the start method.

    Raises:
        ArgumentError: If this system has none of that name.
    """
    known = multiprocessing.get_all_start_methods()
    if start_method is None:
        return "forkserver" if "forkserver" in known else "spawn"
    if start_method not in known:
        raise ArgumentError(f"`start_method` must be one of {', '.join(known)}, got {start_method!r}.")
    return start_method
