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
from rl_zoo3.exp_manager import ExperimentManager
from stable_baselines3.common.monitor import load_results

from sb3_ppo_scratch.benchmark.training.plan import ZOO, Contestant, config_path
from sb3_ppo_scratch.zoo.register import register

CARTPOLE, LANDER, CONTINUOUS = "CartPole-v1", "LunarLander-v3", "LunarLanderContinuous-v3"


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


def train(algorithm: str, config: Path, env_id: str, n_steps: int, folder: Path) -> list[float]:
    """Train as rl_zoo3 does, and return the episodes' returns in the order in which they ended."""
    register()
    manager = ExperimentManager(
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
    model, _ = manager.setup_experiment()
    manager.learn(model)
    return load_results(manager.save_path).sort_values("t")["r"].tolist()


@pytest.mark.parametrize(
    ("algorithm", "file", "env_id", "n_steps"),
    [
        pytest.param("ppo_scratch", "ppo_scratch.yml", CARTPOLE, 20_000, id="000-cartpole"),
        pytest.param("ppo_scratch", "ppo_scratch.yml", LANDER, 60_000, id="000-lander"),
        pytest.param("ppo_scratch", "ladder/separate_networks.yml", CARTPOLE, 12_000, id="001-separate-networks"),
        pytest.param("ppo_scratch", "ladder/monte_carlo_critic.yml", CARTPOLE, 30_000, id="002-monte-carlo"),
        pytest.param("ppo_scratch", "ladder/kl_penalty.yml", CARTPOLE, 20_000, id="002-kl-penalty"),
        pytest.param("trpo", ZOO, CARTPOLE, 20_000, id="002-trpo"),
        pytest.param("ppo_scratch", "ladder/scaled_reward.yml", CARTPOLE, 40_000, id="003-scaled-reward"),
        pytest.param("ppo_scratch", "ladder/shared_networks.yml", CARTPOLE, 40_000, id="003-shared-networks"),
        pytest.param("ppo_scratch", "ladder/clipped_surrogate.yml", CARTPOLE, 30_000, id="003-no-critic"),
        pytest.param("ppo_scratch", "ladder/binned_actions.yml", CONTINUOUS, 40_000, id="003-binned"),
        pytest.param("ppo_scratch", "ladder/ordinal_actions.yml", CONTINUOUS, 40_000, id="003-ordinal"),
        pytest.param("reinforce_scratch", "ladder/reinforce.yml", CARTPOLE, 40_000, id="004-reinforce"),
        pytest.param("reinforce_scratch", "ladder/reward_to_go.yml", CARTPOLE, 30_000, id="004-reward-to-go"),
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
