"""Action distributions in NumPy: sampling, log-probabilities, entropy, and how the loss depends on their parameters.

What is here: one class per kind of action space. What is not: the network whose outputs are the parameters (`mlp.py`)
and the objective (`closed_form.py`). The derivations stand in docs/closed-form.md. As in `mlp.py`, the batch is the
last axis.

Samples are drawn by torch's generators in the way in which `torch.distributions` draws them, so that the same seed
gives the same actions as SB3's own distributions do.
"""

import functools
import math
import threading
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch as th

from sb3_ppo_scratch.updates import kernels
from sb3_ppo_scratch.updates.kernels import Array

LOG_2_PI = math.log(2 * math.pi)


class Head(Protocol):
    """Distributions over actions; each method is about the outputs that `condition` was given last."""

    def condition(self, outputs: Array) -> None:
        """Take the actor's outputs as parameters.

        Args:
            outputs: Shape (n_outputs, batch); used up.
        """

    def sample(self) -> Array:
        """Draw one action per distribution.

        Returns:
            Shape (action_dim, batch).
        """

    def log_prob(self, actions: Array) -> Array:
        """Evaluate actions.

        Args:
            actions: Shape (action_dim, batch).

        Returns:
            Log-probabilities, shape (batch,).
        """

    def mean_entropy(self) -> float:
        """Average the distributions' entropies over the batch."""

    def backward(self, d_log_prob: Array, d_entropy: float, gradient: Array) -> None:
        """Carry the loss's derivatives on to the actor's outputs, for the actions whose `log_prob` was asked last.

        Args:
            d_log_prob: Derivative of the loss by each log-probability, shape (batch,).
            d_entropy: Derivative of the loss by the mean entropy.
            gradient: Where the derivatives by the outputs go, shape (n_outputs, batch).
        """

    def parameters(self) -> Array:
        """Describe the distributions, for `kl_from`.

        Returns:
            Shape (n_parameters, batch).
        """

    def kl_from(self, old: Array) -> Array:
        """Measure how far the distributions are from others: KL(old || these).

        Args:
            old: What `parameters` has returned for the others, shape (n_parameters, batch).

        Returns:
            Divergences, shape (batch,).
        """

    def add_kl_gradient(self, old: Array, d_kl: float, gradient: Array) -> None:
        """Add to what `backward` has written the derivatives of a term that contains these divergences.

        Args:
            old: As for `kl_from`.
            d_kl: Derivative of the loss by each divergence.
            gradient: As for `backward`.
        """


