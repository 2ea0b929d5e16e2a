"""Policies that SB3 does not have: discrete choices in a continuous action space, and less simple Gaussians.

What is here: these policies, and the names of all policies. What is not: their distributions (`distributions.py`,
`gaussian_distribution.py`), and environments with a discrete action space instead (`wrappers/bin_action.py`).
"""

from typing import Any, ClassVar, get_args

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.policies import (
    ActorCriticCnnPolicy,
    ActorCriticPolicy,
    BasePolicy,
    MultiInputActorCriticPolicy,
)
from stable_baselines3.common.type_aliases import Schedule

from sb3_ppo_scratch.distributions import BinnedDistribution, Deterministic, OrdinalDistribution
from sb3_ppo_scratch.errors import ArgumentError, ArgumentTypeError
from sb3_ppo_scratch.gaussian_distribution import LOG_STD_RANGE, GaussianDistribution
from sb3_ppo_scratch.value_checks import check_choice
from sb3_ppo_scratch.wrappers.bin_action import Bins, make_atoms

DEFAULT_BINS = 11


class BinnedMlpPolicy(ActorCriticPolicy):
    """Chooses one atom per action dimension of a Box, each by a categorical distribution of its own.

    The environment keeps its Box, and `predict` returns values from it. In a hyperparameter file of rl_zoo3:
    `policy: BinnedMlpPolicy` and `policy_kwargs: "dict(bins=5)"`. To `evaluate_actions`, values that are no atoms have
    probability 0 (log-probability -inf).

    Args:
        observation_space: The observation space.
        action_space: A bounded Box of floats.
        lr_schedule: Learning rate schedule.
        *arguments: SB3's further arguments.
        bins: A number of evenly spaced atoms, or per dimension such a number or the atoms, as for `BinAction`.
        deterministic_action: What `predict(deterministic=True)` returns: the `"mode"`, `"mean"` or `"median"`.
        **keywords: SB3's further arguments.
    """

    distribution_class: ClassVar[type[BinnedDistribution]] = BinnedDistribution
    action_spaces: ClassVar[tuple[type[spaces.Space[Any]], ...]] = (spaces.Box,)

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        *arguments: Any,
        bins: Bins | None = None,
        deterministic_action: Deterministic = "mode",
        **keywords: Any,
    ) -> None:
        """Build the networks.

        Raises:
            ArgumentTypeError: If `bins` holds what is no number.
            ArgumentError: If the action space is of another kind, or an argument cannot be used.
        """
        check_choice("deterministic_action", deterministic_action, get_args(Deterministic))
        if keywords.get("use_sde"):
            raise ArgumentError(f"`use_sde=True` is not for {type(self).__name__}, which draws atoms, not noise.")
        self._atoms = self._make_atoms(action_space, bins)
        self.bins, self.deterministic_action = bins, deterministic_action
        super().__init__(observation_space, action_space, lr_schedule, *arguments, **keywords)

    def _make_atoms(self, action_space: spaces.Space[Any], bins: Bins | None) -> tuple[NDArray[Any], ...]:
        """Make each dimension's atoms, shape (n_atoms,).

        Raises:
            ArgumentTypeError: If `bins` holds what is no number.
            ArgumentError: If the action space is of another kind, or `bins` does not fit it.
        """
        if not isinstance(action_space, self.action_spaces):
            kinds = " or ".join(kind.__name__ for kind in self.action_spaces)
            raise ArgumentError(f"{type(self).__name__} needs a {kinds} action space, got {action_space}.")
        if isinstance(action_space, spaces.Box):
            return self._bin(action_space, DEFAULT_BINS if bins is None else bins)
        if bins is not None:
            raise ArgumentError(f"`bins={bins!r}` has no meaning for {action_space}, which is discrete already.")
        numbers: Any = (
            [action_space.n] if isinstance(action_space, spaces.Discrete) else getattr(action_space, "nvec", ())
        )
        return tuple(np.arange(number) for number in numbers)

    def _bin(self, box: spaces.Box, bins: Bins) -> tuple[NDArray[Any], ...]:
        """Make a Box's atoms, an array of shape (n,) for each dimension.

        Raises:
            ArgumentTypeError: If `bins` holds what is no number.
            ArgumentError: If the Box is not of floats, or `bins` does not fit it.
        """
        name = type(self).__name__
        if box.dtype is None or box.dtype.kind != "f":
            raise ArgumentError(f"{name} needs a Box of floats, got {box} with dtype {box.dtype}.")
        try:
            atoms = make_atoms(box, bins)
        except (TypeError, ValueError) as error:
            kind = ArgumentTypeError if isinstance(error, TypeError) else ArgumentError
            raise kind(f"{name}: {error}") from error
        if not all((np.diff(values.astype(np.float32)) > 0).all() for values in atoms):
            raise ArgumentError(
                f"{name}: bins={bins!r} is too fine for {box}: in float32, as SB3 keeps actions, some atoms are equal."
            )
        return atoms

    def _build(self, lr_schedule: Schedule) -> None:
        """Build the networks for this policy's distribution in place of SB3's choice for the action space."""
        self.action_dist = self.distribution_class(self._atoms, self.deterministic_action)
        super()._build(lr_schedule)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        """Name what a saved policy is made again from.

        Returns:
            Arguments by name.
        """
        own = {"bins": self.bins, "deterministic_action": self.deterministic_action}
        return {**super()._get_constructor_parameters(), **own}


