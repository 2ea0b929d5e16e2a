"""Environments into which the state of others is written go on as those do, bit for bit, whatever is around them."""

import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import wrappers
from gymnasium.envs.toy_text.blackjack import BlackjackEnv
from gymnasium.envs.toy_text.cliffwalking import CliffWalkingEnv
from gymnasium.envs.toy_text.frozen_lake import FrozenLakeEnv
from gymnasium.envs.toy_text.taxi import TaxiEnv
from rl_zoo3.wrappers import (
    ActionNoiseWrapper,
    ActionSmoothingWrapper,
    DelayedRewardWrapper,
    HistoryWrapper,
    TruncatedOnSuccessWrapper,
)
from sb3_contrib.common.wrappers import TimeFeatureWrapper
from stable_baselines3.common.atari_wrappers import (
    ClipRewardEnv,
    EpisodicLifeEnv,
    FireResetEnv,
    MaxAndSkipEnv,
    NoopResetEnv,
    StickyActionEnv,
)
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    SubprocVecEnv,
    VecCheckNan,
    VecEnv,
    VecEnvWrapper,
    VecExtractDictObs,
    VecFrameStack,
    VecMonitor,
    VecNormalize,
    VecTransposeImage,
)

from sb3_ppo_scratch.checkpoints.environment_states import (
    begin_anew,
    count_monitored,
    name_environments,
    read_environments,
    warn_of_losses,
    why_unreadable,
    write_environments,
)
from sb3_ppo_scratch.checkpoints.known_layers import KEPT
from sb3_ppo_scratch.checkpoints.state_tree import decode, encode
from sb3_ppo_scratch.vec_env import ShardedVecEnv
from sb3_ppo_scratch.wrappers import BinAction, NormalizeObservation, RunningMoments, ScaleReward
from tests.checkpoints.test_resume import Counter, ReadableCounter, assert_resumes

Env = gym.Env[Any, Any]
Wrap = Callable[[Any], Env]
BEFORE, AFTER = 23, 40


def make_one(base: str | type[Env], wrap: Wrap = lambda env: env, **options: Any) -> Env:
    """One environment with wrappers, and SB3's `Monitor` around it."""
    return Monitor(wrap(gym.make(base, **options) if isinstance(base, str) else base()))


def two(base: str | type[Env], wrap: Wrap = lambda env: env, **options: Any) -> VecEnv:
    """Two of them, seeded."""
    env = DummyVecEnv([partial(make_one, base, wrap, **options)] * 2)
    env.seed(5)
    return env


def go(env: VecEnv, actions: list[Any]) -> Iterator[Any]:
    """Step, and yield all that comes back but times."""
    for action in actions:
        observations, rewards, dones, infos = env.step(action)
        for info in infos:
            for name in {"episode", "stats"} & set(info):
                info[name].pop("t")
        yield {"observations": observations, "rewards": rewards.copy(), "dones": dones.copy(), "infos": infos}


def assert_goes_on(make: Callable[[], VecEnv], *, anew: bool = False, before: int = BEFORE) -> VecEnv:
    """Assert that an environment that gets another's state goes on as that one does; `anew`: from a boundary."""
    env, other = make(), make()
    env.action_space.seed(3)
    actions = [np.array([env.action_space.sample() for _ in range(env.num_envs)]) for _ in range(before + AFTER)]
    env.reset()
    for _ in go(env, actions[:before]):
        pass
    assert bool(why_unreadable(env)) == anew
    state = decode(*encode(read_environments(env)))
    other.reset()
    for _ in go(other, actions[:3]):  # what `write_environments` must not depend on
        pass
    write_environments(other, state)
    ways = []
    for each in (env, other):
        np.random.seed(7)
        first = begin_anew(each, 11) if anew else None
        ways.append([first, *[repr_of(step) for step in go(each, actions[before:])]])
    np.testing.assert_equal(ways[1], ways[0])
    env.close()
    return other


