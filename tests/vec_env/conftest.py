"""What lets tests start many worker processes in little time."""

import multiprocessing

import pytest

from sb3_ppo_scratch.vec_env import worker_pool

# The process that workers are forked from imports these once for all of them. Workers that are spawned, and those of
# the programs that tests start, import for themselves, as a user's do.
multiprocessing.set_forkserver_preload(
    ["sb3_ppo_scratch.vec_env.worker", "stable_baselines3.common.monitor", "tests.vec_env.environments"]
)


@pytest.fixture(autouse=True)
def _without_rl_zoo3_in_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where other tests have loaded rl_zoo3, every worker would load it, too, which takes seconds."""
    monkeypatch.setattr(worker_pool, "PATCHING_MODULES", ())
