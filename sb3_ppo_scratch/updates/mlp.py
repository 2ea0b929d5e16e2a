"""The actor-critic MLP without autograd: forward pass and chain rule, on arrays that are views of flat memory.

What is here: everything between observations and the outputs of actor and critic. What is not: the loss at their end
(`closed_form.py`, `heads.py`), how a policy's layers are found (`trace_layers.py`) and the memory (`flat_memory.py`).

Arrays are laid out (features, batch), so that a layer reads `f(W x + b)` as on paper, and so that actor and critic, one
above the other, are one array: what is done elementwise is done for both at once. Layers of the same depth form a
level; where both networks read the same input, their weights, adjacent in memory, are multiplied as one matrix. The
derivation of the backward pass stands in docs/closed-form.md.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from sb3_ppo_scratch.updates import kernels
from sb3_ppo_scratch.updates.kernels import Activation, Array, Operation

BATCH_SIZES_KEPT = 6
"""Arrays are kept for so many: minibatches, the last of them, environments, episodes that were cut at once, and two for
what describes a whole rollout's distributions."""


class LayerShape(NamedTuple):
    """A linear layer, what follows it, and which of the policy's parameters are its own."""

    n_inputs: int
    n_outputs: int
    activation: Activation | None
    weight: int
    """Position of the weight, shape (n_outputs, n_inputs), in the list of the policy's parameters."""
    bias: int
    """Position of the bias, shape (n_outputs,), in that list."""


class ActorCriticShape(NamedTuple):
    """Both networks, from the input to the outputs; layers that both begin with are shared."""

    actor: tuple[LayerShape, ...]
    critic: tuple[LayerShape, ...]
    """Empty if there is none: then its outputs are zeros."""

    def levels(self) -> list[list[LayerShape]]:
        """Group the layers by depth.

        Returns:
            For each depth the actor's and the critic's layer: one entry where they share it or one network has ended.
        """
        depths = range(max(len(self.actor), len(self.critic)))
        return [list(dict.fromkeys(network[depth] for network in self if depth < len(network))) for depth in depths]

    def parameter_groups(self) -> list[list[int]]:
        """Order the parameters as `ActorCriticMlp` wants them in memory.

        Returns:
            Positions in the list of the policy's parameters, level by level: the weights, in one group if they are
            multiplied as one matrix, else one by one, then the biases in one group.
        """
        groups: list[list[int]] = []
        for depth, layers in enumerate(self.levels()):
            weights = [layer.weight for layer in layers]
            is_one_matrix = len(_places_of_products(self, depth)) == 1
            groups += [weights] if is_one_matrix else [[weight] for weight in weights]
            groups.append([layer.bias for layer in layers])
        return groups


class _Product(NamedTuple):
    """A matrix, the loss's derivative by it, and which rows of a level's input it turns into which of its output."""

    weight: Array
    weight_gradient: Array
    inputs: slice
    outputs: slice


class _Level(NamedTuple):
    """The layers of one depth; their outputs, shape (n_outputs, batch), lie one above the other."""

    products: list[_Product]
    bias: Array
    bias_gradient: Array
    activations: list[tuple[slice, Activation]]


class _Rows(NamedTuple):
    """Some rows of one level."""

    depth: int
    rows: slice


