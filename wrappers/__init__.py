"""Gymnasium wrappers that work around and inside Stable-Baselines3, from Python and from rl_zoo3's YAML files.

Here: `ScaleReward`, `NormalizeObservation` (with its `RunningMoments`) and `BinAction`. They need Gymnasium and NumPy
only and import each other relatively, so that this folder can be copied into another project.

Not here: wrappers of vectorised environments, and anything that needs PyTorch, Stable-Baselines3 or rl_zoo3.
"""

from .bin_action import BinAction
from .normalize_observation import NormalizeObservation
from .running_moments import RunningMoments
from .scale_reward import ScaleReward

__all__ = ["BinAction", "NormalizeObservation", "RunningMoments", "ScaleReward"]
