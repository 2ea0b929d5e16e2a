"""Every duty of a rollout and of the update that follows, each against numbers worked out by hand.

What is here: what `PPOScratch` inherits from SB3 or does itself between an environment's step and the optimiser's.
Networks are linear and environments say where each observation comes from, so that every value, return, probability
and gradient is known without asking any PPO. What is not: equality with stock PPO (`test_equality_with_sb3.py`), which
cannot see a mistake in a method that both inherit.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import KVWriter, Logger
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.type_aliases import RolloutBufferSamples
from stable_baselines3.common.vec_env import DummyVecEnv

from sb3_ppo_scratch import PPOScratch
from sb3_ppo_scratch.updates.autograd import evaluate_minibatch
from sb3_ppo_scratch.updates.update import UpdateSettings

FIELDS = ("observations", "actions", "rewards", "episode_starts", "values", "log_probs", "advantages", "returns")
BOX = spaces.Box(np.array([-0.5, -0.2], np.float32), np.array([0.3, 0.4], np.float32))
FOREVER = ((1_000_000, "truncated"),)


class LabelledEnv(gym.Env[Any, Any]):
    """Rewards are 1, 2, 3, ... within an episode, observations are (label, episode, step).

    Args:
        label: First element of every observation.
        action_space: Any space; actions change nothing.
        script: Length and ending ("terminated", "truncated" or "both") of the episodes, in turn.
        blind: Whether observations are all zero, so that only the biases of a linear policy count.
    """

    def __init__(
        self,
        label: int = 0,
        action_space: spaces.Space[Any] | None = None,
        script: tuple[tuple[int, str], ...] = FOREVER,
        blind: bool = False,
    ) -> None:
        self.observation_space = spaces.Box(-np.inf, np.inf, (3,), np.float32)
        self.action_space = action_space or spaces.Discrete(3)
        self.label, self.script, self.blind = label, script, blind
        self.episode, self.steps = -1, 0
        self.received: list[np.ndarray] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.episode, self.steps = self.episode + 1, 0
        return self._observe(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.received.append(np.array(action))
        self.steps += 1
        length, how = self.script[self.episode % len(self.script)]
        ended = self.steps >= length
        terminated, truncated = ended and how != "truncated", ended and how != "terminated"
        return self._observe(), float(self.steps), terminated, truncated, {"is_success": terminated}

    def _observe(self) -> np.ndarray:
        place = (0, 0, 0) if self.blind else (self.label, self.episode, self.steps)
        return np.array(place, dtype=np.float32)


def value_of(label: float, episode: float, step: float) -> float:
    """What the value network of `linear_model` says."""
    return 2.0 + 10.0 * label + episode + 0.1 * step


UPDATE = {"update": "autograd"}
"""What `linear_model` updates with; in the closed form rollouts, too, go without torch (and SGD is not covered)."""


@pytest.fixture(params=["autograd", "closed_form"])
def each_update(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(UPDATE, "update", request.param)


def linear_model(*environments: gym.Env[Any, Any], **arguments: Any) -> PPOScratch:
    """A model of one linear layer each, plain SGD, one epoch of one minibatch, and no learning unless asked for."""
    settings: dict[str, Any] = {"n_steps": 4, "n_epochs": 1, "learning_rate": 0.0, "seed": 0, "device": "cpu", **UPDATE}
    settings |= {"normalize_advantage": False, "max_grad_norm": math.inf, **arguments}
    settings.setdefault("batch_size", settings["n_steps"] * len(environments))
    optimizer_class = th.optim.SGD if settings["update"] == "autograd" else th.optim.Adam
    policy_kwargs = {"net_arch": [], "optimizer_class": optimizer_class, **settings.pop("policy_kwargs", {})}
    env = DummyVecEnv([lambda environment=environment: environment for environment in environments])
    model = PPOScratch("MlpPolicy", env, policy_kwargs=policy_kwargs, **settings)
    with th.no_grad():
        model.policy.value_net.weight.copy_(th.tensor([[10.0, 1.0, 0.1]]))
        model.policy.value_net.bias.fill_(2.0)
        outputs, inputs = model.policy.action_net.weight.shape
        model.policy.action_net.weight.copy_(th.linspace(-0.4, 0.5, outputs * inputs).reshape(outputs, inputs))
        model.policy.action_net.bias.copy_(th.linspace(-0.3, 0.6, outputs))
    return model


class RolloutRecorder(BaseCallback):
    """Copies each rollout before the update, after having edited it if wanted, and the biases at each rollout's end."""

    def __init__(self, edit: Callable[[RolloutBuffer], None] = lambda buffer: None) -> None:
        super().__init__()
        self.edit = edit
        self.rollouts: list[dict[str, np.ndarray]] = []
        self.timesteps: list[int] = []
        self.biases: list[np.ndarray] = []

    def _on_step(self) -> bool:
        self.timesteps.append(self.num_timesteps)
        return True

    def _on_rollout_end(self) -> None:
        buffer = self.model.rollout_buffer
        self.edit(buffer)
        self.rollouts.append({name: getattr(buffer, name).copy() for name in FIELDS})
        self.biases.append(action_bias(self.model))

    def _on_training_end(self) -> None:
        self.biases.append(action_bias(self.model))


