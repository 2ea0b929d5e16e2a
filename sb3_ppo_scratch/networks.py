"""Changes to the networks that SB3's policies consist of: no critic, or a trunk that actor and critic share.

What is here: modules, and the arguments by which SB3's policies build themselves from them. What is not: what the
networks' outputs mean (SB3's distributions), and the algorithms that ask for such changes (`scratch_algorithm.py`).
"""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, FlattenExtractor, NatureCNN, create_mlp

from sb3_ppo_scratch.errors import ArgumentError
from sb3_ppo_scratch.updates.no_values import NoValues

DEFAULT_LAYERS = (64, 64)
"""What SB3's policies for vectors have where `net_arch` is not given."""


class SharedTrunk(BaseFeaturesExtractor):
    """A features extractor followed by linear layers: all that actor and critic share.

    Args:
        observation_space: The observation space.
        extractor_class: The extractor at its beginning.
        extractor_kwargs: Further arguments of the extractor.
        layers: Widths of the linear layers.
        activation_fn: What follows each of them.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        extractor_class: type[BaseFeaturesExtractor] = FlattenExtractor,
        extractor_kwargs: Mapping[str, Any] | None = None,
        layers: Sequence[int] = DEFAULT_LAYERS,
        activation_fn: type[th.nn.Module] = th.nn.Tanh,
    ) -> None:
        extractor = extractor_class(observation_space, **(extractor_kwargs or {}))
        super().__init__(observation_space, layers[-1] if layers else extractor.features_dim)
        self.extractor = extractor
        self.layers = th.nn.Sequential(*create_mlp(extractor.features_dim, -1, list(layers), activation_fn))

    def forward(self, observations: Any) -> th.Tensor:
        """Compute features, shape (batch, features_dim), of preprocessed observations, shape (batch, *obs_shape)."""
        features: th.Tensor = self.layers(self.extractor(observations))
        return features


def share_trunk(policy_class: type[BasePolicy], policy_kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Let actor and critic share everything but their last layers.

    Args:
        policy_class: The policy's class.
        policy_kwargs: Its arguments; `net_arch` is a list of widths.

    Returns:
        Arguments with which SB3 builds the same networks, the linear layers moved into a shared features extractor.

    Raises:
        ArgumentError: If `net_arch` names separate layers, or the features extractors are to be separate.
    """
    kwargs = dict(policy_kwargs)
    layers = kwargs.pop("net_arch", None)
    if isinstance(layers, Mapping):
        raise ArgumentError(
            f"`share_features=True` contradicts net_arch={layers!r}, which gives actor and critic layers of their own; "
            "pass net_arch as a list of widths."
        )
    if not kwargs.get("share_features_extractor", True):
        raise ArgumentError("`share_features=True` contradicts policy_kwargs=dict(share_features_extractor=False).")
    default_extractor = _default_of(policy_class, "features_extractor_class")
    if layers is None:
        layers = DEFAULT_LAYERS if default_extractor is not NatureCNN else ()
    trunk = {
        "extractor_class": kwargs.pop("features_extractor_class", default_extractor),
        "extractor_kwargs": kwargs.pop("features_extractor_kwargs", None),
        "layers": list(layers),
        "activation_fn": kwargs.get("activation_fn", th.nn.Tanh),
    }
    return {**kwargs, "net_arch": [], "features_extractor_class": SharedTrunk, "features_extractor_kwargs": trunk}


def remove_critic(policy: ActorCriticPolicy) -> None:
    """Take away everything that only the value estimate needs; values are 0 from then on.

    The actor's initial weights stay those of a policy with a critic.

    Args:
        policy: A policy that has not learned yet; its optimiser is made anew, for the parameters that are left.
    """
    policy.value_net = NoValues()  # type: ignore[assignment] # SB3 only calls it
    if hasattr(policy.mlp_extractor, "value_net"):
        policy.mlp_extractor.value_net = th.nn.Sequential()
    if not policy.share_features_extractor:
        policy.share_features_extractor = True
        policy.vf_features_extractor = policy.features_extractor
    rate = policy.optimizer.param_groups[0]["lr"]
    policy.optimizer = policy.optimizer_class(policy.parameters(), lr=rate, **policy.optimizer_kwargs)  # type: ignore[call-arg] # all have it


def _default_of(policy_class: type[BasePolicy], argument: str) -> Any:
    """Look up a constructor argument's default."""
    return inspect.signature(policy_class.__init__).parameters[argument].default