def repr_of(step: Any) -> Any:
    """Copy a step, since some environments use their arrays again."""
    return decode(*encode(step))


ON_CART_POLE = {
    "TimeLimit-twice": lambda env: wrappers.TimeLimit(wrappers.RepeatAction(wrappers.TimeLimit(env, 9), 2), 7),
    "Autoreset": wrappers.Autoreset,
    "RecordEpisodeStatistics": lambda env: wrappers.RecordEpisodeStatistics(env, stats_key="stats"),
    "NormalizeReward": wrappers.NormalizeReward,
    "NormalizeObservation": wrappers.NormalizeObservation,
    "both-and-clipped": lambda env: wrappers.ClipReward(
        wrappers.NormalizeReward(wrappers.NormalizeObservation(env)), -1, 1
    ),
    "FrameStackObservation": lambda env: wrappers.FlattenObservation(wrappers.FrameStackObservation(env, 3)),
    "FrameStackObservation-of-zeros": lambda env: wrappers.FlattenObservation(
        wrappers.FrameStackObservation(env, 3, padding_type="zero")
    ),
    "FrameStackObservation-of-dicts": lambda env: wrappers.FlattenObservation(
        wrappers.FrameStackObservation(wrappers.TimeAwareObservation(env, flatten=False), 3)
    ),
    "stacks-in-each-other": lambda env: wrappers.FlattenObservation(
        wrappers.FrameStackObservation(wrappers.FlattenObservation(wrappers.FrameStackObservation(env, 2)), 3)
    ),
    "DelayObservation": lambda env: wrappers.DelayObservation(env, 2),
    "TimeAwareObservation": wrappers.TimeAwareObservation,
    "MaxAndSkipObservation": lambda env: wrappers.MaxAndSkipObservation(env, 3),
    "StickyAction": lambda env: wrappers.StickyAction(env, 0.5, (1, 3)),
    "TransformReward": lambda env: wrappers.TransformReward(env, lambda reward: 2 * reward),
    "DelayedReward": lambda env: DelayedRewardWrapper(env, 4),
    "TruncatedOnSuccess": TruncatedOnSuccessWrapper,
    "TimeFeature": TimeFeatureWrapper,
    "MaxAndSkipEnv": lambda env: MaxAndSkipEnv(env, 3),
    "ClipRewardEnv": ClipRewardEnv,
    "ScaleReward": ScaleReward,
    "our-NormalizeObservation": NormalizeObservation,
    "our-fixed-NormalizeObservation": lambda env: NormalizeObservation(env, mean=0.0, std=2.0),
}
ON_PENDULUM = {
    "RescaleAction": lambda env: wrappers.RescaleAction(env, -1, 1),
    "ActionSmoothing": lambda env: ActionSmoothingWrapper(env, 0.7),
    "ActionNoise": ActionNoiseWrapper,
    "History": HistoryWrapper,
    "BinAction": lambda env: BinAction(env, 5),
}
CASES = [
    *(pytest.param("CartPole-v1", wrap, id=name) for name, wrap in ON_CART_POLE.items()),
    *(pytest.param("Pendulum-v1", wrap, id=name) for name, wrap in ON_PENDULUM.items()),
]


@pytest.mark.filterwarnings("ignore:running statistics are separate")
@pytest.mark.parametrize(("env_id", "wrap"), CASES)
def test_known_wrappers_go_on_in_the_middle_of_an_episode(env_id: str, wrap: Wrap) -> None:
    assert_goes_on(partial(two, env_id, wrap))


class Guarded(gym.Wrapper[Any, Any, Any, Any]):
    """Of it nobody knows what it keeps: episodes begin anew at a checkpoint."""


@pytest.mark.filterwarnings("ignore:running statistics are separate")
@pytest.mark.parametrize(("env_id", "wrap"), CASES)
def test_what_known_wrappers_keep_beyond_a_reset_is_there_after_a_boundary(env_id: str, wrap: Wrap) -> None:
    assert_goes_on(partial(two, env_id, lambda env: wrap(Guarded(env))), anew=True)


