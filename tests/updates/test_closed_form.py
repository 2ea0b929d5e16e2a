"""Tests of `updates/closed_form.py`: the objective's gradient by hand against autograd's and finite differences.

Autograd differentiates `reference.loss_of_minibatch`, whose terms `test_losses.py` compares with closed forms.
Everything is in float64, so that what is left is the derivation and not rounding.
"""

import math
from copy import deepcopy
from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from hypothesis import event, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import RolloutBufferSamples

from sb3_ppo_scratch.networks import remove_critic
from sb3_ppo_scratch.observation_normalizer import ObservationNormalizer
from sb3_ppo_scratch.updates.autograd import evaluate_minibatch
from sb3_ppo_scratch.updates.closed_form import (
    ClosedFormObjective,
    ClosedFormUpdate,
    Columns,
    normalize_advantages,
    value_residuals,
)
from sb3_ppo_scratch.updates.closed_form_of_policy import build_objective, group_parameters
from sb3_ppo_scratch.updates.exact_kl import describe_distribution
from sb3_ppo_scratch.updates.flat_memory import FlatParameters, keep_flat
from sb3_ppo_scratch.updates.network_inputs import NetworkInputs
from sb3_ppo_scratch.updates.trace_layers import trace_networks
from sb3_ppo_scratch.updates.update import UpdateSettings
from tests.updates.reference import loss_of_minibatch, use_kernels_of
from tests.updates.remembering import assert_goes_on_from_what_it_remembers

N_INPUTS = 3
BOX = spaces.Box(-1.0, 1.0, (2,), np.float32)
SETTINGS = UpdateSettings(
    clip_range=0.2, clip_range_vf=0.3, normalize_advantage=True, ent_coef=0.01, vf_coef=0.5,
    max_grad_norm=0.5,
)  # fmt: skip


class MlpExtractor(BaseFeaturesExtractor):
    """Layers before those of actor and critic."""

    def __init__(self, observation_space: spaces.Box, widths: list[int], activation_fn: type[th.nn.Module]) -> None:
        super().__init__(observation_space, features_dim=widths[-1])
        ends = zip([N_INPUTS, *widths], widths, strict=False)
        self.layers = th.nn.Sequential(
            *(layer for n_in, n_out in ends for layer in (th.nn.Linear(n_in, n_out), activation_fn()))
        )

    def forward(self, observations: th.Tensor) -> th.Tensor:
        return self.layers(observations)


@dataclass
class Problem:
    """A policy in float64, a minibatch for torch and for the closed form, and the objective on flat memory."""

    policy: ActorCriticPolicy
    samples: RolloutBufferSamples
    columns: Columns
    objective: ClosedFormObjective
    memory: FlatParameters
    old_policy: ActorCriticPolicy | None = None

    def move_on(self, seed: int) -> None:
        """Change the parameters a little, and remember the policy as it was."""
        self.old_policy = deepcopy(self.policy)
        described = self.objective.describe_distributions(self.columns.observations)
        self.columns = self.columns._replace(old_distributions=described)
        rng = np.random.default_rng(seed)
        for place in self.memory.views_of(self.memory.values):
            place += 0.1 * th.as_tensor(rng.normal(size=tuple(place.shape)))

    @property
    def gradient(self) -> np.ndarray:
        """What the closed form wrote last, parameter by parameter."""
        return self._side_by_side(self.memory.views_of(self.memory.gradient))

    def autograd(self, settings: UpdateSettings) -> tuple[np.ndarray, Any]:
        """The gradient by torch, parameter by parameter as `gradient`, and the figures."""
        old = None
        if self.old_policy is not None:
            old = describe_distribution(self.old_policy.get_distribution(self.samples.observations))
        figures = evaluate_minibatch(self.policy, self.samples, settings, old).figures
        loss_of_minibatch(self.policy, self.samples, settings, self.old_policy).backward()
        pieces = [th.zeros_like(each) if each.grad is None else each.grad for each in self.memory.parameters]
        return self._side_by_side(pieces), figures

    def _side_by_side(self, pieces: list[th.Tensor]) -> np.ndarray:
        return th.cat([piece.flatten() for piece in pieces]).numpy()


