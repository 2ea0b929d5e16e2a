"""An environment that raises, hangs or returns what it must not ends a run with an error that names it, and a file."""

import functools
import pickle
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv, VecNormalize

from sb3_ppo_scratch import PPOScratch
from sb3_ppo_scratch.errors import EnvironmentFaultError
from sb3_ppo_scratch.vec_env import ShardedVecEnv
from sb3_ppo_scratch.vec_env.faults import faults_named, name_fault
from sb3_ppo_scratch.vec_env.guard import guarded
from sb3_ppo_scratch.vec_env.observation_rows import ObservationRows, keeps_its_numbers
from sb3_ppo_scratch.vec_env.remote_errors import WorkerDiedError
from sb3_ppo_scratch.vec_env.step_values import is_number
from sb3_ppo_scratch.vec_env.watchdog import HUNG
from tests.vec_env.environments import OwnError, RandomEnv, StrangeEnv

N_ENVS, N_STEPS, N_LEARNED = 3, 8, 120
KINDS = {
    "dummy": DummyVecEnv,
    "subproc": functools.partial(SubprocVecEnv, start_method="fork"),
    "sharded": functools.partial(ShardedVecEnv, n_workers=2, start_method="fork"),
}
OBSERVATIONS = {
    "fewer numbers": r"shape \(2,\) and type float32, where the space has \(3,\) and float32: array\(",
    "one number": r"shape \(1,\) and type float32, where the space has \(3,\)",
    "a scalar": r"shape \(\) and type float64, where the space has \(3,\) and float32: 0\.5$",
    "another axis": r"shape \(1, 3\) and",
    "nothing": r"shape \(\) and type object, .*: None$",
    "ragged": r"shape \(2,\) and type object, .*: \[\[1\.0\], \[1\.0, 2\.0\]\]$",
    "text": r"shape \(3,\) and type <U\d+, where the space has \(3,\) and float32",
    "complex": r"shape \(3,\) and type complex\d+, where the space has \(3,\) and float32",
}
REWARDS = {
    "number in text": r"the reward '1\.5', which is no number",
    "number in bytes": "the reward b'1', which is no number",
    "date as reward": r"the reward np\.datetime64\('2026-01-01'\), which is no number",
    "no reward": "the reward None, which is no number",
    "text reward": "the reward 'three', which is no number",
    "complex reward": "the reward 1j, which is no number",
    "two rewards": r"the reward array\(\[1\., 1\.\]\), which is no number",
}


def strange(
    what: str, at: int, index: int, kind: str = "dummy", *, observations: str = "box", monitored: bool = True
) -> VecEnv:
    """Make environments of which one does something strange in one step."""

    def make(number: int) -> gym.Env[Any, Any]:
        env = StrangeEnv(what if number == index else "", at, observations)
        return Monitor(env) if monitored else env

    env: VecEnv = KINDS[kind]([functools.partial(make, number) for number in range(N_ENVS)])
    env.seed(1)
    return env


def model_in(env: VecEnv, folder: Path, **arguments: Any) -> PPOScratch:
    """Make a model with small rollouts, which writes its faults into a folder."""
    policy = "MultiInputPolicy" if isinstance(env.observation_space, spaces.Dict) else "MlpPolicy"
    model = PPOScratch(policy, env, n_steps=N_STEPS, batch_size=12, n_epochs=2, seed=1, device="cpu", **arguments)
    model.fault_folder = folder
    return model


def assert_run_ends(model: PPOScratch, folder: Path, message: str, *, after: int) -> EnvironmentFaultError:
    """Learn until the fault, and check what is written then; `after` counts whole steps of all environments."""
    with pytest.raises(EnvironmentFaultError, match=message) as caught:
        model.learn(N_LEARNED)
    assert model.num_timesteps == after * N_ENVS
    [numbers], [checkpoint] = folder.glob("*.npz"), folder.glob("*.zip")
    assert str(caught.value).endswith(f"{numbers} holds the numbers, {checkpoint} the run without them")
    actions = np.load(numbers)["batch.actions"]
    assert actions.shape[0] == N_ENVS
    again = PPOScratch.load_checkpoint(checkpoint, env=healthy_like(model))
    assert again.num_timesteps == after * N_ENVS
    assert all(map(th.equal, again.policy.parameters(), model.policy.parameters()))
    assert N_LEARNED <= again.resume().num_timesteps < N_LEARNED + N_STEPS * N_ENVS
    return caught.value


