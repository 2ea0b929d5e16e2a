"""Tests of `PPOScratch` as an SB3 algorithm: its interface, saving, callbacks, threads and devices.

That it computes what stock PPO computes is tested in `test_equality_with_sb3.py`.
"""

import copy
import inspect
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.buffers import DictRolloutBuffer, RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecNormalize

from sb3_ppo_scratch import PPOScratch, ReinforceScratch
from sb3_ppo_scratch.advantages import generalized_advantages
from sb3_ppo_scratch.model_files import NOT_SAVED
from sb3_ppo_scratch.rollout_buffers import ScratchDictRolloutBuffer, ScratchRolloutBuffer
from sb3_ppo_scratch.updates.autograd import AutogradUpdate
from sb3_ppo_scratch.updates.closed_form import ClosedFormUpdate
from sb3_ppo_scratch.updates.update import MinibatchFigures
from tests.envs import EndingsEnv

BOX = spaces.Box(-0.5, 0.5, (2,), np.float32)


def parameters(model: PPOScratch) -> th.Tensor:
    return th.nn.utils.parameters_to_vector(model.policy.parameters()).detach().clone()


def small_model(action_space: spaces.Space[Any] | None = None, **arguments: Any) -> PPOScratch:
    env = DummyVecEnv([lambda: EndingsEnv(action_space or spaces.Discrete(3)) for _ in range(2)])
    return PPOScratch("MlpPolicy", env, **{"n_steps": 8, "batch_size": 8, "n_epochs": 2, "seed": 0, **arguments})


class AtRolloutStart(BaseCallback):
    """Calls a function with the model at the beginning of the n-th rollout, and records the log at each beginning."""

    def __init__(self, rollout: int, change: Callable[[PPOScratch], None]) -> None:
        super().__init__()
        self.rollout, self.change = rollout, change
        self.rollouts = 0
        self.logs: list[dict[str, Any]] = []

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        self.logs.append(dict(self.logger.name_to_value))
        if self.rollouts == self.rollout:
            assert isinstance(self.model, PPOScratch)
            self.change(self.model)
        self.rollouts += 1

    def _on_training_end(self) -> None:
        self.logs.append(dict(self.logger.name_to_value))


EACH_UPDATE = pytest.mark.parametrize("update", ["autograd", "closed_form"])


# -- interface ---------------------------------------------------------------------------------------------------------


def test_constructor_has_stocks_arguments_in_stocks_order_with_stocks_defaults_and_then_its_own_by_keyword() -> None:
    stock = list(inspect.signature(PPO.__init__).parameters.values())
    ours = list(inspect.signature(PPOScratch.__init__).parameters.values())
    shared, own = ours[: len(stock)], ours[len(stock) :]
    assert [(p.name, p.default, p.kind) for p in shared] == [(p.name, p.default, p.kind) for p in stock]
    assert own
    assert all(p.kind is inspect.Parameter.KEYWORD_ONLY for p in own)


def test_learn_has_stocks_arguments_with_stocks_defaults() -> None:
    stock, ours = inspect.signature(PPO.learn).parameters, inspect.signature(PPOScratch.learn).parameters
    assert [(p.name, p.default) for p in ours.values()] == [(p.name, p.default) for p in stock.values()]


def test_every_constructor_argument_is_stored_under_its_own_name() -> None:
    model = small_model()
    stored_elsewhere = {"self", "policy", "_init_setup_model", "stats_window_size"}
    for name in set(inspect.signature(PPOScratch.__init__).parameters) - stored_elsewhere:
        assert hasattr(model, name), name


@pytest.mark.parametrize(
    ("action_space", "observation_space", "policy"),
    [
        (spaces.Discrete(3), spaces.Box(-1, 1, (2, 3)), "MlpPolicy"),
        (spaces.MultiDiscrete([2, 3]), spaces.Discrete(4), "MlpPolicy"),
        (spaces.MultiBinary(2), spaces.Box(0, 255, (3, 36, 36), np.uint8), "CnnPolicy"),
        (
            BOX,
            spaces.Dict({"image": spaces.Box(0, 255, (3, 36, 36), np.uint8), "x": spaces.Box(-1, 1, (2,))}),
            "MultiInputPolicy",
        ),
    ],
    ids=["discrete", "multi_discrete", "multi_binary", "box_dict"],
)
def test_supported_spaces_train_and_predict_valid_actions(
    action_space: spaces.Space[Any], observation_space: spaces.Space[Any], policy: str
) -> None:
    env = DummyVecEnv([lambda: EndingsEnv(action_space, observation_space) for _ in range(2)])
    model = PPOScratch(policy, env, n_steps=8, batch_size=8, n_epochs=1, seed=0)
    before = parameters(model)
    model.learn(32)
    actions, _ = model.predict(env.reset())
    assert len(actions) == 2
    assert all(action_space.contains(action) for action in actions)
    assert not th.equal(before, parameters(model))


