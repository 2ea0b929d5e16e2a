"""Tests of passing over a rollout (`updates/minibatches.py` and its users) against SB3's `RolloutBuffer.get`."""

import copy
from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import DictRolloutBuffer, RolloutBuffer
from stable_baselines3.common.policies import ActorCriticPolicy, MultiInputActorCriticPolicy

from sb3_ppo_scratch.rollout_buffers import ScratchDictRolloutBuffer, ScratchRolloutBuffer
from sb3_ppo_scratch.updates import autograd
from sb3_ppo_scratch.updates.autograd import SamplesOfRollout
from sb3_ppo_scratch.updates.closed_form import BYTES_AT_ONCE, ColumnsOfRollout
from sb3_ppo_scratch.updates.exact_kl import describe_distribution
from sb3_ppo_scratch.updates.minibatches import flatten, is_passed_over_as_sb3_does
from sb3_ppo_scratch.updates.network_inputs import NetworkInputs

N_STEPS, N_ENVS = 5, 3
VECTOR = spaces.Box(-np.inf, np.inf, (2,), np.float32)
DICT = spaces.Dict({"x": VECTOR, "place": spaces.Discrete(4)})
FLOATS = ("values", "log_probs", "advantages", "returns")
OTHER_FIELDS = ("actions", "old_values", "old_log_prob", "advantages", "returns")


def full_buffer(
    observation_space: spaces.Space[Any] = VECTOR,
    action_space: spaces.Space[Any] | None = None,
    buffer_class: type[RolloutBuffer] = ScratchRolloutBuffer,
    n_steps: int = N_STEPS,
) -> RolloutBuffer:
    """A buffer of which every number is another."""
    action_space = action_space or spaces.Box(-1, 1, (2,), np.float32)
    buffer = buffer_class(n_steps, observation_space, action_space, device="cpu", n_envs=N_ENVS)
    rng = np.random.default_rng(0)
    observations = buffer.observations if isinstance(buffer.observations, dict) else {"": buffer.observations}
    for array in observations.values():
        array[...] = rng.integers(0, 4, array.shape) if array.dtype.kind in "iu" else rng.normal(size=array.shape)
    buffer.actions[...] = rng.integers(0, 2, buffer.actions.shape)
    for name in FLOATS:
        getattr(buffer, name)[...] = rng.normal(size=(n_steps, N_ENVS))
    buffer.full, buffer.pos = True, n_steps
    return buffer


def batches_of(source: Any, batch_size: int, seed: int = 3) -> list[Any]:
    np.random.seed(seed)
    passes = getattr(source, "minibatches", None) or source.get
    return list(passes(batch_size))


def assert_equal_observations(ours: Any, theirs: Any) -> None:
    if isinstance(theirs, dict):
        assert set(ours) == set(theirs)
        for name, part in theirs.items():
            assert th.equal(ours[name], part), name
            assert ours[name].dtype == part.dtype
    else:
        assert th.equal(ours, theirs)
        assert ours.dtype == theirs.dtype


BUFFERS: dict[str, Callable[[], RolloutBuffer]] = {
    "array": full_buffer,
    "dict": lambda: full_buffer(DICT, buffer_class=ScratchDictRolloutBuffer),
    "sb3s_own": lambda: full_buffer(buffer_class=RolloutBuffer),
    "image": lambda: full_buffer(spaces.Box(0, 255, (2, 3, 3), np.uint8)),
    "float64": lambda: full_buffer(spaces.Box(-1, 1, (2,), np.float64)),
    "discrete": lambda: full_buffer(spaces.Discrete(4), spaces.Discrete(2)),
    "multi_binary_actions": lambda: full_buffer(action_space=spaces.MultiBinary(3)),
}