def collect(model: PPOScratch, n_rollouts: int = 1) -> list[dict[str, np.ndarray]]:
    recorder = RolloutRecorder()
    model.learn(n_rollouts * model.n_steps * model.n_envs, callback=recorder)
    return recorder.rollouts


def update_with(model: PPOScratch, *, n_rollouts: int = 1, **planted: Any) -> RolloutRecorder:
    """Learn from rollouts in whose buffers something is planted: a number, or a function of the buffer."""

    def edit(buffer: RolloutBuffer) -> None:
        for name, value in planted.items():
            setattr(buffer, name, np.zeros_like(buffer.values) + (value(buffer) if callable(value) else value))

    recorder = RolloutRecorder(edit)
    model.learn(n_rollouts * model.n_steps * model.n_envs, callback=recorder)
    return recorder


def parameters(model: PPOScratch) -> th.Tensor:
    return th.nn.utils.parameters_to_vector(model.policy.parameters()).detach().clone()


def action_bias(model: Any) -> np.ndarray:
    return model.policy.action_net.bias.detach().numpy().copy()


def value_bias(model: PPOScratch) -> float:
    return model.policy.value_net.bias.item()


def linear_outputs(model: PPOScratch, observations: np.ndarray) -> np.ndarray:
    """What the actor's linear layer says, in float64, shape (..., outputs)."""
    weight, bias = model.policy.action_net.weight.detach().numpy(), model.policy.action_net.bias.detach().numpy()
    return observations.astype(np.float64) @ weight.T.astype(np.float64) + bias


def log_softmax(logits: np.ndarray) -> np.ndarray:
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


# -- rewards, values, advantages ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("each_update")
def test_return_contains_the_value_after_the_last_step_only_where_the_episode_goes_on() -> None:
    # Rewards 1, 2, 3, 4 and gamma 1/2 give 1 + 2/2 + 3/4 + 4/8 = 3.25; what follows counts 1/16.
    model = linear_model(LabelledEnv(0), LabelledEnv(1, script=((4, "terminated"),)), gamma=0.5, gae_lambda=1.0)
    [rollout] = collect(model)
    np.testing.assert_allclose(rollout["returns"][0], [3.25 + value_of(0, 0, 4) / 16, 3.25], rtol=1e-6)


@pytest.mark.usefixtures("each_update")
def test_advantages_follow_gae_by_hand() -> None:
    # V = 2, 2.1, 2.2: delta_1 = 2 + 2.2/2 - 2.1 = 1, delta_0 = 1 + 2.1/2 - 2 = 0.05, A_0 = 0.05 + 1/2 * 1/2 * 1.
    [rollout] = collect(linear_model(LabelledEnv(), n_steps=2, gamma=0.5, gae_lambda=0.5))
    np.testing.assert_allclose(rollout["advantages"].ravel(), [0.3, 1.0], rtol=1e-5)
    np.testing.assert_allclose(rollout["returns"].ravel(), [2.3, 3.1], rtol=1e-5)


