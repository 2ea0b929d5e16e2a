"""Training runs on a Ray cluster.

What is here: connecting, sending a run to a node, and bringing its files back. What is not: which node makes it, and
which when that one dies (Ray decides), the run itself (`process.py`), many runs (`execution.py`).
"""

import logging
import os
import platform
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sb3_ppo_scratch.benchmark.machine import describe_machine
from sb3_ppo_scratch.benchmark.training.execution import Train
from sb3_ppo_scratch.benchmark.training.plan import RANDOM, Run, config_path
from sb3_ppo_scratch.benchmark.training.process import TrainingError, identity, shown_command, train_in_process
from sb3_ppo_scratch.benchmark.training.records import RECORD_FILE, RunRecord, write_record
from sb3_ppo_scratch.errors import ArgumentError

RETRIES = 5
"""How often Ray begins a run anew, elsewhere, after the node or the process that made it has died."""
PATIENCE = 5.0
"""Seconds in which an address has to answer."""
SETTINGS = b"\0\0\0\4\0\0\0\0\0"
"""A frame by which either side begins to talk HTTP/2, which gRPC lies on: 3 bytes of length, type 4 (RFC 9113, 3.4)."""
HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SETTINGS


@dataclass(frozen=True)
class Made:
    """What a node sends back.

    Args:
        record: The run's record, with paths of the node in it; None: the run has failed.
        failure: Why it has failed.
        files: All that the run has written but for its record, by path below its folder.
    """

    record: RunRecord | None
    failure: str
    files: Mapping[str, bytes]


@contextmanager
def cluster(address: str) -> Iterator[tuple[Train, int]]:
    """Connect to a Ray cluster, and disconnect at the end; a program that is connected already stays so.

    Its nodes need this project, in the versions that are installed here. Each run has one CPU of a node, and no GPU.

    Args:
        address: What `ray.init` takes: "host:port" on a machine of the cluster, "ray://host:port" from outside, "auto".

    Yields:
        What makes a run on the cluster, for `execute`, and how many CPUs the cluster has: so many runs can be made at a
        time.

    Raises:
        ArgumentError: If Ray is not installed, no cluster answers, or it has no CPUs.
    """
    try:
        import ray
    except ImportError as error:
        raise ArgumentError(
            f"Ray cannot be imported ({error}): pip install 'sb3-ppo-scratch[ray]', or train on this machine alone."
        ) from error
    joins = not ray.is_initialized()
    if joins:
        _join(address)
    try:
        n_cpus = int(ray.cluster_resources().get("CPU", 0))
        if n_cpus < 1:
            raise ArgumentError(f"the Ray cluster at {address} has no CPUs; `ray start --address=...` adds a node.")
        make = ray.remote(num_cpus=1, max_retries=RETRIES, scheduling_strategy="SPREAD")(make_on_node)
        yield partial(_train, make, code_versions()), n_cpus
    finally:
        if joins:
            ray.shutdown()


def _join(address: str) -> None:
    """Connect to a cluster.

    Raises:
        ArgumentError: If none answers.
    """
    import ray

    host, colon, port = address.removeprefix("ray://").rpartition(":")
    try:
        if colon:  # else Ray itself looks for a cluster, or sees at once that this is no address
            _greet(host.strip("[]"), int(port))
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, OverflowError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ArgumentError(
            f"no Ray cluster can be joined at `{address}` ({reason}); `ray start --head` starts one and shows its "
            "address."
        ) from error


def _greet(host: str, port: int) -> None:
    """See whether what answers speaks Ray's protocol; Ray itself would try for many minutes.

    Raises:
        OSError: If nothing answers in time.
        ValueError: If something else does.
    """
    with socket.create_connection((host, port), PATIENCE) as connection:
        connection.sendall(HELLO)
        if connection.recv(len(SETTINGS))[3:4] != SETTINGS[3:4] and os.environ.get("RAY_USE_TLS") != "1":
            raise ValueError("what answers there is no Ray cluster; a dashboard's port is another one")


def code_versions() -> dict[str, str]:
    """Look up which code runs would be made with in this process.

    Returns:
        By name: versions of packages, and this project's revision.
    """
    machine = describe_machine()
    return {**machine["versions"], "this project's revision": machine["revision"]}


def make_on_node(run: Run, config: bytes, versions: Mapping[str, str]) -> Made:
    """Make a run in a temporary folder of the machine that this is called on.

    Args:
        run: What is trained.
        config: What the hyperparameter file holds; the node need not have it.
        versions: What `code_versions` returns where the runs' figures will be compared.

    Returns:
        What has come of it.
    """
    differences = _differences(code_versions(), versions)
    if differences:
        why = f"{platform.node()} has {differences}; figures would not be comparable: install the same on all nodes."
        return Made(None, why, {})
    with TemporaryDirectory(prefix="sb3-ppo-scratch-") as place:
        file, folder = Path(place, "hyperparams.yml"), Path(place, "run")
        file.write_bytes(config)
        try:
            record, failure = train_in_process(_with_config(run, file), folder, lambda _process: None), ""
        except TrainingError as error:
            record, failure = None, str(error)
        return Made(record, failure, _files_below(folder))


def _with_config(run: Run, file: Path) -> Run:
    """Let a run take its hyperparameters from another file."""
    return replace(run, contestant=replace(run.contestant, config=str(file.resolve())))


def _differences(there: Mapping[str, str], here: Mapping[str, str]) -> str:
    """Say in which versions a node differs; nothing if in none."""
    return ", ".join(
        f"{name} {there.get(name, 'not at all')} (here {here.get(name, 'not at all')})"
        for name in sorted({*there, *here})
        if there.get(name) != here.get(name)
    )


def _files_below(folder: Path) -> dict[str, bytes]:
    """Read all files of a run but for its record."""
    files = [path for path in folder.rglob("*") if path.is_file() and path != folder / RECORD_FILE]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def _train(make: Any, versions: Mapping[str, str], run: Run, folder: Path, started: Callable[[Any], None]) -> RunRecord:
    """Make a run on the cluster; as `train_in_process` otherwise.

    Raises:
        TrainingError: If it fails, or every node that has begun it has died.
    """
    if folder.exists():
        shutil.rmtree(folder)
    asked, command = identity(run), shown_command(run)
    has_config = run.contestant.algorithm != RANDOM
    config = config_path(run.contestant).read_bytes() if has_config else b""
    task = _Task(make.remote(run, config, versions))
    started(task)
    made = task.wait()
    keep_files(made.files, folder)
    if made.record is None:
        raise TrainingError(made.failure)
    record = replace(made.record, identity=asked, command=command)
    write_record(record, folder)
    return record


def keep_files(files: Mapping[str, bytes], folder: Path) -> None:
    """Write the files of a run.

    Args:
        files: What they hold, by path below the folder.
        folder: The run's folder.
    """
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


class _Task:
    """A run that the cluster makes."""

    def __init__(self, reference: Any) -> None:
        self._reference = reference

    def wait(self) -> Made:
        """Wait for its end.

        Raises:
            TrainingError: If the cluster does not bring it to an end.
        """
        import ray

        try:
            made: Made = ray.get(self._reference)
        except (ray.exceptions.RayError, ConnectionError) as error:
            cause = getattr(error, "cause", None) or error
            raise TrainingError(f"the cluster gave it up: {type(cause).__name__}: {cause}") from error
        finally:
            self._reference = None  # the cluster keeps the files while anybody can ask for them
        return made

    def kill(self) -> None:
        """End it, wherever it is made."""
        import ray

        reference = self._reference
        if reference is not None:
            ray.cancel(reference, force=True)
