"""A policy's parameters, their gradients and Adam's moments, each as one piece of memory.

What is here: moving them there without anyone noticing, telling whether they are still there, and steps that treat them
as one vector. What is not: where gradients come from (`autograd.py`, `closed_form.py`).

Parameters, `parameter.grad` and the optimiser's state stay what they were for everyone else: tensors, now views of the
flat ones. So `state_dict`, saving, loading and torch's own optimiser go on as before. Whatever puts other tensors in
their place (`load_state_dict` of an optimiser, `.to()`, a replaced policy) is noticed by `is_current`.
"""

import operator
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch as th
from torch.optim.adam import adam
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks

from sb3_ppo_scratch.updates.kernels import aligned
from sb3_ppo_scratch.updates.update import NotCoveredError

NORM_EPSILON = 1e-6
"""Added to the gradient's norm where it is divided by (value: torch's `clip_grad_norm_`)."""

MOMENTS = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")
"""Adam's names for its running averages; the last exists only with `amsgrad`."""

FUSED_KERNELS = (th._fused_adam_, th._fused_adamw_) if hasattr(th, "_fused_adamw_") else None
"""What torch's functional Adam and AdamW call if fused; called directly, a step takes 8 us in place of 19."""


class FlatParameters:
    """Parameters and gradients as two vectors.

    Args:
        groups: Parameters of one dtype on one device, in the order that they shall have in memory. Each group begins at
            a multiple of `kernels.ALIGNMENT`, with zeros before it; within a group there is nothing between them.
    """

    def __init__(self, groups: Sequence[Sequence[th.nn.Parameter]]) -> None:
        self.parameters, self._starts, end = [], [], 0
        for group in groups:
            end = aligned(end)
            for parameter in group:
                self.parameters.append(parameter)
                self._starts.append(end)
                end += parameter.numel()
        dtype, device = self.parameters[0].dtype, self.parameters[0].device
        self.values = th.zeros(end, dtype=dtype, device=device)
        self.gradient = th.zeros_like(self.values)
        self._gradients = self.views_of(self.gradient)
        for parameter, place in zip(self.parameters, self.views_of(self.values), strict=True):
            place.copy_(parameter.detach())
            parameter.data = place
        self._addresses = [*map(th.Tensor.data_ptr, (self.gradient, *self.parameters))]

    def views_of(self, vector: th.Tensor) -> list[th.Tensor]:
        """Cut a vector into pieces of the parameters' shapes.

        Args:
            vector: Shape (n,).

        Returns:
            Views, each with the shape of its parameter.
        """
        return [
            vector[start : start + parameter.numel()].view(parameter.shape)
            for start, parameter in zip(self._starts, self.parameters, strict=True)
        ]

    def is_current(self, parameters: Sequence[th.nn.Parameter]) -> bool:
        """Tell whether these are still the parameters, and still lie in this memory.

        Args:
            parameters: In the same order.

        Returns:
            Whether both hold.
        """
        return (
            len(parameters) == len(self.parameters)
            and all(map(operator.is_, parameters, self.parameters))
            and all(map(th.Tensor.is_contiguous, parameters))
            and self.is_in_place()
        )

    def is_in_place(self) -> bool:
        """Tell whether parameters and gradient still lie where they were put.

        By addresses, since memory can also move with everything that looks at it (`share_memory_`, which sending a
        tensor to another process calls, too).

        Returns:
            Whether they do.
        """
        return [*map(th.Tensor.data_ptr, (self.gradient, *self.parameters))] == self._addresses

    def take_gradients(self) -> bool:
        """Collect the parameters' gradients in `gradient`.

        Returns:
            Whether every parameter had one.
        """
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        if len(gradients) < len(self.parameters):
            return False
        th._foreach_copy_(self._gradients, gradients)
        self.attach_gradients()
        return True

    def forget_gradients(self) -> None:
        """Set every parameter's `grad` to None, as the optimiser's `zero_grad` does in ten times the time."""
        for parameter in self.parameters:
            parameter.grad = None

    def attach_gradients(self) -> None:
        """Make every parameter's `grad` a piece of `gradient`, so that others find it where they look for it."""
        for parameter, gradient in zip(self.parameters, self._gradients, strict=True):
            if parameter.grad is not gradient:
                parameter.grad = gradient

    def clip_gradient(self, max_norm: float) -> th.Tensor:
        """Scale the gradient down to a norm, as torch's `clip_grad_norm_` does, without waiting for the device.

        Args:
            max_norm: Largest L2 norm.

        Returns:
            The norm before, 0-d.
        """
        # A norm of norms, as torch's: that of the whole vector has other roundings.
        norm: th.Tensor = th.linalg.vector_norm(th.stack(th._foreach_norm(self._gradients)))
        self.gradient.mul_((max_norm / (norm + NORM_EPSILON)).clamp(max=1.0))
        return norm


