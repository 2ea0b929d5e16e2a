"""What a `VecNormalize` does to observations, with statistics that stand still.

What is here: that as plain modules, and finding it among an environment's wrappers. What is not: the policy that
observations go to (`deployed_policy.py`).
"""

from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper, VecFrameStack, VecNormalize
from stable_baselines3.common.vec_env.stacked_observations import StackedObservations

from sb3_ppo_scratch.errors import ArgumentError

Stack = StackedObservations[Any]


class FixedNormalization(th.nn.Module):
    """Normalises one entry of an observation.

    Args:
        mean: What is subtracted, float64, shape (*shape).
        deviation: What the rest is divided by, same shape.
        clip: Largest absolute value of what comes out.
    """

    mean: th.Tensor
    deviation: th.Tensor

    def __init__(self, mean: NDArray[np.float64], deviation: NDArray[np.float64], clip: float) -> None:
        super().__init__()
        self.register_buffer("mean", th.as_tensor(mean, dtype=th.float64))
        self.register_buffer("deviation", th.as_tensor(deviation, dtype=th.float64))
        self._clip = clip

    def forward(self, observations: th.Tensor) -> th.Tensor:
        """Normalise.

        Args:
            observations: Shape (batch, *shape).

        Returns:
            The same shape, float32.
        """
        return ((observations - self.mean) / self.deviation).clamp(-self._clip, self._clip).float()


class FramesNormalization(FixedNormalization):
    """Normalises frames that SB3 normalises before it stacks them.

    Right after a reset there are fewer frames than places. SB3 fills the others with zeros after normalising, so no
    frame of the environment's own stands for them: a frame of zeros is a frame like any other. Here NaN does.

    Args:
        mean: What is subtracted, float64, shape (*shape) of the whole stack.
        deviation: What the rest is divided by, same shape.
        clip: Largest absolute value of what comes out.
    """

    def forward(self, observations: th.Tensor) -> th.Tensor:
        """Normalise.

        Args:
            observations: Stacked frames as the environments return them, shape (batch, *shape); NaN in places of
                frames that are not there yet.

        Returns:
            The same shape, float32; 0 in place of NaN.
        """
        return super().forward(th.where(observations.isnan(), self.mean, observations))


def fixed_normalizations(env: VecEnv, space: spaces.Space[Any]) -> dict[str, FixedNormalization]:
    """Take what the `VecNormalize` among an environment's wrappers does.

    Args:
        env: The environment.
        space: The observation space of the policy.

    Returns:
        By the key of the Dict space, or by the empty name of another space; nothing for what is left as it is.

    Raises:
        ArgumentError: If what happens between it and the policy cannot be done by a file.
    """
    stacks: list[Stack] = []
    while isinstance(env, VecEnvWrapper) and not isinstance(env, VecNormalize):
        if isinstance(env, VecFrameStack):
            stacks.insert(0, env.stacked_obs)
        env = env.venv
    if not isinstance(env, VecNormalize) or not env.norm_obs:
        return {}
    names = list(env.obs_rms) if isinstance(env.obs_rms, dict) else [""]
    return {name: _fixed_normalization(env, name, stacks, space) for name in names}


def _fixed_normalization(
    normalize: VecNormalize, name: str, stacks: list[Stack], space: spaces.Space[Any]
) -> FixedNormalization:
    """Take what is done to one entry; `stacks` are those around it, from the inside out.

    Raises:
        ArgumentError: If that cannot be done by a file.
    """
    moments = normalize.obs_rms[name] if isinstance(normalize.obs_rms, dict) else normalize.obs_rms
    mean, deviation = moments.mean, np.sqrt(moments.var + normalize.epsilon)
    for stack in stacks:
        frames = stack.sub_stacked_observations[name] if name else stack
        if not np.issubdtype(np.dtype(frames.observation_space.dtype), np.floating):
            raise ArgumentError(
                f"`frame_stack` around `normalize` cuts observations of {frames.observation_space.dtype} off to whole "
                "numbers once they are normalised; an agent that has learned from that cannot be exported."
            )
        mean, deviation = (
            np.concatenate([each] * frames.n_stack, axis=frames.repeat_axis) for each in (mean, deviation)
        )
    entry = space.spaces.get(name) if isinstance(space, spaces.Dict) else space
    if entry is None or entry.shape != mean.shape:
        raise ArgumentError(
            f"VecNormalize's statistics, of shape {mean.shape}, do not fit what the policy observes, {entry}: a "
            "wrapper between the two changes observations, which cannot be exported."
        )
    kind = FramesNormalization if stacks else FixedNormalization
    return kind(mean, deviation, normalize.clip_obs)
