"""Tests of `updates/network_inputs.py` against SB3's own preprocessing and feature extractor."""

from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy

from sb3_ppo_scratch.observation_normalizer import ObservationNormalizer, attach_observation_normalizer
from sb3_ppo_scratch.updates import network_inputs
from sb3_ppo_scratch.updates.network_inputs import NetworkInputs

SPACES = {
    "vector": spaces.Box(-np.inf, np.inf, (3,), np.float32),
    "matrix": spaces.Box(-np.inf, np.inf, (2, 3), np.float32),
    "float64": spaces.Box(-np.inf, np.inf, (3,), np.float64),
    "integers": spaces.Box(-9, 9, (3,), np.int64),
    "image": spaces.Box(0, 255, (3, 4, 4), np.uint8),
    "bytes_that_are_no_image": spaces.Box(0, 200, (5,), np.uint8),
    "discrete": spaces.Discrete(5),
    "multi_discrete": spaces.MultiDiscrete([2, 3, 4]),
    "multi_binary": spaces.MultiBinary(4),
}


def observations_of(space: spaces.Space[Any], n: int = 6) -> np.ndarray:
    space.seed(0)
    return np.stack([space.sample() for _ in range(n)])


def features_of(space: spaces.Space[Any], observations: np.ndarray, **arguments: Any) -> np.ndarray:
    policy = ActorCriticPolicy(space, spaces.Discrete(2), lambda _: 1.0, **arguments)
    with th.no_grad():
        return policy.extract_features(th.as_tensor(observations)).numpy()


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("normalize_images", [True, False], ids=["scaled", "raw"])
def test_columns_equal_what_sb3s_extractor_hands_on(name: str, normalize_images: bool) -> None:
    space = SPACES[name]
    observations = observations_of(space)
    inputs = NetworkInputs(space, normalize_images=normalize_images)(observations)
    np.testing.assert_array_equal(inputs.T, features_of(space, observations, normalize_images=normalize_images))
    assert inputs.dtype == np.float32
    assert inputs.flags.c_contiguous
    assert inputs.itemsize * len(inputs) == NetworkInputs(space, normalize_images=True).bytes_per_observation


@pytest.mark.parametrize("name", ["vector", "float64", "bytes_that_are_no_image"])
def test_vectors_are_only_cast_which_is_faster(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network_inputs, "preprocess_obs", lambda *_, **__: pytest.fail("preprocessed"))
    observations = observations_of(SPACES[name])
    inputs = NetworkInputs(SPACES[name], normalize_images=True)(observations)
    np.testing.assert_array_equal(inputs.T, observations.astype(np.float32))


@pytest.mark.parametrize("n", [1, 6])
def test_observations_are_not_changed(n: int) -> None:
    observations = observations_of(SPACES["vector"], n)
    before = observations.copy()
    NetworkInputs(SPACES["vector"], normalize_images=True, normalizer=ObservationNormalizer((3,)))(observations)
    np.testing.assert_array_equal(observations, before)


@pytest.mark.parametrize("normalize_images", [True, False], ids=["scaled", "raw"])
@pytest.mark.parametrize("name", ["vector", "matrix", "image"])
def test_normaliser_acts_after_scaling_and_before_flattening_as_in_the_policy(
    name: str, normalize_images: bool
) -> None:
    space = SPACES[name]
    policy = ActorCriticPolicy(space, spaces.Discrete(2), lambda _: 1.0, normalize_images=normalize_images)
    normalizer = attach_observation_normalizer(policy)
    normalizer.absorb(th.rand(50, *space.shape))
    observations = observations_of(space)
    inputs = NetworkInputs(space, normalize_images=normalize_images, normalizer=normalizer)(observations)
    with th.no_grad():
        expected = policy.extract_features(th.as_tensor(observations)).numpy()
    np.testing.assert_allclose(inputs.T, expected, rtol=1e-6)
    assert not np.allclose(inputs, NetworkInputs(space, normalize_images=True)(observations))


def test_dtype_is_the_one_asked_for() -> None:
    inputs = NetworkInputs(SPACES["vector"], normalize_images=True, dtype=np.float64)
    assert inputs(observations_of(SPACES["vector"])).dtype == np.float64
    assert inputs.bytes_per_observation == 3 * 8
