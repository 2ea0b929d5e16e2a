"""Tests of `vec_env/sharded_vec_env.py`: SB3's `DummyVecEnv` on the same functions says what is right."""

import sys
import tabnanny
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from sb3_ppo_scratch import PPOScratch
from sb3_ppo_scratch.vec_env import ShardedVecEnv, worker_pool
from sb3_ppo_scratch.wrappers import ScaleReward
from tests.vec_env.environments import SPACES, Halved, RandomEnv, makers

Pair = tuple[DummyVecEnv, ShardedVecEnv]
MakePair = Callable[..., Pair]


@pytest.fixture
def make_pair() -> Iterator[MakePair]:
    """Makes both kinds from the same functions, and closes them."""
    made: list[VecEnv] = []

    def make(env_fns: list[Callable[[], Any]], **keywords: Any) -> Pair:
        pair = DummyVecEnv(env_fns), ShardedVecEnv(env_fns, **{"n_workers": 2, **keywords})
        made.extend(pair)
        return pair

    yield make
    for env in made:
        env.close()


def assert_same(theirs: Any, ours: Any) -> None:
    """Equal in every bit, type by type, through all containers."""
    assert type(theirs) is type(ours)
    if isinstance(theirs, dict):
        assert set(theirs) == set(ours)
        for key in theirs:
            assert_same(theirs[key], ours[key])
    elif isinstance(theirs, list | tuple):
        assert len(theirs) == len(ours)
        for one, other in zip(theirs, ours, strict=True):
            assert_same(one, other)
    elif isinstance(theirs, np.ndarray):
        assert theirs.dtype == ours.dtype
        np.testing.assert_array_equal(theirs, ours)
    else:
        assert theirs == ours


def assert_both_run_alike(pair: Pair, steps: int, action_space: spaces.Space[Any] | None = None) -> None:
    """Reset and step both, comparing everything."""
    dummy, sharded = pair
    space = action_space or dummy.action_space
    space.seed(1)
    assert_same(dummy.reset(), sharded.reset())
    assert_same(dummy.reset_infos, sharded.reset_infos)
    for _ in range(steps):
        actions = [space.sample() for _ in range(dummy.num_envs)]
        batch = np.array(actions, dtype=space.dtype) if space.shape is not None else actions
        assert_same(dummy.step(batch), sharded.step(batch))
        assert_same(dummy.reset_infos, sharded.reset_infos)


@pytest.mark.parametrize("observations", list(SPACES))
def test_everything_equals_dummy_for_every_observation_space(observations: str, make_pair: MakePair) -> None:
    pair = make_pair(makers(5, observations))
    assert pair[0].seed(7) == pair[1].seed(7)
    assert_both_run_alike(pair, 60)


@pytest.mark.parametrize(
    "actions",
    ["box", "discrete", "multi_binary", "multi_discrete", "dict"],
)
def test_every_kind_of_action_reaches_the_environment_as_in_dummy(actions: str, make_pair: MakePair) -> None:
    pair = make_pair(makers(3, action_space=SPACES[actions]))
    for env in pair:
        env.seed(7)
    assert_both_run_alike(pair, 5, SPACES[actions])
    assert_same(*(env.env_method("type_of_last_action") for env in pair))
    assert_same(*(env.env_method("kept") for env in pair))


@pytest.mark.parametrize("actions", [[0, 1, 2], np.array([0, 1, 2], np.int8), np.array([0.5, 1.5, 2.5])], ids=str)
def test_action_of_another_type_than_the_spaces_is_not_converted(actions: Any, make_pair: MakePair) -> None:
    pair = make_pair(makers(3))
    for env in pair:
        env.seed(0)
        env.reset()
    assert_same(*(env.step(actions) for env in pair))
    assert_same(*(env.env_method("type_of_last_action") for env in pair))


@pytest.mark.parametrize(("n_envs", "n_workers"), [(1, 1), (3, 1), (7, 3)])
@pytest.mark.parametrize("start_method", ["spawn", "fork"])
def test_number_of_workers_and_start_method_change_nothing(
    n_envs: int, n_workers: int, start_method: str, make_pair: MakePair
) -> None:
    pair = make_pair(makers(n_envs), n_workers=n_workers, start_method=start_method)
    for env in pair:
        env.seed(3)
    assert_both_run_alike(pair, 20)
    assert len(set(pair[1].env_method("process"))) == n_workers