def healthy_like(model: PPOScratch) -> VecEnv:
    """Make environments like a model's in which nothing is strange, in this process."""
    space = model.env.unwrapped.observation_space
    [kind] = [kind for kind in SPACES_USED if SPACES_USED[kind] == space]
    return strange("", 0, 0, observations=kind)


SPACES_USED = {kind: StrangeEnv(observations=kind).observation_space for kind in ("box", "image", "parts")}


@pytest.mark.parametrize("what", [*OBSERVATIONS, *REWARDS, "raise"])
def test_the_environment_is_named_with_what_it_returned(what: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(len(what))
    at, index = int(rng.integers(1, 30)), int(rng.integers(N_ENVS))
    returned = {**OBSERVATIONS, **REWARDS}.get(what, "").rstrip("$")
    message = (
        f"^environment {index} returned .*{returned}" if returned else f"^environment {index} raised OwnError: the"
    )
    assert_run_ends(model_in(strange(what, at, index), tmp_path), tmp_path, message, after=at - 1)


@pytest.mark.parametrize(
    ("what", "observations", "message"),
    [
        ("fractions", "image", r"shape \(8, 6, 3\) and type float64, where the space has \(8, 6, 3\) and uint8"),
        ("a part missing", "parts", "returned an observation without the part 'b'"),
        ("a part too short", "parts", r"returned an observation part 'a' of shape \(1,\)"),
    ],
)
def test_images_and_dicts_are_looked_at_too(what: str, observations: str, message: str, tmp_path: Path) -> None:
    model = model_in(strange(what, 5, 1, observations=observations), tmp_path)
    assert_run_ends(model, tmp_path, f"^environment 1 .*{message}", after=4)


@pytest.mark.parametrize("what", [*REWARDS, "raise"])
def test_without_a_monitor_too(what: str, tmp_path: Path) -> None:
    model = model_in(strange(what, 3, 2, monitored=False), tmp_path)
    message = f"returned {REWARDS[what]}" if what in REWARDS else "raised OwnError"
    with pytest.raises(EnvironmentFaultError, match=f"^environment 2 {message}"):
        model.learn(100)


@pytest.mark.parametrize("kind", ["subproc", "sharded"])
@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("raise", "environment 1 (raised OwnError: the env|.*exited with status 1; what it printed)"),
        ("fewer numbers", r"environment 1 returned an observation of shape \(2,\)"),
        ("no reward", "environment 1 (returned the reward None|.*exited with status 1; what it printed)"),
        ("number in text", "environment 1 returned the reward '1.5', which is no number"),
        ("nothing", r"environment 1 returned an observation of shape \(\) and type object"),
        ("exit", "(the worker of environments 0 to 1|the process of environment 1) exited with status 7"),
    ],
)
def test_in_worker_processes_too(what: str, message: str, kind: str, tmp_path: Path) -> None:
    env = strange(what, 11, 1, kind)
    processes = env.processes if kind == "subproc" else env._pool.processes
    error = assert_run_ends(model_in(env, tmp_path), tmp_path, message, after=10)
    assert error.env_index == 1
    env.close()
    assert not any(process.is_alive() for process in processes)


@pytest.mark.parametrize("kind", ["subproc", "sharded"])
def test_workers_that_hang_are_named_and_ended(kind: str, tmp_path: Path) -> None:
    env = strange("hang", 11, 2, kind)
    processes = env.processes if kind == "subproc" else env._pool.processes
    model = model_in(env, tmp_path, step_timeout=0.5)
    message = r"^environment 2 has not answered for 0\.5 s; all (processes|workers) have been ended"
    error = assert_run_ends(model, tmp_path, message, after=10)
    assert error.env_index == 2
    env.close()
    assert not any(process.is_alive() for process in processes)