def make_problem(
    action_space: spaces.Space[Any],
    policy_kwargs: dict[str, Any],
    batch: int,
    seed: int,
    spread: float = 0.5,
    *,
    critic: bool = True,
) -> Problem:
    """Random parameters and a random minibatch whose ratios are `exp(spread * normal)`."""
    th.manual_seed(seed)
    rng = np.random.default_rng(seed)
    space = spaces.Box(-np.inf, np.inf, (N_INPUTS,), np.float32)
    policy = ActorCriticPolicy(space, action_space, lambda _: 1e-3, **policy_kwargs).double()
    if not critic:
        remove_critic(policy)
    networks = trace_networks(policy, ObservationNormalizer)
    parameters = list(policy.parameters())
    groups = [[parameters[position] for position in group] for group in networks.groups]
    groups += [[policy.log_std]] if hasattr(policy, "log_std") else []
    with th.no_grad():
        for parameter in parameters:
            parameter.normal_(0.0, 0.5)
    for extractor in {policy.pi_features_extractor, policy.vf_features_extractor}:  # SB3 casts observations to float32
        extractor.register_forward_pre_hook(lambda _, inputs: (inputs[0].double(),))

    observations = rng.normal(size=(batch, N_INPUTS)).astype(np.float32)
    action_space.seed(seed)
    actions = np.stack([action_space.sample() for _ in range(batch)]).reshape(batch, -1).astype(np.float64)
    if isinstance(action_space, spaces.Box):
        actions = rng.normal(size=actions.shape)
    taken = th.as_tensor(actions)
    with th.no_grad():
        values, log_prob, _ = policy.evaluate_actions(
            th.as_tensor(observations), taken.long().flatten() if isinstance(action_space, spaces.Discrete) else taken
        )
    old_log_prob = log_prob.numpy() - spread * rng.normal(size=batch)
    old_values = values.numpy().ravel() + 0.3 * rng.normal(size=batch)
    advantages, returns = rng.normal(0.2, 1.0, size=(2, batch))
    fields = (old_values, old_log_prob, advantages, returns)
    memory = FlatParameters(groups)
    memory.gradient.fill_(th.nan)  # what is not written is noticed
    return Problem(
        policy,
        RolloutBufferSamples(th.as_tensor(observations), taken, *map(th.as_tensor, fields)),
        Columns(np.ascontiguousarray(observations.T.astype(np.float64)), np.ascontiguousarray(actions.T), *fields),
        build_objective(action_space, networks.shape, memory.values.numpy(), memory.gradient.numpy()),
        memory,
    )


ACTION_SPACES = {
    "discrete": spaces.Discrete(3),
    "two_actions": spaces.Discrete(2),
    "multi_discrete": spaces.MultiDiscrete([2, 4, 3]),
    "multi_binary": spaces.MultiBinary(3),
    "box": BOX,
    "box_of_one": spaces.Box(-1.0, 1.0, (1,), np.float32),
}
WIDTHS = st.lists(st.integers(1, 6), max_size=3)


@st.composite
def policy_arguments(draw: st.DrawFn) -> dict[str, Any]:
    activation_fn = draw(st.sampled_from([th.nn.Tanh, th.nn.ReLU]))
    arguments: dict[str, Any] = {
        "net_arch": {"pi": draw(WIDTHS), "vf": draw(WIDTHS)},
        "activation_fn": activation_fn,
        "share_features_extractor": draw(st.booleans()),
    }
    first = draw(WIDTHS)
    if first:
        arguments["features_extractor_class"] = MlpExtractor
        other = draw(st.sampled_from([th.nn.Tanh, th.nn.ReLU]))
        arguments["features_extractor_kwargs"] = {"widths": first, "activation_fn": other}
    return arguments


UPDATE_SETTINGS = st.builds(
    UpdateSettings,
    clip_range=st.floats(0.01, 0.5),
    clip_range_vf=st.none() | st.floats(0.05, 1.0),
    normalize_advantage=st.booleans(),
    ent_coef=st.sampled_from([0.0, 0.01, 2.0]),
    vf_coef=st.floats(0.0, 2.0),
    max_grad_norm=st.just(0.5),
    kl_coef=st.sampled_from([0.0, 1.0, 3.0]),
)


