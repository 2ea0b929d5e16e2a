"""Files of this project load without unpickling, and are then the same as unpickled ones."""

import io
import pickle
from pathlib import Path
from typing import Any

import cloudpickle
import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.utils import LinearSchedule

from sb3_ppo_scratch import PPOScratch, ReinforceScratch
from sb3_ppo_scratch.callbacks import SaveCheckpoints
from sb3_ppo_scratch.zip_members import UnsafeFileError
from tests.envs import EndingsEnv


@pytest.fixture(autouse=True)
def no_pickle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every test fail in which something is unpickled."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("something was unpickled")

    monkeypatch.setattr(cloudpickle, "loads", refuse)
    monkeypatch.setattr(pickle, "loads", refuse)
    monkeypatch.setattr(pickle, "load", refuse)


def saved(model: Any) -> io.BytesIO:
    """Save a model."""
    file = io.BytesIO()
    model.save(file)
    file.seek(0)
    return file


def assert_same(one: Any, other: Any) -> None:
    """Assert that two models are the same in all that a file holds."""
    for (name, own), (_, others) in zip(
        one.policy.state_dict().items(), other.policy.state_dict().items(), strict=True
    ):
        assert th.equal(own, others), name
    own, others = (model.policy.optimizer.state_dict()["state"] for model in (one, other))
    assert own.keys() == others.keys()
    for key in own:
        assert all(th.equal(own[key][name], others[key][name]) for name in own[key])
    dropped = {"_last_obs", "_last_episode_starts", "ep_info_buffer", "ep_success_buffer", "lr_schedule", "start_time"}
    for name in vars(one).keys() - dropped - {"_num_timesteps_at_start"} - set(one._excluded_save_params()):
        assert str(getattr(one, name)) == str(getattr(other, name)), name


CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "plain": (PPOScratch, {}),
    "ReLU": (PPOScratch, {"policy_kwargs": {"activation_fn": th.nn.ReLU, "net_arch": {"pi": [16], "vf": [8, 8]}}}),
    "optimizer": (PPOScratch, {"policy_kwargs": {"optimizer_class": th.optim.RMSprop}, "update": "autograd"}),
    "schedules": (PPOScratch, {"learning_rate": LinearSchedule(1e-2, 0.0, 1.0), "clip_range_vf": 0.3}),
    "normalized": (PPOScratch, {"normalize_observations": True}),
    "options": (PPOScratch, {"kl_mode": "penalty", "target_kl": 0.01, "share_features": True, "n_episodes": 3}),
    "no critic": (PPOScratch, {"critic": False, "advantage": "monte_carlo"}),
    "reinforce": (ReinforceScratch, {"n_episodes": 2, "baseline": "value"}),
}


@pytest.mark.parametrize("name", CASES)
def test_models_are_the_same_as_unpickled_ones(name: str) -> None:
    algorithm, arguments = CASES[name]
    sizes = {"n_steps": 16, "batch_size": 16} if algorithm is PPOScratch else {}
    model = algorithm("MlpPolicy", "CartPole-v1", seed=1, **sizes, **arguments).learn(32)
    again = algorithm.load(saved(model), trusted=False)
    assert_same(model, again)
    env = gym.make("CartPole-v1")
    for each in (model, again):
        each.set_env(env)
        each.set_random_seed(5)
        each.learn(32, reset_num_timesteps=False)
    assert_same(model, again)


@pytest.mark.parametrize("policy", ["BinnedMlpPolicy", "OrdinalMlpPolicy", "GaussianMlpPolicy"])
def test_policies_of_this_project(policy: str) -> None:
    model = PPOScratch(policy, "Pendulum-v1", n_steps=16, batch_size=16, seed=1).learn(16)
    assert_same(model, PPOScratch.load(saved(model), trusted=False))


@pytest.mark.parametrize(
    ("policy", "space"),
    [
        ("CnnPolicy", spaces.Box(0, 255, (36, 36, 1), np.uint8)),
        ("MultiInputPolicy", spaces.Dict({"b": spaces.Box(-1, 1, (3,)), "a": spaces.Discrete(4)})),
    ],
)
@pytest.mark.parametrize("action_space", [spaces.MultiDiscrete([2, 3]), spaces.MultiBinary(2), spaces.Box(-1, 1, (2,))])
def test_other_observations_and_actions(policy: str, space: Any, action_space: Any) -> None:
    small = {"features_extractor_kwargs": {"features_dim": 8}} if policy == "CnnPolicy" else {"net_arch": [8]}
    env = EndingsEnv(action_space, space)
    model = PPOScratch(policy, env, n_steps=4, batch_size=4, seed=1, policy_kwargs=small)
    again = PPOScratch.load(saved(model), trusted=False)
    assert_same(model, again)
    observation = space.sample()
    assert np.array_equal(*(each.predict(observation, deterministic=True)[0] for each in (model, again)))