@pytest.mark.usefixtures("each_update")
def test_advantages_stop_at_the_end_of_an_episode() -> None:
    # Episodes of two steps, rewards 1 and 2, gamma 1/2, lambda 1: returns 1 + 2/2 and 2, twice.
    model = linear_model(LabelledEnv(script=((2, "terminated"),)), gamma=0.5, gae_lambda=1.0)
    [rollout] = collect(model)
    np.testing.assert_allclose(rollout["returns"].ravel(), [2.0, 2.0, 2.0, 2.0], rtol=1e-6)


@pytest.mark.usefixtures("each_update")
@pytest.mark.parametrize(
    ("ending", "bootstrapped"), [("terminated", 0.0), ("truncated", 0.5 * value_of(1, 0, 2)), ("both", 0.0)]
)
def test_reward_contains_the_terminal_observations_value_only_at_a_pure_truncation(
    ending: str, bootstrapped: float
) -> None:
    model = linear_model(LabelledEnv(0), LabelledEnv(1, script=((2, ending), *FOREVER)), gamma=0.5)
    [rollout] = collect(model)
    np.testing.assert_allclose(rollout["rewards"][:, 0], [1.0, 2.0, 3.0, 4.0], rtol=1e-6)
    np.testing.assert_allclose(rollout["rewards"][:, 1], [1.0, 2.0 + bootstrapped, 1.0, 2.0], rtol=1e-6)


@pytest.mark.usefixtures("each_update")
def test_truncation_at_the_last_step_of_a_rollout_counts_its_value_once() -> None:
    [rollout] = collect(linear_model(LabelledEnv(script=((4, "truncated"),)), gamma=0.5, gae_lambda=1.0))
    expected = 1 + 2 / 2 + 3 / 4 + (4 + 0.5 * value_of(0, 0, 4)) / 8
    assert rollout["returns"][0, 0] == pytest.approx(expected, rel=1e-6)


@pytest.mark.usefixtures("each_update")
def test_buffer_holds_the_observation_acted_upon_and_its_value() -> None:
    [rollout] = collect(linear_model(LabelledEnv(0, script=((3, "terminated"),)), LabelledEnv(1)))
    expected = [[(0, 0, 0), (1, 0, 0)], [(0, 0, 1), (1, 0, 1)], [(0, 0, 2), (1, 0, 2)], [(0, 1, 0), (1, 0, 3)]]
    np.testing.assert_array_equal(rollout["observations"], expected)
    values = [[value_of(*place) for place in row] for row in expected]
    np.testing.assert_allclose(rollout["values"], values, rtol=1e-6)


@pytest.mark.usefixtures("each_update")
def test_episode_starts_mark_first_steps_also_across_rollouts() -> None:
    model = linear_model(LabelledEnv(0, script=((3, "terminated"),)), LabelledEnv(1, script=((4, "truncated"),)))
    first, second = collect(model, n_rollouts=2)
    np.testing.assert_array_equal(first["episode_starts"], [[1, 1], [0, 0], [0, 0], [1, 0]])
    np.testing.assert_array_equal(second["episode_starts"], [[0, 1], [0, 0], [1, 0], [0, 0]])


# -- actions -----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("each_update")
def test_each_environment_receives_its_own_actions_clipped_while_the_buffer_keeps_the_samples() -> None:
    environments = [LabelledEnv(label, BOX) for label in range(3)]
    [rollout] = collect(linear_model(*environments, n_steps=8))
    received = np.stack([environment.received for environment in environments], axis=1)
    stored = rollout["actions"]
    np.testing.assert_array_equal(received, np.clip(stored, BOX.low, BOX.high))
    outside = (stored < BOX.low) | (stored > BOX.high)
    assert outside.any(axis=(0, 1)).all(), "no sample fell outside the bounds"


@pytest.mark.usefixtures("each_update")
def test_each_environment_receives_its_own_discrete_actions() -> None:
    environments = [LabelledEnv(label) for label in range(3)]
    [rollout] = collect(linear_model(*environments, n_steps=8))
    received = np.stack([environment.received for environment in environments], axis=1)
    np.testing.assert_array_equal(received, rollout["actions"][:, :, 0])
    assert not np.array_equal(received, received[:, ::-1])


@pytest.mark.usefixtures("each_update")
def test_stored_log_probabilities_are_those_of_the_stored_gaussian_samples() -> None:
    model = linear_model(LabelledEnv(0, BOX), LabelledEnv(1, BOX), policy_kwargs={"log_std_init": -0.5})
    [rollout] = collect(model)
    np.testing.assert_allclose(rollout["log_probs"], gaussian_log_probs(model, rollout), rtol=1e-5, atol=1e-5)


