"""Looking for NaN and for faults of environments costs less than one percent of the step rate.

What is here: learning with and without it in turn, iteration by iteration, in one process. What is not: that it finds
what it looks for (`tests/test_nan_watch.py`, `tests/vec_env/test_faults.py`).
"""

import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv

from sb3_ppo_scratch import PPOScratch, scratch_algorithm
from sb3_ppo_scratch.benchmark.markdown import table
from sb3_ppo_scratch.nan_watch import NanWatch
from tests.proofs.report import Outcome, run_proof

TITLE = "What looking for faults costs"
MOST = 0.01
SETTINGS: dict[str, dict[str, Any]] = {
    "CartPole-v1": {"n_envs": 8, "n_steps": 32, "batch_size": 256, "n_epochs": 20, "gae_lambda": 0.8, "gamma": 0.98},
    "LunarLander-v3": {"n_envs": 16, "n_steps": 128, "batch_size": 128, "n_epochs": 10, "gae_lambda": 0.98},
}
"""rl_zoo3's for CartPole, this project's for the lander."""


class Blind(NanWatch):
    """Looks at nothing, and remembers nothing."""

    def __init__(self, _on_nan: Any, update: Any, n_in_a_row: int, **_: Any) -> None:
        self.update, self.n_in_a_row, self.n_left_out = update, n_in_a_row, 0

    def check_rollout(self, *_: Any) -> None:
        """Pass everything."""

    def begin(self, *_: Any, **__: Any) -> None:
        """Remember nothing."""

    def look(self, *_: Any) -> None:
        """Pass everything."""

    def finish(self, *_: Any) -> None:
        """Pass everything."""


@contextmanager
def unguarded(env: VecEnv, _step_timeout: float | None) -> Iterator[Any]:
    """Step environments as they are.

    Args:
        env: The environments.

    Yields:
        Their `step`.
    """
    yield env.step


@contextmanager
def watching(is_watching: bool) -> Iterator[None]:
    """Let models look for faults, or not.

    Args:
        is_watching: Whether they do.

    Yields:
        Nothing.
    """
    with ExitStack() as stack:
        if not is_watching:
            stack.enter_context(mock.patch.object(scratch_algorithm, "NanWatch", Blind))
            stack.enter_context(mock.patch.object(scratch_algorithm, "guarded", unguarded))
        yield


def measure(env_id: str, n_pairs: int) -> list[tuple[float, float]]:
    """Learn, iteration by iteration, with looking and without in turn.

    Args:
        env_id: A key of `SETTINGS`.
        n_pairs: How often.

    Returns:
        CPU seconds of an iteration with it and of one without, for each pair.
    """
    settings = dict(SETTINGS[env_id])
    env = make_vec_env(env_id, settings.pop("n_envs"), seed=0, env_kwargs={"render_mode": None})
    model = PPOScratch("MlpPolicy", env, seed=0, device="cpu", **settings)
    n_steps = model.n_steps * model.n_envs
    model.learn(10 * n_steps)
    pairs = []
    for pair in range(n_pairs):
        seconds = {}
        for is_watching in (True, False) if pair % 2 else (False, True):
            with watching(is_watching):
                started = time.process_time()
                model.learn(n_steps, reset_num_timesteps=False)
                seconds[is_watching] = time.process_time() - started
        pairs.append((seconds[True], seconds[False]))
    return pairs


def prove(short: bool, _folder: Path) -> Outcome:
    """Measure what it costs.

    Args:
        short: Whether to show only that it runs.

    Returns:
        The outcome.
    """
    rows, holds = [], True
    for env_id in SETTINGS:
        pairs = measure(env_id, 20 if short else 600)
        with_it, without = (statistics.median(times) for times in zip(*pairs, strict=True))
        ratios = [one / other for one, other in pairs]
        # In pairs: what else the machine does meanwhile slows both of a pair.
        more = statistics.median(ratios) - 1
        holds &= short or more < MOST
        low, _, high = statistics.quantiles(ratios, n=4)
        cells = [f"{with_it * 1e3:.2f}", f"{without * 1e3:.2f}", f"{100 * more:+.2f} %", f"{low:.3f} to {high:.3f}"]
        rows.append([env_id, f"{len(pairs)}", *cells])
    titles = ["environment", "pairs", "with, ms", "without, ms", "median of the pairs", "quartiles of the pairs"]
    text = "CPU time of an iteration (rollout and update), with looking for faults and without, in turn:\n\n"
    return Outcome(text + table(titles, rows), bool(holds))


if __name__ == "__main__":
    sys.exit(run_proof("watching", TITLE, prove))
