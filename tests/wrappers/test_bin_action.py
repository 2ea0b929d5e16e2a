"""`BinAction`."""

import itertools
import json
import math
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sb3_ppo_scratch.wrappers import BinAction
from tests.wrappers.scripted_env import ScriptedEnv

SYMMETRIC_HIGHS = [1.0, 2.0, 0.3, 1e-3, 7.7e5]


def with_space(space: Any) -> ScriptedEnv:
    return ScriptedEnv(action_space=space)


def box(low: Any = -1.0, high: Any = 1.0, shape: tuple[int, ...] | None = (2,), dtype: Any = np.float32) -> ScriptedEnv:
    return with_space(Box(low, high, shape, dtype))


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    """Bounded float Boxes of any shape, whose bounds need rounding."""
    dtype = draw(st.sampled_from([np.float16, np.float32, np.float64]))
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=3, max_side=3))
    low = draw(hnp.arrays(np.float64, shape, elements=st.floats(-100.0, 100.0)))
    width = draw(hnp.arrays(np.float64, shape, elements=st.floats(1.0, 100.0)))
    return Box(low.astype(dtype), (low + width).astype(dtype), dtype=dtype)


@settings(max_examples=60, deadline=None)
@given(space=boxes(), bins=st.integers(2, 9), data=st.data())
def test_every_action_lies_in_the_box_with_its_dtype_and_shape(space, bins, data):
    env = BinAction(with_space(space), bins)
    indices = data.draw(hnp.arrays(np.int64, int(math.prod(space.shape)), elements=st.integers(0, bins - 1)))
    action = env.action(indices)
    assert isinstance(action, np.ndarray)
    assert (action.dtype, action.shape) == (space.dtype, space.shape)
    assert action in space


@settings(max_examples=60, deadline=None)
@given(space=boxes(), bins=st.integers(2, 9))
def test_first_and_last_atom_are_the_bounds_and_the_steps_between_are_even(space, bins):
    env = BinAction(with_space(space), bins)
    n_dimensions = math.prod(space.shape)
    assert (env.action([0] * n_dimensions) == space.low).all()
    assert (env.action([bins - 1] * n_dimensions) == space.high).all()
    for atoms, low, high in zip(env.atoms, space.low.ravel(), space.high.ravel(), strict=True):
        even_step = (float(high) - float(low)) / (bins - 1)
        rounding = 4 * float(np.finfo(space.dtype).eps) * max(abs(float(low)), abs(float(high)))
        np.testing.assert_allclose(np.diff(atoms.astype(np.float64)), even_step, rtol=0, atol=rounding)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("high", [1.0, 2.0, 0.3])