def test_all_of_gymnasiums_wrappers_are_known() -> None:
    of_other_arrays = {"vector", "ArrayConversion", "JaxToNumpy", "JaxToTorch", "NumpyToTorch"}
    assert set(wrappers.__all__) - of_other_arrays <= set(KEPT["gymnasium"])


@pytest.mark.parametrize(
    "make_env",
    [
        FrozenLakeEnv,
        partial(CliffWalkingEnv, is_slippery=True),
        partial(TaxiEnv, is_rainy=True, fickle_passenger=True),
        BlackjackEnv,
    ],
)
def test_toy_texts_go_on_in_the_middle_of_an_episode(make_env: Any) -> None:
    assert_goes_on(partial(two, make_env, lambda env: wrappers.TimeLimit(wrappers.FlattenObservation(env), 30)))


@pytest.mark.parametrize(
    ("env_id", "options"), [("LunarLander-v3", {"enable_wind": True}), ("BipedalWalkerHardcore-v3", {})]
)
def test_box2d_keeps_nothing_beyond_a_reset(env_id: str, options: dict[str, Any]) -> None:
    assert_goes_on(partial(two, env_id, wrappers.NormalizeReward, **options), anew=True)


def test_shared_statistics_stay_shared() -> None:
    def make() -> VecEnv:
        return two("CartPole-v1", partial(NormalizeObservation, moments=RunningMoments(4)))

    moments = assert_goes_on(make).get_attr("moments")
    assert moments[0] is moments[1]
    assert moments[0].count > BEFORE


def test_frozen_statistics_stay_frozen_and_shapes_are_compared() -> None:
    frozen, other = RunningMoments(2), RunningMoments(2)
    frozen.update([[1.0, 2.0], [3.0, 6.0]])
    frozen.freeze()
    other.set_state(frozen.get_state())
    assert other.frozen
    np.testing.assert_equal((other.mean, other.var), ([2.0, 4.0], [1.0, 4.0]))
    with pytest.raises(ValueError, match=r"has shape \(2,\), but these statistics have shape \(3,\)"):
        RunningMoments(3).set_state(frozen.get_state())
    fixed = NormalizeObservation(gym.make("CartPole-v1"), mean=0.0, std=1.0)
    with pytest.raises(ValueError, match="is of another mode"):
        fixed.set_state({"moments": frozen.get_state(), "frozen": True})


class Lives:
    """Three lives, as an Atari game counts them."""

    left = 3

    def lives(self) -> int:
        """Say how many are left."""
        return self.left


class Game(Counter):
    """Loses a life every fifth step, and ends with the third."""

    def __init__(self) -> None:
        super().__init__()
        self.action_space = gym.spaces.Discrete(4)
        self.ale = Lives()

    def get_action_meanings(self) -> list[str]:
        """Say what actions do."""
        return ["NOOP", "FIRE", "UP", "DOWN"]

    def reset(self, **options: Any) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin with all lives."""
        self.ale.left = 3
        return super().reset(**options)

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Lose one now and then."""
        observation, reward, *_, info = super().step(action)
        self.ale.left = 3 - self.count // 5
        return observation, reward, self.ale.left == 0, False, info


class ReadableGame(Game):
    """The same with both methods."""

    def get_state(self) -> dict[str, Any]:
        """Say it."""
        return {"count": self.count, "level": self.level, "left": self.ale.left}

    def set_state(self, state: dict[str, Any]) -> None:
        """Take it over."""
        self.count, self.level, self.ale.left = state["count"], state["level"], state["left"]


