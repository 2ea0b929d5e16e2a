"""Tests of the policies that choose among atoms of a Box (`policies.py`)."""

import copy
import itertools
import pickle
import sys
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv

from sb3_ppo_scratch import PPOScratch
from sb3_ppo_scratch.errors import ArgumentError, ArgumentTypeError
from sb3_ppo_scratch.wrappers import BinAction
from tests.envs import EndingsEnv

BOX = spaces.Box(np.array([-1.0, 0.0], np.float32), np.array([1.0, 2.0], np.float32))
WIDE = spaces.Box(-1.0, 1.0, (1,), np.float64)
MATRIX = spaces.Box(-1.0, 1.0, (2, 2), np.float32)
POLICIES = ["BinnedMlpPolicy", "OrdinalMlpPolicy"]


SETTINGS: dict[str, Any] = {"n_steps": 16, "batch_size": 8, "n_epochs": 2, "seed": 0}


def model_of(policy: str = "OrdinalMlpPolicy", action_space: spaces.Space[Any] = BOX, **arguments: Any) -> PPOScratch:
    return PPOScratch(policy, EndingsEnv(action_space), **{**SETTINGS, **arguments})


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


@pytest.mark.parametrize("shape", [(), (2,), (2, 2)], ids=str)
@pytest.mark.parametrize(
    ("policy", "policy_kwargs"),
    [
        ("MlpPolicy", {}),
        ("GaussianMlpPolicy", {"independent_components": False}),
        ("GaussianMlpPolicy", {"state_dependent_std": True}),
        ("OrdinalMlpPolicy", {}),
    ],
    ids=["sb3s", "correlated", "state_dependent", "ordinal"],
)
def test_clipped_actions_of_any_shape_are_stored_with_the_log_probabilities_that_the_update_finds(
    policy: str, policy_kwargs: dict[str, Any], shape: tuple[int, ...]
) -> None:
    env = DummyVecEnv([lambda: EndingsEnv(spaces.Box(-0.5, 0.5, shape, np.float32))] * 3)
    settings: dict[str, Any] = {"n_steps": 8, "batch_size": 24, "n_epochs": 1, "learning_rate": 0.0, "seed": 0}
    model = PPOScratch(policy, env, store_clipped_actions=True, policy_kwargs=policy_kwargs, **settings).learn(24)
    buffer = model.rollout_buffer
    assert (np.abs(buffer.actions) == 0.5).any()
    observations, actions = buffer.observations.reshape(24, -1), buffer.actions.reshape(24, -1)
    _, expected, _ = model.policy.evaluate_actions(th.as_tensor(observations), th.as_tensor(actions))
    np.testing.assert_allclose(buffer.log_probs.ravel(), expected.detach(), rtol=1e-5, atol=1e-5)


def test_ratio_of_the_first_minibatch_is_one() -> None:
    model = model_of(n_epochs=1, batch_size=16)
    model.learn(16)
    assert model.logger.name_to_value["train/approx_kl"] == pytest.approx(0.0, abs=1e-6)
    assert model.logger.name_to_value["train/clip_fraction"] == 0.0


@pytest.mark.parametrize(
    ("box", "bins"),
    [
        (spaces.Box(np.array([-0.1, 1 / 3]), np.array([0.7, 1e3]), dtype=np.float64), 7),
        (spaces.Box(-0.1, 0.7, (2,), np.float16), 5),
        (MATRIX, [[-1 / 3, 0.1, 0.7]] * 4),
    ],
    ids=["float64", "float16", "matrix"],
)
@pytest.mark.parametrize("policy", POLICIES)
def test_atoms_are_found_again_after_the_way_through_the_buffer(policy: str, box: spaces.Box, bins: Any) -> None:
    env = DummyVecEnv([lambda: EndingsEnv(box)] * 2)
    settings: dict[str, Any] = {"n_steps": 16, "batch_size": 32, "n_epochs": 1, "learning_rate": 0.0, "seed": 0}
    model = PPOScratch(policy, env, policy_kwargs={"bins": bins}, **settings).learn(32)
    [batch] = model.rollout_buffer.get()
    _, log_prob, _ = model.policy.evaluate_actions(batch.observations, batch.actions)
    th.testing.assert_close(log_prob, batch.old_log_prob)
    received = np.array(env.envs[0].received_actions)  # type: ignore[attr-defined] # it is an EndingsEnv
    assert ((box.low <= received) & (received <= box.high)).all()


