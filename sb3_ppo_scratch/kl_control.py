"""What is done about the KL divergence between the policy that collected a rollout and the one that is learned from it.

What is here: the modes, one class each, and the rules by which they adapt a coefficient or the learning rate, as
functions of numbers. What is not: measuring the divergence (`updates/`), and the loop that asks (`ppo_scratch.py`).
"""

import math
from collections.abc import Callable

from sb3_ppo_scratch.argument_checks import KlMode
from sb3_ppo_scratch.errors import ArgumentError
from sb3_ppo_scratch.updates.update import MinibatchFigures, Remembered, Update

TOLERANCE = 1.5
"""A divergence is far from its target beyond this factor, above as below (value: the paper's section 4, and SB3's early
stop)."""
COEFFICIENT_STEP = 2.0
"""What the penalty's coefficient is multiplied or divided by (value: the paper's section 4)."""
COEFFICIENT_SCALES = (2.0**-20, 2.0**20)
"""Smallest and largest factor of the penalty's coefficient: twenty steps, a millionth and a million. Beyond, one of the
loss's two terms is lost in the other's float32 rounding, and the way back takes ever more updates."""
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


def adapt_coefficient_scale(scale: float, kl: float, target_kl: float) -> float:
    """Choose the factor of the penalty's coefficient for the next update.

    Args:
        scale: The factor of this update.
        kl: The divergence at its end.
        target_kl: The divergence aimed at.

    Returns:
        Twice the factor if the policy moved too far, half of it if it hardly moved, else the same; within
        `COEFFICIENT_SCALES`.

    Source:
        https://arxiv.org/abs/1707.06347, section 4.
    """
    return _adapt(scale, kl, target_kl, if_too_far=COEFFICIENT_STEP, bounds=COEFFICIENT_SCALES)


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
    return _adapt(scale, kl, target_kl, if_too_far=1 / RATE_STEP, bounds=RATE_SCALES)


def _adapt(scale: float, kl: float, target_kl: float, *, if_too_far: float, bounds: tuple[float, float]) -> float:
    """Multiply a factor if the policy moved too far, divide it if it hardly moved, and keep it within its bounds."""
    if kl > TOLERANCE * target_kl:
        scale = scale * if_too_far
    elif kl < target_kl / TOLERANCE:
        scale = scale / if_too_far
    smallest, largest = bounds
    return min(max(scale, smallest), largest)


class KlControl:
    """Lets an update do what it does; the mode `"none"`, and what the others have in common.

    Args:
        target_kl: The divergence aimed at; infinite if there is none.
    """

    is_exact = False
    """Whether the divergence has to be measured exactly; else SB3's estimate does."""
    coefficient_scale = 1.0
    """Factor of the penalty's coefficient; 1 in every mode that does not adapt it."""
    rate_scale = 1.0
    """Factor of the scheduled learning rate; 1 in every mode that does not adapt it."""

    def __init__(self, target_kl: float) -> None:
        self.target_kl = target_kl
        self.stop_reason = ""
        """Why the update has ended early; empty if it has not."""
        self.n_applied = 0
        """Minibatches whose step was taken, and not taken back."""
        self.measured: list[float] = []
        """Divergences over the whole rollout, as they were measured after the last step."""

    def allows(self, figures: MinibatchFigures, update: Update) -> bool:  # noqa: ARG002 # for the modes that do look
        """Decide on a minibatch that has been evaluated.

        Args:
            figures: What was found.
            update: The update.

        Returns:
            Whether its step is to be taken, and counted in `n_applied`; else the update ends.
        """
        return True

    def finish(self, measure: Callable[[], float], update: Update) -> None:
        """Draw the conclusions at the end of an update; those of this mode are none.

        Args:
            measure: Measures the divergence over the whole rollout.
            update: The update.
        """

    def _measure(self, measure: Callable[[], float]) -> float:
        """Measure the divergence over the whole rollout, and remember it."""
        self.measured.append(measure())
        return self.measured[-1]

    def _stop(self, kl: float, what_else: str = "") -> None:
        """Say why the update ends early."""
        self.stop_reason = f"reaching max kl: {kl:.3g}{what_else}"

    def _is_too_far(self, kl: float) -> bool:
        """Tell whether a divergence lies above the tolerance; NaN does not, as in SB3."""
        return kl > TOLERANCE * self.target_kl


