"""Changes to the networks that SB3's policies consist of: no critic, or a trunk that actor and critic share.

What is here: modules, and the arguments by which SB3's policies build themselves from them. What is not: what the
networks' outputs mean (SB3's distributions), and the algorithms that ask for such changes (`scratch_algorithm.py`).
"""

import inspect
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
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
        policy_kwargs: Its arguments, `net_arch` as a list of widths; for others the class's defaults hold.

    Returns:
        Arguments with which SB3 builds the same networks, the linear layers moved into a shared features extractor.

    Raises:
        ArgumentError: If `net_arch` is no list of widths, or the features extractors are to be separate.
    """
    kwargs = dict(policy_kwargs)

    def take(argument: str) -> Any:
        return kwargs.pop(argument) if argument in kwargs else _default_of(policy_class, argument)

    extractor_class, layers = take("features_extractor_class"), take("net_arch")
    if layers is None:
        layers = () if extractor_class is NatureCNN else DEFAULT_LAYERS
    if not kwargs.get("share_features_extractor", _default_of(policy_class, "share_features_extractor")):
        raise ArgumentError("`share_features=True` contradicts policy_kwargs=dict(share_features_extractor=False).")
    trunk = {
        "extractor_class": extractor_class,
        "extractor_kwargs": take("features_extractor_kwargs"),
        "layers": _as_widths(layers),
        "activation_fn": kwargs.get("activation_fn", _default_of(policy_class, "activation_fn")),
    }
    return {**kwargs, "net_arch": [], "features_extractor_class": SharedTrunk, "features_extractor_kwargs": trunk}


def check_trunk_is_shared(policy: ActorCriticPolicy) -> None:
    """Check that a policy has built itself as `share_trunk` says: a subclass may put in layers of its own.

    Args:
        policy: The policy.

    Raises:
        ArgumentError: If actor or critic has layers of its own before its last one.
    """
    if any(True for _ in policy.mlp_extractor.parameters()):
        raise ArgumentError(
            f"`share_features=True` contradicts {type(policy).__name__}, whose mlp_extractor has layers that come "
            "after what is shared; leave `_build_mlp_extractor` and `net_arch` to SB3."
        )


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


def _as_widths(net_arch: Any) -> list[int]:
    """Read `net_arch` as the widths of layers that actor and critic share.

    Raises:
        ArgumentError: If it is none, or names separate layers (also in a list, as old versions of SB3 wanted it).
    """
    entries: list[Any] = list(net_arch) if isinstance(net_arch, Iterable) else [None]
    separate = any(isinstance(each, Mapping) for each in (net_arch, *entries))
    if not separate and all(isinstance(width, Integral) and int(width) > 0 for width in entries):
        return [int(width) for width in entries]
    what = "gives actor and critic layers of their own" if separate else "holds no widths"
    raise ArgumentError(
        f"`share_features=True` contradicts net_arch={net_arch!r} in policy_kwargs, which {what}; pass a list of "
        "widths."
    )


def _default_of(policy_class: type[BasePolicy], argument: str) -> Any:
    """Look up a constructor argument's default in the first class that names the argument: others only pass it on.

    Raises:
        ArgumentError: If none does.
    """
    for each in policy_class.__mro__:
        parameter = inspect.signature(each.__init__).parameters.get(argument)  # type: ignore[misc] # of a class, not an instance
        if parameter is not None and parameter.default is not parameter.empty:
            return parameter.default
    raise ArgumentError(
        f"`share_features=True` needs a policy that knows `{argument}`; {policy_class.__name__} does not."
    )
