"""What fuzzing came to, in words: docs/results/fuzz_files.md.

What is here: reading libFuzzer's log, and the Markdown. What is not: running it (`__main__.py`).
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.fuzz_files.findings import FINDINGS
from tests.fuzz_files.targets import TARGETS

PROGRESS = re.compile(r"^#(\d+)\s.*cov: (\d+) ft: (\d+) corp: (\d+)/", re.MULTILINE)
EXECUTED = re.compile(r"stat::number_of_executed_units:\s+(\d+)")


class Outcome(NamedTuple):
    """What the fuzzing of a target came to."""

    name: str
    seconds: float
    executions: int
    edges: int
    """Of the watched code that were reached."""
    features: int
    """Edges by how often one file takes them, and comparisons: what libFuzzer keeps files for."""
    corpus: int
    """Files that it kept."""
    read: float
    """Share of the files that the first reader has read without an error."""
    found: Sequence[str]
    """Names of the files on which a reader did what it must not."""
    revision: str
    """Of this project."""


def read_outcome(name: str, seconds: float, folder: Path, log: str, revision: str) -> Outcome:
    """Read what libFuzzer has left.

    Args:
        name: The target's.
        seconds: How long it ran.
        folder: Where the files are.
        log: What it has printed.
        revision: Of this project.

    Returns:
        The outcome.

    Raises:
        RuntimeError: If it has not run.
    """
    progress, executed = PROGRESS.findall(log), EXECUTED.search(log)
    if not progress:
        raise RuntimeError(f"the fuzzer has not run:\n{log[-2000:]}")
    executions, edges, features, corpus = map(int, progress[-1])
    counts = folder / "counts.json"
    examined = json.loads(counts.read_text()) if counts.is_file() else {"examined": 1, "read": 0}
    found = [path.name for kind in ("crash", "timeout", "oom", "leak") for path in sorted(folder.glob(f"{kind}-*"))]
    return Outcome(
        name,
        seconds,
        int(executed[1]) if executed else executions,
        edges,
        features,
        corpus,
        examined["read"] / examined["examined"],
        found,
        revision,
    )


def write_report(outcomes: Sequence[Outcome], machine: Mapping[str, Any], command: str) -> str:
    """Put outcomes into words.

    Args:
        outcomes: One for each target.
        machine: What `describe_machine` says.
        command: What was called.

    Returns:
        Markdown.
    """
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    total = sum(outcome.executions for outcome in outcomes)
    n_found = sum(len(outcome.found) for outcome in outcomes)
    return "\n".join(
        [
            "# Fuzzing of everything that reads files",
            "",
            f"`{command}` on {machine['date']}: {total:,} files in "
            f"{sum(outcome.seconds for outcome in outcomes) / 60:.0f} minutes; {n_found or 'none'} of them made a "
            "reader do what it must not.",
            "",
            f"{machine['cpu']}, one process at a time, {machine['system']}, Python {machine['python']}, {versions}.",
            "",
            "A file is a finding if a reader raises an error that its docstring does not name, runs or imports code, "
            "writes a file, changes a function or class, takes more than 256 MiB, or takes 20 seconds "
            "(`tests/fuzz_files/watching.py`). The fuzzer is atheris, whose libFuzzer keeps files that reach new code "
            "and changes them again; `tests/fuzz_files/mutations.py` changes members of zip files, opcodes of pickles "
            "and values in JSON, and makes CRCs and digests right again.",
            "",
            "| target | files | per second | edges | features | kept | read without error | findings | revision |",
            "|---|---:|---:|---:|---:|---:|---:|---:|---|",
            *map(_row, outcomes),
            "",
            "Edges (branches of the code that were taken) are counted in this project, `zipfile`, `pickle`, "
            "`pickletools`, `json` and PyYAML; features also in how often one file takes them, and by comparisons. "
            "Rates are by the clock, whatever else the machine did.",
            "",
            *(f"- **{outcome.name}**: {TARGETS[outcome.name].about}" for outcome in outcomes),
            "",
            "## What has been found, all mended",
            "",
            "Each is kept in `tests/fuzz_files/findings.py`, and its file is read again by every run of the tests.",
            "",
            "| what the file did | target | found by |",
            "|---|---|---|",
            *(f"| {each.harm} | {each.target} | {each.found_by} |" for each in FINDINGS.values()),
            "",
        ]
    )


def _row(outcome: Outcome) -> str:
    """Write a line of the table."""
    rate, n_found = outcome.executions / outcome.seconds, len(outcome.found)
    numbers = (
        f"{each:,}" for each in (outcome.executions, round(rate), outcome.edges, outcome.features, outcome.corpus)
    )
    return f"| {outcome.name} | {' | '.join(numbers)} | {outcome.read:.0%} | {n_found} | {outcome.revision} |"
