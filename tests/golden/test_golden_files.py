"""What every release has written is read by this one.

Promised to all: a checkpoint's run, which is JSON and arrays, and the wrappers' `.npz`. Promised to the Python version
(3.11, say) that wrote them: models and checkpoints as a whole, since SB3 pickles parts of its zip.
"""

import json
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from sb3_ppo_scratch import PPOScratch
from sb3_ppo_scratch.checkpoints.checkpoint_file import read_checkpoint
from sb3_ppo_scratch.wrappers import NormalizeObservation
from tests.golden.make import FOLDER, SAVED_AT, TOTAL, make_callback, make_env, predict

VERSIONS = sorted(path.parent for path in FOLDER.glob("*/expected.json"))
every_version = pytest.mark.parametrize("folder", VERSIONS, ids=[folder.name for folder in VERSIONS])


def read_expected(folder: Path, *, pickled: bool = False) -> dict[str, Any]:
    """Read what the files have to give; skip what another version of Python has pickled."""
    expected: dict[str, Any] = json.loads((folder / "expected.json").read_text())
    if pickled and expected["python"] != list(sys.version_info[:2]):
        pytest.skip(f"SB3's pickled parts were written by Python {expected['python']}")
    return expected


def test_there_are_some_and_they_are_small() -> None:
    assert [folder.name for folder in VERSIONS]
    for folder in VERSIONS:
        assert sum(path.stat().st_size for path in folder.iterdir()) < 100_000


@every_version
def test_models_do_what_they_did(folder: Path) -> None:
    expected = read_expected(folder, pickled=True)
    actions = predict(PPOScratch.load(folder / "model.zip", device="cpu"), np.float32(expected["observations"]))
    np.testing.assert_allclose(actions, expected["actions"], atol=1e-6)


@every_version
def test_checkpoints_go_on_to_the_same_end(folder: Path) -> None:
    expected = read_expected(folder, pickled=True)
    model = PPOScratch.load_checkpoint(folder / "checkpoint.zip", env=make_env(), device="cpu")
    assert model.num_timesteps == SAVED_AT
    model.resume(make_callback(None))
    assert model.num_timesteps == TOTAL
    actions = predict(model, np.float32(expected["observations"]))
    np.testing.assert_allclose(actions, expected["actions"], atol=1e-4)  # other versions of torch round otherwise


@every_version
def test_the_state_of_a_run_can_be_read_everywhere(folder: Path) -> None:
    state = read_checkpoint(folder / "checkpoint.zip")[1]
    assert state["counters"]["num_timesteps"] == SAVED_AT
    assert [each["name"] for each in state["callbacks"]] == ["CallbackList", "EveryNTimesteps", "ConvertCallback"]
    assert state["last_observations"].shape == (2, 3)


@every_version
def test_statistics_are_what_they_were(folder: Path) -> None:
    expected = read_expected(folder)
    env = NormalizeObservation(gym.make("Pendulum-v1"), stats_path=folder / "moments.npz")
    np.testing.assert_array_equal(env.mean, expected["mean"])
    np.testing.assert_array_equal(env.std, expected["std"])
