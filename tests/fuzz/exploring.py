"""Trying a property on many drawn cases, and counting them.

What is here: how many cases, which of them, and what has been counted. What is not: the properties (`test_*.py`) and
the report (`__main__.py`).
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

Case = TypeVar("Case")


@dataclass
class Tally:
    """What has been tried."""

    counts: Counter[str] = field(default_factory=Counter)
    """By name; a case counts when everything about it has been checked."""
    largest: dict[str, float] = field(default_factory=dict)
    """The largest number seen, by name."""
    _seen: set[str] = field(default_factory=set)

    @property
    def n_cases(self) -> int:
        """Cases that differ."""
        return len(self._seen)

    def count(self, case: object, *names: str) -> None:
        """Count a case that has passed, once, however often it was drawn.

        Args:
            case: Whatever tells it from others when it is printed.
            *names: What it is counted as.
        """
        printed = repr(case)
        if printed not in self._seen:
            self._seen.add(printed)
            self.counts.update(names)

    def keep_largest(self, name: str, value: float) -> None:
        """Remember a number if it is larger than those before."""
        self.largest[name] = max(value, self.largest.get(name, value))


def explore(
    cases: st.SearchStrategy[Case], check: Callable[[Case, Tally], None], *, examples: int, fresh: bool
) -> Tally:
    """Check a property.

    Args:
        cases: What is drawn.
        check: Raises if a case does not have the property; else counts it.
        examples: How many cases.
        fresh: Whether to draw other cases than last time; else they are always the same.

    Returns:
        What has been counted.
    """
    tally = Tally()

    @settings(
        max_examples=examples,
        derandomize=not fresh,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(cases)
    def run(case: Case) -> None:
        check(case, tally)

    run()
    return tally
