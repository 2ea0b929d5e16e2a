"""Replacing a function for a while.

What is here: that, for this project's own commands. What is not: replacing for good, where rl_zoo3's are run
(`register.py`).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Replacement = Callable[[Callable[..., Any]], Callable[..., Any]]
"""Wraps the original."""


@contextmanager
def replaced(owner: Any, name: str, replacement: Replacement) -> Iterator[None]:
    """Replace a function by one that wraps it, and put it back.

    Args:
        owner: Where it stands, rl_zoo3's `ExperimentManager` for one.
        name: Its name.
        replacement: Makes the other one from it.

    Yields:
        Nothing.
    """
    original = getattr(owner, name)
    setattr(owner, name, replacement(original))
    try:
        yield
    finally:
        setattr(owner, name, original)