def test_actions_that_reach_a_box_environment_are_clipped_while_the_buffer_keeps_the_samples() -> None:
    model = small_model(BOX).learn(16)
    received = np.concatenate(model.get_env().get_attr("received_actions"))
    assert np.abs(received).max() <= 0.5
    assert np.abs(model.rollout_buffer.actions).max() > 0.5


def test_learning_works_in_subprocesses_with_a_progress_bar() -> None:
    env = make_vec_env("CartPole-v1", n_envs=2, vec_env_cls=SubprocVecEnv)
    model = PPOScratch("MlpPolicy", env, n_steps=16, batch_size=16, n_epochs=1).learn(64, progress_bar=True)
    env.close()
    assert model.num_timesteps == 64


def test_learns_cartpole_beyond_any_untrained_policy() -> None:
    env = make_vec_env("CartPole-v1", n_envs=8, env_kwargs={"render_mode": None})
    model = PPOScratch("MlpPolicy", env, n_steps=64, batch_size=128, learning_rate=3e-3, seed=0).learn(15_000)
    last = [episode["r"] for episode in model.ep_info_buffer or []][-20:]
    assert np.mean(last) > 150  # random episodes last 22 steps on average, and 95 % of them less than 45


# -- buffers -----------------------------------------------------------------------------------------------------------


class OwnBuffer(RolloutBuffer):
    """A user's buffer with its own advantages."""

    def compute_returns_and_advantage(self, last_values: th.Tensor, dones: np.ndarray) -> None:
        self.advantages = np.full_like(self.rewards, 7.0)
        self.returns = self.rewards.copy()


def test_default_buffers_use_our_estimate_and_a_users_buffer_keeps_its_own() -> None:
    assert type(small_model().rollout_buffer) is ScratchRolloutBuffer
    with_dict = EndingsEnv(BOX, spaces.Dict({"x": spaces.Box(-1, 1, (2,))}))
    assert type(PPOScratch("MultiInputPolicy", with_dict).rollout_buffer) is ScratchDictRolloutBuffer
    assert issubclass(ScratchDictRolloutBuffer, DictRolloutBuffer)
    model = small_model(rollout_buffer_class=OwnBuffer).learn(16)
    assert type(model.rollout_buffer) is OwnBuffer
    assert np.all(model.rollout_buffer.advantages == 7.0)


def test_buffer_arguments_reach_the_buffer_and_wrong_ones_are_refused() -> None:
    class Named(OwnBuffer):
        def __init__(self, *arguments: Any, label: str, **keywords: Any) -> None:
            super().__init__(*arguments, **keywords)
            self.label = label

    model = small_model(rollout_buffer_class=Named, rollout_buffer_kwargs={"label": "mine"})
    assert model.rollout_buffer.label == "mine"
    with pytest.raises(TypeError, match="unexpected keyword argument 'wrong'"):
        small_model(rollout_buffer_kwargs={"wrong": 1})


# -- public attributes changed during a run ----------------------------------------------------------------------------


