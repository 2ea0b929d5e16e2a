"""Making the runs of a comparison: what `benchmark run` does.

What is here: options turned into a folder of finished runs, which a report can be made of anywhere. What is not: the
command line's words (`commands.py`), making one run (`training/process.py`), the report (`report.py`).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sb3_ppo_scratch.benchmark.option_checks import check_counts, check_folders
from sb3_ppo_scratch.benchmark.training.execution import Train, execute
from sb3_ppo_scratch.benchmark.training.plan import Run, TrainingPlan
from sb3_ppo_scratch.benchmark.training.plan_checks import check_names
from sb3_ppo_scratch.benchmark.training.plan_files import find_plan, load_plan, plan_as_yaml
from sb3_ppo_scratch.benchmark.training.process import identity, train_in_process
from sb3_ppo_scratch.benchmark.training.ray_cluster import cluster
from sb3_ppo_scratch.benchmark.training.records import RunRecord, read_record
from sb3_ppo_scratch.errors import ArgumentError
from sb3_ppo_scratch.safe_writing import write_safely
from sb3_ppo_scratch.vec_env.cores import available_cores

PLAN_FILE = "plan.yml"
"""The plan as it was narrowed, in the folder of its runs."""
IDENTITIES_FILE = "identities.json"
"""What each run has to be: a run that was made with other settings is none of the comparison's."""


@dataclass(frozen=True)
class RunOptions:
    """What `benchmark run` was asked for.

    Args:
        plan: A plan file, or the name of one of this project's.
        contestants: Names of those that take part; empty: all.
        envs: Environments; empty: all.
        seeds: How many; None: the plan's.
        share: What all numbers of steps are divided by.
        jobs: Runs at a time; None: one per core.
        runs: Folder of the runs; None: `logs/benchmark/` and the plan's name.
        ray: The address of a Ray cluster that makes the runs; None: this machine does.
    """

    plan: str = "default"
    contestants: Sequence[str] = ()
    envs: Sequence[str] = ()
    seeds: int | None = None
    share: int = 1
    jobs: int | None = None
    runs: Path | None = None
    ray: str | None = None

    @property
    def folder(self) -> Path:
        """Where runs lie."""
        return self.runs or Path("logs/benchmark") / Path(self.plan).stem


def make_runs(options: RunOptions, train: Train = train_in_process) -> tuple[dict[Run, RunRecord], dict[Run, str]]:
    """Make the runs that are missing.

    Args:
        options: What was asked for.
        train: Makes one run, if no Ray cluster does.

    Returns:
        The records of all finished runs, and the messages of those that failed.

    Raises:
        FileNotFoundError: If the plan or a file that it names does not exist.
        ArgumentError: If an option or the plan cannot work, or there is no such cluster.
        ArgumentTypeError: If a name is unknown.
        NotADirectoryError: If the folder is a file.
    """
    check_counts({"--jobs": options.jobs, "--share": options.share})
    check_folders({"--runs": options.folder})
    plan = load_plan(find_plan(options.plan)).narrowed(
        contestants=options.contestants, env_ids=options.envs, n_seeds=options.seeds, share=options.share
    )
    check_names(plan)
    write_snapshot(plan, options.folder)
    if options.ray is None:
        return execute(plan.runs(), options.folder, options.jobs or available_cores(), train)
    with cluster(options.ray) as (train_on_cluster, n_cpus):
        return execute(plan.runs(), options.folder, options.jobs or n_cpus, train_on_cluster)


def write_snapshot(plan: TrainingPlan, folder: Path) -> None:
    """Write down beside the runs what they are to be.

    Args:
        plan: The comparison.
        folder: The folder of its runs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    identities = {run.folder.as_posix(): identity(run) for run in plan.runs()}
    write_safely(folder / PLAN_FILE, plan_as_yaml(plan).encode())
    write_safely(folder / IDENTITIES_FILE, json.dumps(identities, indent=1).encode())


def read_snapshot(folder: Path) -> tuple[TrainingPlan, dict[Run, RunRecord]]:
    """Read a comparison with all its finished runs, wherever its folder is now.

    Args:
        folder: The folder of its runs.

    Returns:
        The plan and the records.

    Raises:
        FileNotFoundError: If there are no runs.
        ArgumentError: If the files of the comparison are damaged.
    """
    if not (folder / PLAN_FILE).is_file() or not (folder / IDENTITIES_FILE).is_file():
        raise FileNotFoundError(f"there are no runs in {folder}; `benchmark run` makes them.")
    plan = load_plan(folder / PLAN_FILE, has_configs=False)
    try:
        identities = dict(json.loads((folder / IDENTITIES_FILE).read_text()))
    except (ValueError, TypeError) as error:
        raise ArgumentError(f"{folder / IDENTITIES_FILE} is damaged; `benchmark run` writes it anew.") from error
    found = {run: read_record(folder / run.folder) for run in plan.runs()}
    return plan, {
        run: record
        for run, record in found.items()
        if record is not None and record.identity == identities.get(run.folder.as_posix())
    }
