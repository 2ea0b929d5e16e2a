"""Tests of `benchmark/training/ray_cluster.py`; the slow ones on a real cluster of three Ray nodes on this machine."""

import os
import signal
import socket
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from stable_baselines3 import PPO

from sb3_ppo_scratch.benchmark.training import ray_cluster
from sb3_ppo_scratch.benchmark.training.evaluation import play_on_seeds
from sb3_ppo_scratch.benchmark.training.execution import execute, finished
from sb3_ppo_scratch.benchmark.training.plan import RANDOM, Contestant, Run, config_path
from sb3_ppo_scratch.benchmark.training.plan_files import load_plan
from sb3_ppo_scratch.benchmark.training.process import (
    LOG_FILE,
    TrainingError,
    identity,
    shown_command,
    train_in_process,
)
from sb3_ppo_scratch.benchmark.training.ray_cluster import cluster, code_versions, make_on_node
from sb3_ppo_scratch.benchmark.training.records import RECORD_FILE, RunRecord, read_record, write_record
from sb3_ppo_scratch.errors import ArgumentError
from sb3_ppo_scratch.zoo.saved_run import make_environments
from tests.benchmark.training.synthetic import PLAN, made_up_record, write_plan

RUN = PLAN.runs()[0]
ENDLESS = 10**9
"""Steps of a run that does not end by itself."""
MEMORY = 100 * 2**20
"""Bytes of a node's object store."""


def small_runs(folder: Path, **changes: object) -> list[Run]:
    """The runs of a small plan file: two contestants, seed by seed."""
    return load_plan(write_plan(folder / "plan.yml", **changes)).runs()


def made_up_training(run: Run, folder: Path, _started: Callable[[Any], None]) -> RunRecord:
    """Stand in for `train_in_process`."""
    record = made_up_record([1.0, 2.0], identity="the node's")
    (folder / "below").mkdir(parents=True)
    (folder / LOG_FILE).write_text("learned")
    (folder / "below" / "config").write_bytes(config_path(run.contestant).read_bytes())
    write_record(record, folder)
    return record


def failing_training(run: Run, folder: Path, _started: Callable[[Any], None]) -> RunRecord:
    """Stand in for `train_in_process`, with a run that fails."""
    folder.mkdir()
    (folder / LOG_FILE).write_text("a long log")
    raise TrainingError("no luck")


def test_a_node_needs_only_what_it_is_sent_and_sends_all_files_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_cluster, "train_in_process", made_up_training)
    monkeypatch.setattr("sb3_ppo_scratch.benchmark.training.plan.hyperparams_folder", lambda: Path("/nowhere"))
    made = make_on_node(RUN, b"what the file holds", code_versions())
    assert made.files == {LOG_FILE: b"learned", "below/config": b"what the file holds"}
    assert made.record == made_up_record([1.0, 2.0], identity="the node's")


def test_a_run_that_fails_sends_its_log_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_cluster, "train_in_process", failing_training)
    made = make_on_node(RUN, b"", code_versions())
    assert (made.record, made.failure, made.files) == (None, "no luck", {LOG_FILE: b"a long log"})


def test_a_node_with_other_versions_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_cluster, "train_in_process", made_up_training)
    here = code_versions()
    own = here["numpy"]
    made = make_on_node(RUN, b"", {**here, "numpy": "0.1", "new": "3"})
    assert made.record is None
    assert f"has new not at all (here 3), numpy {own} (here 0.1); figures would not be comparable" in made.failure
    revision = here["this project's revision"]
    made = make_on_node(RUN, b"", {**here, "this project's revision": "0ab"})
    assert f"has this project's revision {revision} (here 0ab); figures" in made.failure
    assert make_on_node(RUN, b"", here).failure == ""


