"""LunarLander v2 on Gymnasium 1.x: the current lander under v2's observation bounds.

What is here: the environment behind the two v2 ids. What is not: v2's own dynamics, which differ from v3's in how wind
is drawn and in that a reset with the same seed was not repeatable
(https://github.com/Farama-Foundation/Gymnasium/pull/979): results are v2's in name and bounds only, and are never
reported as v3's.
"""

import math
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.envs.box2d.lunar_lander import LunarLander

from sb3_ppo_scratch.zoo.lunar_lander_ids import give_notice_once


class LunarLanderV2(LunarLander):
    """Gymnasium's lander with v2's observation bounds.

    The bounds (1.5 for positions, 5 for velocities and angular velocity, pi for the angle) are narrower than what the
    lander reaches, as they were in the original: observations are not clipped to them.

    Args:
        *arguments: Gymnasium's arguments for the lander, in its order.
        **keywords: The same by name: `continuous`, `gravity`, `enable_wind`, `wind_power`, `turbulence_power`,
            `render_mode`.

    Example:
        >>> import gymnasium as gym
        >>> gym.make("sb3_ppo_scratch:LunarLander-v2").observation_space.high.max()
        np.float32(5.0)
    """

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        high = np.array([1.5, 1.5, 5.0, 5.0, math.pi, 5.0, 1.0, 1.0], dtype=np.float32)
        low = np.concatenate([-high[:6], np.zeros(2, dtype=np.float32)])
        self.observation_space = spaces.Box(low, high)
        give_notice_once()
