"""Saved files cross over between `PPOScratch` and stock PPO, also where this package is not installed."""

import base64
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv

from sb3_ppo_scratch import PPOScratch, ReinforceScratch
from tests.envs import EndingsEnv

BOX = spaces.Box(-0.5, 0.5, (2,), np.float32)
DICT = spaces.Dict({"x": spaces.Box(-1, 1, (2,)), "image": spaces.Box(0, 255, (3, 36, 36), np.uint8)})

KINDS: dict[str, tuple[str, spaces.Space[Any], spaces.Space[Any] | None, dict[str, Any]]] = {
    "discrete": ("MlpPolicy", spaces.Discrete(3), None, {"clip_range_vf": 0.2, "target_kl": 0.1}),
    "box_sde": ("MlpPolicy", BOX, None, {"use_sde": True}),
    "multi_binary_cnn": ("CnnPolicy", spaces.MultiBinary(2), spaces.Box(0, 255, (3, 36, 36), np.uint8), {}),
    "multi_discrete_dict": ("MultiInputPolicy", spaces.MultiDiscrete([2, 3]), DICT, {}),
}


def environment(action_space: spaces.Space[Any], observation_space: spaces.Space[Any] | None) -> DummyVecEnv:
    return DummyVecEnv([lambda: EndingsEnv(action_space, observation_space) for _ in range(2)])


@pytest.mark.parametrize(("writer", "reader"), [(PPOScratch, PPO), (PPO, PPOScratch)], ids=["to_stock", "from_stock"])
@pytest.mark.parametrize("kind", KINDS)
def test_file_of_one_opens_in_the_other_and_both_act_and_learn_on_identically(
    writer: type[PPO], reader: type[PPO], kind: str, tmp_path: Path
) -> None:
    policy, action_space, observation_space, arguments = KINDS[kind]
    settings = {"n_steps": 8, "batch_size": 8, "n_epochs": 2, "seed": 0, "device": "cpu", **arguments}
    written = writer(policy, environment(action_space, observation_space), **settings)
    written.learn(32)
    written.save(tmp_path / "model")
    read = reader.load(tmp_path / "model", env=environment(action_space, observation_space), device="cpu")
    observations = environment(action_space, observation_space).reset()
    np.testing.assert_array_equal(
        written.predict(observations, deterministic=True)[0], read.predict(observations, deterministic=True)[0]
    )
    for model in (written, read):
        model.set_env(environment(action_space, observation_space))
        model.set_random_seed(3)
        model.learn(16, reset_num_timesteps=False)
    vectors = [th.nn.utils.parameters_to_vector(model.policy.parameters()) for model in (written, read)]
    assert (vectors[0] - vectors[1]).abs().max() <= 1e-6
    assert read.num_timesteps == written.num_timesteps == 48


@pytest.mark.parametrize(
    "arguments",
    [
        {"n_episodes": 2},
        {"advantage": "monte_carlo"},
        {"timeout_bootstrap": False},
        {"kl_mode": "penalty", "target_kl": 0.1},
        {"kl_mode": "adaptive_lr", "target_kl": 0.1},
        {"kl_mode": "rollback", "target_kl": 0.1},
    ],
    ids=str,
)
def test_file_that_stock_would_continue_otherwise_is_refused_by_stock_and_read_here(
    arguments: dict[str, Any], tmp_path: Path
) -> None:
    env = environment(spaces.Discrete(3), None)
    model = PPOScratch("MlpPolicy", env, n_steps=8, batch_size=8, seed=0, **arguments)
    model.save(tmp_path / "model")
    assert model.rollout_buffer_kwargs == {}
    with pytest.raises(TypeError, match="this_file_needs_sb3_ppo_scratch"):
        PPO.load(tmp_path / "model")
    assert PPOScratch.load(tmp_path / "model", env=env).learn(16).rollout_buffer_kwargs == {}


def test_file_of_reinforce_is_refused_by_stock(tmp_path: Path) -> None:
    model = ReinforceScratch("MlpPolicy", environment(spaces.Discrete(3), None), baseline="value")
    model.save(tmp_path / "model")
    with pytest.raises(TypeError, match="this_file_needs_sb3_ppo_scratch"):
        PPO.load(tmp_path / "model")


