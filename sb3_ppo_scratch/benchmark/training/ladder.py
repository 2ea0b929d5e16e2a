"""The ladder from REINFORCE to PPO: what the command does.

What is here: options turned into files. What is not: the command line's words (`commands.py`), the rungs
(`plans/ladder.yml`), making runs (`execution.py`), the table (`ladder_report.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sb3_ppo_scratch.benchmark.option_checks import check_counts, check_folders
from sb3_ppo_scratch.benchmark.training.execution import Train, execute, finished
from sb3_ppo_scratch.benchmark.training.figures import draw_rungs
from sb3_ppo_scratch.benchmark.training.ladder_report import render
from sb3_ppo_scratch.benchmark.training.plan import Run, TrainingPlan
from sb3_ppo_scratch.benchmark.training.plan_files import PLANS, load_plan
from sb3_ppo_scratch.benchmark.training.process import train_in_process
from sb3_ppo_scratch.benchmark.training.records import RunRecord
from sb3_ppo_scratch.vec_env.cores import available_cores

LADDER = PLANS / "ladder.yml"
REFERENCE = "stock"
"""The contestant that all others are shown beside."""


@dataclass(frozen=True)
class LadderOptions:
    """What `benchmark ladder` was asked for.

    Args:
        rungs: Names of contestants; empty: all.
        envs: Environments; empty: all.
        seeds: How many; None: the plan's.
        jobs: Runs at a time; None: one per core.
        share: What all numbers of steps are divided by.
        runs: Folder of the runs.
        out: Folder of the report.
        plan: The plan file; None: this project's.
        report_only: Whether to train nothing.
    """

    rungs: Sequence[str] = ()
    envs: Sequence[str] = ()
    seeds: int | None = None
    jobs: int | None = None
    share: int = 1
    runs: Path = Path("logs/ladder")
    out: Path = Path("docs/results")
    plan: Path | None = None
    report_only: bool = False

    def command(self) -> str:
        """Say the command that makes the report.

        Returns:
            The command line, without where files go.
        """
        words = ["python -m sb3_ppo_scratch benchmark ladder"]
        words += [f"--plan {self.plan.name}"] if self.plan else []
        words += ["--rungs", *self.rungs] if self.rungs else []
        words += ["--envs", *self.envs] if self.envs else []
        words += [f"--seeds {self.seeds}"] if self.seeds is not None else []
        words += [f"--share {self.share}"] if self.share != 1 else []
        return " ".join(words)


def climb(options: LadderOptions, train: Train = train_in_process) -> tuple[Path, dict[Run, str]]:
    """Make the runs that are missing, and write the report.

    Args:
        options: What was asked for.
        train: Makes one run.

    Returns:
        The report's path, and the messages of runs that failed.

    Raises:
        FileNotFoundError: If the plan or a file that it names does not exist.
        ArgumentError: If an option or the plan cannot work.
        ArgumentTypeError: If a name is unknown.
        NotADirectoryError: If a folder is a file.
    """
    check_counts({"--jobs": options.jobs, "--share": options.share})
    check_folders({"--runs": options.runs, "--out": options.out})
    plan = load_plan(options.plan or LADDER).narrowed(
        contestants=options.rungs, env_ids=options.envs, n_seeds=options.seeds, share=options.share
    )
    if options.report_only:
        records, failures = finished(plan.runs(), options.runs), dict[Run, str]()
    else:
        records, failures = execute(plan.runs(), options.runs, options.jobs or available_cores(), train)
    return write_report(plan, records, failures, options), failures


def write_report(
    plan: TrainingPlan, records: dict[Run, RunRecord], failures: dict[Run, str], options: LadderOptions
) -> Path:
    """Write the table and the figures.

    Args:
        plan: The comparison.
        records: Its finished runs.
        failures: Messages of the failed ones.
        options: What was asked for.

    Returns:
        The table's path; the figures lie beside it.
    """
    options.out.mkdir(parents=True, exist_ok=True)
    pictures = {}
    for goal in plan.goals:
        name = f"ladder_{goal.env_id}.png"
        if draw_rungs(goal, records, REFERENCE, options.out / name, plan.contestants):
            pictures[goal.env_id] = name
    report = options.out / "ladder.md"
    report.write_text(render(plan, records, failures, options.command(), pictures))
    return report
