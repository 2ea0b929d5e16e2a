"""Hyperparameters that act at once when a callback, or anybody else, sets them during a run, or refuse to be set then.

What is here: attributes of which SB3 keeps a copy that would otherwise go on with the old value, and those that are
part of the policy. What is not: attributes that are read whenever they are needed (`ppo_scratch.py`).
"""

from typing import Any, Generic, TypeVar, overload

from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.type_aliases import Schedule

from sb3_ppo_scratch.errors import ArgumentError

Value = TypeVar("Value")
FloatOrSchedule = float | Schedule
"""A constant, or a callable of the remaining progress (1 at the beginning of `learn`, 0 at its end)."""


IN_PARAMETERS = ("normalize_observations", "critic", "share_features", "orthogonal_init", "adam_epsilon")
"""Attributes that have done their work in what a file holds of policy and optimiser; `load` cannot change them."""


def unchangeable(name: str, value: object) -> str:
    """Say why an attribute stays as it is.

    Args:
        name: The attribute's name.
        value: What it was to become.

    Returns:
        The message of an error.
    """
    return f"`{name}` cannot become {value!r} once the policy is built: it is part of the policy; make a new model."


class FixedOnceBuilt(Generic[Value]):
    """An attribute that has done its work when the policy is built, and refuses to become something else later."""

    def __set_name__(self, owner: type[Any], name: str) -> None:
        """Remember the attribute's name."""
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type[Any]) -> "FixedOnceBuilt[Value]": ...

    @overload
    def __get__(self, instance: object, owner: type[Any]) -> Value: ...

    def __get__(self, instance: object | None, owner: type[Any]) -> "FixedOnceBuilt[Value] | Value":
        """Read it."""
        if instance is None:
            return self
        value: Value = vars(instance)[self._name]
        return value

    def __set__(self, instance: object, value: Value) -> None:
        """Set it, as long as there is no policy.

        Raises:
            ArgumentError: If the policy has been built otherwise.
        """
        attributes = vars(instance)
        if "policy" in attributes and value != attributes[self._name]:
            raise ArgumentError(unchangeable(self._name, value))
        attributes[self._name] = value


class LiveAttributes(OnPolicyAlgorithm):
    """An on-policy algorithm with such attributes; they are stored where SB3's `save` and `load` expect them."""

    @property
    def gamma(self) -> float:
        """Discount factor; a change reaches the rollout buffer, which keeps a copy, at once."""
        return float(vars(self)["gamma"])

    @gamma.setter
    def gamma(self, value: float) -> None:
        """Set it, here and in the buffer."""
        self._set_here_and_in_buffer("gamma", value)

    @property
    def gae_lambda(self) -> float:
        """GAE's trade-off; a change reaches the rollout buffer, which keeps a copy, at once."""
        return float(vars(self)["gae_lambda"])

    @gae_lambda.setter
    def gae_lambda(self, value: float) -> None:
        """Set it, here and in the buffer."""
        self._set_here_and_in_buffer("gae_lambda", value)

    def _set_here_and_in_buffer(self, name: str, value: float) -> None:
        """Store an attribute where SB3's `save` and `load` expect it, and where it acts.

        Args:
            name: The attribute's name, the same in the buffer.
            value: Its value.
        """
        vars(self)[name] = value
        if "rollout_buffer" in vars(self):
            setattr(self.rollout_buffer, name, value)

    @property
    def learning_rate(self) -> FloatOrSchedule:
        """Learning rate or schedule; a change replaces `lr_schedule`, which is what acts, at once."""
        value: FloatOrSchedule = vars(self)["learning_rate"]
        return value

    @learning_rate.setter
    def learning_rate(self, value: FloatOrSchedule) -> None:
        """Set it, and the schedule that acts."""
        vars(self)["learning_rate"] = value
        if "lr_schedule" in vars(self):
            self._setup_lr_schedule()

    normalize_observations = FixedOnceBuilt[bool]()
    observation_clip = FixedOnceBuilt[float]()
    critic = FixedOnceBuilt[bool]()
    share_features = FixedOnceBuilt[bool]()
    orthogonal_init = FixedOnceBuilt[bool]()
    adam_epsilon = FixedOnceBuilt[float | None]()
