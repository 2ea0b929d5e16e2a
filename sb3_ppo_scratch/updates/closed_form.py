"""One minibatch step of PPO for MLPs on the CPU, its gradient derived by hand: no autograd.

What is here: PPO's objective on a minibatch, and the chain rule from the loss to the outputs of actor and critic. What
is not: the distributions (`heads.py`), the layers (`mlp.py`), and Adam and the memory (`flat_memory.py`). The
derivation stands in docs/closed-form.md. As in `mlp.py`, the batch is the last axis.
"""

import functools
import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from stable_baselines3.common.buffers import RolloutBuffer

from sb3_ppo_scratch.updates.flat_memory import NORM_EPSILON, FlatMemory
from sb3_ppo_scratch.updates.heads import Head
from sb3_ppo_scratch.updates.kernels import Array
from sb3_ppo_scratch.updates.losses import ADVANTAGE_EPSILON
from sb3_ppo_scratch.updates.minibatches import flatten, shuffle_rows
from sb3_ppo_scratch.updates.mlp import ActorCriticMlp
from sb3_ppo_scratch.updates.network_inputs import NetworkInputs
from sb3_ppo_scratch.updates.update import MinibatchFigures, Remembered, UpdateSettings


class Columns(NamedTuple):
    """Transitions of a rollout, one per column."""

    observations: Array
    """What the networks read, shape (n_inputs, batch)."""
    actions: Array
    """Shape (action_dim, batch)."""
    old_values: Array
    """Shape (batch,), like those below."""
    old_log_prob: Array
    advantages: Array
    returns: Array
    old_distributions: Array | None = None
    """What the head says of the policy that collected the rollout, shape (n_parameters, batch)."""


class ClosedFormObjective:
    """PPO's objective as a function of the policy's flat parameters, with its gradient.

    Args:
        network: Actor and critic.
        head: The action distributions.
    """

    def __init__(self, network: ActorCriticMlp, head: Head) -> None:
        self.network, self.head = network, head

    def evaluate(self, columns: Columns, settings: UpdateSettings) -> MinibatchFigures:
        """Evaluate the objective.

        Args:
            columns: A minibatch.
            settings: Clip ranges and weights of the terms.

        Returns:
            The figures to log.

        Source:
            https://arxiv.org/abs/1707.06347, equation 9, with the signs turned for minimisation.
        """
        batch = len(columns.returns)
        outputs, values = self.network.forward(columns.observations)
        self.head.condition(outputs)
        mean_entropy = self.head.mean_entropy()
        log_ratio = self.head.log_prob(columns.actions) - columns.old_log_prob
        ratio = np.exp(log_ratio)
        clipped_ratio = np.minimum(np.maximum(ratio, 1 - settings.clip_range), 1 + settings.clip_range)
        advantages = columns.advantages
        if settings.normalize_advantage:
            advantages = normalize_advantages(advantages)
        self._unclipped, self._clipped = ratio * advantages, clipped_ratio * advantages
        self._residuals, self._value_moves = value_residuals(values[0], columns, settings.clip_range_vf)
        policy_gradient_loss = -_mean(np.minimum(self._unclipped, self._clipped))
        value_loss = float(np.dot(self._residuals, self._residuals)) / batch
        approx_kl = _mean(ratio - 1 - log_ratio)
        self._old = columns.old_distributions
        kl = approx_kl if self._old is None else _mean(self.head.kl_from(self._old))
        loss = policy_gradient_loss - settings.ent_coef * mean_entropy + settings.vf_coef * value_loss
        return MinibatchFigures(
            loss=loss if settings.kl_coef == 0 else loss + settings.kl_coef * kl,
            policy_gradient_loss=policy_gradient_loss,
            value_loss=value_loss,
            entropy_loss=-mean_entropy,
            approx_kl=approx_kl,
            clip_fraction=np.count_nonzero(ratio != clipped_ratio) / batch,
            kl=kl,
        )

    def describe_distributions(self, observations: Array) -> Array:
        """Describe what the policy would do now, for divergences from it.

        Args:
            observations: What the networks read, shape (n_inputs, batch).

        Returns:
            Shape (n_parameters, batch).
        """
        outputs, _ = self.network.forward(observations)
        self.head.condition(outputs)
        return self.head.parameters()

    def backward(self, settings: UpdateSettings) -> None:
        """Write the gradient of the loss that was evaluated last into the network's and the head's memory.

        By a log-probability it is `-ratio * advantage / batch` where the surrogate is not clipped and 0 where it is, by
        a value `2 vf_coef (value - return) / batch` unless the value's own clipping holds it.

        Args:
            settings: As for `evaluate`.
        """
        batch = len(self._unclipped)
        actor_gradient, critic_gradient = self.network.output_gradients()
        d_log_prob = self._unclipped * (self._unclipped <= self._clipped)
        d_log_prob *= -1 / batch
        self.head.backward(d_log_prob, -settings.ent_coef, actor_gradient)
        if settings.kl_coef != 0 and self._old is not None:
            self.head.add_kl_gradient(self._old, settings.kl_coef / batch, actor_gradient)
        np.multiply(self._residuals, 2 * settings.vf_coef / batch, out=critic_gradient[0])
        if self._value_moves is not None:
            critic_gradient[0] *= self._value_moves
        self.network.backward()