@pytest.mark.parametrize("kind", [float, np.float64, np.float32, int])
def test_infos_of_scale_reward_equal_dummys(kind: type[Any], make_pair: MakePair) -> None:
    class Paying(RandomEnv):
        def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
            observation, reward, terminated, truncated, info = super().step(action)
            return observation, kind(100 * reward), terminated, truncated, info

    pair = make_pair([lambda: ScaleReward(Paying(), 0.01)] * 3)
    for env in pair:
        env.seed(3)
    assert_both_run_alike(pair, 40)


def test_signals_by_pipe_where_there_are_no_shared_semaphores(
    make_pair: MakePair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sb3_ppo_scratch.vec_env.worker_pool.have_shared_semaphores", lambda: False)
    pair = make_pair(makers(5, "dict"))
    for env in pair:
        env.seed(3)
    assert_both_run_alike(pair, 30)


def test_seeds_and_options_are_used_once_and_every_environment_has_its_own(make_pair: MakePair) -> None:
    dummy, sharded = make_pair(makers(3))
    for env in (dummy, sharded):
        env.seed(5)
        env.set_options([{"a": 1}, {}, {"b": 2}])
    assert_same(dummy.reset(), sharded.reset())
    assert [info["options"] for info in sharded.reset_infos] == [{"a": 1}, None, {"b": 2}]
    first = sharded.reset_infos
    sharded.reset()
    assert [info["options"] for info in sharded.reset_infos] == [None, None, None]
    sharded.seed(6)
    sharded.reset()
    assert [info["drawn"] for info in sharded.reset_infos[:2]] == [info["drawn"] for info in first[1:]]


def test_what_a_step_returned_stays_when_later_ones_come() -> None:
    env = ShardedVecEnv(makers(2), n_workers=1)
    env.seed(0)
    at_reset = env.reset()
    copies = [at_reset.copy()]
    results = [at_reset]
    for _ in range(3):
        observations, rewards, dones, _ = env.step(np.zeros(2, np.int64))
        results += [observations, rewards, dones]
        copies += [observations.copy(), rewards.copy(), dones.copy()]
    env.close()
    for result, copy in zip(results, copies, strict=True):
        np.testing.assert_array_equal(result, copy)


def test_usual_step_moves_no_message(monkeypatch: pytest.MonkeyPatch) -> None:
    env = ShardedVecEnv([lambda: ScaleReward(gym.make("CartPole-v1"))] * 4, n_workers=2)
    env.seed(0)
    env.reset()
    for connection in env._pool.connections:
        monkeypatch.setattr(connection, "recv", lambda: pytest.fail("a message was read"))
        monkeypatch.setattr(connection, "send_bytes", lambda _: pytest.fail("a message was sent"))
    for _ in range(5):
        *_, infos = env.step(np.zeros(4, np.int64))
        assert infos == [{"TimeLimit.truncated": False, "raw_reward": 1.0}] * 4
    monkeypatch.undo()
    env.close()


def test_attributes_and_methods_with_indices(make_pair: MakePair) -> None:
    pair = make_pair([lambda: Halved(RandomEnv()), RandomEnv, lambda: Halved(RandomEnv()), RandomEnv, RandomEnv])
    for env in pair:
        env.set_attr("label", "some", indices=[4, 0])
        env.set_attr("label", "one", indices=1)
    for indices in (None, 2, [0], [4, 1, 0, 0], range(1, 3), [-1]):
        assert_same(*(env.get_attr("label", indices) for env in pair))
        assert_same(*(env.env_method("add", 1, other=2, indices=indices) for env in pair))
        assert_same(*(env.env_is_wrapped(Halved, indices) for env in pair))
    for name in ("label", "unpicklable", "no_such_attribute"):
        assert pair[0].has_attr(name) == pair[1].has_attr(name)
    with pytest.raises(IndexError, match="out of range"):
        pair[1].get_attr("label", indices=5)


def test_unknown_attribute_raises_what_dummy_raises_and_the_environments_go_on() -> None:
    env = ShardedVecEnv(makers(2), n_workers=2)
    with pytest.raises(AttributeError, match="no_such_attribute"):
        env.get_attr("no_such_attribute")
    with pytest.raises(TypeError, match="unexpected keyword argument"):
        env.env_method("add", wrong=1)
    with pytest.raises((AttributeError, TypeError), match="pickle") as caught:
        env.get_attr("unpicklable")
    assert "answered to `get_attr('unpicklable')` cannot be pickled" in str(caught.value.__cause__)
    assert env.env_method("add", 1, 2) == [3, 3]
    env.close()


def test_images_are_rendered_and_tiled_as_in_dummy(make_pair: MakePair) -> None:
    pair = make_pair(makers(3, render_mode="rgb_array"))
    for env in pair:
        env.seed(0)
        env.reset()
        env.step(np.zeros(3, np.int64))
    dummy, sharded = pair
    assert (dummy.render_mode, dummy.metadata) == (sharded.render_mode, sharded.metadata)
    assert_same(dummy.get_images(), sharded.get_images())
    assert_same(dummy.render(), sharded.render())


def test_without_a_render_mode_there_are_no_images() -> None:
    env = ShardedVecEnv(makers(2), n_workers=1)
    with pytest.warns(UserWarning, match="No images: they need the render mode rgb_array, this is None"):
        assert env.get_images() == [None, None]
    env.close()


def test_spaces_draw_what_dummys_draw(make_pair: MakePair) -> None:
    dummy, sharded = make_pair(makers(2))
    for env in (dummy, sharded):
        env.action_space.seed(4)
    assert [dummy.action_space.sample() for _ in range(9)] == [sharded.action_space.sample() for _ in range(9)]


@pytest.mark.parametrize("algorithm", [PPO, PPOScratch])
def test_learning_gives_the_same_parameters_as_in_dummy(algorithm: Any) -> None:
    learned = []
    for kind in (DummyVecEnv, ShardedVecEnv):
        env = kind([lambda: gym.make("CartPole-v1")] * 5)
        model = algorithm("MlpPolicy", env, n_steps=32, batch_size=40, n_epochs=2, seed=1, device="cpu")
        learned.append(model.learn(320).policy.state_dict())
        env.close()
    for name, value in learned[0].items():
        assert th.equal(value, learned[1][name]), name


@pytest.mark.parametrize(
    ("keywords", "error", "message"),
    [
        (
            {"n_workers": 3},
            ValueError,
            "`n_workers` must be at least 1 and at most the number of environments, 2, got 3",
        ),
        ({"n_workers": 0}, ValueError, "got 0; None chooses one for each core"),
        ({"n_workers": 1.0}, TypeError, "`n_workers` must be an integer or None, got 1.0"),
        ({"n_workers": True}, TypeError, "`n_workers` must be an integer or None, got True"),
        ({"start_method": "teleport"}, ValueError, "`start_method` must be one of fork, .*, got 'teleport'"),
        ({"env_fns": []}, ValueError, "`env_fns` must hold at least one function"),
        ({"env_fns": [RandomEnv, RandomEnv()]}, TypeError, r"`env_fns\[1\]` must be a function .* got RandomEnv"),
    ],
    ids=["many_workers", "no_workers", "float", "bool", "start_method", "no_functions", "no_function"],
)
def test_wrong_argument_is_named(keywords: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ShardedVecEnv(**{"env_fns": makers(2), **keywords})


def test_default_is_a_worker_for_each_core_but_none_without_environments() -> None:
    env = ShardedVecEnv(makers(1))
    assert env.n_workers == 1
    env.close()


def test_space_without_a_fixed_shape_is_refused() -> None:
    class TextEnv(RandomEnv):
        def __init__(self) -> None:
            super().__init__(spaces.Text(5))

    with pytest.raises(NotImplementedError, match="the observation space has no fixed shape of numbers"):
        ShardedVecEnv([TextEnv])


def test_construction_warns_of_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = ShardedVecEnv(makers(2), n_workers=2)
        env.close()
    assert env.render_mode is None


def test_workers_import_what_has_changed_gymnasium_here_before_they_make_environments(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Looking(RandomEnv):
        def __init__(self) -> None:
            import sys

            super().__init__()
            self.label = str([name for name in ("tabnanny", "pyclbr") if name in sys.modules])

    monkeypatch.setattr(worker_pool, "PATCHING_MODULES", ("tabnanny", "pyclbr"))
    monkeypatch.setitem(sys.modules, "tabnanny", tabnanny)
    monkeypatch.delitem(sys.modules, "pyclbr", raising=False)
    env = ShardedVecEnv([Looking, Looking], n_workers=2)
    assert env.get_attr("label") == ["['tabnanny']"] * 2
    env.close()


def test_worker_needs_neither_sb3_nor_torch() -> None:
    class Imported(gym.Wrapper[Any, Any, Any, Any]):
        def loaded(self) -> list[str]:
            import sys

            return [name for name in ("stable_baselines3", "torch", "rl_zoo3") if name in sys.modules]

    env = ShardedVecEnv([lambda: Imported(RandomEnv())], start_method="spawn")
    assert env.env_method("loaded") == [[]]
    env.close()