@EACH_UPDATE
@pytest.mark.parametrize(
    ("name", "value", "key", "logged"),
    [
        ("learning_rate", 1e-5, "train/learning_rate", 1e-5),
        ("learning_rate", lambda progress: 0.25, "train/learning_rate", 0.25),
        ("lr_schedule", lambda progress: 0.125, "train/learning_rate", 0.125),
        ("clip_range", 0.05, "train/clip_range", 0.05),
        ("clip_range", lambda progress: 0.07, "train/clip_range", 0.07),
        ("clip_range_vf", 0.3, "train/clip_range_vf", 0.3),
        ("n_epochs", 5, "train/n_updates", 2 + 5),
        ("batch_size", 4, "optimizer_steps", 2 * 2 + 2 * 4),
    ],
)
def test_attribute_changed_by_a_callback_takes_effect_at_the_next_update(
    name: str, value: Any, key: str, logged: float, update: str
) -> None:
    model = small_model(update=update)
    callback = AtRolloutStart(1, lambda model: setattr(model, name, value))
    model.learn(32, callback=callback)
    seen = dict(callback.logs[-1])
    seen["optimizer_steps"] = int(next(iter(model.policy.optimizer.state.values()))["step"])
    assert seen[key] == pytest.approx(logged)


@EACH_UPDATE
@pytest.mark.parametrize(
    ("name", "value"),
    [("ent_coef", 0.5), ("vf_coef", 0.0), ("max_grad_norm", 1e-4), ("normalize_advantage", False), ("target_kl", 1e-9)],
)
def test_loss_setting_changed_by_a_callback_changes_the_next_update(name: str, value: Any, update: str) -> None:
    changed, unchanged = small_model(update=update), small_model(update=update)
    changed.learn(32, callback=AtRolloutStart(1, lambda model: setattr(model, name, value)))
    unchanged.learn(32, callback=AtRolloutStart(1, lambda model: None))
    assert not th.equal(parameters(changed), parameters(unchanged))


@EACH_UPDATE
@pytest.mark.parametrize(("name", "value"), [("gamma", 0.5), ("gae_lambda", 0.1)])
def test_discounting_changed_by_a_callback_changes_the_same_rollouts_advantages(
    name: str, value: float, update: str
) -> None:
    model = small_model(update=update)
    model.learn(32, callback=AtRolloutStart(1, lambda model: setattr(model, name, value)))
    assert getattr(model.rollout_buffer, name) == value
    model.learning_rate = 0.0  # so that the last values can be computed after the update
    model.learn(16, reset_num_timesteps=False)
    with th.no_grad():
        last_values = model.policy.predict_values(model.policy.obs_to_tensor(model._last_obs)[0]).numpy().ravel()
    fields = (in_order(getattr(model.rollout_buffer, field)) for field in ("rewards", "values", "episode_starts"))
    assert model._last_episode_starts is not None
    expected = generalized_advantages(
        *fields, last_values, model._last_episode_starts, gamma=model.gamma, gae_lambda=model.gae_lambda
    )
    np.testing.assert_allclose(in_order(model.rollout_buffer.advantages), expected, atol=1e-5)


@EACH_UPDATE
def test_discounting_changed_at_the_beginning_of_a_rollout_is_what_the_callback_sees_at_its_end(update: str) -> None:
    class Watch(AtRolloutStart):
        def _on_rollout_end(self) -> None:
            self.model.rollout_buffer.returns[:] = 99.0
            self.seen = (self.model.rollout_buffer.gamma, self.model.rollout_buffer.advantages.copy())

    model = small_model(gamma=0.9, update=update)
    callback = Watch(0, lambda model: setattr(model, "gamma", 0.0))
    model.learn(16, callback=callback)
    gamma, advantages = callback.seen
    buffer = model.rollout_buffer
    assert gamma == 0.0
    np.testing.assert_allclose(advantages, in_order(buffer.rewards) - in_order(buffer.values), atol=1e-6)
    assert np.all(buffer.returns == 99.0)


def in_order(array: np.ndarray, n_steps: int = 8, n_envs: int = 2) -> np.ndarray:
    """Undo the buffer's flattening (environment by environment), if it has happened."""
    return array if array.shape == (n_steps, n_envs) else array.reshape(n_envs, n_steps).T


@pytest.mark.parametrize("before", [True, False])
def test_normalisation_cannot_be_changed_once_the_policy_is_built(before: bool) -> None:
    model = small_model(normalize_observations=before)
    with pytest.raises(ValueError, match=f"`normalize_observations` cannot become {not before} once"):
        model.normalize_observations = not before
    model.normalize_observations = before
    assert model.normalize_observations is before


