"""Wrappers in any order, around any Box, vectorised by any convention: what comes out is what each defines.

The definitions are applied by hand to what bare environments return, so they know nothing of an order, and wrappers
that did not commute would part from them in one order or another.
"""

import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import SyncVectorEnv
from gymnasium.vector.vector_env import AutoresetMode
from gymnasium.wrappers import TimeLimit
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from sb3_ppo_scratch.wrappers import BinAction, NormalizeObservation, RunningMoments, ScaleReward
from tests.fuzz.exploring import Tally, explore
from tests.fuzz.following_env import FollowingEnv
from tests.fuzz.strategies import COINS, float_boxes, floats, integer_boxes

FEW, FEW_BINS = 60, 80
N_STEPS = 12
CONVENTIONS = ("by hand", AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP, "stable_baselines3")
"""Who resets an environment whose episode has ended, and when: the caller; Gymnasium in the next step, in which nothing
else happens, or in the same, whose own observation is put aside; SB3 likewise."""
FLOAT32, TINY = 1e-6, 1e-37
"""How far float32 may be from what it stands for, relatively and close to 0."""
NEUTRAL: dict[str, Callable[[gym.Env[Any, Any]], gym.Env[Any, Any]]] = {
    "Monitor": Monitor,
    "TimeLimit": partial(TimeLimit, max_episode_steps=1000),
}
"""Wrappers that change nothing here, to stand between the others."""


