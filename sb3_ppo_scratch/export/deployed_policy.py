"""A policy as a plain module from observations to actions, with all that SB3's `predict` does around its network.

What is here: `predict(deterministic=True)` in torch alone. What is not: the environment's normalisation
(`fixed_normalization.py`), writing everything to a file (`onnx_file.py`).
"""

import inspect
from collections.abc import Mapping

import torch as th
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy

from sb3_ppo_scratch.errors import ArgumentError
from sb3_ppo_scratch.export.fixed_normalization import FixedNormalization, FramesNormalization, fixed_normalizations

Observations = th.Tensor | dict[str, th.Tensor]


class DeployedPolicy(th.nn.Module):
    """Returns for observations the actions that `predict(deterministic=True)` returns.

    Args:
        policy: The policy of any SB3 algorithm.
        normalizations: What is done to observations before it, as `fixed_normalizations` finds it.
    """

    low: th.Tensor
    high: th.Tensor

    def __init__(self, policy: BasePolicy, normalizations: Mapping[str, FixedNormalization]) -> None:
        super().__init__()
        self.policy = policy
        # A module has no attribute with an empty name, nor with that of a method.
        self.normalizations = th.nn.ModuleDict({f"of_{name}": each for name, each in normalizations.items()})
        space = policy.action_space
        self.is_box = isinstance(space, spaces.Box)
        if isinstance(space, spaces.Box):
            self.register_buffer("low", th.as_tensor(space.low))
            self.register_buffer("high", th.as_tensor(space.high))

    def forward(self, observations: Observations) -> th.Tensor:
        """Choose actions.

        Args:
            observations: As the environments return them, shape (batch, *shape), channels first, and stacked if the
                policy observes stacked frames; for a Dict space one such entry per key. Where frames are normalised,
                NaN stands for those that are not there yet (`FramesNormalization`); elsewhere 0, as in SB3.

        Returns:
            Actions, shape (batch, *action_shape).
        """
        if isinstance(observations, dict):
            seen: Observations = {name: self._normalized(name, values) for name, values in observations.items()}
        else:
            seen = self._normalized("", observations)
        actions = self.policy._predict(seen, deterministic=True).reshape(-1, *(self.policy.action_space.shape or ()))
        if not self.is_box:
            return actions
        if self.policy.squash_output:
            return self.low + 0.5 * (actions + 1.0) * (self.high - self.low)
        return actions.clamp(self.low, self.high)

    @property
    def pads_with_nan(self) -> bool:
        """Whether NaN stands for frames that are not there yet."""
        return any(isinstance(each, FramesNormalization) for each in self.normalizations.values())

    def _normalized(self, name: str, values: th.Tensor) -> th.Tensor:
        """Normalise one entry, shape (batch, ...), if it has statistics; a single space has the empty name."""
        key = f"of_{name}"
        return self.normalizations[key](values) if key in self.normalizations else values


def deployed_policy(model: BaseAlgorithm) -> DeployedPolicy:
    """Take the policy out of a model, with the `VecNormalize` of its environment.

    Args:
        model: Any SB3 model.

    Returns:
        It as a module, on the CPU, in evaluation mode.

    Raises:
        ArgumentError: If its policy keeps a state from step to step, or what happens to its observations cannot be
            done by a file.
    """
    if "episode_starts" in inspect.signature(model.policy._predict).parameters:
        raise ArgumentError(
            f"a {type(model.policy).__name__} keeps a state from step to step; only policies that choose from one "
            "observation can be exported."
        )
    normalizations = {} if model.env is None else fixed_normalizations(model.env, model.policy.observation_space)
    return DeployedPolicy(model.policy.cpu(), normalizations).eval()
