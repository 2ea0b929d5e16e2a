"""A run that stops at a checkpoint and goes on ends as one that was not disturbed: parameters and log, bit for bit.

Where the state of environments can be read, the run beside it writes no checkpoint at all. Where it cannot, it writes
the same ones, and goes through.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback, CallbackList, EvalCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import KVWriter, Logger
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv, VecFrameStack, VecMonitor, VecNormalize

from sb3_ppo_scratch import PPOScratch, ReinforceScratch
from sb3_ppo_scratch.callbacks import SaveCheckpoints
from sb3_ppo_scratch.checkpoints.checkpoint_file import CheckpointError, holds_run
from sb3_ppo_scratch.scratch_algorithm import ScratchAlgorithm
from sb3_ppo_scratch.vec_env import ShardedVecEnv
from sb3_ppo_scratch.wrappers import ScaleReward

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
    """Asks for a checkpoint at one step, and counts them all."""

    def __init__(self, at: int, path: Path | None) -> None:
        super().__init__()
        self.at, self.path = at, path

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
    assert one.num_timesteps == other.num_timesteps
    pairs = zip(one.policy.state_dict().items(), other.policy.state_dict().items(), strict=True)
    for (name, own), (_, others) in pairs:
        assert th.equal(own, others), name
    states = [model.policy.optimizer.state_dict()["state"] for model in (one, other)]
    for own, others in zip(*(state.values() for state in states), strict=True):
        assert all(th.equal(own[name], others[name]) for name in own)


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


@pytest.mark.parametrize("at", [1, 15, 16, 17, 40])
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


@pytest.mark.parametrize("at", [15, 16, 20])
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
