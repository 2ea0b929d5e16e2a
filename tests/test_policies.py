"""Tests of the policies that choose among atoms of a Box (`policies.py`)."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces

from sb3_ppo_scratch import PPOScratch
from sb3_ppo_scratch.wrappers import BinAction
from tests.envs import EndingsEnv

BOX = spaces.Box(np.array([-1.0, 0.0], np.float32), np.array([1.0, 2.0], np.float32))
MATRIX = spaces.Box(-1.0, 1.0, (2, 2), np.float32)
POLICIES = ["BinnedMlpPolicy", "OrdinalMlpPolicy"]


def model_of(policy: str = "OrdinalMlpPolicy", action_space: spaces.Space[Any] = BOX, **arguments: Any) -> PPOScratch:
    settings = {"n_steps": 16, "batch_size": 8, "n_epochs": 2, "seed": 0, **arguments}
    return PPOScratch(policy, EndingsEnv(action_space), **settings)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(
    ("action_space", "bins", "atoms"),
    [
        (BOX, 3, [[-1, 0, 1], [0, 1, 2]]),
        (BOX, [[-1.0, 0.5], 2], [[-1, 0.5], [0, 2]]),
        (MATRIX, 2, [[-1, 1]] * 4),
    ],
    ids=["count", "per_dimension", "matrix"],
)
def test_actions_are_atoms_of_the_box(
    policy: str, action_space: spaces.Box, bins: Any, atoms: list[list[float]]
) -> None:
    model = model_of(policy, action_space, policy_kwargs={"bins": bins}).learn(32)
    for column, values in zip(model.rollout_buffer.actions.reshape(-1, len(atoms)).T, atoms, strict=True):
        assert set(column.tolist()) <= set(values)
    observations = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    actions, _ = model.predict(observations)
    assert actions.shape == (20, *action_space.shape)
    assert all(action_space.contains(action.astype(np.float32)) for action in actions)
    received = model.get_env().envs[0].unwrapped.received_actions  # type: ignore[union-attr] # DummyVecEnv
    assert all(action.shape == action_space.shape for action in received)


def test_ratio_of_the_first_minibatch_is_one() -> None:
    model = model_of(n_epochs=1, batch_size=16)
    model.learn(16)
    assert model.logger.name_to_value["train/approx_kl"] == pytest.approx(0.0, abs=1e-6)
    assert model.logger.name_to_value["train/clip_fraction"] == 0.0


def test_ordinal_head_serves_the_space_that_bin_action_makes() -> None:
    for flat in (False, True):
        env = BinAction(EndingsEnv(BOX), bins=[3, 4], flat=flat)
        model = PPOScratch("OrdinalMlpPolicy", env, n_steps=16, batch_size=8, seed=0).learn(32)
        assert model.rollout_buffer.actions.max() < 12
        action, _ = model.predict(np.zeros(3, np.float32), deterministic=True)
        assert env.action_space.contains(action if not flat else int(action))


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("deterministic_action", ["mode", "mean", "median"])
def test_policy_survives_saving_copying_and_pickling(policy: str, deterministic_action: str, tmp_path: Any) -> None:
    kwargs = {"bins": 5, "deterministic_action": deterministic_action}
    model = model_of(policy, policy_kwargs=kwargs).learn(16)
    model.save(tmp_path / "model")
    model.policy.save(tmp_path / "policy")
    observations = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    expected, _ = model.predict(observations, deterministic=True)
    others = [
        PPOScratch.load(tmp_path / "model"),
        type(model.policy).load(tmp_path / "policy"),
        copy.deepcopy(model),
        pickle.loads(pickle.dumps(model.policy)),
    ]
    for other in others:
        np.testing.assert_array_equal(other.predict(observations, deterministic=True)[0], expected)


def test_update_falls_to_autograd_and_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    model_of(verbose=1)
    assert "autograd update (auto: the closed form does not cover the action distribution" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("policy", "action_space", "arguments", "message"),
    [
        ("BinnedMlpPolicy", spaces.Discrete(3), {}, r"BinnedMlpPolicy needs a Box action space, got Discrete\(3\)"),
        ("OrdinalMlpPolicy", spaces.MultiBinary(3), {}, "needs a Box or MultiDiscrete or Discrete action space"),
        ("OrdinalMlpPolicy", spaces.Discrete(3), {"policy_kwargs": {"bins": 3}}, "discrete already"),
        ("BinnedMlpPolicy", BOX, {"policy_kwargs": {"bins": 1}}, "must be at least 2"),
        ("BinnedMlpPolicy", BOX, {"policy_kwargs": {"bins": [[0.0, 5.0], 2]}}, "must lie within the action space's"),
        ("BinnedMlpPolicy", BOX, {"use_sde": True}, "`use_sde=True` is not for BinnedMlpPolicy"),
        ("BinnedMlpPolicy", BOX, {"policy_kwargs": {"deterministic_action": "max"}}, "`deterministic_action` must be"),
        ("BinnedMlpPolicy", spaces.Box(-np.inf, np.inf, (1,)), {}, "finite lower and upper bound"),
    ],
)
def test_what_cannot_be_binned_is_named(
    policy: str, action_space: Any, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        model_of(policy, action_space, **arguments)


@pytest.mark.parametrize("policy", POLICIES)
def test_policy_learns_to_prefer_small_actions(policy: str) -> None:
    env = EndingsEnv(spaces.Box(-1, 1, (1,), np.float32))
    model = PPOScratch(policy, env, n_steps=256, batch_size=64, learning_rate=3e-3, seed=0, gamma=0.0, ent_coef=0.0)

    def mean_size() -> float:
        observations = np.random.default_rng(1).normal(size=(500, 3)).astype(np.float32)
        return float(np.abs(model.predict(observations)[0]).mean())

    before = mean_size()
    model.learn(256 * 30)
    assert mean_size() < 0.8 * before


def test_exact_divergences_are_watched() -> None:
    values = model_of(kl_mode="penalty", target_kl=0.01).learn(32).logger.name_to_value
    assert th.isfinite(th.tensor(values["train/kl_last"]))
