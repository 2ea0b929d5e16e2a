"""One minibatch step of PPO for any policy on any device, its gradient taken through the policy by torch.

What is here: evaluating the objective on a minibatch, and applying its gradient. What is not: the formulas and their
derivatives (`losses.py`) and the loop over epochs and minibatches (`ppo_scratch.py`).
"""

import copy
import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import DictRolloutBuffer, RolloutBuffer
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import DictRolloutBufferSamples, RolloutBufferSamples

from sb3_ppo_scratch.updates import losses
from sb3_ppo_scratch.updates.exact_kl import describe_distribution, kl_from
from sb3_ppo_scratch.updates.flat_memory import FlatMemory, check_flat, keep_flat
from sb3_ppo_scratch.updates.minibatches import flatten, is_passed_over_as_sb3_does, shuffle_rows
from sb3_ppo_scratch.updates.update import MinibatchFigures, NotCoveredError, Remembered, UpdateSettings

BYTES_ON_DEVICE = 2**30
"""Observations of a rollout that together take more stay where they are until their minibatch comes."""
DESCRIBED_AT_ONCE = 256
"""Transitions whose old distributions are described by one pass through the network."""
Samples = RolloutBufferSamples | DictRolloutBufferSamples
"""A minibatch: fields of shape (batch, ...); observations may be a dict of such tensors."""


def actions_as_taken(actions: th.Tensor, action_space: spaces.Space[Any]) -> th.Tensor:
    """Undo the buffer's storage format, in which every action is a row of floats.

    Args:
        actions: Stored actions, shape (batch, action_dim).
        action_space: The space that they come from.

    Returns:
        For a Discrete space shape (batch,), int64: with shape (batch, 1) the log-probabilities would broadcast to
        (batch, batch) without an error. Else the actions as they are, shape (batch, action_dim).
    """
    return actions.long().flatten() if isinstance(action_space, spaces.Discrete) else actions


class Evaluation(NamedTuple):
    """What a policy says about a minibatch, and how the loss depends on it."""

    outputs: list[th.Tensor]
    """Log-probabilities and values, shape (batch,), and, if they matter, entropies (any shape), with their graphs."""
    derivatives: list[th.Tensor]
    """The loss's derivatives by them, same shapes."""
    figures: MinibatchFigures
    """To be logged, 0-d tensors on the policy's device."""


class DescribedSamples(NamedTuple):
    """A minibatch, with what the policy that collected it would have done."""

    samples: Samples
    old_distributions: th.Tensor
    """As `describe_distribution` gives them, shape (batch, n_parameters)."""

    @property
    def returns(self) -> th.Tensor:
        """The samples' returns, shape (batch,)."""
        return self.samples.returns


def evaluate_minibatch(
    policy: ActorCriticPolicy, batch: Samples, settings: UpdateSettings, old_distributions: th.Tensor | None = None
) -> Evaluation:
    """Evaluate PPO's objective on one minibatch.

    The graph ends at the policy's outputs: the loss's derivatives by them are short formulas, and on a small network
    a tenth of the minibatch's time would go into finding them.

    Args:
        policy: The policy to be improved.
        batch: Transitions of the last rollout, each field with shape (batch, ...).
        settings: Clip ranges and weights of the terms.
        old_distributions: As in `DescribedSamples`, shape (batch, n_parameters); None: divergences are estimated.

    Returns:
        The outputs with the loss's derivatives by them, from which torch goes on to the parameters, and the figures.
    """
    taken = actions_as_taken(batch.actions, policy.action_space)
    values, log_prob, entropy = policy.evaluate_actions(batch.observations, taken)
    outputs, divergences = [log_prob, values.flatten()], _divergences(policy, batch, old_distributions)
    with th.no_grad():
        advantages = losses.normalize_advantages(batch.advantages) if settings.normalize_advantage else batch.advantages
        log_ratio = log_prob - batch.old_log_prob
        ratio = log_ratio.exp()
        by_log_prob = losses.surrogate_derivative(ratio, advantages, settings.clip_range)
        errors = (outputs[1], batch.old_values, batch.returns, settings.clip_range_vf)
        derivatives = [by_log_prob, losses.value_loss_derivative(*errors) * settings.vf_coef]
        if entropy is None:  # the actions' own log-probabilities estimate it
            by_log_prob += settings.ent_coef / len(by_log_prob)
        elif settings.ent_coef != 0:
            outputs.append(entropy)
            derivatives.append(th.full_like(entropy, -settings.ent_coef / entropy.numel()))
        if divergences is not None and settings.kl_coef != 0:
            outputs.append(divergences)
            derivatives.append(th.full_like(divergences, settings.kl_coef / len(divergences)))
        elif settings.kl_coef != 0:  # the actions taken estimate them
            by_log_prob += losses.approximate_kl_derivative(ratio) * settings.kl_coef
        terms = losses.value_loss(*errors), losses.entropy_loss(entropy, log_prob)
        figures = _figures(log_ratio, ratio, advantages, *terms, divergences, settings)
    return Evaluation(outputs, derivatives, figures)


