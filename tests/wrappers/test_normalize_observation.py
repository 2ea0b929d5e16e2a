"""`NormalizeObservation`: what it computes, and that separate statistics are never silent."""

import contextlib
import copy
import json
import math
import multiprocessing
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from rl_zoo3.utils import get_wrapper_class
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv

from sb3_ppo_scratch.wrappers import NormalizeObservation, RunningMoments, ScaleReward
from tests.wrappers.scripted_env import ScriptedEnv

pytestmark = pytest.mark.usefixtures("no_earlier_wrapper")

REMEDY = r"normalize_observations=True.*VecNormalize.*moments=.*stats_path="
SEPARATE = "running statistics are separate: "


def play(env: gym.Env[Any, Any], n_steps: int) -> list[np.ndarray]:
    return [env.reset(seed=0)[0], *(env.step(env.action_space.sample())[0] for _ in range(n_steps))]


def saved_stats(path: Any, data: Any) -> Any:
    moments = RunningMoments(np.shape(data)[1:])
    moments.update(data)
    moments.save(path)
    return path


# Fixed mode


def test_fixed_statistics_standardise_each_element():
    env = NormalizeObservation(ScriptedEnv([[1.0, 10.0], [3.0, 30.0]]), mean=[1.0, 20.0], std=[2.0, 5.0])
    assert [observation.tolist() for observation in play(env, 1)] == [[0.0, -2.0], [1.0, 2.0]]


def test_fixed_numbers_hold_for_every_element():
    env = NormalizeObservation(ScriptedEnv(np.full((2, 2, 3), 7.0)), mean=5, std=np.float32(4.0))
    assert (play(env, 1)[1] == np.full((2, 3), 0.5)).all()
    assert (env.mean.tolist(), env.std.tolist()) == ([[5.0] * 3] * 2, [[4.0] * 3] * 2)


def test_fixed_mode_does_not_change_with_what_it_has_seen():
    env = NormalizeObservation(ScriptedEnv([[1.0], [100.0], [-50.0]]), mean=[0.0], std=[10.0])
    assert [o.tolist() for o in play(env, 2)] == [o.tolist() for o in play(env, 2)]
    assert env.frozen


def test_result_is_clipped_to_the_declared_bounds():
    env = NormalizeObservation(ScriptedEnv([[1e6, -1e6, 0.5], [0.0, 0.0, 0.0]]), mean=0.0, std=1.0, clip=0.7)
    observation = play(env, 0)[0]
    assert observation.tolist() == [np.float32(0.7), np.float32(-0.7), 0.5]
    assert env.observation_space == Box(-0.7, 0.7, (3,), np.float32)
    assert observation in env.observation_space


