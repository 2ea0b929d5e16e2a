"""Tests of `callback_states` and `callback_attributes`: what callbacks keep, and what is said where they cannot."""

import enum
import inspect
import warnings
from collections import Counter, deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import optuna
import pytest
import rl_zoo3.callbacks
import torch as th
from gymnasium.wrappers import TimeLimit
from stable_baselines3.common import callbacks as sb3
from stable_baselines3.common.atari_wrappers import EpisodicLifeEnv
from stable_baselines3.common.callbacks import BaseCallback, CallbackList, EvalCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import Logger, TensorBoardOutputFormat
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize

from sb3_ppo_scratch import PPOScratch
from sb3_ppo_scratch.callbacks import SaveCheckpoints, StopWhenSolved
from sb3_ppo_scratch.checkpoints.callback_attributes import callbacks_below
from sb3_ppo_scratch.checkpoints.callback_states import read_callbacks, write_callbacks
from sb3_ppo_scratch.checkpoints.state_tree import decode, encode
from tests.checkpoints.test_environment_states import Game


class ThreeSteps(gym.Env[np.ndarray, int]):
    """Episodes of three steps with random rewards and successes."""

    steps = 0
    observation_space = gym.spaces.Box(-1, 1, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin."""
        super().reset(seed=seed)
        self.steps = 0
        return self.np_random.uniform(-1, 1, 1).astype(np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Go on."""
        self.steps += 1
        success = {"is_success": bool(self.np_random.random() < 0.5)}
        return np.zeros(1, np.float32), float(self.np_random.normal()), self.steps == 3, False, success

    def get_state(self) -> int:
        """Say where it is."""
        return self.steps

    def set_state(self, state: int) -> None:
        """Be there."""
        self.steps = state


class Mute(gym.Wrapper[Any, Any, Any, Any]):
    """Of it nobody knows what it keeps."""


class Plain(BaseCallback):
    """Holds what it is given."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__()
        vars(self).update(attributes)

    def _on_step(self) -> bool:
        return True


def make_model(env: VecEnv | None = None) -> PPOScratch:
    """A small model."""
    return PPOScratch("MlpPolicy", env or make_vec_env(ThreeSteps, 2, seed=1), n_steps=8, n_epochs=1, batch_size=16)


def carry(old: BaseCallback, new: BaseCallback, model: PPOScratch | None = None) -> None:
    """Let a new callback go on where an old one was, through text and bytes, without a warning."""
    model = model or make_model()
    for each in (old, new):
        each.init_callback(model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_callbacks(new, decode(*encode(read_callbacks(old))))


def make_all(folder: Path) -> dict[type[BaseCallback], BaseCallback]:
    """One of every callback that SB3 and rl_zoo3 have for on-policy algorithms, and of ours."""

    def env() -> VecEnv:
        return make_vec_env(ThreeSteps, 2, seed=2)

    improvement = sb3.StopTrainingOnNoModelImprovement(99, min_evals=1)
    threshold = sb3.StopTrainingOnRewardThreshold(99)
    results = {
        "best_model_save_path": str(folder / "best"),
        "log_path": str(folder),
        "n_eval_episodes": 2,
        "eval_freq": 3,
        "verbose": 0,
    }
    inner: list[BaseCallback] = [
        sb3.CheckpointCallback(4, str(folder)),
        sb3.EvalCallback(env(), threshold, improvement, **results),
        improvement,
        threshold,
        sb3.EveryNTimesteps(6, Plain()),
        sb3.LogEveryNTimesteps(10),
        sb3.StopTrainingOnMaxEpisodes(99),
        sb3.ProgressBarCallback(),
        sb3.EventCallback(Plain()),
        sb3.ConvertCallback(lambda *_: True),
        rl_zoo3.callbacks.TrialEvalCallback(env(), optuna.create_study().ask(), **results),
        rl_zoo3.callbacks.SaveVecNormalizeCallback(5, str(folder)),
        rl_zoo3.callbacks.RawStatisticsCallback(),
        SaveCheckpoints(4, folder),
        StopWhenSolved(99, 4),
    ]
    called = [each for each in inner if each not in (improvement, threshold)]
    return {**{type(each): each for each in inner}, CallbackList: CallbackList(called)}


COUNTED = {"n_calls": 8, "num_timesteps": 16}
EVALUATED = {"evaluations_timesteps": [6, 12], **COUNTED}
KEPT: dict[type[BaseCallback], dict[str, Any]] = {
    sb3.EvalCallback: EVALUATED,
    sb3.StopTrainingOnNoModelImprovement: {"n_calls": 2, "num_timesteps": 12},
    sb3.StopTrainingOnRewardThreshold: {},
    sb3.EveryNTimesteps: {"last_time_trigger": 12, **COUNTED},
    sb3.LogEveryNTimesteps: {"last_time_trigger": 10, **COUNTED},
    sb3.StopTrainingOnMaxEpisodes: {"n_episodes": 4, "_total_max_episodes": 198, **COUNTED},
    rl_zoo3.callbacks.TrialEvalCallback: {"eval_idx": 2, "is_pruned": False, **EVALUATED},
    rl_zoo3.callbacks.RawStatisticsCallback: {"_timesteps_counter": 12, **COUNTED},
    **dict.fromkeys(
        (
            *(sb3.CheckpointCallback, sb3.ProgressBarCallback, sb3.EventCallback, sb3.ConvertCallback, CallbackList),
            *(rl_zoo3.callbacks.SaveVecNormalizeCallback, SaveCheckpoints, StopWhenSolved),
        ),
        COUNTED,
    ),
}
"""What two rollouts' steps leave in each; of what is random, the same as before is asked for."""
EVALUATIONS = (
    *("best_mean_reward", "last_mean_reward", "evaluations_results", "evaluations_length"),
    *("_is_success_buffer", "evaluations_successes"),
)
SAME = {
    sb3.EvalCallback: EVALUATIONS,
    rl_zoo3.callbacks.TrialEvalCallback: EVALUATIONS,
    sb3.StopTrainingOnNoModelImprovement: ("last_best_mean_reward", "no_improvement_evals"),
    StopWhenSolved: ("_returns",),
}


def test_every_callback_of_sb3_and_rl_zoo3_goes_on_where_it_was(tmp_path: Path) -> None:
    model = make_model()
    model.set_logger(Logger(str(tmp_path), [TensorBoardOutputFormat(str(tmp_path))]))
    old, new = make_all(tmp_path), make_all(tmp_path)
    model.learn(16, callback=old[CallbackList])
    new[CallbackList].init_callback(model)
    assert new[sb3.EvalCallback].evaluations_results == []  # type: ignore[attr-defined]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_callbacks(new[CallbackList], decode(*encode(read_callbacks(old[CallbackList]))))
    for kind, attributes in KEPT.items():
        assert {name: getattr(new[kind], name) for name in attributes} == attributes, kind
    for kind, names in SAME.items():
        assert [getattr(new[kind], name) for name in names] == [getattr(old[kind], name) for name in names]
    known = [
        kind
        for module in (sb3, rl_zoo3.callbacks)
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, BaseCallback)
    ]
    assert set(known) - set(KEPT) == {BaseCallback, rl_zoo3.callbacks.ParallelTrainCallback}