def _divergences(policy: ActorCriticPolicy, batch: Samples, old_distributions: th.Tensor | None) -> th.Tensor | None:
    """Measure how far the policy has moved on a minibatch, exactly.

    Args:
        policy: The policy now.
        batch: Transitions, each field with shape (batch, ...).
        old_distributions: As in `DescribedSamples`, shape (batch, n_parameters); None: they are not known.

    Returns:
        Shape (batch,), with a graph; None if the old distributions are not known.
    """
    if old_distributions is None:
        return None
    return kl_from(old_distributions, policy.get_distribution(batch.observations))


def _figures(
    log_ratio: th.Tensor,
    ratio: th.Tensor,
    advantages: th.Tensor,
    value_loss: th.Tensor,
    entropy_loss: th.Tensor,
    divergences: th.Tensor | None,
    settings: UpdateSettings,
) -> MinibatchFigures:
    """Compute what is logged of a minibatch.

    Args:
        log_ratio: New minus old log-probabilities, shape (batch,).
        ratio: Its exponential, shape (batch,).
        advantages: Normalised if wanted, shape (batch,).
        value_loss: 0-d (no shape), as those below.
        entropy_loss: Negative mean entropy.
        divergences: Exact ones, shape (batch,); None: not known.
        settings: Clip range and weights of the terms.

    Returns:
        The figures, 0-d tensors.

    Source:
        The loss is the paper's equation 9, with the signs turned for minimisation.
    """
    policy_gradient_loss = losses.clipped_surrogate_loss(ratio, advantages, settings.clip_range)
    approx_kl = losses.approximate_kl(log_ratio)
    kl = approx_kl if divergences is None else divergences.mean()
    loss = policy_gradient_loss + settings.ent_coef * entropy_loss + settings.vf_coef * value_loss
    return MinibatchFigures(
        loss=loss if settings.kl_coef == 0 else loss + settings.kl_coef * kl,
        policy_gradient_loss=policy_gradient_loss,
        value_loss=value_loss,
        entropy_loss=entropy_loss,
        approx_kl=approx_kl,
        clip_fraction=losses.clip_fraction(ratio, settings.clip_range),
        kl=kl,
    )


