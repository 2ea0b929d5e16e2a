"""How the policy acts during a rollout: by its own forward pass, or, where the closed form covers it, without torch.

What is here: from observations to actions, values and log-probabilities. What is not: the loop over steps
(`rollout_collector.py`).
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch as th
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import PyTorchObs
from stable_baselines3.common.utils import obs_as_tensor

from sb3_ppo_scratch.updates.closed_form import ClosedFormUpdate
from sb3_ppo_scratch.updates.snapshot import parts_of

Observations = Any
"""An array, shape (n_envs, *shape), or a dict of such arrays."""


class Decision(NamedTuple):
    """What the policy says about some observations."""

    obs_tensor: PyTorchObs
    """The observations as tensors."""
    actions: np.ndarray
    """Shape (n_envs, *action_shape)."""
    values: th.Tensor
    """Shape (n_envs, 1)."""
    log_probs: th.Tensor
    """Shape (n_envs,)."""


class Actor(Protocol):
    """Something that acts for a policy, drawing from the random streams that SB3's distributions draw from."""

    policy: ActorCriticPolicy

    def act(self, observations: Observations) -> Decision:
        """Sample an action for each observation, and evaluate both; observations of shape (n_envs, *shape)."""

    def values(self, observations: Observations) -> th.Tensor:
        """Estimate the values of observations, shape (n, *shape), as a tensor of shape (n, 1)."""

    def is_current(self, policy: ActorCriticPolicy) -> bool:
        """Tell whether this still acts for a policy, which a callback may have changed in the middle of a rollout."""


class TorchActor:
    """Acts by the policy's own methods.

    Args:
        policy: Any policy.
    """

    def __init__(self, policy: ActorCriticPolicy) -> None:
        self.policy = policy

    @th.no_grad()
    def act(self, observations: Observations) -> Decision:
        """Sample actions; see `Actor`.

        Raises:
            ValueError: If a parameter or an observation is not finite, also where torch's distributions do not look.
        """
        obs_tensor = obs_as_tensor(observations, self.policy.device)
        actions, values, log_probs = self.policy(obs_tensor)
        _check_outputs(log_probs.sum().item())
        return Decision(obs_tensor, actions.cpu().numpy(), values, log_probs)

    @th.no_grad()
    def values(self, observations: Observations) -> th.Tensor:
        """Estimate values, shape (n, 1); see `Actor`."""
        return self.policy.predict_values(self.policy.obs_to_tensor(observations)[0])

    def is_current(self, policy: ActorCriticPolicy) -> bool:
        """Tell whether this is the policy; see `Actor`."""
        return policy is self.policy


class LeanActor:
    """Acts by the arrays of the closed-form update, in microseconds: no distribution objects, no validation.

    Args:
        policy: The policy.
        update: The update that works on its parameters' memory.
    """

    def __init__(self, policy: ActorCriticPolicy, update: ClosedFormUpdate) -> None:
        self.policy, self._inputs = policy, update.inputs
        self._network, self._head = update.objective.network, update.objective.head
        self._parameters, self._parts = update.memory.parameters, parts_of(policy)
        assert policy.action_space.shape is not None
        self._action_shape = policy.action_space.shape

    @np.errstate(all="ignore")  # as torch: what is not finite is told below
    def act(self, observations: Observations) -> Decision:
        """Sample actions; see `Actor`.

        Raises:
            ValueError: If a parameter or an observation is not finite (SB3's distributions raise then, too).
        """
        columns = self._inputs(observations, self._network.input_memory(len(observations)))
        outputs, values = self._network.forward(columns)
        self._head.condition(outputs)
        actions = self._head.sample()
        log_probs = self._head.log_prob(actions)
        _check_outputs(np.add.reduce(log_probs))
        actions = np.ascontiguousarray(actions.T).reshape(-1, *self._action_shape)
        values = values.T.copy()  # the next step overwrites them
        return Decision(th.from_numpy(observations), actions, th.from_numpy(values), th.from_numpy(log_probs))

    def values(self, observations: Observations) -> th.Tensor:
        """Estimate values, shape (n, 1); see `Actor`."""
        return th.from_numpy(self._network.forward(self._inputs(observations))[1].T.copy())

    def is_current(self, policy: ActorCriticPolicy) -> bool:
        """Tell whether the policy has the same parts, and its parameters lie where they lay; see `Actor`."""
        return policy is self.policy and self._parameters.is_in_place() and self._parts.are_the_same()


def _check_outputs(log_probs: float) -> None:
    """Look at the sum of log-probabilities, into which all outputs of the policy have gone.

    Raises:
        ValueError: If it is not finite.
    """
    if not math.isfinite(log_probs):
        raise ValueError(
            "The policy's outputs are not finite, so its parameters or an observation are NaN or infinite."
        )


def stack_observations(observations: Sequence[Any]) -> Observations:
    """Make a batch of single observations.

    Args:
        observations: Arrays of one shape, or dicts of such arrays.

    Returns:
        One array, shape (n, *shape), or a dict of such arrays.
    """
    if isinstance(observations[0], dict):
        return {name: np.stack([each[name] for each in observations]) for name in observations[0]}
    return np.stack(observations)