class Answer:
    """Stands in for a Ray function: whatever it is sent, one answer comes back."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, answer: ray_cluster.Made) -> None:
        monkeypatch.setattr(ray_cluster._Task, "wait", lambda _self: answer)

    def remote(self, *_sent: Any) -> object:
        """Send."""
        return object()


def test_files_replace_an_earlier_tries_and_the_record_is_of_what_was_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = made_up_record([1.0, 2.0], identity="the node's")
    answer = Answer(monkeypatch, ray_cluster.Made(sent, "", {"below/model": b"its"}))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "left over").write_text("")
    record = ray_cluster._train(answer, {}, RUN, tmp_path / "run", lambda _task: None)
    assert record == replace(sent, identity=identity(RUN), command=shown_command(RUN))
    assert read_record(tmp_path / "run") == record
    assert (tmp_path / "run" / "below" / "model").read_bytes() == b"its"
    assert not (tmp_path / "run" / "left over").exists()


def test_an_agent_without_hyperparameters_is_sent_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = replace(RUN, contestant=Contestant("random", "random", RANDOM))
    answer = Answer(monkeypatch, ray_cluster.Made(made_up_record([1.0]), "", {}))
    assert ray_cluster._train(answer, {}, run, tmp_path / "run", lambda _task: None).identity == identity(run)


def test_a_crash_while_files_are_written_leaves_no_run_that_looks_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = Answer(monkeypatch, ray_cluster.Made(made_up_record([1.0]), "", {"a": b"", "a/b": b"no folder"}))
    with pytest.raises(OSError, match=r"a"):
        ray_cluster._train(answer, {}, RUN, tmp_path / "run", lambda _task: None)
    assert (tmp_path / "run" / "a").exists()
    assert not (tmp_path / "run" / RECORD_FILE).exists()


def test_without_ray_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(ArgumentError, match=r"pip install 'sb3-ppo-scratch\[ray\]'"),
        cluster("127.0.0.1:1"),
    ):
        pass


@pytest.mark.parametrize("address", ["127.0.0.1:{port}", "ray://127.0.0.1:{port}", "nonsense", "127.0.0.1:99999"])
def test_an_address_where_no_cluster_is_is_refused_in_one_line(address: str) -> None:
    ray = pytest.importorskip("ray")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    address = address.format(port=port)
    with (
        pytest.raises(ArgumentError, match=rf"^no Ray cluster can be joined at `{address}` \(.+\); .*$"),
        cluster(address),
    ):
        pass
    assert not ray.is_initialized()


@pytest.mark.parametrize(("answer", "reason"), [(b"HTTP/1.0 400 Bad Request", "is no Ray cluster"), (b"", "timed out")])
def test_what_is_no_cluster_is_seen_at_once(answer: bytes, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    monkeypatch.setattr(ray_cluster, "PATIENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as pool:
        port = server.getsockname()[1]
        answered = pool.submit(_answer_once, server, answer)
        with (
            pytest.raises(ArgumentError, match=rf"joined at `127.0.0.1:{port}` \(.*{reason}"),
            cluster(f"127.0.0.1:{port}"),
        ):
            pass
        assert answered.result().startswith(b"PRI * HTTP/2.0")


def _answer_once(server: socket.socket, answer: bytes) -> bytes:
    """Say something to the first who comes, and wait until he goes; returns what he has said."""
    with server.accept()[0] as connection:
        said = connection.recv(100)
        connection.sendall(answer)
        with suppress(ConnectionResetError):
            connection.recv(100)
        return said


def test_a_cluster_without_cpus_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"memory": 1.0})
    with pytest.raises(ArgumentError, match=r"^the Ray cluster at here has no CPUs; "), cluster("here"):
        pass


@pytest.fixture(scope="module")
def real_cluster() -> Iterator[Any]:
    """A cluster whose head has no CPU; nodes are added by `two_nodes`. No process and no file of it stays."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    if not Path("/proc").exists():
        pytest.skip("which process belongs to which node can be seen on Linux only")
    head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": MEMORY}
    # A short path: Ray puts sockets below it.
    folder = TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True)
    with folder as place, pytest.MonkeyPatch.context() as variables:
        variables.setenv("RAY_TMPDIR", place)
        variables.setenv("TMPDIR", place)
        made = Cluster(initialize_head=True, head_node_args=head)
        yield made
        made.shutdown()


@pytest.fixture
def two_nodes(real_cluster: Any) -> Any:
    """The cluster, with two nodes of one CPU each beside its head."""
    while len(real_cluster.worker_nodes) < 2:
        real_cluster.add_node(num_cpus=1, object_store_memory=MEMORY)
    return real_cluster