@settings(max_examples=40, deadline=None)
@given(
    dtype=st.sampled_from([np.uint8, np.int64, np.float16, np.float32, np.float64, np.bool_]),
    shape=hnp.array_shapes(min_dims=0, max_dims=3, max_side=4),
    data=st.data(),
)
def test_observation_of_any_dtype_and_shape_becomes_float32_in_the_space(dtype, shape, data):
    finite = {"allow_nan": False, "allow_infinity": False} if np.dtype(dtype).kind == "f" else {}
    observation = data.draw(hnp.arrays(dtype, shape, elements=hnp.from_dtype(np.dtype(dtype), **finite)))
    low, high = (-np.inf, np.inf) if np.dtype(dtype).kind == "f" else (None, None)
    if low is None:
        low, high = (0, 1) if dtype is np.bool_ else (np.iinfo(dtype).min, np.iinfo(dtype).max - 1)
    env = NormalizeObservation(ScriptedEnv([observation], observation_space=Box(low, high, shape, dtype)), 1.0, 2.0)
    result = env.observation(observation)
    assert result in env.observation_space
    assert (result.dtype, result.shape) == (np.float32, shape)
    expected = np.clip((observation.astype(np.float64) - 1.0) / 2.0, -10.0, 10.0)
    np.testing.assert_allclose(result, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("mean", "std", "error", "message"),
    [
        ([0.0, 0.0], None, ValueError, r"mean=\[0.0, 0.0\] and std=None must be given together"),
        (None, 1.0, ValueError, "mean=None and std=1.0 must be given together"),
        ([0.0, 0.0], [1.0, 0.0], ValueError, r"std=\[1.0, 0.0\] must be greater than 0"),
        (0.0, -1.0, ValueError, "std=-1.0 must be greater than 0"),
        ([0.0, math.nan], 1.0, ValueError, "mean=nan must be finite"),
        (0.0, np.array([1.0, np.inf]), ValueError, r"std=\[1.0, inf\] must be finite"),
        ([0.0], 1.0, ValueError, r"mean=\[0.0\] has shape \(1,\), but an observation has shape \(2,\)"),
        ([[0.0], [0.0]], 1.0, ValueError, r"has shape \(2, 1\), but an observation has shape \(2,\)"),
        (0.0, [1.0, 1.0, 1.0], ValueError, r"std=.* has shape \(3,\)"),
        (True, 1.0, TypeError, "mean=True must be a number, not of type bool$"),
        ([0.0, False], 1.0, TypeError, "mean=False must be a number"),
        (np.array([True, False]), 1.0, TypeError, "must hold numbers, not dtype bool"),
        (0.0, "1e-2", TypeError, "std='1e-2' must be a number.*in YAML write 1.0e-2"),
        ([[0.0], [0.0, 1.0]], 1.0, TypeError, r"mean=\[0.0\] must be a number"),
    ],
)
def test_impossible_fixed_statistics_raise_and_are_named(mean, std, error, message):
    with pytest.raises(error, match=message):
        NormalizeObservation(ScriptedEnv([[1.0, 2.0]]), mean=mean, std=std)


@pytest.mark.parametrize("name", ["clip", "min_std"])
@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (0.0, ValueError, "=0.0 must be greater than 0"),
        (-1, ValueError, "=-1 must be greater than 0"),
        (math.inf, ValueError, "=inf must be finite"),
        (True, TypeError, "=True must be a number"),
        ("1", TypeError, "='1' must be a number"),
    ],
)
def test_impossible_clip_or_floor_raises_and_is_named(name, value, error, message):
    with pytest.raises(error, match=name + message):
        NormalizeObservation(ScriptedEnv(), **{name: value})


@pytest.mark.parametrize("space", [Dict({"a": Box(-1, 1)}), Discrete(4)])
def test_space_that_is_no_box_raises_and_names_the_alternatives(space):
    with pytest.raises(TypeError, match=r"FlattenObservation.*VecNormalize \(with norm_obs_keys"):
        NormalizeObservation(ScriptedEnv(observation_space=space))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kwargs", [{}, {"mean": 0.0, "std": 1.0}])
def test_nonfinite_observation_raises_and_running_statistics_stay_usable(kwargs, value):
    env = NormalizeObservation(ScriptedEnv([[1.0], [value], [3.0]]), **kwargs)
    env.reset()
    with pytest.raises(ValueError, match=r"observation=\[(nan|-?inf)\] must be finite"):
        env.step(env.action_space.sample())
    assert np.isfinite(env.mean).all()
    assert np.isfinite(env.observation(np.array([2.0]))).all()


@pytest.mark.parametrize("kwargs", [{}, {"mean": 0.0, "std": 1.0}])
def test_observation_of_wrong_shape_raises_instead_of_broadcasting(kwargs):
    env = NormalizeObservation(ScriptedEnv([[1.0, 2.0]]), **kwargs)
    with pytest.raises(ValueError, match=r"observation has shape \(1, 2\), expected \(2,\)"):
        env.observation(np.ones((1, 2)))


def test_fixed_mode_has_nothing_to_save_or_load(tmp_path):
    env = NormalizeObservation(ScriptedEnv(), mean=0.0, std=1.0)
    assert env.moments is None
    with pytest.raises(ValueError, match="no running statistics to save"):
        env.save(tmp_path / "stats.npz")
    with pytest.raises(ValueError, match=r"cannot be replaced by .*stats\.npz"):
        env.load(tmp_path / "stats.npz")


