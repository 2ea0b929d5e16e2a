"""Hyperparameters that act at once when a callback, or anybody else, sets them during a run.

What is here: attributes of which SB3 keeps a copy that would otherwise go on with the old value. What is not:
attributes that are read whenever they are needed (`ppo_scratch.py`).
"""

from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.type_aliases import Schedule

from sb3_ppo_scratch.errors import ArgumentError

FloatOrSchedule = float | Schedule
"""A constant, or a callable of the remaining progress (1 at the beginning of `learn`, 0 at its end)."""


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

    @property
    def normalize_observations(self) -> bool:
        """Whether the policy normalises observations; decided when it is built."""
        return bool(vars(self)["normalize_observations"])

    @normalize_observations.setter
    def normalize_observations(self, value: bool) -> None:
        """Set it, as long as there is no policy.

        Raises:
            ArgumentError: If the policy has been built otherwise.
        """
        if "policy" in vars(self) and value != self.normalize_observations:
            raise ArgumentError(
                f"`normalize_observations` cannot become {value!r} once the policy is built: it is part of the policy; "
                "make a new model."
            )
        vars(self)["normalize_observations"] = value
