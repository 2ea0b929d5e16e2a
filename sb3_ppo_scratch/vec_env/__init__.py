"""Faster ways to step many environments, each with the face of SB3's `VecEnv`.

What is here: the public names, loaded on first use, since worker processes import this package and need neither SB3 nor
torch. What is not: which of them to use when (`docs/vec_env.md`).
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sb3_ppo_scratch.vec_env.envpool_vec_env import EnvPoolVecEnv
    from sb3_ppo_scratch.vec_env.rebuild import rebuild_envpool, rebuild_sharded
    from sb3_ppo_scratch.vec_env.sharded_vec_env import ShardedVecEnv

__all__ = ["EnvPoolVecEnv", "ShardedVecEnv", "rebuild_envpool", "rebuild_sharded"]

MODULES = {
    "EnvPoolVecEnv": "envpool_vec_env",
    "ShardedVecEnv": "sharded_vec_env",
    "rebuild_envpool": "rebuild",
    "rebuild_sharded": "rebuild",
}
"""Where each public name is."""


def __getattr__(name: str) -> Any:
    """Load a public name on first use.

    Args:
        name: The attribute's name.

    Returns:
        The attribute.

    Raises:
        AttributeError: If there is none of this name.
    """
    if name in MODULES:
        return getattr(importlib.import_module(f"{__name__}.{MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names, loaded or not.

    Returns:
        The names.
    """
    return __all__
