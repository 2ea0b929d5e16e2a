"""Tests of `updates/flat_memory.py`: the oracle is torch's own optimiser on parameters that lie where they lay."""

import copy
import io
from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch as th

from sb3_ppo_scratch.updates import flat_memory, kernels
from sb3_ppo_scratch.updates.flat_memory import (
    FlatAdam,
    FlatMemory,
    FlatParameters,
    check_flat,
    keep_flat,
)
from sb3_ppo_scratch.updates.update import NotCoveredError

SHAPES = ((3, 2), (3,), (1, 3), ())


def make_parameters() -> list[th.nn.Parameter]:
    th.manual_seed(0)
    return [th.nn.Parameter(th.randn(shape)) for shape in SHAPES]


def set_gradients(parameters: list[th.nn.Parameter], seed: int) -> None:
    """Add to what is there, as a backward pass does."""
    generator = th.Generator().manual_seed(seed)
    for parameter in parameters:
        gradient = th.randn(parameter.shape, generator=generator)
        parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)


def flat_steps(memory: FlatMemory, n: int, *, first_seed: int = 0, fused: bool = False) -> None:
    for seed in range(first_seed, first_seed + n):
        memory.parameters.attach_gradients()
        memory.parameters.gradient.zero_()
        set_gradients(memory.parameters.parameters, seed)
        memory.adam.step(fused=fused)


def torch_steps(parameters: list[th.nn.Parameter], optimizer: th.optim.Optimizer, n: int, first_seed: int = 0) -> None:
    for seed in range(first_seed, first_seed + n):
        optimizer.zero_grad()
        set_gradients(parameters, seed)
        optimizer.step()


def assert_equal_parameters(ours: list[th.nn.Parameter], theirs: list[th.nn.Parameter], atol: float = 0.0) -> None:
    for one, other in zip(ours, theirs, strict=True):
        th.testing.assert_close(one, other, rtol=0, atol=atol)


# -- parameters --------------------------------------------------------------------------------------------------------


def test_parameters_of_a_group_keep_identity_values_and_shapes_and_lie_one_behind_the_other() -> None:
    parameters, before = make_parameters(), make_parameters()
    flat = FlatParameters([parameters])
    assert [tuple(parameter.shape) for parameter in parameters] == list(SHAPES)
    assert_equal_parameters(parameters, before)
    assert th.equal(flat.values, th.cat([parameter.detach().ravel() for parameter in before]))
    flat.values.zero_()
    assert all(not parameter.any() for parameter in parameters)
    assert all(parameter.requires_grad and parameter.is_leaf for parameter in parameters)


def test_groups_begin_at_multiples_of_64_bytes_with_zeros_that_stay_zeros_between_them() -> None:
    parameters, before = make_parameters(), make_parameters()
    groups = [parameters[:2], parameters[2:3], parameters[3:]]
    memory = keep_flat(None, groups, th.optim.Adam(parameters, lr=0.1))
    assert_equal_parameters(parameters, before)
    assert all(group[0].data_ptr() % 64 == 0 for group in groups)
    assert parameters[1].data_ptr() == parameters[0].data_ptr() + 4 * parameters[0].numel()
    flat_steps(memory, 3)
    between = th.ones(len(memory.parameters.values), dtype=th.bool)
    for parameter in parameters:
        start = (parameter.data_ptr() - memory.parameters.values.data_ptr()) // 4
        between[start : start + parameter.numel()] = False
    assert between.sum() > 16
    assert not memory.parameters.values[between].any()
    assert memory.parameters.is_current(parameters)


def test_gradients_are_pieces_of_the_flat_gradient_to_which_a_backward_pass_adds() -> None:
    parameters = make_parameters()
    flat = FlatParameters([parameters])
    flat.attach_gradients()
    sum((parameter.sum() for parameter in parameters), th.zeros(())).backward()
    assert flat.gradient.tolist() == [1.0] * len(flat.values)
    parameters[0].grad = None
    flat.attach_gradients()
    assert parameters[0].grad.tolist() == [[1.0, 1.0]] * 3


