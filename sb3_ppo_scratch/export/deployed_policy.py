"""A policy as a plain module from observations to actions, with all that SB3's `predict` does around its network.

What is here: `predict(deterministic=True)` in torch alone. What is not: writing it to a file (`onnx_file.py`).
"""

import inspect

import torch as th
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecNormalize, unwrap_vec_normalize

from sb3_ppo_scratch.errors import ArgumentError
from sb3_ppo_scratch.gaussian_distribution import GaussianHead

Observations = th.Tensor | dict[str, th.Tensor]


class FixedNormalization(th.nn.Module):
    """What a `VecNormalize` does to one observation, with statistics that stand still.

    Args:
        moments: Its running mean and variance.
        epsilon: Its epsilon.
        clip: Its `clip_obs`.
    """

    mean: th.Tensor
    deviation: th.Tensor

    def __init__(self, moments: RunningMeanStd, epsilon: float, clip: float) -> None:
        super().__init__()
        self.register_buffer("mean", th.as_tensor(moments.mean, dtype=th.float64))
        self.register_buffer("deviation", th.as_tensor((moments.var + epsilon) ** 0.5, dtype=th.float64))
        self._clip = clip

    def forward(self, observations: th.Tensor) -> th.Tensor:
        """Normalise.

        Args:
            observations: Shape (batch, *shape).

        Returns:
            The same shape, float32.
        """
        return ((observations - self.mean) / self.deviation).clamp(-self._clip, self._clip).float()


class DeployedPolicy(th.nn.Module):
    """Returns for observations the actions that `predict(deterministic=True)` returns.

    Args:
        policy: The policy of any SB3 algorithm.
        normalize: The `VecNormalize` that its observations come from; None: it has none, or it is left out.

    Raises:
        ArgumentError: If the observations are of a kind that cannot be told apart in a file.
    """

    low: th.Tensor
    high: th.Tensor

    def __init__(self, policy: BasePolicy, normalize: VecNormalize | None = None) -> None:
        super().__init__()
        self.policy = policy
        self.normalizations = _normalizations(normalize)
        space = policy.action_space
        self.is_box = isinstance(space, spaces.Box)
        if isinstance(space, spaces.Box):
            self.register_buffer("low", th.as_tensor(space.low))
            self.register_buffer("high", th.as_tensor(space.high))

    def forward(self, observations: Observations) -> th.Tensor:
        """Choose actions.

        Args:
            observations: As the environments return them, shape (batch, *shape), channels first; for a Dict space one
                such entry per key.

        Returns:
            Actions, shape (batch, *action_shape).
        """
        if isinstance(observations, dict):
            seen: Observations = {name: self._normalized(name, values) for name, values in observations.items()}
        else:
            seen = self._normalized("", observations)
        actions = most_likely_actions(self.policy, seen).reshape(-1, *(self.policy.action_space.shape or ()))
        if not self.is_box:
            return actions
        if self.policy.squash_output:
            return self.low + 0.5 * (actions + 1.0) * (self.high - self.low)
        return actions.clamp(self.low, self.high)

    def _normalized(self, name: str, values: th.Tensor) -> th.Tensor:
        """Normalise one entry, shape (batch, ...), if it has statistics; a single space has the empty name."""
        key = f"of_{name}"
        return self.normalizations[key](values) if key in self.normalizations else values


def most_likely_actions(policy: BasePolicy, observations: Observations) -> th.Tensor:
    """Choose actions as SB3's `_predict` does, by operations that any batch size can follow.

    Args:
        policy: The policy.
        observations: Normalised, as `predict` hands them to it.

    Returns:
        Actions, shape (batch, n), neither clipped nor in the environment's units.
    """
    if isinstance(policy, ActorCriticPolicy) and isinstance(policy.action_net, GaussianHead):
        # Tracing the spread would fix the batch size, and the most likely actions are the means alone.
        features = BasePolicy.extract_features(policy, observations, policy.pi_features_extractor)
        means: th.Tensor = policy.action_net.mean(policy.mlp_extractor.forward_actor(features))
        return means
    return policy._predict(observations, deterministic=True)


def _normalizations(normalize: VecNormalize | None) -> th.nn.ModuleDict:
    """Build what a `VecNormalize` does, by the name of the entry; empty if it leaves observations alone."""
    if normalize is None or not normalize.norm_obs:
        return th.nn.ModuleDict()
    moments = normalize.obs_rms if isinstance(normalize.obs_rms, dict) else {"": normalize.obs_rms}
    return th.nn.ModuleDict(
        {
            f"of_{name}": FixedNormalization(each, normalize.epsilon, normalize.clip_obs)
            for name, each in moments.items()
        }
    )


def deployed_policy(model: BaseAlgorithm) -> DeployedPolicy:
    """Take the policy out of a model, with the `VecNormalize` of its environment.

    Args:
        model: Any SB3 model.

    Returns:
        It as a module, on the CPU, in evaluation mode.

    Raises:
        ArgumentError: If its policy keeps a state from step to step.
    """
    if "episode_starts" in inspect.signature(model.policy._predict).parameters:
        raise ArgumentError(
            f"a {type(model.policy).__name__} keeps a state from step to step; only policies that choose from one "
            "observation can be exported."
        )
    normalize = unwrap_vec_normalize(model.env) if model.env is not None else None
    return DeployedPolicy(model.policy.cpu(), normalize).eval()