def test_what_rl_zoo3_has_for_other_algorithms_is_silent_too() -> None:
    old, new = (Plain(inner=rl_zoo3.callbacks.ParallelTrainCallback()) for _ in range(2))
    old.inner.batch_size = 7
    carry(old, new)
    assert new.inner.batch_size == 7


def test_all_kinds_of_state_are_kept() -> None:
    moments = RunningMeanStd(shape=(2,))
    moments.update(np.arange(6.0).reshape(3, 2))
    old = Plain(
        recent=deque([1.5, 2.5], maxlen=2),
        counts=Counter("aab"),
        seen={(1, 2), (3, 4)},
        table={(0, True): 1.0, False: 2.0},
        moments=moments,
        short=th.ones(2, dtype=th.bfloat16),
        phase="explore",
        generator=np.random.default_rng(3),
        older=np.random.RandomState(3),
    )
    new = Plain(phase="exploit")
    carry(old, new)
    assert type(new.recent) is deque
    assert new.recent.maxlen == 2
    assert (new.recent, new.counts, new.seen, new.table) == (old.recent, old.counts, old.seen, old.table)
    assert np.array_equal(new.moments.mean, moments.mean)
    assert new.short.dtype is th.bfloat16
    assert new.phase == "explore"
    assert new.generator.random() == old.generator.random()
    assert new.older.rand() == old.older.rand()


