"""Tests of `state_tree`: what is read is what was written, to the last bit and type, and nothing else can be read."""

import enum
import json
import random
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from stable_baselines3.common.running_mean_std import RunningMeanStd

from sb3_ppo_scratch.checkpoints.random_states import read_random_states, write_random_states
from sb3_ppo_scratch.checkpoints.state_tree import DEEPEST, StateError, decode, encode, is_state

NUMBERS = st.sampled_from(["?", "i1", "u1", "<i8", "u4", "f2", "<f4", ">f4", "f8", "c8"]).map(np.dtype)
ARRAYS = NUMBERS.flatmap(lambda dtype: st_numpy.arrays(dtype, st_numpy.array_shapes(min_dims=0, min_side=0)))
TRANSPOSED = st_numpy.arrays("f4", (2, 3, 4)).flatmap(lambda array: st.permutations(range(3)).map(array.transpose))
SCALARS = NUMBERS.flatmap(lambda dtype: st_numpy.arrays(dtype, ()).map(lambda array: array[()]))
TENSORS = st_numpy.arrays(st.sampled_from(["?", "u1", "<i8", "f2", "<f4", "f8", "c8"]), (3, 2)).map(th.from_numpy)
SHORT_FLOATS = st_numpy.arrays("<i2", (3, 2)).map(lambda bits: th.from_numpy(bits).view(th.bfloat16))
LONG_LISTS = st.sampled_from([st.floats(), st.integers(), st.booleans(), st.floats(width=32).map(np.float32)]).flatmap(
    partial(st.lists, min_size=17, max_size=20)
)
KEYS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=2).map(tuple),
    max_leaves=3,
)
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | ARRAYS | TRANSPOSED | SCALARS | TENSORS
) | (SHORT_FLOATS | LONG_LISTS | st.sets(KEYS, max_size=3) | st.frozensets(KEYS, max_size=3))
FACTORIES = st.sampled_from([None, int, float, list, dict])


def containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """What is made of other states."""
    lists, dicts = st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)
    return (
        lists
        | dicts
        | lists.map(tuple)
        | st.builds(deque, lists, st.none() | st.integers(3, 5))
        | dicts.map(OrderedDict)
        | dicts.map(Counter)
        | st.builds(defaultdict, FACTORIES, dicts)
    )


STATES = st.recursive(LEAVES, containers, max_leaves=8)


def spelt(value: Any) -> tuple[str, Any]:
    """Say everything that makes up a state, so that `==` tells types and bits apart."""
    content: Any
    if isinstance(value, set | frozenset):
        content = sorted(map(repr, value))
    elif isinstance(value, list | tuple | deque):
        content = getattr(value, "maxlen", None), [*map(spelt, value)]
    elif isinstance(value, dict):
        content = getattr(value, "default_factory", None), [(spelt(key), spelt(each)) for key, each in value.items()]
    elif isinstance(value, th.Tensor):
        content = value.dtype, spelt((value.float() if value.dtype is th.bfloat16 else value).numpy())
    elif isinstance(value, np.ndarray | np.generic):
        content = value.dtype.str, value.shape, value.tobytes()
    else:
        content = repr(value)  # tells 0.0 from -0.0, and finds NaN the same
    return type(value).__name__, content


def same(one: Any, other: Any) -> bool:
    """Whether two states have the same types and bits."""
    return spelt(one) == spelt(other)


@given(STATES)
def test_what_is_read_is_what_was_written(state: Any) -> None:
    assert is_state(state)
    assert same(decode(*encode(state)), state)


class Level(enum.IntEnum):
    """An integer that is more than one."""

    HIGH = 1


NO_STATES = (
    object(),
    Level.HIGH,
    type("Text", (str,), {})("a"),
    type("Pairs", (dict,), {})(a=1),
    namedtuple("Point", "x")(1),
    b"bytes",
    1j,
    Path("folder"),
    range(3),
    lambda: 0,
    2**3000,
    defaultdict(lambda: 0),
    np.array(["a"]),
    np.array([None]),
    np.zeros(2, dtype=[("a", "i4")]),
    np.ma.masked_array([1, 2], [False, True]),
    np.str_("a"),
    np.datetime64(0, "s"),
    type("Number", (np.float64,), {})(1),
    th.nn.Parameter(th.ones(1)),
    th.ones(2, 2).to_sparse(),
    th.empty(2, device="meta"),
    th.zeros(2, dtype=th.float8_e5m2),
)


@given(st.recursive(LEAVES | st.sampled_from(NO_STATES), containers, max_leaves=6))
def test_what_is_said_to_be_state_can_be_written_and_nothing_else(value: Any) -> None:
    if is_state(value):
        assert same(decode(*encode(value)), value)
    else:
        with pytest.raises(TypeError, match="a checkpoint holds"):
            encode(value)


@pytest.mark.parametrize("value", NO_STATES, ids=lambda value: type(value).__name__)
def test_what_is_no_state_is_refused(value: Any) -> None:
    assert not is_state({"inside": [value]})
    with pytest.raises(TypeError, match="a checkpoint holds"):
        encode({"inside": [value]})


def test_what_lies_in_itself_or_too_deep_is_refused() -> None:
    ring: list[Any] = [1]
    ring.append({"ring": ring})
    deep: Any = 0
    for _ in range(DEEPEST):
        deep = {"": deep}
    assert same(decode(*encode(deep)), deep)
    for value in (ring, [deep]):
        assert not is_state(value)
        with pytest.raises(TypeError, match="no lists and dicts in themselves or more than 50 deep"):
            encode(value)