@pytest.mark.parametrize("name", BUFFERS)
@pytest.mark.parametrize("batch_size", [4, 5, 15, 100], ids="batches_of_{}".format)
def test_samples_for_autograd_are_sb3s_in_sb3s_order_with_a_short_last_one(name: str, batch_size: int) -> None:
    ours, theirs = BUFFERS[name](), BUFFERS[name]()
    samples = batches_of(SamplesOfRollout(ours, th.device("cpu")), batch_size)
    state = np.random.get_state()[2]
    expected = batches_of(theirs, batch_size)
    assert np.random.get_state()[2] == state
    assert len(samples) == len(expected)
    for sample, other in zip(samples, expected, strict=True):
        assert type(sample) is type(other)
        assert_equal_observations(sample.observations, other.observations)
        for field in OTHER_FIELDS:
            assert th.equal(getattr(sample, field), getattr(other, field)), field
            assert getattr(sample, field).dtype == getattr(other, field).dtype, field


@pytest.mark.parametrize("brought", [True, False], ids=["brought", "left"])
@pytest.mark.parametrize("name", ["array", "dict"])
def test_samples_with_what_the_policy_would_do_are_the_same_ones(
    name: str, brought: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(autograd, "is_worth_bringing", lambda *_: brought)
    monkeypatch.setattr(autograd, "DESCRIBED_AT_ONCE", 4)
    ours, theirs = BUFFERS[name](), BUFFERS[name]()
    policy_class = MultiInputActorCriticPolicy if name == "dict" else ActorCriticPolicy
    policy = policy_class(ours.observation_space, ours.action_space, lambda _: 1e-3)
    rollout = SamplesOfRollout(ours, th.device("cpu"), policy)
    assert rollout.why_kl_is_estimated == ""
    described, expected = batches_of(rollout, 4), batches_of(theirs, 4)
    assert len(described) == len(expected)
    for batch, other in zip(described, expected, strict=True):
        assert_equal_observations(batch.samples.observations, other.observations)
        assert th.equal(batch.samples.actions, other.actions)
        assert th.equal(batch.returns, other.returns)
        with th.no_grad():
            now = describe_distribution(policy.get_distribution(other.observations))
        th.testing.assert_close(batch.old_distributions, now)


def test_observations_are_described_on_the_policys_device() -> None:
    policy = ActorCriticPolicy(VECTOR, spaces.Box(-1, 1, (2,)), lambda _: 1e-3).to("meta")
    with autograd.without_validation():
        described = autograd.describe_policy(policy, np.zeros((3, 2), np.float32))
    assert described is not None
    assert (described.device.type, described.shape) == ("meta", (3, 4))


def test_parts_of_observations_that_are_not_equally_many_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autograd, "DESCRIBED_AT_ONCE", 2)
    policy = MultiInputActorCriticPolicy(DICT, spaces.Discrete(2), lambda _: 1e-3)
    with pytest.raises(ValueError, match="shorter"):
        autograd.describe_policy(policy, {"place": np.zeros(4, np.int64), "x": np.zeros((2, 2), np.float32)})


def test_why_a_divergence_can_only_be_estimated_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = ActorCriticPolicy(VECTOR, spaces.Box(-1, 1, (2,)), lambda _: 1e-3)
    rollout = SamplesOfRollout(full_buffer(buffer_class=OwnGet), th.device("cpu"), policy)
    assert rollout.why_kl_is_estimated == "OwnGet passes over its content in its own way"
    monkeypatch.setattr(autograd, "describe_distribution", lambda _: None)
    rollout = SamplesOfRollout(full_buffer(), th.device("cpu"), policy)
    assert rollout.why_kl_is_estimated == "DiagGaussianDistribution has no closed form of it"