def _replace(parameters: list[th.nn.Parameter], index: int) -> None:
    parameters[index].data = parameters[index].data.clone()


@pytest.mark.parametrize(
    "disturb",
    [
        pytest.param(lambda parameters: _replace(parameters, 0), id="first_moved"),
        pytest.param(lambda parameters: _replace(parameters, 3), id="last_moved"),
        pytest.param(lambda parameters: parameters.pop(), id="one_less"),
        pytest.param(lambda parameters: parameters.reverse(), id="other_order"),
        pytest.param(
            lambda parameters: parameters.__setitem__(1, th.nn.Parameter(parameters[1].data)),
            id="another_on_its_memory",
        ),
        pytest.param(
            lambda parameters: th.nn.utils.vector_to_parameters(th.zeros(13), parameters), id="vector_to_parameters"
        ),
    ],
)
def test_parameters_that_moved_or_were_replaced_are_noticed(disturb: Callable[[Any], Any]) -> None:
    parameters = make_parameters()
    flat = FlatParameters([parameters])
    assert flat.is_current(parameters)
    disturb(parameters)
    assert not flat.is_current(parameters)


def test_gradients_are_taken_only_if_every_parameter_has_one() -> None:
    parameters = make_parameters()
    flat = FlatParameters([parameters])
    set_gradients(parameters, 0)
    expected = th.cat([parameter.grad.flatten() for parameter in parameters])
    assert flat.take_gradients() is True
    assert th.equal(flat.gradient, expected)
    parameters[2].grad = None
    assert flat.take_gradients() is False


@pytest.mark.parametrize("length", [1.0, 1e-6], ids="of_size_{}".format)
@pytest.mark.parametrize("max_norm", [1e-6, 0.1, 1e9, float("inf")], ids=str)
def test_gradient_is_clipped_as_torch_clips_it(max_norm: float, length: float) -> None:
    ours, theirs = make_parameters(), make_parameters()
    flat = FlatParameters([ours])
    for each in (ours, theirs):
        set_gradients(each, 0)
        for parameter in each:
            parameter.grad *= length
    flat.take_gradients()
    assert flat.clip_gradient(max_norm) == th.nn.utils.clip_grad_norm_(theirs, max_norm)
    for one, other in zip(ours, theirs, strict=True):
        th.testing.assert_close(one.grad, other.grad, rtol=1e-6, atol=0)


# -- Adam --------------------------------------------------------------------------------------------------------------

