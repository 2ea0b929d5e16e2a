"""Tests of `ReinforceScratch`: its step against the textbook's formula, its options, and the zoo's view of it."""

import copy
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecEnvWrapper, VecMonitor

from sb3_ppo_scratch import PPOScratch, ReinforceScratch
from sb3_ppo_scratch.callbacks import StopWhenSolved
from tests.envs import EndingsEnv

ACTIONS = {
    "discrete": spaces.Discrete(3),
    "multi_discrete": spaces.MultiDiscrete([2, 3]),
    "multi_binary": spaces.MultiBinary(2),
    "box": spaces.Box(-1, 1, (2,), np.float32),
}


def model_of(kind: str = "discrete", **arguments: Any) -> ReinforceScratch:
    settings = {"n_episodes": 3, "gamma": 0.9, "seed": 0, **arguments}
    return ReinforceScratch("MlpPolicy", EndingsEnv(ACTIONS[kind]), **settings)


def textbook_gradient(model: ReinforceScratch, policy: Any, *, reward_to_go: bool, baseline: str) -> list[th.Tensor]:
    """Sum over each episode of `grad log pi(a) * weight`, divided by the number of transitions, in float64."""
    buffer = model.rollout_buffer
    rewards, starts = buffer.rewards.reshape(-1).astype(float), buffer.episode_starts.reshape(-1)
    firsts = list(np.flatnonzero(starts))
    weights = np.zeros(len(rewards))
    for first, end in zip(firsts, [*firsts[1:], len(rewards)], strict=True):
        for step in range(first, end):
            since = step if reward_to_go else first
            weights[step] = sum(model.gamma ** (later - since) * rewards[later] for later in range(since, end))
    if baseline == "mean":
        weights = weights - weights.mean()
    elif baseline == "value":
        weights = weights - buffer.values.reshape(-1)
    policy = copy.deepcopy(policy)
    actions = th.as_tensor(buffer.actions.reshape(len(rewards), -1)).float()
    if isinstance(model.action_space, spaces.Discrete):
        actions = actions.long().flatten()
    _, log_prob, _ = policy.evaluate_actions(th.as_tensor(buffer.observations.reshape(len(rewards), -1)), actions)
    (-(log_prob * th.as_tensor(weights)).sum() / len(rewards)).backward()
    return [parameter.grad for name, parameter in policy.named_parameters() if "value" not in name]


@pytest.mark.parametrize("kind", ACTIONS)
@pytest.mark.parametrize("reward_to_go", [True, False])
@pytest.mark.parametrize("baseline", ["none", "mean", "value"])
@pytest.mark.parametrize("update", ["closed_form", "autograd"])
def test_gradient_is_the_textbooks(kind: str, reward_to_go: bool, baseline: str, update: str) -> None:
    model = model_of(kind, reward_to_go=reward_to_go, baseline=baseline, update=update, vf_coef=0.0)
    _, callback = model._setup_learn(1)
    model.collect_rollouts(model.env, callback, model.rollout_buffer, 1)
    before = copy.deepcopy(model.policy)
    model.train()
    expected = textbook_gradient(model, before, reward_to_go=reward_to_go, baseline=baseline)
    ours = [parameter.grad for name, parameter in model.policy.named_parameters() if "value" not in name]
    assert len(ours) == len(expected)
    for gradient, other in zip(ours, expected, strict=True):
        th.testing.assert_close(gradient, other.to(gradient.dtype), rtol=1e-4, atol=1e-6)


def test_normalised_returns_have_mean_zero_and_deviation_one() -> None:
    model = model_of(normalize_returns=True).learn(1)
    weights = model.rollout_buffer.advantages
    assert weights.mean() == pytest.approx(0, abs=1e-6)
    assert weights.std() == pytest.approx(1, abs=1e-5)


def test_one_step_per_rollout() -> None:
    model = model_of().learn(60)
    steps = {float(state["step"]) for state in model.policy.optimizer.state_dict()["state"].values()}
    assert steps == {float(model._n_updates)}


@pytest.mark.parametrize(("baseline", "has_critic"), [("none", False), ("mean", False), ("value", True)])
def test_only_the_value_baseline_has_a_value_network(baseline: str, has_critic: bool) -> None:
    model = model_of(baseline=baseline).learn(1)
    assert any("value_net" in name for name, _ in model.policy.named_parameters()) == has_critic
    logged = set(model.logger.name_to_value)
    assert ("train/value_loss" in logged) == ("train/explained_variance" in logged) == has_critic
    assert "train/policy_gradient_loss" in logged