class _LevelAtWork:
    """A level's arrays for one batch size and what is done with them, made once.

    Fresh arrays of this size would be fresh pages of memory each time, and making a view takes as long as a small
    product.

    Args:
        level: The level.
        inputs: What it reads, shape (n_inputs, batch).
        input_gradient: Where the loss's derivatives by that go, same shape; None: nobody wants them.
    """

    def __init__(self, level: _Level, inputs: Array, input_gradient: Array | None = None) -> None:
        batch, dtype = inputs.shape[1], level.bias.dtype
        shape = (len(level.bias), batch)
        self.outputs, self.gradient = kernels.empty(shape, dtype), kernels.empty(shape, dtype)
        self._products: list[Operation] = []
        self._products_back: list[Operation] = []
        for product in level.products:
            self._prepare_product(product, inputs, input_gradient)
        spans = [(kind, self.outputs[rows], self.gradient[rows]) for rows, kind in level.activations]
        self._after_products = [
            kernels.add_bias(self.outputs, level.bias),
            *(kernels.activate(kind, outputs) for kind, outputs, _ in spans),
        ]
        # The derivative by a bias is the sum over the batch of those by `W x + b`.
        self._before_products_back = [
            *(kernels.differentiate(kind, outputs, gradient) for kind, outputs, gradient in spans),
            kernels.matrix_product(self.gradient, np.ones((batch, 1), dtype), level.bias_gradient),
        ]

    def _prepare_product(self, product: _Product, inputs: Array, input_gradient: Array | None) -> None:
        """Prepare a product forwards and backwards.

        With `d` the derivative by `W x + b`, that by `W` is `d x^T`, and that by `x` is `W^T d`.

        Args:
            product: Which.
            inputs: Shape (n_inputs, batch).
            input_gradient: Where the derivatives by them go, same shape; None: nobody wants them.
        """
        weight, weight_gradient, rows, output_rows = product
        outputs, gradient = self.outputs[output_rows], self.gradient[output_rows]
        self._products.append(kernels.matrix_product(weight, inputs[rows], outputs))
        self._products_back.append(kernels.matrix_product(gradient, inputs[rows].T, weight_gradient))
        if input_gradient is not None:
            self._products_back.append(kernels.matrix_product(weight.T, gradient, input_gradient[rows]))

    def forward(self) -> None:
        """Compute the outputs."""
        for operation in self._products:
            operation()
        for operation in self._after_products:
            operation()

    def backward(self) -> None:
        """Carry derivatives on from the outputs to the parameters and the inputs; uses up the outputs."""
        for operation in self._before_products_back:
            operation()
        for operation in self._products_back:
            operation()


class _AtWork(NamedTuple):
    """A whole network's arrays for one batch size."""

    inputs: Array
    """Shape (n_inputs, batch)."""
    levels: list[_LevelAtWork]


class ActorCriticMlp:
    """Actor and critic as MLPs over the same input, with or without shared first layers.

    Args:
        shape: The layers.
        parameters: Memory of all parameters, laid out by `FlatParameters` in groups as `shape.parameter_groups()` says,
            shape (n,); looked at, not copied.
        gradient: Where `backward` writes the loss's derivatives by them, shape (n,).
    """

    def __init__(self, shape: ActorCriticShape, parameters: Array, gradient: Array) -> None:
        self._levels = list(_build_levels(shape, parameters, gradient))
        self._n_inputs = shape.actor[0].n_inputs
        self._ends = _find_ends(shape)
        self._at_work: dict[int, _AtWork] = {}

    def input_memory(self, batch: int) -> Array:
        """Give the place where observations spare `forward` a copy.

        Args:
            batch: The batch size.

        Returns:
            Shape (n_inputs, batch); another after the memory for some batch sizes has been given back.
        """
        return self._at_work_for(batch).inputs

    def forward(self, inputs: Array) -> tuple[Array, Array]:
        """Compute the outputs, and keep what lies between for `backward`.

        Args:
            inputs: Observations, shape (n_inputs, batch).

        Returns:
            The actor's outputs, shape (n_outputs, batch), and the critic's, shape (1, batch); the next call with this
            batch size overwrites them.
        """
        place, self._current = self._at_work_for(inputs.shape[1])
        if inputs is not place:
            np.copyto(place, inputs)
        for level in self._current:
            level.forward()
        outputs, *values = [self._current[depth].outputs[rows] for depth, rows in self._ends]
        return outputs, values[0] if values else np.zeros((1, inputs.shape[1]), outputs.dtype)

    def output_gradients(self) -> tuple[Array, Array]:
        """Give the places where `backward` expects the loss's derivatives by what the last `forward` returned.

        Returns:
            By the actor's outputs, shape (n_outputs, batch), and by the critic's, shape (1, batch).
        """
        by_outputs, *by_values = [self._current[depth].gradient[rows] for depth, rows in self._ends]
        return by_outputs, by_values[0] if by_values else np.empty((1, by_outputs.shape[1]), by_outputs.dtype)

    def backward(self) -> None:
        """Write the loss's derivatives by all parameters, from `output_gradients`; uses up what `forward` kept."""
        for level in reversed(self._current):
            level.backward()

    def _at_work_for(self, batch: int) -> _AtWork:
        """Find or make the arrays for a batch size."""
        if batch not in self._at_work:
            if len(self._at_work) == BATCH_SIZES_KEPT:
                self._at_work.clear()
            inputs = kernels.empty((self._n_inputs, batch), self._levels[0].bias.dtype)
            levels = [_LevelAtWork(self._levels[0], inputs)]
            for level in self._levels[1:]:
                levels.append(_LevelAtWork(level, levels[-1].outputs, levels[-1].gradient))
            self._at_work[batch] = _AtWork(inputs, levels)
        return self._at_work[batch]


