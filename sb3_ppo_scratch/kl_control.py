"""What is done about the KL divergence between the policy that collected a rollout and the one that is learned from it.

What is here: the modes, one class each, and the rules by which they adapt a coefficient or the learning rate, as
functions of numbers. What is not: measuring the divergence (`updates/`), and the loop that asks (`ppo_scratch.py`).
"""

from collections.abc import Callable

from sb3_ppo_scratch.argument_checks import KlMode
from sb3_ppo_scratch.errors import ArgumentError
from sb3_ppo_scratch.updates.update import MinibatchFigures, Update

TOLERANCE = 1.5
"""A divergence is far from its target beyond this factor, above as below (value: the paper's section 4, and SB3's early
stop)."""
COEFFICIENT_STEP = 2.0
"""What the penalty's coefficient is multiplied or divided by (value: the paper's section 4)."""
RATE_STEP = 1.5
"""What the learning rate is divided or multiplied by."""
RATE_SCALES = (0.01, 10.0)
"""Smallest and largest factor of the scheduled learning rate."""


def resolve_kl_mode(kl_mode: KlMode | None, target_kl: float | None) -> KlMode:
    """Find out what is meant, and refuse what contradicts itself.

    Args:
        kl_mode: The algorithm's argument; None: SB3's behaviour.
        target_kl: The divergence aimed at; None: none.

    Returns:
        The mode.

    Raises:
        ArgumentError: If a mode lacks its target, or there is a target that nothing would look at.
    """
    if kl_mode is None:
        return "none" if target_kl is None else "early_stop"
    if kl_mode == "none" and target_kl is not None:
        raise ArgumentError(
            f"`kl_mode='none'` contradicts target_kl={target_kl!r}, which nothing would look at; leave one of them out."
        )
    if kl_mode != "none" and target_kl is None:
        raise ArgumentError(f"`kl_mode={kl_mode!r}` needs a target; pass for example target_kl=0.01.")
    return kl_mode


def adapt_coefficient(kl_coef: float, kl: float, target_kl: float) -> float:
    """Choose the penalty's coefficient for the next update.

    Args:
        kl_coef: The coefficient of this update.
        kl: The divergence at its end.
        target_kl: The divergence aimed at.

    Returns:
        Twice the coefficient if the policy moved too far, half of it if it hardly moved, else the same.

    Source:
        https://arxiv.org/abs/1707.06347, section 4.
    """
    if kl > TOLERANCE * target_kl:
        return kl_coef * COEFFICIENT_STEP
    if kl < target_kl / TOLERANCE:
        return kl_coef / COEFFICIENT_STEP
    return kl_coef


def adapt_rate_scale(scale: float, kl: float, target_kl: float) -> float:
    """Choose the factor of the scheduled learning rate for the next update.

    Args:
        scale: The factor of this update.
        kl: The divergence at its end.
        target_kl: The divergence aimed at.

    Returns:
        A smaller factor if the policy moved too far, a larger one if it hardly moved, else the same; within
        `RATE_SCALES`.
    """
    if kl > TOLERANCE * target_kl:
        scale = scale / RATE_STEP
    elif kl < target_kl / TOLERANCE:
        scale = scale * RATE_STEP
    smallest, largest = RATE_SCALES
    return min(max(scale, smallest), largest)


