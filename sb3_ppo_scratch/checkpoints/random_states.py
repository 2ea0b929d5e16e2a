"""The states of all random generators that learning draws from.

What is here: reading and setting Python's, NumPy's and torch's, and those of `numpy.random.Generator`s. What is not:
which generators environments have (`environment_states.py`).
"""

import random
from typing import Any

import numpy as np
import torch as th

from sb3_ppo_scratch.checkpoints.state_tree import State, StateError

BIT_GENERATORS = {
    kind.__name__: kind
    for kind in (np.random.PCG64, np.random.PCG64DXSM, np.random.MT19937, np.random.Philox, np.random.SFC64)
}
"""NumPy's, by name: what a checkpoint may name."""


def read_random_states() -> State:
    """Read the states of Python's, NumPy's and torch's global generators, GPUs' included.

    Returns:
        All of them.
    """
    version, words, gauss = random.getstate()
    _, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "python": {"version": version, "words": np.array(words, dtype=np.uint32), "gauss": gauss},
        "numpy": {"keys": keys, "position": position, "has_gauss": has_gauss, "cached": cached},
        "torch": th.get_rng_state(),
        "cuda": th.cuda.get_rng_state_all() if th.cuda.is_available() else [],
    }


def write_random_states(state: State) -> None:
    """Set them.

    Args:
        state: What `read_random_states` has read. GPUs that are not there are left out.
    """
    python, numpy = state["python"], state["numpy"]
    random.setstate((python["version"], tuple(map(int, python["words"])), python["gauss"]))
    np.random.set_state(
        ("MT19937", numpy["keys"], int(numpy["position"]), int(numpy["has_gauss"]), float(numpy["cached"]))
    )
    th.set_rng_state(state["torch"])
    for device, cuda in enumerate(state["cuda"][: th.cuda.device_count() if th.cuda.is_available() else 0]):
        th.cuda.set_rng_state(cuda, device)


def read_generator(generator: np.random.Generator) -> State:
    """Read the state of one generator.

    Args:
        generator: It.

    Returns:
        Its state.
    """
    state: Any = generator.bit_generator.state
    return state


def make_generator(state: State) -> np.random.Generator:
    """Make a generator that goes on where another was.

    Args:
        state: That one's state.

    Returns:
        The new one.

    Raises:
        StateError: If it is of no kind that NumPy has.
    """
    if not isinstance(state, dict) or state.get("bit_generator") not in BIT_GENERATORS:
        raise StateError("no state of a random generator")
    bit_generator: Any = BIT_GENERATORS[state["bit_generator"]]()
    bit_generator.state = state
    return np.random.Generator(bit_generator)
