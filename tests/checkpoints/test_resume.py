"""A run that stops at a checkpoint and goes on ends as one that was not disturbed: parameters and log, bit for bit.

Where the state of environments can be read, the run beside it writes no checkpoint at all. Where it cannot, it writes
the same ones, and goes through.
"""

import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium.wrappers import NormalizeObservation, NormalizeReward
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import (
    BaseCallback,
    CallbackList,
    EvalCallback,
    EveryNTimesteps,
    StopTrainingOnNoModelImprovement,
)
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import KVWriter, Logger
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv, VecFrameStack, VecMonitor, VecNormalize

from sb3_ppo_scratch import PPOScratch, ReinforceScratch
from sb3_ppo_scratch.callbacks import SaveCheckpoints
from sb3_ppo_scratch.checkpoints.checkpoint_file import CheckpointError, holds_run
from sb3_ppo_scratch.checkpoints.tensorboard_log import continue_log
from sb3_ppo_scratch.scratch_algorithm import ScratchAlgorithm
from sb3_ppo_scratch.vec_env import ShardedVecEnv
from sb3_ppo_scratch.wrappers import ScaleReward
from tests.comparison import compare, figures_of_model

try:
    from tensorboard.backend.event_processing import event_accumulator
except ImportError:
    event_accumulator = None

N_ENVS, N_STEPS, TOTAL = 4, 16, 4 * 16 * 4
Make = Callable[[], VecEnv]


class LogKept(KVWriter):
    """Keeps what is logged but for times."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, Any], step: int = 0) -> None:
        """Keep a row."""
        self.rows.append({key: value for key, value in key_values.items() if not key.startswith("time/")} | {"": step})

    def close(self) -> None:
        """Do nothing."""


class SaveAt(BaseCallback):
    """Asks for a checkpoint at one step, 0 for as training starts, and counts them all."""

    def __init__(self, at: int, path: Path | None) -> None:
        super().__init__()
        self.at, self.path = at, path

    def _on_training_start(self) -> None:
        if self.at == 0 and self.path is not None:
            self.model.save_checkpoint(self.path)

    def _on_step(self) -> bool:
        if self.n_calls == self.at and self.path is not None:
            self.model.save_checkpoint(self.path)
        return True


def keep_log(model: ScratchAlgorithm) -> LogKept:
    """Let a model's log be kept."""
    kept = LogKept()
    model.set_logger(Logger(folder=None, output_formats=[kept]))
    return kept


def assert_same_end(one: ScratchAlgorithm, other: ScratchAlgorithm) -> None:
    """Assert that parameters, Adam's state and counters are the same to the last bit."""
    assert compare(figures_of_model(one), figures_of_model(other)).differing == []


def assert_resumes(
    make: Make, path: Path, *, at: int, disturbs: bool = False, algorithm: Any = PPOScratch, **arguments: Any
) -> None:
    """Train undisturbed and in two halves, and compare."""
    common = {"n_steps": N_STEPS, "seed": 1, "device": "cpu"} if algorithm is PPOScratch else {"seed": 1}
    whole = algorithm("MlpPolicy", make(), **{**common, **arguments})
    log = keep_log(whole)
    whole.learn(TOTAL, callback=SaveAt(at, path if disturbs else None))
    first = algorithm("MlpPolicy", make(), **{**common, **arguments})
    first.learn(TOTAL, callback=SaveAt(at, path))
    th.manual_seed(99)  # what another process would have done
    np.random.seed(99)
    second = algorithm.load_checkpoint(path, env=make(), device="cpu")
    log_after = keep_log(second)
    second.resume(SaveAt(at, None))
    assert_same_end(whole, second)
    assert log_after.rows
    np.testing.assert_equal(log_after.rows, log.rows[-len(log_after.rows) :])


def cart_poles(vec_env: type[VecEnv] = DummyVecEnv, **arguments: Any) -> VecEnv:
    """CartPoles from one seed."""
    return make_vec_env("CartPole-v1", N_ENVS, seed=5, vec_env_cls=vec_env, **arguments)


@pytest.mark.parametrize("at", [0, 1, 15, 16, 17, 40])
def test_wherever_in_a_rollout_it_stops(at: int, tmp_path: Path) -> None:
    assert_resumes(cart_poles, tmp_path / "run.zip", at=at)


