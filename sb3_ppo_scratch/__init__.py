"""PPO from scratch for Stable-Baselines3 and rl_zoo3.

Importing this package costs next to nothing: algorithms are loaded when they are first used (PEP 562), and the
LunarLander-v2 ids are registered once Gymnasium is there, so `gym.make("sb3_ppo_scratch:LunarLander-v2")` works too.
"""

import os
import sys
from typing import TYPE_CHECKING, Any

from sb3_ppo_scratch.post_import import call_after_import, is_being_imported

if TYPE_CHECKING:
    from sb3_ppo_scratch.ppo_scratch import PPOScratch
    from sb3_ppo_scratch.reinforce import ReinforceScratch

__version__ = "0.1.0"

__all__ = ["PPOScratch", "ReinforceScratch", "__version__"]


def __getattr__(name: str) -> Any:
    """Load a public name on first use.

    Args:
        name: The attribute's name.

    Returns:
        The attribute.

    Raises:
        AttributeError: If there is none of this name.
    """
    if name == "PPOScratch":
        from sb3_ppo_scratch.ppo_scratch import PPOScratch

        return PPOScratch
    if name == "ReinforceScratch":
        from sb3_ppo_scratch.reinforce import ReinforceScratch

        return ReinforceScratch
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names, loaded or not.

    Returns:
        The names.
    """
    return __all__


def _register_lunar_lander_v2() -> None:
    try:
        from sb3_ppo_scratch.zoo.lunar_lander_ids import register_ids

        register_ids()
    except Exception as error:  # noqa: BLE001 # this runs inside `import gymnasium`, which must not fail for it
        print(f"sb3-ppo-scratch: LunarLander v2 could not be registered: {error!r}", file=sys.stderr)


# While torch is being imported, it is its plug-in mechanism that imports us, and the user may have switched that off.
if not (is_being_imported("torch") and os.environ.get("SB3_PPO_SCRATCH_AUTOLOAD") == "0"):
    call_after_import("gymnasium.envs", _register_lunar_lander_v2)
