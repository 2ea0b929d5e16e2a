"""Stock SB3 and rl_zoo3 with the wrappers, as another project would use them."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
import yaml
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv

from sb3_ppo_scratch.wrappers import BinAction, NormalizeObservation, RunningMoments, ScaleReward
from tests.wrappers.scripted_env import RecordActions

MAIN_ATOMS = [0.0, 0.25, 0.5, 0.75, 1.0]
SIDE_ATOMS = [-1.0, -0.75, 0.0, 0.75, 1.0]
LANDER_STD = [0.5, 0.7, 0.5, 0.5, 0.4, 0.4, 1.0, 1.0]


def make_lander(max_episode_steps: int = 60) -> RecordActions:
    """Short episodes, so that some end within the few steps of a test."""
    env = gym.make("LunarLanderContinuous-v3", render_mode=None, max_episode_steps=max_episode_steps)
    return RecordActions(env)


def wrap_in_all_three(env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
    env = ScaleReward(env, scale=0.01)
    env = NormalizeObservation(env, mean=[0.0] * 8, std=LANDER_STD)
    return BinAction(env, bins=[MAIN_ATOMS, SIDE_ATOMS])


def get_parameters(model: BaseAlgorithm) -> th.Tensor:
    return th.nn.utils.parameters_to_vector(model.policy.parameters()).detach().clone()


def learn_and_measure(model: BaseAlgorithm, total_timesteps: int) -> float:
    """Train, and return by how much the parameters have moved."""
    before = get_parameters(model)
    model.learn(total_timesteps)
    after = get_parameters(model)
    assert th.isfinite(after).all()
    return float((after - before).abs().max())


def small(algorithm: type[BaseAlgorithm], env: Any) -> BaseAlgorithm:
    kwargs = {"batch_size": 64, "n_epochs": 2, "n_steps": 128} if algorithm is PPO else {"n_steps": 16}
    return algorithm("MlpPolicy", env, seed=0, device="cpu", **kwargs)


@pytest.mark.parametrize("algorithm", [PPO, A2C])
def test_on_policy_algorithm_trains_lander_with_all_three_wrappers(algorithm):
    vec_env = make_vec_env(make_lander, n_envs=2, seed=0, wrapper_class=wrap_in_all_three)
    assert learn_and_measure(small(algorithm, vec_env), 512) > 1e-4

    # Monitor sits below the wrappers: what it logs is in the task's own units.
    for logged, recorded in zip(
        vec_env.env_method("get_episode_rewards"), vec_env.get_attr("episode_returns"), strict=True
    ):
        assert len(logged) >= 2
        np.testing.assert_allclose(logged, recorded[: len(logged)], rtol=1e-9)
        assert min(logged) < -20.0

    reached = np.concatenate(vec_env.get_attr("actions"))
    assert set(reached[:, 0]) == set(MAIN_ATOMS)
    assert set(reached[:, 1]) == set(SIDE_ATOMS)


@pytest.mark.parametrize("algorithm", [PPO, A2C])
def test_value_network_is_trained_on_scaled_rewards(algorithm):
    vec_env = DummyVecEnv([lambda: ScaleReward(Monitor(gym.make("Pendulum-v1")), scale=0.01)])
    model = small(algorithm, vec_env)
    model.learn(model.n_steps)
    # Pendulum pays between -16.3 and 0 per step.
    assert -0.163 < model.rollout_buffer.rewards.min() < -0.001


def test_ppo_trains_continuous_actions_in_subprocesses():
    def make_env() -> gym.Env[Any, Any]:
        env = ScaleReward(Monitor(gym.make("MountainCarContinuous-v0", max_episode_steps=40)))
        return NormalizeObservation(env, mean=[-0.5, 0.0], std=[0.2, 0.02])

    vec_env = SubprocVecEnv([make_env, make_env], start_method="fork")
    model = small(PPO, vec_env)
    moved = learn_and_measure(model, 256)
    vec_env.close()
    assert moved > 1e-4
    assert model.rollout_buffer.observations.dtype == np.float32
    assert np.abs(model.rollout_buffer.observations).max() <= 10.0


def test_a2c_trains_on_cartpole_whose_actions_are_discrete_already():
    vec_env = make_vec_env("CartPole-v1", n_envs=2, seed=0, wrapper_class=ScaleReward, wrapper_kwargs={"scale": 0.1})
    assert learn_and_measure(small(A2C, vec_env), 200) > 1e-4
    logged = np.concatenate(vec_env.env_method("get_episode_rewards"))
    lengths = np.concatenate(vec_env.env_method("get_episode_lengths"))
    assert logged.tolist() == lengths.tolist()


def test_dqn_flies_the_continuous_lander_through_flat_bins():
    env = BinAction(ScaleReward(Monitor(make_lander())), bins=[MAIN_ATOMS, SIDE_ATOMS], flat=True)
    model = DQN("MlpPolicy", env, learning_starts=50, train_freq=4, buffer_size=1000, seed=0, device="cpu")
    assert model.action_space.n == 25
    assert learn_and_measure(model, 400) > 1e-4
    reached = {tuple(action.tolist()) for action in env.get_wrapper_attr("actions")}
    assert reached <= {(main, side) for main in MAIN_ATOMS for side in SIDE_ATOMS}
    assert len(reached) > 10


@pytest.mark.usefixtures("no_earlier_wrapper")
def test_shared_running_statistics_serve_training_and_evaluation(tmp_path):
    moments = RunningMoments(3)
    kwargs = {"wrapper_class": NormalizeObservation, "wrapper_kwargs": {"moments": moments}}
    train_env, eval_env = (make_vec_env(lambda: gym.make("Pendulum-v1"), n_envs=n, seed=0, **kwargs) for n in (4, 1))
    eval_env.env_method("freeze")
    callback = EvalCallback(eval_env, eval_freq=64, n_eval_episodes=1, verbose=0)
    model = small(PPO, train_env)
    model.learn(512, callback=callback)
    # 128 steps of 4 environments and their first observations, none of the evaluation's 400.
    assert moments.count == 4 * 128 + 4
    assert callback.last_mean_reward < -50.0

    eval_env.env_method("save", tmp_path / "stats.npz")
    later = NormalizeObservation(gym.make("Pendulum-v1"), stats_path=tmp_path / "stats.npz")
    assert later.mean.tolist() == moments.mean.tolist()


ZOO_SCRIPT = """
import sys
import rl_zoo3.enjoy, rl_zoo3.train

