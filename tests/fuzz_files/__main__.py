"""`python -m tests.fuzz_files --minutes 10 --target zip`: fuzzes the readers of files, one process for each target.

What is here: the command line, and running the fuzzer. What is not: the fuzzer's side (`engine.py`), and the report.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from sb3_ppo_scratch.benchmark.machine import code_revision, describe_machine
from tests.fuzz_files.report import Outcome, read_outcome, write_report
from tests.fuzz_files.targets import TARGETS

OPTIONS = ("-timeout=20", "-rss_limit_mb=2048", "-max_len=65536", "-len_control=0", "-print_final_stats=1", "-reload=0")
"""libFuzzer's: seconds for a file, memory of the process, bytes of a file."""
IN_MEMORY = Path("/dev/shm")
"""Where systems have it, a folder whose files are written at once."""
REPORT = Path(__file__).parents[2] / "docs" / "results" / "fuzz_files.md"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: The command line; None: the process's own.

    Returns:
        0 if nothing was found, 1 if something was, 2 if the fuzzer is not there.
    """
    options = parse(arguments)
    if find_spec("atheris") is None:
        print("error: atheris is not installed: pip install atheris (Linux on x86-64)", file=sys.stderr)
        return 2
    folder = options.folder or Path(tempfile.mkdtemp(prefix="fuzz_files_"))
    outcomes = [fuzz(name, 60 * options.minutes, folder / name) for name in options.target or TARGETS]
    machine = describe_machine()
    machine["versions"]["atheris"] = version("atheris")
    command = f"python -m tests.fuzz_files {' '.join(sys.argv[1:] if arguments is None else arguments)}".strip()
    report = write_report(outcomes, machine, command)
    print(report)
    if options.out is not None:
        options.out.write_text(report)
    return int(any(outcome.found for outcome in outcomes))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line.

    Args:
        arguments: The command line; None: the process's own.

    Returns:
        The options.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz_files", description="Fuzz whatever reads files.")
    parser.add_argument("--minutes", type=float, default=10.0, help="for each target (default: 10)")
    parser.add_argument("--target", action="append", choices=list(TARGETS), help="this one (repeatable; default: all)")
    parser.add_argument("--folder", type=Path, help="where files are kept; targets that have run there do not again")
    parser.add_argument(
        "--out", type=Path, nargs="?", const=REPORT, help=f"write the report, as {REPORT.name} unless said otherwise"
    )
    return parser.parse_args(arguments)


def fuzz(name: str, seconds: float, folder: Path) -> Outcome:
    """Fuzz a target in a process of its own until the time is over or something is found, unless that has been done.

    Args:
        name: The target's.
        seconds: The time.
        folder: Takes the files that reach new code, those that are findings, `log.txt`, and what it came to.

    Returns:
        What it came to.
    """
    done = folder / "outcome.json"
    if done.is_file():
        return Outcome(**json.loads(done.read_text()))
    folder.mkdir(parents=True, exist_ok=True)
    begin, limits = time.perf_counter(), [f"-max_total_time={seconds:.0f}", f"-artifact_prefix={folder}/"]
    with (
        (folder / "log.txt").open("w") as log,
        tempfile.TemporaryDirectory(dir=IN_MEMORY if IN_MEMORY.is_dir() else None) as fast,
    ):
        command = [sys.executable, "-m", "tests.fuzz_files.engine", name, str(folder), fast, *OPTIONS, *limits]
        subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False)
    log_text, seconds = (folder / "log.txt").read_text(errors="replace"), time.perf_counter() - begin
    outcome = read_outcome(name, seconds, folder, log_text, code_revision())
    done.write_text(json.dumps(outcome._asdict()))
    print(f"{name}: {outcome.executions:,} files, {len(outcome.found)} findings in {folder}", flush=True)
    return outcome


if __name__ == "__main__":
    sys.exit(main())