def command_of(pid: int) -> list[str]:
    """The command line of a process; empty if it has ended."""
    try:
        return [word for word in Path(f"/proc/{pid}/cmdline").read_text().split("\0") if word]
    except OSError:
        return []


def training_processes(run: Run) -> list[int]:
    """The processes of rl_zoo3 that make a run on this machine, by its seed."""
    commands = {int(each.name): command_of(int(each.name)) for each in Path("/proc").glob("[0-9]*")}
    return [pid for pid, words in commands.items() if {"rl_zoo3.train", str(run.seed)} <= set(words)]


def folder_of(pid: int) -> Path:
    """The folder in which a process of rl_zoo3 trains."""
    words = command_of(pid)
    return Path(words[words.index("-f") + 1]) if words else Path("/nowhere")


def parent(pid: int) -> int:
    """The parent of a process; 0 if it has ended."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def node_of(pid: int) -> int:
    """The node that a process of rl_zoo3 runs on, as its raylet's process: the parent of Ray's worker."""
    return parent(parent(pid))


def raylet(node: Any) -> int:
    """The process that is the node."""
    (found,) = node.all_processes["raylet"]
    return int(found.process.pid)


def wait_until(condition: Callable[[], Any]) -> Any:
    """Wait until something holds, and return it."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("waited for 60 seconds")


def in_the_middle(run: Run) -> list[int]:
    """The process that makes a run, once it trains."""
    return [pid for pid in training_processes(run) if list(folder_of(pid).glob("*/*/*/args.yml"))]


@pytest.mark.slow
def test_runs_on_two_nodes_are_those_that_one_machine_makes(two_nodes: Any, tmp_path: Path) -> None:
    import ray

    runs = small_runs(tmp_path, seeds=[21, 22])
    broken = [replace(run, goal=replace(run.goal, env_id="NoSuchEnvironment-v0")) for run in runs[:1]]
    with cluster(two_nodes.address) as (train, n_cpus), watching(runs) as nodes:
        assert n_cpus == 2
        records, failures = execute([*broken, *runs], tmp_path / "far", n_cpus, train)
    assert not ray.is_initialized()
    assert nodes == {raylet(node) for node in two_nodes.worker_nodes}
    assert list(records) == runs
    assert list(failures) == broken
    assert "NoSuchEnvironment-v0" in failures[broken[0]]
    assert "NoSuchEnvironment" in (tmp_path / "far" / broken[0].folder / LOG_FILE).read_text()
    assert finished(runs, tmp_path / "far") == records
    for run in runs[:2]:
        near = train_in_process(run, tmp_path / "near", lambda _process: None)
        assert without_times(records[run]) == without_times(near)
        check_files(run, tmp_path / "far" / run.folder, tmp_path / "near")


@contextmanager
def watching(runs: list[Run]) -> Iterator[set[int]]:
    """Note which nodes make the runs meanwhile."""
    nodes: set[int] = set()
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.1):
            nodes.update(filter(None, (node_of(pid) for run in runs for pid in training_processes(run))))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield nodes
    finally:
        over.set()
        thread.join()


def without_times(record: RunRecord) -> RunRecord:
    """A record in which all evaluations took no time, and of no model, since a model's file holds times."""
    evaluations = tuple(replace(point, seconds=0.0, rollout_seconds=0.0) for point in record.evaluations)
    return replace(record, evaluations=evaluations, model_digest="")


def check_files(run: Run, folder: Path, near: Path) -> None:
    """A run's files are those of a run on this machine, and a reader can go on with them."""
    assert {path.relative_to(folder) for path in folder.rglob("*")} == {
        path.relative_to(near) for path in near.rglob("*")
    }
    (model_path,) = folder.glob("*/*/CartPole-v1.zip")
    model = PPO.load(model_path, device="cpu")
    seed, n_episodes = run.evaluation.first_seed, run.evaluation.n_episodes
    env = make_environments("CartPole-v1", model_path.with_suffix(""), seed, n_envs=n_episodes, trusted=False)
    record = read_record(folder)
    assert record is not None
    assert tuple(play_on_seeds(model, env, seed, len(record.final.returns))[0]) == record.final.returns


