"""Tests of `sb3_ppo_scratch/export`: what the file chooses is what `predict(deterministic=True)` chooses."""

import sys
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from gymnasium import spaces
from stable_baselines3 import A2C, DQN, PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    VecExtractDictObs,
    VecFrameStack,
    VecNormalize,
    unwrap_vec_normalize,
)

from sb3_ppo_scratch import PPOScratch, ReinforceScratch
from sb3_ppo_scratch.__main__ import main
from sb3_ppo_scratch.errors import ArgumentError
from sb3_ppo_scratch.export import onnx_file
from sb3_ppo_scratch.export.deployed_policy import deployed_policy
from sb3_ppo_scratch.export.onnx_file import check_file, example_observations, export_saved_agent, write_onnx
from sb3_ppo_scratch.zoo.saved_run import find_run, open_run
from tests.envs import EndingsEnv
from tests.zoo.processes import run_python

VECTOR = spaces.Box(-np.inf, np.inf, (3,), np.float32)
IMAGE = spaces.Box(0, 255, (3, 36, 36), np.uint8)
DICT = spaces.Dict({"a": VECTOR, "b": spaces.Box(-1.0, 1.0, (2, 2), np.float32)})
BOX = spaces.Box(np.array([-1.0, 0.0], np.float32), np.array([2.0, 0.5], np.float32))


def run_file(path: Path, observations: Any) -> np.ndarray:
    """Run a file."""
    entries = observations if isinstance(observations, dict) else {"observation": observations}
    return onnxruntime.InferenceSession(str(path)).run(None, {name: np.asarray(o) for name, o in entries.items()})[0]


def assert_same_actions(model: BaseAlgorithm, path: Path, *batches: int) -> None:
    """Write a model's policy, and compare what the file chooses with what the model predicts."""
    write_onnx(deployed_policy(model), path)
    for n in batches:
        drawn = example_observations(model.observation_space, n)
        observations = {k: v.numpy() for k, v in drawn.items()} if isinstance(drawn, dict) else drawn.numpy()
        wanted, _ = model.predict(observations, deterministic=True)
        np.testing.assert_allclose(run_file(path, observations), wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("observation_space", "action_space", "policy", "options"),
    [
        pytest.param(VECTOR, spaces.Discrete(4), "MlpPolicy", {}, id="discrete"),
        pytest.param(VECTOR, BOX, "MlpPolicy", {}, id="box"),
        pytest.param(VECTOR, spaces.MultiDiscrete([2, 3]), "MlpPolicy", {}, id="multi-discrete"),
        pytest.param(VECTOR, spaces.MultiBinary(3), "MlpPolicy", {}, id="multi-binary"),
        pytest.param(VECTOR, BOX, "MlpPolicy", {"use_sde": True}, id="gsde"),
        pytest.param(
            VECTOR, BOX, "MlpPolicy", {"use_sde": True, "policy_kwargs": {"squash_output": True}}, id="squashed"
        ),
        pytest.param(VECTOR, BOX, "BinnedMlpPolicy", {"policy_kwargs": {"bins": 5}}, id="binned"),
        pytest.param(VECTOR, BOX, "OrdinalMlpPolicy", {"policy_kwargs": {"bins": 4}}, id="ordinal"),
        pytest.param(
            VECTOR, BOX, "OrdinalMlpPolicy", {"policy_kwargs": {"deterministic_action": "mean"}}, id="ordinal-mean"
        ),
        pytest.param(
            VECTOR, BOX, "GaussianMlpPolicy", {"policy_kwargs": {"state_dependent_std": True}}, id="std-of-state"
        ),
        pytest.param(
            VECTOR,
            BOX,
            "GaussianMlpPolicy",
            {"policy_kwargs": {"independent_components": False}, "normalize_observations": True},
            id="correlated",
        ),
        pytest.param(IMAGE, spaces.Discrete(2), "CnnPolicy", {}, id="image"),
        pytest.param(DICT, spaces.Discrete(2), "MultiInputPolicy", {}, id="dict"),
        pytest.param(VECTOR, spaces.Discrete(2), "MlpPolicy", {"critic": False}, id="no-critic"),
        pytest.param(VECTOR, BOX, "MlpPolicy", {"share_features": True}, id="shared"),
        pytest.param(VECTOR, BOX, "MlpPolicy", {"normalize_observations": True}, id="normaliser"),
    ],
)
def test_file_chooses_what_predict_chooses(
    observation_space: spaces.Space[Any],
    action_space: spaces.Space[Any],
    policy: str,
    options: dict[str, Any],
    tmp_path: Path,
) -> None:
    env = DummyVecEnv([lambda: EndingsEnv(action_space, observation_space)])
    model = PPOScratch(policy, env, n_steps=16, batch_size=16, n_epochs=1, seed=0, device="cpu", **options).learn(32)
    assert_same_actions(model, tmp_path / "agent.onnx", 1, 40, 100)