def gaussian_log_probs(model: PPOScratch, rollout: dict[str, np.ndarray]) -> np.ndarray:
    """Log-probabilities of a rollout's actions under a linear model with a log std of -0.5, by the formula."""
    deviations = (rollout["actions"] - linear_outputs(model, rollout["observations"])) / math.exp(-0.5)
    return (-0.5 * deviations**2 + 0.5 - 0.5 * math.log(2 * math.pi)).sum(axis=-1)


@pytest.mark.usefixtures("each_update")
def test_clipped_actions_are_stored_with_their_own_log_probabilities_if_asked_for() -> None:
    environments = [LabelledEnv(label, BOX) for label in range(3)]
    model = linear_model(*environments, n_steps=8, store_clipped_actions=True, policy_kwargs={"log_std_init": -0.5})
    [rollout] = collect(model)
    received = np.stack([environment.received for environment in environments], axis=1)
    np.testing.assert_array_equal(rollout["actions"], received)
    assert ((received == BOX.low) | (received == BOX.high)).any(), "no sample fell outside the bounds"
    np.testing.assert_allclose(rollout["log_probs"], gaussian_log_probs(model, rollout), rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("each_update")
def test_storing_clipped_actions_changes_nothing_where_nothing_is_clipped() -> None:
    rollouts = [collect(linear_model(LabelledEnv(0), LabelledEnv(1), store_clipped_actions=s)) for s in (False, True)]
    for name, values in rollouts[0][0].items():
        np.testing.assert_array_equal(values, rollouts[1][0][name])


@pytest.mark.usefixtures("each_update")
def test_stored_log_probabilities_are_those_of_the_stored_discrete_actions() -> None:
    model = linear_model(LabelledEnv(0), LabelledEnv(1))
    [rollout] = collect(model)
    log_probs = log_softmax(linear_outputs(model, rollout["observations"]))
    expected = np.take_along_axis(log_probs, rollout["actions"], axis=-1)[:, :, 0]
    np.testing.assert_allclose(rollout["log_probs"], expected, rtol=1e-5)


def test_squashed_samples_are_stored_and_reach_the_environment_in_its_own_bounds() -> None:
    bounds = spaces.Box(-1.0, 3.0, (2,), np.float32)
    environments = [LabelledEnv(0, bounds), LabelledEnv(1, bounds)]
    model = linear_model(*environments, n_steps=16, use_sde=True, policy_kwargs={"squash_output": True})
    [rollout] = collect(model)
    stored = rollout["actions"]
    received = np.stack([environment.received for environment in environments], axis=1)
    assert np.abs(stored).max() <= 1.0
    assert received.max() > 1.0, "the upper half of the bounds was never reached"
    np.testing.assert_allclose(received, 1.0 + 2.0 * stored, rtol=1e-5, atol=1e-6)
    with th.no_grad():
        flat = th.as_tensor(rollout["observations"]).flatten(0, 1), th.as_tensor(stored).flatten(0, 1)
        _, log_prob, _ = model.policy.evaluate_actions(*flat)
    np.testing.assert_allclose(rollout["log_probs"].ravel(), log_prob.numpy(), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("frequency", "repeats"), [(2, [True, False, True]), (-1, [True, True, True])])
def test_exploration_noise_is_drawn_anew_every_sde_sample_freq_steps_and_at_each_rollout(
    frequency: int, repeats: list[bool]
) -> None:
    class NoiseRecorder(RolloutRecorder):
        def _on_step(self) -> bool:
            noise.append(self.model.policy.action_dist.exploration_mat.clone())
            return True

    noise: list[th.Tensor] = []
    model = linear_model(LabelledEnv(0, BOX), use_sde=True, sde_sample_freq=frequency)
    model.learn(8, callback=NoiseRecorder())
    same_as_before = [th.equal(before, after) for before, after in itertools.pairwise(noise)]
    assert same_as_before == [*repeats, False, *repeats]


# -- minibatches -------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:You have specified a mini-batch size")
def test_every_transition_is_used_once_per_epoch_in_minibatches_of_which_the_last_is_short(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = linear_model(*[LabelledEnv(label) for label in range(3)], n_steps=5, batch_size=4, n_epochs=2)
    seen: list[list[tuple[float, ...]]] = []
    steps: list[Any] = []
    evaluate = model.policy.evaluate_actions

    def spy(observations: th.Tensor, actions: th.Tensor) -> Any:
        seen.append([tuple(row) for row in observations.tolist()])
        return evaluate(observations, actions)

    monkeypatch.setattr(model.policy, "evaluate_actions", spy)
    model.policy.optimizer.register_step_pre_hook(lambda *arguments: steps.append(arguments))
    model.learn(15)
    every = sorted((float(label), 0.0, float(step)) for label in range(3) for step in range(5))
    assert [len(batch) for batch in seen] == [4, 4, 4, 3] * 2
    for epoch in (seen[:4], seen[4:]):
        assert sorted(row for batch in epoch for row in batch) == every
    assert seen[:4] != seen[4:], "the second epoch was not shuffled anew"
    assert len(steps) == 8


def test_rows_of_a_minibatch_belong_to_one_transition(monkeypatch: pytest.MonkeyPatch) -> None:
    model = linear_model(*[LabelledEnv(label) for label in range(3)], batch_size=6)
    batches: list[RolloutBufferSamples] = []
    get = model.rollout_buffer.get

    def spy(batch_size: int) -> Iterator[RolloutBufferSamples]:
        for batch in get(batch_size):
            batches.append(batch)
            yield batch

    monkeypatch.setattr(model.rollout_buffer, "get", spy)
    [rollout] = collect(model)
    assert len(batches) == 2
    for batch in batches:
        label, _, step = batch.observations.numpy().astype(int).T
        assert len({*zip(label, step, strict=True)}) == 6
        np.testing.assert_array_equal(batch.actions.numpy(), rollout["actions"][step, label])
        for name in ("old_values", "old_log_prob", "advantages", "returns"):
            stored = rollout[{"old_values": "values", "old_log_prob": "log_probs"}.get(name, name)]
            np.testing.assert_array_equal(getattr(batch, name).numpy(), stored[step, label], err_msg=name)


def test_minibatch_of_discrete_actions_has_one_log_probability_each_and_the_loss_computed_by_hand() -> None:
    model = linear_model(LabelledEnv())
    observations = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
    actions, ratios = np.array([2, 0, 1, 1]), np.array([1.5, 0.5, 1.0, 1.1])
    log_probs = log_softmax(linear_outputs(model, observations))[np.arange(4), actions]
    values = np.array([value_of(*row) for row in observations])
    columns = (observations, actions[:, None], values, log_probs - np.log(ratios), [1, 1, -2, 3], values + 2)
    batch = RolloutBufferSamples(*(th.as_tensor(np.asarray(column, np.float32)) for column in columns))
    settings = UpdateSettings(
        clip_range=0.2, clip_range_vf=None, normalize_advantage=False,
        ent_coef=0.0, vf_coef=0.5, max_grad_norm=1.0,
    )  # fmt: skip
    figures = evaluate_minibatch(model.policy, batch, settings).figures
    # Smaller of clipped and unclipped: 1.2 * 1, 0.5 * 1, 1 * -2, 1.1 * 3, on average 0.75; every value is wrong by 2.
    assert figures.policy_gradient_loss.item() == pytest.approx(-0.75, rel=1e-5)
    assert figures.value_loss.item() == pytest.approx(4.0, rel=1e-5)
    assert figures.loss.item() == pytest.approx(-0.75 + 0.5 * 4.0, rel=1e-5)
    assert figures.clip_fraction.item() == pytest.approx(0.5)
    assert figures.approx_kl.item() == pytest.approx(np.mean(ratios - 1 - np.log(ratios)), rel=1e-4)
    assert model.policy.action_dist.distribution.log_prob(th.as_tensor(actions)).shape == (4,)


# -- gradient steps ----------------------------------------------------------------------------------------------------


def test_gradient_left_by_somebody_else_does_not_enter_the_update() -> None:
    def after_update(stale: float) -> th.Tensor:
        def plant(_: RolloutBuffer) -> None:
            for parameter in model.policy.parameters():
                parameter.grad = th.full_like(parameter, stale)

        model = linear_model(LabelledEnv(), learning_rate=0.1)
        before = parameters(model)
        model.learn(4, callback=RolloutRecorder(plant))
        assert not th.equal(parameters(model), before)
        return parameters(model)

    assert th.equal(after_update(stale=0.0), after_update(stale=1000.0))


def test_gradient_of_a_minibatch_does_not_enter_the_next_one() -> None:
    # Only the bias b counts, and the value loss's gradient is 2 * vf_coef * (b - mean return) = b - 7: the first step
    # of length 1 ends exactly at 7, where the second gradient is 0. A sum of both gradients would lead on to 12.
    model = linear_model(LabelledEnv(blind=True), learning_rate=1.0, n_epochs=2, vf_coef=0.5)
    update_with(model, advantages=0.0, returns=7.0)
    assert value_bias(model) == pytest.approx(7.0, rel=1e-6)


def test_step_is_as_long_as_max_grad_norm_where_the_gradient_is_longer_and_keeps_its_direction() -> None:
    steps = []
    for max_grad_norm in (0.01, 1e9):
        model = linear_model(LabelledEnv(), learning_rate=1.0, max_grad_norm=max_grad_norm)
        before = parameters(model)
        model.learn(4)
        steps.append(parameters(model) - before)
    clipped, whole = steps
    assert whole.norm() > 1.0
    assert clipped.norm().item() == pytest.approx(0.01, rel=1e-3)
    th.testing.assert_close(clipped, whole * (0.01 / whole.norm()), rtol=1e-2, atol=1e-6)


def test_learning_rate_that_the_optimiser_sees_follows_the_schedule() -> None:
    model = linear_model(LabelledEnv(), learning_rate=lambda progress: 0.1 * progress)
    seen: list[float] = []
    model.policy.optimizer.register_step_pre_hook(lambda optimizer, *_: seen.append(optimizer.param_groups[0]["lr"]))
    model.learn(4 * 4)
    assert seen == pytest.approx([0.075, 0.05, 0.025, 0.0])


def test_optimiser_state_is_saved_and_loaded(tmp_path: Path) -> None:
    model = linear_model(LabelledEnv(), learning_rate=0.01, policy_kwargs={"optimizer_class": th.optim.Adam})
    model.learn(12)
    model.save(tmp_path / "model")
    loaded = PPOScratch.load(tmp_path / "model", env=model.get_env())
    saved_states, loaded_states = (list(m.policy.optimizer.state.values()) for m in (model, loaded))
    assert len(loaded_states) == len(list(model.policy.parameters())) == 4
    for saved, restored in zip(saved_states, loaded_states, strict=True):
        assert int(restored["step"]) == 3
        for name in ("exp_avg", "exp_avg_sq"):
            assert restored[name].abs().max() > 0
            assert th.equal(restored[name], saved[name])


# -- terms of the objective --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ratio", "advantage", "moves"),
    [(1.3, 1.0, False), (0.7, -1.0, False), (1.3, -1.0, True), (0.7, 1.0, True), (1.1, 1.0, True), (0.9, -1.0, True)],
)
def test_policy_moves_unless_the_ratio_has_left_the_clip_range_in_the_advantages_direction(
    ratio: float, advantage: float, moves: bool
) -> None:
    model = linear_model(LabelledEnv(blind=True), learning_rate=1.0, clip_range=0.2)
    before = action_bias(model)
    update_with(model, advantages=advantage, returns=2.0, log_probs=lambda buffer: buffer.log_probs - math.log(ratio))
    assert (np.abs(action_bias(model) - before).max() > 1e-3) == moves


@pytest.mark.parametrize("advantage", [1.0, -1.0])
def test_policy_gradient_is_the_advantage_times_the_score(advantage: float) -> None:
    # At ratio 1 the gradient of log p(a) in the logits is onehot(a) - p; SGD with rate 1 climbs its mean.
    model = linear_model(LabelledEnv(blind=True), learning_rate=1.0)
    before = action_bias(model)
    recorder = update_with(model, advantages=advantage, returns=2.0)
    chosen = np.eye(3)[recorder.rollouts[0]["actions"].ravel().astype(int)].mean(axis=0)
    probabilities = np.exp(log_softmax(before.astype(np.float64)))
    np.testing.assert_allclose(action_bias(model) - before, advantage * (chosen - probabilities), atol=1e-6)


def test_advantages_are_normalised_within_the_minibatch() -> None:
    # Rewards 1, 2, 3, 4 as advantages: mean 2.5, unbiased variance 5/3.
    model = linear_model(LabelledEnv(blind=True), learning_rate=1.0, normalize_advantage=True)
    before = action_bias(model)
    recorder = update_with(model, advantages=lambda buffer: buffer.rewards, returns=2.0)
    normalised = (np.array([1, 2, 3, 4]) - 2.5) / math.sqrt(5 / 3)
    chosen = np.eye(3)[recorder.rollouts[0]["actions"].ravel().astype(int)]
    scores = chosen - np.exp(log_softmax(before.astype(np.float64)))
    np.testing.assert_allclose(action_bias(model) - before, (normalised[:, None] * scores).mean(axis=0), atol=1e-6)


def test_clip_range_follows_its_schedule() -> None:
    # Two rollouts: progress 1/2 and 0. A ratio of 1.3 has left a range of 0.2, but not one of 0.4.
    model = linear_model(
        LabelledEnv(blind=True), learning_rate=1.0, clip_range=lambda progress: 0.2 if progress > 0.25 else 0.4
    )
    planted = {"advantages": 1.0, "returns": 2.0, "log_probs": lambda buffer: buffer.log_probs - math.log(1.3)}
    before_first, before_second, after = update_with(model, n_rollouts=2, **planted).biases
    np.testing.assert_array_equal(before_first, before_second)
    assert np.abs(after - before_second).max() > 1e-3


@pytest.mark.parametrize("ent_coef", [0.0, 0.5, 2.0])
def test_entropy_bonus_climbs_the_entropys_gradient_times_ent_coef(ent_coef: float) -> None:
    # Entropy H of a softmax: dH/dz_k = -p_k (log p_k + H).
    model = linear_model(LabelledEnv(blind=True), learning_rate=1.0, ent_coef=ent_coef)
    before = action_bias(model).astype(np.float64)
    update_with(model, advantages=0.0, returns=2.0)
    log_p = log_softmax(before)
    entropy = -(np.exp(log_p) * log_p).sum()
    gradient = -np.exp(log_p) * (log_p + entropy)
    np.testing.assert_allclose(action_bias(model) - before, ent_coef * gradient, atol=1e-6)
    log_p_after = log_softmax(action_bias(model).astype(np.float64))
    assert ent_coef == 0.0 or -(np.exp(log_p_after) * log_p_after).sum() > entropy + 1e-3


def test_entropy_bonus_widens_a_gaussian_by_ent_coef() -> None:
    # H = sum of log_std + constant, so each log_std climbs by exactly ent_coef.
    model = linear_model(LabelledEnv(0, BOX, blind=True), learning_rate=1.0, ent_coef=0.25)
    update_with(model, advantages=0.0, returns=2.0)
    np.testing.assert_allclose(model.policy.log_std.detach().numpy(), [0.25, 0.25], atol=1e-6)


@pytest.mark.parametrize(("vf_coef", "expected"), [(0.5, 2.5), (0.25, 2.25), (0.0, 2.0)])
def test_value_moves_by_vf_coef_times_twice_its_error(vf_coef: float, expected: float) -> None:
    model = linear_model(LabelledEnv(blind=True), learning_rate=0.5, vf_coef=vf_coef)
    update_with(model, advantages=0.0, returns=3.0)
    assert value_bias(model) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("clip_range_vf", "expected"), [(None, 2.75), (0.1, 2.5), (0.6, 2.75)])