@pytest.mark.slow
def test_runs_of_a_node_that_dies_are_made_by_another(two_nodes: Any, tmp_path: Path) -> None:
    goal = {"n_timesteps": 6000, "evaluate_every": 3000, "solved": 475}
    runs = small_runs(tmp_path, environments={"CartPole-v1": goal}, seeds=[31, 32, 33])[::2]
    dying, staying = two_nodes.worker_nodes
    struck: list[int] = []

    def strike() -> None:
        address = raylet(dying)
        struck.extend(
            wait_until(lambda: [pid for run in runs for pid in in_the_middle(run) if node_of(pid) == address])
        )
        two_nodes.remove_node(dying, allow_graceful=False)

    with cluster(two_nodes.address) as (train, n_cpus):
        thread = threading.Thread(target=strike)
        thread.start()
        records, failures = execute(runs, tmp_path / "runs", n_cpus, train)
        thread.join()
    assert two_nodes.worker_nodes == {staying}
    assert len(struck) == 1
    wait_until(lambda: not command_of(struck[0]))
    assert failures == {}
    assert list(records) == runs
    assert finished(runs, tmp_path / "runs") == records


def begin(train: Any, run: Run, folder: Path) -> tuple[threading.Thread, list[Any], list[str]]:
    """Begin a run in a thread; returns it, what the run tells about itself, and how it fails."""
    tasks: list[Any] = []
    failures: list[str] = []

    def make() -> None:
        try:
            train(run, folder, tasks.append)
        except TrainingError as error:
            failures.append(str(error))

    thread = threading.Thread(target=make)
    thread.start()
    return thread, tasks, failures


def endless_run(folder: Path, seed: int) -> Run:
    """A run that does not end by itself."""
    goal = {"n_timesteps": ENDLESS, "evaluate_every": ENDLESS, "solved": 475}
    return small_runs(folder, environments={"CartPole-v1": goal}, seeds=[seed])[0]


@pytest.mark.slow
def test_a_run_that_is_killed_leaves_no_process(two_nodes: Any, tmp_path: Path) -> None:
    run = endless_run(tmp_path, 41)
    with cluster(two_nodes.address) as (train, _):
        thread, tasks, failures = begin(train, run, tmp_path / "run")
        wait_until(lambda: in_the_middle(run))
        (task,) = tasks
        task.kill()
        thread.join()
        wait_until(lambda: not training_processes(run))
        assert failures[0].startswith("the cluster gave it up: ")
        assert not (tmp_path / "run").exists()
        task.kill()  # once more does no harm


@pytest.mark.slow
def test_retries_come_to_an_end_and_leave_no_process(
    two_nodes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_cluster, "RETRIES", 0)
    run = endless_run(tmp_path, 42)
    with cluster(two_nodes.address) as (train, _):
        thread, _, failures = begin(train, run, tmp_path / "run")
        (pid,) = wait_until(lambda: in_the_middle(run))
        os.kill(parent(pid), signal.SIGKILL)
        thread.join()
        wait_until(lambda: not training_processes(run))
    assert failures[0].startswith("the cluster gave it up: WorkerCrashedError")


@pytest.mark.slow
def test_versions_of_nodes_are_compared_with_the_drivers(
    two_nodes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    ray.init(two_nodes.address, log_to_driver=False)
    try:
        monkeypatch.setattr(ray_cluster, "code_versions", lambda: {**code_versions(), "numpy": "0.1"})
        with (
            cluster("whatever, there is a connection already") as (train, _),
            pytest.raises(TrainingError, match=r"numpy .* \(here 0.1\); figures would not be comparable"),
        ):
            train(RUN, tmp_path / "run", lambda _task: None)
        assert ray.is_initialized()
    finally:
        ray.shutdown()


@pytest.mark.slow
def test_a_node_without_this_project_says_so(two_nodes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only_here = types.ModuleType("only_here")
    exec("def make_on_node(*sent): pass", vars(only_here))
    monkeypatch.setitem(sys.modules, "only_here", only_here)
    monkeypatch.setattr(ray_cluster, "make_on_node", vars(only_here)["make_on_node"])
    with (
        cluster(two_nodes.address) as (train, _),
        pytest.raises(TrainingError, match=r"(?s)^the cluster gave it up: .*No module named 'only_here'"),
    ):
        train(RUN, tmp_path / "run", lambda _task: None)