class FlatAdam:
    """Adam on flat memory: torch's own arithmetic, on one vector in place of many small tensors.

    Args:
        optimizer: The policy's Adam or AdamW, whose state, if there is one, is taken over.
        flat: The parameters.
    """

    def __init__(self, optimizer: th.optim.Optimizer, flat: FlatParameters) -> None:
        self.optimizer, self._flat = optimizer, flat
        names = MOMENTS if optimizer.param_groups[0]["amsgrad"] else MOMENTS[:2]
        self._moments = {name: th.zeros_like(flat.values) for name in names}
        self._steps = th.zeros(len(flat.parameters), device="cpu")  # as torch's own; a default device may be set
        pieces = {name: flat.views_of(vector) for name, vector in self._moments.items()}
        self._places = [
            {"step": self._steps[index]} | {name: pieces[name][index] for name in names}
            for index in range(len(flat.parameters))
        ]
        for parameter, places in zip(flat.parameters, self._places, strict=True):
            state = optimizer.state[parameter]
            for name, place in places.items():
                if name in state:
                    place.copy_(state[name])
                state[name] = place
        self._count = self._steps[0].clone()
        # The same memory: NumPy takes a tenth of the time to look at a few numbers.
        self._steps_array, self._count_array = self._steps.numpy(), self._count.numpy()
        self._addresses = [*map(th.Tensor.data_ptr, self.vectors())]

    def is_current(self, optimizer: th.optim.Optimizer) -> bool:
        """Tell whether this is still the optimiser, and its state still lies in this memory.

        Args:
            optimizer: The policy's optimiser now.

        Returns:
            Whether both hold.
        """
        if optimizer is not self.optimizer or bool(optimizer.param_groups[0]["amsgrad"]) != (len(self._moments) == 3):
            return False
        if [*map(th.Tensor.data_ptr, self.vectors())] != self._addresses:  # then arrays of it look at free memory
            return False
        return all(
            all(optimizer.state[parameter].get(name) is place for name, place in places.items())
            for parameter, places in zip(self._flat.parameters, self._places, strict=True)
        ) and bool((self._steps_array == self._count_array).all())

    def vectors(self) -> list[th.Tensor]:
        """List everything that a step changes, parameters excepted, each of shape (n,)."""
        return [*self._moments.values(), self._steps, self._count]

    def step(self, *, fused: bool) -> None:
        """Move the parameters along the flat gradient.

        Args:
            fused: Whether to use torch's fused kernel: faster, and equal to the other but for rounding.
        """
        group = self.optimizer.param_groups[0]
        beta1, beta2 = group["betas"]
        averages, squares, *largest_squares = self._moments.values()
        vectors = [self._flat.values], [self._flat.gradient], [averages], [squares], largest_squares, [self._count]
        options = {name: group[name] for name in ("lr", "weight_decay", "eps", "amsgrad", "maximize")}
        options |= {"beta1": beta1, "beta2": beta2}
        if fused and FUSED_KERNELS is not None:
            self._count_array += 1
            FUSED_KERNELS[group["decoupled_weight_decay"]](*vectors, **options)
        else:
            decoupled = group["decoupled_weight_decay"]
            adam(*vectors, foreach=False, fused=fused, decoupled_weight_decay=decoupled, **options)
        self._steps.copy_(self._count)


