"""`python -m tests.mutants`: plants every mistake of the table and shows that the tests turn red.

What is here: the command line, running the tests in processes of their own, and the Markdown table. What is not: the
mistakes (`mutants.py`) and how they are planted (`plugin.py`).
"""

import argparse
import functools
import json
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from tests.mutants.mutants import MUTANTS, Mutant, mutant_named
from tests.mutants.plugin import MUTANT, REPORT, run_pytest

TIMEOUT = 600
PRELOADED = ["numpy", "pandas", "matplotlib.pyplot", "torch", "torch.fx", "torch.utils.tensorboard", "torch._dynamo"]
"""What most tests import, slowly, and no mutant changes (the last is what torch imports for its first optimiser)."""
ALL_PASSED, SOME_FAILED = 0, 1
"""Pytest's exit codes."""


class Result(NamedTuple):
    """What a run of the tests came to."""

    tests_run: int
    failed: list[str]
    error: str | None


class MutantError(RuntimeError):
    """A mutant that cannot be planted, or a run of the tests that says nothing about it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: The command line; None: the process's own.

    Returns:
        0 if the tests noticed every mistake, else 1.
    """
    options = parse(arguments)
    mutants = [mutant_named(name) for name in options.only] or list(MUTANTS)
    if options.list:
        print("\n".join(f"{mutant.name}: {mutant.mistake} ({mutant.module})" for mutant in mutants))
        return 0
    try:
        for mutant in mutants:
            check_applies(mutant)
        run_control(mutants)
    except MutantError as error:
        print(error, file=sys.stderr)
        return 1
    return run_mutants(mutants, jobs=options.jobs, stop_at_first=not options.count)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line.

    Args:
        arguments: The command line; None: the process's own.

    Returns:
        The options `only`, `list`, `count` and `jobs`.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__.split("\n\n")[0])
    names = [mutant.name for mutant in MUTANTS]
    parser.add_argument(
        "--only", action="append", default=[], choices=names, metavar="NAME", help="plant this one (repeatable)"
    )
    parser.add_argument("--list", action="store_true", help="list the mistakes and plant none")
    parser.add_argument("--count", action="store_true", help="count all red tests instead of stopping at the first")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time (default: 2)")
    return parser.parse_args(arguments)


def check_applies(mutant: Mutant) -> None:
    """Make sure, without importing the module, that a mutant still applies and still is Python.

    Args:
        mutant: The mutant.

    Raises:
        MutantError: If not; the message names the mutant.
    """
    package, *parts = mutant.module.split(".")
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise MutantError(f"mutant {mutant.name!r}: there is no package {package!r}")
    path = Path(spec.submodule_search_locations[0]).joinpath(*parts).with_suffix(".py")
    try:
        compile(mutant.apply(path.read_text(encoding="utf-8")), str(path), "exec")
    except (OSError, ValueError, SyntaxError) as error:
        raise MutantError(f"mutant {mutant.name!r} no longer applies to {mutant.module}: {error}") from error


def run_control(mutants: Sequence[Mutant]) -> None:
    """Run the tests of all mutants without any.

    Args:
        mutants: The mutants.

    Raises:
        MutantError: If they do not pass: then red tests would show nothing.
    """
    tests = list(dict.fromkeys(test for mutant in mutants for test in mutant.tests))
    files = {test for test in tests if "::" not in test}
    result = run_tests(None, [test for test in tests if test.split("::")[0] not in files - {test}])
    if result.error or result.failed:
        raise MutantError(f"without any mutant, the tests are not green: {result.error or result.failed}")
    print(f"Without any mutant: {result.tests_run} tests run, all green.\n", flush=True)


def run_mutants(mutants: Sequence[Mutant], *, jobs: int, stop_at_first: bool) -> int:
    """Plant each mutant in turn, and print the table.

    Args:
        mutants: The mutants.
        jobs: Processes at a time.
        stop_at_first: Whether a run ends with its first red test.

    Returns:
        0 if at least one test turned red for each, else 1.
    """
    extra = ["-x"] if stop_at_first else []
    survivors, errors = [], []
    print("| mistake | planted in | tests run | turned red |\n|---|---|---|---|", flush=True)
    with ThreadPoolExecutor(jobs) as pool:
        results: Iterator[Result] = pool.map(lambda mutant: run_tests(mutant, [*extra, *mutant.tests]), mutants)
        for mutant, result in zip(mutants, results, strict=True):
            red = f"{len(result.failed)}: `{result.failed[0]}`" if result.failed else "**none**"
            print(f"| {mutant.mistake} | `{mutant.module}` | {result.tests_run} | {red} |", flush=True)
            if result.error:
                errors.append(f"{mutant.name}: {result.error}")
            elif not result.failed:
                survivors.append(mutant.name)
    caught = len(mutants) - len(survivors) - len(errors)
    print(f"\n{caught} of {len(mutants)} mistakes noticed.", flush=True)
    for title, lines in (("Survived", survivors), ("No verdict", errors)):
        if lines:
            print(f"{title}:\n  " + "\n  ".join(lines), file=sys.stderr)
    return 1 if survivors or errors else 0


def run_tests(mutant: Mutant | None, arguments: Sequence[str]) -> Result:
    """Run tests in a process of its own, with a mutant planted there.

    Args:
        mutant: The mutant; None: the code as it is.
        arguments: Pytest's arguments: tests and options.

    Returns:
        The outcome; `error` says why there is none.
    """
    with tempfile.TemporaryDirectory() as folder:
        report, log = Path(folder) / "report.json", Path(folder) / "log.txt"
        environment = {
            MUTANT: mutant.name if mutant else "",
            REPORT: str(report),
            "HYPOTHESIS_STORAGE_DIRECTORY": folder,
        }
        process = _processes().Process(target=run_pytest, args=(arguments, environment, log))
        process.start()
        process.join(TIMEOUT)
        if process.exitcode is None:
            process.kill()
            return Result(0, [], f"did not end within {TIMEOUT} seconds")
        if process.exitcode not in (ALL_PASSED, SOME_FAILED) or not report.is_file():
            return Result(0, [], f"pytest ended with exit code {process.exitcode}: {last_lines(log)}")
        outcome = json.loads(report.read_text(encoding="utf-8"))
        missing = mutant is not None and not outcome["planted"]
        error = f"no test imported the module: {last_lines(log)}" if missing else None
    return Result(outcome["run"], outcome["failed"], error)


def last_lines(log: Path) -> str:
    """Read the end of what a run of the tests printed.

    Args:
        log: Its output.

    Returns:
        The last lines, as one.
    """
    output = log.read_text(encoding="utf-8") if log.is_file() else "no output"
    return " / ".join(output.strip().splitlines()[-8:])


@functools.cache
def _processes() -> Any:
    """Choose how processes start: forked, where there is such a thing, from one that has imported the slow modules."""
    os.environ["OMP_NUM_THREADS"] = "1"
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


if __name__ == "__main__":
    sys.exit(main())