def test_value_stops_once_it_has_moved_by_clip_range_vf(clip_range_vf: float | None, expected: float) -> None:
    # From 2 towards 3, half of what is left per epoch: 2.5, 2.75. At 2.5 the change of 0.5 exceeds 0.1, but not 0.6.
    model = linear_model(LabelledEnv(blind=True), learning_rate=0.5, n_epochs=2, clip_range_vf=clip_range_vf)
    update_with(model, advantages=0.0, returns=3.0)
    assert value_bias(model) == pytest.approx(expected, rel=1e-6)


def test_value_clip_range_follows_its_schedule() -> None:
    model = linear_model(
        LabelledEnv(blind=True), learning_rate=0.5, n_epochs=2,
        clip_range_vf=lambda progress: 0.1 if progress > 0.25 else 100.0,
    )  # fmt: skip
    update_with(model, n_rollouts=2, advantages=0.0, returns=lambda buffer: buffer.values + 1.0)
    assert value_bias(model) == pytest.approx(2.0 + 0.5 + 0.75, rel=1e-6)


@pytest.mark.parametrize(("factor", "steps"), [(0.99, 0), (1.01, 1)])
def test_update_stops_before_a_minibatch_whose_kl_exceeds_one_and_a_half_times_target_kl(
    factor: float, steps: int
) -> None:
    kl = 1.3 - 1 - math.log(1.3)
    model = linear_model(LabelledEnv(blind=True), target_kl=factor * kl / 1.5)
    seen: list[Any] = []
    model.policy.optimizer.register_step_pre_hook(lambda *arguments: seen.append(arguments))
    update_with(model, log_probs=lambda buffer: buffer.log_probs - math.log(1.3))
    assert len(seen) == steps


