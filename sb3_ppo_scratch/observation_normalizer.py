"""Observation normalisation inside the policy, so that its statistics travel in the model's zip.

What is here: the statistics as buffers of the policy, and where they act. What is not: the arithmetic of merging
moments (`wrappers/running_moments.py`) and the moment at which they move (`PPOScratch.train`).
"""

from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.preprocessing import preprocess_obs

from sb3_ppo_scratch.errors import ArgumentError
from sb3_ppo_scratch.wrappers.running_moments import RunningMoments

CLIP = 10.0
"""By default, normalised observations are clipped to this many standard deviations (value: SB3's `VecNormalize`)."""

MINIMUM_STD = 1e-4
"""Floor under the standard deviation, in units of the observation: inputs that hardly ever vary (contact flags) would
otherwise turn their first change into the largest input that the network has ever seen."""


class ObservationNormalizer(th.nn.Module):
    """Running mean and variance of the observations, as buffers (float64) of the policy.

    Forward passes never move the statistics: they stand still from the first step of a rollout to the end of its
    update, else the update would compare probabilities of differently scaled observations.

    Args:
        shape: Shape of one preprocessed observation.
        clip: Normalised observations are clipped to this many standard deviations.
    """

    mean: th.Tensor
    var: th.Tensor
    count: th.Tensor

    def __init__(self, shape: tuple[int, ...], clip: float = CLIP) -> None:
        super().__init__()
        self.clip = clip
        self.register_buffer("mean", th.zeros(shape, dtype=th.float64))
        self.register_buffer("var", th.ones(shape, dtype=th.float64))
        self.register_buffer("count", th.zeros((), dtype=th.float64))

    def forward(self, observations: th.Tensor) -> th.Tensor:
        """Normalise a batch; before the first update this only clips.

        Args:
            observations: Preprocessed observations, shape (batch, *shape), float32.

        Returns:
            The observations minus mean over standard deviation, clipped, same shape and dtype.
        """
        std = self.var.sqrt().clamp(min=MINIMUM_STD)
        return ((observations - self.mean) / std).clamp(-self.clip, self.clip).to(observations.dtype)

    def absorb(self, observations: th.Tensor) -> None:
        """Merge a rollout's observations into the statistics.

        Args:
            observations: Preprocessed observations, shape (n, *shape).
        """
        moments = RunningMoments.from_values(
            count=int(self.count), mean=self.mean.cpu().numpy(), var=self.var.cpu().numpy()
        )
        moments.update(observations.cpu().double().numpy())
        self.count.fill_(moments.count)
        self.mean.copy_(th.as_tensor(moments.mean))
        self.var.copy_(th.as_tensor(moments.var))

    def before_features(self, _extractor: th.nn.Module, inputs: tuple[th.Tensor]) -> tuple[th.Tensor]:
        """Normalise what a features extractor is about to receive (a forward pre-hook).

        Args:
            _extractor: The features extractor.
            inputs: Its one input, shape (batch, *shape).

        Returns:
            The input to use in its place, same shape.
        """
        return (self(inputs[0]),)


def attach_observation_normalizer(policy: ActorCriticPolicy, clip: float = CLIP) -> ObservationNormalizer:
    """Make a policy normalise its observations, in every one of its methods.

    All of them (`forward`, `evaluate_actions`, `predict_values`, `get_distribution`) pass through a features extractor,
    so a hook there serves any policy class, custom ones included, and the zip names no class of this project.

    Args:
        policy: A policy for a Box observation space.
        clip: Normalised observations are clipped to this many standard deviations.

    Returns:
        The normaliser, which is now the policy's submodule `observation_normalizer`.

    Raises:
        ArgumentError: If the observation space is no Box.
    """
    check_normalizable(policy.observation_space)
    assert policy.observation_space.shape is not None
    normalizer = ObservationNormalizer(policy.observation_space.shape, clip).to(policy.device)
    policy.add_module("observation_normalizer", normalizer)
    for extractor in {policy.pi_features_extractor, policy.vf_features_extractor}:
        extractor.register_forward_pre_hook(normalizer.before_features)
    return normalizer


def absorb_rollout(policy: ActorCriticPolicy, observations: np.ndarray) -> None:
    """Let the policy's normaliser absorb what was observed during a rollout.

    Args:
        policy: A policy with an attached normaliser.
        observations: Observations as the rollout buffer holds them, shape (n, *shape).
    """
    preprocessed = preprocess_obs(
        th.as_tensor(observations), policy.observation_space, normalize_images=policy.normalize_images
    )
    assert isinstance(preprocessed, th.Tensor)
    normalizer = policy.get_submodule("observation_normalizer")
    assert isinstance(normalizer, ObservationNormalizer)
    normalizer.absorb(preprocessed)


def check_normalizable(space: spaces.Space[Any]) -> None:
    """Refuse spaces whose observations have no mean.

    Args:
        space: The observation space.

    Raises:
        ArgumentError: If the space is no Box.
    """
    if not isinstance(space, spaces.Box):
        raise ArgumentError(
            f"`normalize_observations=True` needs a Box observation space, got {space}; use "
            "stable_baselines3.common.vec_env.VecNormalize(env, norm_obs_keys=[...]) for the Box parts of a Dict."
        )
