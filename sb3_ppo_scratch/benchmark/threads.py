"""The number of threads of torch and BLAS in processes of their own.

What is here: environment variables; nothing that loads either. What is not: threads of this process
(`torch_threads.py`).
"""

import os

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""What the libraries below NumPy and torch read when they are loaded."""


def variables_with_threads(threads: int | None) -> dict[str, str]:
    """Set the number of threads of a process to be started, whatever the user's shell says.

    Args:
        threads: How many; None: as the libraries choose.

    Returns:
        All environment variables of the process.
    """
    variables = {name: value for name, value in os.environ.items() if name not in THREAD_VARIABLES}
    if threads is not None:
        variables.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    return variables
