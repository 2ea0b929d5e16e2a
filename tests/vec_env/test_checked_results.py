"""What an environment must not return is named, in SB3's vectorised environments and this project's alike."""

import functools
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv

from sb3_ppo_scratch.errors import EnvironmentFaultError
from sb3_ppo_scratch.vec_env import ShardedVecEnv
from sb3_ppo_scratch.vec_env.faults import faults_named
from sb3_ppo_scratch.vec_env.guard import guarded
from sb3_ppo_scratch.vec_env.step_values import is_number
from tests.vec_env.environments import RandomEnv

KINDS: dict[str, Callable[..., VecEnv]] = {
    "dummy": DummyVecEnv,
    "monitored": lambda makers: DummyVecEnv([lambda make=make: Monitor(make()) for make in makers]),
    "subproc": functools.partial(SubprocVecEnv, start_method="fork"),
    "sharded": functools.partial(ShardedVecEnv, n_workers=1, start_method="fork"),
}
Change = Callable[[list[Any]], None]


class Bytes(gym.Env[Any, Any]):
    """Observes bytes; what it returns is changed by a function.

    Args:
        change: It gets the list of what `step` returns.
        dtype: Of the observations' space.
        first: What `reset` returns; None: bytes.
    """

    def __init__(self, change: Change | None = None, dtype: Any = np.uint8, first: Any = None) -> None:
        self.observation_space = spaces.Box(0, 100, (2,), dtype)
        self.action_space = spaces.Discrete(2)
        self.change, self.first = change, first

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return np.zeros(2, self.observation_space.dtype) if self.first is None else self.first, {}

    def step(self, action: Any) -> Any:
        returned = [np.ones(2, self.observation_space.dtype), 1.0, False, False, {}]
        if self.change is not None:
            self.change(returned)
        return tuple(returned)


def put(position: int, value: Any) -> Change:
    """Make a function that changes one thing."""
    return lambda returned: returned.__setitem__(position, value)


def step_once(kind: str, change: Change, dtype: Any = np.uint8) -> Any:
    """Reset and step two environments, of which the second returns something changed."""
    env = KINDS[kind]([functools.partial(Bytes, None, dtype), functools.partial(Bytes, change, dtype)])
    try:
        env.reset()
        with guarded(env, None) as step:
            return step(np.zeros(2, np.int64))
    finally:
        env.close()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("position", "value", "message"),
    [
        (0, np.array([0.5, 1.0]), "an observation of shape (2,) and type float64, where the space has (2,) and uint8"),
        (0, np.array([300, 1]), "an observation of shape (2,) and type int64"),
        (0, np.array([None, 1], dtype=object), "an observation of shape (2,) and type object"),
        (0, "text", "an observation of shape () and type <U4"),
        (1, "1.5", "the reward '1.5', which is no number"),
        (1, b"1", "the reward b'1', which is no number"),
        (1, None, "the reward None, which is no number"),
        (1, np.datetime64("2026-01-01"), "the reward np.datetime64('2026-01-01'), which is no number"),
        (2, "False", "'False' as `terminated` or `truncated`, which is no bool"),
        (3, "False", "'False' as `terminated` or `truncated`, which is no bool"),
        (2, 0.5, "0.5 as `terminated` or `truncated`, which is no bool"),
        (3, None, "None as `terminated` or `truncated`, which is no bool"),
    ],
)
def test_what_is_of_a_wrong_type_is_named_with_its_environment(
    kind: str, position: int, value: Any, message: str
) -> None:
    if kind == "monitored" and value is None and position == 1:
        message = f"{message} (TypeError"
    with pytest.raises(EnvironmentFaultError, match="environment 1 returned ") as caught:
        step_once(kind, put(position, value))
    assert caught.value.env_index == 1
    assert str(caught.value).startswith(f"environment 1 returned {message}")


