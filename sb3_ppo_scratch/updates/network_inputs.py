"""From observations as environments and buffers hold them to the columns that the closed form's networks read.

What is here: SB3's preprocessing (scaled images, one-hot codes), the policy's own normaliser, and flattening. What is
not: which observations those are (`minibatches.py`).
"""

from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.preprocessing import get_flattened_obs_dim, is_image_space, preprocess_obs

from sb3_ppo_scratch.updates.kernels import Array


class NetworkInputs:
    """Turns observations into network inputs.

    Args:
        space: The observation space.
        normalize_images: Whether images are scaled to [0, 1].
        normalizer: What preprocessed observations go through before they are flattened; None: nothing.
        dtype: The networks' dtype.
    """

    def __init__(
        self,
        space: spaces.Space[Any],
        *,
        normalize_images: bool,
        normalizer: th.nn.Module | None = None,
        dtype: np.dtype[Any] | type[np.floating[Any]] = np.float32,
    ) -> None:
        self._space, self._normalize_images, self._normalizer, self._dtype = space, normalize_images, normalizer, dtype
        scaled = normalize_images and is_image_space(space)
        self.bytes_per_observation = get_flattened_obs_dim(space) * np.dtype(dtype).itemsize
        self._only_cast = isinstance(space, spaces.Box) and not scaled and normalizer is None

    def __call__(self, observations: np.ndarray, out: Array | None = None) -> Array:
        """Preprocess observations.

        Args:
            observations: Shape (batch, *shape).
            out: Where the result goes, shape (n_inputs, batch); None: into a new array.

        Returns:
            Shape (n_inputs, batch), contiguous.
        """
        if not self._only_cast:
            observations = self._preprocess(observations)
        columns = observations.reshape(len(observations), -1).T
        if out is None:
            out = np.empty(columns.shape, self._dtype)
        np.copyto(out, columns)
        return out

    @th.no_grad()
    def _preprocess(self, observations: np.ndarray) -> np.ndarray:
        """Preprocess as SB3's policies do, and normalise, shape (batch, *shape)."""
        preprocessed = preprocess_obs(th.as_tensor(observations), self._space, normalize_images=self._normalize_images)
        assert isinstance(preprocessed, th.Tensor)
        return (preprocessed if self._normalizer is None else self._normalizer(preprocessed)).numpy()