def normalize_advantages(advantages: Array) -> Array:
    """Shift and scale a minibatch's advantages to mean 0 and (unbiased) standard deviation 1.

    Args:
        advantages: Shape (batch,).

    Returns:
        Normalised advantages, shape (batch,). A single advantage is returned as it is: it has no deviation.
    """
    if len(advantages) <= 1:
        return advantages
    centered: Array = advantages - _mean(advantages)
    std = math.sqrt(float(np.dot(centered, centered)) / (len(advantages) - 1))
    centered /= std + ADVANTAGE_EPSILON
    return centered


def value_residuals(values: Array, columns: Columns, clip_range_vf: float | None) -> tuple[Array, Array | None]:
    """Compare values with returns, if wanted with the values' change since the rollout clipped.

    Args:
        values: Current estimates, shape (batch,).
        columns: The minibatch.
        clip_range_vf: Largest change of an estimate that counts, in units of the reward; None: no clipping.

    Returns:
        Value (clipped) minus return, shape (batch,), and whether a change of the value still changes that, shape
        (batch,), bool; None if it always does.
    """
    if clip_range_vf is None:
        return values - columns.returns, None
    change = values - columns.old_values
    clipped = np.minimum(np.maximum(change, -clip_range_vf), clip_range_vf)
    return columns.old_values + clipped - columns.returns, change == clipped


def _mean(values: Array) -> float:
    """Average values, shape (n,); `np.mean` takes five times as long for a minibatch."""
    return float(np.add.reduce(values)) / len(values)


N_FIGURES = 4
"""Rows of a rollout's other arrays between actions and what describes the old distributions."""
DESCRIBED_AT_ONCE = 2048
"""Transitions whose old distributions are described by one pass through the network."""


def cut(columns: Array, batch_size: int) -> Iterator[Array]:
    """Cut columns into minibatches, each in one piece of memory: rows that lie far apart share places in the caches.

    Args:
        columns: Shape (n, n_columns).
        batch_size: Columns per minibatch; the last may have fewer.

    Yields:
        Shape (n, batch_size).
    """
    n_rows, n_columns = columns.shape
    n_whole = n_columns // batch_size
    whole = columns[:, : n_whole * batch_size].reshape(n_rows, n_whole, batch_size)
    yield from np.ascontiguousarray(whole.swapaxes(0, 1))
    if n_whole * batch_size < n_columns:
        yield np.ascontiguousarray(columns[:, n_whole * batch_size :])


BYTES_AT_ONCE = 2**20
"""Observations are picked and preprocessed for as many minibatches at once as fit into this much memory."""


