"""EnvPool's environments, which are written in C++, behind SB3's `VecEnv` interface.

What is here: the interface, and SB3's idea of how an episode ends. What is not: the environments. They are EnvPool's
own: the same tasks as Gymnasium's, not the same numbers, so results are not those of the same seed there. Needs the
optional dependency `envpool`.
"""

import time
import warnings
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from stable_baselines3.common.monitor import Monitor, ResultsWriter
from stable_baselines3.common.vec_env.base_vec_env import VecEnv, VecEnvIndices, VecEnvObs, VecEnvStepReturn

from sb3_ppo_scratch.errors import ArgumentError, UnsupportedSpaceError
from sb3_ppo_scratch.value_checks import check_positive_integer
from sb3_ppo_scratch.vec_env.cores import available_cores, takes_every_core
from sb3_ppo_scratch.vec_env.envpool_steps import PoolSteps
from sb3_ppo_scratch.wrappers.scale_reward import RAW_REWARD_KEY

SEED_LIMIT = 2**31
"""EnvPool's seeds are 32-bit integers with a sign; SB3's may be larger and are folded."""


class EnvPoolMissingError(ArgumentError, ImportError):
    """EnvPool was asked for and is not installed."""


class EnvPoolVecEnv(VecEnv):
    """Environments of EnvPool, stepped by its threads.

    Infos hold what SB3 needs: `TimeLimit.truncated`, and at an episode's end `terminal_observation` and, as from SB3's
    `Monitor`, `episode`. EnvPool itself starts the next episode one step late, with an action that changes nothing;
    here it is started at once, so that no such step is ever seen. An episode that terminates in the very step in which
    its time is up counts as truncated: EnvPool does not tell the two apart.

    Args:
        env_id: An id that EnvPool has.
        n_envs: Number of environments.
        n_threads: Number of threads; None: one for each core that may be used. Where they take every core, each is
            bound to one; the option `thread_affinity_offset=-1` leaves that to the system.
        reward_scale: Factor on the rewards; with one, as with this project's `ScaleReward`, the unscaled reward is in
            `info["raw_reward"]`. Episode returns are never scaled.
        monitor_dir: Folder for each environment's file of episode returns, lengths and times, as `make_vec_env` has it.
        **env_kwargs: Options of EnvPool for this id (`max_episode_steps`, …).

    Raises:
        ArgumentError: If EnvPool does not know the id or an option, or a number is below 1.
        ArgumentTypeError: If `n_envs` or `n_threads` is no integer.
        UnsupportedSpaceError: If observations or actions are no arrays of one shape.
        EnvPoolMissingError: If EnvPool is not installed.

    Example:
        >>> import pytest; _ = pytest.importorskip("envpool")
        >>> env = EnvPoolVecEnv("CartPole-v1", 4)
        >>> env.reset().shape
        (4, 4)
        >>> observations, rewards, dones, infos = env.step([0, 1, 0, 1])
        >>> rewards
        array([1., 1., 1., 1.], dtype=float32)
        >>> env.close()
    """

    def __init__(
        self,
        env_id: str,
        n_envs: int,
        n_threads: int | None = None,
        *,
        reward_scale: float | None = None,
        monitor_dir: str | Path | None = None,
        **env_kwargs: Any,
    ) -> None:
        check_env_id(env_id)
        check_options(env_id, env_kwargs)
        check_positive_integer("n_envs", n_envs, remedy="pass for example n_envs=16")
        self.env_id = env_id
        if n_threads is not None:
            check_positive_integer("n_threads", n_threads, remedy="None means one for each core")
        n_threads = min(n_envs, n_threads or available_cores())
        # Left to itself, the system often wakes all threads on the core of the one that waits for them.
        affinity = {"thread_affinity_offset": 0} if takes_every_core(n_threads) else {}
        self._options_of_pool = {**affinity, **env_kwargs, "num_envs": n_envs, "num_threads": n_threads}
        self._pool: Any = self._make_pool(np.random.default_rng().integers(SEED_LIMIT, size=n_envs).tolist())
        super().__init__(n_envs, *_spaces_of(env_id, self._pool))
        self._reward_scale = reward_scale
        self._returns, self._lengths = np.zeros(n_envs), np.zeros(n_envs, np.int64)
        self._start = time.time()
        self._writers: list[ResultsWriter] = []
        if monitor_dir is not None:
            header: dict[str, float | str] = {"t_start": self._start, "env_id": env_id}
            self._writers = [ResultsWriter(str(Path(monitor_dir) / str(index)), header) for index in range(n_envs)]

    def step_async(self, actions: npt.NDArray[Any]) -> None:
        """Let EnvPool's threads begin a step.

        Args:
            actions: One per environment, (n_envs, *action shape).
        """
        self._open_pool()
        self._steps.send(np.asarray(actions))

    def step_wait(self) -> VecEnvStepReturn:
        """Wait for the step that `step_async` began, and begin the next episode where one has ended.

        Returns:
            Observations, (n_envs, *observation shape); rewards, (n_envs,), float32; dones, (n_envs,), bool; infos.
        """
        self._open_pool()
        received, rewards, dones, truncated = self._steps.receive()
        # EnvPool's arrays are its own memory; rows of this one are replaced below.
        observations = np.array(received, dtype=self.observation_space.dtype)
        self._returns += rewards
        self._lengths += 1
        infos: list[dict[str, Any]] = [{"TimeLimit.truncated": cut_off} for cut_off in truncated.tolist()]
        if self._reward_scale is not None:
            for info, reward in zip(infos, rewards.tolist(), strict=True):
                info[RAW_REWARD_KEY] = reward
            rewards = rewards * self._reward_scale
        if dones.any():
            self._begin_episodes(np.flatnonzero(dones), observations, infos)
        return observations, rewards.astype(np.float32), dones, infos

    def reset(self) -> VecEnvObs:
        """Begin new episodes everywhere, with the seeds that were set since the last time.

        Returns:
            Observations, (n_envs, *observation shape).

        Raises:
            ArgumentError: If options were set, which EnvPool does not have.
        """
        if any(self._options):
            self._reset_options()
            raise ArgumentError("EnvPool's environments take no options at a reset; set none, or use `ShardedVecEnv`.")
        if self._seeds[0] is not None:
            self._open_pool().close()
            self._pool = self._make_pool([int(seed or 0) % SEED_LIMIT for seed in self._seeds])
        observations, _ = self._open_pool().reset()
        self._returns[:], self._lengths[:] = 0.0, 0
        self._reset_seeds()
        return np.array(observations, dtype=self.observation_space.dtype)

    def close(self) -> None:
        """End the threads and close the file; doing so again is fine."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None
            for writer in self._writers:
                writer.close()

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """Read an attribute: of C++ environments there is none but `render_mode`, which is None.

        Args:
            attr_name: Its name.
            indices: Which environments; None: all.

        Returns:
            None for each.

        Raises:
            AttributeError: If it is another attribute.
        """
        if attr_name != "render_mode":
            raise AttributeError(f"EnvPool's environments have no attribute {attr_name!r}: they are no Python objects.")
        return [None for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:  # noqa: ARG002 # SB3's signature
        """Refuse to set an attribute.

        Args:
            attr_name: Its name.
            value: Its value.
            indices: Which environments.

        Raises:
            AttributeError: Always.
        """
        raise AttributeError(f"EnvPool's environments have no attribute {attr_name!r} to set: use `ShardedVecEnv`.")

    def env_method(
        self,
        method_name: str,
        *method_args: Any,  # noqa: ARG002 # SB3's signature
        indices: VecEnvIndices = None,  # noqa: ARG002
        **method_kwargs: Any,  # noqa: ARG002
    ) -> list[Any]:
        """Refuse to call a method.

        Args:
            method_name: Its name.
            *method_args: Positional arguments.
            indices: Which environments.
            **method_kwargs: Keyword arguments.

        Raises:
            AttributeError: Always.
        """
        raise AttributeError(f"EnvPool's environments have no method {method_name!r} to call: use `ShardedVecEnv`.")

    def env_is_wrapped(
        self, wrapper_class: type[gym.Wrapper[Any, Any, Any, Any]], indices: VecEnvIndices = None
    ) -> list[bool]:
        """Tell whether the environments do what a wrapper does.

        Args:
            wrapper_class: The wrapper.
            indices: Which environments; None: all.

        Returns:
            True for SB3's `Monitor`, whose episode infos are here, else False.
        """
        return [wrapper_class is Monitor for _ in self._get_indices(indices)]

    def get_images(self) -> Sequence[npt.NDArray[Any] | None]:
        """Refuse to render, with a warning.

        Returns:
            None for each, (n_envs,).
        """
        warnings.warn("EnvPool's environments are not rendered here; evaluate in a DummyVecEnv.", stacklevel=2)
        return [None] * self.num_envs

    def _begin_episodes(
        self, ended: npt.NDArray[np.int64], observations: npt.NDArray[Any], infos: list[dict[str, Any]]
    ) -> None:
        """Write down how episodes have ended, and put the next ones' first observations in place of their last.

        Args:
            ended: Numbers of the environments in which one has ended, (n_ended,).
            observations: Of all environments, (n_envs, *observation shape); changed in place.
            infos: Of all environments; changed in place.
        """
        for index in ended.tolist():
            infos[index]["terminal_observation"] = observations[index].copy()
            episode = {
                "r": round(float(self._returns[index]), 6),
                "l": int(self._lengths[index]),
                "t": round(time.time() - self._start, 6),
            }
            infos[index]["episode"] = episode
            if self._writers:
                self._writers[index].write_row(episode)
        first, info = self._open_pool().reset(ended.astype(np.int32))
        observations[info["env_id"]] = first
        self._returns[ended], self._lengths[ended] = 0.0, 0

    def _make_pool(self, seeds: list[int]) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the precision of the bounds of its spaces, which it makes here
            pool = _envpool().make_gymnasium(self.env_id, seed=seeds, **self._options_of_pool)
            assert pool.observation_space is not None
            assert pool.action_space is not None
        self._steps = PoolSteps(pool)
        return pool

    def _open_pool(self) -> Any:
        """Return EnvPool's object.

        Raises:
            RuntimeError: If this is closed.
        """
        if self._pool is None:
            raise RuntimeError("this EnvPoolVecEnv is closed; make a new one.")
        return self._pool


def check_env_id(env_id: str) -> None:
    """Refuse an id that EnvPool does not have.

    Args:
        env_id: The id.

    Raises:
        ArgumentError: If it does not; the message names the nearest that it has.
        EnvPoolMissingError: If EnvPool is not installed.
    """
    known = _envpool().list_all_envs()
    if env_id not in known:
        nearest = get_close_matches(env_id, known, n=1)
        hint = f"did you mean {nearest[0]}? " if nearest else ""
        raise ArgumentError(f"EnvPool has no environment {env_id!r}; {hint}For all others there is `ShardedVecEnv`.")


def check_options(env_id: str, options: dict[str, Any]) -> None:
    """Refuse options that EnvPool does not have for an id.

    Args:
        env_id: An id that it has.
        options: Options by name.

    Raises:
        ArgumentError: If it does not know one; the message names those that it knows.
    """
    config = _envpool().make_spec(env_id).config._fields
    own = {"num_envs", "batch_size", "num_threads", "seed", "env_seed", "gym_reset_return_info", "base_path"}
    unknown = sorted(set(options) - (set(config) - own))
    if unknown:
        raise ArgumentError(
            f"EnvPool has no option {', '.join(f'`{name}`' for name in unknown)} for {env_id}; it has: "
            f"{', '.join(sorted(set(config) - own))}. `ShardedVecEnv` takes every option that the environment has."
        )


def _spaces_of(env_id: str, pool: Any) -> tuple[spaces.Space[Any], spaces.Space[Any]]:
    """Choose the spaces: Gymnasium's, where it has the id, so that a model can go on in either; else EnvPool's.

    Raises:
        UnsupportedSpaceError: If observations or actions are no arrays of one shape.
    """
    own = (pool.observation_space, pool.action_space)
    for space in own:
        if not isinstance(space, spaces.Box | spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary):
            raise UnsupportedSpaceError(f"{env_id} of EnvPool has {space}, which is not supported here.")
    if env_id not in gym.registry:
        return own
    environment = gym.make(env_id)
    theirs = (environment.observation_space, environment.action_space)
    environment.close()
    same = all(
        (type(a), a.shape, a.dtype) == (type(b), b.shape, b.dtype) or isinstance(a, spaces.Discrete)
        for a, b in zip(own, theirs, strict=True)
    )
    return theirs if same else own


def _envpool() -> Any:
    """Import EnvPool.

    Raises:
        EnvPoolMissingError: If it is not installed; the message says how to.
    """
    try:
        import envpool
    except ImportError as error:
        raise EnvPoolMissingError(
            f"EnvPool cannot be imported ({error}): pip install 'sb3-ppo-scratch[envpool]' (Python 3.11 or newer), "
            "or use `ShardedVecEnv`, which needs nothing more."
        ) from error
    return envpool