class StrictEnv(FollowingEnv):
    """Refuses actions that are not in its space to the last bit, and keeps those that it got."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.received: list[NDArray[Any]] = []

    def step(self, action: Any) -> Any:
        assert self.action_space.contains(action), f"{action!r} is not in {self.action_space}"
        self.received.append(action)
        return super().step(action)


@dataclass(frozen=True)
class WrapperCase:
    """Environments, and what is around them."""

    observation_space: gym.spaces.Box
    action_space: gym.spaces.Box
    order: tuple[str, ...]
    """Names of wrappers from the inside out."""
    scale: float
    mean: Any
    """Shape (*shape) or a number; None: running statistics, which all environments share."""
    std: Any
    min_std: float
    clip: float
    bins: Any
    flat: bool
    convention: Any
    n_envs: int
    lengths: tuple[int, ...]
    endings: tuple[str, ...]
    seed: int

    def make_bare(self, index: int) -> StrictEnv:
        """Make one environment without wrappers."""
        lengths = self.lengths[index % len(self.lengths) :] + self.lengths
        return StrictEnv(self.observation_space, self.action_space, lengths, self.endings, seed=self.seed + index)

    def wrap(self, env: gym.Env[Any, Any], moments: RunningMoments) -> gym.Env[Any, Any]:
        """Wrap one environment."""
        if self.mean is None:
            normalize = partial(NormalizeObservation, moments=moments, min_std=self.min_std, clip=self.clip)
        else:
            normalize = partial(NormalizeObservation, mean=self.mean, std=self.std, clip=self.clip)
        wrappers = {
            "ScaleReward": partial(ScaleReward, scale=self.scale),
            "NormalizeObservation": normalize,
            "BinAction": partial(BinAction, bins=self.bins, flat=self.flat),
            **NEUTRAL,
        }
        for name in self.order:
            env = wrappers[name](env)
        return env


@st.composite
def boxes_to_bin(draw: Any) -> gym.spaces.Box:
    """Bounded Boxes of any magnitude, wide enough for a few atoms in their dtype."""
    dtype = draw(st.sampled_from([np.float16, np.float32, np.float64]))
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=2, max_side=2))
    largest_exponent = {np.float16: 1, np.float32: 30, np.float64: 250}[dtype]
    unit = 10.0 ** draw(st.integers(-largest_exponent if dtype is not np.float16 else 0, largest_exponent))
    low = draw(hnp.arrays(np.float64, shape, elements=st.floats(-100.0, 100.0)))
    span = draw(hnp.arrays(np.float64, shape, elements=st.floats(4.0, 100.0)))
    if draw(COINS)(30):  # symmetric about 0
        low = -span
    high = -low if (low == -span).all() else low + span
    return gym.spaces.Box((low * unit).astype(dtype), (high * unit).astype(dtype), dtype=dtype)


@st.composite
def bins_of(draw: Any, box: gym.spaces.Box) -> Any:
    """A count for all dimensions, or for each a count or a list of atoms."""
    counts = st.integers(2, 5)
    if draw(st.booleans()):
        return draw(counts)
    entries = []
    for low, high in zip(box.low.ravel().tolist(), box.high.ravel().tolist(), strict=True):
        if draw(st.booleans()):
            entries.append(draw(counts))
        else:
            shares = draw(st.lists(st.integers(0, 16), min_size=2, max_size=4, unique=True))
            atoms = [low * (1 - share / 16) + high * (share / 16) for share in sorted(shares)]
            entries.append([float(atom) for atom in np.clip(np.array(atoms).astype(box.dtype), low, high)])
    return entries


@st.composite
def observed_boxes(draw: Any) -> gym.spaces.Box:
    """Boxes of any dtype, shape and bounds; sometimes of large numbers."""
    if draw(COINS)(70):
        return draw(st.one_of(float_boxes(smallest_ndim=0), float_boxes(smallest_ndim=0), integer_boxes()))
    dtype, largest = draw(st.sampled_from([(np.float32, 1e15), (np.float64, 1e60)]))
    low, high = sorted(draw(st.lists(st.floats(-largest, largest), min_size=2, max_size=2)))
    return gym.spaces.Box(low, high, draw(hnp.array_shapes(max_dims=2, max_side=2)), dtype)


@st.composite
def wrapper_cases(draw: Any) -> WrapperCase:
    """All three wrappers in any order, with others between them."""
    own = ["ScaleReward", "NormalizeObservation", "BinAction"]
    order = tuple(draw(st.permutations(own + draw(st.lists(st.sampled_from(list(NEUTRAL)), unique=True)))))
    convention = draw(st.sampled_from(CONVENTIONS))
    observation_space, action_space = draw(observed_boxes()), draw(boxes_to_bin())
    numbers = st.floats(-1e3, 1e3)
    mean = std = None
    if draw(st.booleans()):
        one = draw(st.booleans())
        shape = observation_space.shape
        mean = draw(numbers) if one else draw(hnp.arrays(np.float64, shape, elements=numbers))
        std = draw(hnp.arrays(np.float64, shape, elements=st.floats(1e-6, 1e6)))
    return WrapperCase(
        observation_space,
        action_space,
        order=order,
        scale=draw(st.one_of(floats(1e-6, 1e6), floats(-10.0, -1e-3))),
        mean=mean,
        std=std,
        min_std=draw(st.sampled_from([1e-4, 1e-4, 1e-8, 2.0])),
        clip=draw(floats(0.1, 100.0, 10.0)),
        bins=draw(bins_of(action_space)),
        flat=draw(st.booleans()),
        convention=convention,
        n_envs=1 if convention == "by hand" else draw(st.integers(1, 3)),
        lengths=tuple(draw(st.lists(st.integers(1, 6), min_size=1, max_size=3))),
        endings=tuple(draw(st.lists(st.sampled_from(["terminated", "truncated", "both"]), min_size=1, max_size=3))),
        seed=draw(st.integers(0, 10_000)),
    )


class Step(NamedTuple):
    """What one environment has returned in one step."""

    observation: Any
    """To act upon next."""
    reward: float
    ended: tuple[bool, bool]
    """Terminated and truncated."""
    final: Any = None
    """The last observation of an episode, where another takes its place."""
    raw_reward: float | None = None
    """None in a step that only resets."""


Records = list[list[Step]]
"""By step and environment; the first is the reset."""


def step_by_convention(case: WrapperCase, env: gym.Env[Any, Any], action: Any, before: Step) -> Step:
    """Step one bare environment as the case's convention says."""
    if case.convention is AutoresetMode.NEXT_STEP and any(before.ended):
        return Step(env.reset()[0], 0.0, (False, False))
    observation, reward, *ended, _ = env.step(action)
    here = Step(observation, float(reward), (ended[0], ended[1]), raw_reward=float(reward))
    if case.convention is AutoresetMode.NEXT_STEP or not any(ended):
        return here
    return here._replace(observation=env.reset()[0], final=observation)