def test_rate_of_updates_counts_the_transitions_that_were_used(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[int] = []
    monkeypatch.setattr(PPOScratch, "_record_rate", lambda self, key, n, started: counted.append(n))
    model = small_model()
    model.learn(16 + 24, callback=AtRolloutStart(0, lambda model: setattr(model, "n_steps", 12)))
    assert counted == [16, 16, 24, 24]


@EACH_UPDATE
def test_n_steps_changed_by_a_callback_changes_the_next_rollout(update: str) -> None:
    model = small_model(update=update)
    model.learn(16 + 2 * 12, callback=AtRolloutStart(0, lambda model: setattr(model, "n_steps", 12)))
    assert model.rollout_buffer.buffer_size == 12
    assert model.num_timesteps == 16 + 24


@pytest.mark.parametrize("first", ["autograd", "closed_form"])
def test_update_changed_by_a_callback_takes_effect_at_the_next_update(
    first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    for name, update_class in (("autograd", AutogradUpdate), ("closed_form", ClosedFormUpdate)):
        step = update_class.step
        monkeypatch.setattr(
            update_class, "step", lambda *arguments, name=name, step=step: (steps.append(name), step(*arguments))
        )
    [second] = {"autograd", "closed_form"} - {first}
    small_model(update=first).learn(32, callback=AtRolloutStart(1, lambda model: setattr(model, "update", second)))
    assert steps == [first] * 4 + [second] * 4


@EACH_UPDATE
def test_a_loss_that_is_nan_raises(update: str) -> None:
    class Spoil(AtRolloutStart):
        def _on_rollout_end(self) -> None:
            self.model.rollout_buffer.returns[:] = np.nan

    model = small_model(update=update, n_epochs=1, batch_size=16)
    with pytest.raises(ValueError, match=r"^the loss of minibatch 0 in epoch 0 is NaN or infinite"):
        model.learn(16, callback=Spoil(9, lambda model: None))


def test_remaining_progress_never_falls_below_zero() -> None:
    model = small_model(learning_rate=lambda progress: progress)
    callback = AtRolloutStart(9, lambda model: None)
    model.learn(20, callback=callback)
    assert model.num_timesteps == 32
    assert callback.logs[-1]["train/learning_rate"] == 0.0


# -- log ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("update_class", [AutogradUpdate, ClosedFormUpdate], ids=["autograd", "closed_form"])
def test_loss_and_kl_are_means_over_the_whole_update(update_class: type[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[MinibatchFigures] = []
    evaluate = update_class.evaluate

    def spy(self: Any, minibatch: Any, settings: Any) -> MinibatchFigures:
        seen.append(evaluate(self, minibatch, settings))
        return seen[-1]

    monkeypatch.setattr(update_class, "evaluate", spy)
    update = "autograd" if update_class is AutogradUpdate else "closed_form"
    model = small_model(n_epochs=3, update=update).learn(16)
    assert len(seen) == 6
    for name in ("loss", "approx_kl"):
        mean = np.mean([float(getattr(figures, name)) for figures in seen])
        assert model.logger.name_to_value[f"train/{name}"] == pytest.approx(mean)


def test_rates_of_rollout_and_update_are_logged_apart() -> None:
    model = small_model()
    callback = AtRolloutStart(9, lambda model: None)
    model.learn(32, callback=callback, log_interval=100)
    assert callback.logs[-1]["time/rollout_fps"] > 0
    assert callback.logs[-1]["time/update_fps"] > 0


@EACH_UPDATE
def test_early_stop_is_printed_if_verbose_and_counts_its_epoch(capsys: pytest.CaptureFixture[str], update: str) -> None:
    model = small_model(target_kl=1e-9, verbose=1, n_epochs=10, update=update).learn(16)
    assert "Early stopping at step 0 due to reaching max kl" in capsys.readouterr().out
    assert model._n_updates == 1


# -- saving, loading, copying ------------------------------------------------------------------------------------------


@EACH_UPDATE
def test_saved_and_loaded_model_goes_on_exactly_as_the_original(tmp_path: Path, update: str) -> None:
    original = small_model(BOX, update=update).learn(32)
    original.save(tmp_path / "model")
    loaded = PPOScratch.load(tmp_path / "model", env=DummyVecEnv([lambda: EndingsEnv(BOX) for _ in range(2)]))
    assert th.equal(parameters(original), parameters(loaded))
    for model in (original, loaded):
        model.set_env(DummyVecEnv([lambda: EndingsEnv(BOX) for _ in range(2)]))
        model.set_random_seed(5)
        model.learn(32, reset_num_timesteps=False)
    assert th.equal(parameters(original), parameters(loaded))
    assert original.num_timesteps == loaded.num_timesteps == 64


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("gamma", 0.5),
        ("gae_lambda", 0.3),
        ("n_steps", 12),
        ("clip_range", 0.07),
        ("learning_rate", 0.5),
        ("n_epochs", 3),
    ],
)
def test_option_changed_on_load_is_honoured(tmp_path: Path, name: str, value: float) -> None:
    model = small_model()
    model.save(tmp_path / "model")
    loaded = PPOScratch.load(tmp_path / "model", env=model.get_env(), **{name: value}).learn(24)
    assert getattr(loaded, name) in (value,) or loaded.clip_range(1.0) == value
    assert loaded.rollout_buffer.gamma == loaded.gamma
    assert loaded.rollout_buffer.gae_lambda == loaded.gae_lambda
    assert loaded.rollout_buffer.buffer_size == loaded.n_steps
    assert loaded.lr_schedule(1.0) == (0.5 if name == "learning_rate" else 3e-4)


def test_statistics_window_changed_on_load_is_honoured(tmp_path: Path) -> None:
    model = small_model()
    model.save(tmp_path / "model")
    loaded = PPOScratch.load(tmp_path / "model", env=model.get_env(), stats_window_size=3).learn(64)
    assert loaded.ep_info_buffer is not None
    assert loaded.ep_info_buffer.maxlen == 3


def test_file_of_stock_ppo_gets_our_advantages_and_a_users_buffer_stays(tmp_path: Path) -> None:
    model = small_model()
    PPO("MlpPolicy", model.get_env()).save(tmp_path / "stock")
    assert type(PPOScratch.load(tmp_path / "stock", env=model.get_env()).rollout_buffer) is ScratchRolloutBuffer
    small_model(rollout_buffer_class=OwnBuffer).save(tmp_path / "own")
    assert type(PPOScratch.load(tmp_path / "own", env=model.get_env()).rollout_buffer) is OwnBuffer
    assert type(small_model(rollout_buffer_class=RolloutBuffer).rollout_buffer) is RolloutBuffer


@pytest.mark.parametrize("name", ["policy", "_init_setup_model", "lr_schedule", "num_timesteps", "_last_obs"])
def test_argument_that_a_file_decides_is_refused_on_load(tmp_path: Path, name: str) -> None:
    small_model().save(tmp_path / "model")
    with pytest.raises(TypeError, match=f"does not know `{name}`"):
        PPOScratch.load(tmp_path / "model", **{name: "MlpPolicy"})


def test_unknown_option_on_load_is_refused(tmp_path: Path) -> None:
    small_model().save(tmp_path / "model")
    with pytest.raises(TypeError, match=r"PPOScratch\.load does not know `gama`; did you mean `gamma`"):
        PPOScratch.load(tmp_path / "model", gama=0.5)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("normalize_observations", True),
        ("critic", False),
        ("share_features", True),
        ("orthogonal_init", False),
        ("adam_epsilon", 1e-2),
    ],
)
@pytest.mark.parametrize("writer", [PPOScratch, PPO])
def test_option_that_would_need_another_policy_is_refused_on_load(
    tmp_path: Path, writer: type[PPO], name: str, value: Any
) -> None:
    writer("MlpPolicy", EndingsEnv(spaces.Discrete(3)), n_steps=8, batch_size=8).save(tmp_path / "model")
    with pytest.raises(ValueError, match=f"`{name}` cannot become {value} once the policy is built"):
        PPOScratch.load(tmp_path / "model", **{name: value})
    as_it_is = getattr(PPOScratch.load(tmp_path / "model"), name)
    PPOScratch.load(tmp_path / "model", **{name: as_it_is})


