"""Which processor cores there are to use.

What is here: that. What is not: what is done with them (`worker_pool.py`, `envpool_vec_env.py`).
"""

import os


def available_cores() -> int:
    """Count the cores that this process may use.

    Returns:
        Their number, which in a container can be smaller than the machine's; that, where the system does not tell.
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def takes_every_core(n_threads: int) -> bool:
    """Tell whether so many threads, the first bound to core 0, the second to core 1 and so on, take what there is.

    Only then is binding them fair: with fewer threads, two programs would bind theirs to the same cores and leave the
    others idle.

    Args:
        n_threads: Number of threads.

    Returns:
        Whether this process may use exactly the cores from 0 to `n_threads - 1`.
    """
    return hasattr(os, "sched_getaffinity") and os.sched_getaffinity(0) == set(range(n_threads)) and n_threads > 1
