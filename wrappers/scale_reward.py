"""Scales the reward by a constant.

Here: `ScaleReward`. Not here: scaling by a running estimate of the returns' spread (SB3's `VecNormalize`) and clipping
of rewards (Gymnasium's `ClipReward`).
"""

from __future__ import annotations

from typing import Any, SupportsFloat

import gymnasium as gym
from gymnasium.core import ActType, ObsType
from gymnasium.utils import RecordConstructorArgs

from ._checks import as_finite_number

RAW_REWARD_KEY = "raw_reward"


class ScaleReward(gym.Wrapper[ObsType, ActType, ObsType, ActType], RecordConstructorArgs):
    """Multiplies each reward by `scale`; the unscaled reward stays in `info["raw_reward"]`.

    Large returns make the value loss drown the policy loss in PPO's common gradient-norm limit; LunarLander's returns
    of some hundreds are a case in point, and a scale of 0.01 brings them to a few units. The best policy stays the same
    for every positive scale; a negative one turns the task round.

    Wrap an SB3 `Monitor` (as `make_vec_env` and rl_zoo3 do) and everything that is logged stays in the task's own
    units; a `Monitor` outside of this wrapper reports scaled rewards. From an rl_zoo3 YAML file::

        env_wrapper:
          - sb3_ppo_scratch.wrappers.ScaleReward:
              scale: 0.01

    Attributes:
        scale: The factor.

    Example:
        >>> import gymnasium as gym
        >>> from sb3_ppo_scratch.wrappers import ScaleReward
        >>> env = ScaleReward(gym.make("CartPole-v1"), scale=0.01)
        >>> _ = env.reset(seed=0)
        >>> _, reward, _, _, info = env.step(0)
        >>> reward, info["raw_reward"]
        (0.01, 1.0)
    """

    def __init__(self, env: gym.Env[ObsType, ActType], scale: float = 0.01) -> None:
        """Wrap `env`.

        Args:
            env: The environment whose rewards are scaled.
            scale: The factor; finite and not 0.

        Raises:
            TypeError: If `scale` is a bool or not a number.
            ValueError: If `scale` is 0 or not finite, or if `env` already scales its rewards.
        """
        gym.Wrapper.__init__(self, env)
        factor = as_finite_number("scale", scale)
        if factor == 0.0:
            raise ValueError(f"scale={scale!r} would erase every reward; choose a factor such as 0.01")
        _refuse_second_scaling(env)
        RecordConstructorArgs.__init__(self, scale=factor)
        self.scale = factor

    def step(self, action: ActType) -> tuple[ObsType, SupportsFloat, bool, bool, dict[str, Any]]:
        """Step the environment and scale its reward.

        Args:
            action: An action of the wrapped environment.

        Returns:
            The environment's transition with the scaled reward, and a copy of its info with "raw_reward" added.

        Raises:
            ValueError: If the environment itself reports a "raw_reward", which would be lost.
        """
        observation, reward, terminated, truncated, info = self.env.step(action)
        if RAW_REWARD_KEY in info:
            raise ValueError(
                f"the wrapped environment already reports info[{RAW_REWARD_KEY!r}]={info[RAW_REWARD_KEY]!r}, which "
                "ScaleReward would overwrite: scale once only, or rename that key in a wrapper below ScaleReward"
            )
        # A copy, since some environments return the same dictionary at each step.
        info = {**info, RAW_REWARD_KEY: reward}
        return observation, float(reward) * self.scale, terminated, truncated, info


def _refuse_second_scaling(env: gym.Env[Any, Any]) -> None:
    """Look for a `ScaleReward` in the chain of wrappers.

    Args:
        env: The outermost environment of the chain.

    Raises:
        ValueError: If the chain holds a `ScaleReward`.
    """
    while isinstance(env, gym.Wrapper):
        if isinstance(env, ScaleReward):
            raise ValueError(f"env already scales its rewards by {env.scale}; wrap it in ScaleReward once only")
        env = env.env
