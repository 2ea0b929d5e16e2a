"""Tests of `normalize_observations=True`: when the statistics move, where they act, and that they travel in the zip."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv

from sb3_ppo_scratch import PPOScratch
from sb3_ppo_scratch.errors import ArgumentError
from sb3_ppo_scratch.observation_normalizer import CLIP, MINIMUM_STD, ObservationNormalizer
from sb3_ppo_scratch.updates.autograd import AutogradUpdate
from sb3_ppo_scratch.updates.closed_form import ClosedFormUpdate
from tests.envs import EndingsEnv

BOX = spaces.Box(-0.5, 0.5, (2,), np.float32)


class FarAway(EndingsEnv):
    """Observations around 50 with deviation 20, and one that never varies."""

    def _observe(self) -> np.ndarray:
        return np.array([*self.np_random.normal(50, 20, 2), 3.0], dtype=np.float32)


def model_of(env_class: type[EndingsEnv] = FarAway, n_envs: int = 2, **arguments: Any) -> PPOScratch:
    env = DummyVecEnv([lambda: env_class(BOX) for _ in range(n_envs)])
    settings = {"n_steps": 16, "batch_size": 16, "n_epochs": 2, "seed": 0, "normalize_observations": True}
    return PPOScratch("MlpPolicy", env, **(settings | arguments))


class Recorder(BaseCallback):
    """Keeps every observation acted upon, and the statistics at each step."""

    def __init__(self) -> None:
        super().__init__()
        self.observations: list[np.ndarray] = []
        self.counts: list[float] = []

    def _on_step(self) -> bool:
        self.observations.append(self.locals["obs_tensor"].numpy().copy())
        self.counts.append(float(self.model.policy.observation_normalizer.count))
        return True


def test_statistics_are_the_moments_of_all_observations_of_all_completed_rollouts() -> None:
    model, recorder = model_of(), Recorder()
    model.learn(96, callback=recorder)
    seen = np.concatenate(recorder.observations).astype(np.float64)
    normalizer = model.policy.observation_normalizer
    assert normalizer.mean.dtype == normalizer.var.dtype == th.float64
    assert normalizer.count == len(seen) == 96
    np.testing.assert_allclose(normalizer.mean.numpy(), seen.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(normalizer.var.numpy(), seen.var(axis=0), rtol=1e-10, atol=1e-12)


def test_statistics_stand_still_during_a_rollout() -> None:
    model, recorder = model_of(), Recorder()
    model.learn(96, callback=recorder)
    assert recorder.counts == [0.0] * 16 + [32.0] * 16 + [64.0] * 16


@pytest.mark.parametrize("update_class", [AutogradUpdate, ClosedFormUpdate], ids=["autograd", "closed_form"])
def test_first_ratio_of_each_update_is_one(update_class: type[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    # One environment and minibatches of one: the update then evaluates what the rollout evaluated, and the KL
    # divergence r - 1 - log r of a minibatch is 0 where its ratio r is 1.
    divergences: list[float] = []
    evaluate = update_class.evaluate

    def spy(self: Any, minibatch: Any, settings: Any) -> Any:
        figures = evaluate(self, minibatch, settings)
        divergences.append(float(figures.approx_kl))
        return figures

    monkeypatch.setattr(update_class, "evaluate", spy)
    update = "autograd" if update_class is AutogradUpdate else "closed_form"
    model_of(n_envs=1, batch_size=1, n_epochs=1, normalize_advantage=False, learning_rate=0.03, update=update).learn(64)
    assert divergences[::16] == pytest.approx([0.0] * 4, abs=1e-6)
    assert max(divergences) > 1e-3


def test_prediction_and_evaluation_leave_the_statistics_alone() -> None:
    model = model_of().learn(64)
    before = {name: value.clone() for name, value in model.policy.state_dict().items()}
    evaluate_policy(model, DummyVecEnv([lambda: FarAway(BOX)]), n_eval_episodes=3, warn=False)
    assert all(th.equal(value, before[name]) for name, value in model.policy.state_dict().items())


def test_normalisation_reaches_actor_and_critic_in_every_method() -> None:
    normalised = model_of().learn(32)
    plain = model_of(normalize_observations=False)
    plain.policy.load_state_dict(
        {name: value for name, value in normalised.policy.state_dict().items() if "normalizer" not in name}
    )
    observations = np.array([[40.0, 80.0, 3.0], [55.0, 20.0, 3.0]], dtype=np.float32)
    moments = normalised.policy.observation_normalizer
    by_hand = (observations - moments.mean.numpy()) / np.sqrt(moments.var.numpy()).clip(MINIMUM_STD)
    ours, scaled = th.as_tensor(observations), th.as_tensor(by_hand.clip(-CLIP, CLIP).astype(np.float32))
    actions = th.zeros((2, 2))
    with th.no_grad():
        th.testing.assert_close(normalised.policy.predict_values(ours), plain.policy.predict_values(scaled))
        th.testing.assert_close(
            normalised.policy.evaluate_actions(ours, actions), plain.policy.evaluate_actions(scaled, actions)
        )
        means = [model.policy.get_distribution(obs).mode() for model, obs in ((normalised, ours), (plain, scaled))]
        th.testing.assert_close(*means)
        th.testing.assert_close(normalised.policy(ours, deterministic=True), plain.policy(scaled, deterministic=True))
        assert not th.allclose(plain.policy.predict_values(ours), plain.policy.predict_values(scaled), atol=1e-3)


def test_constant_input_does_not_explode_and_extremes_are_clipped() -> None:
    normalizer = ObservationNormalizer((2,))
    normalizer.absorb(th.tensor([[5.0, 0.0], [5.0, 2.0]]))
    result = normalizer(th.tensor([[5.0, 1.0], [5.0 + 1e-5, 1.0], [6.0, 1e9]]))
    th.testing.assert_close(result, th.tensor([[0.0, 0.0], [0.1, 0.0], [CLIP, CLIP]]), atol=0.01, rtol=0)


@pytest.mark.parametrize("update", ["closed_form", "autograd"])
def test_clipping_is_a_switch_that_travels_in_the_zip(update: str, tmp_path: Path) -> None:
    model = model_of(observation_clip=0.5, update=update).learn(32)
    model.save(tmp_path / "model")
    far = np.array([[1e3, -1e3, 3.0]], np.float32)
    for each in (model, PPOScratch.load(tmp_path / "model")):
        assert each.policy.observation_normalizer(th.as_tensor(far)).tolist() == [[0.5, -0.5, 0.0]]
    unclipped = model_of(observation_clip=float("inf"), update=update).learn(32)
    assert unclipped.policy.observation_normalizer(th.as_tensor(far))[0, 0] > CLIP


def test_clipping_cannot_change_once_the_policy_is_built() -> None:
    model = model_of()
    with pytest.raises(ArgumentError, match=r"`observation_clip` cannot become 1\.0 once the policy is built"):
        model.observation_clip = 1.0
    with pytest.raises(ValueError, match="`observation_clip` must be positive, got 0"):
        model_of(observation_clip=0)


def test_before_the_first_update_observations_are_only_clipped() -> None:
    observations = th.tensor([[-50.0, 0.3, 9.0]])
    assert ObservationNormalizer((3,))(observations).tolist() == [[-CLIP, pytest.approx(0.3), 9.0]]


def test_separate_extractors_share_one_normaliser_and_images_are_normalised_after_scaling() -> None:
    image = spaces.Box(0, 255, (3, 36, 36), np.uint8)
    env = DummyVecEnv([lambda: EndingsEnv(BOX, image)])
    model = PPOScratch(
        "CnnPolicy", env, n_steps=4, batch_size=4, n_epochs=1, normalize_observations=True,
        policy_kwargs={"share_features_extractor": False},
    )  # fmt: skip
    model.learn(8)
    assert model.policy.observation_normalizer.mean.shape == (3, 36, 36)
    assert 0.3 < model.policy.observation_normalizer.mean.mean() < 0.7
    assert model.policy.observation_normalizer.count == 8


@pytest.mark.parametrize(
    ("space", "policy"),
    [(spaces.Discrete(3), "MlpPolicy"), (spaces.Dict({"x": spaces.Box(-1, 1, (2,))}), "MultiInputPolicy")],
)
def test_other_observation_spaces_are_refused_with_the_alternative(space: spaces.Space[Any], policy: str) -> None:
    with pytest.raises(ValueError, match=r"`normalize_observations=True` needs a Box .*VecNormalize"):
        PPOScratch(policy, EndingsEnv(BOX, space), normalize_observations=True)


def test_a_fresh_process_acts_bit_identically_from_the_zip(tmp_path: Path) -> None:
    model = model_of().learn(64)
    model.save(tmp_path / "model.zip")
    observations = np.random.default_rng(0).normal(50, 20, (20, 3)).astype(np.float32)
    np.save(tmp_path / "observations.npy", observations)
    code = (
        "import sys, numpy as np, torch; torch.set_num_threads(1); folder = sys.argv[1]; "
        "from sb3_ppo_scratch import PPOScratch; "
        "model = PPOScratch.load(folder + '/model.zip'); observations = np.load(folder + '/observations.npy'); "
        "np.save(folder + '/actions.npy', model.predict(observations, deterministic=True)[0])"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=120)
    expected, _ = model.predict(observations, deterministic=True)
    np.testing.assert_array_equal(np.load(tmp_path / "actions.npy"), expected)


def test_option_helps_where_inputs_are_badly_scaled() -> None:
    class Badly(EndingsEnv):
        """The action should follow the sign of an input that hides behind an offset of 1000."""

        def _observe(self) -> np.ndarray:
            self.sign = 1.0 if self.np_random.random() < 0.5 else -1.0
            return np.array([1000 + 0.1 * self.sign, 0, 0], dtype=np.float32)

        def step(self, action: Any) -> Any:
            sign = self.sign
            observation, _, *rest = super().step(action)
            return observation, sign * float(action[0]), *rest

    def final_return(normalize: bool) -> float:
        model = model_of(Badly, n_envs=4, learning_rate=1e-2, n_steps=32, batch_size=32, n_epochs=8, seed=1,
                         normalize_observations=normalize)  # fmt: skip
        model.learn(128 * 12)
        return float(model.rollout_buffer.rewards.mean())

    assert final_return(True) > final_return(False) + 0.1
