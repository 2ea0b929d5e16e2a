"""Makes many runs, several at a time, and none that is there already.

What is here: what is left to do, progress, what happens if a run fails or all are stopped. What is not: one run
(`process.py`).
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path
from threading import Lock
from typing import Any

from tqdm import tqdm

from sb3_ppo_scratch.benchmark.progress import show
from sb3_ppo_scratch.benchmark.training.plan import RANDOM, Run
from sb3_ppo_scratch.benchmark.training.process import TrainingError, identity, train_in_process
from sb3_ppo_scratch.benchmark.training.records import RunRecord, read_record

Train = Callable[[Run, Path, Callable[[Any], None]], RunRecord]
"""Makes one run in a folder, tells about its process, and returns its record, or raises `TrainingError`."""


def finished(runs: Sequence[Run], folder: Path) -> dict[Run, RunRecord]:
    """Look up which runs are there already, whole and with the same settings.

    Args:
        runs: All that belong to a comparison.
        folder: The comparison's folder.

    Returns:
        Their records.
    """
    records = {run: read_record(folder / run.folder) for run in runs}
    return {run: record for run, record in records.items() if record is not None and record.identity == identity(run)}


def execute(
    runs: Sequence[Run], folder: Path, jobs: int, train: Train = train_in_process
) -> tuple[dict[Run, RunRecord], dict[Run, str]]:
    """Make all runs that are not there.

    Ctrl-C ends those in flight; they are begun anew next time.

    Args:
        runs: All that belong to a comparison.
        folder: The comparison's folder.
        jobs: Runs at a time.
        train: Makes one run.

    Returns:
        The records of all finished runs, and the messages of those that failed.
    """
    records, failures = finished(runs, folder), dict[Run, str]()
    is_short = {run: run.contestant.algorithm == RANDOM for run in runs if run not in records}
    left = sorted(is_short, key=is_short.__getitem__)  # the short ones at the end, so that no core waits for a long one
    show(f"{len(records)} of {len(runs)} runs are there; {len(left)} to do, {jobs} at a time")
    processes = _Processes()
    with ThreadPoolExecutor(jobs) as pool:
        futures = {pool.submit(train, run, folder / run.folder, processes.add): run for run in left}
        try:
            running = _describe(min(jobs, len(left)), 0)
            with tqdm(as_completed(futures), total=len(left), unit="run", postfix=running, disable=not left) as bar:
                for n_done, future in enumerate(bar, start=1):
                    _settle(future, futures[future], records, failures)
                    bar.set_postfix_str(_describe(min(jobs, len(left) - n_done), len(failures)))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            processes.kill()
            raise
    return {run: records[run] for run in runs if run in records}, failures


def _describe(n_running: int, n_failed: int) -> str:
    """Say what happens meanwhile."""
    return f"{n_running} running, {n_failed} failed"


def _settle(future: "Future[RunRecord]", run: Run, records: dict[Run, RunRecord], failures: dict[Run, str]) -> None:
    """Keep what a run has come to."""
    try:
        records[run] = future.result()
    except TrainingError as error:
        failures[run] = str(error)
        tqdm.write(f"{run.folder} FAILED, the others go on:\n{error}")


class _Processes:
    """The processes of runs in flight."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._all: list[Any] = []
        self._killed = False

    def add(self, process: Any) -> None:
        """Remember one, or end it if all were to end."""
        with self._lock:
            self._all.append(process)
            if self._killed:
                process.kill()

    def kill(self) -> None:
        """End all, and those that are about to start."""
        with self._lock:
            self._killed = True
            for process in self._all:
                process.kill()