# Running mode


def test_running_statistics_are_those_of_all_observations_so_far():
    data = np.random.default_rng(0).normal([1.0, -50.0], [2.0, 10.0], (20, 2))
    env = NormalizeObservation(ScriptedEnv(data))
    results = play(env, 19)
    for n, result in enumerate(results, start=1):
        seen = data[:n]
        expected = (data[n - 1] - seen.mean(axis=0)) / np.maximum(seen.std(axis=0), 1e-4)
        np.testing.assert_allclose(result, np.clip(expected, -10.0, 10.0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(env.mean, data.mean(axis=0))
    np.testing.assert_allclose(env.std, data.std(axis=0))


def test_floor_given_with_fixed_numbers_raises_since_it_would_be_ignored():
    with pytest.raises(ValueError, match=r"min_std=0\.5 goes with running statistics"):
        NormalizeObservation(ScriptedEnv(), mean=0.0, std=1.0, min_std=0.5)


def test_floor_keeps_a_nearly_constant_input_small():
    data = 0.5 + 1e-7 * np.random.default_rng(0).normal(size=(50, 1))
    without = NormalizeObservation(ScriptedEnv(data), moments=RunningMoments(1), min_std=1e-12)
    with_floor = NormalizeObservation(ScriptedEnv(data), moments=RunningMoments(1))
    assert np.abs(play(without, 49)).max() > 1.0
    assert np.abs(play(with_floor, 49)).max() < 1e-2
    assert with_floor.std.tolist() == [1e-4]


def test_first_contact_after_a_long_constant_stays_within_the_clip():
    env = NormalizeObservation(ScriptedEnv([[0.0]] * 1000 + [[1.0]]), clip=5.0)
    assert play(env, 1000)[-1].tolist() == [5.0]


def test_frozen_wrapper_stops_learning_and_keeps_normalising():
    env = NormalizeObservation(ScriptedEnv([[0.0], [2.0], [100.0]]))
    play(env, 1)
    env.freeze()
    assert play(env, 2)[0].tolist() == [-1.0]
    assert (env.moments.count, env.mean.tolist(), env.std.tolist()) == (2, [1.0], [1.0])


def test_shared_statistics_learn_from_every_environment():
    moments = RunningMoments(1)
    envs = [NormalizeObservation(ScriptedEnv([[float(i)], [float(i + 2)]]), moments=moments) for i in range(4)]
    for env in envs:
        play(env, 1)
    data = np.array([[i, i + 2] for i in range(4)], dtype=np.float64)
    assert all(env.moments is moments for env in envs)
    assert moments.count == 8
    assert moments.mean == pytest.approx(data.mean())
    assert moments.var == pytest.approx(data.var())


def test_frozen_evaluation_env_follows_training_without_adding_to_it():
    moments = RunningMoments(1)
    train_env = NormalizeObservation(ScriptedEnv([[0.0], [4.0]]), moments=moments)
    eval_env = NormalizeObservation(ScriptedEnv([[6.0], [6.0]]), moments=moments)
    eval_env.freeze()
    play(train_env, 1)
    assert play(eval_env, 1)[0].tolist() == [2.0]
    assert (moments.count, train_env.frozen) == (2, False)


def test_freezing_the_shared_statistics_stops_all_of_them():
    moments = RunningMoments(1)
    envs = [NormalizeObservation(ScriptedEnv([[1.0], [3.0]]), moments=moments) for _ in range(2)]
    play(envs[0], 1)
    moments.freeze()
    play(envs[1], 1)
    assert [env.frozen for env in envs] == [True, True]
    assert moments.count == 2


@pytest.mark.parametrize("frozen", [False, True])
def test_state_holds_whether_the_wrapper_or_the_statistics_are_frozen(frozen):
    data = [[1.0], [3.0]]
    original = NormalizeObservation(ScriptedEnv(data), moments=RunningMoments.from_values(4, [1.0], [2.0]))
    if frozen:
        original.freeze()
    state = original.get_state()
    assert state == {"moments": {"count": 4, "mean": 1.0, "var": 2.0, "frozen": False}, "frozen": frozen}
    twin = NormalizeObservation(ScriptedEnv(data), moments=RunningMoments(1))
    twin.set_state(state)
    assert (twin.frozen, twin.moments.frozen, twin.moments.count) == (frozen, False, 4)


def test_fixed_mode_has_no_state_and_takes_none_over():
    fixed = NormalizeObservation(ScriptedEnv(), mean=1.0, std=2.0)
    running = NormalizeObservation(ScriptedEnv())
    assert fixed.get_state() is None
    fixed.set_state(None)
    with pytest.raises(ValueError, match="of another mode"):
        fixed.set_state(running.get_state())
    with pytest.raises(ValueError, match="state=None is of another mode"):
        running.set_state(None)


def test_seed_and_options_of_reset_reach_the_environment():
    env = NormalizeObservation(ScriptedEnv())
    env.reset(seed=3, options={"gravity": 1.0})
    assert env.unwrapped.received_resets == [(3, {"gravity": 1.0})]


def test_saved_statistics_are_read_frozen(tmp_path):
    trained = NormalizeObservation(ScriptedEnv([[0.0], [4.0]]))
    play(trained, 1)
    trained.save(tmp_path / "stats.npz")
    env = NormalizeObservation(ScriptedEnv([[6.0], [100.0]]), stats_path=tmp_path / "stats.npz")
    assert env.frozen
    assert [observation.tolist() for observation in play(env, 1)] == [[2.0], [10.0]]
    assert env.moments.count == 2


def test_load_replaces_the_statistics_of_one_wrapper_only_and_freezes_them(tmp_path):
    path = saved_stats(tmp_path / "stats.npz", [[0.0], [4.0]])
    moments = RunningMoments(1)
    first, second = (NormalizeObservation(ScriptedEnv([[6.0], [6.0]]), moments=moments) for _ in range(2))
    first.load(path)
    play(second, 1)
    assert play(first, 1)[0].tolist() == [2.0]
    assert (first.frozen, second.frozen) == (True, False)
    assert (moments.count, first.moments.count) == (2, 2)


def test_training_can_go_on_from_saved_statistics(tmp_path):
    path = saved_stats(tmp_path / "stats.npz", [[0.0], [4.0]])
    env = NormalizeObservation(ScriptedEnv([[8.0], [8.0]]), moments=RunningMoments.load(path))
    play(env, 1)
    assert (env.moments.count, env.mean.tolist()) == (4, [5.0])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([[0.0, 1.0]], r"stats\.npz' holds shape \(2,\), but an observation has shape \(1,\)"),
        (np.empty((0, 1)), r"stats\.npz' holds statistics that have seen no observation"),
    ],
)
def test_unsuitable_statistics_file_raises_and_names_the_path(tmp_path, data, message):
    path = saved_stats(tmp_path / "stats.npz", data)
    with pytest.raises(ValueError, match=message):
        NormalizeObservation(ScriptedEnv([[1.0]]), stats_path=path)
    with pytest.raises(ValueError, match=message):
        NormalizeObservation(ScriptedEnv([[1.0]])).load(path)