class ClosedFormUpdate:
    """Improves an MLP policy by gradients in closed form; an `Update`.

    Args:
        objective: The objective, on the flat memory of the policy's parameters.
        inputs: Preprocesses observations.
        memory: The policy's parameters, and what moves them.
    """

    def __init__(self, objective: ClosedFormObjective, inputs: NetworkInputs, memory: FlatMemory) -> None:
        self.objective, self.inputs, self.memory = objective, inputs, memory
        self._gradient = memory.parameters.gradient.numpy()
        self._parameters = memory.parameters.values.numpy()
        # All that a step changes. After a rollout NumPy copies it in a third of torch's time.
        self._changed = [self._parameters, *(vector.numpy() for vector in memory.adam.vectors())]

    def read(self, rollout_buffer: RolloutBuffer, *, exact_kl: bool = False) -> "ColumnsOfRollout":
        """Prepare a rollout to be passed over; see `Update`."""
        self.memory.parameters.attach_gradients()
        describe = self.objective.describe_distributions if exact_kl else None
        return ColumnsOfRollout(rollout_buffer, self.inputs, describe)

    def evaluate(self, minibatch: Columns, settings: UpdateSettings) -> MinibatchFigures:
        """Evaluate the objective; see `Update`."""
        return self.objective.evaluate(minibatch, settings)

    def differentiate(self, settings: UpdateSettings) -> float:
        """Compute the gradient; see `Update`."""
        self.objective.backward(settings)
        norm = math.sqrt(float(np.dot(self._gradient, self._gradient)))
        if norm + NORM_EPSILON >= settings.max_grad_norm:
            self._gradient *= settings.max_grad_norm / (norm + NORM_EPSILON)
        return norm

    def step(self) -> None:
        """Take one step of Adam; see `Update`."""
        self.memory.adam.step(fused=True)

    def sum_parameters(self) -> float:
        """Add up all parameters; see `Update`."""
        return float(np.add.reduce(self._parameters))

    def remember(self) -> Remembered:
        """Copy parameters and Adam's state; see `Update`."""
        return [array.copy() for array in self._changed]

    def restore(self, remembered: Remembered) -> None:
        """Write them back; see `Update`."""
        for array, copy in zip(self._changed, remembered, strict=True):
            array[...] = copy


class ColumnsOfRollout:
    """A rollout, passed over in columns.

    Args:
        rollout_buffer: A full buffer.
        inputs: Preprocesses observations.
        describe: From what the networks read, shape (n_inputs, n), to `Columns.old_distributions`; None: not wanted.
    """

    why_kl_is_estimated = ""

    def __init__(
        self,
        rollout_buffer: RolloutBuffer,
        inputs: NetworkInputs,
        describe: Callable[[Array], Array] | None = None,
    ) -> None:
        flatten(rollout_buffer)
        self._buffer, self._inputs = rollout_buffer, inputs
        self._action_dim = rollout_buffer.actions.shape[1]
        figures = (rollout_buffer.values, rollout_buffer.log_probs, rollout_buffer.advantages, rollout_buffer.returns)
        self._others = np.vstack([rows.T.astype(np.float32) for rows in (rollout_buffer.actions, *figures)])
        if describe is not None:
            observations = np.array_split(rollout_buffer.observations, -(-self._others.shape[1] // DESCRIBED_AT_ONCE))
            described = np.hstack([describe(inputs(some)) for some in observations])
            self._others = np.vstack([self._others, described])

    def minibatches(self, batch_size: int) -> Iterator[Columns]:
        """Pass once over it in random order.

        Args:
            batch_size: Transitions per minibatch; the last may have fewer.

        Yields:
            Minibatches.
        """
        rows = shuffle_rows(self._buffer)
        if len(rows) <= batch_size:
            yield self._everything  # no order: what is computed from a minibatch are means over it
            return
        n_at_once = batch_size * max(1, BYTES_AT_ONCE // (batch_size * self._inputs.bytes_per_observation))
        for start in range(0, len(rows), n_at_once):
            picked = rows[start : start + n_at_once]
            observations = self._inputs(self._buffer.observations.take(picked, axis=0))
            others = self._others.take(picked, axis=1)
            for some, others_of_them in zip(cut(observations, batch_size), cut(others, batch_size), strict=True):
                yield self._columns(some, others_of_them)

    @functools.cached_property
    def _everything(self) -> Columns:
        """The whole rollout as one minibatch."""
        return self._columns(self._inputs(self._buffer.observations), self._others)

    def _columns(self, observations: Array, others: Array) -> Columns:
        """Give transitions' observations, shape (n_inputs, batch), and their other rows, shape (n, batch), names."""
        n_rows = self._action_dim + N_FIGURES
        old_distributions = others[n_rows:] if len(others) > n_rows else None
        old_values, old_log_prob, advantages, returns = others[self._action_dim : n_rows]
        actions = others[: self._action_dim]
        return Columns(observations, actions, old_values, old_log_prob, advantages, returns, old_distributions)