@pytest.mark.parametrize("env_id", ["CartPole-v1", "FrozenLake-v1"])
@pytest.mark.parametrize("algorithm", [PPO, A2C, DQN, ReinforceScratch])
def test_other_algorithms_policies_are_written_too(algorithm: type[Any], env_id: str, tmp_path: Path) -> None:
    model = algorithm("MlpPolicy", env_id, seed=0, device="cpu")
    assert_same_actions(model, tmp_path / "agent.onnx", 5)


def test_squashed_actions_of_off_policy_algorithms_come_in_the_environments_units(tmp_path: Path) -> None:
    assert_same_actions(SAC("MlpPolicy", "Pendulum-v1", seed=0, device="cpu"), tmp_path / "agent.onnx", 5)


def test_normalisation_of_the_environments_is_inside(tmp_path: Path) -> None:
    env = VecNormalize(make_vec_env("CartPole-v1", 2), clip_obs=1.0)
    model = PPOScratch("MlpPolicy", env, n_steps=16, batch_size=16, seed=0, device="cpu").learn(64)
    write_onnx(deployed_policy(model), tmp_path / "agent.onnx")
    raw = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    wanted, _ = model.predict(env.normalize_obs(raw), deterministic=True)
    np.testing.assert_array_equal(run_file(tmp_path / "agent.onnx", raw), wanted)
    assert len(set(wanted)) == 2


def test_statistics_without_which_the_policy_would_choose_otherwise_are_inside(tmp_path: Path) -> None:
    model = PPOScratch("MlpPolicy", "Pendulum-v1", n_steps=64, seed=0, device="cpu", normalize_observations=True).learn(
        128
    )
    write_onnx(deployed_policy(model), tmp_path / "agent.onnx")
    drawn = np.asarray(example_observations(model.observation_space, 9))
    before = run_file(tmp_path / "agent.onnx", drawn)
    model.policy.get_submodule("observation_normalizer").mean += 1.0  # type: ignore[operator]
    changed, _ = model.predict(drawn, deterministic=True)
    assert np.abs(changed - before).max() > 1e-3


def play_beside(path: Path, model: BaseAlgorithm, n_frames: int, n_steps: int) -> None:
    """Step the model's environment, give the file raw frames, and compare it with `predict` all the way."""
    env = model.env
    normalize = unwrap_vec_normalize(env) if env is not None else None
    assert env is not None
    assert normalize is not None
    observed, done = env.reset(), np.ones(1, dtype=bool)
    for _ in range(n_steps):
        raw = normalize.get_original_obs()
        assert isinstance(raw, np.ndarray)
        if done[0]:
            frames = deque([np.full_like(raw, np.nan)] * n_frames, maxlen=n_frames)
        frames.append(raw)
        wanted, _ = model.predict(observed, deterministic=True)
        stacked = np.concatenate(frames, axis=-1)
        np.testing.assert_allclose(run_file(path, stacked), wanted, rtol=1e-6, atol=1e-6)
        observed, _, done, _ = env.step(wanted)


@pytest.mark.parametrize(
    ("space", "keywords"),
    [(VECTOR, {}), (DICT, {}), (DICT, {"norm_obs_keys": ["b"]})],
    ids=["vector", "dict", "dict in part"],
)
def test_frames_that_are_normalised_before_they_are_stacked(
    space: spaces.Space[Any], keywords: dict[str, Any], tmp_path: Path
) -> None:
    normalize = VecNormalize(DummyVecEnv([lambda: EndingsEnv(BOX, space)]), **keywords)
    env = VecFrameStack(normalize, 3)
    policy = "MultiInputPolicy" if isinstance(space, spaces.Dict) else "MlpPolicy"
    model = PPOScratch(policy, env, n_steps=32, batch_size=32, n_epochs=1, seed=0, device="cpu").learn(64)
    write_onnx(deployed_policy(model), tmp_path / "agent.onnx")
    normalize.training = False
    observed: Any = env.reset()
    frames: list[Any] = [normalize.get_original_obs()]
    for _ in range(2):
        observed, *_ = env.step(np.zeros((1, 2)))
        frames.append(normalize.get_original_obs())
    stacked = (
        {key: np.concatenate([frame[key] for frame in frames], axis=-1) for key in frames[0]}
        if isinstance(space, spaces.Dict)
        else np.concatenate(frames, axis=-1)
    )
    wanted, _ = model.predict(observed, deterministic=True)
    np.testing.assert_allclose(run_file(tmp_path / "agent.onnx", stacked), wanted, rtol=1e-6, atol=1e-6)


def test_frames_that_are_not_there_yet_are_nan_and_a_frame_of_zeros_is_a_frame(tmp_path: Path) -> None:
    env = VecFrameStack(VecNormalize(make_vec_env("Pendulum-v1")), 2)
    model = PPOScratch("MlpPolicy", env, n_steps=64, batch_size=64, seed=0, device="cpu").learn(64)
    write_onnx(deployed_policy(model), tmp_path / "agent.onnx")
    normalize = unwrap_vec_normalize(env)
    assert normalize is not None
    none, zeros, frame = np.full(3, np.nan), np.zeros(3), np.array([0.6, 0.8, -1.0])
    for first, wanted_first in ((none, zeros), (zeros, normalize.normalize_obs(zeros))):
        wanted, _ = model.predict(np.concatenate([wanted_first, normalize.normalize_obs(frame)]), deterministic=True)
        given = np.concatenate([first, frame])[None].astype(np.float32)
        np.testing.assert_allclose(run_file(tmp_path / "agent.onnx", given)[0], wanted, rtol=1e-6, atol=1e-6)
    assert np.abs(normalize.normalize_obs(zeros)).max() > 0.1


