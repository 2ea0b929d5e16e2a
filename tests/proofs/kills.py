"""`python -m tests.proofs.kills`: killed at any moment, a run loses no checkpoint, and ends as ever.

What is here: how often and when runs are killed, and the report. What is not: killing, and what is looked at after each
kill (`killing.py`).
"""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from sb3_ppo_scratch.benchmark.markdown import table
from tests.comparison import Comparison, compare_runs
from tests.proofs.forked import ForkedProcess
from tests.proofs.killing import TIMEOUT, TRAIN, WRITING, KilledRun, zoo_run
from tests.proofs.report import ROOT, Outcome, comparison_table, run_proof
from tests.zoo.processes import run_python

TITLE = "Runs that are killed at any moment"
ENV_ID = "CartPole-v1"
WORDS = ("--algo", "ppo_scratch", "--env", ENV_ID, "--seed", "1", "--eval-freq", "10000", "--eval-episodes", "2")
FEW = ("-params", "n_envs:1", "batch_size:64")
"""Small rollouts, of which a checkpoint is soon made."""
SAVING = ("--save-freq", "16")
STEPS, SHORT_STEPS = ("-n", "40000"), ("-n", "20000")
N_KILLS, SHORT_N_KILLS = 50, 4
"""Kills at least."""
N_WITHIN, SHORT_N_WITHIN = 20, 1
"""Kills within a write at least."""
LONGEST = 5.0
"""Seconds that a process lives at most, unless it is the last of a run."""
SEED = 7
TEXT = """```
python -m sb3_ppo_scratch train {words}
```

was killed by SIGKILL again and again, and each time a new process went on (`train --resume`): {n_runs} from
beginning to end, until at least {least} kills, of them {least_within} within the write of a checkpoint, had come
together. What runs is the whole program, without anything of the proof in it; its processes are copied from one that
has imported torch and rl_zoo3, so that they begin to train within a second or two.

Times of kills are drawn uniformly between 0 and {longest:g} seconds (`np.random.default_rng({seed})`). They count from
the start of the process; in the one that begins a run from its first checkpoint, before which there is nothing to go on
with. So that writes take a good part of the time, a checkpoint is written every {every} steps.

A kill was within the write of a checkpoint if it has left its temporary file, which is there from when it is opened
until it gets its name. (Another file is written each time, the model that an older checkpoint becomes. It is counted by
itself.) After each kill the run's folder was looked at:

- No checkpoint is lost: the newest one found is at least the last that the run had said to be complete (`Saving a
  checkpoint to ...`), and it is the one that the next process goes on from.
- None is unreadable: all that were written since the last kill were read, with their digests, as were the models that
  older ones had become.

**{n_kills} kills: {during}. Lost checkpoints: 0. Unreadable checkpoints: 0.**

At their ends, beside a run with the same seed that was not killed and wrote no checkpoints:

{comparisons}

All kills, with the step of the last checkpoint that had been said to be complete, and of the one that was found:

{kills}"""


def kill_runs(words: Sequence[str], folder: Path, least: tuple[int, int]) -> list[KilledRun]:
    """Make runs that are killed, until there are enough kills.

    Args:
        words: The command line of `train`.
        folder: Where they lie, beside the one that was not killed.
        least: Kills, and kills within a write, at least.

    Returns:
        Them, at their ends.

    Raises:
        ProofError: If a checkpoint is lost or damaged.
    """
    generator = np.random.default_rng(SEED)
    runs: list[KilledRun] = []
    while not enough(runs, least):
        run = KilledRun(words, zoo_run(folder, ENV_ID, len(runs) + 2), folder, ForkedProcess)
        runs.append(run)
        while not (run.has_ended or enough(runs, least)):
            run.live_for(generator.uniform(0, LONGEST))
            print(f"run {len(runs)}:", "end" if run.has_ended else run.kills[-1], flush=True)
        run.finish()
    return runs


def enough(runs: Sequence[KilledRun], least: tuple[int, int]) -> bool:
    """Tell whether there are enough kills.

    Args:
        runs: The runs that were killed.
        least: Kills, and kills within a write, at least.

    Returns:
        Whether there are.
    """
    during = [kill.during for run in runs for kill in run.kills]
    return len(during) >= least[0] and during.count(WRITING) >= least[1]


def prove(short: bool, folder: Path) -> Outcome:
    """Make the runs, and compare them.

    Args:
        short: Whether to take few kills.
        folder: Where to work.

    Returns:
        The outcome.

    Raises:
        ProofError: If a checkpoint is lost or damaged.
    """
    words = [*WORDS, *FEW, *(SHORT_STEPS if short else STEPS), "-f", str(folder)]
    least = (SHORT_N_KILLS, SHORT_N_WITHIN) if short else (N_KILLS, N_WITHIN)
    run_python(*TRAIN, *words, folder=ROOT, timeout=int(TIMEOUT))
    words += SAVING
    runs = kill_runs(words, folder, least)
    undisturbed = ROOT / zoo_run(folder, ENV_ID, 1)
    comparisons = {
        f"run {number}: {what}": comparison
        for number, run in enumerate(runs, start=1)
        for what, comparison in compare_runs(undisturbed, ROOT / run.run, ENV_ID).items()
    }
    holds = not any(each.differing for each in comparisons.values())
    return Outcome(describe(words, least, runs, comparisons), holds)


def describe(
    words: Sequence[str],
    least: tuple[int, int],
    runs: Sequence[KilledRun],
    comparisons: Mapping[str, Comparison],
) -> str:
    """Lay out what came out.

    Args:
        words: The command line of `train`.
        least: Kills, and kills within a write, that there had to be.
        runs: The runs.
        comparisons: Each of them beside the one that was not killed, by what was compared.

    Returns:
        Markdown.
    """
    during = Counter(kill.during for run in runs for kill in run.kills)
    rows = [
        [str(number), f"{kill.seconds:.2f} s", kill.during, f"{kill.announced:,}", f"{kill.found:,}"]
        for number, run in enumerate(runs, start=1)
        for kill in run.kills
    ]
    return TEXT.format(
        words=" ".join(words),
        n_runs=f"{len(runs)} runs" if len(runs) > 1 else "one run",
        least=least[0],
        least_within=least[1],
        longest=LONGEST,
        every=SAVING[1],
        seed=SEED,
        n_kills=len(rows),
        during=", ".join(f"{count} while {what}" for what, count in during.most_common()),
        comparisons=comparison_table(comparisons),
        kills=table(["run", "killed after", "during", "said to be complete", "found"], rows),
    )


if __name__ == "__main__":
    sys.exit(run_proof("kills", TITLE, prove))
