"""One training run: a process of the unmodified rl_zoo3.

What is here: its command line, starting it, and what is recorded when it has ended. What is not: what looks at the
policy inside (`evaluation.py`), many runs (`execution.py`).
"""

import functools
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from sb3_ppo_scratch.benchmark.machine import describe_machine
from sb3_ppo_scratch.benchmark.threads import variables_with_threads
from sb3_ppo_scratch.benchmark.training.plan import RANDOM, ZOO, Run, config_path
from sb3_ppo_scratch.benchmark.training.records import RunRecord, digest_of, find_model, read_evaluations, write_record
from sb3_ppo_scratch.zoo.autoload import SWITCH

RANDOM_AGENT = "sb3_ppo_scratch.benchmark.training.random_agent"
RECORDER = "sb3_ppo_scratch.benchmark.training.evaluation.EvaluationRecorder"
LOG_FILE = "log.txt"
"""What the process prints."""
FAILURE_FILE = "failed.txt"
"""The end of that, if the process has failed."""
THREADS = 1
"""Of torch and BLAS, in every run: small networks are fastest with one, and runs side by side do not contend."""
GUARD = "import os, sys; sys.stdin.read(); getattr(os, 'killpg', os.kill)(int(sys.argv[1]), 9)"
"""A program that ends another once its own input is closed, as the system does when the process that holds it dies."""
FOLDER = "FOLDER"
"""Stands for the run's folder in `run_words`."""


class TrainingError(RuntimeError):
    """A run whose process failed; the message is the end of what it printed."""


def run_words(run: Run) -> list[str]:
    """Write the command line of a run, but for its folder.

    Args:
        run: What is trained.

    Returns:
        Words after the Python interpreter; `FOLDER` stands for the folder.
    """
    if run.contestant.algorithm == RANDOM:
        return _random_words(run)
    evaluation = run.evaluation
    recorder = {
        "folder": FOLDER,
        "every": run.goal.evaluate_every,
        "n_episodes": evaluation.n_episodes,
        "n_final_episodes": evaluation.n_final_episodes,
        "first_seed": evaluation.first_seed,
    }
    callbacks = [{RECORDER: recorder}, *own_callbacks(config_path(run.contestant), run.goal.env_id)]
    changes = {**run.contestant.hyperparams, "callback": callbacks}
    return [
        *("-m", "rl_zoo3.train"),
        *("--algo", run.contestant.algorithm),
        *("--env", run.goal.env_id),
        *("--seed", str(run.seed)),
        *("-n", str(run.goal.n_timesteps)),
        *("-conf", str(config_path(run.contestant))),
        *("-f", FOLDER),
        *("-params", *(f"{name}:{value!r}" for name, value in changes.items())),
        *("--eval-freq", "-1"),
        *("--num-threads", str(THREADS)),
        *("--env-kwargs", "render_mode:None"),
        *_package_words(run),
        *run.options,
    ]


def _random_words(run: Run) -> list[str]:
    """Write the command line of a run that learns nothing; rl_zoo3 has no such algorithm."""
    numbers = {"seed": run.seed, "n-timesteps": run.goal.n_timesteps, **vars(run.evaluation)}
    options = [word for name, value in numbers.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    return ["-m", RANDOM_AGENT, "--env", run.goal.env_id, *_package_words(run), *options, "--folder", FOLDER]


def _package_words(run: Run) -> list[str]:
    """Write what registers the environment."""
    return ["--gym-packages", *run.goal.packages] if run.goal.packages else []


def own_callbacks(config: Path, env_id: str) -> list[Any]:
    """Read the callbacks that a hyperparameter file has itself, since a command line replaces them.

    Args:
        config: The file.
        env_id: The environment.

    Returns:
        Them, as rl_zoo3 reads them.
    """
    own = settings_for(config, env_id).get("callback") or []
    return own if isinstance(own, list) else [own]


def settings_for(config: Path, env_id: str) -> dict[str, Any]:
    """Read what a hyperparameter file says about an environment.

    Args:
        config: The file.
        env_id: The environment.

    Returns:
        Its own section, or the one for all that have none; empty if there is neither.
    """
    sections = _sections_of(config.read_text())
    return dict(next((sections[name] for name in (env_id, "default", "atari") if sections.get(name)), {}))


@functools.lru_cache(maxsize=8)
def _sections_of(text: str) -> Mapping[str, Any]:
    """Parse a hyperparameter file; rl_zoo3's take a tenth of a second, and a plan asks for them run by run."""
    return yaml.safe_load(text) or {}


def shown_command(run: Run) -> str:
    """Write the command line of a run as a reader can repeat it, without paths of this machine.

    Args:
        run: What is trained.

    Returns:
        The command; `FOLDER` stands for the run's folder.
    """
    config = config_path(run.contestant)
    is_own = run.contestant.config != ZOO and not Path(run.contestant.config).is_absolute()
    shown = f"hyperparams/{run.contestant.config}" if is_own else config.name
    return shlex.join(["python", *(shown if word == str(config) else word for word in run_words(run))])


def identity(run: Run) -> str:
    """Say what decides about a run's outcome, so that one that was made with other settings is not taken for it.

    Args:
        run: What is trained.

    Returns:
        The command, and a digest of the hyperparameter file, if there is one.
    """
    has_config = run.contestant.algorithm != RANDOM
    digest = f" # {digest_of(config_path(run.contestant))}" if has_config else ""
    return f"{shown_command(run)}{digest}"


def train_in_process(run: Run, folder: Path, started: Callable[[Any], None]) -> RunRecord:
    """Train, and record what it has come to. The process that trains ends with this one, even if this one is killed.

    Args:
        run: What is trained.
        folder: The run's folder; whatever an earlier try has left there is deleted.
        started: Called with the process once it runs.

    Returns:
        The record, which has been written.

    Raises:
        TrainingError: If the process fails.
    """
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    status = _run([word.replace(FOLDER, str(folder.resolve())) for word in run_words(run)], folder / LOG_FILE, started)
    try:
        evaluations = read_evaluations(folder) if status == 0 else ()
    except FileNotFoundError:
        evaluations = ()
    if not evaluations:
        message = _tail(folder / LOG_FILE) or f"exit status {status}"
        (folder / FAILURE_FILE).write_text(message)
        raise TrainingError(message)
    model = find_model(folder)
    record = RunRecord(
        identity=identity(run),
        command=shown_command(run),
        machine=describe_machine(),
        threads=THREADS,
        evaluations=evaluations,
        model_digest=digest_of(model) if model is not None else "",
    )
    write_record(record, folder)
    return record


def _run(words: Sequence[str], log: Path, started: Callable[[Any], None]) -> int:
    """Run Python with some words, and wait for its exit status."""
    with log.open("w") as output:
        # A session of its own: Ctrl-C in the terminal reaches this process alone, which then ends the others.
        process = subprocess.Popen(
            [sys.executable, *words],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**variables_with_threads(THREADS), SWITCH: "1"},  # rl_zoo3 has to know this project's algorithms
            start_new_session=True,
        )
        with _ending_with_this_process(process):
            started(process)
            return process.wait()


@contextmanager
def _ending_with_this_process(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    """End a process when the block ends, or when this process dies, however suddenly."""
    guard = subprocess.Popen(
        [sys.executable, "-ISc", GUARD, str(process.pid)],
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
    finally:
        process.kill()
        guard.kill()  # before anything closes its input
        guard.communicate()


def _tail(log: Path, n_lines: int = 12) -> str:
    """Read the last lines of a log."""
    return "\n".join(log.read_text(errors="replace").strip().splitlines()[-n_lines:])