UNUSABLE: list[tuple[dict[str, Any], str]] = [
    ({"advantage": "nonsense"}, r"`advantage` must be one of \['gae', 'monte_carlo'\], got 'nonsense'"),
    ({"update": "nonsense"}, "`update` must be one of .*, got 'nonsense'"),
    ({"kl_mode": "nonsense"}, "`kl_mode` must be one of .*, got 'nonsense'"),
    ({"kl_mode": "penalty"}, "`kl_mode='penalty'` needs a target"),
    ({"kl_coef": 2.0}, "`kl_coef=2.0` is looked at by kl_mode='penalty' alone"),
    ({"kl_coef": float("inf")}, "`kl_coef` must be positive and finite, got inf"),
    ({"normalize_returns": True}, "`normalize_returns=True` needs advantage='monte_carlo'"),
    ({"timeout_bootstrap": "yes"}, "`timeout_bootstrap` must be one of"),
    ({"n_episodes": 0}, "`n_episodes` must be at least 1, got 0"),
    ({"batch_size": 1}, "`batch_size` must be greater than 1 with normalize_advantage=True"),
]


@pytest.mark.parametrize(("changes", "message"), UNUSABLE, ids=str)
def test_option_changed_on_load_to_what_cannot_work_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    small_model().save(tmp_path / "model")
    with pytest.raises(ValueError, match=message):
        PPOScratch.load(tmp_path / "model", **changes)