def test_update_that_stops_early_stops_altogether() -> None:
    # Rate 0: the KL stays as planted, so each further epoch would stop as well, and be counted.
    model = linear_model(LabelledEnv(blind=True), target_kl=1e-9, n_epochs=5)
    update_with(model, log_probs=lambda buffer: buffer.log_probs - math.log(1.3))
    assert model._n_updates == 1


# -- callbacks, log, modes ---------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("each_update")
def test_timesteps_grow_by_the_number_of_environments_before_each_on_step() -> None:
    recorder = RolloutRecorder()
    linear_model(*[LabelledEnv(label) for label in range(3)]).learn(24, callback=recorder)
    assert recorder.timesteps == [3, 6, 9, 12, 15, 18, 21, 24]


@pytest.mark.usefixtures("each_update")
def test_callback_that_returns_false_stops_learning_without_an_update() -> None:
    class StopAtThirdStep(RolloutRecorder):
        def _on_step(self) -> bool:
            return super()._on_step() and self.n_calls < 3

    callback = StopAtThirdStep()
    model = linear_model(LabelledEnv(0), LabelledEnv(1), learning_rate=0.1)
    before = parameters(model)
    model.learn(80, callback=callback)
    assert callback.timesteps == [2, 4, 6]
    assert model.num_timesteps == 6
    assert th.equal(parameters(model), before)
    assert callback.rollouts == []
    assert len(callback.biases) == 1, "on_training_end was not called once"