@pytest.mark.parametrize("before", [3, 5, 7, BEFORE])
@pytest.mark.parametrize(("game", "anew"), [(Game, True), (ReadableGame, False)])
def test_sb3s_atari_wrappers_go_on(game: type[Env], anew: bool, before: int) -> None:
    def wrap(env: Env) -> Env:
        noops: Any = NoopResetEnv(StickyActionEnv(env, 0.25), noop_max=2)
        return ClipRewardEnv(FireResetEnv(EpisodicLifeEnv(MaxAndSkipEnv(noops, skip=2))))

    assert_goes_on(partial(two, game, wrap), anew=anew, before=before)


def test_a_monitor_that_allows_no_early_resets_lets_a_checkpoint_cut_the_episode() -> None:
    def make() -> VecEnv:
        env = DummyVecEnv([lambda: Monitor(Counter(), allow_early_resets=False)] * 2)
        env.seed(5)
        return env

    assert_goes_on(make, anew=True)


class Images(ReadableCounter):
    """Sees a vector and a picture."""

    def __init__(self) -> None:
        super().__init__()
        picture = gym.spaces.Box(0, 255, (36, 36, 1), np.uint8)
        self.observation_space: Any = gym.spaces.Dict({"vector": self.observation_space, "picture": picture})

    def _see(self) -> Any:
        picture = np.full((36, 36, 1), int(127 * (1 + self.level)), np.uint8)
        return {"vector": super()._see(), "picture": picture}


@pytest.mark.parametrize(
    "wrap",
    [
        pytest.param(lambda env: VecFrameStack(env, 3), id="dicts"),
        pytest.param(lambda env: VecTransposeImage(VecFrameStack(env, 3)), id="transposed-above"),
        pytest.param(lambda env: VecFrameStack(VecTransposeImage(env), 3), id="transposed-below"),
        pytest.param(lambda env: VecExtractDictObs(VecFrameStack(env, 3), "picture"), id="extracted-above"),
        pytest.param(lambda env: VecFrameStack(VecExtractDictObs(env, "picture"), 3), id="extracted-below"),
        pytest.param(lambda env: VecFrameStack(VecNormalize(env, norm_obs_keys=["vector"]), 2), id="normalised"),
        pytest.param(lambda env: VecCheckNan(VecMonitor(env)), id="looked-at"),
    ],
)
def test_vector_layers_over_dicts_and_pictures_go_on(wrap: Callable[[VecEnv], VecEnv]) -> None:
    assert_goes_on(lambda: wrap(two(Images)))


def test_a_run_over_stacked_dicts_goes_on(tmp_path: Path) -> None:
    def make() -> VecEnv:
        return VecExtractDictObs(VecFrameStack(make_vec_env(Images, 4, seed=5), 3), "vector")

    assert_resumes(make, tmp_path / "run.zip", at=20)