@pytest.mark.parametrize(
    "bins",
    [[3, 3], (3, 3), np.array([3, 3]), np.int64(3), [np.array([-1.0, 0.0, 1.0]), 3], [[-1, 0, 1], (0, 1, 2)]],
    ids=["list", "tuple", "array", "numpy_integer", "array_of_atoms", "integers"],
)
def test_bins_may_come_in_any_form_and_survive_saving(bins: Any, tmp_path: Any) -> None:
    model = model_of("BinnedMlpPolicy", policy_kwargs={"bins": bins})
    model.save(tmp_path / "model")
    model.policy.save(tmp_path / "policy")
    loaded = PPOScratch.load(tmp_path / "model").policy, type(model.policy).load(tmp_path / "policy")
    observations = np.random.default_rng(0).normal(size=(99, 3)).astype(np.float32)
    for policy in (model.policy, *loaded):
        th.manual_seed(0)
        first, second = policy.predict(observations)[0].T
        assert set(first) == {-1.0, 0.0, 1.0}
        assert set(second) == {0.0, 1.0, 2.0}


@pytest.mark.parametrize("deterministic_action", ["mode", "mean", "median"])
@pytest.mark.parametrize(
    ("policy", "action_space"),
    [
        ("BinnedMlpPolicy", BOX),
        ("OrdinalMlpPolicy", MATRIX),
        ("OrdinalMlpPolicy", spaces.MultiDiscrete([3, 4])),
        ("OrdinalMlpPolicy", spaces.Discrete(5)),
    ],
    ids=["box", "matrix", "multi_discrete", "discrete"],
)
def test_one_observation_gets_what_it_gets_among_others(
    policy: str, action_space: Any, deterministic_action: str
) -> None:
    model = model_of(policy, action_space, policy_kwargs={"deterministic_action": deterministic_action}).learn(32)
    observations = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
    together, _ = model.predict(observations, deterministic=True)
    assert together.shape == (7, *action_space.shape)
    for observation, action in zip(observations, together, strict=True):
        alone, _ = model.predict(observation, deterministic=True)
        np.testing.assert_allclose(alone, action, rtol=1e-5, atol=1e-6)
        assert action_space.contains(alone if alone.shape else alone.item())


@pytest.mark.parametrize("bins", [[3, 4], [[-1.0, 0.25], 3]], ids=str)
def test_ordinal_head_serves_the_space_that_bin_action_makes_as_it_serves_the_box(bins: Any) -> None:
    wrapped = PPOScratch("OrdinalMlpPolicy", BinAction(EndingsEnv(BOX), bins=bins), **SETTINGS)
    direct = model_of(policy_kwargs={"bins": bins})
    for model in (wrapped, direct):
        model.set_random_seed(3)
        model.learn(48)
    for ours, theirs in zip(wrapped.policy.parameters(), direct.policy.parameters(), strict=True):
        th.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
    atoms, observations = BinAction(EndingsEnv(BOX), bins=bins).atoms, th.randn(9, 3).numpy()
    numbers, values = (model.predict(observations, deterministic=True)[0] for model in (wrapped, direct))
    np.testing.assert_array_equal(values, np.stack([atoms[i][numbers[:, i]] for i in range(2)], axis=1))


def test_ordinal_head_serves_the_flat_space_of_bin_action() -> None:
    env = BinAction(EndingsEnv(BOX), bins=[3, 4], flat=True)
    model = PPOScratch("OrdinalMlpPolicy", env, **SETTINGS).learn(32)
    assert 2 < model.rollout_buffer.actions.max() < 12
    assert env.action_space.contains(int(model.predict(np.zeros(3, np.float32), deterministic=True)[0]))