class AutogradUpdate:
    """Improves any policy by torch's gradients; an `Update`.

    Where the optimiser is a plain Adam that moves every parameter, as the first step shows, parameters and moments
    become flat memory: one operation on a vector takes the place of one per parameter.

    Args:
        policy: The policy, which owns its optimiser.
    """

    _is_first_step: bool
    """Whether the next step is a rollout's first."""

    def __init__(self, policy: ActorCriticPolicy) -> None:
        self.policy = policy
        self._memory: FlatMemory | None = None

    def read(self, rollout_buffer: RolloutBuffer, *, exact_kl: bool = False) -> "SamplesOfRollout":
        """Prepare a rollout to be passed over, and look after the memory."""
        self._is_first_step = True
        if self._memory is not None:
            self._make_flat()
        return SamplesOfRollout(rollout_buffer, self.policy.device, self.policy if exact_kl else None)

    def evaluate(self, minibatch: Samples | DescribedSamples, settings: UpdateSettings) -> MinibatchFigures:
        """Evaluate the objective; see `Update`."""
        samples, old = minibatch if isinstance(minibatch, DescribedSamples) else (minibatch, None)
        with without_validation():
            self._evaluation = evaluate_minibatch(self.policy, samples, settings, old)
        return self._evaluation.figures

    def differentiate(self, settings: UpdateSettings) -> th.Tensor:
        """Let torch compute the gradient; see `Update`."""
        if self._memory is None:
            self.policy.optimizer.zero_grad()
        else:
            self._memory.parameters.forget_gradients()
        outputs, derivatives, _ = self._evaluation
        del self._evaluation
        learning = [index for index, output in enumerate(outputs) if output.requires_grad]  # others are frozen
        th.autograd.backward([outputs[index] for index in learning], [derivatives[index] for index in learning])
        if self._memory is not None and self._memory.parameters.take_gradients():
            return self._memory.parameters.clip_gradient(settings.max_grad_norm)
        self._memory = None
        return th.nn.utils.clip_grad_norm_(self.policy.parameters(), settings.max_grad_norm)

    def step(self) -> None:
        """Take one step of the policy's optimiser; see `Update`."""
        if self._memory is not None:
            self._memory.adam.step(fused=False)
            return
        self.policy.optimizer.step()
        if self._is_first_step:
            self._make_flat()
        self._is_first_step = False

    def sum_parameters(self) -> float:
        """Add up all parameters; see `Update`."""
        return float(th.stack([parameter.detach().sum() for parameter in self.policy.parameters()]).sum())

    def remember(self) -> Remembered:
        """Copy parameters and the optimiser's state; see `Update`."""
        state = self.policy.optimizer.state_dict()["state"]
        copies = {index: {name: _copied(value) for name, value in each.items()} for index, each in state.items()}
        return [parameter.detach().clone() for parameter in self.policy.parameters()], copies

    def restore(self, remembered: Remembered) -> None:
        """Write them back; see `Update`."""
        parameters, state = remembered
        with th.no_grad():
            for parameter, before in zip(self.policy.parameters(), parameters, strict=True):
                parameter.copy_(before)
        optimizer = self.policy.optimizer
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
        if self._memory is not None:
            self._make_flat()

    def _make_flat(self) -> None:
        """Lay the memory flat, or keep it so, or leave it alone if that cannot be."""
        try:
            parameters, optimizer = list(self.policy.parameters()), self.policy.optimizer
            check_flat(parameters, optimizer)
        except NotCoveredError:
            self._memory = None
        else:
            self._memory = keep_flat(self._memory, [[parameter] for parameter in parameters], optimizer)


def _copied(value: Any) -> Any:
    """Copy one value of an optimiser's state."""
    return value.clone() if isinstance(value, th.Tensor) else copy.deepcopy(value)


class _ValidationOff:
    """How many blocks of `without_validation` are being run, over all threads, and what was set before the first."""

    lock = threading.Lock()
    blocks = 0
    before = True


@contextmanager
def without_validation() -> Iterator[None]:
    """Let torch's distributions take parameters as they are.

    Validation takes a fifth of an evaluation's time, and on a GPU waits for the device. Rollouts validate, so that a
    policy that has become NaN does not act. torch has one switch for the process: of several threads the first in turns
    it off, and the last out restores it.

    Yields:
        Nothing.
    """
    distribution_class = th.distributions.Distribution
    with _ValidationOff.lock:
        if _ValidationOff.blocks == 0:
            _ValidationOff.before = distribution_class._validate_args  # torch has no function that reads it
            distribution_class.set_default_validate_args(False)
        _ValidationOff.blocks += 1
    try:
        yield
    finally:
        with _ValidationOff.lock:
            _ValidationOff.blocks -= 1
            if _ValidationOff.blocks == 0:
                distribution_class.set_default_validate_args(_ValidationOff.before)


class SamplesOfRollout:
    """A rollout, passed over in samples on the policy's device, where it is brought once.

    Args:
        rollout_buffer: A full buffer.
        device: The policy's device.
        policy: The policy, if minibatches shall say what it would do now; None: they need not.
    """

    def __init__(
        self, rollout_buffer: RolloutBuffer, device: th.device, policy: ActorCriticPolicy | None = None
    ) -> None:
        self._buffer, self._device = rollout_buffer, device
        self._fields, self._described = None, None
        self.why_kl_is_estimated = ""
        if not is_passed_over_as_sb3_does(rollout_buffer):
            self.why_kl_is_estimated = f"{type(rollout_buffer).__name__} passes over its content in its own way"
            return
        if is_worth_bringing(rollout_buffer, device):
            self._fields = _fields_on_device(rollout_buffer, device)
        if policy is not None:
            flatten(rollout_buffer)
            self._described = describe_policy(policy, self._fields[0] if self._fields else rollout_buffer.observations)
            if self._described is None:
                self.why_kl_is_estimated = f"{type(policy.action_dist).__name__} has no closed form of it"

    def minibatches(self, batch_size: int) -> Iterator[Samples | DescribedSamples]:
        """Pass once over it in random order.

        Args:
            batch_size: Transitions per minibatch; the last may have fewer.

        Yields:
            Minibatches.
        """
        if self._fields is None and self._described is None:
            yield from self._buffer.get(batch_size)
            return
        rows = shuffle_rows(self._buffer)
        rows_on_device = th.as_tensor(rows, device=self._device)
        for start in range(0, len(rows), batch_size):
            picked = rows_on_device[start : start + batch_size]
            if self._fields is None:
                samples: Samples = self._buffer._get_samples(rows[start : start + batch_size])
            else:
                samples = _pick(self._fields, picked)
            yield samples if self._described is None else DescribedSamples(samples, self._described[picked])