def test_missing_statistics_file_raises(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.npz"):
        NormalizeObservation(ScriptedEnv(), stats_path=str(tmp_path / "absent.npz"))


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        (
            {"moments": RunningMoments(3)},
            ValueError,
            r"moments=.* has shape \(3,\), but an observation has shape \(1,\)",
        ),
        ({"moments": 3}, TypeError, "moments=3 must be a RunningMoments"),
        ({"moments": {"count": 1}}, ValueError, r"moments=\{'count': 1\} must hold exactly"),
        (
            {"moments": {"count": 1, "mean": [0.0], "var": [1.0], "frozen": 1}},
            TypeError,
            r"moments\['frozen'\]=1 must be True or False",
        ),
        ({"mean": 0.0, "std": 1.0, "moments": RunningMoments(1)}, ValueError, "only one of mean and std, moments"),
        ({"mean": 0.0, "std": 1.0, "stats_path": "a.npz"}, ValueError, "only one of mean and std, stats_path"),
        ({"moments": RunningMoments(1), "stats_path": "a.npz"}, ValueError, "only one of moments, stats_path"),
    ],
)
def test_contradictory_or_unsuitable_sources_raise(kwargs, error, message):
    with pytest.raises(error, match=message):
        NormalizeObservation(ScriptedEnv([[1.0]]), **kwargs)


