"""Reading rl_zoo3's lists of wrappers (`env_wrapper`, `vec_env_wrapper`, `callback` in YAML).

What is here: the three ways in which such a list can be written, and what this project looks for in it. What is not:
building the wrappers (rl_zoo3's `get_wrapper_class`).
"""

import importlib
from difflib import get_close_matches
from typing import Any

from sb3_ppo_scratch.wrappers import ScaleReward

WrapperList = str | type | dict[str, Any] | list[Any] | None


def entries(wrappers: WrapperList) -> list[tuple[Any, dict[str, Any]]]:
    """Read a list of wrappers in any of its forms.

    Args:
        wrappers: A dotted path, `{path: keyword arguments}`, or a list of these.

    Returns:
        Path (or class) and keyword arguments of each, in order.
    """
    if wrappers is None:
        return []
    listed = wrappers if isinstance(wrappers, list) else [wrappers]
    pairs: list[tuple[Any, dict[str, Any] | None]] = []
    for entry in listed:
        pairs.extend(entry.items() if isinstance(entry, dict) else [(entry, {})])
    return [(name, keywords or {}) for name, keywords in pairs]


def resolve(path: str) -> Any:
    """Import what a dotted path names.

    Args:
        path: For example `sb3_ppo_scratch.wrappers.ScaleReward`.

    Returns:
        The class or function.

    Raises:
        ValueError: If it cannot be imported; the message says at which part, and names the nearest that exists.
    """
    module_name, _, name = path.rpartition(".")
    if not module_name:
        raise ValueError(f"{path!r} is no dotted path; write package.module.{path}.")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ValueError(f"{path!r} cannot be imported: {error}.") from error
    if not hasattr(module, name):
        nearest = get_close_matches(name, dir(module), n=1)
        hint = f"; did you mean {module_name}.{nearest[0]}?" if nearest else "."
        raise ValueError(f"{path!r} cannot be imported: {module_name} has no {name}{hint}")
    return getattr(module, name)


def is_scale_reward(name: Any) -> bool:
    """Tell whether a list's entry is this project's `ScaleReward`.

    Args:
        name: Dotted path or class.

    Returns:
        Whether it is, or is a subclass of it; False for a path that cannot be imported (rl_zoo3 reports that).
    """
    if isinstance(name, str):
        if "ScaleReward" not in name:
            return False
        try:
            name = resolve(name)
        except ValueError:
            return False
    return isinstance(name, type) and issubclass(name, ScaleReward)


def with_unscaled_reward(wrappers: WrapperList) -> WrapperList:
    """Set the scale of every `ScaleReward` in a list to 1.

    Args:
        wrappers: The list in any of its forms.

    Returns:
        The argument itself if it contains no `ScaleReward`, else an equivalent list with scale 1.
    """
    pairs = entries(wrappers)
    if not any(is_scale_reward(name) for name, _ in pairs):
        return wrappers
    return [{name: {**keywords, "scale": 1.0} if is_scale_reward(name) else keywords} for name, keywords in pairs]