class Balance(gym.Wrapper[Any, Any, Any, Any]):
    """Subtracts the mean of all rewards so far, and says what it keeps."""

    def __init__(self, env: Env, weight: float = 1.0) -> None:
        super().__init__(env)
        self.weight, self.total, self.count = weight, 0.0, 0

    def step(self, action: Any) -> Any:
        """Subtract it."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self.total, self.count = self.total + float(reward), self.count + 1
        return observation, float(reward) - self.weight * self.total / self.count, terminated, truncated, info

    def get_state(self) -> dict[str, Any]:
        """Say it."""
        return {"total": self.total, "count": self.count}

    def set_state(self, state: dict[str, Any]) -> None:
        """Take it over."""
        self.total, self.count = state["total"], state["count"]


class MuteBalance(Balance):
    """The same without a word."""

    get_state: Any = None
    set_state: Any = None


def nest(env: Env) -> Env:
    """Layers that say what they keep, with one that is known between them."""
    return Balance(wrappers.NormalizeReward(Balance(env, weight=0.5)))


@pytest.mark.parametrize(
    "vec_env", [DummyVecEnv, partial(SubprocVecEnv, start_method="fork"), partial(ShardedVecEnv, n_workers=1)]
)
@pytest.mark.parametrize("base", [ReadableCounter, Counter])
def test_each_layer_with_both_methods_is_asked_itself(vec_env: Any, base: type[Counter]) -> None:
    def make() -> VecEnv:
        env: VecEnv = vec_env([partial(make_one, base, nest)] * 2)
        env.seed(5)
        return env

    assert_goes_on(make, anew=base is Counter).close()


@pytest.mark.parametrize("vec_env", [DummyVecEnv, partial(SubprocVecEnv, start_method="fork")])
@pytest.mark.parametrize("base", [ReadableCounter, Counter])
def test_environments_in_no_wrapper_go_on(vec_env: Any, base: type[Counter]) -> None:
    def make() -> VecEnv:
        env: VecEnv = vec_env([base] * 2)
        env.seed(5)
        return VecMonitor(env)

    assert_goes_on(make, anew=base is Counter).close()


def test_a_checkpoint_says_what_monitors_have_written_down() -> None:
    env = two("CartPole-v1", wrappers.RecordEpisodeStatistics)
    env.env_method("set_wrapper_attr", "episode_times", [3.0, 5.0], indices=1)
    assert count_monitored(read_environments(env)) == [0, 2]
    assert count_monitored(read_environments(DummyVecEnv([ReadableCounter]))) == [None]


class OwnMonitor(Monitor):
    """Of it nobody knows what it keeps beyond SB3's."""


def test_what_inherits_from_a_monitor_counts_as_one() -> None:
    env = DummyVecEnv([lambda: OwnMonitor(ReadableCounter())])
    env.reset()
    for _ in go(env, [np.zeros(1, int)] * 19):  # episodes have nine steps
        pass
    assert count_monitored(decode(*encode(read_environments(env)))) == [2]


class Telling(Counter):
    """Says where it is when it is printed, as grid worlds do."""

    def __str__(self) -> str:
        return f"<{self.level}>"


def test_environments_are_named_by_their_id_or_class() -> None:
    assert name_environments(two("CartPole-v1", ScaleReward)) == "CartPole-v1"
    assert name_environments(DummyVecEnv([partial(gym.make, "CartPole-v1")])) == "CartPole-v1"
    assert name_environments(VecMonitor(DummyVecEnv([Counter]))) == "Counter"
    assert name_environments(two(Telling)) == "Telling"
    assert name_environments(NoEnvironments([Counter])) == "NoEnvironments"


def test_environments_may_differ_in_their_wrappers() -> None:
    def make() -> VecEnv:
        env = DummyVecEnv([partial(make_one, ReadableCounter), partial(make_one, ReadableCounter, nest)])
        env.seed(5)
        return env

    assert_goes_on(make)


def losses(env: VecEnv) -> list[str]:
    """What the first and the second checkpoint warn of."""
    env.reset()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_losses(env)
        warn_of_losses(env)
    return [str(each.message) for each in caught]


class OwnNormalize(VecNormalize):
    """May keep anything."""


class OwnLayer(VecEnvWrapper):
    """A vector layer of one's own."""

    def reset(self) -> Any:
        """Reset."""
        return self.venv.reset()

    def step_wait(self) -> Any:
        """Wait."""
        return self.venv.step_wait()


def test_what_may_be_lost_is_named_once() -> None:
    env = OwnLayer(OwnNormalize(two(Counter, lambda env: MuteBalance(Guarded(env)))))
    expected = (
        "These layers of the environments have no get_state and set_state: what they keep beyond a reset is lost at "
        "resume: OwnLayer, OwnNormalize, MuteBalance, Guarded, Counter."
    )
    assert losses(env) == [expected]
    assert why_unreadable(env) == "OwnLayer, OwnNormalize, MuteBalance, Guarded, Counter"


@pytest.mark.parametrize("base", ["LunarLander-v3", "CartPole-v1", ReadableCounter])
def test_of_what_is_known_or_says_it_nothing_is_said(base: Any) -> None:
    assert losses(VecNormalize(two(base, nest))) == []