def _pick(fields: list[Any], rows: th.Tensor) -> Samples:
    """Take rows, shape (batch,), out of the fields of a rollout, as `_fields_on_device` gives them."""
    observations, *others = fields
    others_picked = (field.index_select(0, rows) for field in others)
    if isinstance(observations, dict):
        dictionary = {name: part.index_select(0, rows) for name, part in observations.items()}
        return DictRolloutBufferSamples(dictionary, *others_picked)
    return RolloutBufferSamples(observations.index_select(0, rows), *others_picked)


@th.no_grad()
def describe_policy(policy: ActorCriticPolicy, observations: Any) -> th.Tensor | None:
    """Describe what a policy would do.

    Args:
        policy: The policy.
        observations: Tensors or NumPy's arrays on any device, shape (n, *obs_shape), or a dict of such.

    Returns:
        Shape (n, n_parameters); None if divergences have no closed form.
    """
    parts = observations if isinstance(observations, dict) else {"": observations}
    cut = [th.split(th.as_tensor(part), DESCRIBED_AT_ONCE) for part in parts.values()]
    pieces: list[th.Tensor] = []
    for each in zip(*cut, strict=True):
        some = [piece.to(policy.device) for piece in each]
        batch = dict(zip(parts, some, strict=True)) if isinstance(observations, dict) else some[0]
        described = describe_distribution(policy.get_distribution(batch))
        if described is None:
            return None
        pieces.append(described)
    return th.cat(pieces)


def is_worth_bringing(buffer: RolloutBuffer, device: th.device) -> bool:
    """Tell whether a rollout is brought to a device as a whole, or minibatch by minibatch as SB3 does.

    Args:
        buffer: A full buffer.
        device: The device; on the CPU nothing is copied.

    Returns:
        Whether its observations take at most `BYTES_ON_DEVICE` there.
    """
    observations: Any = buffer.observations
    arrays = observations.values() if isinstance(observations, dict) else [observations]
    return device.type == "cpu" or sum(array.nbytes for array in arrays) <= BYTES_ON_DEVICE


def _fields_on_device(buffer: RolloutBuffer, device: th.device) -> list[Any]:
    """Bring a rollout to a device, in the order of `RolloutBufferSamples`, every field of shape (n, ...).

    Args:
        buffer: A full buffer.
        device: The device.

    Returns:
        The fields; observations are a dict where the buffer's are.
    """
    flatten(buffer)
    bring = functools.partial(th.as_tensor, device=device)
    observations: Any = buffer.observations
    if isinstance(buffer, DictRolloutBuffer):
        observations = {name: bring(part) for name, part in buffer.observations.items()}
    else:
        observations = bring(observations)
    actions = bring(np.asarray(buffer.actions, np.float32))
    figures = (buffer.values, buffer.log_probs, buffer.advantages, buffer.returns)
    return [observations, actions, *(bring(figure).flatten() for figure in figures)]


def free_graph(policy: ActorCriticPolicy) -> None:
    """Detach what the policy's action distribution keeps of the last evaluation from its graph.

    SB3's distributions remember the last batch, graph included; torch refuses to deepcopy such tensors.

    Args:
        policy: The policy; its behaviour does not change.
    """
    _detach_attributes(policy.action_dist)


def _detach_attributes(distribution: Any) -> None:
    """Detach a distribution's tensors (any shape), also those of the torch distributions inside it."""
    for name, value in vars(distribution).items():
        if isinstance(value, th.Tensor):
            setattr(distribution, name, value.detach())
        elif isinstance(value, th.distributions.Distribution):
            _detach_attributes(value)
        elif isinstance(value, list):
            for part in value:
                if isinstance(part, th.distributions.Distribution):
                    _detach_attributes(part)