def pickled_modules(path: Path) -> set[str]:
    """Every module named in a file's pickled members: their text contains it, whatever the pickle protocol."""
    with zipfile.ZipFile(path) as archive:
        data = json.loads(archive.read("data"))
        blobs = [base64.b64decode(item[":serialized:"]) for item in data.values() if _is_pickled(item)]
        blobs += [archive.read(name) for name in archive.namelist() if name.endswith(".pth")]
        text = archive.read("data") + b"".join(blobs)
    return {found.decode() for found in re.findall(rb"\b(sb3_ppo_scratch|tests)\b", text)}


def _is_pickled(item: Any) -> bool:
    return isinstance(item, dict) and ":serialized:" in item


@pytest.mark.parametrize("update", ["closed_form", "autograd"])
@pytest.mark.parametrize("net_arch", [[64, 64], [5, 7], [30, 9, 20]], ids=str)
def test_file_predicts_what_the_trained_model_predicts_to_the_last_bit(
    net_arch: list[int], update: str, tmp_path: Path
) -> None:
    # Products round differently where a matrix begins elsewhere in memory, and training moves matrices.
    env = EndingsEnv(BOX, spaces.Box(-1, 1, (3,), np.float32))
    arguments = {"n_steps": 8, "batch_size": 8, "n_epochs": 1, "seed": 0, "update": update}
    model = PPOScratch("MlpPolicy", env, policy_kwargs={"net_arch": net_arch}, **arguments).learn(16)
    model.save(tmp_path / "model")
    loaded = PPOScratch.load(tmp_path / "model")
    observations = th.randn((200, 3), generator=th.Generator().manual_seed(0))
    for n in (1, 8, 200):
        ours, theirs = (each.policy.predict_values(observations[:n]) for each in (model, loaded))
        assert th.equal(ours, theirs)
        actions, same_actions = (each.predict(observations[:n].numpy(), deterministic=True) for each in (model, loaded))
        np.testing.assert_array_equal(actions[0], same_actions[0])


@pytest.mark.parametrize("kind", KINDS)
def test_file_names_no_class_of_this_project(kind: str, tmp_path: Path) -> None:
    policy, action_space, observation_space, arguments = KINDS[kind]
    model = PPOScratch(policy, environment(action_space, observation_space), n_steps=8, batch_size=8, **arguments)
    model.learn(16)
    model.save(tmp_path / "model.zip")
    assert pickled_modules(tmp_path / "model.zip") == set()


def test_file_with_an_option_that_stock_lacks_fails_loudly_in_stock(tmp_path: Path) -> None:
    PPOScratch("MlpPolicy", environment(BOX, None), n_steps=8, normalize_observations=True).save(tmp_path / "model")
    with pytest.raises(RuntimeError, match=r"Unexpected key.*observation_normalizer"):
        PPO.load(tmp_path / "model")


WITHOUT_PACKAGE = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "sb3_ppo_scratch":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Blocker())
import numpy as np
import torch
from stable_baselines3 import PPO
torch.set_num_threads(1)
model = PPO.load(sys.argv[1] + "/model.zip", device="cpu")
observations = np.load(sys.argv[1] + "/observations.npy")
np.save(sys.argv[1] + "/actions.npy", model.predict(observations, deterministic=True)[0])
assert not [name for name in sys.modules if name.startswith("sb3_ppo_scratch")]
"""


def test_stock_opens_the_file_where_this_package_is_not_installed(tmp_path: Path) -> None:
    model = PPOScratch("MlpPolicy", environment(BOX, None), n_steps=8, batch_size=8, seed=0).learn(32)
    model.save(tmp_path / "model.zip")
    observations = np.random.default_rng(0).normal(size=(10, 3)).astype(np.float32)
    np.save(tmp_path / "observations.npy", observations)
    # Torch's plug-in hook is switched off as a whole: with the package blocked it would report an error.
    subprocess.run(
        [sys.executable, "-c", WITHOUT_PACKAGE, str(tmp_path)],
        check=True,
        timeout=120,
        env={**os.environ, "TORCH_DEVICE_BACKEND_AUTOLOAD": "0"},
    )
    np.testing.assert_array_equal(np.load(tmp_path / "actions.npy"), model.predict(observations, deterministic=True)[0])