def test_environments_in_no_wrapper_are_named_too() -> None:
    assert "lost at resume: Counter." in losses(DummyVecEnv([Counter]))[0]


def test_of_a_subclass_what_its_base_keeps_is_kept() -> None:
    class OwnLimit(wrappers.NormalizeReward):
        """May keep anything."""

    assert_goes_on(lambda: OwnNormalize(two("CartPole-v1", OwnLimit)), anew=True)


def test_a_subclass_that_says_what_it_adds_keeps_what_its_base_keeps() -> None:
    class Adds(wrappers.NormalizeReward):
        """Counts the steps, too."""

        steps = 0

        def step(self, action: Any) -> Any:
            """Count."""
            self.steps += 1
            observation, reward, *rest = super().step(action)
            return observation, float(reward) + self.steps, *rest

        def get_state(self) -> int:
            """Say the count."""
            return self.steps

        def set_state(self, state: int) -> None:
            """Take it over."""
            self.steps = state

    assert_goes_on(partial(two, "CartPole-v1", Adds))


def test_each_layer_is_asked_once_at_a_checkpoint() -> None:
    asked = []

    class Asked(Balance):
        def get_state(self) -> dict[str, Any]:
            asked.append(self)
            return super().get_state()

    env = two("CartPole-v1", Asked)
    env.reset()
    why_unreadable(env)
    read_environments(env)
    assert len(asked) == len(set(asked)) == env.num_envs
    assert not env.has_attr("call_with_itself")


class NoEnvironments(DummyVecEnv):
    """Vectorised environments that are no Python objects."""

    def _refuse(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError

    env_method = env_is_wrapped = has_attr = _refuse

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Know nothing but how it is drawn."""
        return super().get_attr(attr_name, indices) if attr_name == "render_mode" else self._refuse()


class WholeState(NoEnvironments):
    """The same, but they say what they all keep."""

    def get_state(self) -> Any:
        """Say it."""
        return [[each.count, each.level, each.np_random] for each in self.counters()]

    def set_state(self, state: Any) -> None:
        """Take it over."""
        for each, (count, level, generator) in zip(self.counters(), state, strict=True):
            each.count, each.level, each.np_random = count, level, generator

    def counters(self) -> list[Any]:
        """Look at them."""
        return self.envs


def test_vectorised_environments_without_single_ones_are_asked_themselves() -> None:
    assert_goes_on(partial(WholeState, [ReadableCounter] * 2))
    env = NoEnvironments([Counter] * 2)
    assert why_unreadable(env) == "NoEnvironments"
    assert "lost at resume: NoEnvironments." in losses(env)[0]
    assert why_unreadable(WholeState([Counter] * 2)) == ""


def test_films_are_counted_and_none_is_begun_by_going_on(tmp_path: Path) -> None:
    def film(env: Any) -> Env:
        return wrappers.RecordVideo(env, str(tmp_path), episode_trigger=lambda episode: episode == 0)

    env, other = (two("CartPole-v1", film, render_mode="rgb_array") for _ in range(2))
    env.env_method("set_wrapper_attr", "episode_id", 3)
    write_environments(other, decode(*encode(read_environments(env))))
    assert other.get_attr("episode_id") == [3, 3]
    assert other.get_attr("recording") == [False, False]
    other.close()
    assert not list(tmp_path.iterdir())


def test_environments_in_other_wrappers_are_refused() -> None:
    env, others = two("CartPole-v1"), two("CartPole-v1", ScaleReward)
    env.reset()
    with pytest.raises(ValueError, match=r"`env` is wrapped in \['Monitor', 'ScaleReward', .* the run's in"):
        write_environments(others, read_environments(env))
    one = DummyVecEnv([partial(make_one, "CartPole-v1")])
    with pytest.raises(ValueError, match="`env` holds 1 environments, the run's 2"):
        write_environments(one, read_environments(env))
