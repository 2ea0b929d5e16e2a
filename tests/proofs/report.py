"""What the proofs have in common: their command line, where they work, and the file that says what came out.

What is here: options, folders, Markdown. What is not: what is proved (`resume.py`, `kills.py`, `landers.py`).
"""

import argparse
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sb3_ppo_scratch.benchmark.machine import describe_machine
from sb3_ppo_scratch.benchmark.markdown import table
from tests.comparison import Comparison

ROOT = Path(__file__).parents[2]
SCRATCH = Path("logs", "proofs")
"""Where runs are made, and where what short forms come to is written; below `ROOT`."""
RESULTS = Path("docs", "results")
COMPARED = ("compared", "differing", "largest difference")
"""Titles of what `comparison_cells` says."""


class ProofError(AssertionError):
    """What was to be proved is not so."""


class Outcome(NamedTuple):
    """What a proof has come to."""

    text: str
    """Markdown, without the title."""
    holds: bool


def run_proof(name: str, title: str, prove: Callable[[bool, Path], Outcome]) -> int:
    """Run a proof as the command line says, and write down what came out.

    Args:
        name: Of its module, its folder and its file.
        title: Of the file.
        prove: It; told whether to take its short form, and in which folder to work, relative to `ROOT` and empty.

    Returns:
        0 if it holds, else 1.
    """
    parser = argparse.ArgumentParser(prog=f"python -m tests.proofs.{name}", description=title)
    parser.add_argument("--short", action="store_true", help=f"show in minutes that it runs; writes to {SCRATCH}")
    short: bool = parser.parse_args().short
    folder = SCRATCH / name
    shutil.rmtree(ROOT / folder, ignore_errors=True)
    (ROOT / folder).mkdir(parents=True)
    machine, started = describe_machine(), time.monotonic()
    outcome = prove(short, folder)
    command = f"python -m tests.proofs.{name}" + (" --short" if short else "")
    made = describe_making(command, machine, (time.monotonic() - started) / 60)
    path = (SCRATCH if short else RESULTS) / f"{name}.md"
    (ROOT / path).write_text(f"# {title}\n\n{outcome.text}\n\n{made}\n")
    print(f"{'Holds' if outcome.holds else 'DOES NOT HOLD'}: {path}")
    return 0 if outcome.holds else 1


def describe_making(command: str, machine: Mapping[str, Any], minutes: float) -> str:
    """Say how a file was made.

    Args:
        command: The command line.
        machine: What `describe_machine` says.
        minutes: How long it took.

    Returns:
        Markdown.
    """
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (
        f"Written by `{command}` in {minutes:.0f} minutes on {machine['date']}, at revision {machine['revision']}, on "
        f"{machine['cores']} shared cores of {machine['cpu']}, {machine['system']}, Python {machine['python']}, one "
        f"thread: {versions}."
    )


def comparison_cells(comparison: Comparison) -> list[str]:
    """Say what a comparison has come to.

    Args:
        comparison: It.

    Returns:
        The cells under `COMPARED`.
    """
    differing = f"**{len(comparison.differing)}**" if comparison.differing else "0"
    return [f"{comparison.compared:,}", differing, f"{comparison.largest:g}"]


def comparison_table(comparisons: Mapping[str, Comparison]) -> str:
    """Lay out comparisons.

    Args:
        comparisons: By what was compared.

    Returns:
        Markdown.
    """
    rows = [[what, *comparison_cells(comparison)] for what, comparison in comparisons.items()]
    return table(["what", *COMPARED], rows)