def test_what_lies_in_two_places_is_no_ring() -> None:
    shared = [1.5]
    assert decode(*encode([shared, {"a": shared}])) == [[1.5], {"a": [1.5]}]


def test_generators_go_on_where_they_were() -> None:
    sources = [np.random.PCG64, np.random.PCG64DXSM, np.random.MT19937, np.random.Philox, np.random.SFC64]
    arrays: list[Any] = [np.random.Generator(source(3)) for source in sources]
    arrays += [np.random.RandomState(3), np.random.RandomState(np.random.PCG64(3))]
    for generator in arrays:
        generator.standard_normal(3)
        generator.integers(9) if isinstance(generator, np.random.Generator) else generator.randint(9)
        other = decode(*encode(generator))
        assert type(other) is type(generator)
        assert same(other.standard_normal(5), generator.standard_normal(5))
    python, torch = random.Random(3), th.Generator().manual_seed(3)
    python.gauss(0, 1)  # the second of the pair waits
    others = decode(*encode([python, torch]))
    assert [others[0].gauss(0, 1), others[0].random()] == [python.gauss(0, 1), python.random()]
    assert same(th.randn(5, generator=others[1]), th.randn(5, generator=torch))


def test_generators_of_other_makes_are_refused() -> None:
    class OwnBits(np.random.PCG64):
        @property
        def state(self) -> dict[str, Any]:
            return {"bit_generator": "OwnBits"}

    assert not is_state(np.random.Generator(OwnBits()))


def test_running_moments_are_kept() -> None:
    moments = RunningMeanStd(shape=(2,))
    moments.update(np.arange(6.0).reshape(3, 2))
    other = decode(*encode({"obs": moments}))["obs"]
    assert type(other) is RunningMeanStd
    assert same([other.mean, other.var, other.count], [moments.mean, moments.var, moments.count])


def test_axes_keep_their_order_in_memory() -> None:
    images = np.zeros((2, 8, 9, 3), dtype=np.uint8).transpose(0, 3, 1, 2)  # as SB3's VecTransposeImage gives them
    assert decode(*encode(images)).strides == images.strides
    assert decode(*encode(th.from_numpy(images))).stride() == th.from_numpy(images).stride()
    assert decode(*encode(np.zeros((4, 6))[:, ::2])).strides == (24, 8)


def test_long_lists_of_numbers_are_no_text() -> None:
    state = {"lengths": list(range(10_000)), "returns": [0.1] * 10_000, "scalars": [np.float32(1)] * 10_000}
    text, data = encode(state)
    assert len(text) < 200
    assert len(data) == 10_000 * (8 + 8 + 4)
    assert same(decode(text, data), state)


def test_gpus_are_left_alone_where_nothing_uses_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(th.cuda, "is_available", lambda: True)
    monkeypatch.setattr(th.cuda, "device_count", lambda: 1)
    for name in ("get_rng_state_all", "get_rng_state", "set_rng_state"):
        monkeypatch.setattr(th.cuda, name, lambda *_: pytest.fail("CUDA was started"))
    state = read_random_states()
    write_random_states({**state, "cuda": [state["torch"]]})
    assert state["cuda"] == []


def test_random_states_and_optimizers_can_be_written() -> None:
    optimizer = th.optim.Adam([th.nn.Parameter(th.ones(3))])
    optimizer.param_groups[0]["params"][0].grad = th.ones(3)
    optimizer.step()
    state = [optimizer.state_dict()["state"], np.random.default_rng(0).bit_generator.state, th.get_rng_state()]
    assert same(decode(*encode(state)), state)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "no state of a run"),
        ('["object", 1]', "unknown kind"),
        ("[[]]", "no state of a run"),
        ("[]", "no state of a run"),
        ('["dict", 1]', "no state of a run"),
        ('["array", "<f8", [2], 8]', "16 bytes at 8 in 16"),
        ('["array", "<f8", [1], -8]', "at -8"),
        ('["array", "<f8", [-1], 0]', "shape"),
        ('["array", "<f8", [true], 0]', "shape"),
        ('["array", "<f8", [1000000000000, 1000000000000], 0]', "in 16"),
        ('["array", "O", [1], 0]', "an array of 'O'"),
        ('["array", "<U4", [1], 0]', "an array of"),
        ('["array", "no type", [1], 0]', "no state of a run"),
        ('["array", "<f8"]', "no state of a run"),
        ('["array", "<f8", [2], 0, [1]]', "no state of a run"),
        ('["tensor", ">f8", [2], 0]', "no state of a run"),
        ('["scalars", "<f8", [], 0]', "no state of a run"),
        ('["set", ["list", ["list"]]]', "no state of a run"),
        ('["deque", ["list", -1, ["list"]]]', "no state of a run"),
        ('["defaultdict", ["list", "eval", ["dict"]]]', "no state of a run"),
        ('["generator", ["dict", ["bit_generator", "eval"]]]', "no state of a random generator"),
        ('["torch generator", ["array", "u1", [3], 0]]', "no state of a run"),
        ('["random", 1]', "no state of a run"),
        ('["set"]', "no state of a run"),
        ("[" * 100_000, "no state of a run"),
    ],
)
def test_anything_else_is_refused(text: str, message: str) -> None:
    with pytest.raises(StateError, match=message):
        decode(text, bytes(16))


@given(st.text() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps), st.binary())
def test_nothing_but_state_errors_comes_of_other_texts(text: str, data: bytes) -> None:
    try:
        state = decode(text, data)
    except StateError:
        return
    assert is_state(state)
