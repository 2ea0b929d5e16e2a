"""`python -m tests.proofs.landers`: a lander's run that is killed three times ends as one that is not.

What is here: the two runs, and when the second is killed. What is not: how (`killing.py`).
"""

import sys
import time
from pathlib import Path

import numpy as np

from sb3_ppo_scratch.benchmark.markdown import table
from tests.comparison import compare_runs
from tests.proofs.killing import TIMEOUT, TRAIN, KilledRun, start_command, zoo_run
from tests.proofs.report import ROOT, Outcome, ProofError, comparison_table, run_proof
from tests.zoo.processes import run_python

TITLE = "A lander's run that is killed three times"
ENV_ID = "LunarLander-v2"
WORDS = ("--algo", "ppo_scratch", "--env", ENV_ID, "--seed", "1", "--save-freq", "50000")
SHORT = ("-n", "60000", "--save-freq", "5000", "--eval-episodes", "1")
"""Further words of the short form; the last of two equal options counts."""
N_KILLS, SHORT_N_KILLS = 3, 1
SEED = 5
TEXT = """```
python -m sb3_ppo_scratch train {words}
```

twice. The first went through in {duration:.0f} seconds. The second was killed by SIGKILL as often as the table has
lines, and each time a new process went on:

```
python -m sb3_ppo_scratch train --resume {run}
```

A Box2D world cannot be read, so both runs begin all episodes anew at each of their checkpoints. Times of kills are
drawn uniformly between 0 and a quarter of what the first run took (`np.random.default_rng({seed})`); they count from
the first checkpoint, later from where the process has loaded the last one.

{kills}

The two runs at their ends:

{comparisons}"""


def prove(short: bool, folder: Path) -> Outcome:
    """Make both runs and compare them.

    Args:
        short: Whether to take few steps, and one kill.
        folder: Where to work.

    Returns:
        The outcome.

    Raises:
        ProofError: If a checkpoint is lost, or the second run ends before it is killed often enough.
    """
    words = [*WORDS, *(SHORT if short else ()), "-f", str(folder)]
    started = time.monotonic()
    run_python(*TRAIN, *words, folder=ROOT, timeout=int(TIMEOUT))
    duration = time.monotonic() - started
    killed = KilledRun(words, zoo_run(folder, ENV_ID, 2), folder, start_command)
    generator = np.random.default_rng(SEED)
    for _ in range(SHORT_N_KILLS if short else N_KILLS):
        killed.live_for(generator.uniform(0, duration / 4), from_training=True)
        if killed.has_ended:
            raise ProofError("the run had come to its end before it was killed")
        print(killed.kills[-1], flush=True)
    killed.finish()
    comparisons = compare_runs(ROOT / zoo_run(folder, ENV_ID, 1), ROOT / killed.run, ENV_ID)
    holds = not any(each.differing for each in comparisons.values())
    rows = [
        [str(n + 1), f"{kill.seconds:.2f} s", kill.during, f"{kill.found:,}"] for n, kill in enumerate(killed.kills)
    ]
    text = TEXT.format(
        words=" ".join(words),
        duration=duration,
        run=killed.run,
        seed=SEED,
        kills=table(["kill", "after", "during", "goes on from step"], rows),
        comparisons=comparison_table(comparisons),
    )
    return Outcome(text, holds)


if __name__ == "__main__":
    sys.exit(run_proof("landers", TITLE, prove))