@pytest.mark.parametrize("name", ["array", "dict"])
def test_samples_and_their_rows_lie_on_the_device_that_was_asked_for(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pick = mock.Mock(wraps=autograd._pick)
    monkeypatch.setattr(autograd, "_pick", pick)
    for sample in batches_of(SamplesOfRollout(BUFFERS[name](), th.device("meta")), 4):
        observations = sample.observations if name == "dict" else {"": sample.observations}
        tensors = [*observations.values(), *(getattr(sample, field) for field in OTHER_FIELDS)]
        assert {tensor.device.type for tensor in (*tensors, pick.call_args.args[1])} == {"meta"}


@pytest.mark.parametrize("name", [name for name in BUFFERS if name != "dict"])
@pytest.mark.parametrize("batch_size", [4, 5, 15, 100], ids="batches_of_{}".format)
def test_columns_for_the_closed_form_are_sb3s_samples_preprocessed(name: str, batch_size: int) -> None:
    from stable_baselines3.common.preprocessing import preprocess_obs

    ours, theirs = BUFFERS[name](), BUFFERS[name]()
    space = ours.observation_space
    columns = batches_of(ColumnsOfRollout(ours, NetworkInputs(space, normalize_images=True)), batch_size)
    expected = batches_of(theirs, batch_size)
    assert len(columns) == len(expected)
    for column, other in zip(columns, expected, strict=True):
        order = column_order = np.arange(len(other.returns))
        if batch_size >= N_STEPS * N_ENVS:  # a single minibatch, in which order means nothing
            order, column_order = np.argsort(other.returns.numpy()), np.argsort(column.returns)
        preprocessed = preprocess_obs(other.observations, space).flatten(1).numpy()
        np.testing.assert_array_equal(column.observations.T[column_order], preprocessed[order])
        np.testing.assert_array_equal(column.actions.T[column_order], other.actions[order])
        for field in OTHER_FIELDS[1:]:
            ours_now, theirs_now = getattr(column, field)[column_order], getattr(other, field)[order]
            np.testing.assert_array_equal(ours_now, theirs_now, err_msg=field)


def test_a_single_minibatch_draws_from_numpys_random_stream_as_sb3_does() -> None:
    batches_of(ColumnsOfRollout(full_buffer(), NetworkInputs(VECTOR, normalize_images=True)), N_STEPS * N_ENVS)
    ours = np.random.random(4)
    batches_of(full_buffer(), N_STEPS * N_ENVS)
    np.testing.assert_array_equal(ours, np.random.random(4))


@pytest.mark.parametrize("name", BUFFERS)
def test_buffer_is_left_as_sb3_leaves_it(name: str) -> None:
    ours, theirs = BUFFERS[name](), BUFFERS[name]()
    flatten(ours)
    batches_of(theirs, 4)
    assert set(vars(ours)) == set(vars(theirs))
    for attribute, left in vars(theirs).items():
        if isinstance(left, dict):
            for key, part in left.items():
                np.testing.assert_array_equal(vars(ours)[attribute][key], part)
        elif isinstance(left, np.ndarray):
            np.testing.assert_array_equal(vars(ours)[attribute], left, err_msg=attribute)
        elif isinstance(left, (int, bool, tuple)):
            assert vars(ours)[attribute] == left, attribute


def test_a_rollout_that_is_not_complete_is_refused() -> None:
    buffer = full_buffer()
    buffer.full = False
    with pytest.raises(AssertionError, match=r"^a rollout has to be collected first$"):
        flatten(buffer)


@pytest.mark.parametrize("way", ["autograd", "closed_form"])
def test_second_pass_is_shuffled_anew(way: str) -> None:
    buffer = full_buffer()
    rollout: Any = ColumnsOfRollout(buffer, NetworkInputs(VECTOR, normalize_images=True))
    if way == "autograd":
        rollout = SamplesOfRollout(buffer, th.device("cpu"))
    first, second = batches_of(rollout, 8, seed=1), batches_of(rollout, 8, seed=2)
    returns, returns_again = (np.concatenate([batch.returns for batch in batches]) for batches in (first, second))
    assert not np.array_equal(returns, returns_again)
    np.testing.assert_array_equal(np.sort(returns), np.sort(returns_again))


def test_pieces_of_a_long_rollout_are_cut_at_the_same_minibatches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sb3_ppo_scratch.updates.closed_form.BYTES_AT_ONCE", 8 * 10)  # ten observations
    inputs = NetworkInputs(VECTOR, normalize_images=True)
    expected = batches_of(full_buffer(), 4)
    columns = batches_of(ColumnsOfRollout(full_buffer(), inputs), 4)
    assert [len(column.returns) for column in columns] == [4, 4, 4, 3]
    for column, other in zip(columns, expected, strict=True):
        np.testing.assert_array_equal(column.observations.T, other.observations)
        np.testing.assert_array_equal(column.old_values, other.old_values)


def test_minibatches_that_take_more_memory_than_allowed_are_preprocessed_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sb3_ppo_scratch.updates.closed_form.BYTES_AT_ONCE", 1)
    sizes: list[int] = []

    class Inputs(NetworkInputs):
        def __call__(self, observations: np.ndarray, out: Any = None) -> np.ndarray:
            sizes.append(len(observations))
            return super().__call__(observations, out)

    batches_of(ColumnsOfRollout(full_buffer(), Inputs(VECTOR, normalize_images=True)), 4)
    assert sizes == [4, 4, 4, 3]


def test_a_minibatch_of_the_whole_rollout_is_not_shuffled_since_it_is_averaged_over() -> None:
    buffer = full_buffer()
    [columns] = batches_of(ColumnsOfRollout(buffer, NetworkInputs(VECTOR, normalize_images=True)), N_STEPS * N_ENVS)
    np.testing.assert_array_equal(columns.returns, buffer.returns.ravel())
    np.testing.assert_array_equal(columns.observations.T, buffer.observations)


def test_one_hot_codes_of_many_categories_are_never_all_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    space = spaces.Discrete(1000)
    sizes: list[int] = []
    preprocess = NetworkInputs.__call__

    def spy(self: NetworkInputs, observations: np.ndarray) -> np.ndarray:
        columns = preprocess(self, observations)
        sizes.append(columns.nbytes)
        return columns

    monkeypatch.setattr(NetworkInputs, "__call__", spy)
    buffer = full_buffer(space, spaces.Discrete(2), n_steps=2000)
    buffer.observations[...] = np.random.default_rng(0).integers(0, 1000, buffer.observations.shape)
    columns = batches_of(ColumnsOfRollout(buffer, NetworkInputs(space, normalize_images=True)), 64)
    assert sum(sizes) == 2000 * N_ENVS * 1000 * 4, "not every transition was encoded once"
    assert max(sizes) <= 2 * BYTES_AT_ONCE
    assert sum(len(column.returns) for column in columns) == 2000 * N_ENVS


# -- buffers that have a way of their own ------------------------------------------------------------------------------


class OwnGet(RolloutBuffer):
    """Passes over the rollout backwards."""

    def get(self, batch_size: int | None = None) -> Any:
        return reversed(list(super().get(batch_size)))


class OwnSamples(RolloutBuffer):
    """Changes what it yields."""

    def _get_samples(self, batch_inds: np.ndarray, env: Any = None) -> Any:
        return super()._get_samples(batch_inds, env)._replace(returns=th.full((len(batch_inds),), 7.0))


class OwnAdvantages(RolloutBuffer):
    """Changes what is not read here."""

    def compute_returns_and_advantage(self, last_values: th.Tensor, dones: np.ndarray) -> None:
        self.advantages[:] = 1.0


@pytest.mark.parametrize(
    ("buffer_class", "expected"),
    [
        (RolloutBuffer, True),
        (ScratchRolloutBuffer, True),
        (ScratchDictRolloutBuffer, True),
        (DictRolloutBuffer, True),
        (OwnAdvantages, True),
        (OwnGet, False),
        (OwnSamples, False),
    ],
)
def test_buffers_that_yield_their_content_otherwise_are_told_apart(
    buffer_class: type[RolloutBuffer], expected: bool
) -> None:
    space = DICT if issubclass(buffer_class, DictRolloutBuffer) else VECTOR
    assert is_passed_over_as_sb3_does(full_buffer(space, buffer_class=buffer_class)) is expected


def test_method_replaced_on_one_buffer_is_noticed() -> None:
    buffer = full_buffer()
    buffer.get = copy.copy(buffer.get)
    assert not is_passed_over_as_sb3_does(buffer)


def test_samples_of_a_buffer_with_its_own_get_are_its_own() -> None:
    ours, theirs = full_buffer(buffer_class=OwnGet), full_buffer(buffer_class=OwnGet)
    samples = batches_of(SamplesOfRollout(ours, th.device("cpu")), 4)
    expected = batches_of(theirs, 4)
    assert [len(sample.returns) for sample in samples] == [3, 4, 4, 4]
    for sample, other in zip(samples, expected, strict=True):
        assert th.equal(sample.returns, other.returns)