class EarlyStop(KlControl):
    """Ends the update before a minibatch on which the policy is too far from the rollout's, as SB3 does."""

    def allows(self, figures: MinibatchFigures, update: Update) -> bool:  # noqa: ARG002 # `KlControl`'s signature
        """Refuse the step of such a minibatch; see `KlControl`."""
        if not self._is_too_far(float(figures.kl)):
            return True
        self._stop(float(figures.kl))
        return False


class Penalty(KlControl):
    """Makes the divergence a term of the loss, and adapts its weight."""

    is_exact = True

    def finish(self, measure: Callable[[], float], update: Update) -> None:  # noqa: ARG002 # `KlControl`'s signature
        """Adapt the weight for the next update; see `KlControl`."""
        self.coefficient_scale = adapt_coefficient_scale(self.coefficient_scale, self._measure(measure), self.target_kl)


class AdaptiveRate(KlControl):
    """Adapts the learning rate."""

    is_exact = True

    def finish(self, measure: Callable[[], float], update: Update) -> None:  # noqa: ARG002 # `KlControl`'s signature
        """Adapt the factor for the next update; see `KlControl`."""
        self.rate_scale = adapt_rate_scale(self.rate_scale, self._measure(measure), self.target_kl)


class Rollback(KlControl):
    """Ends the update like `EarlyStop`, and takes back the step that led too far."""

    is_exact = True
    _before: Remembered
    """Parameters and optimiser before the last step."""

    def finish(self, measure: Callable[[], float], update: Update) -> None:
        """Judge the last step, too; see `KlControl`."""
        kl = self._measure(measure)
        if not self.stop_reason and self._is_too_far(kl):
            self._take_back(kl, update)
            self._measure(measure)

    def allows(self, figures: MinibatchFigures, update: Update) -> bool:
        """Remember the state before each step that is allowed; see `KlControl`."""
        kl = float(figures.kl)
        if not self._is_too_far(kl):
            self._before = update.remember()
            return True
        if self.n_applied > 0:
            self._take_back(kl, update)
        else:  # by rounding alone: nothing has moved yet
            self._stop(kl)
        return False

    def _take_back(self, kl: float, update: Update) -> None:
        """Undo the last step."""
        update.restore(self._before)
        self.n_applied -= 1
        self._stop(kl, ", last step taken back")


MODES: dict[KlMode, type[KlControl]] = {
    "none": KlControl,
    "early_stop": EarlyStop,
    "penalty": Penalty,
    "adaptive_lr": AdaptiveRate,
    "rollback": Rollback,
}


def begin_kl_control(
    kl_mode: KlMode | None, target_kl: float | None, *, coefficient_scale: float, rate_scale: float
) -> KlControl:
    """Begin to watch an update.

    Args:
        kl_mode: The algorithm's argument.
        target_kl: The divergence aimed at; None: none.
        coefficient_scale: The factor of the penalty's coefficient, as the last update has left it.
        rate_scale: The learning rate's factor, as the last update has left it.

    Returns:
        What watches it. A factor that its mode does not adapt begins at 1 again.

    Raises:
        ArgumentError: If mode and target contradict each other.
    """
    control = MODES[resolve_kl_mode(kl_mode, target_kl)](math.inf if target_kl is None else target_kl)
    if isinstance(control, Penalty):
        control.coefficient_scale = coefficient_scale
    elif isinstance(control, AdaptiveRate):
        control.rate_scale = rate_scale
    return control