# Separate statistics are never silent


def test_single_environment_may_keep_its_own_statistics():
    env = NormalizeObservation(ScriptedEnv([[1.0], [3.0]]))
    play(env, 1)
    play(env, 1)
    assert env.moments.count == 4


@pytest.mark.parametrize("resets", [0, 1])
def test_second_environment_with_its_own_statistics_is_warned_about_at_the_first_reset(resets):
    """Whichever of two separate environments is reset first: training and evaluation are built before either is."""
    envs = [NormalizeObservation(ScriptedEnv()), NormalizeObservation(ScriptedEnv())]
    with pytest.warns(UserWarning, match=SEPARATE + "another environment.*" + REMEDY):
        envs[resets].reset()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        envs[resets].reset()  # once is enough
    assert len(envs[resets].unwrapped.received_resets) == 2


def test_evaluation_environment_built_after_training_is_warned_about():
    train_env = NormalizeObservation(ScriptedEnv())
    play(train_env, 2)
    with pytest.warns(UserWarning, match=SEPARATE + "another environment"):
        NormalizeObservation(ScriptedEnv()).reset()
    assert train_env.moments.count == 3


def test_environment_that_was_there_first_is_not_warned_about_again():
    train_env = NormalizeObservation(ScriptedEnv())
    train_env.reset()
    rival = NormalizeObservation(ScriptedEnv())
    train_env.reset()
    with pytest.warns(UserWarning, match=SEPARATE + "another environment"):
        rival.reset()
    assert train_env.moments.count == 2


def test_dummy_vec_env_of_separate_statistics_warns_at_reset():
    vec_env = DummyVecEnv([lambda: ScaleReward(NormalizeObservation(Monitor(ScriptedEnv([[1.0], [2.0]]))))] * 2)
    with pytest.warns(UserWarning, match=SEPARATE + "another environment.*" + REMEDY):
        vec_env.reset()


def test_environment_of_another_observation_space_is_no_rival():
    first = NormalizeObservation(ScriptedEnv([[1.0], [2.0]]))
    second = NormalizeObservation(ScriptedEnv([[1.0, 2.0], [2.0, 3.0]]))
    assert play(first, 1)[0].shape == (1,)
    assert play(second, 1)[0].shape == (2,)


def test_forgotten_environment_is_no_rival_even_when_a_cycle_holds_it():
    forgotten = NormalizeObservation(ScriptedEnv())
    forgotten.cycle = forgotten
    del forgotten
    env = NormalizeObservation(ScriptedEnv())
    env.reset()
    assert env.moments.count == 1


def test_environment_that_reads_a_file_is_no_rival(tmp_path):
    path = saved_stats(tmp_path / "stats.npz", [0.0, 4.0])
    reader = NormalizeObservation(ScriptedEnv(), stats_path=path)
    learner = NormalizeObservation(ScriptedEnv())
    play(learner, 1)
    play(reader, 1)
    assert (reader.moments.count, learner.moments.count) == (2, 2)


def test_frozen_statistics_that_have_seen_nothing_raise_at_reset():
    env = NormalizeObservation(ScriptedEnv())
    env.freeze()
    with pytest.raises(ValueError, match=r"frozen, but have seen no observation \(count=0\)"):
        env.reset()


def test_single_environment_with_its_own_statistics_that_rl_zoo3_built_raises():
    wrap = get_wrapper_class({"env_wrapper": "sb3_ppo_scratch.wrappers.NormalizeObservation"})
    env = Monitor(wrap(ScriptedEnv()))
    with pytest.raises(ValueError, match="would be separate: rl_zoo3's training.*" + REMEDY):
        env.reset()
    assert env.unwrapped.received_resets == []


