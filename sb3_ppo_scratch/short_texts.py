"""Values and errors of others in one short line, for messages.

What is here: that, also for what cannot be turned into text. Nothing here imports anything but the standard library.
"""

from typing import Any


def shorten(value: Any, most: int = 200) -> str:
    """Write a value down in one short line.

    Args:
        value: Anything.
        most: Characters.

    Returns:
        Its `repr`, cut; its type, if that has none.
    """
    try:
        text = " ".join(repr(value).split())
    except Exception:  # noqa: BLE001 # whatever a foreign object's `repr` raises
        text = f"<{type(value).__name__}>"
    return text if len(text) <= most else f"{text[:most]} ..."


def describe_error(error: BaseException, most: int = 200) -> str:
    r"""Write an error down in one short line.

    Args:
        error: Any error, also one that cannot be turned into text.
        most: Characters of its text.

    Returns:
        Its type, and its text's first line, cut.

    Example:
        >>> describe_error(ValueError("the first line\nthe second")), describe_error(SystemExit())
        ('ValueError: the first line ...', 'SystemExit')
    """
    name = type(error).__name__
    try:
        first, *others = str(error).strip().splitlines() or [""]
    except Exception:  # noqa: BLE001 # whatever a foreign error's `str` raises
        return f"{name} (its text cannot be read)"
    if others or len(first) > most:
        first = f"{first[:most]} ..."
    return f"{name}: {first}" if first else name