@pytest.mark.parametrize("kind", ["dummy", "subproc", "sharded"])
@pytest.mark.parametrize("reward", [2, np.int8(2), Decimal(2), th.tensor(2.0), np.full(1, 2.0)])
def test_a_reward_may_be_any_kind_of_number(kind: str, reward: Any) -> None:
    _, rewards, _, _ = step_once(kind, put(1, reward))
    assert rewards.shape == (2,)
    assert rewards.dtype.kind == "f"
    assert rewards.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("position", [2, 3])
@pytest.mark.parametrize("ended", [True, 1, np.True_, np.int64(1), np.array(True), 0, np.False_])
def test_an_end_may_be_any_kind_of_bool(kind: str, position: int, ended: Any) -> None:
    _, _, dones, infos = step_once(kind, put(position, ended))
    assert dones.dtype == np.bool_
    assert dones.tolist() == [False, bool(ended)]
    assert bool(infos[1]["TimeLimit.truncated"]) is bool(position == 3 and ended)


@pytest.mark.parametrize("kind", KINDS)
def test_values_that_the_spaces_type_keeps_are_taken(kind: str) -> None:
    observations, *_ = step_once(kind, put(0, np.array([3.0, 4.0])))
    np.testing.assert_array_equal(observations, [[1, 1], [3, 4]])


def test_whole_numbers_that_a_smaller_type_would_change_are_refused() -> None:
    with pytest.raises(EnvironmentFaultError, match=r"^environment 1 returned an observation .* int64, .* and int8"):
        step_once("dummy", put(0, np.array([300, 1])), np.int8)


@pytest.mark.parametrize("kind", ["dummy", "subproc", "sharded"])
@pytest.mark.parametrize("first", [np.full(2, 0.5), np.zeros(3, np.uint8), "text"])
def test_the_first_observations_are_looked_at_too(kind: str, first: Any) -> None:
    env = KINDS[kind]([Bytes, functools.partial(Bytes, first=first)])
    with pytest.raises(EnvironmentFaultError, match=r"^environment 1 returned an observation"), faults_named(env):
        env.reset()
    env.close()


@pytest.mark.parametrize("kind", ["dummy", "monitored", "subproc"])
def test_results_are_those_of_sb3(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 0.0)  # in Monitor's infos
    space = spaces.Dict({"a": spaces.Box(0, 1, (2,), np.float32), "b": spaces.Discrete(3)})
    stock, ours = (KINDS[kind]([functools.partial(RandomEnv, space)] * 3) for _ in range(2))
    for env in (stock, ours):
        env.seed(4)
    first = stock.reset()
    with faults_named(ours):
        assert_equal(ours.reset(), first)
    assert list(ours.reset_infos) == list(stock.reset_infos)
    with guarded(ours, None) as step:
        for _ in range(12):
            for one, other in zip(step(np.ones(3, np.int64)), stock.step(np.ones(3, np.int64)), strict=True):
                assert_equal(one, other)
            assert repr(list(ours.reset_infos)) == repr(list(stock.reset_infos))
    assert "step_wait" not in vars(ours)
    for env in (stock, ours):
        env.close()


class OwnReset(SubprocVecEnv):
    """Resets in a way of its own."""

    def reset(self) -> Any:
        return super().reset() + 1


def test_what_a_subclass_does_itself_is_left_to_it() -> None:
    env = OwnReset([Bytes], start_method="fork")
    with faults_named(env):
        assert env.reset().tolist() == [[1, 1]]
    env.close()


def assert_equal(one: Any, other: Any) -> None:
    """Compare arrays, dicts of arrays or infos."""
    if isinstance(one, dict):
        assert list(one) == list(other)
        one, other = tuple(one.values()), tuple(other.values())
    if isinstance(one, tuple | list):
        assert repr(one) == repr(other)
    else:
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


def test_numbers_are_told_from_what_only_looks_like_one() -> None:
    class Reluctant:
        def __float__(self) -> float:
            raise RuntimeError

    assert all(map(is_number, [1, 1.5, True, np.bool_(1), np.float16(1), np.ones((1, 1)), Decimal("1"), th.ones(1)]))
    others = ["1", b"1", None, 1j, np.ones(2), th.ones(2), np.str_("1"), np.timedelta64(1), [1.0], Reluctant()]
    assert not any(map(is_number, others))
