"""How figures become files: the same file for the same figure."""

from pathlib import Path

from matplotlib.figure import Figure

DOTS_PER_INCH = 120
METADATA = {"Software": None}
"""Nothing about the program that drew it, so that the file is the same tomorrow."""


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG file.

    Args:
        figure: The figure.
        path: The file; its folder is made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata=METADATA)