@pytest.mark.parametrize("bins", [3, 5, 7, 11, 101])
def test_odd_count_on_symmetric_range_has_an_exact_zero_in_the_middle(bins, high, dtype):
    [atoms] = BinAction(box(-high, high, (1,), dtype), bins).atoms
    assert len(atoms) == bins
    assert atoms[bins // 2] == 0.0
    assert not np.signbit(atoms[bins // 2])


@pytest.mark.parametrize("high", SYMMETRIC_HIGHS)
@pytest.mark.parametrize("bins", [2, 3, 4, 6, 10, 15, 100])
def test_atoms_of_symmetric_range_are_exactly_antisymmetric(bins, high):
    [atoms] = BinAction(box(-high, high, (1,), np.float64), bins).atoms
    assert (atoms == -atoms[::-1]).all()


def test_bounds_near_the_largest_float_do_not_overflow():
    largest = float(np.finfo(np.float64).max)
    [atoms] = BinAction(box(-largest, largest, (1,), np.float64), 3).atoms
    assert atoms.tolist() == [-largest, 0.0, largest]


def test_count_per_dimension_follows_row_major_order():
    env = BinAction(box(0.0, 1.0, (2, 2)), [2, 3, 5, 2])
    assert env.action_space == MultiDiscrete([2, 3, 5, 2])
    assert env.action([1, 1, 1, 0]).tolist() == [[1.0, 0.5], [0.25, 0.0]]


def test_explicit_atoms_of_different_lengths_reach_the_env():
    env = BinAction(gym.make("LunarLanderContinuous-v3"), [[0, 0.25, 0.5, 0.75, 1], [-1, 0, 1]])
    assert env.action_space == MultiDiscrete([5, 3])
    assert [atoms.tolist() for atoms in env.atoms] == [[0.0, 0.25, 0.5, 0.75, 1.0], [-1.0, 0.0, 1.0]]
    assert env.action(np.array([3, 0])).tolist() == [0.75, -1.0]


def test_counts_and_atoms_may_be_mixed():
    assert BinAction(box(), [2, [-0.5, 0.5]]).action([0, 1]).tolist() == [-1.0, 0.5]


def test_atom_that_exceeds_the_bound_only_before_rounding_is_accepted():
    assert float(np.float32(0.7)) < 0.7
    env = BinAction(box(-0.7, 0.7, (1,)), [[-0.7, 0.0, 0.7]])
    assert env.action([2]) in env.env.action_space


@pytest.mark.filterwarnings("error")
def test_atom_too_large_for_the_dtype_is_outside_the_bounds_without_a_warning():
    with pytest.raises(ValueError, match=r"bins\[0\]=\[0.0, 1000000.0\] must lie within the action space's bounds"):
        BinAction(box(-1.0, 1.0, (1,), np.float16), [[0.0, 1e6]])


@pytest.mark.skipif(np.finfo(np.longdouble).eps == np.finfo(np.float64).eps, reason="long double is double here")
def test_atoms_of_a_long_double_box_are_as_exact_as_its_dtype():
    above_one = np.longdouble(1) + np.finfo(np.longdouble).eps
    [thirds] = BinAction(box(0.0, 3.0, (1,), np.longdouble), 4).atoms
    [bounds] = BinAction(with_space(Box(above_one, 2 * above_one, (1,), np.longdouble)), 2).atoms
    assert thirds.tolist() == [0, 1, 2, 3]
    assert bounds.tolist() == [above_one, 2 * above_one]


def test_as_many_combinations_as_int64_numbers_are_possible_and_not_one_more():
    counts = [49, 73, 127, 337, 92737, 649657]  # the prime factors of 2**63 - 1
    env = BinAction(box(shape=(6,), dtype=np.float64), counts, flat=True)
    assert env.action_space.n == 2**63 - 1
    assert env.action(2**63 - 2).tolist() == [1.0] * 6
    with pytest.raises(ValueError, match=f"has {2**63} combinations, more than int64 holds"):
        BinAction(box(shape=(63,)), 2, flat=True)


def test_atoms_are_read_only_and_actions_are_not():
    env = BinAction(box(), 3)
    with pytest.raises(ValueError, match="read-only"):
        env.atoms[0][0] = 5.0
    action = env.action([0, 0])
    action[:] = 9.0
    assert env.action([0, 0]).tolist() == [-1.0, -1.0]


def test_flat_index_counts_combinations_in_row_major_order():
    env = BinAction(box(), [[-1.0, 0.0, 1.0], [-0.5, 0.5]], flat=True)
    assert env.action_space == Discrete(6)
    combinations = itertools.product([-1.0, 0.0, 1.0], [-0.5, 0.5])
    assert [tuple(env.action(i).tolist()) for i in range(6)] == list(combinations)


@settings(max_examples=30, deadline=None)
@given(counts=st.lists(st.integers(2, 5), min_size=1, max_size=5), data=st.data())
def test_flat_action_equals_multi_discrete_action_of_the_ravelled_index(counts, data):
    indices = [data.draw(st.integers(0, count - 1)) for count in counts]
    multi = BinAction(box(shape=(len(counts),)), counts)
    flat = BinAction(box(shape=(len(counts),)), counts, flat=True)
    assert (flat.action(np.ravel_multi_index(indices, counts)) == multi.action(indices)).all()


@pytest.mark.parametrize("index", [4, np.int64(4), np.int32(4), np.uint8(4), np.array(4)])
def test_flat_action_may_be_any_integer_type(index):
    assert BinAction(box(), 3, flat=True).action(index).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("indices", [[2, 0], (2, 0), np.array([2, 0]), np.array([2, 0], dtype=np.uint8)])
def test_multi_discrete_action_may_be_any_sequence_of_integers(indices):
    assert BinAction(box(), 3).action(indices).tolist() == [1.0, -1.0]


@pytest.mark.parametrize("flat", [False, True])
def test_zero_dimensional_box_gets_a_zero_dimensional_action(flat):
    env = BinAction(with_space(Box(np.float32(-1.0), np.float32(1.0), ())), 3, flat=flat)
    action = env.action(2 if flat else [2])
    assert action in env.env.action_space
    assert action.shape == ()


def test_step_passes_the_atoms_to_the_env():
    env = BinAction(box(), 5)
    env.reset()
    env.step(np.array([3, 0]))
    assert [action.tolist() for action in env.unwrapped.received_actions] == [[0.5, -1.0]]


@pytest.mark.parametrize(
    ("flat", "action", "error", "message"),
    [
        (False, [3, 0], ValueError, r"action=\[3, 0\] is out of range: indices run from 0 to below \[3 3\]"),
        (False, [0, -1], ValueError, r"action=\[0, -1\] is out of range"),
        (False, [0], ValueError, r"action=\[0\] has shape \(1,\), expected \(2,\)"),
        (False, [0, 0, 0], ValueError, r"has shape \(3,\), expected \(2,\)"),
        (False, [[0, 0]], ValueError, r"has shape \(1, 2\), expected \(2,\)"),
        (False, 0, ValueError, r"action=0 has shape \(\), expected \(2,\)"),
        (False, [0.0, 1.0], TypeError, r"action=\[0.0, 1.0\] must hold integers, not dtype float64"),
        (False, [True, False], TypeError, "must hold integers, not dtype bool"),
        (False, [None, 0], TypeError, "must hold integers, not dtype object"),
        (True, 9, ValueError, "action=9 is out of range: indices run from 0 to below 9"),
        (True, -1, ValueError, "action=-1 is out of range"),
        (True, 2**63, ValueError, "is out of range"),
        (True, [0], ValueError, r"action=\[0\] has shape \(1,\), expected \(\)"),
        (True, 1.0, TypeError, "action=1.0 must hold integers"),
        (True, True, TypeError, "action=True must hold integers"),
    ],
)
def test_impossible_action_raises_instead_of_wrapping_or_clamping(flat, action, error, message):
    env = BinAction(box(), 3, flat=flat)
    with pytest.raises(error, match=message):
        env.action(action)


@pytest.mark.parametrize(
    ("bins", "error", "message"),
    [
        (1, ValueError, "bins=1 must be at least 2"),
        (0, ValueError, "bins=0 must be at least 2"),
        (-3, ValueError, "bins=-3 must be at least 2"),
        (True, TypeError, "bins=True must be an integer, not of type bool"),
        (3.0, TypeError, "bins=3.0 must be an integer, not of type float: give a count, or one list of atoms"),
        (None, TypeError, "bins=None must be an integer"),
        ("3", TypeError, "bins='3' must be an integer"),
        ([3], ValueError, r"bins=\[3\] has 1 entries for 2 action dimensions"),
        ([3, 3, 3], ValueError, "has 3 entries for 2 action dimensions"),
        ([3, 1], ValueError, r"bins\[1\]=1 must be at least 2"),
        ([3, True], TypeError, r"bins\[1\]=True must be an integer"),
        ([3, 2.0], TypeError, r"bins\[1\]=2.0 must be an integer"),
        ([[0.0], [0.0, 1.0]], ValueError, r"bins\[0\]=\[0.0\] must hold at least 2 atoms"),
        ([[], 3], ValueError, r"bins\[0\]=\[\] must hold at least 2 atoms"),
        ([[0.0, True], 3], TypeError, r"bins\[0\]\[1\]=True must be a number"),
        ([[0.0, "1"], 3], TypeError, r"bins\[0\]\[1\]='1' must be a number"),
        ([[0.0, math.nan], 3], ValueError, r"bins\[0\]\[1\]=nan must be finite"),
        ([[0.0, math.inf], 3], ValueError, r"bins\[0\]\[1\]=inf must be finite"),
        ([[0.5, 0.0], 3], ValueError, r"bins\[0\]=\[0.5, 0.0\] must give strictly ascending atoms"),
        ([[0.0, 0.0], 3], ValueError, r"bins\[0\]=\[0.0, 0.0\] must give strictly ascending atoms"),
        ([[0.0, 1e-50], 3], ValueError, "without duplicates after rounding to float32"),
        (
            [[0.0, 1.5], 3],
            ValueError,
            r"bins\[0\]=\[0.0, 1.5\] must lie within the action space's bounds \[-1.0, 1.0\]",
        ),
        ([3, [-1e300, 0.0]], ValueError, r"bins\[1\]=\[-1e\+300, 0.0\] must lie within"),
        ([[[0.0, 1.0]], 3], TypeError, r"bins\[0\]\[0\]=\[0.0, 1.0\] must be a number"),
    ],
)
def test_impossible_bins_raise_and_name_the_value(bins, error, message):
    with pytest.raises(error, match=message):
        BinAction(box(), bins)


@pytest.mark.parametrize(
    ("space", "error", "message"),
    [
        (Discrete(3), TypeError, r"needs a Box action space, not Discrete\(3\)"),
        (Dict({"a": Box(-1, 1)}), TypeError, "needs a Box action space, not Dict"),
        (Box(0, 5, (2,), np.int64), TypeError, "has dtype int64, which is discrete already"),
        (Box(0, 1, (2,), np.bool_), TypeError, "has dtype bool, which is discrete already"),
        (Box(-np.inf, np.inf, (2,)), ValueError, "needs finite bounds, not Box"),
        (Box(-1.0, np.inf, (2,)), ValueError, "needs finite bounds, not Box"),
        (Box(np.array([-1.0, -np.inf], np.float32), np.float32(1.0), (2,)), ValueError, "needs finite bounds, not Box"),
        (Box(-1.0, 1.0, (0,)), ValueError, "at least one action dimension"),
        (Box(1.0, 1.0, (2,)), ValueError, r"bins\[0\]=3 must give strictly ascending atoms"),
    ],
)
def test_space_that_cannot_be_binned_raises(space, error, message):
    with pytest.raises(error, match=message):
        BinAction(with_space(space), 3)


def test_count_too_fine_for_the_dtype_raises():
    narrowest = Box(-3.25, np.nextafter(-3.25, 0.0), (1,), np.float64)
    with pytest.raises(ValueError, match=r"bins\[0\]=7 must give strictly ascending.*float64"):
        BinAction(with_space(narrowest), 7)
    with pytest.raises(ValueError, match=r"bins\[0\]=5000 must give strictly ascending.*float16"):
        BinAction(box(1.0, 2.0, (1,), np.float16), 5000)


@pytest.mark.parametrize("flat", [1, None, "true"])
def test_flat_that_is_not_a_bool_raises(flat):
    with pytest.raises(TypeError, match=r"flat=.* must be True or False"):
        BinAction(box(), 3, flat=flat)


def test_flat_space_beyond_int64_raises_and_the_largest_below_does_not():
    with pytest.raises(ValueError, match=f"has {2**63} combinations, more than int64 holds"):
        BinAction(box(shape=(63,)), 2, flat=True)
    env = BinAction(box(shape=(62,)), 2, flat=True)
    assert (env.action(2**62 - 1) == 1.0).all()


@pytest.mark.parametrize(
    ("bins", "recorded"),
    [
        (np.int64(3), 3),
        (np.array([3]), [3]),
        ((3,), [3]),
        ([np.array([-2.0, 0.0, 2.0])], [[-2.0, 0.0, 2.0]]),
        (np.array([[-2, 0, 2]]), [[-2.0, 0.0, 2.0]]),
    ],
)
def test_bins_are_recorded_in_plain_types(bins, recorded):
    env = BinAction(gym.make("Pendulum-v1"), bins)
    assert env.action_space == MultiDiscrete([3])
    kwargs = json.loads(env.spec.to_json())["additional_wrappers"][-1]["kwargs"]
    assert kwargs == {"bins": recorded, "flat": False}