@hypothesis_settings(max_examples=80, deadline=None, derandomize=True)
@given(
    kind=st.sampled_from(sorted(ACTION_SPACES)),
    arguments=policy_arguments(),
    batch=st.integers(1, 40),
    settings=UPDATE_SETTINGS,
    seed=st.integers(0, 2**16),
    library=st.sampled_from(["numpy", "torch"]),
    critic=st.booleans(),
)
def test_gradient_and_figures_equal_autograds_for_random_networks_heads_and_options(
    kind: str, arguments: dict[str, Any], batch: int, settings: UpdateSettings, seed: int, library: str, critic: bool
) -> None:
    problem = make_problem(ACTION_SPACES[kind], arguments, batch, seed, critic=critic)
    if settings.kl_coef != 0:
        problem.move_on(seed)
    expected, expected_figures = problem.autograd(settings)
    with use_kernels_of(library):
        figures = problem.objective.evaluate(problem.columns, settings)
        problem.objective.backward(settings)
    event(f"clipped: {figures.clip_fraction > 0}")
    assert np.linalg.norm(problem.gradient - expected) <= 1e-9 * np.linalg.norm(expected)
    for name in set(figures._fields) - {"clip_fraction"}:
        assert getattr(figures, name) == pytest.approx(getattr(expected_figures, name).item(), rel=1e-9, abs=1e-12), (
            name
        )
    # A count over the batch, which torch divides in float32.
    assert figures.clip_fraction == pytest.approx(expected_figures.clip_fraction.item(), rel=1e-6)


@pytest.mark.parametrize("kind", ["discrete", "multi_discrete", "multi_binary", "box"])
@pytest.mark.parametrize("clip_range_vf", [None, 0.3], ids=["values_free", "values_clipped"])
def test_gradient_equals_finite_differences_of_the_loss(kind: str, clip_range_vf: float | None) -> None:
    arguments = {
        "net_arch": {"pi": [3], "vf": [2, 2]},
        "features_extractor_class": MlpExtractor,
        "features_extractor_kwargs": {"widths": [4], "activation_fn": th.nn.Tanh},
    }
    settings = UpdateSettings(
        clip_range=0.2, clip_range_vf=clip_range_vf, normalize_advantage=True, ent_coef=0.1, vf_coef=0.7,
        max_grad_norm=0.5, kl_coef=0.6,
    )  # fmt: skip
    problem = make_problem(ACTION_SPACES[kind], arguments, 24, seed=3)
    problem.move_on(4)
    problem.objective.evaluate(problem.columns, settings)
    problem.objective.backward(settings)
    gradient, step, differences = problem.gradient, 1e-6, []
    for place in problem.memory.views_of(problem.memory.values):
        for number in place.view(-1):
            losses = []
            for side in (1, -1):
                number += side * step
                losses.append(problem.objective.evaluate(problem.columns, settings).loss)
                number -= side * step
            differences.append((losses[0] - losses[1]) / (2 * step))
    np.testing.assert_allclose(gradient, differences, atol=1e-7)
    assert np.linalg.norm(gradient) > 0.1


def test_minibatch_of_the_gradient_tests_is_clipped_on_both_sides_with_advantages_of_both_signs() -> None:
    problem = make_problem(BOX, {}, 40, seed=0)
    log_ratio = problem.policy.evaluate_actions(*problem.samples[:2])[1] - problem.samples.old_log_prob
    ratio, advantages = log_ratio.detach().exp().numpy(), problem.columns.advantages
    for outside in (ratio < 0.8, ratio > 1.2):
        assert {1.0, -1.0} <= set(np.sign(advantages[outside]))


def test_ratio_of_one_has_the_whole_gradient() -> None:
    # At the first minibatch clipped and unclipped surrogate are equal; autograd halves the gradient between them.
    problem = make_problem(ACTION_SPACES["discrete"], {}, 16, seed=1, spread=0.0)
    expected, _ = problem.autograd(SETTINGS)
    assert problem.objective.evaluate(problem.columns, SETTINGS).clip_fraction == 0.0
    problem.objective.backward(SETTINGS)
    assert np.linalg.norm(problem.gradient - expected) <= 1e-9 * np.linalg.norm(expected)


def test_divergence_that_is_no_penalty_stays_out_of_loss_and_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = make_problem(BOX, {}, 8, seed=1)
    problem.move_on(2)
    monkeypatch.setattr(problem.objective.head, "add_kl_gradient", lambda *_: pytest.fail("computed for nothing"))
    monkeypatch.setattr(problem.objective.head, "kl_from", lambda _: np.full(8, math.inf))
    figures = problem.objective.evaluate(problem.columns, SETTINGS)
    problem.objective.backward(SETTINGS)
    assert figures.kl == math.inf
    assert math.isfinite(figures.loss)