@pytest.mark.parametrize("update", ["closed_form", "autograd"])
@pytest.mark.parametrize("reward_to_go", [True, False])
def test_value_network_is_fitted_to_the_return_from_each_step_on(update: str, reward_to_go: bool) -> None:
    model = model_of(baseline="value", vf_coef=0.7, update=update, reward_to_go=reward_to_go)
    _, callback = model._setup_learn(1)
    model.collect_rollouts(model.env, callback, model.rollout_buffer, 1)
    policy, buffer = copy.deepcopy(model.policy), model.rollout_buffer
    rewards, starts = buffer.rewards.reshape(-1), buffer.episode_starts.reshape(-1)
    returns, following = np.zeros(len(rewards)), 0.0
    for step in reversed(range(len(rewards))):
        ends = step + 1 == len(rewards) or starts[step + 1]
        following = rewards[step] + (0.0 if ends else model.gamma * following)
        returns[step] = following
    observations = th.as_tensor(buffer.observations.reshape(len(rewards), -1))
    errors = policy.predict_values(observations).flatten() - th.as_tensor(returns)
    (0.7 * errors.square().mean()).backward()
    model.train()
    for (name, ours), theirs in zip(model.policy.named_parameters(), policy.parameters(), strict=True):
        if "value" in name:
            th.testing.assert_close(ours.grad, theirs.grad.to(ours.dtype), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("update", ["closed_form", "autograd"])
@pytest.mark.parametrize("baseline", ["none", "mean", "value"])
def test_saved_and_loaded_model_goes_on_exactly_as_the_original(baseline: str, update: str, tmp_path: Path) -> None:
    original = model_of(baseline=baseline, update=update, normalize_returns=True).learn(40)
    original.save(tmp_path / "model")
    loaded = ReinforceScratch.load(tmp_path / "model", env=EndingsEnv(ACTIONS["discrete"]))
    assert (loaded.n_episodes, loaded.baseline, loaded.reward_to_go) == (3, baseline, True)
    for model in (original, loaded):
        model.set_env(DummyVecEnv([lambda: EndingsEnv(ACTIONS["discrete"])]))
        model.set_random_seed(5)
        before = model.num_timesteps
        model.learn(40, reset_num_timesteps=False)
        assert model.num_timesteps >= before + 40
    assert original.num_timesteps == loaded.num_timesteps
    for ours, theirs in zip(original.policy.parameters(), loaded.policy.parameters(), strict=True):
        assert th.equal(ours, theirs)


def test_run_that_was_saved_and_loaded_between_updates_equals_one_that_was_not(tmp_path: Path) -> None:
    def start() -> ReinforceScratch:
        th.manual_seed(0)
        env = EndingsEnv(ACTIONS["discrete"])
        env.reset(seed=0)
        return ReinforceScratch("MlpPolicy", env, n_episodes=3, gamma=0.9)

    interrupted = start().learn(40)
    interrupted.save(tmp_path / "model")
    with th.random.fork_rng():  # loading draws a policy's first parameters
        continued = ReinforceScratch.load(tmp_path / "model", env=interrupted.get_env(), force_reset=False)
    continued.learn(40, reset_num_timesteps=False)
    straight = start().learn(continued.num_timesteps)
    assert straight.num_timesteps == continued.num_timesteps > interrupted.num_timesteps
    for ours, theirs in zip(straight.policy.parameters(), continued.policy.parameters(), strict=True):
        assert th.equal(ours, theirs)


@pytest.mark.parametrize("baseline", ["value", "nonsense"])
def test_baseline_that_a_model_cannot_have_is_refused(tmp_path: Any, baseline: Any) -> None:
    message = "`baseline='value'` needs a value network" if baseline == "value" else "`baseline` must be one of"
    model = model_of()
    model.save(tmp_path / "model")
    with pytest.raises(ValueError, match=message):
        ReinforceScratch.load(tmp_path / "model", baseline=baseline)
    model.baseline = baseline
    with pytest.raises(ValueError, match=message):
        model.learn(1)
    assert model.num_timesteps == 0


@pytest.mark.parametrize("update", ["closed_form", "autograd"])
@pytest.mark.parametrize("baseline", ["none", "mean"])
def test_baseline_given_up_on_load_leaves_the_value_network_alone(tmp_path: Any, baseline: Any, update: str) -> None:
    model_of(baseline="value", update=update).save(tmp_path / "model")
    env = EndingsEnv(ACTIONS["discrete"])
    model = ReinforceScratch.load(tmp_path / "model", env=env, baseline=baseline)
    before = copy.deepcopy(model.policy)
    _, callback = model._setup_learn(1)
    model.collect_rollouts(model.env, callback, model.rollout_buffer, 1)
    expected = textbook_gradient(model, before, reward_to_go=True, baseline=baseline)
    model.train()
    for (name, ours), theirs in zip(model.policy.named_parameters(), before.parameters(), strict=True):
        if "value" in name:
            assert th.equal(ours, theirs)
    ours = [parameter.grad for name, parameter in model.policy.named_parameters() if "value" not in name]
    for gradient, other in zip(ours, expected, strict=True):
        th.testing.assert_close(gradient, other.to(gradient.dtype), rtol=1e-4, atol=1e-6)


def test_reinforce_is_ppo_with_one_unclipped_full_batch_epoch() -> None:
    env = [EndingsEnv(ACTIONS["discrete"]) for _ in range(2)]
    reinforce = ReinforceScratch("MlpPolicy", env[0], learning_rate=1e-3, n_episodes=2, gamma=0.9, seed=0).learn(60)
    ppo = PPOScratch(
        "MlpPolicy", env[1], learning_rate=1e-3, n_episodes=2, gamma=0.9, seed=0, batch_size=None, n_epochs=1,
        clip_range=None, advantage="monte_carlo", normalize_advantage=False, critic=False, timeout_bootstrap=False,
        max_grad_norm=float("inf"),
    ).learn(60)  # fmt: skip
    for ours, theirs in zip(reinforce.policy.parameters(), ppo.policy.parameters(), strict=True):
        assert th.equal(ours, theirs)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_episodes": 0}, "`n_episodes` must be at least 1, got 0"),
        ({"n_episodes": None}, "`n_episodes` must be an integer"),
        ({"baseline": "median"}, "`baseline` must be one of"),
        ({"reward_to_go": "yes"}, "`reward_to_go` must be one of"),
        ({"normalize_returns": 2}, "`normalize_returns` must be one of"),
        ({"gamma": 1.5}, r"`gamma` must lie in \[0, 1\], got 1.5"),
        ({"learning_rate": -1.0}, "`learning_rate` must be finite and not negative"),
        ({"share_features": 1.0}, "`share_features` must be one of"),
    ],
)
def test_unusable_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        model_of(**arguments)