@pytest.mark.parametrize("policy", [*POLICIES, "GaussianMlpPolicy"])
def test_stock_ppo_continues_the_file_where_this_package_is_installed_and_else_names_it(
    policy: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {"state_dependent_std": True} if policy == "GaussianMlpPolicy" else {"bins": 5}
    ours = model_of(policy, policy_kwargs=own).learn(16)
    ours.save(tmp_path / "model")
    theirs = PPO.load(tmp_path / "model", env=EndingsEnv(BOX), device="cpu")
    observations = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    for deterministic in (True, False):
        th.manual_seed(0)
        wanted, _ = ours.predict(observations, deterministic=deterministic)
        th.manual_seed(0)
        np.testing.assert_array_equal(theirs.predict(observations, deterministic=deterministic)[0], wanted)
    ours = PPOScratch.load(tmp_path / "model", env=EndingsEnv(BOX))
    for model in (ours, theirs):
        model.set_random_seed(3)
        model.learn(32)
    for one, other in zip(ours.policy.parameters(), theirs.policy.parameters(), strict=True):
        th.testing.assert_close(one, other, rtol=0, atol=1e-6)
    monkeypatch.setitem(sys.modules, "sb3_ppo_scratch.policies", None)
    with pytest.raises(ModuleNotFoundError, match=r"sb3_ppo_scratch\.policies"):
        PPO.load(tmp_path / "model")


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
        ("BinnedMlpPolicy", BOX, {"policy_kwargs": {"bins": 1}}, "BinnedMlpPolicy: bins=1 must be at least 2"),
        ("BinnedMlpPolicy", BOX, {"policy_kwargs": {"bins": [3]}}, "has 1 entries for 2 action dimensions"),
        ("BinnedMlpPolicy", BOX, {"policy_kwargs": {"bins": [[0.5, -0.5], 2]}}, "must give strictly ascending atoms"),
        ("BinnedMlpPolicy", BOX, {"policy_kwargs": {"bins": [[0.5, 0.5], 2]}}, "without duplicates"),
        ("BinnedMlpPolicy", BOX, {"policy_kwargs": {"bins": [[0.5, np.nan], 2]}}, "must be finite"),
        (
            "BinnedMlpPolicy",
            WIDE,
            {"policy_kwargs": {"bins": [[0.1, 0.1 + 1e-12]]}},
            "in float32, as SB3 keeps actions, some atoms are",
        ),
        ("OrdinalMlpPolicy", spaces.Box(0, 9, (1,), np.int32), {}, "OrdinalMlpPolicy needs a Box of floats, got"),
        ("BinnedMlpPolicy", BOX, {"policy_kwargs": {"bins": [[0.0, 5.0], 2]}}, "must lie within the action space's"),
        ("BinnedMlpPolicy", BOX, {"use_sde": True}, "`use_sde=True` is not for BinnedMlpPolicy"),
        ("BinnedMlpPolicy", BOX, {"policy_kwargs": {"deterministic_action": "max"}}, "`deterministic_action` must be"),
        ("BinnedMlpPolicy", spaces.Box(-np.inf, np.inf, (1,)), {}, "finite lower and upper bound"),
    ],
)
def test_what_cannot_be_binned_is_named(
    policy: str, action_space: Any, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ArgumentError, match=message):
        model_of(policy, action_space, **arguments)


@pytest.mark.parametrize("bins", [2.5, True, "3", {3: 4}, [["a", "b"], 2]], ids=str)
def test_bins_that_are_no_numbers_are_named(bins: Any) -> None:
    with pytest.raises(ArgumentTypeError, match=r"OrdinalMlpPolicy: bins.* must be a"):
        model_of(policy_kwargs={"bins": bins})


@pytest.mark.slow
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


@pytest.mark.parametrize("policy", POLICIES)
def test_divergence_that_is_watched_is_the_mean_over_the_rollout_by_definition(policy: str) -> None:
    model = model_of(policy, policy_kwargs={"bins": [3, 2]}, kl_mode="penalty", target_kl=0.01, learning_rate=1e-2)
    before = copy.deepcopy(model.policy)  # which collects the rollout
    model.learn(16)
    [batch] = model.rollout_buffer.get()
    divergences = np.zeros(16)
    for pair in itertools.product([-1.0, 0.0, 1.0], [0.0, 2.0]):
        actions = th.tensor([pair] * 16)
        log_p, log_q = (
            each.evaluate_actions(batch.observations, actions)[1].detach().double().numpy()
            for each in (before, model.policy)
        )
        divergences += np.exp(log_p) * (log_p - log_q)
    assert divergences.mean() > 1e-4
    assert model.logger.name_to_value["train/kl_last"] == pytest.approx(divergences.mean(), rel=1e-3)