@pytest.mark.parametrize("vec_env", [DummyVecEnv, SubprocVecEnv, ShardedVecEnv])
def test_in_every_kind_of_vec_env(vec_env: type[VecEnv], tmp_path: Path) -> None:
    assert_resumes(partial(cart_poles, vec_env), tmp_path / "run.zip", at=20)


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param({"update": "autograd"}, id="autograd"),
        pytest.param({"update": "closed_form"}, id="closed-form"),
        pytest.param(
            {"learning_rate": LinearSchedule(1e-2, 0.0, 1.0), "clip_range": lambda p: 0.1 + p / 5}, id="annealed"
        ),
        pytest.param({"kl_mode": "early_stop", "target_kl": 1e-3}, id="early-stop"),
        pytest.param({"kl_mode": "penalty", "target_kl": 1e-3}, id="penalty"),
        pytest.param({"kl_mode": "adaptive_lr", "target_kl": 1e-3}, id="adaptive-lr"),
        pytest.param({"kl_mode": "rollback", "target_kl": 1e-3}, id="rollback"),
        pytest.param({"normalize_observations": True}, id="normalized"),
        pytest.param({"n_episodes": 5}, id="episodes"),
        pytest.param({"n_episodes": 5, "advantage": "monte_carlo", "critic": False}, id="no-critic"),
        pytest.param({"share_features": True}, id="shared"),
    ],
)
def test_with_every_option(arguments: dict[str, Any], tmp_path: Path) -> None:
    assert_resumes(cart_poles, tmp_path / "run.zip", at=20, **arguments)


@pytest.mark.parametrize("env_id", ["MountainCar-v0", "MountainCarContinuous-v0", "Pendulum-v1", "Acrobot-v1"])
def test_in_all_of_classic_control(env_id: str, tmp_path: Path) -> None:
    assert_resumes(partial(make_vec_env, env_id, N_ENVS, seed=5), tmp_path / "run.zip", at=20)


def test_with_noise_that_lasts(tmp_path: Path) -> None:
    make = partial(make_vec_env, "Pendulum-v1", N_ENVS, seed=5)
    assert_resumes(make, tmp_path / "run.zip", at=20, use_sde=True)
    assert_resumes(make, tmp_path / "again.zip", at=20, use_sde=True, sde_sample_freq=6)


def test_reinforce(tmp_path: Path) -> None:
    assert_resumes(cart_poles, tmp_path / "run.zip", at=20, algorithm=ReinforceScratch, n_episodes=4, baseline="value")


@pytest.mark.parametrize(
    "wrap",
    [
        pytest.param(VecNormalize, id="VecNormalize"),
        pytest.param(partial(VecFrameStack, n_stack=3), id="VecFrameStack"),
        pytest.param(lambda env: VecFrameStack(VecNormalize(env), 2), id="both"),
    ],
)
def test_in_wrapped_vec_envs(wrap: Callable[[VecEnv], VecEnv], tmp_path: Path) -> None:
    assert_resumes(lambda: wrap(cart_poles()), tmp_path / "run.zip", at=20)
    assert_resumes(lambda: wrap(landers()), tmp_path / "lander.zip", at=20, disturbs=True)


def test_in_a_vec_env_with_its_own_monitor(tmp_path: Path) -> None:
    make_one = partial(gym.make, "CartPole-v1")

    def make() -> VecEnv:
        env = VecMonitor(DummyVecEnv([make_one] * N_ENVS))
        env.seed(5)
        return env

    assert_resumes(make, tmp_path / "run.zip", at=20)


def test_with_scaled_rewards(tmp_path: Path) -> None:
    assert_resumes(partial(cart_poles, wrapper_class=ScaleReward), tmp_path / "run.zip", at=20)


def landers(env_id: str = "LunarLander-v3") -> VecEnv:
    """Landers from one seed, whose state nobody can read."""
    return make_vec_env(env_id, N_ENVS, seed=5, env_kwargs={"render_mode": None})


@pytest.mark.parametrize("at", [0, 15, 16, 20])
@pytest.mark.parametrize(
    "arguments",
    [{}, {"n_episodes": 4}, {"timeout_bootstrap": False}, {"normalize_observations": True}],
    ids=["plain", "episodes", "no-bootstrap", "normalized"],
)
def test_landers_begin_anew_at_a_checkpoint(arguments: dict[str, Any], at: int, tmp_path: Path) -> None:
    assert_resumes(landers, tmp_path / "run.zip", at=at, disturbs=True, **arguments)


def test_continuous_landers(tmp_path: Path) -> None:
    make = partial(landers, "LunarLanderContinuous-v3")
    assert_resumes(make, tmp_path / "run.zip", at=20, disturbs=True)


def test_episodes_cut_by_a_checkpoint_are_in_no_statistics(tmp_path: Path) -> None:
    env = landers()
    model = PPOScratch("MlpPolicy", env, n_steps=64, seed=1)
    model.learn(64 * N_ENVS, callback=SaveAt(10, tmp_path / "run.zip"))
    lengths = [length for lengths in env.env_method("get_episode_lengths") for length in lengths]
    assert len(model.ep_info_buffer or ()) == len(lengths)
    assert 10 not in lengths