class OrdinalMlpPolicy(BinnedMlpPolicy):
    """A `BinnedMlpPolicy` that knows the order of the atoms, so that what it learns of one serves its neighbours.

    Serves also a MultiDiscrete or Discrete action space whose numbers have an order, such as `BinAction` makes.

    Source:
        Tang and Agrawal, https://arxiv.org/abs/1901.10500, section 4.3.
    """

    distribution_class = OrdinalDistribution
    action_spaces = (spaces.Box, spaces.MultiDiscrete, spaces.Discrete)


class GaussianMlpPolicy(ActorCriticPolicy):
    """SB3's MLP policy for a Box, without one or both of its Gaussian's two simplifications.

    Args:
        observation_space: The observation space.
        action_space: A Box.
        lr_schedule: Learning rate schedule.
        *arguments: SB3's further arguments.
        state_dependent_std: Whether the std is an output of the network; SB3's is the same in all states.
        independent_components: Whether actions are drawn independently in each dimension, as SB3's are; else their
            correlations are learned, too (the same in all states).
        **keywords: SB3's further arguments.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        *arguments: Any,
        state_dependent_std: bool = False,
        independent_components: bool = True,
        **keywords: Any,
    ) -> None:
        """Build the networks.

        Raises:
            ArgumentError: If the action space is no Box, or an argument cannot be used.
        """
        for name, value in (
            ("state_dependent_std", state_dependent_std),
            ("independent_components", independent_components),
        ):
            check_choice(name, value, (True, False))
        if not isinstance(action_space, spaces.Box):
            raise ArgumentError(f"{type(self).__name__} needs a Box action space, got {action_space}.")
        if keywords.get("use_sde"):
            raise ArgumentError(f"`use_sde=True` is not for {type(self).__name__}, whose distribution is its own.")
        self.state_dependent_std, self.independent_components = state_dependent_std, independent_components
        super().__init__(observation_space, action_space, lr_schedule, *arguments, **keywords)

    def _build(self, lr_schedule: Schedule) -> None:
        """Build the networks for this policy's distribution, which is SB3's where nothing else was asked for.

        Raises:
            ArgumentError: If the log std would begin beyond where it is cut off, and hence never learn.
        """
        low, high = LOG_STD_RANGE
        if self.state_dependent_std and not low <= self.log_std_init <= high:
            raise ArgumentError(
                f"`log_std_init` must lie in [{low}, {high}] with state_dependent_std=True, got {self.log_std_init!r}."
            )
        if self.state_dependent_std or not self.independent_components:
            self.action_dist = GaussianDistribution(
                int(np.prod(self.action_space.shape or ())),
                state_dependent_std=self.state_dependent_std,
                independent_components=self.independent_components,
            )
        super()._build(lr_schedule)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        """Name what a saved policy is made again from.

        Returns:
            Arguments by name.
        """
        own = {
            "state_dependent_std": self.state_dependent_std,
            "independent_components": self.independent_components,
        }
        return {**super()._get_constructor_parameters(), **own}


POLICIES: dict[str, type[BasePolicy]] = {
    "MlpPolicy": ActorCriticPolicy,
    "CnnPolicy": ActorCriticCnnPolicy,
    "MultiInputPolicy": MultiInputActorCriticPolicy,
    "BinnedMlpPolicy": BinnedMlpPolicy,
    "OrdinalMlpPolicy": OrdinalMlpPolicy,
    "GaussianMlpPolicy": GaussianMlpPolicy,
}
"""The names by which the algorithms know policies."""
