"""Tests of `benchmark/training/evaluation.py`."""

import json
import time
from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import pytest
import torch as th
import yaml
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from sb3_ppo_scratch import PPOScratch
from sb3_ppo_scratch.benchmark.training.evaluation import EvaluationRecorder, play_on_seeds
from sb3_ppo_scratch.benchmark.training.records import EVALUATIONS_FILE, read_evaluations
from sb3_ppo_scratch.errors import ArgumentError

SMALL: dict[str, Any] = {"n_steps": 32, "batch_size": 32, "n_epochs": 2, "seed": 3, "device": "cpu"}


def write_settings(folder: Path, env_id: str = "CartPole-v1", name: str = "run_1", **config: Any) -> None:
    """Write what rl_zoo3 writes about a run before it trains."""
    settings = folder / "ppo" / name / env_id
    settings.mkdir(parents=True)
    (settings / "config.yml").write_text(yaml.safe_dump(config))
    (settings / "args.yml").write_text(yaml.safe_dump({"env": env_id, "algo": "ppo"}))


def test_policies_are_looked_at_before_during_and_after_training(tmp_path: Path) -> None:
    write_settings(tmp_path)
    recorder = EvaluationRecorder(str(tmp_path), every=50, n_episodes=2, n_final_episodes=4)
    PPOScratch("MlpPolicy", "CartPole-v1", **SMALL).learn(128, callback=recorder)
    points = read_evaluations(tmp_path)
    assert [point.steps for point in points] == [0, 50, 100, 128]
    assert [len(point.returns) for point in points] == [2, 2, 2, 4]
    assert all(point.lengths == tuple(map(int, point.returns)) for point in points)  # CartPole pays 1 per step


def test_steps_of_many_environments_do_not_add_up_to_more_evaluations(tmp_path: Path) -> None:
    write_settings(tmp_path)
    recorder = EvaluationRecorder(str(tmp_path), every=50, n_episodes=2, n_final_episodes=2)
    env = make_vec_env("CartPole-v1", 128)
    PPO("MlpPolicy", env, n_steps=3, batch_size=32, n_epochs=1, device="cpu").learn(384, callback=recorder)
    assert [point.steps for point in read_evaluations(tmp_path)] == [0, 128, 256, 384, 384]


@pytest.mark.parametrize("algorithm", [PPO, PPOScratch])
def test_training_does_not_notice(algorithm: type[PPO], tmp_path: Path) -> None:
    write_settings(tmp_path)
    recorder = EvaluationRecorder(str(tmp_path), every=20, n_episodes=3, n_final_episodes=3)
    watched = algorithm("MlpPolicy", "CartPole-v1", **SMALL).learn(96, callback=recorder)
    alone = algorithm("MlpPolicy", "CartPole-v1", **SMALL).learn(96)
    for name, parameter in alone.policy.state_dict().items():
        assert th.equal(parameter, watched.policy.state_dict()[name])


def test_episodes_begin_with_the_same_seeds_each_time() -> None:
    model = PPO("MlpPolicy", "CartPole-v1", device="cpu", seed=0)
    env = make_vec_env("CartPole-v1", 3)
    first = play_on_seeds(model, env, 50, 6)
    assert play_on_seeds(model, env, 50, 6) == first
    assert play_on_seeds(model, env, 900, 6) != first
    singly = [play_on_seeds(model, make_vec_env("CartPole-v1", 1), 50 + place, 1)[0][0] for place in range(6)]
    assert sorted(singly) == sorted(first[0])


class SlowToReset(gym.Wrapper[Any, Any, Any, Any]):
    """An environment whose evaluation takes noticeably long."""

    def reset(self, **keywords: Any) -> Any:
        """Work for a while, then reset."""
        end = time.process_time() + 0.05
        while time.process_time() < end:
            pass
        return self.env.reset(**keywords)


def test_evaluations_stop_the_clock(tmp_path: Path) -> None:
    write_settings(tmp_path, env_wrapper=f"{SlowToReset.__module__}.SlowToReset")
    recorder = EvaluationRecorder(str(tmp_path), every=8, n_episodes=2, n_final_episodes=2)
    started = time.process_time()
    A2C("MlpPolicy", "CartPole-v1", device="cpu").learn(40, callback=recorder)
    whole = time.process_time() - started
    evaluated = 0.05 * 2 * 6  # each evaluation resets two environments at least once
    assert read_evaluations(tmp_path)[-1].seconds <= whole - evaluated


class Ticking(gym.Wrapper[Any, Any, Any, Any]):
    """An environment whose every step takes a second of a clock of the test's."""

    clock: ClassVar[list[float]] = [0.0]

    def step(self, action: Any) -> Any:
        """Take a second."""
        self.clock[0] += 1.0
        return self.env.step(action)