class Level(enum.IntEnum):
    """How hard it is."""

    LOW = 0


def test_what_cannot_be_kept_is_named_once() -> None:
    callback = Plain(
        level=Level.LOW, mixed=[3, object()], network=th.nn.Linear(1, 1), log=print, where=[Path("a")], none=[None]
    )
    callback.init_callback(make_model())
    message = "cannot hold `level` of Plain, `mixed` of Plain, `network` of Plain: in a run that goes on"
    with pytest.warns(UserWarning, match=message):
        read_callbacks(callback)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_callbacks(callback)


def test_what_a_callback_says_of_itself_adds_to_what_is_found() -> None:
    class Own(Plain):
        def get_state(self) -> dict[str, Any]:
            return {"network": dict(self.network.state_dict())}

        def set_state(self, state: dict[str, Any]) -> None:
            self.network.load_state_dict(state["network"])

    old, new = Own(network=th.nn.Linear(1, 1), count=3), Own(network=th.nn.Linear(1, 1))
    carry(old, new)
    assert new.count == 3
    assert th.equal(new.network.weight, old.network.weight)


def test_what_a_callback_says_of_itself_has_to_be_state() -> None:
    callback = Plain(get_state=lambda: {"a": object()}, set_state=print)
    callback.init_callback(make_model())
    with pytest.raises(TypeError, match="`get_state` of Plain returns what no checkpoint can hold"):
        read_callbacks(callback)


def test_a_run_goes_on_with_its_own_settings_and_says_so(tmp_path: Path) -> None:
    model, folder = make_model(), str(tmp_path)
    old, new = (EvalCallback(make_vec_env(ThreeSteps, 1), eval_freq=freq, log_path=folder) for freq in (500, 1000))
    for each in (old, new):
        each.init_callback(model)
    with pytest.warns(UserWarning, match="with its own values.*: `eval_freq` of EvalCallback is 500, not 1000.$"):
        write_callbacks(new, decode(*encode(read_callbacks(old))))
    assert new.eval_freq == 500


def test_paths_and_what_a_constructor_calls_by_name_stay_the_new_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    old, new = (sb3.CheckpointCallback(5, folder, name_prefix=folder) for folder in ("there", "here"))
    old.best, new.best = "there/best.zip", "here/best.zip"
    carry(old, new)
    assert (new.save_path, new.name_prefix, new.best) == ("here", "here", "here/best.zip")


def test_arguments_of_inherited_constructors_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    class Named(sb3.CheckpointCallback):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)

    old, new = Named(5, "there"), Named(5, "here")
    carry(old, new)
    assert new.save_path == "here"


def test_callbacks_that_hold_each_other_are_listed_once() -> None:
    outer, first, second, third = Plain(), Plain(), Plain(), Plain()
    outer.parts, first.other, second.owner = {"a": [first], "b": (second,)}, outer, second
    outer.parts["ring"], third.parent = outer.parts, outer
    second.third = [[third]]
    assert list(callbacks_below(outer)) == [outer, first, second, third]


def draws(env: Any) -> list[Any]:
    """Begin a few episodes."""
    return [env.reset() for _ in range(3)]


@pytest.mark.parametrize("make_one", [ThreeSteps, partial(gym.make, "LunarLander-v3")])
def test_all_environments_of_a_callback_draw_on(make_one: Callable[[], gym.Env[Any, Any]]) -> None:
    def make(seed: int) -> Plain:
        single = TimeLimit(make_one(), 9)
        single.reset(seed=seed)
        return Plain(
            many=[make_vec_env(make_one, 2, seed=seed)],
            named={"hard": (VecNormalize(make_vec_env(make_one, 1, seed=seed), training=False),)},
            single=single,
        )

    old, new = make(3), make(4)
    draws(old.single)
    draws(old.many[0])
    carry(old, new)
    np.testing.assert_equal(draws(new.single), draws(old.single))
    np.testing.assert_equal(draws(new.many[0]), draws(old.many[0]))
    np.testing.assert_equal(draws(new.named["hard"][0]), draws(old.named["hard"][0]))