class KlControl:
    """Lets an update do what it does; the mode `"none"`, and what the others have in common.

    Args:
        target_kl: The divergence aimed at; infinite if there is none.
        kl_coef: Weight of the divergence in the loss.
        rate_scale: Factor of the scheduled learning rate.
    """

    is_exact = False
    """Whether the divergence has to be measured exactly; else SB3's estimate does."""

    def __init__(self, target_kl: float, kl_coef: float, rate_scale: float) -> None:
        self.target_kl, self.kl_coef, self.rate_scale = target_kl, kl_coef, rate_scale
        self.stop_reason = ""
        """Why the update has ended early; empty if it has not."""

    def allows(self, figures: MinibatchFigures, update: Update) -> bool:  # noqa: ARG002 # for the modes that do look
        """Decide on a minibatch that has been evaluated.

        Args:
            figures: What was found.
            update: The update.

        Returns:
            Whether its step may be taken; else the update ends.
        """
        return True

    def finish(self, measure: Callable[[], float], update: Update) -> float | None:  # noqa: ARG002 # as above
        """Draw the conclusions at the end of an update.

        Args:
            measure: Measures the divergence over the whole rollout.
            update: The update.

        Returns:
            The divergence at the end; None if this mode does not want to know it.
        """
        return None

    def _is_too_far(self, kl: float) -> bool:
        """Tell whether a divergence lies above the tolerance; NaN does not, as in SB3."""
        return kl > TOLERANCE * self.target_kl


class EarlyStop(KlControl):
    """Ends the update before a minibatch on which the policy is too far from the rollout's, as SB3 does."""

    def allows(self, figures: MinibatchFigures, update: Update) -> bool:  # noqa: ARG002 # `KlControl`'s signature
        """Refuse the step of such a minibatch; see `KlControl`."""
        if not self._is_too_far(float(figures.kl)):
            return True
        self.stop_reason = f"reaching max kl: {float(figures.kl):.2f}"
        return False


class Penalty(KlControl):
    """Makes the divergence a term of the loss, and adapts its weight."""

    is_exact = True

    def finish(self, measure: Callable[[], float], update: Update) -> float:  # noqa: ARG002 # `KlControl`'s signature
        """Adapt the weight for the next update; see `KlControl`."""
        kl = measure()
        self.kl_coef = adapt_coefficient(self.kl_coef, kl, self.target_kl)
        return kl


class AdaptiveRate(KlControl):
    """Adapts the learning rate."""

    is_exact = True

    def finish(self, measure: Callable[[], float], update: Update) -> float:  # noqa: ARG002 # `KlControl`'s signature
        """Adapt the factor for the next update; see `KlControl`."""
        kl = measure()
        self.rate_scale = adapt_rate_scale(self.rate_scale, kl, self.target_kl)
        return kl


class Rollback(KlControl):
    """Ends the update like `EarlyStop`, and takes back the step that led too far."""

    is_exact = True

    def allows(self, figures: MinibatchFigures, update: Update) -> bool:
        """Remember the state before each step that is allowed; see `KlControl`."""
        if self._is_too_far(float(figures.kl)):
            self._take_back(float(figures.kl), update)
            return False
        update.remember()
        return True

    def finish(self, measure: Callable[[], float], update: Update) -> float:
        """Judge the last step, too; see `KlControl`."""
        kl = measure()
        if not self.stop_reason and self._is_too_far(kl):
            self._take_back(kl, update)
            kl = measure()
        return kl

    def _take_back(self, kl: float, update: Update) -> None:
        update.restore()
        self.stop_reason = f"reaching max kl: {kl:.2f}, last step taken back"


MODES: dict[KlMode, type[KlControl]] = {
    "none": KlControl,
    "early_stop": EarlyStop,
    "penalty": Penalty,
    "adaptive_lr": AdaptiveRate,
    "rollback": Rollback,
}


def begin_kl_control(
    kl_mode: KlMode | None, target_kl: float | None, *, kl_coef: float, rate_scale: float
) -> KlControl:
    """Begin to watch an update.

    Args:
        kl_mode: The algorithm's argument.
        target_kl: The divergence aimed at; None: none.
        kl_coef: The penalty's weight, as the last update has left it.
        rate_scale: The learning rate's factor, as the last update has left it.

    Returns:
        What watches it.

    Raises:
        ArgumentError: If mode and target contradict each other.
    """
    control = MODES[resolve_kl_mode(kl_mode, target_kl)]
    return control(float("inf") if target_kl is None else target_kl, kl_coef, rate_scale)