def test_time_is_split_into_rollouts_and_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_settings(tmp_path, env_wrapper=f"{Ticking.__module__}.Ticking")
    monkeypatch.setattr("sb3_ppo_scratch.benchmark.training.evaluation.time.process_time", lambda: Ticking.clock[0])
    recorder = EvaluationRecorder(str(tmp_path), every=7, n_episodes=2, n_final_episodes=2)
    model = A2C("MlpPolicy", make_vec_env("CartPole-v1", wrapper_class=Ticking), n_steps=5, device="cpu")
    train = model.train

    def train_for_ten_seconds() -> None:
        Ticking.clock[0] += 10.0
        train()

    monkeypatch.setattr(model, "train", train_for_ten_seconds)
    model.learn(20, callback=recorder)
    points = read_evaluations(tmp_path)
    assert [(point.steps, point.seconds) for point in points] == [(0, 0.0), (7, 17.0), (14, 34.0), (20, 60.0)]
    assert [point.rollout_seconds for point in points] == [0.0, 5.0, 10.0, 20.0]  # of whole rollouts


def test_wrappers_of_the_run_are_around_its_evaluation_environments(tmp_path: Path) -> None:
    write_settings(tmp_path, "Pendulum-v1", env_wrapper=[{"sb3_ppo_scratch.wrappers.BinAction": {"bins": 3}}])
    recorder = EvaluationRecorder(str(tmp_path), every=1000, n_episodes=2, n_final_episodes=2)
    from sb3_ppo_scratch.wrappers import BinAction

    env = make_vec_env("Pendulum-v1", wrapper_class=BinAction, wrapper_kwargs={"bins": 3})
    PPOScratch("MlpPolicy", env, **SMALL).learn(32, callback=recorder)
    assert read_evaluations(tmp_path)[0].lengths == (200, 200)


def test_running_normalisation_is_that_of_training(tmp_path: Path) -> None:
    write_settings(tmp_path, normalize=True)
    recorder = EvaluationRecorder(str(tmp_path), every=1000, n_episodes=2, n_final_episodes=2)
    env = VecNormalize(make_vec_env("CartPole-v1", 1), norm_reward=True)
    model = PPO("MlpPolicy", env, **SMALL)
    seen = []
    model.policy.predict = lambda *given, **keywords: (  # type: ignore[method-assign]
        seen.append(recorder._env.obs_rms.mean.copy()),  # type: ignore[union-attr]
        type(model.policy).predict(model.policy, *given, **keywords),
    )[1]
    model.learn(32, callback=recorder)
    assert isinstance(env.obs_rms.mean, np.ndarray)
    np.testing.assert_array_equal(seen[-1], env.obs_rms.mean)
    assert not np.array_equal(seen[0], seen[-1])
    assert read_evaluations(tmp_path)[-1].returns[0] >= 1  # in the environment's own units
    assert env.training


def test_what_is_seen_is_written_once_though_training_ends_twice(tmp_path: Path) -> None:
    write_settings(tmp_path)
    recorder = EvaluationRecorder(str(tmp_path), every=50, n_episodes=2, n_final_episodes=2)
    PPO("MlpPolicy", "CartPole-v1", **SMALL).learn(32, callback=recorder)
    before = (tmp_path / EVALUATIONS_FILE).read_text()
    recorder.on_training_end()  # rl_zoo3 does
    assert (tmp_path / EVALUATIONS_FILE).read_text() == before
    assert len(json.loads(before)) == 2


def test_each_evaluation_is_printed_if_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_settings(tmp_path)
    recorder = EvaluationRecorder(str(tmp_path), every=50, n_episodes=2, n_final_episodes=2, verbose=1)
    PPO("MlpPolicy", "CartPole-v1", **SMALL).learn(32, callback=recorder)
    assert "32 steps: mean return" in capsys.readouterr().out


def test_a_folder_of_no_run_or_of_several_is_refused(tmp_path: Path) -> None:
    recorder = EvaluationRecorder(str(tmp_path), every=50)
    with pytest.raises(FileNotFoundError, match="this one run of rl_zoo3, not of 0"):
        PPO("MlpPolicy", "CartPole-v1", **SMALL).learn(32, callback=recorder)
    write_settings(tmp_path)
    write_settings(tmp_path, name="run_2")
    with pytest.raises(FileNotFoundError, match="not of 2"):
        PPO("MlpPolicy", "CartPole-v1", **SMALL).learn(32, callback=EvaluationRecorder(str(tmp_path), every=50))


def test_arguments_that_cannot_work_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="`every` must be at least 1, got 0"):
        EvaluationRecorder(str(tmp_path), every=0)
    with pytest.raises(ArgumentError, match="must be a multiple of `n_episodes=20`"):
        EvaluationRecorder(str(tmp_path), every=10, n_final_episodes=30)


def test_environments_for_evaluation_are_closed_and_of_this_process(tmp_path: Path) -> None:
    write_settings(tmp_path)
    recorder = EvaluationRecorder(str(tmp_path), every=50, n_episodes=2, n_final_episodes=2)
    recorder.init_callback(PPO("MlpPolicy", "CartPole-v1", **SMALL))
    recorder.on_training_start({}, {})
    assert isinstance(recorder._env, DummyVecEnv)
    recorder.on_training_end()
    assert recorder._env is None