def play_bare(case: WrapperCase, actions: list[list[Any]]) -> Records:
    """Step bare environments with continuous actions."""
    envs = [case.make_bare(index) for index in range(case.n_envs)]
    records = [[Step(env.reset(seed=case.seed + index)[0], 0.0, (False, False)) for index, env in enumerate(envs)]]
    for each in actions:
        records.append([step_by_convention(case, *what) for what in zip(envs, each, records[-1], strict=True)])
    return records


def play_in_gymnasium(case: WrapperCase, envs: list[gym.Env[Any, Any]], actions: list[Any]) -> Records:
    """Step wrapped environments in Gymnasium's vector."""
    vec = SyncVectorEnv([partial(lambda env: env, env) for env in envs], autoreset_mode=case.convention)
    observations, _ = vec.reset(seed=case.seed)
    records = [[Step(each, 0.0, (False, False)) for each in observations]]
    for action in actions:
        observations, rewards, terminated, truncated, infos = vec.step(np.stack(action))
        steps = []
        for index in range(case.n_envs):
            has_final = bool(infos.get("_final_obs", np.zeros(case.n_envs, bool))[index])
            told = infos["final_info"] if has_final else infos
            has_raw = bool(told.get("_raw_reward", np.zeros(case.n_envs, bool))[index])
            steps.append(
                Step(
                    observations[index],
                    float(rewards[index]),
                    (bool(terminated[index]), bool(truncated[index])),
                    infos["final_obs"][index] if has_final else None,
                    float(told["raw_reward"][index]) if has_raw else None,
                )
            )
        records.append(steps)
    return records


def play_in_sb3(case: WrapperCase, envs: list[gym.Env[Any, Any]], actions: list[Any]) -> Records:
    """Step wrapped environments in SB3's vector, which keeps rewards as float32."""
    vec = DummyVecEnv([partial(lambda env: env, env) for env in envs])
    vec.seed(case.seed)
    records = [[Step(each, 0.0, (False, False)) for each in vec.reset()]]
    for action in actions:
        observations, rewards, dones, infos = vec.step(np.stack(action))
        steps = []
        for index, info in enumerate(infos):
            only_truncated = bool(dones[index]) and info["TimeLimit.truncated"]
            ended = bool(dones[index]) and not only_truncated, only_truncated
            final = info.get("terminal_observation")
            steps.append(Step(observations[index], float(rewards[index]), ended, final, float(info["raw_reward"])))
        records.append(steps)
    return records


def play_by_hand(case: WrapperCase, envs: list[gym.Env[Any, Any]], actions: list[Any]) -> Records:
    """Step a wrapped environment, and reset it where its episode ends."""
    [env] = envs
    records = [[Step(env.reset(seed=case.seed)[0], 0.0, (False, False))]]
    for [action] in actions:
        observation, reward, terminated, truncated, info = env.step(action)
        final = None
        if terminated or truncated:
            observation, final = env.reset()[0], observation
        records.append([Step(observation, float(reward), (terminated, truncated), final, float(info["raw_reward"]))])
    return records


