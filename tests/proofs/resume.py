"""`python -m tests.proofs.resume`: two halves, each in a process of its own, equal the whole bit for bit.

What is here: which cases are tried, and comparing what their processes leave. What is not: what one process does
(`halves.py`).
"""

import itertools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, get_args

from sb3_ppo_scratch import PPOScratch
from sb3_ppo_scratch.argument_checks import KlMode, UpdateName
from sb3_ppo_scratch.benchmark.markdown import table
from tests.comparison import Comparison, compare, figures_of_log, figures_of_model
from tests.proofs.halves import FIRST, N_ENVS, N_STEPS, PARTS, SECOND, TARGET_KL, VEC_ENVS, WHOLE, Case
from tests.proofs.report import COMPARED, ROOT, Outcome, comparison_cells, run_proof
from tests.zoo.processes import run_python

TITLE = "Two halves are a whole"
CARTPOLE, LANDERS = "CartPole-v1", ("LunarLander-v3", "LunarLanderContinuous-v3")
UPDATES: tuple[UpdateName, ...] = get_args(UpdateName)
KL_MODES: tuple[KlMode, ...] = get_args(KlMode)
TOTAL, SHORT_TOTAL = 100_000, 6_000
TIMEOUT = 1800
TEXT = """A run of {total:,} steps, beside one of {half:,} steps that writes a checkpoint and ends, and a new process
that loads it and goes on to the end: three processes in each line. Compared are the parameters with the optimiser's
state and the counters of the model that each run leaves, and all cells of its log (`progress.csv`, the two files of the
halves behind each other) but for `time/*`.

{n_envs} environments, rollouts of {n_steps} steps each, so that the checkpoint falls into the middle of one; learning
rate and clip range fall linearly; `target_kl={target_kl}` where there is a `kl_mode`. On CartPole, whose state can be
read, the undisturbed run writes no checkpoint at all, and every VecEnv meets every `update`, every VecEnv every
`kl_mode`, and every `update` every `kl_mode`. The landers' state cannot be read, so the undisturbed run takes the same
checkpoint and goes through; there every VecEnv, every `update` and every `kl_mode` occurs. A warning in any of the
processes would end it.

**{n_equal} of {n_cases} cases are equal to the last bit.**

{table}"""


class Result(NamedTuple):
    """What one case has come to."""

    case: Case
    model: Comparison
    log: Comparison

    @property
    def is_equal(self) -> bool:
        """Whether nothing differs.

        Returns:
            Whether so.
        """
        return not (self.model.differing or self.log.differing)


def all_cases() -> list[Case]:
    """List the cases: on CartPole every two settings meet, on each lander each occurs.

    Returns:
        Them.
    """
    landers = itertools.chain(*(each_setting(env_id, shift) for shift, env_id in enumerate(LANDERS)))
    return [*all_pairs(CARTPOLE), *landers]


def all_pairs(env_id: str) -> list[Case]:
    """List cases in which every two of VecEnv, update and KL mode meet: the update moves on from row to row.

    Args:
        env_id: The environment.

    Returns:
        Them.
    """
    return [
        Case(env_id, vec_env, UPDATES[(row + column) % len(UPDATES)], kl_mode)
        for row, kl_mode in enumerate(KL_MODES)
        for column, vec_env in enumerate(VEC_ENVS)
    ]


def each_setting(env_id: str, shift: int) -> list[Case]:
    """List cases in which each VecEnv, update and KL mode occurs: a diagonal of `all_pairs`.

    Args:
        env_id: The environment.
        shift: Which diagonal.

    Returns:
        Them.
    """
    n_columns = len(VEC_ENVS)
    return [all_pairs(env_id)[n_columns * row + (row + shift) % n_columns] for row in range(len(KL_MODES))]


def short_cases() -> list[Case]:
    """List one case for each environment.

    Returns:
        Them.
    """
    return [Case(env_id, "DummyVecEnv", "auto", "penalty") for env_id in (CARTPOLE, *LANDERS)]


def prove_case(case: Case, folder: Path, total: int) -> Result:
    """Run a case's three processes, and compare.

    Args:
        case: The case.
        folder: Where to, relative to `ROOT`.
        total: Steps of the whole.

    Returns:
        The outcome.
    """
    for part in PARTS:
        run_python(*("-m", "tests.proofs.halves", part, str(folder), str(total), *case), folder=ROOT, timeout=TIMEOUT)
    return compare_parts(case, ROOT / folder)


def compare_parts(case: Case, folder: Path) -> Result:
    """Compare what a case's three parts have left.

    Args:
        case: The case.
        folder: Where it lies.

    Returns:
        The outcome.
    """
    whole, second = (
        figures_of_model(PPOScratch.load(folder / f"{part}.zip", device="cpu")) for part in (WHOLE, SECOND)
    )
    undisturbed, *halves = (folder / part / "progress.csv" for part in (WHOLE, FIRST, SECOND))
    return Result(case, compare(whole, second), compare(figures_of_log(undisturbed), figures_of_log(*halves)))


def prove(short: bool, folder: Path) -> Outcome:
    """Prove all cases.

    Args:
        short: Whether to take few, and few steps.
        folder: Where to work.

    Returns:
        The outcome.
    """
    cases, total = (short_cases(), SHORT_TOTAL) if short else (all_cases(), TOTAL)
    results = []
    for number, case in enumerate(cases, start=1):
        results.append(prove_case(case, folder / str(number), total))
        print(f"{number}/{len(cases)} {' '.join(case)}: {'equal' if results[-1].is_equal else 'DIFFERS'}", flush=True)
    return Outcome(describe(results, total), all(result.is_equal for result in results))


def describe(results: Sequence[Result], total: int) -> str:
    """Lay out what the cases have come to.

    Args:
        results: Them.
        total: Steps of the whole.

    Returns:
        Markdown.
    """
    columns = [f"{what}: {column}" for what in ("model's arrays", "log's cells") for column in COMPARED]
    rows = [[*each.case, *comparison_cells(each.model), *comparison_cells(each.log)] for each in results]
    return TEXT.format(
        total=total,
        half=total // 2,
        n_envs=N_ENVS,
        n_steps=N_STEPS,
        target_kl=TARGET_KL,
        n_equal=sum(each.is_equal for each in results),
        n_cases=len(results),
        table=table(["environment", "VecEnv", "`update`", "`kl_mode`", *columns], rows),
    )


if __name__ == "__main__":
    sys.exit(run_proof("resume", TITLE, prove))
