"""The ids `LunarLander-v2` and `LunarLanderContinuous-v2` on Gymnasium 1.x, which registers only their v3.

What is here: registering. What is not: the environment (`lunar_lander_v2.py`), whose import needs Box2D.
"""

from gymnasium.envs.registration import register, registry

IDS = {"LunarLander-v2": False, "LunarLanderContinuous-v2": True}
"""Id to whether its actions are continuous."""


def register_ids() -> None:
    """Register each v2 id that Gymnasium does not have; one that it has is left alone."""
    for env_id, continuous in IDS.items():
        if env_id not in registry:
            register(
                id=env_id,
                entry_point="sb3_ppo_scratch.zoo.lunar_lander_v2:LunarLanderV2",
                kwargs={"continuous": continuous},
                max_episode_steps=1000,
                reward_threshold=200,
            )