@pytest.mark.filterwarnings("error")
def test_single_environment_that_the_user_built_is_let_alone_though_rl_zoo3_is_loaded():
    env = NormalizeObservation(ScriptedEnv([1.0, 2.0]))
    env.reset()
    assert env.moments.count == 1


@pytest.mark.filterwarnings("error")
def test_rl_zoo3_may_build_it_with_fixed_numbers_or_a_file(tmp_path):
    path = saved_stats(tmp_path / "stats.npz", [0.0, 4.0])
    for kwargs in ({"mean": 2.0, "std": 2.0}, {"stats_path": str(path)}):
        wrap = get_wrapper_class({"env_wrapper": {"sb3_ppo_scratch.wrappers.NormalizeObservation": kwargs}})
        envs = [wrap(ScriptedEnv([2.0, 2.0])) for _ in range(2)]
        assert [play(env, 1)[0].item() for env in envs] == [0.0, 0.0]


def strictly(make_env: Callable[[], gym.Env[Any, Any]]) -> Callable[[], gym.Env[Any, Any]]:
    """Make warnings errors in the worker that builds the environment: Gymnasium brings errors back, but no warnings."""

    def make() -> gym.Env[Any, Any]:
        if multiprocessing.parent_process() is not None:
            warnings.simplefilter("error")
        return make_env()

    return make


# Gymnasium repeats a worker's error as a warning.
@pytest.mark.filterwarnings("ignore:.*Worker-0|.*Traceback|.*Raising:UserWarning")
def test_worker_process_with_its_own_statistics_warns():
    vec_env = gym.vector.AsyncVectorEnv([strictly(lambda: NormalizeObservation(ScriptedEnv()))], context="fork")
    with pytest.raises(
        UserWarning, match=SEPARATE + r"this is a worker process, and each worker would have its own\. .*" + REMEDY
    ):
        vec_env.reset()
    vec_env.close(terminate=True)


@pytest.mark.filterwarnings("ignore:.*Worker-0|.*Traceback|.*Raising:UserWarning")
@pytest.mark.parametrize("frozen_wrapper", [False, True])
def test_shared_statistics_copied_into_a_worker_warn(frozen_wrapper):
    """The worker's copy is cut off from the original, whether it learns by itself or waits for training's updates."""
    moments = RunningMoments()
    moments.update([1.0, 2.0])

    def make_env() -> gym.Env[Any, Any]:
        env = NormalizeObservation(ScriptedEnv(), moments=moments)
        if frozen_wrapper:
            env.freeze()
        return env

    vec_env = gym.vector.AsyncVectorEnv([strictly(make_env)], context="fork")
    copied = r"moments= was made in another process \(RunningMoments\.merged makes a new one\)\. "
    with pytest.raises(UserWarning, match=SEPARATE + copied + ".*" + REMEDY):
        vec_env.reset()
    vec_env.close(terminate=True)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("name", "value", "shared", "reason"),
    [
        ("os.getpid", -1, True, r"moments= was made in another process \(RunningMoments\.merged makes a new one\)\. "),
        (
            "multiprocessing.parent_process",
            "training",
            False,
            r"this is a worker process, and each worker would have its own\. ",
        ),
        ("multiprocessing.parent_process", "it", True, None),
    ],
    ids=["copied", "own", "made_there"],
)
def test_reason_for_a_workers_warning_is_told(name, value, shared, reason, monkeypatch):
    """In this very process; the tests around show it in real workers."""
    env = NormalizeObservation(ScriptedEnv(), moments=RunningMoments() if shared else None)
    monkeypatch.setattr(name, lambda: value)
    with contextlib.nullcontext() if reason is None else pytest.raises(UserWarning, match=SEPARATE + reason):
        env.reset()


def test_frozen_statistics_work_in_workers():
    moments = RunningMoments()
    moments.update([0.0, 4.0])
    moments.freeze()
    vec_env = SubprocVecEnv(
        [lambda: NormalizeObservation(ScriptedEnv(np.array([[6.0]] * 3)[..., 0]), moments=moments)] * 2,
        start_method="fork",
    )
    observations = vec_env.reset()
    vec_env.close()
    assert observations.tolist() == [2.0, 2.0]