def test_frames_of_whole_numbers_cannot_be_normalised_by_a_file() -> None:
    counts = spaces.Box(0, 9, (2,), np.int64)
    env = VecFrameStack(VecNormalize(DummyVecEnv([lambda: EndingsEnv(BOX, counts)])), 2)
    with pytest.raises(ArgumentError, match="`frame_stack` around `normalize` cuts observations of int64 off"):
        deployed_policy(PPOScratch("MlpPolicy", env, device="cpu"))


def test_wrappers_around_the_normalisation_that_change_observations_are_refused() -> None:
    env = VecExtractDictObs(VecNormalize(DummyVecEnv([lambda: EndingsEnv(BOX, DICT)])), "a")
    with pytest.raises(ArgumentError, match=r"do not fit what the policy observes, Box.* a wrapper between the two"):
        deployed_policy(PPOScratch("MlpPolicy", env, device="cpu"))


@pytest.mark.parametrize("n_frames", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_command_writes_beside_the_model_what_rl_zoo3_has_saved(
    n_frames: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.yml"
    config.write_text(
        f"Pendulum-v1:\n  n_timesteps: 256\n  policy: MlpPolicy\n  n_steps: 128\n  normalize: true\n"
        f"{f'  frame_stack: {n_frames}' if n_frames > 1 else ''}\n"
    )
    words = ("--algo", "ppo_scratch", "--env", "Pendulum-v1", "-conf", str(config), "--eval-freq", "-1", "-f", "logs")
    run_python("-m", "rl_zoo3.train", *words, folder=tmp_path)
    saved = next(tmp_path.glob("logs/ppo_scratch/*/Pendulum-v1.zip"))
    assert main(["export", str(saved)]) == 0
    printed = capsys.readouterr().out
    assert ("give NaN in place of frames that are not there yet" in printed) == (n_frames > 1)
    path = Path(printed.splitlines()[-1])
    assert path == saved.with_suffix(".onnx")
    assert sorted(file.suffix for file in path.parent.iterdir() if file.is_file()) == [".csv", ".onnx", ".zip"]
    model, env = open_run(find_run(saved), seed=0)
    play_beside(path, model, n_frames, n_steps=205)  # an episode has 200
    raw = np.asarray(example_observations(model.observation_space, 9))
    assert np.abs(run_file(path, raw) - model.predict(raw, deterministic=True)[0]).max() > 1e-3
    env.close()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["none.zip"], "there is no file none.zip"),
        (["none.zip", "--out", "agent.pt"], "must end in .onnx"),
    ],
)
def test_mistakes_end_in_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", *words]) == 2
    assert message in capsys.readouterr().err


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ArgumentError, match=r"needs the package onnxscript: pip install 'sb3-ppo-scratch\[export\]'"):
        export_saved_agent(Path("model.zip"))


def test_a_file_that_chooses_otherwise_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = PPOScratch("MlpPolicy", "Pendulum-v1", seed=0, device="cpu")
    monkeypatch.setattr(onnx_file, "TOLERANCE", -1.0)
    with pytest.raises(ArgumentError, match="actions differ from the policy's by up to"):
        write_onnx(deployed_policy(model), tmp_path / "agent.onnx")
    assert not list(tmp_path.iterdir())


def test_a_file_for_one_batch_size_only_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = PPOScratch("MlpPolicy", "Pendulum-v1", seed=0, device="cpu")
    monkeypatch.setattr(onnx_file, "_dynamic", lambda _: None)
    with pytest.raises(ArgumentError, match="the file refuses a batch of 1, so nothing was written"):
        write_onnx(deployed_policy(model), tmp_path / "agent.onnx")
    assert not list(tmp_path.iterdir())


def test_a_file_whose_actions_have_another_shape_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deployed = deployed_policy(PPOScratch("MlpPolicy", "CartPole-v1", seed=0, device="cpu"))
    forward = deployed.forward
    monkeypatch.setattr(deployed, "forward", lambda observations: forward(observations)[:, None])
    write_onnx(deployed, tmp_path / "agent.onnx")
    monkeypatch.undo()
    with pytest.raises(ArgumentError, match=r"actions have the shape \(1, 1\), the policy's \(1,\)"):
        check_file(tmp_path / "agent.onnx", deployed, example_observations(deployed.policy.observation_space))


def test_policies_with_a_memory_are_refused() -> None:
    from sb3_contrib import RecurrentPPO

    model = RecurrentPPO("MlpLstmPolicy", "CartPole-v1", device="cpu")
    with pytest.raises(ArgumentError, match="keeps a state from step to step"):
        deployed_policy(model)