class FlatMemory(NamedTuple):
    """A policy's parameters and its optimiser's state on flat memory."""

    parameters: FlatParameters
    adam: FlatAdam


def keep_flat(
    memory: FlatMemory | None, groups: Sequence[Sequence[th.nn.Parameter]], optimizer: th.optim.Optimizer
) -> FlatMemory:
    """Make sure that parameters and their optimiser's state lie in flat memory, moving what does not.

    Args:
        memory: Where they were last time; None: nowhere.
        groups: All of the policy's, as for `FlatParameters`; `check_flat` has nothing against them.
        optimizer: The policy's optimiser.

    Returns:
        The same memory if nothing has moved.
    """
    if memory is None or not memory.parameters.is_current([parameter for group in groups for parameter in group]):
        flat = FlatParameters(groups)
    elif memory.adam.is_current(optimizer):
        return memory
    else:
        flat = memory.parameters
    return FlatMemory(flat, FlatAdam(optimizer, flat))


def check_flat(parameters: Sequence[th.nn.Parameter], optimizer: th.optim.Optimizer) -> None:
    """Refuse what cannot lie in flat memory.

    Args:
        parameters: All of the policy's.
        optimizer: The policy's optimiser.

    Raises:
        NotCoveredError: If there is such.
    """
    _check_parameters(parameters)
    _check_optimizer(optimizer, parameters)
    steps = {float(optimizer.state.get(parameter, {}).get("step", 0)) for parameter in parameters}
    if len(steps) > 1:
        raise NotCoveredError("parameters that the optimiser has moved unequally often")


def _check_parameters(parameters: Sequence[th.nn.Parameter]) -> None:
    """Refuse parameters that cannot be pieces of one vector.

    Args:
        parameters: Any shapes.

    Raises:
        NotCoveredError: If there are such.
    """
    if not all(parameter.requires_grad for parameter in parameters):
        raise NotCoveredError("frozen parameters")
    if len({(parameter.dtype, parameter.device) for parameter in parameters}) != 1:
        raise NotCoveredError("parameters of several dtypes or on several devices")
    if not all(parameter.is_contiguous() for parameter in parameters):
        raise NotCoveredError("parameters that are not contiguous")


def _check_optimizer(optimizer: th.optim.Optimizer, parameters: Sequence[th.nn.Parameter]) -> None:
    """Refuse optimisers that do more than Adam does with its plain options.

    Args:
        optimizer: The policy's optimiser.
        parameters: All of the policy's.

    Raises:
        NotCoveredError: If it does.
    """
    if type(optimizer) not in (th.optim.Adam, th.optim.AdamW):
        raise NotCoveredError(f"the optimiser {type(optimizer).__name__} (only Adam and AdamW)")
    if len(optimizer.param_groups) != 1:
        raise NotCoveredError("an optimiser with several parameter groups")
    hooks = optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks
    if hooks or "step" in vars(optimizer) or _global_optimizer_pre_hooks or _global_optimizer_post_hooks:
        raise NotCoveredError("hooks on the optimiser's steps")
    group = optimizer.param_groups[0]
    if {*map(id, group["params"])} != {*map(id, parameters)}:
        raise NotCoveredError("an optimiser for other parameters than the policy's")
    _check_options(group)


def _check_options(group: Mapping[str, Any]) -> None:
    """Refuse options of Adam that call for more than plain numbers.

    Args:
        group: The optimiser's parameter group.

    Raises:
        NotCoveredError: If there are such.
    """
    if any(isinstance(option, th.Tensor) for option in (*group.values(), *group["betas"])):
        raise NotCoveredError("optimiser options that are tensors")
    if group["capturable"] or group["differentiable"]:
        raise NotCoveredError("an optimiser that is capturable or differentiable")