@pytest.mark.parametrize(("changes", "message"), UNUSABLE, ids=str)
def test_attribute_set_to_what_cannot_work_is_refused_before_the_next_step(
    changes: dict[str, Any], message: str
) -> None:
    model = small_model()
    for name, value in changes.items():
        setattr(model, name, value)
    with pytest.raises(ValueError, match=message):
        model.learn(16)
    assert model.num_timesteps == 0


def test_attribute_set_to_what_cannot_work_is_refused_before_the_next_update() -> None:
    class Spoil(AtRolloutStart):
        def _on_rollout_end(self) -> None:
            self.model.kl_mode = "nonsense"

    model = small_model()
    before = parameters(model)
    with pytest.raises(ValueError, match="`kl_mode` must be one of"):
        model.learn(16, callback=Spoil(9, lambda model: None))
    assert th.equal(parameters(model), before)


@pytest.mark.parametrize(
    ("name", "value", "message"), [("gamma", 2.0, "`gamma` must lie in"), ("n_epochs", 0, "`n_ep")]
)
def test_value_that_the_constructor_refuses_is_refused_on_load(
    tmp_path: Path, name: str, value: Any, message: str
) -> None:
    small_model().save(tmp_path / "model")
    with pytest.raises(ValueError, match=message):
        PPOScratch.load(tmp_path / "model", **{name: value})


def test_combination_completed_on_load_is_honoured(tmp_path: Path) -> None:
    small_model().save(tmp_path / "model")
    changes = {"advantage": "monte_carlo", "normalize_returns": True, "normalize_advantage": False}
    model = PPOScratch.load(tmp_path / "model", env=small_model().get_env(), **changes).learn(16)
    buffer = model.rollout_buffer
    np.testing.assert_allclose((buffer.advantages + buffer.values).std(), 1.0, atol=1e-5)


def test_buffer_named_on_load_is_taken_even_if_it_is_sb3s_default(tmp_path: Path) -> None:
    small_model().save(tmp_path / "model")
    assert type(PPOScratch.load(tmp_path / "model", rollout_buffer_class=RolloutBuffer).rollout_buffer) is RolloutBuffer
    with pytest.raises(ValueError, match=r"`advantage='monte_carlo'` would be ignored by .*RolloutBuffer"):
        PPOScratch.load(tmp_path / "model", rollout_buffer_class=RolloutBuffer, advantage="monte_carlo")


@pytest.mark.parametrize(
    ("writer", "reader"), [(A2C, PPOScratch), (ReinforceScratch, PPOScratch), (PPOScratch, ReinforceScratch)]
)
def test_file_of_another_algorithm_is_refused(tmp_path: Path, writer: type[Any], reader: type[Any]) -> None:
    writer("MlpPolicy", EndingsEnv(spaces.Discrete(3))).save(tmp_path / "model")
    with pytest.raises(ValueError, match=f"model holds no model of {reader.__name__}"):
        reader.load(tmp_path / "model")


def test_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.zip").write_text("text")
    with pytest.raises(ValueError, match=r"text\.zip is no zip file that SB3 has saved a model in"):
        PPOScratch.load(tmp_path / "text.zip")
    with pytest.raises(FileNotFoundError, match="absent"):
        PPOScratch.load(tmp_path / "absent")