def test_backward_overwrites_the_gradient_of_the_minibatch_before() -> None:
    problem = make_problem(BOX, {}, 8, seed=1)
    gradients = []
    for _ in range(2):
        problem.objective.evaluate(problem.columns, SETTINGS)
        problem.objective.backward(SETTINGS)
        gradients.append(problem.gradient.copy())
    np.testing.assert_array_equal(*gradients)


# -- the parts of the objective ----------------------------------------------------------------------------------------


def test_normalised_advantages_have_mean_zero_and_unbiased_deviation_one() -> None:
    normalised = normalize_advantages(np.array([1.0, 2.0, 3.0, 4.0]))
    np.testing.assert_allclose(normalised, (np.arange(1, 5) - 2.5) / math.sqrt(5 / 3), rtol=1e-7)


def test_a_single_advantage_is_left_as_it_is_and_equal_ones_become_zero() -> None:
    assert normalize_advantages(np.array([3.0])).tolist() == [3.0]
    assert normalize_advantages(np.full(4, 3.0)).tolist() == [0.0] * 4


def test_two_advantages_have_a_deviation() -> None:
    np.testing.assert_allclose(normalize_advantages(np.array([1.0, 3.0])), [-math.sqrt(0.5), math.sqrt(0.5)])


def test_advantages_of_the_rollout_are_not_changed_by_normalising() -> None:
    advantages = np.array([1.0, 5.0])
    normalize_advantages(advantages)
    assert advantages.tolist() == [1.0, 5.0]


@pytest.mark.parametrize(
    ("value", "clip_range_vf", "residual", "moves"),
    [
        (2.0, None, -1.0, None),
        (2.0, 0.5, -1.5, False),
        (1.2, 0.5, -1.8, True),
        (-1.0, 0.5, -2.5, False),
        (2.0, 1.0, -1.0, True),
    ],
)
def test_residual_of_a_value_whose_change_is_clipped_and_whether_it_still_moves(
    value: float, clip_range_vf: float | None, residual: float, moves: bool | None
) -> None:
    one = np.ones(1)
    columns = Columns(one[:, None], one[:, None], old_values=one, old_log_prob=one, advantages=one, returns=3 * one)
    residuals, value_moves = value_residuals(np.array([value]), columns, clip_range_vf)
    assert residuals.tolist() == pytest.approx([residual])
    assert (value_moves if value_moves is None else value_moves.tolist()) == (moves if moves is None else [moves])


# -- steps -------------------------------------------------------------------------------------------------------------


def update_of(seed: int = 0) -> tuple[ClosedFormUpdate, Columns, ActorCriticPolicy]:
    """An update in float32, as it is used, and a minibatch for it."""
    problem = make_problem(BOX, {"net_arch": [4]}, 16, seed)
    policy = problem.policy.float()
    networks = trace_networks(
        ActorCriticPolicy(policy.observation_space, BOX, lambda _: 1.0, net_arch=[4]), ObservationNormalizer
    )
    memory = keep_flat(None, group_parameters(policy, list(policy.modules()), networks), policy.optimizer)
    values, gradient = memory.parameters.values.numpy(), memory.parameters.gradient.numpy()
    objective = build_objective(BOX, networks.shape, values, gradient)
    inputs = NetworkInputs(policy.observation_space, normalize_images=True)
    columns = Columns(*(array.astype(np.float32) for array in problem.columns if array is not None))
    memory.parameters.attach_gradients()
    return ClosedFormUpdate(objective, inputs, memory), columns, policy


def update_options(update: ClosedFormUpdate) -> dict[str, Any]:
    group = update.memory.adam.optimizer.param_groups[0]
    return {name: group[name] for name in ("lr", "betas", "eps", "weight_decay")}


def test_restored_policy_and_optimiser_go_on_as_from_where_they_were_remembered() -> None:
    update, columns, policy = update_of()
    assert_goes_on_from_what_it_remembers(update, policy, columns, SETTINGS, lambda arrays: arrays[:-1])