OPTIONS: dict[str, tuple[type[th.optim.Optimizer], dict[str, Any]]] = {
    "adam": (th.optim.Adam, {}),
    "adam_betas_eps": (th.optim.Adam, {"betas": (0.7, 0.9), "eps": 1e-3}),
    "adam_weight_decay": (th.optim.Adam, {"weight_decay": 0.1}),
    "adam_amsgrad": (th.optim.Adam, {"amsgrad": True}),
    "adam_maximize": (th.optim.Adam, {"maximize": True}),
    "adam_foreach": (th.optim.Adam, {"foreach": True}),
    "adam_fused": (th.optim.Adam, {"fused": True}),
    "adamw": (th.optim.AdamW, {"weight_decay": 0.2}),
    "adamw_everything": (
        th.optim.AdamW,
        {"weight_decay": 0.2, "amsgrad": True, "maximize": True, "betas": (0.8, 0.99)},
    ),
}


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("fused", [False, True], ids=["plain", "fused"])
def test_steps_equal_torchs_also_when_they_begin_and_end_with_torchs_own(name: str, fused: bool) -> None:
    optimizer_class, options = OPTIONS[name]
    ours, theirs = make_parameters(), make_parameters()
    our_optimizer, their_optimizer = (optimizer_class(each, lr=0.01, **options) for each in (ours, theirs))
    torch_steps(ours, our_optimizer, 3)
    flat_steps(keep_flat(None, [ours], our_optimizer), 3, first_seed=3, fused=fused)
    torch_steps(ours, our_optimizer, 3, first_seed=6)
    torch_steps(theirs, their_optimizer, 9)
    assert_equal_parameters(ours, theirs, atol=1e-6)
    for one, other in zip(ours, theirs, strict=True):
        for key, value in their_optimizer.state[other].items():
            th.testing.assert_close(our_optimizer.state[one][key], value, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("kernels_are_known", [True, False], ids=["called_directly", "by_torchs_function"])
@pytest.mark.parametrize("fused", [False, True], ids=["plain", "fused"])
def test_steps_of_one_vector_are_torchs_bit_for_bit(
    fused: bool, kernels_are_known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not kernels_are_known:
        monkeypatch.setattr(flat_memory, "FUSED_KERNELS", None)
    th.manual_seed(0)
    ours = th.nn.Parameter(th.randn(1000))
    theirs, others = (th.nn.Parameter(ours.detach().clone()) for _ in range(2))
    memory = keep_flat(None, [[ours]], th.optim.Adam([ours], lr=0.01))
    flat_steps(memory, 20, fused=fused)
    torch_steps([theirs], th.optim.Adam([theirs], lr=0.01, fused=fused, foreach=False), 20)
    torch_steps([others], th.optim.Adam([others], lr=0.01, fused=not fused, foreach=False), 20)
    assert th.equal(ours, theirs)
    assert not th.equal(ours, others), "both ways round alike: this shows nothing"


def test_torch_is_not_asked_for_its_kernels_over_lists_since_there_is_one_vector(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    adam = mock.Mock(wraps=flat_memory.adam)
    monkeypatch.setattr(flat_memory, "adam", adam)
    parameters = make_parameters()
    flat_steps(keep_flat(None, [parameters], th.optim.Adam(parameters)), 1)
    assert adam.call_args.kwargs["foreach"] is False


def test_learning_rate_changed_in_the_group_acts_at_the_next_step() -> None:
    parameters = make_parameters()
    optimizer = th.optim.Adam(parameters, lr=0.1)
    memory = keep_flat(None, [parameters], optimizer)
    optimizer.param_groups[0]["lr"] = 0.0
    before = memory.parameters.values.clone()
    flat_steps(memory, 1)
    assert th.equal(memory.parameters.values, before)


def test_state_dict_saved_and_loaded_into_an_ordinary_optimiser_goes_on_equally() -> None:
    ours, theirs = make_parameters(), make_parameters()
    our_optimizer, their_optimizer = th.optim.Adam(ours, lr=0.01), th.optim.Adam(theirs, lr=0.01)
    flat_steps(keep_flat(None, [ours], our_optimizer), 4)
    stream = io.BytesIO()
    th.save((our_optimizer.state_dict(), [parameter.data for parameter in ours]), stream)
    stream.seek(0)
    state, values = th.load(stream)
    their_optimizer.load_state_dict(state)
    for parameter, value in zip(theirs, values, strict=True):
        parameter.data = value
    flat_steps(keep_flat(None, [ours], our_optimizer), 2, first_seed=4)
    torch_steps(theirs, their_optimizer, 2, first_seed=4)
    assert_equal_parameters(ours, theirs, atol=1e-7)


# -- keeping it --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["parameters", "gradients", "step", "exp_avg", "exp_avg_sq"])
def test_memory_that_has_moved_with_all_its_views_is_noticed(what: str) -> None:
    parameters = make_parameters()
    optimizer = th.optim.Adam(parameters)
    memory = keep_flat(None, [parameters], optimizer)
    flat_steps(memory, 2)
    moved = {
        "parameters": parameters[0].data,
        "gradients": parameters[0].grad,
        **optimizer.state[parameters[0]],
    }
    moved[what].share_memory_()
    kept = keep_flat(memory, [parameters], optimizer)
    assert (kept.parameters is memory.parameters) == (what not in ("parameters", "gradients"))
    assert kept.adam is not memory.adam
    flat_steps(kept, 1)
    assert {float(optimizer.state[parameter]["step"]) for parameter in parameters} == {3.0}


def test_memory_of_the_step_count_is_the_cpus_whatever_the_default_device_is() -> None:
    parameters = make_parameters()
    with th.device("meta"):
        memory = keep_flat(None, [parameters], th.optim.Adam(parameters))
        assert kernels.empty((2, 2), np.dtype(np.float32)).shape == (2, 2)
    flat_steps(memory, 1)
    assert memory.parameters.values.isfinite().all()


@pytest.mark.parametrize("amsgrad", [False, True])
def test_memory_is_kept_as_long_as_nothing_moves(amsgrad: bool) -> None:
    parameters = make_parameters()
    optimizer = th.optim.Adam(parameters, amsgrad=amsgrad)
    memory = keep_flat(None, [parameters], optimizer)
    flat_steps(memory, 2)
    assert keep_flat(memory, [parameters], optimizer) is memory


@pytest.mark.parametrize(
    "disturb",
    [
        pytest.param(
            lambda parameters, optimizer: torch_steps(parameters, optimizer, 1, 9), id="step_of_the_optimiser"
        ),
        pytest.param(
            lambda parameters, optimizer: optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict())),
            id="load_state_dict",
        ),
        pytest.param(lambda parameters, optimizer: optimizer.state.clear(), id="state_cleared"),
        pytest.param(lambda parameters, optimizer: _replace(parameters, 2), id="parameter_moved"),
        pytest.param(
            lambda parameters, optimizer: optimizer.param_groups[0].update(betas=(0.5, 0.6), weight_decay=0.3),
            id="options_changed",
        ),
    ],
)
def test_steps_after_a_disturbance_equal_torchs_after_the_same_disturbance(disturb: Callable[..., Any]) -> None:
    ours, theirs = make_parameters(), make_parameters()
    our_optimizer, their_optimizer = th.optim.Adam(ours, lr=0.01), th.optim.Adam(theirs, lr=0.01)
    memory = keep_flat(None, [ours], our_optimizer)
    flat_steps(memory, 2)
    torch_steps(theirs, their_optimizer, 2)
    disturb(ours, our_optimizer)
    disturb(theirs, their_optimizer)
    flat_steps(keep_flat(memory, [ours], our_optimizer), 2, first_seed=2)
    torch_steps(theirs, their_optimizer, 2, first_seed=2)
    assert_equal_parameters(ours, theirs, atol=1e-7)


def test_amsgrad_switched_on_makes_new_memory() -> None:
    parameters = make_parameters()
    optimizer = th.optim.Adam(parameters)
    memory = keep_flat(None, [parameters], optimizer)
    flat_steps(memory, 1)
    optimizer.param_groups[0]["amsgrad"] = True
    flat_steps(keep_flat(memory, [parameters], optimizer), 1)
    assert optimizer.state[parameters[0]]["max_exp_avg_sq"].any()


def test_a_new_optimiser_makes_new_moments_on_the_same_parameters() -> None:
    parameters = make_parameters()
    memory = keep_flat(None, [parameters], th.optim.Adam(parameters))
    flat_steps(memory, 2)
    replaced = keep_flat(memory, [parameters], th.optim.AdamW(parameters))
    assert replaced.parameters is memory.parameters
    assert isinstance(replaced.adam, FlatAdam)
    assert replaced.adam is not memory.adam


# -- what cannot lie there ---------------------------------------------------------------------------------------------


class OwnAdam(th.optim.Adam):
    """A user's variant."""


def _adam(parameters: list[th.nn.Parameter], **options: Any) -> th.optim.Optimizer:
    return th.optim.Adam(parameters, **options)


def _with_step_hook(parameters: list[th.nn.Parameter]) -> th.optim.Optimizer:
    optimizer = th.optim.Adam(parameters)
    optimizer.register_step_post_hook(lambda *_: None)
    return optimizer


def _with_scheduler(parameters: list[th.nn.Parameter]) -> th.optim.Optimizer:
    optimizer = th.optim.Adam(parameters)
    th.optim.lr_scheduler.StepLR(optimizer, 1)
    return optimizer


def _frozen(parameters: list[th.nn.Parameter]) -> th.optim.Optimizer:
    parameters[1].requires_grad = False
    return th.optim.Adam(parameters)


def _half(parameters: list[th.nn.Parameter]) -> th.optim.Optimizer:
    parameters[1].data = parameters[1].data.half()
    return th.optim.Adam(parameters)


def _transposed(parameters: list[th.nn.Parameter]) -> th.optim.Optimizer:
    parameters[0].data = th.zeros(2, 3).T
    return th.optim.Adam(parameters)


def _moved_unequally_often(parameters: list[th.nn.Parameter]) -> th.optim.Optimizer:
    optimizer = th.optim.Adam(parameters)
    torch_steps(parameters, optimizer, 2)
    parameters[0].grad = None
    optimizer.step()
    return optimizer


def _some_never_moved(parameters: list[th.nn.Parameter]) -> th.optim.Optimizer:
    optimizer = th.optim.Adam(parameters)
    set_gradients(parameters[1:], 0)
    optimizer.step()
    return optimizer


def test_optimiser_that_has_not_moved_yet_is_accepted_and_left_alone_also_if_somebody_looked_at_its_state() -> None:
    parameters = make_parameters()
    optimizer = th.optim.Adam(parameters)
    assert optimizer.state[parameters[0]] == {}  # looking at what is not there makes it
    check_flat(parameters, optimizer)
    assert list(optimizer.state) == parameters[:1]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        pytest.param(lambda p: th.optim.SGD(p, lr=0.1), r"the optimiser SGD \(only Adam and AdamW\)", id="sgd"),
        pytest.param(th.optim.RMSprop, "the optimiser RMSprop", id="rmsprop"),
        pytest.param(OwnAdam, "the optimiser OwnAdam", id="subclass_of_adam"),
        pytest.param(lambda p: _adam([{"params": p[:2]}, {"params": p[2:]}]), "several parameter groups", id="groups"),
        pytest.param(lambda p: _adam(p[:-1]), "for other parameters than the policy's", id="not_all_parameters"),
        pytest.param(lambda p: _adam([*p, th.nn.Parameter(th.ones(1))]), "for other parameters", id="more_parameters"),
        pytest.param(lambda p: _adam(p, lr=th.tensor(0.1)), "options that are tensors", id="tensor_lr"),
        pytest.param(lambda p: _adam(p, capturable=True), "capturable or differentiable", id="capturable"),
        pytest.param(lambda p: _adam(p, differentiable=True), "capturable or differentiable", id="differentiable"),
        pytest.param(_with_step_hook, "hooks on the optimiser's steps", id="step_hook"),
        pytest.param(_with_scheduler, "hooks on the optimiser's steps", id="scheduler"),
        pytest.param(_frozen, "frozen parameters", id="frozen"),
        pytest.param(_half, "several dtypes or on several devices", id="dtypes"),
        pytest.param(_transposed, "not contiguous", id="not_contiguous"),
        pytest.param(_moved_unequally_often, "moved unequally often", id="unequal_steps"),
        pytest.param(_some_never_moved, "moved unequally often", id="some_never_moved"),
    ],
)
def test_what_cannot_be_one_vector_is_refused_by_name_and_left_where_it_is(
    make: Callable[[Any], th.optim.Optimizer], words: str
) -> None:
    parameters = make_parameters()
    optimizer = make(parameters)
    addresses = [parameter.data_ptr() for parameter in parameters]
    with pytest.raises(NotCoveredError, match=words):
        check_flat(parameters, optimizer)
    assert [parameter.data_ptr() for parameter in parameters] == addresses
