"""rl_zoo3's `vecnormalize.pkl`, read as data, normalises as SB3's own `VecNormalize.load` does."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize

from sb3_ppo_scratch.zip_members import UnsafeFileError
from sb3_ppo_scratch.zoo.saved_statistics import normalized
from tests.envs import EndingsEnv
from tests.untrusted.hostile import RunsCode

SPACES = {
    "float32": spaces.Box(-np.inf, np.inf, (3,), np.float32),
    "float64": spaces.Box(-np.inf, np.inf, (2, 3), np.float64),
    "dict": spaces.Dict({"a": spaces.Box(-np.inf, np.inf, (3,)), "b": spaces.Box(-np.inf, np.inf, (2, 2))}),
}


def environments(space: Any) -> VecEnv:
    """Make two."""
    return DummyVecEnv([lambda: EndingsEnv(spaces.Discrete(2), space)] * 2)


def learned(space: Any, path: Path, **arguments: Any) -> VecNormalize:
    """Collect statistics, and save them."""
    env = VecNormalize(environments(space), **arguments)
    env.seed(1)
    env.reset()
    for _ in range(20):
        env.step(np.zeros(2, dtype=int))
    env.save(str(path))
    return env


def assert_equal(one: Any, other: Any) -> None:
    """Assert that observations are equal to the last bit."""
    for name in one if isinstance(one, dict) else [None]:
        np.testing.assert_array_equal(one if name is None else one[name], other if name is None else other[name])


@pytest.mark.parametrize("arguments", [{}, {"clip_obs": 0.5, "epsilon": 1e-3}, {"norm_obs": False}], ids=str)
@pytest.mark.parametrize("name", SPACES)
def test_observations_are_those_of_sb3(name: str, arguments: dict[str, Any], tmp_path: Path) -> None:
    learned(SPACES[name], tmp_path / "v.pkl", **arguments)
    ours = normalized(environments(SPACES[name]), tmp_path / "v.pkl")
    stocks = VecNormalize.load(str(tmp_path / "v.pkl"), environments(SPACES[name]))
    stocks.training, stocks.norm_reward = False, False
    for env in (ours, stocks):
        env.seed(3)
    assert_equal(ours.reset(), stocks.reset())
    for _ in range(12):
        (one, own_reward, *_), (other, reward, *_) = (env.step(np.ones(2, dtype=int)) for env in (ours, stocks))
        assert_equal(one, other)
        np.testing.assert_array_equal(own_reward, reward)


def test_keys_that_were_left_alone_are(tmp_path: Path) -> None:
    learned(SPACES["dict"], tmp_path / "v.pkl", norm_obs_keys=["b"])
    env = normalized(environments(SPACES["dict"]), tmp_path / "v.pkl")
    assert isinstance(env.obs_rms, dict)
    assert list(env.obs_rms) == ["b"]


def test_other_observations_are_refused(tmp_path: Path) -> None:
    learned(SPACES["float32"], tmp_path / "v.pkl")
    with pytest.raises(ValueError, match=r"observations of the shape \(3,\); those of the environment have \(2, 3\)"):
        normalized(environments(SPACES["float64"]), tmp_path / "v.pkl")


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"v\.pkl"):
        normalized(environments(SPACES["float32"]), tmp_path / "v.pkl")


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_code_in_the_file_does_not_run(protocol: int, tmp_path: Path) -> None:
    (tmp_path / "v.pkl").write_bytes(pickle.dumps(RunsCode(tmp_path / "canary"), protocol=protocol))
    with pytest.raises(UnsafeFileError, match="it holds no VecNormalize"):
        normalized(environments(SPACES["float32"]), tmp_path / "v.pkl")
    env = learned(SPACES["float32"], tmp_path / "v.pkl")
    env.reset_infos = [{"x": RunsCode(tmp_path / "canary")}] * 2
    (tmp_path / "v.pkl").write_bytes(pickle.dumps(env, protocol=protocol))
    assert normalized(environments(SPACES["float32"]), tmp_path / "v.pkl").clip_obs == 10.0
    assert not (tmp_path / "canary").exists()


def test_the_same_for_statistics_of_another_numpy(tmp_path: Path) -> None:
    learned(SPACES["float32"], tmp_path / "v.pkl")
    saved = (tmp_path / "v.pkl").read_bytes()
    old = saved.replace(b"\x16numpy._core.multiarray", b"\x16numpy.core.multiarray_")
    assert old != saved
    (tmp_path / "old.pkl").write_bytes(old)
    envs = [normalized(environments(SPACES["float32"]), tmp_path / name) for name in ("v.pkl", "old.pkl")]
    np.testing.assert_array_equal(*(env.obs_rms.mean for env in envs))
