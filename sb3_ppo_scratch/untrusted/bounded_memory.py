"""Building a network that takes no more memory than the parameters that are loaded into it.

What is here: a watch over torch's tensors while a policy is built from settings that nobody vouches for. What is not:
these settings (`soundness.py`), and whether the parameters themselves are there (`torch_files.py`).
"""

import math
from collections.abc import Collection
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

from sb3_ppo_scratch.untrusted.torch_files import Tensor
from sb3_ppo_scratch.zip_members import UnsafeFileError

AT_A_TIME = 2
"""Largest tensor made on the way, in multiples of the largest parameter; orthogonal initialisation makes copies."""
ALTOGETHER = 8
"""All tensors made on the way, in multiples of all parameters."""
ALWAYS_FINE = 1 << 16
"""Elements that are always allowed."""


class BoundedTensors(TorchDispatchMode):  # type: ignore[no-untyped-call] # torch has no types here
    """Refuses to make tensors that no parameter of a file needs.

    Args:
        parameters: What the file says of the policy's parameters.
    """

    def __init__(self, parameters: Collection[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        sizes = [math.prod(tensor.shape) for tensor in set(parameters)]
        self._largest = AT_A_TIME * max(sizes, default=0) + ALWAYS_FINE
        self._left = ALTOGETHER * sum(sizes) + ALWAYS_FINE

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Look at the size of a tensor before it is made.

        Raises:
            UnsafeFileError: If it is too large.
        """
        if args and isinstance(args[0], list | tuple) and all(isinstance(size, int) for size in args[0]):
            self._take(math.prod(args[0]))
        elif len(args) > 1 and "new_" in str(func) and isinstance(args[1], list | tuple):
            self._take(math.prod(args[1]))
        return func(*args, **(kwargs or {}))

    def _take(self, n_elements: int) -> None:
        """Count a tensor.

        Raises:
            UnsafeFileError: If it is too large.
        """
        self._left -= n_elements
        if n_elements > self._largest or self._left < 0:
            raise UnsafeFileError(f"its settings ask for {n_elements} elements that its parameters have not")
