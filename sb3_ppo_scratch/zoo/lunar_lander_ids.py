"""The ids `LunarLander-v2` and `LunarLanderContinuous-v2` on Gymnasium 1.x, which registers only their v3.

What is here: registering, and the notice about them. What is not: the environment (`lunar_lander_v2.py`), whose import
needs Box2D.
"""

import functools
import multiprocessing
import sys

IDS = {"LunarLander-v2": False, "LunarLanderContinuous-v2": True}
"""Id to whether its actions are continuous."""

NOTICE = "LunarLander v2: Gymnasium's current (v3) dynamics with v2's observation bounds; not comparable with v3."


def register_ids() -> None:
    """Register each v2 id that Gymnasium does not have; one that it has is left alone."""
    # Not at the top: this is called while Gymnasium is being imported, perhaps because this file was.
    from gymnasium.envs.registration import register, registry

    for env_id, continuous in IDS.items():
        if env_id not in registry:
            register(
                id=env_id,
                entry_point="sb3_ppo_scratch.zoo.lunar_lander_v2:LunarLanderV2",
                kwargs={"continuous": continuous},
                max_episode_steps=1000,
                reward_threshold=200,
            )


@functools.cache
def give_notice_once() -> None:
    """Say once per run what v2 means here: worker processes of a VecEnv leave it to the main process."""
    if multiprocessing.parent_process() is None:
        print(NOTICE, file=sys.stderr)
