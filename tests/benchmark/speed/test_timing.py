"""Tests of `benchmark/speed/timing.py` and of what it measures, `building.py`; no assertion is about speed."""

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv

from sb3_ppo_scratch import PPOScratch
from sb3_ppo_scratch.benchmark.speed import timing
from sb3_ppo_scratch.benchmark.speed.building import IMAGE_SIZE, SmallExtractor, build_model, build_vec_env
from sb3_ppo_scratch.benchmark.speed.timing import TimedCall, TimedVecEnv, time_learning, time_stepping
from sb3_ppo_scratch.benchmark.speed.workloads import COMPETITORS, WORKLOADS, Workload
from sb3_ppo_scratch.updates.autograd import AutogradUpdate

TINY = {"n_envs": 2, "n_steps": 16, "batch_size": 16, "n_epochs": 1, "steps": 64, "warmup_rollouts": 1}


def tiny(name: str) -> Workload:
    return WORKLOADS[name].with_settings(TINY)


class Clock:
    """Time that passes only when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(timing, "time", clock)
    return clock


def test_stepping_is_sending_and_waiting_but_not_what_lies_between(clock: Clock) -> None:
    env = build_vec_env(tiny("cartpole"), "dummy", seed=0)
    step_async, step_wait = env.step_async, env.step_wait

    def slow_async(actions: np.ndarray) -> None:
        clock.now += 1.0
        step_async(actions)

    def slow_wait() -> object:
        clock.now += 10.0
        return step_wait()

    env.step_async, env.step_wait = slow_async, slow_wait  # type: ignore[method-assign, assignment]
    timed = TimedVecEnv(env)
    timed.reset()
    timed.step_async(np.zeros(2, dtype=int))
    clock.now += 100.0
    timed.step_wait()
    assert timed.seconds == 11.0


def test_a_call_adds_up(clock: Clock) -> None:
    def work() -> None:
        clock.now += 2.0

    timed = TimedCall(work)
    timed()
    timed()
    assert timed.seconds == 4.0


@pytest.mark.parametrize("competitor", ["stock", "auto"])
@pytest.mark.parametrize("name", ["cartpole", "lander-continuous", "custom-mlp", "dict", "cnn"])
def test_every_kind_of_workload_is_learned(name: str, competitor: str) -> None:
    figures = time_learning(tiny(name), COMPETITORS[competitor], "dummy", seed=1)
    assert figures["steps"] == 64
    assert 0.0 < figures["stepping"] + figures["updating"] < figures["seconds"]


def test_sharded_environments_are_stepped_like_those_in_this_process() -> None:
    workload = tiny("lander-parallel").with_settings({"n_workers": 1})
    first, second = (time_learning(workload, COMPETITORS["stock"], kind, seed=1) for kind in ("sharded", "dummy"))
    assert first["mean_return"] == second["mean_return"]
    assert first["peak_mib"] > second["peak_mib"] + 10.0, "the worker counts"


def test_envpools_environments_are_learned_in() -> None:
    pytest.importorskip("envpool")
    figures = time_learning(tiny("lander-parallel"), COMPETITORS["auto"], "envpool", seed=1)
    assert figures["steps"] == 64
    assert figures["stepping"] > 0.0


def test_stock_and_ours_learn_the_same_beside_the_clock() -> None:
    first, second = (
        time_learning(tiny("cartpole"), COMPETITORS[name], "dummy", seed=3)["mean_return"]
        for name in ("stock", "autograd")
    )
    assert first == second


def test_stepping_alone_is_all_stepping() -> None:
    figures = time_stepping(tiny("cartpole"), "dummy", seed=1)
    assert figures["steps"] == 64
    assert figures["stepping"] == figures["seconds"]
    assert figures["updating"] == 0.0


def test_arguments_reach_the_algorithm_with_their_schedules() -> None:
    env = build_vec_env(tiny("cartpole"), "dummy", seed=0)
    model = build_model(tiny("cartpole"), COMPETITORS["stock"], env, seed=0)
    assert (model.n_steps, model.gamma, model.gae_lambda) == (16, 0.98, 0.8)
    assert [model.lr_schedule(progress) for progress in (1.0, 0.5, 0.0)] == pytest.approx([1e-3, 5e-4, 0.0])
    assert model.clip_range(0.5) == pytest.approx(0.1)  # type: ignore[attr-defined]


def test_width_is_that_of_two_hidden_layers() -> None:
    workload = tiny("cartpole").with_settings({"width": 32})
    model = build_model(workload, COMPETITORS["stock"], build_vec_env(workload, "dummy", seed=0), seed=0)
    shapes = [
        tuple(layer.weight.shape) for layer in model.policy.mlp_extractor.policy_net if isinstance(layer, th.nn.Linear)
    ]
    assert shapes == [(32, 4), (32, 32)]


def test_environments_have_a_monitor_and_do_not_render() -> None:
    env = build_vec_env(tiny("lander"), "dummy", seed=0)
    assert isinstance(env, DummyVecEnv)
    assert env.render_mode is None
    assert env.get_attr("rewards") == [[], []]


def test_a_dict_has_the_halves_of_the_vector() -> None:
    split = build_vec_env(tiny("dict"), "dummy", seed=5).reset()
    whole = build_vec_env(tiny("lander"), "dummy", seed=5).reset()
    assert isinstance(split, dict)
    np.testing.assert_array_equal(np.concatenate([split["first"], split["second"]], axis=1), whole)


def test_painted_bars_grow_with_the_numbers() -> None:
    env = build_vec_env(tiny("cnn"), "dummy", seed=0)
    paint = env.envs[0].get_wrapper_attr("observation")  # type: ignore[attr-defined]
    image = paint(np.array([0.0, 0.1, -1.0, 9.0], dtype=np.float32))
    assert env.observation_space.contains(image)
    lit = (image[:, :, 0] > 0).sum(axis=1).reshape(4, IMAGE_SIZE // 4)
    assert (lit == lit[:, :1]).all()
    assert lit[0, 0] == 0
    assert 0 < lit[1, 0] < lit[2, 0] < lit[3, 0] == IMAGE_SIZE // 2 - 1 + (np.tanh(9.0) == 1.0)
    assert not image[2 * IMAGE_SIZE // 4, IMAGE_SIZE // 2 :].any(), "negative numbers point left"


def test_the_custom_extractor_is_in_the_policy() -> None:
    env = build_vec_env(tiny("custom-mlp"), "dummy", seed=0)
    model = build_model(tiny("custom-mlp"), COMPETITORS["stock"], env, seed=0)
    assert isinstance(model.policy.features_extractor, SmallExtractor)
    ours = build_model(tiny("custom-mlp"), COMPETITORS["auto"], env, seed=0)
    assert isinstance(ours, PPOScratch)
    assert isinstance(ours._choose_update(), AutogradUpdate), "the closed form covers it"
    assert isinstance(model.observation_space, spaces.Box)