@pytest.mark.parametrize("max_grad_norm", [1e-6, 0.01, 1e9], ids=["nearly_nothing", "clipped", "free"])
def test_gradient_after_a_step_is_clipped_as_torch_clips_it(max_grad_norm: float) -> None:
    update, columns, policy = update_of()
    settings = UpdateSettings(**{**vars(SETTINGS), "max_grad_norm": max_grad_norm})
    update.evaluate(columns, settings)
    update.objective.backward(settings)
    by_torch = [th.nn.Parameter(parameter.detach().clone()) for parameter in policy.parameters()]
    for copy, parameter in zip(by_torch, policy.parameters(), strict=True):
        copy.grad = parameter.grad.clone()
    th.nn.utils.clip_grad_norm_(by_torch, max_grad_norm)
    update.evaluate(columns, settings)
    update.differentiate(settings)
    update.step()
    for copy, parameter in zip(by_torch, policy.parameters(), strict=True):
        th.testing.assert_close(parameter.grad, copy.grad, rtol=1e-5, atol=max_grad_norm * 1e-7)


@pytest.mark.parametrize("over", [-0.5, 0.5], ids=["below", "above"])
def test_gradient_about_as_long_as_allowed_is_clipped_as_torch_clips_it(over: float) -> None:
    # torch adds 1e-6 to the norm that it divides by, and so shortens gradients that are a little shorter than allowed.
    update, columns, _ = update_of()
    policy_only = {**vars(SETTINGS), "normalize_advantage": False, "vf_coef": 0.0, "ent_coef": 0.0}
    free, clipped = (UpdateSettings(**{**policy_only, "max_grad_norm": limit}) for limit in (math.inf, 1e-5))
    update.evaluate(columns, free)
    factor = (1e-5 + over * 1e-6) / update.differentiate(free)  # advantages are factors of this gradient
    columns = columns._replace(advantages=columns.advantages * np.float32(factor))
    gradients = []
    for settings in (free, clipped):
        update.evaluate(columns, settings)
        update.differentiate(settings)
        gradients.append(update.memory.parameters.gradient.clone())
    by_torch = th.nn.Parameter(th.zeros_like(gradients[0]))
    by_torch.grad = gradients[0].clone()
    th.nn.utils.clip_grad_norm_([by_torch], 1e-5)
    assert gradients[0].norm() == pytest.approx(1e-5 + over * 1e-6, rel=1e-4)
    th.testing.assert_close(gradients[1], by_torch.grad, rtol=1e-6, atol=0)


def test_step_is_that_of_torchs_fused_adam_bit_for_bit() -> None:
    update, columns, _ = update_of()
    flat = update.memory.parameters
    by_torch = th.nn.Parameter(flat.values.clone())
    optimizer = th.optim.Adam([by_torch], **update_options(update), fused=True)
    for _ in range(20):
        update.evaluate(columns, SETTINGS)
        update.differentiate(SETTINGS)
        by_torch.grad = flat.gradient.clone()
        optimizer.step()
        update.step()
        assert th.equal(flat.values, by_torch)


@pytest.mark.parametrize("asked", [{}, {"exact_kl": False}, {"exact_kl": True}], ids=str)
def test_old_distributions_are_described_only_where_divergences_are_asked_for(asked: dict[str, bool]) -> None:
    update, _, policy = update_of()
    buffer = RolloutBuffer(4, policy.observation_space, BOX, device="cpu")
    buffer.full = True
    [minibatch] = update.read(buffer, **asked).minibatches(4)
    assert (minibatch.old_distributions is not None) == asked.get("exact_kl", False)


def test_infinite_gradient_becomes_nan_as_torch_clips_it_though_anything_is_allowed() -> None:
    update, columns, _ = update_of()
    gradient = update.memory.parameters.gradient
    settings = UpdateSettings(**{**vars(SETTINGS), "max_grad_norm": math.inf})
    update.evaluate(columns, settings)
    gradient.fill_(math.inf)
    with mock.patch.object(update.objective, "backward"):
        assert update.differentiate(settings) == math.inf
    by_torch = th.nn.Parameter(th.zeros_like(gradient))
    by_torch.grad = th.full_like(gradient, math.inf)
    th.nn.utils.clip_grad_norm_([by_torch], math.inf)
    th.testing.assert_close(gradient, by_torch.grad, equal_nan=True)


def test_norm_of_a_gradient_with_nan_is_nan() -> None:
    update, columns, _ = update_of()
    columns.returns[0] = np.nan
    update.evaluate(columns, SETTINGS)
    assert np.isnan(update.differentiate(SETTINGS))