def call(main, *arguments):
    sys.argv = ["rl_zoo3", "--algo", "ppo", "--env", "Pendulum-v1", "-f", "logs", "--device", "cpu", *arguments]
    main()

try:
    call(rl_zoo3.train.train, "-conf", "running.yml", "--eval-freq", "-1")
except ValueError as error:
    print("REFUSED:", error)
call(rl_zoo3.train.train, "-conf", "file.yml", "--eval-freq", "64", "--eval-episodes", "1")
call(rl_zoo3.enjoy.enjoy, "-n", "5", "--no-render")
print("ENJOYED")
"""


def write_config(path: Path, wrapper_kwargs: dict[str, Any]) -> None:
    wrappers = [
        {"sb3_ppo_scratch.wrappers.NormalizeObservation": wrapper_kwargs},
        {"sb3_ppo_scratch.wrappers.ScaleReward": {"scale": 0.1}},
    ]
    sizes = {"n_timesteps": 64, "n_envs": 1, "n_steps": 64}
    path.write_text(yaml.safe_dump({"Pendulum-v1": {"policy": "MlpPolicy", **sizes, "env_wrapper": wrappers}}))


@pytest.mark.slow
def test_rl_zoo3_refuses_running_statistics_and_trains_and_enjoys_with_a_file(tmp_path):
    """Without evaluation a single environment is all there is in training, but `enjoy` would start from nothing."""
    moments = RunningMoments(3)
    moments.update(np.random.default_rng(0).normal(size=(10, 3)))
    moments.save(tmp_path / "stats.npz")
    write_config(tmp_path / "running.yml", {})
    write_config(tmp_path / "file.yml", {"stats_path": "stats.npz"})
    environment = {"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": "", "CUDA_VISIBLE_DEVICES": ""}
    result = subprocess.run(
        [sys.executable, "-c", ZOO_SCRIPT], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    [refusal] = [line for line in result.stdout.splitlines() if line.startswith("REFUSED:")]
    assert "running statistics would be separate: rl_zoo3's training" in refusal
    assert "normalize_observations=True" in refusal
    assert "VecNormalize" in refusal
    assert "ENJOYED" in result.stdout
    assert list(tmp_path.glob("logs/ppo/Pendulum-v1_*/Pendulum-v1.zip"))