def test_a_noisy_policy(tmp_path: Path) -> None:
    model = PPOScratch("MlpPolicy", "Pendulum-v1", n_steps=16, batch_size=16, use_sde=True).learn(16)
    model.save(tmp_path / "model")
    assert_same(model, PPOScratch.load(tmp_path / "model", trusted=False))


def own_schedule(progress: float) -> float:
    """Anneal in a way of one's own."""
    return 1e-3 * progress


def test_what_cannot_be_described_is_named_when_saving_and_asked_for_when_loading() -> None:
    model = PPOScratch("MlpPolicy", "CartPole-v1", learning_rate=own_schedule)
    with pytest.warns(UserWarning, match=r"^`learning_rate` \(builtins.function\) cannot be described by data"):
        file = saved(model)
    with pytest.raises(UnsafeFileError, match=r"`learning_rate` \(builtins.function\) can only be unpickled; give"):
        PPOScratch.load(file, trusted=False)
    file.seek(0)
    again = PPOScratch.load(file, trusted=False, custom_objects={"learning_rate": 1e-4})
    assert again.learning_rate == 1e-4


def test_a_rollout_takes_memory_only_when_it_begins() -> None:
    model = PPOScratch("MlpPolicy", "CartPole-v1", n_steps=32, batch_size=16)
    model.n_steps = 10**12
    again = PPOScratch.load(saved(model), trusted=False)
    assert again.n_steps == 10**12
    again.n_steps = 32
    again.set_env(gym.make("CartPole-v1"))
    assert again.learn(32).num_timesteps == 32
    assert again.rollout_buffer.observations.shape[0] == 32 * 1


@pytest.mark.parametrize("at", [20, 32])
def test_a_run_goes_on_from_a_file_that_is_not_unpickled(at: int, tmp_path: Path) -> None:
    def make() -> PPOScratch:
        return PPOScratch("MlpPolicy", make_vec_env("CartPole-v1", 2, seed=3), n_steps=16, batch_size=16, seed=1)

    whole = make().learn(128)
    make().learn(128, callback=SaveCheckpoints(at // 2, tmp_path, keep=9))
    env = make_vec_env("CartPole-v1", 2, seed=3)
    again = PPOScratch.load_checkpoint(tmp_path / f"rl_model_{at}_steps.zip", env=env, trusted=False)
    assert_same(whole, again.resume(SaveCheckpoints(at // 2, tmp_path)))


def test_paths_and_environments_of_a_file_are_left_out(tmp_path: Path) -> None:
    model = PPOScratch("MlpPolicy", "CartPole-v1", tensorboard_log=str(tmp_path / "logs"))
    model.predict_anything = "text"  # type: ignore[attr-defined]
    again = PPOScratch.load(saved(model), trusted=False)
    assert again.tensorboard_log is None
    assert again.env is None
    assert not hasattr(again, "predict_anything")


def test_arguments_are_changed_as_ever() -> None:
    model = PPOScratch("MlpPolicy", "CartPole-v1", n_steps=16, batch_size=16)
    again = PPOScratch.load(saved(model), env=gym.make("CartPole-v1"), trusted=False, n_steps=64, gamma=0.5)
    assert (again.n_steps, again.gamma) == (64, 0.5)
    assert again.learn(64).num_timesteps == 64
    with pytest.raises(ValueError, match="`critic` cannot become False"):
        PPOScratch.load(saved(model), trusted=False, critic=False)
    with pytest.raises(TypeError, match="did you mean `gamma`"):
        PPOScratch.load(saved(model), trusted=False, gama=0.5)


def test_stock_still_opens_the_file() -> None:
    model = PPOScratch("MlpPolicy", "CartPole-v1", n_steps=16, batch_size=16)
    file = saved(model)
    with pytest.raises(AssertionError, match="something was unpickled"):
        PPO.load(file)