HANGING = """
import gymnasium as gym, sys, time
from sb3_ppo_scratch import PPOScratch
from stable_baselines3.common.vec_env import DummyVecEnv
from tests.vec_env.environments import StrangeEnv

class Locked(StrangeEnv):
    def step(self, action):
        if self.n_steps + 1 == self.at and self.what == "keep the lock":
            "".join(map(str, range(10))); sum(range(10**12))  # one call of C that lets no other thread run
        return super().step(action)

env = DummyVecEnv([StrangeEnv, lambda: Locked(sys.argv[1], 20)])
model = PPOScratch("MlpPolicy", env, n_steps=8, batch_size=8, step_timeout=0.3)
model.learn(16)
model.save_checkpoint(sys.argv[2])
print("learning", flush=True)
model.learn(10_000)
"""


def run_hanging(what: str, checkpoint: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", HANGING, what, str(checkpoint)]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


def test_a_process_whose_environment_hangs_says_where_and_ends(tmp_path: Path) -> None:
    ended = run_hanging("hang", tmp_path / "checkpoint.zip")
    assert (ended.returncode, ended.stdout) == (HUNG, "learning\n")
    assert "environment 1 has not answered for 0.3 s (step_timeout)" in ended.stderr
    assert re.search(r'environments\.py", line \d+ in step\n', ended.stderr)
    loaded = PPOScratch.load_checkpoint(tmp_path / "checkpoint.zip", env=DummyVecEnv([StrangeEnv, StrangeEnv]))
    assert loaded.num_timesteps == 16


def test_it_ends_also_if_the_environment_lets_no_other_thread_run(tmp_path: Path) -> None:
    ended = run_hanging("keep the lock", tmp_path / "checkpoint.zip")
    assert (ended.returncode, ended.stdout) == (1, "learning\n")
    assert re.search(r'File "<string>", line \d+ in step\n', ended.stderr)


def test_the_time_limit_is_on_steps_and_on_nothing_else() -> None:
    model = PPOScratch("MlpPolicy", DummyVecEnv([RandomEnv]), n_steps=8, batch_size=8, step_timeout=0.05)
    model.learn(32, callback=lambda *_: time.sleep(0.04) is None)
    assert model.num_timesteps == 32


@pytest.mark.parametrize("bad", [0, -1.0, np.nan, np.inf, "1", True])
def test_a_limit_that_is_none_is_refused(bad: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="step_timeout"):
        PPOScratch("MlpPolicy", "CartPole-v1", step_timeout=bad)


def test_stock_reward_and_observations_of_other_types_still_do(tmp_path: Path) -> None:
    class OtherTypes(RandomEnv):
        def step(self, action: Any) -> Any:
            observation, reward, *rest = super().step(action)
            return observation.astype(np.float64).tolist(), np.float64(reward), *rest

    stock, ours = (
        algorithm("MlpPolicy", DummyVecEnv([OtherTypes]), n_steps=16, batch_size=16, seed=3, device="cpu").learn(32)
        for algorithm in (PPO, PPOScratch)
    )
    for one, other in zip(stock.policy.parameters(), ours.policy.parameters(), strict=True):
        th.testing.assert_close(one, other, rtol=0, atol=1e-6)


def test_what_wraps_the_environments_is_kept_when_their_processes_are_lost(tmp_path: Path) -> None:
    env = VecNormalize(strange("exit", 11, 0, "subproc"))
    with pytest.raises(EnvironmentFaultError, match=r"^the process of environment 0 exited"):
        model_in(env, tmp_path).learn(1000)
    fresh = VecNormalize(strange("", 0, 0))
    again = PPOScratch.load_checkpoint(next(tmp_path.glob("*.zip")), env=fresh)
    again.resume()
    assert fresh.obs_rms.count > 10 * N_ENVS
    assert env.obs_rms.count == pytest.approx(1e-4 + 11 * N_ENVS)


def test_an_error_is_also_what_the_environment_has_raised(tmp_path: Path) -> None:
    with pytest.raises(OwnError, match=r"^environment 0 raised OwnError: the environment's own message") as caught:
        model_in(strange("raise", 1, 0), tmp_path).learn(10)
    assert caught.value.code == 3
    assert type(caught.value.__cause__) is OwnError
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.env_index) == (str(caught.value), 0)