class CategoricalHead:
    """Independent categorical distributions given by logits: one for Discrete, several for MultiDiscrete.

    `log p = z - log sum exp z`, `H = -sum p log p`; see `Head`.

    Args:
        sizes: Number of categories of each distribution.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        ends = np.cumsum(sizes).tolist()
        self._sizes = list(sizes)
        self._spans = [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]
        self._categories = np.concatenate([np.arange(size) for size in sizes])[:, np.newaxis]

    def condition(self, outputs: Array) -> None:
        """Take logits, shape (n_outputs, batch)."""
        for span in self._spans:
            logits = outputs[span]
            logits -= np.maximum.reduce(logits, axis=0)  # so that nothing overflows
            logits -= np.log(np.add.reduce(np.exp(logits), axis=0))
        self._log_p, self._p = outputs, np.exp(outputs)

    def sample(self) -> Array:
        """Draw category numbers, int64, shape (n_distributions, batch)."""
        if len(self._spans) == 1:
            return draw_categories(self._p)[np.newaxis]
        return np.stack([draw_categories(self._p[span]) for span in self._spans])

    def log_prob(self, actions: Array) -> Array:
        """Evaluate category numbers, shape (n_distributions, batch), to shape (batch,)."""
        each = actions if len(self._sizes) == 1 else np.repeat(actions, self._sizes, axis=0)
        self._chosen = self._categories == each
        log_prob: Array = np.add.reduce(self._log_p * self._chosen, axis=0)
        return log_prob

    def mean_entropy(self) -> float:
        """Average the entropies; see `Head`."""
        return -float(np.vdot(self._p, self._log_p)) / len(self._p[0])

    def backward(self, d_log_prob: Array, d_entropy: float, gradient: Array) -> None:
        """Carry derivatives, shape (batch,), on to the logits, shape (n_outputs, batch).

        `d log p[a] / d z = onehot(a) - p` and `d H / d z = -p (log p + H)`.
        """
        np.subtract(self._chosen, self._p, out=gradient)
        gradient *= d_log_prob
        if d_entropy != 0:
            weighted = self._p * self._log_p
            for span in self._spans:
                weighted[span] -= self._p[span] * np.add.reduce(weighted[span], axis=0)
            weighted *= d_entropy / len(d_log_prob)
            gradient -= weighted

    def parameters(self) -> Array:
        """Give log-probabilities, shape (n_outputs, batch)."""
        return self._log_p.copy()

    def kl_from(self, old: Array) -> Array:
        """Compute `sum p_old (log p_old - log p)` from log-probabilities, shape (n_outputs, batch), shape (batch,)."""
        divergences: Array = np.add.reduce(np.exp(old) * (old - self._log_p), axis=0)
        return divergences

    def add_kl_gradient(self, old: Array, d_kl: float, gradient: Array) -> None:
        """Add `d KL / d z = p - p_old`, shape (n_outputs, batch)."""
        gradient += d_kl * (self._p - np.exp(old))


class BernoulliHead:
    """Independent Bernoulli distributions given by logits (MultiBinary).

    With `s = log(1 + exp z)` and `p = exp(z - s)`: `log p[a] = a z - s`, `H = s - p z`; see `Head`.
    """

    def condition(self, outputs: Array) -> None:
        """Take logits, shape (n_outputs, batch)."""
        self._logits, self._softplus = outputs, np.logaddexp(0, outputs)
        self._p = np.exp(outputs - self._softplus)

    def sample(self) -> Array:
        """Draw zeros and ones, float, shape (n_outputs, batch); NaN where a probability is none."""
        probabilities = th.from_numpy(np.ascontiguousarray(self._p.T))
        try:
            draws: Array = th.bernoulli(probabilities).numpy().T
        except RuntimeError:  # torch draws nothing at all then
            return np.full_like(self._p, np.nan)
        return draws

    def log_prob(self, actions: Array) -> Array:
        """Evaluate zeros and ones, shape (n_outputs, batch), to shape (batch,)."""
        self._actions = actions
        log_prob: Array = np.add.reduce(actions * self._logits - self._softplus, axis=0)
        return log_prob

    def mean_entropy(self) -> float:
        """Average the entropies; see `Head`."""
        return float(np.sum(self._softplus) - np.vdot(self._p, self._logits)) / len(self._p[0])

    def backward(self, d_log_prob: Array, d_entropy: float, gradient: Array) -> None:
        """Carry derivatives, shape (batch,), on to the logits, shape (n_outputs, batch).

        `d log p[a] / d z = a - p` and `d H / d z = -z p (1 - p)`.
        """
        np.subtract(self._actions, self._p, out=gradient)
        gradient *= d_log_prob
        if d_entropy != 0:
            gradient -= (d_entropy / len(d_log_prob)) * self._logits * self._p * (1 - self._p)

    def parameters(self) -> Array:
        """Give logits, shape (n_outputs, batch)."""
        return self._logits.copy()

    def kl_from(self, old: Array) -> Array:
        """Compute `sum p_old (z_old - z) + s - s_old` from logits, shape (n_outputs, batch), to shape (batch,)."""
        softplus = np.logaddexp(0, old)
        terms = np.exp(old - softplus) * (old - self._logits) + self._softplus - softplus
        divergences: Array = np.add.reduce(terms, axis=0)
        return divergences

    def add_kl_gradient(self, old: Array, d_kl: float, gradient: Array) -> None:
        """Add `d KL / d z = p - p_old`, shape (n_outputs, batch)."""
        gradient += d_kl * (self._p - np.exp(old - np.logaddexp(0, old)))


class GaussianHead:
    """A Gaussian with diagonal covariance (Box): means from the actor, deviations as parameters of their own.

    `log p[a] = -sum((a - mean)^2 / (2 std^2) + log std + log(2 pi) / 2)`, `H = sum(log std + (1 + log(2 pi)) / 2)`; see
    `Head`.

    Args:
        log_std: Logarithms of the standard deviations, shape (action_dim, 1).
        log_std_gradient: Where the loss's derivatives by them go, same shape.
    """

    def __init__(self, log_std: Array, log_std_gradient: Array) -> None:
        self._log_std, self._log_std_gradient = log_std, log_std_gradient

    def condition(self, outputs: Array) -> None:
        """Take means, shape (action_dim, batch)."""
        self._means = outputs
        self._constant = float(np.add.reduce(self._log_std, axis=None)) + 0.5 * LOG_2_PI * len(outputs)

    def sample(self) -> Array:
        """Draw actions, float, shape (action_dim, batch)."""
        noise, values = _noise(self._means.shape[::-1], self._means.dtype, threading.get_ident())
        noise.normal_()
        actions: Array = self._means + np.exp(self._log_std) * values.T
        return actions

    def log_prob(self, actions: Array) -> Array:
        """Evaluate actions, shape (action_dim, batch), to shape (batch,)."""
        self._precision = np.exp(-2 * self._log_std)
        self._deviations = actions - self._means
        self._squares = self._deviations * self._deviations
        self._squares *= self._precision
        log_prob: Array = np.add.reduce(self._squares, axis=0)
        log_prob *= -0.5
        log_prob -= self._constant
        return log_prob

    def mean_entropy(self) -> float:
        """Give the entropy, which is the same for the whole batch; see `Head`."""
        return float(self._constant + 0.5 * len(self._means))

    def backward(self, d_log_prob: Array, d_entropy: float, gradient: Array) -> None:
        """Carry derivatives, shape (batch,), on to the means, shape (action_dim, batch), and to the log std.

        `d log p / d mean = (a - mean) / std^2`, `d log p / d log std = (a - mean)^2 / std^2 - 1`,
        `d H / d log std = 1`.
        """
        self._squares -= 1
        np.dot(self._squares, d_log_prob[:, np.newaxis], out=self._log_std_gradient)
        self._log_std_gradient += d_entropy
        np.multiply(self._deviations, self._precision, out=gradient)
        gradient *= d_log_prob

    def parameters(self) -> Array:
        """Give means and, below them, log standard deviations, shape (2 * action_dim, batch)."""
        return np.concatenate([self._means, np.broadcast_to(self._log_std, self._means.shape)])

    def kl_from(self, old: Array) -> Array:
        """Compute divergences, shape (batch,), from means and log standard deviations, shape (2 * action_dim, batch).

        `sum log std - log std_old + (std_old^2 + (mean_old - mean)^2) / (2 std^2) - 1 / 2`.
        """
        old_log_std = old[len(self._means) :]
        terms = self._log_std - old_log_std + 0.5 * self._relative_squares(old) - 0.5
        divergences: Array = np.add.reduce(terms, axis=0)
        return divergences

    def add_kl_gradient(self, old: Array, d_kl: float, gradient: Array) -> None:
        """Add `(mean - mean_old) / std^2`, shape (action_dim, batch), and `1 - (std_old^2 + (...)^2) / std^2`."""
        gradient += d_kl * (self._means - old[: len(self._means)]) * np.exp(-2 * self._log_std)
        self._log_std_gradient += d_kl * np.add.reduce(1 - self._relative_squares(old), axis=1, keepdims=True)

    def _relative_squares(self, old: Array) -> Array:
        """Compute `(std_old^2 + (mean_old - mean)^2) / std^2`, shape (action_dim, batch)."""
        old_means, old_log_std = old[: len(self._means)], old[len(self._means) :]
        squares = np.exp(2 * old_log_std) + (old_means - self._means) ** 2
        relative: Array = squares * np.exp(-2 * self._log_std)
        return relative


def draw_categories(probabilities: Array) -> Array:
    """Draw from categorical distributions, with the random numbers and thus the results of `torch.multinomial`.

    Args:
        probabilities: Shape (n_categories, batch).

    Returns:
        Category numbers, int64, shape (batch,).

    Source:
        The smallest of exponential variables with rates p_k is the k-th with probability p_k; torch itself draws one
        sample so, with validation that takes four times as long:
        https://github.com/pytorch/pytorch/blob/v2.8.0/aten/src/ATen/native/Distributions.cpp#L579-L620
    """
    # The order in memory decides which random number goes where, and SB3's is (batch, n_categories).
    by_row = probabilities.T
    if _torch_draws_by_exponentials():
        return _draw_by_exponentials(by_row)
    return th.multinomial(th.from_numpy(np.ascontiguousarray(by_row)), 1, replacement=True).numpy()[:, 0]


def _draw_by_exponentials(probabilities: Array, generator: th.Generator | None = None) -> Array:
    """Draw category numbers, shape (batch,), for probabilities of shape (batch, n_categories)."""
    times, values = _noise(probabilities.shape, probabilities.dtype, threading.get_ident())
    times.exponential_(generator=generator)
    draws: Array = (probabilities / values).argmax(axis=1)
    return draws


@functools.lru_cache(maxsize=16)
def _noise(shape: tuple[int, ...], dtype: np.dtype[Any], _thread: int) -> tuple[th.Tensor, Array]:
    """Keep memory for a thread's random numbers, as tensor and array of one shape: a call of torch less per action."""
    values = kernels.empty(shape, dtype)
    return th.from_numpy(values), values


@functools.cache
def _torch_draws_by_exponentials() -> bool:
    """Find out whether this version of torch draws as `_draw_by_exponentials` does."""
    probabilities = np.linspace(1, 2, 300, dtype=np.float32).reshape(100, 3)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    theirs = th.multinomial(
        th.from_numpy(probabilities), 1, replacement=True, generator=th.Generator().manual_seed(0)
    ).numpy()
    ours = _draw_by_exponentials(probabilities, th.Generator().manual_seed(0))
    return bool(np.array_equal(ours, theirs[:, 0]))