def test_values_that_the_constructor_refuses_are_accepted_on_load(tmp_path: Path) -> None:
    small_model().save(tmp_path / "model")
    zoo = {"learning_rate": 0.0, "lr_schedule": lambda _: 0.0, "clip_range": lambda _: 0.0}
    loaded = PPOScratch.load(tmp_path / "model", custom_objects=zoo)
    assert loaded.clip_range(1.0) == 0.0


def test_model_can_be_saved_to_memory_and_its_parameters_set_from_a_file(tmp_path: Path) -> None:
    model, other = small_model(), small_model(seed=9)
    stream = io.BytesIO()
    model.save(stream)
    stream.seek(0)
    assert not th.equal(parameters(model), parameters(other))
    other.set_parameters(stream)
    assert th.equal(parameters(model), parameters(other))
    assert th.equal(parameters(PPOScratch.load(io.BytesIO(stream.getvalue()))), parameters(model))


@pytest.mark.parametrize(
    "arguments",
    [{}, {"action_space": BOX}, {"action_space": BOX, "use_sde": True}, {"action_space": spaces.MultiDiscrete([2, 3])},
     {"action_space": spaces.MultiBinary(2)}, {"normalize_observations": True}],
    ids=str,
)  # fmt: skip
def test_deepcopy_of_a_trained_model_is_equal_and_independent(arguments: dict[str, Any]) -> None:
    model = small_model(**arguments).learn(16)
    duplicate = copy.deepcopy(model)
    assert th.equal(parameters(model), parameters(duplicate))
    before = parameters(model)
    duplicate.learn(32, reset_num_timesteps=False)
    assert th.equal(parameters(model), before)
    assert not th.equal(parameters(duplicate), before)
    if model.normalize_observations:
        assert duplicate.policy.observation_normalizer.count > model.policy.observation_normalizer.count


def test_rollouts_of_episodes_and_of_steps_can_take_turns() -> None:
    env = make_vec_env("CartPole-v1", 3)
    model = PPOScratch("MlpPolicy", env, n_steps=16, batch_size=16, n_episodes=4, seed=0).learn(1)
    model.n_episodes = None
    model.learn(1)
    assert model.rollout_buffer.rewards.shape == (16, 3)
    model.n_episodes = 2
    model.learn(1)
    assert model.rollout_buffer.rewards.shape[1] == 1


def test_zip_holds_nothing_that_a_new_model_makes_anew(tmp_path: Path) -> None:
    model = small_model().learn(16)
    model.save(tmp_path / "model")
    with zipfile.ZipFile(tmp_path / "model.zip") as archive:
        saved = set(json.loads(archive.read("data")))
    assert set(NOT_SAVED) <= set(vars(model))
    assert not saved & set(NOT_SAVED)
    written_anew = set(vars(small_model())) - set(vars(PPO("MlpPolicy", model.get_env())))
    parameters_of_ours = inspect.signature(PPOScratch.__init__).parameters.values()
    own_arguments = {parameter.name for parameter in parameters_of_ours if parameter.kind is parameter.KEYWORD_ONLY}
    assert written_anew - own_arguments - {"kl_coef_scale", "kl_rate_scale", "_n_left_out"} == set(NOT_SAVED)


def test_continued_training_counts_on() -> None:
    model = small_model().learn(16).learn(16, reset_num_timesteps=False)
    assert model.num_timesteps == 32


def test_vec_normalize_statistics_stay_with_the_environment() -> None:
    env = VecNormalize(DummyVecEnv([lambda: EndingsEnv(BOX)]))
    model = PPOScratch("MlpPolicy", env, n_steps=8, batch_size=8).learn(16)
    assert model.get_vec_normalize_env() is env
    assert env.obs_rms.count > 16


def test_training_goes_on_with_a_compiled_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(th.distributions.Distribution, "_validate_args", True)  # torch switches it off while compiling
    model = small_model()
    model.policy = th.compile(model.policy, backend="eager")
    before = parameters(model)
    model.learn(16)
    assert not th.equal(before, parameters(model))


# -- threads and devices -----------------------------------------------------------------------------------------------


