"""What is shown while measurements run.

What is here: words for the terminal. What is not: what runs (`speed/execution.py`, `training/execution.py`).
"""

import sys

INTERRUPTED = 130
"""The exit status of a program that Ctrl-C has stopped."""


def show(text: str, end: str = "\n") -> None:
    """Show progress at once.

    Args:
        text: What to show.
        end: What follows it.
    """
    print(text, end=end, file=sys.stderr, flush=True)


def show_duration(seconds: float) -> str:
    """Show how long something takes.

    Args:
        seconds: Seconds.

    Returns:
        For example "45 s" or "12 min".
    """
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
