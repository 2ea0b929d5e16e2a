"""What an MLP does with its arrays: NumPy for small arrays, torch's kernels for large ones, on the same memory.

What is here: one function per operation, which looks at the arrays' sizes once and returns the operation, ready to be
carried out many times. What is not: which operations a network consists of (`mlp.py`).

NumPy's calls cost half of torch's, but OpenBLAS takes 1.1 to 1.5 times as long as torch's library for the products of
a minibatch, and adding a column to a matrix takes NumPy three times as long (docs/decisions.md). No autograd here:
torch is used as a library of loops.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import numpy as np
import torch as th
from numpy.typing import NDArray

Array = NDArray[Any]
"""An array of float32, or, where gradients are checked, of float64."""
Activation = Literal["tanh", "relu"]
Operation = Callable[[], object]
"""Reads and writes the arrays that it was made for."""

LARGE_PRODUCT = 2**19
"""Multiplications of a matrix product from which on torch is faster."""
LARGE_ARRAY = 2**12
"""Elements from which on torch is faster at what is done elementwise."""


ALIGNMENT = 16
"""Elements; 64 bytes of float32, a cache line. Where a matrix begins elsewhere than at a multiple of this, products
round differently: a model and its file would predict values that differ in the last digit."""

_TORCH_DTYPES = {np.dtype(np.float32): th.float32, np.dtype(np.float64): th.float64}


def aligned(n_elements: int) -> int:
    """Round up to where the next array in the same memory may begin.

    Args:
        n_elements: Elements so far.

    Returns:
        The next multiple of `ALIGNMENT`.

    Example:
        >>> [aligned(n_elements) for n_elements in (0, 1, 16, 17)]
        [0, 16, 16, 32]
    """
    return -(-n_elements // ALIGNMENT) * ALIGNMENT


def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Make an array that begins where a cache line does, which NumPy's large ones do not.

    Args:
        shape: Its shape.
        dtype: float32 or float64.

    Returns:
        The array, not filled.
    """
    array: Array = th.empty(shape, dtype=_TORCH_DTYPES[dtype], device="cpu").numpy()
    return array


def matrix_product(left: Array, right: Array, out: Array) -> Operation:
    """Prepare `out = left right`.

    Args:
        left: Shape (m, k).
        right: Shape (k, n).
        out: Shape (m, n), contiguous.

    Returns:
        The operation.
    """
    if out.size * len(right) < LARGE_PRODUCT:
        return partial(np.dot, left, right, out)
    return partial(th.mm, th.from_numpy(left), th.from_numpy(right), out=th.from_numpy(out))


def add_bias(outputs: Array, bias: Array) -> Operation:
    """Prepare `outputs += bias`.

    Args:
        outputs: Shape (n_outputs, batch).
        bias: Shape (n_outputs, 1).

    Returns:
        The operation.
    """
    if outputs.size < LARGE_ARRAY:
        return partial(np.add, outputs, bias, outputs)
    return partial(th.from_numpy(outputs).add_, th.from_numpy(bias))


def activate(kind: Activation, values: Array) -> Operation:
    """Prepare the replacement of values by their tanh, or of negative values by 0.

    Args:
        kind: Which of the two.
        values: Any shape.

    Returns:
        The operation.
    """
    if kind == "tanh":
        return partial(np.tanh, values, values)
    return th.from_numpy(values).relu_


def differentiate(kind: Activation, values: Array, gradient: Array) -> Operation:
    """Prepare the way back through an activation: derivatives by `y = f(x)` become derivatives by x.

    For `y = tanh(x)` they are multiplied by `1 - y^2`, for `y = max(x, 0)` they become 0 where y is 0.

    Args:
        kind: Which `f`.
        values: What it returned, any shape; may be used up.
        gradient: The derivatives, same shape.

    Returns:
        The operation.
    """
    if kind == "tanh" and values.size < LARGE_ARRAY:
        return partial(_through_tanh, values, gradient)
    derivatives, outputs = th.from_numpy(gradient), th.from_numpy(values)
    if kind == "tanh":
        return partial(th.ops.aten.tanh_backward.grad_input, derivatives, outputs, grad_input=derivatives)
    return partial(th.ops.aten.threshold_backward.grad_input, derivatives, outputs, 0, grad_input=derivatives)


def _through_tanh(values: Array, gradient: Array) -> None:
    """Turn derivatives by `y = tanh(x)`, any shape, into derivatives by x: times `1 - y^2`. Uses up y."""
    values *= values
    values *= gradient
    gradient -= values
