"""Every system of the ladder learns, from its hyperparameter file, within seconds.

Each trains briefly as rl_zoo3 would train it; its last episodes have to beat what random actions and its own first
tenth come to.
"""

import argparse
import functools
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from rl_zoo3.exp_manager import ExperimentManager
from stable_baselines3.common.monitor import load_results

from sb3_ppo_scratch.benchmark.training.plan import ZOO, Contestant, config_path
from sb3_ppo_scratch.callbacks import StopWhenSolved
from sb3_ppo_scratch.hyperparams import hyperparams_file
from sb3_ppo_scratch.zoo.register import register
from tests.zoo.processes import run_python

CARTPOLE, PENDULUM, LANDER, CONTINUOUS = "CartPole-v1", "Pendulum-v1", "LunarLander-v3", "LunarLanderContinuous-v3"


@functools.cache
def random_percentile(env_id: str) -> float:
    """The 95th percentile of the returns of 100 episodes with random actions."""
    env = gym.make(env_id)
    env.action_space.seed(0)
    returns = []
    for seed in range(100):
        env.reset(seed=seed)
        total, over = 0.0, False
        while not over:
            _, reward, terminated, truncated, _ = env.step(env.action_space.sample())
            total, over = total + float(reward), terminated or truncated
        returns.append(total)
    return float(np.percentile(returns, 95))


def experiment(algorithm: str, config: Path, env_id: str, n_steps: int, folder: Path) -> ExperimentManager:
    """What rl_zoo3 makes of a command line."""
    register()
    return ExperimentManager(
        argparse.Namespace(num_threads=-1),
        algorithm,
        env_id,
        str(folder),
        n_timesteps=n_steps,
        eval_freq=-1,
        seed=1,
        log_interval=-1,
        verbose=0,
        config=str(config),
        device="cpu",
        env_kwargs={"render_mode": None},
    )


def train(algorithm: str, config: Path, env_id: str, n_steps: int, folder: Path) -> list[float]:
    """Train as rl_zoo3 does, and return the episodes' returns in the order in which they ended."""
    manager = experiment(algorithm, config, env_id, n_steps, folder)
    model, _ = manager.setup_experiment()
    manager.learn(model)
    return load_results(manager.save_path).sort_values("t")["r"].tolist()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("algorithm", "file", "env_id", "n_steps"),
    [
        pytest.param("ppo_scratch", "ppo_scratch.yml", CARTPOLE, 20_000, id="000-cartpole"),
        pytest.param("ppo_scratch", "ppo_scratch.yml", LANDER, 60_000, id="000-lander"),
        pytest.param("ppo_scratch", "ladder/separate_networks.yml", CARTPOLE, 12_000, id="001-separate-networks"),
        pytest.param("ppo_scratch", "ladder/separate_networks.yml", LANDER, 20_000, id="001-lander"),
        pytest.param("ppo_scratch", "ladder/monte_carlo_critic.yml", CARTPOLE, 30_000, id="002-monte-carlo"),
        pytest.param("ppo_scratch", "ladder/stop_when_solved.yml", CARTPOLE, 200_000, id="002-solved-stop"),
        pytest.param("ppo_scratch", "ladder/kl_penalty.yml", CARTPOLE, 20_000, id="002-kl-penalty"),
        pytest.param("trpo", ZOO, CARTPOLE, 20_000, id="002-trpo"),
        pytest.param("ppo_scratch", "ladder/scaled_reward.yml", CARTPOLE, 40_000, id="003-scaled-reward"),
        pytest.param("ppo_scratch", "ladder/scaled_reward.yml", CONTINUOUS, 60_000, id="003-gaussian"),
        pytest.param("ppo_scratch", "ladder/rescaled_actions.yml", PENDULUM, 40_000, id="003-rescaled-actions"),
        pytest.param("ppo_scratch", "ladder/shared_networks.yml", CARTPOLE, 40_000, id="003-shared-networks"),
        pytest.param("ppo_scratch", "ladder/clipped_surrogate.yml", CARTPOLE, 30_000, id="003-no-critic"),
        pytest.param("ppo_scratch", "ladder/binned_actions.yml", CONTINUOUS, 40_000, id="003-binned"),
        pytest.param("ppo_scratch", "ladder/ordinal_actions.yml", CONTINUOUS, 40_000, id="003-ordinal"),
        pytest.param("reinforce_scratch", "ladder/reinforce.yml", CARTPOLE, 40_000, id="004-reinforce"),
        pytest.param("reinforce_scratch", "ladder/reward_to_go.yml", CARTPOLE, 30_000, id="004-reward-to-go"),
        pytest.param("reinforce_scratch", "ladder/value_baseline.yml", CARTPOLE, 25_000, id="004-value-baseline"),
        pytest.param("ppo_scratch", "ladder/importance_weights.yml", CARTPOLE, 30_000, id="004-importance-weights"),
    ],
)
def test_every_documents_system_learns(algorithm: str, file: str, env_id: str, n_steps: int, tmp_path: Path) -> None:
    config = config_path(Contestant("it", "it", algorithm, file))
    returns = train(algorithm, config, env_id, n_steps, tmp_path)
    tenth = max(5, len(returns) // 10)
    last = float(np.mean(returns[-tenth:]))
    assert last > random_percentile(env_id)
    assert last > np.mean(returns[:tenth])


@pytest.mark.slow
def test_reinforce_comes_to_195_over_100_episodes_of_cartpole(tmp_path: Path) -> None:
    manager = experiment("reinforce_scratch", hyperparams_file("reinforce_scratch.yml"), CARTPOLE, 100_000, tmp_path)
    model, _ = manager.setup_experiment()
    model.learn(100_000, callback=StopWhenSolved(195))
    model.env.close()
    episodes = load_results(manager.save_path)
    assert episodes["r"][-100:].mean() >= 195
    assert episodes["l"].sum() < 100_000


@pytest.mark.slow
def test_run_ends_by_itself_once_the_mean_return_of_ten_episodes_is_200(tmp_path: Path) -> None:
    file = hyperparams_file("ladder/stop_when_solved.yml")
    options = ("--algo", "ppo_scratch", "--env", CARTPOLE, "-conf", str(file), "--seed", "1", "--eval-freq", "-1")
    run_python("-m", "rl_zoo3.train", *options, folder=tmp_path)
    episodes = load_results(str(tmp_path / "logs" / "ppo_scratch" / f"{CARTPOLE}_1")).sort_values("t")
    means = episodes["r"].rolling(10).mean()
    assert list(np.flatnonzero(means >= 200)) == [len(means) - 1]
    assert episodes["l"].sum() < 200_000


def test_rescaled_actions_reach_as_far_as_the_environments_and_begin_with_a_deviation_of_1(tmp_path: Path) -> None:
    model, _ = experiment(
        "ppo_scratch", hyperparams_file("ladder/rescaled_actions.yml"), PENDULUM, 1, tmp_path
    ).setup_experiment()
    assert (model.action_space.low, model.action_space.high) == (-1, 1)
    assert th.equal(model.policy.log_std.exp(), th.ones(1))
    model.env.reset()
    model.env.step(np.full((model.n_envs, 1), -1.0))
    assert [env.unwrapped.last_u for env in model.env.envs] == [-2.0] * model.n_envs