def test_workers_that_make_their_statistics_explicitly_can_have_them_merged():
    def make_env(first: float) -> Any:
        return lambda: NormalizeObservation(ScriptedEnv([[first], [first + 2.0], [0.0]]), moments=RunningMoments(1))

    vec_env = SubprocVecEnv([make_env(0.0), make_env(10.0)], start_method="fork")
    vec_env.reset()
    vec_env.step(np.zeros((2, 2), dtype=np.float32))
    merged = RunningMoments.merged(vec_env.get_attr("moments"))
    vec_env.close()
    assert (merged.count, merged.mean.tolist()) == (4, [6.0])
    assert merged.var == pytest.approx(np.var([0.0, 2.0, 10.0, 12.0]))


@pytest.mark.parametrize("moments", [None, "shared"])
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
def test_copied_wrapper_warns_while_its_original_lives(moments, duplicate):
    original = NormalizeObservation(ScriptedEnv(), moments=RunningMoments() if moments else None)
    original.reset()
    twin = duplicate(original)
    with pytest.warns(UserWarning, match=SEPARATE + "another environment"):
        twin.reset()


def test_copied_wrapper_goes_on_when_its_original_is_gone():
    original = NormalizeObservation(ScriptedEnv([1.0, 2.0]))
    play(original, 1)
    frozen_in_amber = pickle.dumps(original)
    del original
    twin = pickle.loads(frozen_in_amber)
    play(twin, 1)
    assert (twin.moments.count, twin.mean.item()) == (4, 1.5)


def test_unpickled_wrapper_is_itself_a_rival_of_later_ones():
    twin = pickle.loads(pickle.dumps(NormalizeObservation(ScriptedEnv())))
    twin.reset()
    with pytest.warns(UserWarning, match=SEPARATE + "another environment"):
        NormalizeObservation(ScriptedEnv()).reset()


def test_wrapper_rebuilt_from_the_spec_of_a_shared_one_warns_while_that_lives():
    original = NormalizeObservation(gym.make("Pendulum-v1"), moments=RunningMoments(3))
    rebuilt = gym.make(original.spec)
    with pytest.warns(UserWarning, match=SEPARATE + "another environment"):
        rebuilt.reset()


# What the spec records


@pytest.mark.parametrize("frozen", [False, True])
def test_spec_records_shared_statistics_as_plain_values_and_rebuilds_them(frozen):
    moments = RunningMoments.from_values(3, [0.0, 0.0, 1.0], [1.0, 2.0, 3.0])
    if frozen:
        moments.freeze()
    spec = NormalizeObservation(gym.make("Pendulum-v1"), moments=moments).spec.to_json()
    recorded = json.loads(spec)["additional_wrappers"][-1]["kwargs"]["moments"]
    assert recorded == {"count": 3, "mean": [0.0, 0.0, 1.0], "var": [1.0, 2.0, 3.0], "frozen": frozen}
    rebuilt = gym.make(gym.envs.registration.EnvSpec.from_json(spec))
    assert rebuilt.frozen is frozen
    assert (rebuilt.moments.count, rebuilt.mean.tolist()) == (3, [0.0, 0.0, 1.0])


def test_spec_records_fixed_arrays_as_lists_and_paths_as_text(tmp_path):
    path = saved_stats(tmp_path / "stats.npz", np.zeros((2, 3)))
    fixed = NormalizeObservation(gym.make("Pendulum-v1"), mean=np.zeros(3, np.float32), std=(1, 2, 3))
    from_file = NormalizeObservation(gym.make("Pendulum-v1"), stats_path=path)
    kwargs = [json.loads(env.spec.to_json())["additional_wrappers"][-1]["kwargs"] for env in (fixed, from_file)]
    rest = {"moments": None, "min_std": 1e-4, "clip": 10.0}
    assert kwargs[0] == {"mean": [0.0, 0.0, 0.0], "std": [1.0, 2.0, 3.0], "stats_path": None, **rest}
    assert kwargs[1] == {"mean": None, "std": None, "stats_path": str(path), **rest}
