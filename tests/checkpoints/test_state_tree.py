"""Tests of `state_tree`: what is read is what was written, to the last bit and type, and nothing else can be read."""

import json
from typing import Any

import numpy as np
import pytest
import torch as th
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from sb3_ppo_scratch.checkpoints.state_tree import StateError, decode, encode, is_state

NUMBERS = st.sampled_from(["?", "i1", "u1", "<i8", "u4", "f2", "<f4", ">f4", "f8", "c8"]).map(np.dtype)
ARRAYS = NUMBERS.flatmap(lambda dtype: st_numpy.arrays(dtype, st_numpy.array_shapes(min_dims=0, min_side=0)))
SCALARS = NUMBERS.flatmap(lambda dtype: st_numpy.arrays(dtype, ()).map(lambda array: array[()]))
TENSORS = st_numpy.arrays(st.sampled_from(["u1", "<i8", "<f4", "f8"]), (3, 2)).map(th.from_numpy)
LONG_LISTS = st.lists(st.floats(), min_size=17, max_size=20)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | ARRAYS | SCALARS | TENSORS | LONG_LISTS
STATES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text() | st.integers(), inner, max_size=3)
    ),
    max_leaves=8,
)


def same(one: Any, other: Any) -> bool:
    """Whether two states have the same types and bits."""
    if type(one) is not type(other):
        return False
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, th.Tensor):
        return same(one.numpy(), other.numpy())
    if isinstance(one, np.ndarray | np.generic):
        return (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())
    return repr(one) == repr(other)  # tells 0.0 from -0.0, and finds NaN the same


@given(STATES)
def test_what_is_read_is_what_was_written(state: Any) -> None:
    assert is_state(state)
    assert same(decode(*encode(state)), state)


def test_random_states_and_optimizers_can_be_written() -> None:
    optimizer = th.optim.Adam([th.nn.Parameter(th.ones(3))])
    optimizer.param_groups[0]["params"][0].grad = th.ones(3)
    optimizer.step()
    state = [optimizer.state_dict()["state"], np.random.default_rng(0).bit_generator.state, th.get_rng_state()]
    assert same(decode(*encode(state)), state)


@pytest.mark.parametrize("value", [object(), {1.5: 0}, {True: 0}, np.array(["a"]), np.array([None]), b"", {1, 2}])
def test_what_is_no_state_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="a checkpoint"):
        encode([value])


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
        ('["tensor", ">f8", [2], 0]', "no state of a run"),
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
