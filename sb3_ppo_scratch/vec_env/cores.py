"""How many processor cores there are to use.

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
