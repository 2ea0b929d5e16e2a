"""Tests of `updates/kernels.py`: each operation by NumPy and by torch, against its definition in float64."""

import functools
import math
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest
import torch as th

from sb3_ppo_scratch.updates import kernels
from sb3_ppo_scratch.updates.kernels import Activation, Array, Operation
from tests.updates.reference import use_kernels_of

SHAPES = [(1, 1), (3, 1), (1, 7), (5, 9), (64, 33)]


@pytest.fixture(params=["numpy", "torch"], autouse=True)
def library(request: pytest.FixtureRequest) -> Any:
    with use_kernels_of(request.param):
        yield request.param


def normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape)


def is_torchs(operation: Operation) -> bool:
    function: Any = operation.func if isinstance(operation, functools.partial) else operation
    return "numpy" not in type(function).__module__ and function not in (np.dot, kernels._through_tanh)


@pytest.mark.parametrize("inner", [1, 4, 50])
@pytest.mark.parametrize("shape", SHAPES)
def test_product_is_the_sum_over_the_inner_dimension_also_of_transposed_views(
    shape: tuple[int, int], inner: int, library: str
) -> None:
    left, right = normal(shape[0], inner), normal(inner, shape[1], seed=1)
    expected = [[math.fsum(left[i] * right[:, j]) for j in range(shape[1])] for i in range(shape[0])]
    for a in (left, np.asfortranarray(left)):
        for b in (right, np.asfortranarray(right)):
            out = np.full(shape, np.nan)
            operation = kernels.matrix_product(a, b, out)
            assert is_torchs(operation) == (library == "torch")
            operation()
            np.testing.assert_allclose(out, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("shape", SHAPES)
def test_bias_is_added_to_every_column(shape: tuple[int, int], library: str) -> None:
    outputs, bias = normal(*shape), normal(shape[0], 1, seed=1)
    expected = [[outputs[i, j] + bias[i, 0] for j in range(shape[1])] for i in range(shape[0])]
    operation = kernels.add_bias(outputs, bias)
    assert is_torchs(operation) == (library == "torch")
    operation()
    np.testing.assert_array_equal(outputs, expected)


DEFINITIONS: dict[Activation, tuple[Callable[[float], float], Callable[[float], float]]] = {
    "tanh": (math.tanh, lambda x: 1 / math.cosh(x) ** 2),
    "relu": (lambda x: max(x, 0.0), lambda x: float(x > 0)),
}


@pytest.mark.parametrize("kind", DEFINITIONS)
@pytest.mark.parametrize("shape", SHAPES)
def test_activations_and_the_way_back_are_function_and_derivative(kind: Activation, shape: tuple[int, int]) -> None:
    function, derivative = DEFINITIONS[kind]
    inputs, gradient = normal(*shape), normal(*shape, seed=1)
    inputs[0, 0] = 0.0
    expected = gradient * np.vectorize(derivative)(inputs)
    values = inputs.copy()
    kernels.activate(kind, values)()
    np.testing.assert_allclose(values, np.vectorize(function)(inputs), rtol=1e-14, atol=1e-15)
    kernels.differentiate(kind, values, gradient)()
    np.testing.assert_allclose(gradient, expected, rtol=1e-12, atol=1e-14)


def test_operations_work_on_rows_of_larger_arrays_and_leave_the_others_alone() -> None:
    whole, gradient = normal(6, 8), normal(6, 8, seed=1)
    before, gradient_before = whole.copy(), gradient.copy()
    kernels.activate("tanh", whole[2:4])()
    kernels.differentiate("tanh", whole[2:4].copy(), gradient[2:4])()
    others = [0, 1, 4, 5]
    np.testing.assert_array_equal(whole[others], before[others])
    np.testing.assert_array_equal(gradient[others], gradient_before[others])
    assert not np.array_equal(whole[2:4], before[2:4])
    assert not np.array_equal(gradient[2:4], gradient_before[2:4])


def test_an_operation_reads_what_its_arrays_hold_when_it_is_carried_out() -> None:
    left, right, out = np.zeros((2, 2)), np.eye(2), np.zeros((2, 2))
    operation = kernels.matrix_product(left, right, out)
    left[:] = [[1.0, 2.0], [3.0, 4.0]]
    operation()
    assert out.tolist() == [[1.0, 2.0], [3.0, 4.0]]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_empty_arrays_begin_where_a_cache_line_does(dtype: Any) -> None:
    arrays = [kernels.empty((3, n), np.dtype(dtype)) for n in (1, 7, 100, 100_000)]
    assert [array.ctypes.data % 64 for array in arrays] == [0] * 4
    assert {array.dtype for array in arrays} == {np.dtype(dtype)}


class TestSizes:
    """Which library is taken for which size, thresholds as they are."""

    @pytest.fixture(autouse=True)
    def library(self) -> None:
        """Leave the thresholds alone."""

    @pytest.mark.parametrize(("inner", "by_torch"), [(63, False), (64, True)])
    def test_products_of_half_a_million_multiplications_go_to_torch(self, inner: int, by_torch: bool) -> None:
        arrays = [np.zeros(shape, np.float32) for shape in ((64, inner), (inner, 128), (64, 128))]
        operation = cast("functools.partial[Any]", kernels.matrix_product(*arrays))
        assert (operation.func is th.mm) == by_torch

    @pytest.mark.parametrize(("batch", "by_torch"), [(63, False), (64, True)])
    def test_biases_and_derivatives_of_four_thousand_elements_go_to_torch(self, batch: int, by_torch: bool) -> None:
        outputs, bias = np.zeros((64, batch), np.float32), np.zeros((64, 1), np.float32)
        assert is_torchs(kernels.add_bias(outputs, bias)) == by_torch
        assert is_torchs(kernels.differentiate("tanh", outputs, outputs)) == by_torch