def test_environments_of_a_callback_go_on_in_the_middle_of_an_episode() -> None:
    def make() -> Plain:
        env = VecNormalize(make_vec_env(partial(gym.make, "CartPole-v1"), 2, seed=3))
        return Plain(env=env, first=env.reset())

    old, new = make(), make()
    for _ in range(30):
        old.env.step(np.zeros(2, int))
    carry(old, new)
    steps = [[each.env.step(np.ones(2, int))[:3] for _ in range(30)] for each in (old, new)]
    np.testing.assert_equal(steps[1], steps[0])


def test_an_unknown_game_of_a_callback_begins_with_all_lives() -> None:
    def make() -> Plain:
        return Plain(env=DummyVecEnv([lambda: EpisodicLifeEnv(Monitor(Game()))]))

    old, new = make(), make()
    old.env.reset()
    for _ in range(7):
        old.env.step(np.zeros(1, int))
    for each in (old, new):
        each.init_callback(make_model())
    with pytest.warns(UserWarning, match="what Game keep beyond a reset in `env` of Plain"):
        write_callbacks(new, decode(*encode(read_callbacks(old))))
    new.env.reset()
    infos = [new.env.step(np.zeros(1, int))[3][0] for _ in range(15)]
    assert [info["episode"]["l"] for info in infos if "episode" in info] == [15]


def test_what_environments_of_a_callback_keep_and_nobody_knows_is_named_once() -> None:
    env = DummyVecEnv([lambda: Mute(ThreeSteps())] * 2)
    callback = Plain(env=env, single=Mute(ThreeSteps()))
    callback.init_callback(make_model())
    message = "what Mute keep beyond a reset in `env` of Plain, what Mute keep beyond a reset in `single` of Plain"
    with pytest.warns(UserWarning, match=message):
        read_callbacks(callback)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_callbacks(callback)


def test_environments_of_a_callback_that_are_made_otherwise_begin_anew() -> None:
    old = Plain(env=make_vec_env(ThreeSteps, 2, seed=1), count=3)
    new = Plain(env=make_vec_env(partial(TimeLimit, ThreeSteps(), 9), 1, seed=1))
    for each in (old, new):
        each.init_callback(make_model())
    expected = draws(make_vec_env(ThreeSteps, 1, seed=1))
    with pytest.warns(UserWarning, match=r"`env` of Plain is wrapped in \['Monitor', 'TimeLimit'.*It begins anew\.$"):
        write_callbacks(new, decode(*encode(read_callbacks(old))))
    assert new.count == 3
    np.testing.assert_equal(draws(new.env), expected)


def test_environments_that_sb3_could_not_play_in_are_named() -> None:
    class Words(ThreeSteps):
        observation_space: Any = gym.spaces.Text(5)

    callback = Plain(env=Words())
    callback.init_callback(make_model())
    with pytest.warns(UserWarning, match="cannot hold `env` of Plain: in a run"):
        read_callbacks(callback)


def test_environments_without_generators_are_named() -> None:
    class Blind(DummyVecEnv):
        def has_attr(self, attr_name: str) -> bool:
            return False

    callback = Plain(env=[Blind([ThreeSteps])])
    callback.init_callback(make_model())
    with pytest.warns(UserWarning, match=r"cannot hold `env\[0\]` of Plain"):
        read_callbacks(callback)


def test_what_belongs_to_the_run_is_left_to_it() -> None:
    env = VecNormalize(make_vec_env(ThreeSteps, 2, seed=1))
    model = make_model(env)
    model.learn(16)

    def make() -> Plain:
        shared = {"episodes": model.ep_info_buffer, "moments": env.obs_rms, "rewards": model.rollout_buffer.rewards}
        parts = {"env": env.venv, "one": env.unwrapped.envs[0], "policy": model.policy, "both": [model, env]}
        return Plain(**shared, **parts, first=model.policy.mlp_extractor, again=model)

    old, new = make(), make()
    steps = env.get_attr("steps")
    carry(old, new, model)
    assert new.episodes is model.ep_info_buffer
    assert new.moments is env.obs_rms
    assert new.rewards is model.rollout_buffer.rewards
    assert env.get_attr("steps") == steps
    assert [each for each in steps if each], "an environment is in the middle of an episode"