class LogCollector(KVWriter):
    """Keeps everything that is logged."""

    def __init__(self) -> None:
        self.written: list[dict[str, Any]] = []

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0) -> None:
        self.written.append(dict(key_values))


@pytest.mark.usefixtures("each_update")
def test_log_holds_mean_return_length_and_success_of_the_finished_episodes() -> None:
    # In 6 steps: three episodes of return 1 + 2 that succeed, and two of return 1 + 2 + 3 that do not.
    winner = Monitor(LabelledEnv(0, script=((2, "terminated"),)))
    loser = Monitor(LabelledEnv(1, script=((3, "truncated"),)))
    model = linear_model(winner, loser, n_steps=6)
    collector = LogCollector()
    model.set_logger(Logger(folder=None, output_formats=[collector]))
    model.learn(12)
    [log] = collector.written
    assert log["rollout/ep_rew_mean"] == pytest.approx((3 * 3 + 2 * 6) / 5)
    assert log["rollout/ep_len_mean"] == pytest.approx((3 * 2 + 2 * 3) / 5)
    assert log["rollout/success_rate"] == pytest.approx(3 / 5)
    assert log["time/total_timesteps"] == 12


def test_network_is_in_evaluation_mode_while_acting_and_in_training_mode_while_learning() -> None:
    model = linear_model(LabelledEnv(script=((2, "truncated"),)))
    seen: list[tuple[str, bool]] = []
    model.policy.features_extractor.register_forward_pre_hook(
        lambda module, _: seen.append(("learning" if th.is_grad_enabled() else "acting", module.training))
    )
    model.learn(8)
    assert set(seen) == {("acting", False), ("learning", True)}