def _rows_of_level(layers: Sequence[LayerShape]) -> dict[LayerShape, slice]:
    """Lay the outputs of one level's layers one above the other.

    Args:
        layers: The level's layers.

    Returns:
        Each layer's rows.
    """
    rows, start = {}, 0
    for layer in layers:
        rows[layer] = slice(start, start + layer.n_outputs)
        start += layer.n_outputs
    return rows


def _find_ends(shape: ActorCriticShape) -> list[_Rows]:
    """Find the rows that hold the networks' outputs.

    Args:
        shape: The layers.

    Returns:
        The actor's and, if there is one, the critic's.
    """
    levels = shape.levels()
    ends = [(len(network) - 1, network[-1]) for network in shape if network]
    return [_Rows(depth, _rows_of_level(levels[depth])[layer]) for depth, layer in ends]


def _places_of_products(shape: ActorCriticShape, depth: int) -> list[tuple[slice, slice]]:
    """Tell what is multiplied with what at one level.

    Args:
        shape: The layers.
        depth: The level, 0 at the input.

    Returns:
        Rows of the level's input and of its output, for each matrix: one matrix if both networks read the same rows.
    """
    rows = _rows_of_level(shape.levels()[depth])
    places = {}
    for network in shape:
        if depth < len(network):
            layer = network[depth]
            inputs = slice(0, layer.n_inputs)
            if depth > 0:
                inputs = _rows_of_level(shape.levels()[depth - 1])[network[depth - 1]]
            places[layer] = (inputs, rows[layer])
    (first_inputs, first_outputs), *others = places.values()
    if all(inputs == first_inputs for inputs, _ in others):
        return [(first_inputs, slice(0, sum(layer.n_outputs for layer in rows)))]
    return [(first_inputs, first_outputs), *others]


def _activations_of_level(layers: Sequence[LayerShape]) -> list[tuple[slice, Activation]]:
    """Tell which rows of one level's outputs go through which activation.

    Args:
        layers: The level's layers.

    Returns:
        Rows and activation: one entry if all layers have the same.
    """
    rows = _rows_of_level(layers)
    kinds = {layer.activation for layer in layers}
    if len(kinds) == 1:
        rows = {layers[0]: slice(None)}
    return [(span, layer.activation) for layer, span in rows.items() if layer.activation is not None]


def _build_levels(shape: ActorCriticShape, parameters: Array, gradient: Array) -> Iterator[_Level]:
    """Cut each level's weights and biases out of the flat memory.

    Args:
        shape: The layers.
        parameters: Shape (n,).
        gradient: Shape (n,).

    Yields:
        The levels, from the input on.
    """
    start = 0

    def take(*dimensions: int) -> tuple[Array, Array]:
        nonlocal start
        span = slice(start, start + math.prod(dimensions))
        start = kernels.aligned(span.stop)
        return parameters[span].reshape(dimensions), gradient[span].reshape(dimensions)

    for depth, layers in enumerate(shape.levels()):
        products = [
            _Product(*take(outputs.stop - outputs.start, inputs.stop - inputs.start), inputs, outputs)
            for inputs, outputs in _places_of_products(shape, depth)
        ]
        n_outputs = sum(layer.n_outputs for layer in layers)
        yield _Level(products, *take(n_outputs, 1), _activations_of_level(layers))