@pytest.mark.parametrize("error", [KeyError("k"), OSError(2, "No such file"), UnicodeDecodeError("a", b"", 0, 1, "b")])
def test_any_error_can_be_named(error: Exception) -> None:
    named = EnvironmentFaultError.of(error, "environment 4 raised it", 4)
    assert isinstance(named, EnvironmentFaultError)
    assert (str(named), named.env_index) == ("environment 4 raised it", 4)
    assert isinstance(named, type(error))


def test_the_first_reset_is_named_too() -> None:
    class NoReset(RandomEnv):
        def reset(self, **_: Any) -> Any:
            raise ZeroDivisionError("no reset")

    env = DummyVecEnv([RandomEnv, NoReset])
    with pytest.raises(ZeroDivisionError, match=r"^environment 1 raised ZeroDivisionError: no reset"):
        PPOScratch("MlpPolicy", env, n_steps=8, batch_size=8).learn(16)


def test_errors_that_come_from_no_environment_are_left_alone() -> None:
    error = ZeroDivisionError("elsewhere")
    with pytest.raises(ZeroDivisionError, match=r"^elsewhere$"), faults_named(DummyVecEnv([RandomEnv])):
        raise error
    assert str(name_fault(error, DummyVecEnv([RandomEnv]))) == (
        "stepping the environments raised ZeroDivisionError: elsewhere"
    )


def test_environments_are_as_before_when_the_guard_is_gone() -> None:
    env = DummyVecEnv([StrangeEnv])
    before = dict(vars(env))
    with guarded(env, None) as step:
        env.reset()
        step(np.zeros(1, np.int64))
    assert vars(env).keys() == before.keys() | {"actions"}


def test_a_dead_worker_is_named_outside_of_learning_too() -> None:
    env = strange("exit", 1, 1, "sharded")
    env.reset()
    with pytest.raises(WorkerDiedError, match="exited with status 7") as caught:
        env.step(np.zeros(N_ENVS, np.int64))
    assert caught.value.env_index == 1


@pytest.mark.parametrize("seed", range(30))
def test_rows_hold_what_numpy_would_write_or_nothing_is_written(seed: int) -> None:
    rng = np.random.default_rng(seed)
    dtypes = [np.float32, np.float64, np.uint8, np.int64, np.int8, bool]
    rows, values = (
        (rng.integers(-3, 3, shape) * rng.choice([0.5, 1.0, 70.0])).astype(dtypes[rng.integers(len(dtypes))])
        for shape in ((2, 3), (3,))
    )
    expected = rows.copy()
    expected[1] = values
    try:
        ObservationRows({None: rows}).write(1, values)
    except EnvironmentFaultError:
        assert not np.array_equal(expected[1], values)
    else:
        assert np.array_equal(rows, expected)
        np.testing.assert_allclose(rows[1].astype(float), values.astype(float), rtol=1e-6)


def test_numbers_are_kept_or_not() -> None:
    assert keeps_its_numbers(np.array([1.0, 255.0]), np.dtype(np.uint8))
    assert not keeps_its_numbers(np.array([0.5]), np.dtype(np.uint8))
    assert not keeps_its_numbers(np.array([256]), np.dtype(np.uint8))
    assert not keeps_its_numbers(np.array([np.nan]), np.dtype(np.int64))
    assert keeps_its_numbers(np.array([0.1]), np.dtype(np.float32))
    assert is_number(np.bool_(True)) is False or is_number(np.True_)