class Counter(gym.Env[np.ndarray, int]):
    """An environment of one's own, whose state is said by itself."""

    def __init__(self) -> None:
        self.observation_space = gym.spaces.Box(-1, 1, (2,), np.float32)
        self.action_space = gym.spaces.Discrete(2)
        self.count, self.level = 0, 0.0

    def _see(self) -> np.ndarray:
        return np.array([self.level, self.count / 10], dtype=np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin at a random level."""
        super().reset(seed=seed)
        self.count, self.level = 0, float(self.np_random.uniform(-1, 1))
        return self._see(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Move a little."""
        self.count += 1
        self.level = float(np.clip(self.level + self.np_random.normal() * (0.1 + action), -1, 1))
        return self._see(), self.level, self.count >= 9, False, {}


class ReadableCounter(Counter):
    """The same with both methods."""

    def get_state(self) -> dict[str, Any]:
        """Say it."""
        return {"count": self.count, "level": self.level}

    def set_state(self, state: dict[str, Any]) -> None:
        """Take it over."""
        self.count, self.level = state["count"], state["level"]


class GloballyRandomCounter(ReadableCounter):
    """The same, drawing from the generators of its whole process."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin at a random level."""
        if seed is not None:
            random.seed(seed)
            np.random.seed(seed)
        super().reset(seed=seed)
        self.level = random.uniform(-1, 1)
        return self._see(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Move a little."""
        self.level = float(np.clip(self.level + np.random.normal() * 0.1, -1, 1))
        return super().step(action)


@pytest.mark.parametrize("vec_env", [DummyVecEnv, SubprocVecEnv, ShardedVecEnv])
def test_generators_of_whole_processes_go_on_where_they_were(vec_env: type[VecEnv], tmp_path: Path) -> None:
    make = partial(make_vec_env, GloballyRandomCounter, N_ENVS, seed=5, vec_env_cls=vec_env)
    assert_resumes(make, tmp_path / "run.zip", at=20)


@pytest.mark.parametrize("bootstraps", [True, False])
def test_an_episode_cut_by_a_checkpoint_is_worth_what_its_last_state_promises(bootstraps: bool, tmp_path: Path) -> None:
    class Look(SaveAt):
        seen: Any = None

        def _on_step(self) -> bool:
            if self.n_calls == self.at:
                self.seen = self.locals["rewards"].copy(), self.locals["new_obs"].copy(), self.locals["dones"].copy()
            return super()._on_step()

        def _on_rollout_end(self) -> None:
            rewards, observations, dones = self.seen
            values = self.model.policy.predict_values(th.from_numpy(observations)).detach().numpy().ravel()
            buffer = self.model.rollout_buffer
            expected = rewards + self.model.gamma * values * ~dones * bootstraps
            np.testing.assert_allclose(buffer.rewards[self.at - 1], expected, rtol=1e-6)
            assert buffer.episode_starts[self.at].all()

    model = PPOScratch("MlpPolicy", make_vec_env(Counter, N_ENVS), n_steps=N_STEPS, timeout_bootstrap=bootstraps)
    model.learn(N_ENVS * N_STEPS, callback=Look(5, tmp_path / "run.zip"))


@pytest.mark.parametrize(("env", "disturbs"), [(ReadableCounter, False), (Counter, True)])
def test_environments_of_ones_own(env: type[Counter], disturbs: bool, tmp_path: Path) -> None:
    make = partial(make_vec_env, env, N_ENVS, seed=5)
    assert_resumes(make, tmp_path / "run.zip", at=20, disturbs=disturbs)
    assert_resumes(partial(make, vec_env_cls=SubprocVecEnv), tmp_path / "again.zip", at=20, disturbs=disturbs)


def test_evaluations_go_on_too(tmp_path: Path) -> None:
    def callbacks(path: Path | None) -> CallbackList:
        evaluation = EvalCallback(make_vec_env("CartPole-v1", 2, seed=7), eval_freq=9, verbose=0, n_eval_episodes=3)
        return CallbackList([SaveAt(20, path), evaluation])

    whole = PPOScratch("MlpPolicy", cart_poles(), n_steps=N_STEPS, seed=1)
    undisturbed = callbacks(None)
    whole.learn(TOTAL, callback=undisturbed)
    PPOScratch("MlpPolicy", cart_poles(), n_steps=N_STEPS, seed=1).learn(TOTAL, callback=callbacks(tmp_path / "r.zip"))
    after = callbacks(None)
    PPOScratch.load_checkpoint(tmp_path / "r.zip", env=cart_poles()).resume(after)
    one, other = undisturbed.callbacks[1], after.callbacks[1]
    assert isinstance(one, EvalCallback)
    assert isinstance(other, EvalCallback)
    assert one.n_calls == other.n_calls
    assert one.best_mean_reward == other.best_mean_reward
    assert one.last_mean_reward == other.last_mean_reward


def normalised(env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
    """One whose returns, and what is seen of it, depend on all episodes before."""
    return Monitor(NormalizeReward(NormalizeObservation(env)))


def evaluated(env_id: str) -> VecEnv:
    """Two of them."""
    env = DummyVecEnv([lambda: normalised(gym.make(env_id))] * 2)
    env.seed(7)
    return env


@pytest.mark.parametrize(
    ("make", "make_evaluated"),
    [
        pytest.param(cart_poles, partial(evaluated, "CartPole-v1"), id="wrappers"),
        pytest.param(landers, partial(evaluated, "LunarLander-v3"), id="of-what-cannot-be-read"),
        pytest.param(
            cart_poles,
            lambda: VecMonitor(VecNormalize(DummyVecEnv([partial(gym.make, "CartPole-v1")] * 2))),
            id="around-several",
        ),
        pytest.param(
            partial(make_vec_env, ReadableCounter, N_ENVS, seed=5), lambda: normalised(ReadableCounter()), id="single"
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:Training and eval env are not of the same type")
def test_what_environments_keep_from_one_evaluation_to_the_next_goes_on(
    make: Make, make_evaluated: Callable[[], Any], tmp_path: Path
) -> None:
    path = tmp_path / "run.zip"

    def callbacks(log: str) -> list[BaseCallback]:
        arguments = {"eval_freq": 9, "n_eval_episodes": 3, "log_path": str(tmp_path / log), "verbose": 0}
        return [SaveAt(20, path), EvalCallback(make_evaluated(), **arguments)]

    undisturbed, after = callbacks("undisturbed"), callbacks("resumed")
    PPOScratch("MlpPolicy", make(), n_steps=N_STEPS, seed=1).learn(TOTAL, callback=undisturbed)
    PPOScratch.load_checkpoint(path, env=make()).resume(after)
    evaluations = [np.load(tmp_path / name / "evaluations.npz") for name in ("undisturbed", "resumed")]
    assert len(evaluations[0]["results"]) == 7
    np.testing.assert_array_equal(evaluations[1]["results"], evaluations[0]["results"])


def test_other_callbacks_are_named(tmp_path: Path) -> None:
    PPOScratch("MlpPolicy", cart_poles(), n_steps=N_STEPS).learn(100, callback=SaveAt(20, tmp_path / "run.zip"))
    model = PPOScratch.load_checkpoint(tmp_path / "run.zip", env=cart_poles())
    evaluation = EvalCallback(make_vec_env("CartPole-v1", 1), eval_freq=1000)
    with pytest.warns(UserWarning, match=r"other callbacks: \['EvalCallback'\] begin anew, \['SaveAt'\] are missing"):
        model.resume(evaluation)


def test_environments_made_otherwise_are_refused(tmp_path: Path) -> None:
    PPOScratch("MlpPolicy", cart_poles(), n_steps=N_STEPS).learn(100, callback=SaveAt(20, tmp_path / "run.zip"))
    model = PPOScratch.load_checkpoint(tmp_path / "run.zip", env=VecNormalize(cart_poles()))
    with pytest.raises(ValueError, match="is wrapped in"):
        model.resume(SaveAt(20, None))


def test_without_an_environment_nothing_goes_on(tmp_path: Path) -> None:
    PPOScratch("MlpPolicy", cart_poles(), n_steps=N_STEPS).learn(100, callback=SaveAt(20, tmp_path / "run.zip"))
    with pytest.raises(ValueError, match="`resume` needs an environment"):
        PPOScratch.load_checkpoint(tmp_path / "run.zip").resume()


def test_models_without_a_run_do_not_go_on(tmp_path: Path) -> None:
    model = PPOScratch("MlpPolicy", cart_poles(), n_steps=N_STEPS)
    with pytest.raises(ValueError, match="there is no run to go on with"):
        model.resume()
    model.learn(100, callback=SaveAt(10, tmp_path / "run.zip"))
    with pytest.raises(ValueError, match="`load_checkpoint` loads a model with its run"):
        PPOScratch.load(tmp_path / "run.zip", env=cart_poles()).resume()


class RandomResets(Counter):
    """Draws from NumPy's global generator, too."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin somewhere."""
        super().reset(seed=seed)
        self.level = float(np.random.uniform(-1, 1))
        return self._see(), {}


def test_environments_that_draw_from_global_generators(tmp_path: Path) -> None:
    assert_resumes(partial(make_vec_env, RandomResets, N_ENVS, seed=5), tmp_path / "run.zip", at=20, disturbs=True)


def test_callbacks_that_hold_the_training_environments(tmp_path: Path) -> None:
    class Holds(SaveAt):
        def _on_training_start(self) -> None:
            self.env = self.model.get_env()

    whole = PPOScratch("MlpPolicy", cart_poles(), n_steps=N_STEPS, seed=1).learn(TOTAL)
    model = PPOScratch("MlpPolicy", cart_poles(), n_steps=N_STEPS, seed=1)
    model.learn(TOTAL, callback=Holds(20, tmp_path / "run.zip"))
    resumed = PPOScratch.load_checkpoint(tmp_path / "run.zip", env=cart_poles()).resume(Holds(0, None))
    assert_same_end(resumed, whole)


def test_a_run_that_has_ended_stays_where_it_is(tmp_path: Path) -> None:
    model = PPOScratch("MlpPolicy", cart_poles(), n_steps=N_STEPS).learn(128)
    model.save_checkpoint(tmp_path / "end.zip")
    loaded = PPOScratch.load_checkpoint(tmp_path / "end.zip", env=cart_poles()).resume()
    assert_same_end(loaded, model)


def test_models_hold_no_run(tmp_path: Path) -> None:
    PPOScratch("MlpPolicy", cart_poles(), n_steps=N_STEPS).save(tmp_path / "model.zip")
    with pytest.raises(CheckpointError, match=r"model\.zip: it holds a model, but no run"):
        PPOScratch.load_checkpoint(tmp_path / "model.zip")


def test_a_checkpoint_is_a_model_for_stock_ppo_too(tmp_path: Path) -> None:
    model = PPOScratch("MlpPolicy", cart_poles(), n_steps=N_STEPS)
    model.learn(100, callback=SaveAt(20, tmp_path / "run.zip"))
    stock = PPO.load(tmp_path / "run.zip", env=cart_poles())
    assert stock.learn(64).num_timesteps >= 64


def test_a_callback_that_ends_the_run_in_the_same_step_comes_after_the_checkpoint(tmp_path: Path) -> None:
    class StopAt(SaveAt):
        def _on_step(self) -> bool:
            return super()._on_step() and self.n_calls < 20

    model = PPOScratch("MlpPolicy", cart_poles(), n_steps=N_STEPS, seed=1)
    model.learn(TOTAL, callback=StopAt(20, tmp_path / "run.zip"))
    assert model.num_timesteps == 20 * N_ENVS
    whole = PPOScratch("MlpPolicy", cart_poles(), n_steps=N_STEPS, seed=1).learn(TOTAL, callback=SaveAt(0, None))
    resumed = PPOScratch.load_checkpoint(tmp_path / "run.zip", env=cart_poles())
    resumed.resume(type("StopAt", (SaveAt,), {})(0, None))
    assert_same_end(resumed, whole)


def test_older_checkpoints_become_models_and_those_of_other_runs_stay(tmp_path: Path) -> None:
    other = tmp_path / "rl_model_100000_steps.zip"
    PPOScratch("MlpPolicy", cart_poles(), n_steps=N_STEPS, seed=1).learn(64, callback=SaveAt(3, other))
    model = PPOScratch("MlpPolicy", cart_poles(), n_steps=N_STEPS, seed=1)
    model.learn(TOTAL, callback=SaveCheckpoints(10, tmp_path, keep=2))
    steps = [N_ENVS * count for count in (10, 20, 30, 40, 50, 60)]
    held = {n_steps: holds_run(tmp_path / f"rl_model_{n_steps}_steps.zip") for n_steps in steps}
    assert held == dict(zip(steps, [False] * 4 + [True] * 2, strict=True))
    assert holds_run(other)
    assert PPO.load(tmp_path / f"rl_model_{steps[0]}_steps.zip").num_timesteps == steps[0]


def test_a_damaged_old_checkpoint_is_left_where_it_is(tmp_path: Path) -> None:
    class Damage(SaveAt):
        def _on_step(self) -> bool:
            if self.n_calls == self.at:
                assert self.path is not None
                self.path.write_bytes(b"PK, once")
            return True

    first = tmp_path / f"rl_model_{10 * N_ENVS}_steps.zip"
    model = PPOScratch("MlpPolicy", cart_poles(), n_steps=N_STEPS, seed=1)
    model.learn(TOTAL, callback=[SaveCheckpoints(10, tmp_path, keep=1), Damage(15, first)])
    assert first.read_bytes() == b"PK, once"
    assert holds_run(tmp_path / f"rl_model_{60 * N_ENVS}_steps.zip")


def test_a_full_disk_ends_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sb3_ppo_scratch.resumable_run.write_safely", fail)
    model = PPOScratch("MlpPolicy", cart_poles(), n_steps=N_STEPS, seed=1)
    with pytest.warns(UserWarning, match=r"rl_model_40_steps\.zip could not be written .*No space left"):
        model.learn(64, callback=SaveCheckpoints(10, tmp_path))
    assert model.num_timesteps == 64


class Stop(SaveAt):
    """Ends the run at one step; is new after each beginning but for its count."""

    def _on_step(self) -> bool:
        return super()._on_step() and self.n_calls != self.at


def small_model(**arguments: Any) -> PPOScratch:
    """A small model on CartPoles."""
    return PPOScratch("MlpPolicy", cart_poles(), **{"n_steps": N_STEPS, "seed": 1, "device": "cpu", **arguments})


@pytest.mark.parametrize("at", [1, 16, 20, 63, 64])
def test_a_run_that_a_callback_has_ended_goes_on_from_there(at: int, tmp_path: Path) -> None:
    whole = small_model()
    log = keep_log(whole)
    whole.learn(TOTAL, callback=Stop(0, None))
    stopped, callback = small_model(), Stop(at, None)
    log_after = keep_log(stopped)
    stopped.learn(TOTAL, callback=callback)
    assert stopped.num_timesteps == at * N_ENVS
    stopped.save_checkpoint(tmp_path / "run.zip")
    assert_same_end(stopped.resume(callback), whole)
    np.testing.assert_equal(log_after.rows, log.rows)
    loaded = PPOScratch.load_checkpoint(tmp_path / "run.zip", env=cart_poles(), device="cpu")
    assert_same_end(loaded.resume(Stop(0, None)), whole)


@pytest.mark.parametrize("at", [25, 27, 30])
def test_a_last_rollout_beyond_the_total_is_completed(at: int, tmp_path: Path) -> None:
    total = 26 * N_ENVS  # ends in the second rollout of 16 steps
    whole = small_model().learn(total, callback=SaveAt(at, tmp_path / "run.zip"))
    assert whole.num_timesteps == 32 * N_ENVS
    loaded = PPOScratch.load_checkpoint(tmp_path / "run.zip", env=cart_poles(), device="cpu")
    assert_same_end(loaded.resume(SaveAt(0, None)), whole)


def test_what_callbacks_have_counted_outlives_a_stop_also_in_new_ones() -> None:
    class Counts(Stop):
        def _on_training_start(self) -> None:
            self.dones: list[int] = []

        def _on_step(self) -> bool:
            self.dones.append(int(self.locals["dones"].sum()))
            return super()._on_step()

    whole = Counts(0, None)
    small_model().learn(TOTAL, callback=whole)
    for again in (None, Counts(0, None)):
        first = Counts(20, None)
        model = small_model().learn(TOTAL, callback=first)
        second = again or first
        model.resume(second)
        assert second.dones == whole.dones


class Breaks(Counter):
    """Fails after some steps."""

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Fail in the seventh step of an episode."""
        if self.count == 6:
            raise FloatingPointError("no such number")
        return super().step(action)


def test_a_run_that_was_left_within_a_step_or_an_update_does_not_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Fails(SaveAt):
        def _on_step(self) -> bool:
            if self.n_calls == self.at:
                raise LookupError
            return True

    broken = PPOScratch("MlpPolicy", make_vec_env(Breaks, N_ENVS), n_steps=N_STEPS)
    with pytest.raises(FloatingPointError, match="no such number"):
        broken.learn(TOTAL)
    failed = small_model()
    with pytest.raises(LookupError, match=r"^$"):
        failed.learn(TOTAL, callback=Fails(20, None))
    unlearned = small_model()
    monkeypatch.setattr(PPOScratch, "train", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError, match="division"):
        unlearned.learn(TOTAL)
    monkeypatch.undo()
    for model, error in ((broken, "EnvironmentFaultError"), (failed, "LookupError"), (unlearned, "ZeroDivisionError")):
        message = f"left in the middle of a step or an update by {error}; go on from its last checkpoint"
        with pytest.raises(ValueError, match=message):
            model.save_checkpoint(tmp_path / "run.zip")
        with pytest.raises(ValueError, match=message):
            model.resume()
    assert not (tmp_path / "run.zip").exists()
    failed.learn(N_STEPS * N_ENVS).save_checkpoint(tmp_path / "run.zip")


def test_an_error_between_two_steps_leaves_a_run_that_goes_on(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    whole = small_model().learn(TOTAL, callback=SaveAt(0, None))
    model = small_model()
    callback = SaveAt(20, tmp_path / "file" / "run.zip")
    with pytest.raises(OSError, match="file"):
        model.learn(TOTAL, callback=callback)
    assert_same_end(model.resume(callback), whole)


def test_there_is_no_checkpoint_without_a_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no run to write yet; `learn` begins one"):
        small_model().save_checkpoint(tmp_path / "run.zip")


def test_a_run_that_was_loaded_is_written_as_it_was(tmp_path: Path) -> None:
    whole = small_model().learn(TOTAL, callback=SaveAt(20, tmp_path / "run.zip"))
    PPOScratch.load_checkpoint(tmp_path / "run.zip").save_checkpoint(tmp_path / "again.zip")
    loaded = PPOScratch.load_checkpoint(tmp_path / "again.zip", env=cart_poles(), device="cpu")
    loaded.save_checkpoint(tmp_path / "once_more.zip")
    assert_same_end(loaded.resume(SaveAt(0, None)), whole)
    again = PPOScratch.load_checkpoint(tmp_path / "once_more.zip", env=cart_poles(), device="cpu")
    assert_same_end(again.resume(SaveAt(0, None)), whole)


def test_a_checkpoint_that_is_asked_for_at_the_end_of_training_is_written(tmp_path: Path) -> None:
    class SaveAtEnd(BaseCallback):
        def _on_step(self) -> bool:
            return True

        def _on_training_end(self) -> None:
            self.model.save_checkpoint(tmp_path / "end.zip")

    model = small_model().learn(TOTAL, callback=SaveAtEnd())
    loaded = PPOScratch.load_checkpoint(tmp_path / "end.zip", env=cart_poles(), device="cpu")
    assert_same_end(loaded.resume(SaveAtEnd()), model)


def test_if_a_callback_raises_as_training_starts_there_is_no_run(tmp_path: Path) -> None:
    class Failing(SaveAt):
        def _on_training_start(self) -> None:
            super()._on_training_start()
            raise LookupError("no licence")

    model = small_model()
    with pytest.raises(LookupError, match="no licence"):
        model.learn(TOTAL, callback=Failing(0, tmp_path / "run.zip"))
    with pytest.raises(ValueError, match="there is no run to write yet"):
        model.save_checkpoint(tmp_path / "run.zip")
    model.learn(TOTAL)
    assert not list(tmp_path.iterdir())


def test_checkpoints_of_the_same_step_are_one(tmp_path: Path) -> None:
    first, second = tmp_path / "first.zip", tmp_path / "second.zip"
    begun: list[bool] = []
    env = landers()
    env.seed = lambda seed=None: begun.append(True) or DummyVecEnv.seed(env, seed)
    model = PPOScratch("MlpPolicy", env, n_steps=N_STEPS, seed=1, device="cpu")
    begun.clear()
    model.learn(TOTAL, callback=[SaveAt(20, first), SaveAt(20, second), SaveAt(30, tmp_path / "later.zip")])
    assert first.read_bytes() == second.read_bytes()
    assert len(begun) == 2


def test_a_checkpoint_from_elsewhere_sets_nothing_but_what_runs_keep(tmp_path: Path) -> None:
    small_model().learn(TOTAL, callback=SaveAt(20, tmp_path / "run.zip"))
    env, callback = cart_poles(), SaveAt(20, None)
    loaded = PPOScratch.load_checkpoint(tmp_path / "run.zip", env=env, device="cpu", trusted=False)
    state, elsewhere = loaded._to_resume, str(tmp_path / "elsewhere")
    state["counters"]["fault_folder"] = elsewhere
    state["environments"]["environments"][0]["states"][0]["attributes"]["results_writer"] = elsewhere
    state["callbacks"][0]["values"]["path"] = elsewhere
    loaded.resume(callback)
    assert loaded.fault_folder is None
    assert callback.path is None
    assert env.get_attr("results_writer") == [None] * N_ENVS


@pytest.mark.parametrize("folder", ["..", "../elsewhere", "/elsewhere", "a/b"])
def test_a_log_goes_on_below_the_folder_of_logs_only(folder: str, tmp_path: Path) -> None:
    assert not continue_log(small_model(tensorboard_log=str(tmp_path)), folder)
    assert not list(tmp_path.iterdir())


def test_the_file_of_another_algorithm_is_named(tmp_path: Path) -> None:
    small_model().learn(TOTAL, callback=SaveAt(20, tmp_path / "run.zip"))
    with pytest.raises(ValueError, match=r"run\.zip holds no model of ReinforceScratch"):
        ReinforceScratch.load_checkpoint(tmp_path / "run.zip", env=cart_poles())


@pytest.mark.parametrize(
    ("env_id", "n_envs", "message"),
    [
        ("CartPole-v1", 2, "`env` is 2 of CartPole-v1, the run's was 4 of CartPole-v1"),
        ("CartPole-v0", 4, "`env` is 4 of CartPole-v0, the run's was 4 of CartPole-v1"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*The environment CartPole-v0 is out of date")
def test_other_environments_are_refused_by_name(env_id: str, n_envs: int, message: str, tmp_path: Path) -> None:
    small_model().learn(TOTAL, callback=SaveAt(20, tmp_path / "run.zip"))
    model = PPOScratch.load_checkpoint(tmp_path / "run.zip", env=make_vec_env(env_id, n_envs))
    with pytest.raises(ValueError, match=message):
        model.resume(SaveAt(0, None))


def test_what_else_is_not_as_it_was_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_model().learn(TOTAL, callback=SaveAt(20, tmp_path / "run.zip"))
    model = PPOScratch.load_checkpoint(tmp_path / "run.zip", env=cart_poles(), device="cpu")
    model.torch_threads = 2
    monkeypatch.setattr(np, "__version__", "0.0")
    with pytest.warns(
        UserWarning, match=r"goes on with torch threads 2 \(was 1\), numpy 0\.0 \(was .*\): equality"
    ) as said:
        model.resume(SaveAt(20, None))
    assert len(said) == 1


def test_nothing_is_said_where_all_is_as_it_was(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    small_model().learn(TOTAL, callback=SaveAt(20, tmp_path / "run.zip"))
    PPOScratch.load_checkpoint(tmp_path / "run.zip", env=cart_poles(), device="cpu").resume(SaveAt(20, None))
    assert not recwarn.list


@pytest.mark.parametrize("at", [20, 40])
def test_a_log_with_gaps_goes_on_with_the_same_ones(at: int, tmp_path: Path) -> None:
    whole = small_model()
    log = keep_log(whole)
    whole.learn(2 * TOTAL, callback=SaveAt(at, tmp_path / "run.zip"), log_interval=3)
    loaded = PPOScratch.load_checkpoint(tmp_path / "run.zip", env=cart_poles(), device="cpu")
    log_after = keep_log(loaded)
    assert_same_end(loaded.resume(SaveAt(0, None)), whole)
    assert len(log.rows) == 2
    np.testing.assert_equal(log_after.rows, log.rows)


def test_callbacks_that_decide_go_on_deciding(tmp_path: Path) -> None:
    def callbacks(path: Path | None) -> list[BaseCallback]:
        evaluation = EvalCallback(
            make_vec_env("CartPole-v1", 1, seed=7),
            eval_freq=5,
            n_eval_episodes=2,
            log_path=str(tmp_path / ("first" if path else "whole")),
            callback_on_new_best=SaveAt(0, None),
            callback_after_eval=StopTrainingOnNoModelImprovement(max_no_improvement_evals=3, min_evals=6),
            verbose=0,
        )
        return [SaveAt(32, path), EveryNTimesteps(40, SaveAt(0, None)), evaluation]

    whole, undisturbed = small_model(), callbacks(None)
    whole.learn(50 * TOTAL, callback=undisturbed)
    assert 32 * N_ENVS < whole.num_timesteps < 50 * TOTAL
    small_model().learn(TOTAL, callback=callbacks(tmp_path / "run.zip"))
    path = tmp_path / "run.zip"
    loaded, after = PPOScratch.load_checkpoint(path, env=cart_poles(), device="cpu"), callbacks(path)
    loaded._total_timesteps = 50 * TOTAL
    loaded._to_resume["counters"]["_total_timesteps"] = 50 * TOTAL
    assert_same_end(loaded.resume(after), whole)
    for one, other in zip(undisturbed[1:], after[1:], strict=True):
        assert one.n_calls == other.n_calls
    evaluations = [np.load(tmp_path / name / "evaluations.npz") for name in ("whole", "first")]
    assert all(np.array_equal(evaluations[0][name], evaluations[1][name]) for name in evaluations[0])


class Named(ReadableCounter):
    """The same with named observations."""

    def __init__(self) -> None:
        super().__init__()
        self.observation_space = gym.spaces.Dict(
            {"level": gym.spaces.Box(-1, 1, (1,), np.float32), "count": gym.spaces.Box(-1, 1, (1,), np.float32)}
        )

    def _see(self) -> Any:
        level, count = super()._see()
        return {"level": np.array([level]), "count": np.array([count])}


@pytest.mark.parametrize("arguments", [{}, {"n_episodes": 6}], ids=["steps", "episodes"])
def test_named_observations(arguments: dict[str, Any], tmp_path: Path) -> None:
    make = partial(make_vec_env, Named, N_ENVS, seed=5)
    whole = PPOScratch("MultiInputPolicy", make(), n_steps=N_STEPS, seed=1, device="cpu", **arguments)
    whole.learn(TOTAL, callback=SaveAt(20, tmp_path / "run.zip"))
    loaded = PPOScratch.load_checkpoint(tmp_path / "run.zip", env=make(), device="cpu")
    assert_same_end(loaded.resume(SaveAt(0, None)), whole)


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows of a run, but for times."""
    accumulator: Any = event_accumulator.EventAccumulator(str(folder)).Reload()
    tags = [tag for tag in accumulator.Tags()["scalars"] if not tag.startswith("time/")]
    return {tag: [(event.step, event.value) for event in accumulator.Scalars(tag)] for tag in tags}


@pytest.mark.skipif(event_accumulator is None, reason="TensorBoard is not installed")
def test_tensorboard_shows_one_run_that_was_not_disturbed(tmp_path: Path) -> None:
    whole = small_model(tensorboard_log=str(tmp_path / "whole")).learn(TOTAL, callback=SaveAt(0, None))
    logs = str(tmp_path / "logs")
    small_model(tensorboard_log=logs).learn(TOTAL, callback=SaveAt(33, tmp_path / "run.zip"))
    small_model(tensorboard_log=logs, learning_rate=1e-2).learn(2 * TOTAL)
    others = scalars(tmp_path / "logs" / "PPO_2")
    loaded = PPOScratch.load_checkpoint(tmp_path / "run.zip", env=cart_poles(), device="cpu")
    assert_same_end(loaded.resume(SaveAt(0, None)), whole)
    np.testing.assert_equal(scalars(tmp_path / "logs" / "PPO_1"), scalars(tmp_path / "whole" / "PPO_1"))
    assert scalars(tmp_path / "logs" / "PPO_2") == others
    assert sorted(path.name for path in (tmp_path / "logs").iterdir()) == ["PPO_1", "PPO_2"]


@pytest.mark.skipif(event_accumulator is None, reason="TensorBoard is not installed")
def test_a_log_goes_on_within_the_same_process(tmp_path: Path) -> None:
    whole = small_model(tensorboard_log=str(tmp_path / "whole")).learn(TOTAL, callback=Stop(0, None))
    model, callback = small_model(tensorboard_log=str(tmp_path / "logs")), Stop(20, None)
    model.learn(TOTAL, callback=callback).resume(callback)
    assert_same_end(model, whole)
    np.testing.assert_equal(scalars(tmp_path / "logs" / "PPO_1"), scalars(tmp_path / "whole" / "PPO_1"))