def test_callback_stops_once_the_mean_return_is_reached() -> None:
    model = ReinforceScratch("MlpPolicy", "CartPole-v1", seed=0, n_episodes=1)
    callback = StopWhenSolved(threshold=25, n_episodes=5)
    model.learn(20_000, callback=callback)
    returns = [episode["r"] for episode in model.ep_info_buffer]  # with the last one: the step is completed
    means = [np.mean(returns[first : first + 5]) for first in range(len(returns) - 4)]
    assert means[-1] >= 25
    assert all(mean < 25 for mean in means[:-1])
    assert model.num_timesteps == sum(returns)


@pytest.mark.parametrize("reset_num_timesteps", [True, False])
def test_callback_counts_the_episodes_of_its_own_run_only(reset_num_timesteps: bool) -> None:
    callback = StopWhenSolved(threshold=-100, n_episodes=5)  # reached by any five episodes
    runs = [model_of(n_episodes=1).learn(1000, callback, reset_num_timesteps=reset_num_timesteps) for _ in range(2)]
    assert [run.num_timesteps for run in runs] == [3 + 5 + 4 + 7 + 3] * 2  # the first five episodes of `EndingsEnv`


def test_callback_warns_once_in_each_run_if_nothing_reports_returns() -> None:
    callback = StopWhenSolved(threshold=0)
    model = ReinforceScratch("MlpPolicy", DummyVecEnv([lambda: EndingsEnv(ACTIONS["discrete"])] * 2))
    for _ in range(2):
        with pytest.warns(UserWarning, match="or the VecEnv in VecMonitor") as caught:
            model.learn(30, callback)
        assert len(caught) == 1


class LosesLives(VecEnvWrapper):
    """Ends the agent's episode with every step, as lost lives do in Atari games, while those of the game go on."""

    def reset(self) -> Any:
        return self.venv.reset()

    def step_wait(self) -> Any:
        observations, rewards, dones, infos = self.venv.step_wait()
        return observations, rewards, np.ones_like(dones), infos


@pytest.mark.parametrize("monitor", ["around each", "around all"])
def test_callback_waits_for_the_first_return_without_a_warning_where_a_monitor_is(
    monitor: str, recwarn: pytest.WarningsRecorder
) -> None:
    def make() -> gym.Env[Any, Any]:
        env = EndingsEnv(ACTIONS["discrete"])
        return Monitor(env) if monitor == "around each" else env

    env: VecEnv = DummyVecEnv([make])
    model = ReinforceScratch("MlpPolicy", LosesLives(env if monitor == "around each" else VecMonitor(env)))
    model.learn(100, StopWhenSolved(threshold=-100, n_episodes=2))
    assert model.num_timesteps == 3 + 5
    assert not recwarn.list


@pytest.mark.parametrize("arguments", [{"threshold": float("nan")}, {"threshold": 1, "n_episodes": 0}])
def test_callback_refuses_what_can_never_be_reached(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        StopWhenSolved(**arguments)
