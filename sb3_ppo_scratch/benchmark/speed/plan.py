"""One measurement as data: what is run, with how many threads, in which round.

What is here: `Task`, its identity and its command line. What is not: which tasks there are (`main_table.py`,
`growth.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sb3_ppo_scratch.benchmark.speed.workloads import ALL_WORKLOADS, COMPETITORS, Workload

TRIAL_ROUND = 0
"""The short round before the first, in which stock's best number of threads is found."""


@dataclass(frozen=True)
class Task:
    """One measurement, that is one process.

    Args:
        workload: A key of `ALL_WORKLOADS`.
        competitor: A key of `COMPETITORS`.
        vec_env: A `VecEnvKind`.
        threads: Threads of torch and BLAS; None: what the competitor does when nothing is said.
        round: Counted from 1; `TRIAL_ROUND` is apart. Also the seed, so that a round's competitors share one.
        settings: Changed numbers of the workload, by name, sorted.
    """

    workload: str
    competitor: str
    vec_env: str
    threads: int | None
    round: int
    settings: tuple[tuple[str, int], ...] = ()

    @property
    def built_workload(self) -> Workload:
        """The workload with the settings applied."""
        return ALL_WORKLOADS[self.workload].with_settings(dict(self.settings))

    @property
    def variant(self) -> tuple[str, str, int | None]:
        """What stays the same from round to round of one workload."""
        return self.competitor, self.vec_env, self.threads

    @property
    def title(self) -> str:
        """The competitor in words, with what its name leaves open."""
        return variant_title(self.competitor, self.vec_env, self.threads)

    def words(self) -> list[str]:
        """Say it as a command line of `measure.py`.

        Returns:
            The words after the module's name.
        """
        words = ["--workload", self.workload, "--competitor", self.competitor, "--vec-env", self.vec_env]
        words += ["--seed", str(self.round)]
        if self.threads is not None:
            words += ["--threads", str(self.threads)]
        for name, value in self.settings:
            words += ["--set", f"{name}={value}"]
        return words

    def as_dict(self) -> dict[str, Any]:
        """Say it in JSON's types.

        Returns:
            What `task_from_dict` takes.
        """
        return {
            "workload": self.workload,
            "competitor": self.competitor,
            "vec_env": self.vec_env,
            "threads": self.threads,
            "round": self.round,
            "settings": dict(self.settings),
        }


def task_from_dict(record: Mapping[str, Any]) -> Task:
    """Read what `Task.as_dict` gave.

    Args:
        record: The record; other keys are ignored.

    Returns:
        The task.
    """
    return Task(
        workload=record["workload"],
        competitor=record["competitor"],
        vec_env=record["vec_env"],
        threads=record["threads"],
        round=record["round"],
        settings=sorted_settings(record["settings"]),
    )


def sorted_settings(settings: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    """Bring settings into the one form in which equal ones are equal.

    Args:
        settings: Changed numbers of a workload.

    Returns:
        Pairs, sorted by name.
    """
    return tuple(sorted(settings.items()))


def variant_title(competitor: str, vec_env: str, threads: int | None) -> str:
    """Name a competitor with what its name leaves open.

    Args:
        competitor: A key of `COMPETITORS`.
        vec_env: A `VecEnvKind`.
        threads: Threads, or None.

    Returns:
        For example "stock SB3 PPO, subproc, 2 threads".
    """
    parts = [COMPETITORS[competitor].title]
    if vec_env != "dummy":
        parts.append(vec_env)
    if competitor == "stock" and threads is not None:
        parts.append("1 thread" if threads == 1 else f"{threads} threads")
    return ", ".join(parts)