class Normalization:
    """The definition of `NormalizeObservation`: moments in two passes over all that has been observed."""

    def __init__(self, case: WrapperCase) -> None:
        self._case = case
        self._seen: list[NDArray[np.float64]] = []

    def __call__(self, observation: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Normalise an observation, and say how far rounding may be from that; both of shape (*shape)."""
        case, value = self._case, np.asarray(observation, dtype=np.float64)
        if case.mean is not None:
            exact = np.clip((value - case.mean) / case.std, -case.clip, case.clip)
            return exact, FLOAT32 * np.abs(exact) + TINY
        self._seen.append(value)
        seen = np.stack(self._seen)
        mean = seen.mean(axis=0)
        std = np.maximum(np.sqrt(((seen - mean) ** 2).mean(axis=0)), case.min_std)
        exact = np.clip((value - mean) / std, -case.clip, case.clip)
        rounding = 8 * len(seen) * np.finfo(np.float64).eps * np.abs(seen).max(axis=0) / std
        return exact, FLOAT32 * np.abs(exact) + rounding * (1 + np.abs(exact)) + TINY


def expected_action(case: WrapperCase, choice: Any) -> NDArray[np.float64]:
    """The definition of `BinAction`: bin k of n is low + k (high - low) / (n - 1), or the k-th atom; shape (*shape)."""
    low, high = (
        case.action_space.low.astype(np.longdouble).ravel(),
        case.action_space.high.astype(np.longdouble).ravel(),
    )
    entries = case.bins if isinstance(case.bins, list) else [case.bins] * low.size
    sizes = [entry if isinstance(entry, int) else len(entry) for entry in entries]
    indices = np.unravel_index(int(choice), sizes) if case.flat else choice
    values = [
        low[k] + index * (high[k] - low[k]) / (entry - 1) if isinstance(entry, int) else entry[index]
        for k, (entry, index) in enumerate(zip(entries, indices, strict=True))
    ]
    return np.array(values, dtype=np.longdouble).reshape(case.action_space.shape)


def check_actions(case: WrapperCase, envs: list[StrictEnv], choices: list[list[Any]], expected: Records) -> None:
    """Compare the actions that bare environments got with those that were chosen, but in steps that only reset."""
    eps = float(np.finfo(case.action_space.dtype).eps)
    largest = np.maximum(np.abs(case.action_space.low), np.abs(case.action_space.high)).astype(np.longdouble)
    for index, env in enumerate(envs):
        stepped = [
            each[index] for each, step in zip(choices, expected[1:], strict=True) if step[index].raw_reward is not None
        ]
        assert len(env.received) == len(stepped)
        for action, choice in zip(env.received, stepped, strict=True):
            assert (np.abs(action - expected_action(case, choice)) <= eps * largest).all()


def check_step(case: WrapperCase, normalize: Normalization, got: Step, bare: Step, space: gym.spaces.Box) -> None:
    """Compare what came out of the wrappers with what each defines."""
    assert got.ended == bare.ended or case.convention == "stable_baselines3"
    assert any(got.ended) == any(bare.ended)
    assert (got.raw_reward is None) == (bare.raw_reward is None)
    if got.raw_reward is not None:
        assert got.raw_reward == pytest.approx(bare.raw_reward, rel=1e-3, abs=2e-2)  # the action's rounding
        scaled = got.raw_reward * case.scale
        assert got.reward == (np.float32(scaled) if case.convention == "stable_baselines3" else scaled)
    else:
        assert got.reward == 0.0
    assert (got.final is None) == (bare.final is None)
    for mine, raw in ((got.final, bare.final), (got.observation, bare.observation)):
        if raw is not None:
            exact, rounding = normalize(raw)
            assert np.asarray(mine, np.float32) in space
            assert (np.abs(mine - exact) <= rounding).all()


def check_wrappers(case: WrapperCase, tally: Tally) -> None:
    moments = RunningMoments(case.observation_space.shape)
    bare = [case.make_bare(index) for index in range(case.n_envs)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Gymnasium's, about precision of bounds
        warnings.filterwarnings("error", message="running statistics")
        envs = [case.wrap(env, moments) for env in bare]
        [action_space] = {repr(env.action_space): env.action_space for env in envs}.values()
        action_space.seed(case.seed)
        choices = [[action_space.sample() for _ in envs] for _ in range(N_STEPS)]
        play = {"by hand": play_by_hand, "stable_baselines3": play_in_sb3}.get(case.convention, play_in_gymnasium)
        records = play(case, envs, choices)
    expected = play_bare(case, [[to_box(case, choice) for choice in each] for each in choices])
    check_actions(case, bare, choices, expected)
    normalize = Normalization(case)
    for got, wanted in zip(records, expected, strict=True):
        for mine, raw in zip(got, wanted, strict=True):
            check_step(case, normalize, mine, raw, envs[0].observation_space)
    n_episodes = sum(any(step.ended) for steps in expected for step in steps)
    assert moments.count == (len(normalize._seen) if case.mean is None else 0)
    convention = getattr(case.convention, "name", case.convention)
    tally.count(
        case, f"convention: {convention}", f"order: {' < '.join(case.order)}", *["with an end"] * (n_episodes > 0)
    )


def to_box(case: WrapperCase, choice: Any) -> NDArray[Any]:
    """Choose the defined action, in the Box's dtype."""
    rounded = expected_action(case, choice).astype(case.action_space.dtype)
    return np.clip(rounded, case.action_space.low, case.action_space.high)


def explore_wrappers(*, examples: int = FEW, fresh: bool = False) -> Tally:
    """Try all wrappers around drawn environments."""
    return explore(wrapper_cases(), check_wrappers, examples=examples, fresh=fresh)


def test_wrappers_in_any_order_and_vector_do_what_each_defines() -> None:
    tally = explore_wrappers()
    assert len({name for name in tally.counts if name.startswith("convention")}) == len(CONVENTIONS)
    assert tally.n_cases >= FEW / 2
    assert tally.counts["with an end"] >= tally.n_cases / 2


def is_accepted(env: gym.Env[Any, Any], count: int) -> bool:
    """Tell whether an environment's actions can be binned."""
    with suppress(ValueError):
        BinAction(env, count)
        return True
    return False


def check_bins(case: tuple[gym.spaces.Box, int], tally: Tally) -> None:
    box, count = case
    low, high = box.low.astype(np.longdouble), box.high.astype(np.longdouble)
    spacing = np.spacing(np.maximum(np.abs(box.low), np.abs(box.high))).astype(np.longdouble)
    env = FollowingEnv(gym.spaces.Discrete(2), box)
    is_wide = ((high - low) / (count - 1) > 2 * spacing).all()
    if not is_wide and not is_accepted(env, count):
        with pytest.raises(ValueError, match="strictly ascending"):
            BinAction(env, count)
        tally.count(case, "refused")
        return
    env = BinAction(env, count)
    for atoms, first, last in zip(env.atoms, box.low.ravel(), box.high.ravel(), strict=True):
        assert len(atoms) == count
        assert (np.diff(atoms) > 0).all()
        assert (atoms[0], atoms[-1]) == (first, last)
        if first == -last:
            assert (atoms == -atoms[::-1]).all()
    tally.count(case, "accepted")


def explore_bins(*, examples: int = FEW_BINS, fresh: bool = False) -> Tally:
    """Try counts on drawn Boxes, however narrow."""
    narrow = st.builds(
        lambda low, n_roundings, dtype: gym.spaces.Box(
            np.array([low], dtype),
            np.array([low], dtype) + n_roundings * np.spacing(np.abs(np.array([low], dtype))),
            dtype=dtype,
        ),
        st.floats(-100.0, 100.0),
        st.integers(0, 12),
        st.sampled_from([np.float16, np.float32, np.float64]),
    )
    boxes = st.one_of(float_boxes(bounded=True, smallest_ndim=0), boxes_to_bin(), narrow)
    return explore(st.tuples(boxes, st.integers(2, 9)), check_bins, examples=examples, fresh=fresh)


def test_any_count_of_bins_gives_both_bounds_and_distinct_atoms_or_is_refused() -> None:
    tally = explore_bins()
    assert tally.counts["accepted"] > 0 < tally.counts["refused"]