class ThreadRecorder(BaseCallback):
    """Records torch's number of threads at each step, and may raise."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__()
        self.threads: set[int] = set()
        self.error = error

    def _on_step(self) -> bool:
        self.threads.add(th.get_num_threads())
        if self.error:
            raise self.error
        return True


@pytest.fixture
def two_threads() -> Any:
    before = th.get_num_threads()
    th.set_num_threads(2)
    yield
    th.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize(("setting", "threads"), [("auto", 1), (1, 1), (3, 3), (None, 2)])
def test_threads_are_limited_while_learning_and_restored(setting: Any, threads: int) -> None:
    recorder = ThreadRecorder()
    small_model(torch_threads=setting).learn(16, callback=recorder)
    assert recorder.threads == {threads}
    assert th.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_threads_are_restored_after_an_exception() -> None:
    with pytest.raises(RuntimeError, match="planned"):
        small_model().learn(16, callback=ThreadRecorder(RuntimeError("planned")))
    assert th.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_number_of_threads_changed_by_a_callback_acts_from_the_next_rollout_on() -> None:
    class Change(ThreadRecorder):
        def _on_rollout_end(self) -> None:
            self.model.torch_threads = 3

    recorder = Change()
    small_model(torch_threads=1).learn(32, callback=recorder)
    assert recorder.threads == {1, 3}
    assert th.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_convolutions_keep_all_threads() -> None:
    recorder = ThreadRecorder()
    env = EndingsEnv(BOX, spaces.Box(0, 255, (3, 36, 36), np.uint8))
    PPOScratch("CnnPolicy", env, n_steps=4, batch_size=4, n_epochs=1).learn(4, callback=recorder)
    assert recorder.threads == {2}


def test_device_auto_is_the_cpu_for_mlp_policies_and_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    model = small_model(verbose=1, device="auto")
    assert model.device == th.device("cpu")
    output = capsys.readouterr().out
    assert output.count("Using cpu device (auto: the policy has no convolutions, and is faster there)") == 1
    assert output.count("device") == 1
    small_model(verbose=0)
    assert capsys.readouterr().out == ""


def test_device_auto_moves_only_policies_with_convolutions_to_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    # "meta" stands in for a GPU: a device that every machine has, on which nothing is computed.
    monkeypatch.setattr(th.cuda, "is_available", lambda: True)
    real_device = th.device
    monkeypatch.setattr(th, "device", lambda name: real_device("meta" if name == "cuda" else name))
    image = EndingsEnv(BOX, spaces.Box(0, 255, (3, 36, 36), np.uint8))
    convolutional = PPOScratch("CnnPolicy", image)
    assert {parameter.device.type for parameter in convolutional.policy.parameters()} == {"meta"}
    assert convolutional.device.type == convolutional.rollout_buffer.device.type == "meta"
    assert small_model().device.type == "cpu"
    assert PPOScratch("CnnPolicy", image, device="cpu").device.type == "cpu"


@pytest.mark.parametrize(
    ("algorithm", "arguments"), [(PPOScratch, {"critic": False}), (ReinforceScratch, {"baseline": "mean"})]
)
def test_missing_value_network_is_said_once(
    algorithm: type[Any], arguments: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    said = "No value network: values are 0, and nothing stands in for the rest of an episode that is cut\n"
    env = EndingsEnv(spaces.Discrete(3))
    algorithm("MlpPolicy", env, verbose=1, **arguments).learn(1)
    assert capsys.readouterr().out.count(said) == 1
    algorithm("MlpPolicy", env, **arguments)
    algorithm("MlpPolicy", env, verbose=1, **({"baseline": "value"} if "baseline" in arguments else {}))
    assert said not in capsys.readouterr().out


def test_custom_logger_is_kept() -> None:
    model = small_model()
    logger = Logger(folder=None, output_formats=[])
    model.set_logger(logger)
    model.learn(16)
    assert model.logger is logger
    assert "train/loss" in logger.name_to_value


def test_environment_given_by_name_is_made_as_sb3_makes_it() -> None:
    model = PPOScratch("MlpPolicy", "CartPole-v1", n_steps=8)
    assert isinstance(model.get_env(), DummyVecEnv)
    assert isinstance(model.get_env().envs[0].unwrapped, gym.envs.classic_control.CartPoleEnv)
