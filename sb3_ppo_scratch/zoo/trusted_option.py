"""`--trusted`, an option of all commands that read a saved run.

What is here: its words. What is not: what it allows (`harmless_names.py`, `saved_run.py`).
"""

import argparse


def add_trusted_option(parser: argparse.ArgumentParser) -> None:
    """Describe the option that runs what files hold or name.

    Args:
        parser: Where it is added.
    """
    parser.add_argument(
        "--trusted",
        action="store_true",
        help="run what the model and its folder hold and name (pickles, packages, anybody's wrappers): only for files "
        "whose maker you know",
    )
