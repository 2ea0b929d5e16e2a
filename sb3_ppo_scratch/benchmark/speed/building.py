"""Builds what a workload describes: environments, policies, algorithms.

What is here: the small environments and networks that only measurements need. What is not: their numbers
(`workloads.py`), the clock (`timing.py`).
"""

import pkgutil
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv

from sb3_ppo_scratch.benchmark.speed.workloads import Competitor, VecEnvKind, Workload

IMAGE_SIZE = 84
"""Height and width of painted observations, pixels; Atari's."""


class SplitObservation(gym.ObservationWrapper[dict[str, NDArray[np.float32]], Any, NDArray[np.float32]]):
    """Hands out a vector's halves as a Dict of two vectors.

    Args:
        env: The environment, with a one-dimensional Box.
    """

    def __init__(self, env: gym.Env[NDArray[np.float32], Any]) -> None:
        super().__init__(env)
        box = env.observation_space
        assert isinstance(box, spaces.Box)
        self._half = box.shape[0] // 2
        halves = {"first": slice(None, self._half), "second": slice(self._half, None)}
        split: Any = spaces.Dict({name: spaces.Box(box.low[half], box.high[half]) for name, half in halves.items()})
        self.observation_space = split

    def observation(self, observation: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Split it.

        Args:
            observation: Shape (n,).

        Returns:
            Shapes (n // 2,) and (n - n // 2,).
        """
        return {"first": observation[: self._half], "second": observation[self._half :]}


class PaintObservation(gym.ObservationWrapper[NDArray[np.uint8], Any, NDArray[np.float32]]):
    """Paints a vector as an image, one bar per number: a cheap image that can be learned from.

    Args:
        env: The environment, with a one-dimensional Box.
    """

    def __init__(self, env: gym.Env[NDArray[np.float32], Any]) -> None:
        super().__init__(env)
        self.observation_space = spaces.Box(0, 255, (IMAGE_SIZE, IMAGE_SIZE, 1), np.uint8)

    def observation(self, observation: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Paint it.

        Args:
            observation: Shape (n,).

        Returns:
            Shape (IMAGE_SIZE, IMAGE_SIZE, 1); bars from the middle, a full one for numbers far from 0.
        """
        image = np.zeros((IMAGE_SIZE, IMAGE_SIZE, 1), np.uint8)
        middle, height = IMAGE_SIZE // 2, IMAGE_SIZE // len(observation)
        for row, length in enumerate((np.tanh(observation) * middle).astype(int)):
            left, right = sorted((middle, middle + int(length)))
            image[row * height : (row + 1) * height, left:right] = 255
        return image


class SmallExtractor(BaseFeaturesExtractor):
    """A layer in front of the policy's own, as users write it; the closed form does not cover its activation.

    Args:
        observation_space: A one-dimensional Box.
    """

    def __init__(self, observation_space: spaces.Box) -> None:
        super().__init__(observation_space, features_dim=64)
        self.layers = th.nn.Sequential(th.nn.Linear(observation_space.shape[0], 64), th.nn.SiLU())

    def forward(self, observations: th.Tensor) -> th.Tensor:
        """Compute the features.

        Args:
            observations: Shape (n, observation).

        Returns:
            Shape (n, 64).
        """
        features: th.Tensor = self.layers(observations)
        return features


OBSERVATION_WRAPPERS: dict[str, Any] = {"vector": None, "dict": SplitObservation, "image": PaintObservation}


def build_vec_env(workload: Workload, kind: VecEnvKind, seed: int) -> VecEnv:
    """Make the environments, each with a Monitor and no rendering.

    Args:
        workload: What they are.
        kind: What steps them.
        seed: Seed of their random generators.

    Returns:
        The VecEnv.
    """
    if kind == "envpool":
        from sb3_ppo_scratch.vec_env import EnvPoolVecEnv

        env = EnvPoolVecEnv(workload.env_id, workload.n_envs, workload.n_workers)
        env.seed(seed)
        return env
    classes: dict[str, Any] = {"dummy": DummyVecEnv, "subproc": SubprocVecEnv}
    options = {}
    if kind == "sharded":
        from sb3_ppo_scratch.vec_env import ShardedVecEnv

        classes["sharded"] = ShardedVecEnv
        options["n_workers"] = workload.n_workers
    return make_vec_env(
        workload.env_id,
        workload.n_envs,
        seed=seed,
        env_kwargs={"render_mode": None},
        wrapper_class=OBSERVATION_WRAPPERS[workload.observation],
        vec_env_cls=classes[kind],
        vec_env_kwargs=options,
    )


def build_model(workload: Workload, competitor: Competitor, env: VecEnv, seed: int) -> OnPolicyAlgorithm:
    """Make the algorithm, on the CPU.

    Args:
        workload: What it is told.
        competitor: Which one it is, not stepping alone.
        env: Its environments.
        seed: Seed of its random generators.

    Returns:
        The model.
    """
    # By name, so that each process loads its own competitor only, and nothing here depends on stock's PPO.
    algorithm = pkgutil.resolve_name(competitor.algorithm)
    model: OnPolicyAlgorithm = algorithm(
        workload.policy,
        env,
        n_steps=workload.n_steps,
        batch_size=workload.batch_size,
        n_epochs=workload.n_epochs,
        policy_kwargs=_policy_kwargs(workload),
        seed=seed,
        device="cpu",
        **{name: _scheduled(value) for name, value in workload.arguments.items()},
        **competitor.arguments,
    )
    return model


def _policy_kwargs(workload: Workload) -> dict[str, Any]:
    """Say what the policy is beyond its name; nothing where its defaults are meant."""
    kwargs: dict[str, Any] = {}
    if workload.width:
        kwargs["net_arch"] = [workload.width, workload.width]
    if workload.extractor:
        kwargs["features_extractor_class"] = SmallExtractor
    return kwargs


def _scheduled(value: float | str) -> Any:
    """Turn `"lin_x"` into SB3's schedule from x to 0, and leave numbers alone."""
    return LinearSchedule(float(value.removeprefix("lin_")), 0.0, 1.0) if isinstance(value, str) else value
