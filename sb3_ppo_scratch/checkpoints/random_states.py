"""The states of random generators: the global ones that learning draws from, and those that someone holds.

What is here: Python's, NumPy's and torch's, read and made or set, in this process and in those of environments. What is
not: which generators environments have (`environment_states.py`).
"""

import os
import random
from typing import Any

import numpy as np
import torch as th

BIT_GENERATORS = {
    kind.__name__: kind
    for kind in (np.random.PCG64, np.random.PCG64DXSM, np.random.MT19937, np.random.Philox, np.random.SFC64)
}
"""NumPy's, by name: what a checkpoint may name."""

LARGEST_PLACE = 624, 4
"""Of MT19937 in its words, and of Philox in its buffer; NumPy reads the memory behind them for larger ones."""


def read_random_states() -> dict[str, Any]:
    """Read the states of Python's, NumPy's and torch's global generators, GPUs' included if they are in use.

    Returns:
        All of them.
    """
    return {
        "python": read_python(random),
        "numpy": np.random.get_state(legacy=False),
        "torch": th.get_rng_state(),
        "cuda": th.cuda.get_rng_state_all() if _is_cuda_in_use() else [],
    }


def write_random_states(state: dict[str, Any]) -> None:
    """Set them.

    Args:
        state: What `read_random_states` has read. GPUs that are not there or not in use are left out.
    """
    write_python(random, state["python"])
    np.random.set_state(state["numpy"])
    th.set_rng_state(state["torch"])
    for device, cuda in enumerate(state["cuda"][: th.cuda.device_count() if _is_cuda_in_use() else 0]):
        th.cuda.set_rng_state(cuda, device)


def read_states_elsewhere(_environment: Any, own_process: int) -> dict[str, Any] | None:
    """Read what an environment may draw from besides its own generators, if it is in another process.

    Args:
        _environment: It, whose process this is.
        own_process: The id of the process of the algorithm.

    Returns:
        The states of Python's and NumPy's global generators; None in the algorithm's process.
    """
    if os.getpid() == own_process:
        return None
    return {"python": read_python(random), "numpy": np.random.get_state(legacy=False)}


def write_states_elsewhere(_environment: Any, state: dict[str, Any]) -> None:
    """Set them.

    Args:
        _environment: The environment whose process this is.
        state: What `read_states_elsewhere` has read.
    """
    write_python(random, state["python"])
    np.random.set_state(state["numpy"])


def _is_cuda_in_use() -> bool:
    """Tell whether anything has used a GPU; asking for the state of its generator would start CUDA."""
    return bool(th.cuda.is_initialized())  # type: ignore[no-untyped-call]


def read_python(generator: Any) -> dict[str, Any]:
    """Read one of Python's generators.

    Args:
        generator: A `random.Random`, or the module itself.

    Returns:
        Its state.
    """
    version, words, gauss = generator.getstate()
    return {"version": version, "words": np.array(words, dtype=np.uint32), "gauss": gauss}


def write_python(generator: Any, state: dict[str, Any]) -> None:
    """Let one of Python's generators go on where another was.

    Args:
        generator: A `random.Random`, or the module itself.
        state: That one's state.
    """
    generator.setstate((state["version"], tuple(map(int, state["words"])), state["gauss"]))


def make_python(state: dict[str, Any]) -> random.Random:
    """Make one of Python's generators that goes on where another was.

    Args:
        state: That one's state.

    Returns:
        The new one.
    """
    generator = random.Random()
    write_python(generator, state)
    return generator


def read_generator(generator: np.random.Generator) -> dict[str, Any]:
    """Read the state of one of NumPy's generators.

    Args:
        generator: It.

    Returns:
        Its state.
    """
    state: Any = generator.bit_generator.state
    return dict(state)


def make_generator(state: dict[str, Any]) -> np.random.Generator:
    """Make one of NumPy's generators that goes on where another was.

    Args:
        state: That one's state.

    Returns:
        The new one.

    Raises:
        ValueError: If it is of no kind that NumPy has.
    """
    bit_generator = _make_bits(state)
    bit_generator.state = state
    return np.random.Generator(bit_generator)


def make_random_state(state: dict[str, Any]) -> np.random.RandomState:
    """Make one of NumPy's older generators that goes on where another was.

    Args:
        state: What that one's `get_state(legacy=False)` says.

    Returns:
        The new one.

    Raises:
        ValueError: If it is of no kind that NumPy has.
    """
    generator = np.random.RandomState(_make_bits(state))
    generator.set_state(state)
    return generator


def make_torch_generator(state: th.Tensor) -> th.Generator:
    """Make one of torch's generators that goes on where another was.

    Args:
        state: That one's state, bytes.

    Returns:
        The new one, on the CPU.
    """
    generator = th.Generator()
    generator.set_state(state)
    return generator


def _make_bits(state: Any) -> Any:
    """Make the source of bits that a generator's state names.

    Raises:
        ValueError: If NumPy has none of this name.
    """
    if not isinstance(state, dict) or state.get("bit_generator") not in BIT_GENERATORS:
        raise ValueError("no state of a random generator")
    place = state["state"].get("pos", 0), state.get("buffer_pos", 0)
    if any(not 0 <= each <= most for each, most in zip(place, LARGEST_PLACE, strict=True)):
        raise ValueError("no state of a random generator: it draws from outside of its memory")
    return BIT_GENERATORS[state["bit_generator"]]()
